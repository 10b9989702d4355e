//! The disk of the simulated bus: applies one batch at a time, whole or not at all, and keeps it through every crash.
//!
//! Holds no decision. Invariant: offsets are dense, and a row never says twice or in two ways what became of a delivery.

use std::collections::{BTreeMap, BTreeSet};

use bugle_core::event::{Class, StoredEvent};
use bugle_core::ids::{BootId, Offset, ProducerEpoch, Sequence, StreamId, SubscriptionId};
use bugle_core::row::{
    CHUNK_OFFSETS, ChannelRow, ClaimRow, ClaimState, CursorChunk, CursorRow, DeadRow, DeadTotals, HoldRow, KvRow,
    LetGoRow, PausedRow, RunRow, WaitingRow,
};
use bugle_core::step::Write;
use bugle_core::subscription::Recovered;

/// Plugins mark an acked event by a kv entry of this name and its offset, written in the transaction of the ack.
pub(crate) const ACKED: &str = "acked-";

/// Rows of one subscription.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    floor: u64,
    chunks: BTreeMap<u64, CursorChunk>,
    waiting: BTreeMap<Offset, WaitingRow>,
    holds: BTreeMap<(String, Class), HoldRow>,
    paused: Option<PausedRow>,
    run: Option<RunRow>,
    let_go: Option<LetGoRow>,
    channel: Option<ChannelRow>,
    pub(crate) dead: BTreeMap<Offset, DeadRow>,
    dead_totals: DeadTotals,
    pub(crate) unknown: BTreeSet<Offset>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) log: Vec<StoredEvent>,
    pub(crate) rows: BTreeMap<SubscriptionId, Rows>,
    claims: BTreeMap<(String, String), ClaimRow>,
    kv: BTreeMap<(String, String), KvRow>,
    /// Offsets that a kv entry of this store says are acked.
    acked: BTreeMap<String, BTreeSet<Offset>>,
    sequences: BTreeMap<(String, ProducerEpoch), BTreeMap<StreamId, Sequence>>,
    pub(crate) boots: Vec<(BootId, Offset)>,
}

impl Store {
    /// Applies a batch.
    pub(crate) fn apply(&mut self, batch: &[Write]) -> Result<(), String> {
        batch.iter().try_for_each(|write| self.apply_one(write))
    }

    fn apply_one(&mut self, write: &Write) -> Result<(), String> {
        match write {
            Write::Event(event) => {
                if event.position.offset.0 != self.log.len() as u64 {
                    return Err(format!("event {} is not the next of the log", event.position));
                }
                self.log.push(event.clone());
            }
            Write::ProducerSequence { producer, epoch, stream, sequence } => {
                let streams = self.sequences.entry((producer.to_string(), *epoch)).or_default();
                streams.insert(*stream, *sequence);
            }
            Write::Claim { scope, key, row } => put(&mut self.claims, (scope.to_string(), key.clone()), row.clone()),
            Write::Kv { store, key, row } => {
                if let Some(offset) = key.strip_prefix(ACKED).and_then(|offset| offset.parse().ok()) {
                    self.acked.entry(store.to_string()).or_default().insert(Offset(offset));
                }
                put(&mut self.kv, (store.to_string(), key.clone()), row.clone());
            }
            Write::Record { .. } | Write::Catalog { .. } | Write::IdChunk { .. } | Write::IdBlock { .. } => {}
            Write::Append { .. } | Write::Redeliver { .. } => {
                return Err("a follow-up reached the disk without a place".to_owned());
            }
            Write::Cursor { subscription, row, .. } => {
                let rows = self.rows_mut(*subscription);
                if row.floor.0 < rows.floor {
                    return Err(format!("the floor of {subscription} fell from {} to {}", rows.floor, row.floor));
                }
                rows.floor = row.floor.0;
            }
            Write::Chunk { subscription, chunk, row, .. } => {
                put(&mut self.rows_mut(*subscription).chunks, *chunk, row.clone());
            }
            Write::Waiting { subscription, offset, row } => {
                put(&mut self.rows_mut(*subscription).waiting, *offset, row.clone());
            }
            Write::Hold { subscription, key, class, row } => {
                put(&mut self.rows_mut(*subscription).holds, (key.clone(), *class), *row);
            }
            Write::WaitingRange { subscription, from, to } => {
                self.rows_mut(*subscription).waiting.retain(|offset, _| *offset < *from || *offset >= *to);
            }
            Write::Run { subscription, row } => self.rows_mut(*subscription).run = *row,
            Write::LetGo { subscription, row } => self.rows_mut(*subscription).let_go = Some(*row),
            Write::Forget { subscription, .. } => drop(self.rows.remove(subscription)),
            Write::Paused { subscription, row } => self.rows_mut(*subscription).paused = row.clone(),
            Write::Channel { subscription, row } => self.rows_mut(*subscription).channel = row.clone(),
            Write::Dead { subscription, position, row } => {
                if self.rows_mut(*subscription).dead.insert(position.offset, row.clone()).is_some() {
                    return Err(format!("{position} was buried twice by {subscription}"));
                }
            }
            Write::DeadGone { subscription, position } => {
                self.rows_mut(*subscription).dead.remove(&position.offset);
            }
            Write::DeadTotals { subscription, row } => self.rows_mut(*subscription).dead_totals = *row,
            Write::Unknown { subscription, position, .. } => {
                if !self.rows_mut(*subscription).unknown.insert(position.offset) {
                    return Err(format!("{position} was parked twice by {subscription}"));
                }
            }
        }
        Ok(())
    }

