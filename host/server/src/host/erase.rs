//! Erasing what belongs to a key or a user: from the log, the schedule, what is kept for people, and then from the files.
//!
//! The place, source and id of an event stay, since receipts, dedup and the order of the log hang on them. Knows nothing of HTTP.
//! See docs/decisions/0029-erasing.md.
//!
//! Invariant: one at a time; what was erased before an interruption stays so, and running it again finishes it, the files included.

mod wanted;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bugle_broker::{
    CancelError, CancelWhat, ChangeLettersError, Changed, HoldLettersError, LETTERS_PAGE_MAX, Letters, ReadError,
    Stopped,
};
use bugle_core::code::Code;
use bugle_core::event::StoredEvent;
use bugle_core::ids::{Offset, Position};
use bugle_core::step::CatalogKind;
use bugle_core::subscription::Decision;
use bugle_core::time::{Millis, Timestamp};
use bugle_store::{EventBounds, UpkeepError};

use super::{Host, position};
use crate::api::{EraseRequest, EraseView};
use crate::encode;
use wanted::Wanted;

/// Events looked at before the thread is given back.
const PAGE: EventBounds = EventBounds { events_max: 4_096, bytes_max: 4 << 20 };
/// Events whose content goes in one batch.
const ERASED_AT_ONCE: usize = 256;
/// Events erased in one run: their places are in memory until it ends.
const ERASED_MAX: usize = 1_000_000;
/// Bytes of a receipt: too many to try them all.
const RECEIPT_BYTES: usize = 16;
/// The row that says when the files were last rid of what was erased.
const REWRITTEN: &str = "erased-from-files";

