//! A producer that keeps a diary: the intent before it sends, the result when it knows.
//!
//! Wraps the ordinary client. Does not know what is published, nor whether the host is killed meanwhile.
//!
//! Invariant: an intent is in the file before the event can have left.

use std::collections::HashMap;

use anyhow::Context as _;
use bugle_checker::record::{Answer, Intent, Outcome as Told, Position, Record};
use bugle_client::{Client, Event, Outcome, PendingReceipt};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock::now_us;
use crate::journal::Journal;

/// Receipts awaited at once; the client bounds what is in flight anyway.
const RECEIPTS_MAX: usize = 16 * 1024;

/// Which event, and which try of it.
type Tried = (String, String, u32);

/// A recorded producer. Call [`Producer::send`] as often as wanted, then [`Producer::finish`].
#[derive(Debug)]
pub struct Producer {
    client: Client,
    name: String,
    journal: Journal,
    seq: u64,
    tries: HashMap<(String, String), u32>,
    receipts: mpsc::Sender<(Tried, PendingReceipt)>,
    results: JoinHandle<Counts>,
}

/// How its publishes ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Stored, first copies.
    pub stored: u64,
    /// Recognised as stored before.
    pub duplicates: u64,
    /// Not stored.
    pub refused: u64,
    /// In doubt.
    pub unknown: u64,
}

impl Producer {
    /// Takes a connected client; must be called on a runtime.
    #[must_use]
    pub fn new(client: Client, name: &str, journal: Journal) -> Producer {
        let (receipts, rx) = mpsc::channel(RECEIPTS_MAX);
        let results = tokio::spawn(results(rx, journal.clone()));
        Producer { client, name: name.to_owned(), journal, seq: 0, tries: HashMap::new(), receipts, results }
    }

    /// Sends an event and returns once it has its place in the order; its result is written down when it comes.
    pub async fn send(&mut self, topic: &str, event: &Event) -> anyhow::Result<()> {
        let view = event.view();
        let name = (view.source.to_owned(), view.id.to_owned());
        let attempt = self.tries.entry(name.clone()).or_default();
        *attempt += 1;
        let tried = (name.0, name.1, *attempt);
        self.seq += 1;
        self.journal.write(Record::Intent(self.intent(topic, event, &tried)));
        let receipt = self.client.send(topic, event.clone()).await;
        self.receipts.send((tried, receipt)).await.context("the results ended before the producer")
    }

    fn intent(&self, topic: &str, event: &Event, (source, id, attempt): &Tried) -> Intent {
        let view = event.view();
        let digest = Sha256::digest(view.data.bytes());
        Intent {
            at_us: now_us(),
            producer: self.name.clone(),
            seq: self.seq,
            attempt: *attempt,
            topic: topic.to_owned(),
            source: source.clone(),
            id: id.clone(),
            kind: view.kind.to_owned(),
            key: view.partition_key.map(str::to_owned),
            digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    /// Awaits every result and closes the connection.
    pub async fn finish(self) -> anyhow::Result<Counts> {
        drop(self.receipts);
        let counts = self.results.await?;
        self.client.close().await;
        Ok(counts)
    }
}

async fn results(mut receipts: mpsc::Receiver<(Tried, PendingReceipt)>, journal: Journal) -> Counts {
    let mut counts = Counts::default();
    while let Some(((source, id, attempt), receipt)) = receipts.recv().await {
        let outcome = match receipt.await {
            Outcome::Confirmed(receipt) => {
                let count = if receipt.duplicate { &mut counts.duplicates } else { &mut counts.stored };
                *count += 1;
                // The wire has room for more slots than the checker's text form; a host of today has one.
                let slot = u16::try_from(receipt.position.slot).unwrap_or(u16::MAX);
                let offset = receipt.position.offset;
                Answer::Confirmed { position: Position { slot, offset }, duplicate: receipt.duplicate }
            }
            Outcome::Refused { code, .. } => {
                counts.refused += 1;
                Answer::Refused { code: code.to_string() }
            }
            Outcome::Unknown => {
                counts.unknown += 1;
                Answer::Unknown
            }
        };
        journal.write(Record::Result(Told { at_us: now_us(), source, id, attempt, outcome }));
    }
    counts
}