    fn rows_mut(&mut self, subscription: SubscriptionId) -> &mut Rows {
        self.rows.entry(subscription).or_default()
    }

    /// What the machine of a subscription finds after a restart.
    pub(crate) fn recovered(&self, subscription: SubscriptionId) -> Recovered {
        let Some(rows) = self.rows.get(&subscription) else { return Recovered::at(Offset(0)) };
        Recovered {
            cursor: CursorRow { floor: Offset(rows.floor) },
            chunks: rows.chunks.iter().map(|(number, chunk)| (*number, chunk.clone())).collect(),
            waiting: rows.waiting.iter().map(|(offset, row)| (*offset, row.clone())).collect(),
            holds: rows.holds.iter().map(|((key, class), row)| (key.clone(), *class, *row)).collect(),
            paused: rows.paused.clone(),
            channel: rows.channel.clone(),
            dead: rows.dead_totals,
            run: rows.run,
            let_go: rows.let_go,
        }
    }

    pub(crate) fn waiting(&self, subscription: SubscriptionId, offset: Offset) -> Option<WaitingRow> {
        self.rows.get(&subscription)?.waiting.get(&offset).cloned()
    }

    pub(crate) fn claim(&self, scope: &str, key: &str) -> Option<ClaimRow> {
        self.claims.get(&(scope.to_owned(), key.to_owned())).cloned()
    }

    /// Whether the effect under this claim is known to have happened.
    pub(crate) fn is_done(&self, scope: &str, key: &str) -> bool {
        self.claim(scope, key).is_some_and(|row| matches!(row.state, ClaimState::Done { .. }))
    }

    pub(crate) fn kv(&self, store: &str, key: &str) -> Option<KvRow> {
        self.kv.get(&(store.to_owned(), key.to_owned())).cloned()
    }

    /// Whether a kv entry says that the event was acked.
    pub(crate) fn is_acked(&self, store: &str, offset: Offset) -> bool {
        self.acked.get(store).is_some_and(|acked| acked.contains(&offset))
    }

    /// The number in a kv entry.
    pub(crate) fn number(&self, store: &str, key: &str) -> u64 {
        let row = self.kv(store, key);
        row.and_then(|row| String::from_utf8(row.value).ok()?.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn sequences(&self, producer: &str, epoch: ProducerEpoch) -> Vec<(StreamId, Sequence)> {
        let streams = self.sequences.get(&(producer.to_owned(), epoch));
        streams.into_iter().flatten().map(|(stream, sequence)| (*stream, *sequence)).collect()
    }

    /// Whether the cursor of the subscription says that the event is done with.
    pub(crate) fn is_passed(&self, subscription: SubscriptionId, offset: Offset) -> bool {
        let Some(rows) = self.rows.get(&subscription) else { return false };
        let within = offset.0 % CHUNK_OFFSETS;
        let chunk = rows.chunks.get(&(offset.0 / CHUNK_OFFSETS));
        offset.0 < rows.floor || chunk.is_some_and(|chunk| chunk.0[(within / 64) as usize] >> (within % 64) & 1 == 1)
    }

    /// Whether the subscription has a dead or unknown row of the event.
    pub(crate) fn is_given_up(&self, subscription: SubscriptionId, offset: Offset) -> bool {
        let rows = self.rows.get(&subscription);
        rows.is_some_and(|rows| rows.dead.contains_key(&offset) || rows.unknown.contains(&offset))
    }
}

fn put<K: Ord, V>(rows: &mut BTreeMap<K, V>, key: K, row: Option<V>) {
    match row {
        Some(row) => drop(rows.insert(key, row)),
        None => drop(rows.remove(&key)),
    }
}
