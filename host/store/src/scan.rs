//! Every row of the store, typed, for an independent check of what the host left behind.
//!
//! Reads families one after another, each in key order. Knows nothing of what would be right.
//!
//! Invariant: a row that cannot be told what it is, is an error, not left out.

use bugle_core::event::{Class, StoredEvent};
use bugle_core::ids::{Offset, Position, ProducerEpoch, Sequence, StreamId, SubscriptionId, TopicId};
use bugle_core::row::{
    ChannelRow, ClaimRow, CursorChunk, CursorRow, DeadRow, DeadTotals, FateRow, HoldRow, IdBlockRow, IdEntry, KvRow,
    LetGoRow, PausedRow, RunRow, ScheduledTotals, UnknownRow, UnknownTotals, WaitingRow,
};
use bugle_core::schedule::Due;
use bugle_core::time::Timestamp;
use rocksdb::{IteratorMode, ReadOptions};

use crate::codec::{Damaged, Number, Row, decode_event, decode_ids};
use crate::family::Family;
use crate::keys::{Fields, Kind};
use crate::read::{ReadError, RecordEntry, damaged, due_of, record_entry, scheduled_event, unversioned};
use crate::store::Store;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `bugle_core::step::Write`")]
pub enum ScannedRow {
    Event(StoredEvent),
    Sequence {
        producer: String,
        epoch: ProducerEpoch,
        stream: StreamId,
        sequence: Sequence,
    },
    Cursor {
        subscription: SubscriptionId,
        class: Class,
        row: CursorRow,
    },
    Chunk {
        subscription: SubscriptionId,
        class: Class,
        chunk: u64,
        row: CursorChunk,
    },
    Waiting {
        subscription: SubscriptionId,
        offset: Offset,
        row: WaitingRow,
    },
    Hold {
        subscription: SubscriptionId,
        class: Class,
        key: String,
        row: HoldRow,
    },
    Paused {
        subscription: SubscriptionId,
        row: PausedRow,
    },
    Run {
        subscription: SubscriptionId,
        row: RunRow,
    },
    LetGo {
        subscription: SubscriptionId,
        row: LetGoRow,
    },
    Channel {
        subscription: SubscriptionId,
        row: ChannelRow,
    },
    Dead {
        subscription: SubscriptionId,
        position: Position,
        row: DeadRow,
    },
    DeadTotals {
        subscription: SubscriptionId,
        row: DeadTotals,
    },
    Unknown {
        subscription: SubscriptionId,
        position: Position,
        row: UnknownRow,
    },
    UnknownTotals {
        subscription: SubscriptionId,
        row: UnknownTotals,
    },
    Claim {
        scope: String,
        key: String,
        row: ClaimRow,
    },
    Kv {
        store: String,
        key: String,
        row: KvRow,
    },
    Record(RecordEntry),
    /// The stable code of the kind, the key, the server's bytes.
    Catalog {
        kind: u8,
        key: String,
        value: Vec<u8>,
    },
    Scheduled(StoredEvent),
    ScheduledName {
        topic: TopicId,
        hash: u64,
        due: Due,
    },
    Fate {
        offset: Offset,
        row: FateRow,
    },
    ScheduledTotals {
        topic: TopicId,
        row: ScheduledTotals,
    },
    IdBlock {
        block: u64,
        row: IdBlockRow,
    },
    IdChunk {
        block: u64,
        chunk: u32,
        ids: Vec<IdEntry>,
    },
    /// A row the store keeps for itself.
    Own(Kind),
}

/// The rows of one family.
type Rows<'s> = Box<dyn Iterator<Item = Result<(Box<[u8]>, Box<[u8]>), rocksdb::Error>> + 's>;

/// All rows; see [`Store::scan`].
pub struct Scan<'s> {
    store: &'s Store,
    /// Families still to be read, last first.
    families: Vec<String>,
    current: Option<Rows<'s>>,
}