/// Why not everything was erased.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// The caller: the request.
    #[error("{0}")]
    Invalid(&'static str),
    /// The caller: the topic.
    #[error("there is no topic `{0}`; `bugle topic list` shows them")]
    UnknownTopic(String),
    /// The caller: patience.
    #[error("something else is being erased; wait for it")]
    Busy,
    /// The caller: somebody else's work.
    #[error("not all was erased; erase again then")]
    Hold(#[from] HoldLettersError),
    /// The operator: the disk.
    #[error("not all was erased; erase again when the disk is well")]
    Read(#[from] ReadError),
    /// The operator: the disk.
    #[error("all was erased, but the files may still have it; erase again when the disk is well")]
    Rewrite(#[source] UpkeepError),
    /// The operator: the machine.
    #[error("the system gave no random bytes for the receipt; nothing was erased")]
    Random,
    /// A bug of ours.
    #[error("an event could not be replaced by what is left of it: {0}")]
    Encode(String),
    /// The host stops.
    #[error("not all was erased; erase again")]
    Stopped(#[from] Stopped),
}

impl EraseError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            EraseError::Invalid(_) => Code::Invalid,
            EraseError::UnknownTopic(_) => Code::UnknownTopic,
            EraseError::Busy | EraseError::Hold(_) => Code::Conflict,
            EraseError::Read(_) | EraseError::Rewrite(_) | EraseError::Encode(_) => Code::StorageFailed,
            EraseError::Stopped(_) | EraseError::Random => Code::Unavailable,
        }
    }
}

impl From<bugle_broker::EraseError> for EraseError {
    fn from(error: bugle_broker::EraseError) -> EraseError {
        match error {
            bugle_broker::EraseError::Read(error) => error.into(),
            bugle_broker::EraseError::Stopped(error) => error.into(),
        }
    }
}

impl From<ChangeLettersError> for EraseError {
    fn from(error: ChangeLettersError) -> EraseError {
        match error {
            ChangeLettersError::Read(error) => error.into(),
            ChangeLettersError::Stopped(error) => error.into(),
        }
    }
}

impl From<CancelError> for EraseError {
    fn from(error: CancelError) -> EraseError {
        match error {
            CancelError::UnknownTopic(topic) => EraseError::UnknownTopic(topic),
            CancelError::Read(error) => error.into(),
            CancelError::Stopped(error) => error.into(),
        }
    }
}

impl Host {
    /// Erases what is meant, or counts it. Goes on to its end even if nobody waits for it.
    pub async fn erase(self: Arc<Self>, request: EraseRequest) -> Result<EraseView, EraseError> {
        let erased = tokio::spawn(async move { self.erase_now(&request).await });
        erased.await.map_err(|_| EraseError::Stopped(Stopped))?
    }

    async fn erase_now(&self, request: &EraseRequest) -> Result<EraseView, EraseError> {
        let wanted = Arc::new(Wanted::of(self, request)?);
        let _one_at_a_time = self.erasing.try_lock().map_err(|_| EraseError::Busy)?;
        let started = Instant::now();
        let receipt = match &request.receipt {
            Some(receipt) => receipt.clone(),
            None => receipt()?,
        };
        let audit = self.audit("erase", &wanted.fingerprint(&receipt));
        if !request.dry_run {
            let row = audit.row("begun".to_owned());
            self.bus().define(row.kind, row.key, row.value, Vec::new()).await?;
        }
        let view = EraseView { dry_run: request.dry_run, ..EraseView::default() };
        let mut run = Run {
            host: self,
            wanted,
            at: self.bus().now(),
            view,
            from: self.bus().floor(),
            end: self.bus().end(),
            changed: BTreeSet::new(),
        };
        if !request.dry_run {
            // A key that waits for a letter is given up with it, and what tells of that comes at the end of the log.
            run.letters().await?;
        }
        run.log().await?;
        run.letters().await?;
        if !request.dry_run {
            run.log().await?;
        }
        run.records().await?;
        if !request.dry_run {
            run.files().await?;
            let EraseView { events, scheduled, dead_letters, unknown, records, .. } = run.view;
            let detail = format!(
                "{events} events ({scheduled} of them scheduled), {dead_letters} dead letters, {unknown} unknown results, \
                 {records} send records"
            );
            let row = audit.row(detail);
            self.bus().define(row.kind, row.key, row.value, Vec::new()).await?;
        }
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(EraseView { took_ms, receipt: (!request.dry_run).then_some(receipt), ..run.view })
    }
}

/// Text that nobody can guess.
fn receipt() -> Result<String, EraseError> {
    let mut bytes = [0u8; RECEIPT_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| EraseError::Random)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// One run.
struct Run<'h> {
    host: &'h Host,
    wanted: Arc<Wanted>,
    at: Timestamp,
    view: EraseView,
    /// The log was looked through up to here,
    from: Offset,
    /// and is to be up to there.
    end: Offset,
    /// Places whose content went, also in runs that were interrupted: their records and the files may still have some of it.
    changed: BTreeSet<Offset>,
}

impl Run<'_> {
    async fn log(&mut self) -> Result<(), EraseError> {
        let bus = self.host.bus();
        self.end = bus.end();
        let rewritten = self.rewritten().await?;
        // So that a run that is interrupted is told from the one before.
        self.at = self.at.max(rewritten.map_or(self.at, |at| at.after(Millis(1))));
        while self.from < self.end && !self.view.is_more {
            let page = bus.read(self.from, PAGE).await?;
            if page.events.is_empty() {
                break;
            }
            self.from = page.next;
            self.view.looked_at += page.events.len() as u64;
            let is_unfinished =
                |stored: &&StoredEvent| stored.event.is_erased() && stored.event.timing().expires > rewritten;
            self.changed.extend(page.events.iter().filter(is_unfinished).map(|stored| stored.position.offset));
            let mut meant = Vec::new();
            for stored in &page.events {
                if self.wanted.means(stored, &self.changed) {
                    // What tells of its end comes later in the log.
                    self.changed.insert(stored.position.offset);
                    meant.push(stored);
                }
            }
            for some in meant.chunks(ERASED_AT_ONCE) {
                self.replace(some).await?;
            }
            self.view.is_more = self.changed.len() >= ERASED_MAX;
        }
        self.view.up_to = position(if self.view.is_more { self.from } else { self.end });
        Ok(())
    }

    async fn replace(&mut self, meant: &[&StoredEvent]) -> Result<(), EraseError> {
        let bus = self.host.bus();
        let mut left = Vec::with_capacity(meant.len());
        for stored in meant {
            if stored.is_scheduled() && bus.fate(stored.position.offset)?.is_none() {
                self.view.scheduled += 1;
                if !self.view.dry_run {
                    let topics = bus.topics();
                    let topic =
                        topics.iter().find(|topic| topic.id == stored.topic).map(|topic| topic.name.to_string());
                    let (source, id) = (stored.event.source().to_owned(), stored.event.id().to_owned());
                    let what = CancelWhat::Id { source, id };
                    bus.cancel_scheduled(&topic.unwrap_or_default(), what, |_| Vec::new()).await?;
                    // If it was released just now, its copy is the latest.
                    self.end = bus.end();
                }
            }
            let event = encode::erased(&stored.event, &self.id_of(stored), self.at).map_err(EraseError::Encode)?;
            left.push(StoredEvent { event, ..(*stored).clone() });
        }
        self.view.events += left.len() as u64;
        if !self.view.dry_run {
            bus.erase(left).await.map_err(EraseError::from)?;
        }
        Ok(())
    }

    /// The id of what is left of an event. That of an outcome may name its recipient, and nobody sends one again.
    fn id_of(&self, stored: &StoredEvent) -> String {
        let event = &stored.event;
        if !self.wanted.is_outcome(stored) {
            return event.id().to_owned();
        }
        let of = |name: &str| event.attribute(name).unwrap_or_default();
        format!("{}/{}/{}/{}", of("subscription"), of("eventposition"), of("outcome"), stored.position)
    }

    /// Dead letters and unknown results have the event in them, and outlive the log.
    async fn letters(&mut self) -> Result<(), EraseError> {
        if self.view.events > 0 && !self.view.dry_run {
            let statuses = self.host.bus().statuses().await;
            let machines = statuses.iter().filter_map(|status| status.machine.as_ref());
            self.view.calls = machines.map(|machine| machine.in_flight as u64).sum();
        }
        for spec in self.host.bus().subscriptions() {
            let mut after = None;
            loop {
                let page = self.host.bus().dead(&spec.name, after, LETTERS_PAGE_MAX).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.position);
                let meant = page.iter().filter(|entry| self.wanted.means(&entry.row.event, &self.changed));
                let meant: Vec<Position> = meant.map(|entry| entry.position).collect();
                self.view.dead_letters += meant.len() as u64;
                if !meant.is_empty() && !self.view.dry_run {
                    let mut letters = self.host.bus().hold_letters(&spec.name)?;
                    let left = self.purge(&mut letters, meant).await?;
                    self.view.left += left;
                    self.view.dead_letters -= left;
                }
            }
            let mut after = None;
            loop {
                let page = self.host.bus().unknown(&spec.name, after, LETTERS_PAGE_MAX).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.position);
                let meant = page.iter().filter(|entry| self.wanted.means(&entry.row.event, &self.changed));
                let meant: Vec<Position> = meant.map(|entry| entry.position).collect();
                self.view.unknown += meant.len() as u64;
                if !meant.is_empty() && !self.view.dry_run {
                    self.host.bus().hold_letters(&spec.name)?.erase_unknown(meant).await?;
                }
            }
        }
        Ok(())
    }

    /// Removes letters; one for which its key waits is given up first. How many are left, since they are being delivered again.
    async fn purge(&self, letters: &mut Letters, positions: Vec<Position>) -> Result<u64, EraseError> {
        let purge = async |letters: &mut Letters, positions: Vec<Position>| {
            let changed = letters.change(positions.clone(), |_| Some(Decision::Purge), |_| Vec::new()).await?;
            let refused = positions.into_iter().zip(changed);
            let refused = refused.filter(|(_, changed)| matches!(changed, Changed::Refused(_)));
            Ok::<Vec<Position>, ChangeLettersError>(refused.map(|(position, _)| position).collect())
        };
        let waiting = purge(letters, positions).await?;
        if waiting.is_empty() {
            return Ok(0);
        }
        letters.change(waiting.clone(), |_| Some(Decision::Dismiss), |_| Vec::new()).await?;
        Ok(purge(letters, waiting).await?.len() as u64)
    }

    async fn records(&mut self) -> Result<(), EraseError> {
        let (wanted, erased) = (Arc::clone(&self.wanted), Arc::new(self.changed.clone()));
        let mut from = None;
        loop {
            let (wanted, erased) = (Arc::clone(&wanted), Arc::clone(&erased));
            let is_meant = move |entry: &bugle_store::RecordEntry| {
                wanted.recipient.as_ref() == Some(&entry.row.recipient) || erased.contains(&entry.position.offset)
            };
            let (records, next) = self.host.bus().erase_records(from, self.view.dry_run, is_meant).await?;
            self.view.records += records;
            from = next;
            if from.is_none() {
                return Ok(());
            }
        }
    }

    /// Rids the files of it, and notes that.
    async fn files(&mut self) -> Result<(), EraseError> {
        let (store, changed) = (Arc::clone(self.host.bus().store()), self.changed.clone());
        let wanted = Arc::clone(&self.wanted);
        let written = tokio::task::spawn_blocking(move || {
            store.rewrite(&changed)?;
            let listed = wanted.texts().map(|text| store.is_listed(text)).collect::<Result<Vec<bool>, _>>();
            listed.map(|listed| listed.contains(&true)).map_err(|error| UpkeepError { reason: error.to_string() })
        });
        self.view.listed = written.await.map_err(|_| EraseError::Stopped(Stopped))?.map_err(EraseError::Rewrite)?;
        let (key, value) = (REWRITTEN.to_owned(), self.at.0.to_string().into_bytes());
        Ok(self.host.bus().define(CatalogKind::Counter, key, Some(value), Vec::new()).await?)
    }

    /// When the files were last rid of what was erased until then.
    async fn rewritten(&self) -> Result<Option<Timestamp>, EraseError> {
        let store = Arc::clone(self.host.bus().store());
        let row = tokio::task::spawn_blocking(move || store.catalog(CatalogKind::Counter, REWRITTEN)).await;
        let row = row.map_err(|_| EraseError::Stopped(Stopped))?.map_err(ReadError::from)?;
        let parse = |row: Vec<u8>| Some(Timestamp(std::str::from_utf8(&row).ok()?.parse().ok()?));
        Ok(row.and_then(parse))
    }
}