impl Store {
    /// Every row of the store: the log first, then the state families.
    #[must_use]
    pub fn scan(&self) -> Scan<'_> {
        let mut families: Vec<String> = self.log().all().into_iter().map(|(epoch, _)| epoch.family()).collect();
        families.extend(Family::ALL.map(|family| family.name().to_owned()));
        families.reverse();
        Scan { store: self, families, current: None }
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<ScannedRow, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(pair) = self.current.as_mut().and_then(Iterator::next) {
                return Some(pair.map_err(ReadError::from).and_then(|(key, value)| typed(&key, &value)));
            }
            let family = self.families.pop()?;
            let db = self.store.db();
            self.current = db.cf_handle(&family).map(|handle| {
                let mut options = ReadOptions::default();
                options.fill_cache(false);
                Box::new(db.iterator_cf_opt(&handle, options, IteratorMode::Start)) as Box<_>
            });
        }
    }
}

impl std::fmt::Debug for Scan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").field("families", &self.families).finish_non_exhaustive()
    }
}

pub(crate) fn typed(key: &[u8], value: &[u8]) -> Result<ScannedRow, ReadError> {
    let kind = Kind::of(key).ok_or(Damaged("unknown kind")).map_err(damaged(key))?;
    let row = match kind {
        Kind::Record => return record_entry(key, value).map(ScannedRow::Record),
        Kind::Cursor
        | Kind::Chunk
        | Kind::Waiting
        | Kind::Hold
        | Kind::Paused
        | Kind::Run
        | Kind::LetGo
        | Kind::Channel
        | Kind::Dead
        | Kind::DeadTotals
        | Kind::Unknown
        | Kind::UnknownTotals => of_subscription(kind, key, value),
        Kind::Scheduled | Kind::ScheduledName | Kind::Fate | Kind::ScheduledTotals => of_schedule(kind, key, value),
        Kind::Event | Kind::Sequence | Kind::Claim | Kind::Kv | Kind::Catalog | Kind::IdBlock | Kind::IdChunk => {
            of_slot(kind, key, value)
        }
        Kind::RecordOpen
        | Kind::RecordDone
        | Kind::RecordLate
        | Kind::RecordTo
        | Kind::RecordEvent
        | Kind::RecordReference => Ok(ScannedRow::Own(kind)),
        Kind::Window | Kind::ClaimExpiry | Kind::KvExpiry => Ok(ScannedRow::Own(kind)),
        Kind::Epoch | Kind::Format | Kind::Incarnation | Kind::IdSeed | Kind::Boot | Kind::Loss | Kind::Earlier => {
            Ok(ScannedRow::Own(kind))
        }
    };
    row.map_err(damaged(key))
}

const KEY: Damaged = Damaged("the key is not of its kind");

fn of_subscription(kind: Kind, key: &[u8], value: &[u8]) -> Result<ScannedRow, Damaged> {
    let mut fields = Fields::of(key);
    let subscription = fields.subscription().ok_or(KEY)?;
    if kind == Kind::Paused {
        return Ok(ScannedRow::Paused { subscription, row: PausedRow::decode(value)? });
    }
    if kind == Kind::Channel {
        return Ok(ScannedRow::Channel { subscription, row: ChannelRow::decode(value)? });
    }
    if kind == Kind::DeadTotals {
        return Ok(ScannedRow::DeadTotals { subscription, row: DeadTotals::decode(value)? });
    }
    if kind == Kind::UnknownTotals {
        return Ok(ScannedRow::UnknownTotals { subscription, row: UnknownTotals::decode(value)? });
    }
    if kind == Kind::Run {
        return Ok(ScannedRow::Run { subscription, row: RunRow::decode(value)? });
    }
    if kind == Kind::LetGo {
        return Ok(ScannedRow::LetGo { subscription, row: LetGoRow::decode(value)? });
    }
    if matches!(kind, Kind::Dead | Kind::Unknown) {
        let position = fields.position().ok_or(KEY)?;
        return Ok(if kind == Kind::Dead {
            ScannedRow::Dead { subscription, position, row: DeadRow::decode(value)? }
        } else {
            ScannedRow::Unknown { subscription, position, row: UnknownRow::decode(value)? }
        });
    }
    fields.slot().ok_or(KEY)?;
    if kind == Kind::Waiting {
        let offset = Offset(fields.u64().ok_or(KEY)?);
        return Ok(ScannedRow::Waiting { subscription, offset, row: WaitingRow::decode(value)? });
    }
    let class = fields.class().ok_or(KEY)?;
    Ok(match kind {
        Kind::Cursor => ScannedRow::Cursor { subscription, class, row: CursorRow::decode(value)? },
        Kind::Chunk => {
            let chunk = fields.u64().ok_or(KEY)?;
            ScannedRow::Chunk { subscription, class, chunk, row: CursorChunk::decode(value)? }
        }
        _ => {
            let key = fields.rest().ok_or(KEY)?.to_owned();
            ScannedRow::Hold { subscription, class, key, row: HoldRow::decode(value)? }
        }
    })
}

fn of_schedule(kind: Kind, key: &[u8], value: &[u8]) -> Result<ScannedRow, Damaged> {
    if kind == Kind::Scheduled {
        return Ok(ScannedRow::Scheduled(scheduled_event(due_of(key)?, value)?));
    }
    let mut fields = Fields::of(key);
    fields.slot().ok_or(KEY)?;
    if kind == Kind::Fate {
        return Ok(ScannedRow::Fate { offset: Offset(fields.u64().ok_or(KEY)?), row: FateRow::decode(value)? });
    }
    let topic = TopicId(fields.u32().ok_or(KEY)?);
    if kind == Kind::ScheduledTotals {
        return Ok(ScannedRow::ScheduledTotals { topic, row: ScheduledTotals::decode(value)? });
    }
    let (hash, at, offset) = (fields.u64().ok_or(KEY)?, fields.u64().ok_or(KEY)?, fields.u64().ok_or(KEY)?);
    unversioned(value)?;
    Ok(ScannedRow::ScheduledName { topic, hash, due: Due { at: Timestamp(at), offset: Offset(offset) } })
}

fn of_slot(kind: Kind, key: &[u8], value: &[u8]) -> Result<ScannedRow, Damaged> {
    let mut fields = Fields::of(key);
    Ok(match kind {
        Kind::Event => ScannedRow::Event(decode_event(fields.position().ok_or(KEY)?, value)?),
        Kind::Sequence => {
            let producer = fields.text().ok_or(KEY)?.to_owned();
            let epoch = ProducerEpoch(fields.u64().ok_or(KEY)?);
            let stream = StreamId(fields.u32().ok_or(KEY)?);
            ScannedRow::Sequence { producer, epoch, stream, sequence: Sequence(Number::decode(value)?.0) }
        }
        Kind::Claim => {
            let scope = fields.text().ok_or(KEY)?.to_owned();
            ScannedRow::Claim { scope, key: fields.rest().ok_or(KEY)?.to_owned(), row: ClaimRow::decode(value)? }
        }
        Kind::Kv => {
            let store = fields.text().ok_or(KEY)?.to_owned();
            ScannedRow::Kv { store, key: fields.rest().ok_or(KEY)?.to_owned(), row: KvRow::decode(value)? }
        }
        Kind::Catalog => {
            let kind = fields.u8().ok_or(KEY)?;
            let key = fields.rest().ok_or(KEY)?.to_owned();
            ScannedRow::Catalog { kind, key, value: unversioned(value)?.to_vec() }
        }
        Kind::IdBlock => ScannedRow::IdBlock { block: fields.u64().ok_or(KEY)?, row: IdBlockRow::decode(value)? },
        _ => {
            let (block, chunk) = (fields.u64().ok_or(KEY)?, fields.u32().ok_or(KEY)?);
            ScannedRow::IdChunk { block, chunk, ids: decode_ids(value)? }
        }
    })
}
