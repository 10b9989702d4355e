//! The rows of one subscription as a store holds them, and what they say of each event.
//!
//! Knows nothing of the machine. Invariant: a row never says twice, or in two ways, what became of a delivery.

use std::collections::BTreeMap;

use bugle_core::event::Class;
use bugle_core::ids::Offset;
use bugle_core::retention::Claims;
use bugle_core::row::{
    CHUNK_OFFSETS, ChannelRow, CursorChunk, CursorRow, DeadRow, DeadState, DeadTotals, HoldRow, LetGoRow, Parking,
    PausedRow, RecordStatus, RunRow, UnknownRow, UnknownState, UnknownTotals, WaitingRow,
};
use bugle_core::step::{CatalogKind, Write};
use bugle_core::subscription::Recovered;

use crate::bits::Bits;
use crate::rule::{self, Checked, broken, must};

/// Words of one chunk of the cursor.
const CHUNK_WORDS: usize = CHUNK_OFFSETS as usize / 64;

/// See the module.
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
    /// How often its breaker opened.
    pub(crate) openings: u64,
    pub(crate) dead: BTreeMap<Offset, DeadRow>,
    /// How many letters came, also of those that are gone.
    pub(crate) buried: u64,
    totals: DeadTotals,
    pub(crate) unknown: BTreeMap<Offset, UnknownRow>,
    unknown_totals: UnknownTotals,
    pub(crate) acked: Bits,
    /// Past the expirytime of the event.
    pub(crate) expired: Bits,
    /// Dropped or handed on by a degrade rule, or erased before they were delivered.
    pub(crate) suppressed: Bits,
    /// What was let go: by a seek, or over the backlog cap. What was with the plugin at that moment may be among it.
    pub(crate) let_gone: Bits,
    /// What a row tells the end of.
    pub(crate) told: Bits,
    /// Whether it has send records; that never changes.
    pub(crate) has_records: bool,
    /// What its send records say of deliveries: the latest only.
    recorded: BTreeMap<Offset, RecordStatus>,
    /// Ends told by the batch that is applied, with the status that a record must have after it.
    must_record: Vec<(Offset, RecordStatus)>,
    /// The same, and what a person said of unknown results: each of them is an outcome.
    ended: Vec<(Offset, RecordStatus)>,
    /// Ends of which the batch does not say whether they are any: an outcome of theirs is in order, and so is none.
    may_have_ended: Vec<(Offset, RecordStatus)>,
    /// Number of its latest definition.
    pub(crate) definition: Option<usize>,
}

impl Rows {
    /// Applies a row of this subscription.
    pub(crate) fn apply(&mut self, write: &Write) -> Checked {
        match write {
            Write::Cursor { row, .. } => {
                let floor = row.floor.0;
                must(rule::FLOOR_ONLY_RISES, floor >= self.floor, || format!("from {} to {floor}", self.floor))?;
                self.floor = floor;
            }
            Write::Chunk { chunk, row, .. } => put(&mut self.chunks, *chunk, row.clone()),
            Write::Waiting { offset, row, .. } => put(&mut self.waiting, *offset, row.clone()),
            Write::Hold { key, class, row, .. } => put(&mut self.holds, (key.clone(), *class), *row),
            Write::Paused { row, .. } => self.paused = row.clone(),
            Write::WaitingRange { from, to, .. } => self.waiting.retain(|offset, _| *offset < *from || *offset >= *to),
            Write::Run { row, .. } => self.run = *row,
            Write::LetGo { row, .. } => {
                self.let_go = Some(*row);
                (row.from.0..row.to.0).for_each(|offset| {
                    self.let_gone.add(Offset(offset));
                });
            }
            Write::Channel { row, .. } => {
                let is_open = |row: &Option<ChannelRow>| row.as_ref().is_some_and(|row| row.open.is_some());
                self.openings += u64::from(is_open(row) && !is_open(&self.channel));
                self.channel = row.clone();
            }
            Write::Record { position, row, .. } => {
                self.recorded.insert(position.offset, row.status);
                if row.status == RecordStatus::Expired {
                    self.tell(position.offset, "expired", RecordStatus::Expired)?;
                    self.expired.add(position.offset);
                }
                if row.detail.starts_with("degrade rule") || row.detail == "its content was erased" {
                    self.tell(position.offset, "suppressed", RecordStatus::Suppressed)?;
                    self.suppressed.add(position.offset);
                }
            }
            // On its way to the committer; what comes of it is looked after beside these rows.
            Write::Note { .. } => {}
            Write::Dead { position, row, .. } => self.bury(position.offset, row)?,
            Write::DeadGone { position, .. } => {
                let is_there = self.dead.remove(&position.offset).is_some();
                must(rule::LETTERS_ARE_COUNTED, is_there, || format!("{position} has no letter to remove"))?;
            }
            Write::DeadTotals { row, .. } => self.totals = *row,
            Write::Unknown { position, row, .. } => self.park(position.offset, row)?,
            Write::UnknownGone { position, .. } => {
                let is_there = self.unknown.remove(&position.offset).is_some();
                must(rule::UNKNOWN_ARE_COUNTED, is_there, || format!("{position} has no unknown result to remove"))?;
            }
            Write::UnknownTotals { row, .. } => self.unknown_totals = *row,
            Write::Catalog { kind: CatalogKind::Subscription, value: Some(value), .. } => {
                self.definition = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            }
            other => return broken(rule::DRIVER_IS_SOUND, format!("{other:?} is no row of a subscription")),
        }
        Ok(())
    }

    /// A letter comes, or somebody decided about it. One whose key waits for it ends no delivery.
    fn bury(&mut self, offset: Offset, row: &DeadRow) -> Checked {
        let before = self.dead.insert(offset, row.clone());
        self.buried += u64::from(before.is_none());
        let is_decision = before.is_some_and(|old| row.decided.is_some() || row.generation > old.generation);
        match row.state {
            DeadState::Open if !is_decision => self.tell(offset, "dead", RecordStatus::Dead),
            DeadState::Dismissed if !self.is_told(offset) && !self.is_gone(offset) => {
                self.tell(offset, "dismissed", RecordStatus::Dead)
            }
            DeadState::Dismissed if !self.is_told(offset) => {
                // In one batch with a seek past it: which came first is not seen here.
                self.may_have_ended.push((offset, RecordStatus::Dead));
                Ok(())
            }
            DeadState::Open | DeadState::Manual | DeadState::Replayed | DeadState::Dismissed => Ok(()),
        }
    }

    /// An unknown result comes, or a person resolved it.
    fn park(&mut self, offset: Offset, row: &UnknownRow) -> Checked {
        match self.unknown.insert(offset, row.clone()) {
            None => self.tell(offset, "unknown", RecordStatus::Unknown),
            Some(old) => {
                let is_decision = old.state == UnknownState::Open && row.state != UnknownState::Open;
                let is_sent = row.state == UnknownState::Sent;
                self.ended.push((offset, if is_sent { RecordStatus::Sent } else { RecordStatus::Suppressed }));
                must(rule::RESOLVED_ONCE, is_decision, || {
                    format!("{offset} went from {:?} to {:?}", old.state, row.state)
                })
            }
        }
    }

    /// The numbers of the unknown results are theirs.
    pub(crate) fn check_unknown(&self) -> Checked {
        let mut counted = UnknownTotals { removed: self.unknown_totals.removed, ..UnknownTotals::default() };
        self.unknown.values().for_each(|row| counted.add(row.state, row.cost()));
        let told = self.unknown_totals;
        must(rule::UNKNOWN_ARE_COUNTED, counted == told, || format!("{counted:?}, not {told:?}"))
    }

    /// Letters, their numbers and parked keys tell the same story.
    pub(crate) fn check_letters(&self) -> Checked {
        let mut counted = DeadTotals { removed: self.totals.removed, ..DeadTotals::default() };
        self.dead.values().for_each(|row| counted.add(row.state, row.cost()));
        must(rule::LETTERS_ARE_COUNTED, counted == self.totals, || format!("{counted:?}, not {:?}", self.totals))?;
        // A delivery that was let go leaves its letter, and its row comes back to be deleted.
        let manual = self.dead.iter().filter(|(_, row)| row.state == DeadState::Manual).map(|(offset, _)| offset);
        let manual = manual.filter(|offset| !self.is_gone(**offset));
        let parked = self.waiting.iter().filter(|(_, row)| row.parking == Parking::Parked).map(|(offset, _)| offset);
        let parked = parked.filter(|offset| !self.is_gone(**offset));
        let is_same = manual.clone().eq(parked.clone());
        must(rule::LETTERS_ARE_COUNTED, is_same, || {
            format!("letters park {:?}, and rows {:?}", manual.collect::<Vec<_>>(), parked.collect::<Vec<_>>())
        })
    }

    /// The delivery was acked: its kv entry says so.
    pub(crate) fn ack(&mut self, offset: Offset) -> Checked {
        self.tell(offset, "acked", RecordStatus::Sent)?;
        self.acked.add(offset);
        Ok(())
    }

    /// After a batch: each end that it told has its record.
    pub(crate) fn check_records(&mut self) -> Checked {
        let has_records = self.has_records;
        for (offset, wanted) in std::mem::take(&mut self.must_record) {
            let told = self.recorded.get(&offset).copied().filter(|_| has_records);
            let is_same = told.map_or(!has_records, |told| told == wanted);
            must(rule::RECORDED, is_same, || format!("{offset} is {} and its record says {told:?}", wanted.word()))?;
        }
        Ok(())
    }

    /// How deliveries ended by the batch that was applied.
    pub(crate) fn take_ended(&mut self) -> Vec<(Offset, RecordStatus)> {
        std::mem::take(&mut self.ended)
    }

    pub(crate) fn take_may_have_ended(&mut self) -> Vec<(Offset, RecordStatus)> {
        std::mem::take(&mut self.may_have_ended)
    }

    fn tell(&mut self, offset: Offset, what: &str, record: RecordStatus) -> Checked {
        self.must_record.push((offset, record));
        self.ended.push((offset, record));
        must(rule::TOLD_ONCE, self.told.add(offset), || format!("{offset} is {what}, and was told of before"))
    }

    pub(crate) fn is_told(&self, offset: Offset) -> bool {
        self.told.has(offset)
    }

    /// Whether it was let go and the cursor is past it: what was with the plugin at that moment is not.
    pub(crate) fn is_gone(&self, offset: Offset) -> bool {
        let (word, bit) = ((offset.0 / 64) as usize, offset.0 % 64);
        (self.let_gone.word(word) & self.passed(word)) >> bit & 1 == 1
    }

    pub(crate) fn waiting_len(&self) -> u64 {
        self.waiting.len() as u64
    }

    pub(crate) fn waiting(&self, offset: Offset) -> Option<&WaitingRow> {
        self.waiting.get(&offset)
    }

    /// A delivery that is settled and still has a waiting row.
    pub(crate) fn settled_and_waiting(&self) -> Option<Offset> {
        self.waiting.keys().copied().find(|offset| self.told.has(*offset))
    }

    /// What of the logs must stay for it.
    pub(crate) fn claims(&self, covered: u8) -> Claims {
        Claims { floor: Offset(self.floor), waiting: self.waiting.keys().next().copied(), covered }
    }

    /// Whether a start reads on from there or from before it.
    pub(crate) fn has_in_front(&self, offset: Offset) -> bool {
        offset.0 >= self.floor
    }

    /// Words of offsets that lie wholly below the floor.
    pub(crate) fn whole_words_passed(&self) -> usize {
        (self.floor / 64) as usize
    }

    /// Which of the 64 offsets of a word the cursor says are done with.
    pub(crate) fn passed(&self, word: usize) -> u64 {
        let start = word as u64 * 64;
        let below = match self.floor.saturating_sub(start) {
            0 => 0,
            64.. => return u64::MAX,
            some => (1 << some) - 1,
        };
        let chunk = self.chunks.get(&(start / CHUNK_OFFSETS));
        below | chunk.map_or(0, |chunk| chunk.0[word % CHUNK_WORDS])
    }

    /// What the machine of the subscription finds after a restart.
    pub(crate) fn recovered(&self) -> Recovered {
        Recovered {
            cursor: CursorRow { floor: Offset(self.floor) },
            chunks: self.chunks.iter().map(|(number, chunk)| (*number, chunk.clone())).collect(),
            waiting: self.waiting.iter().map(|(offset, row)| (*offset, row.clone())).collect(),
            holds: self.holds.iter().map(|((key, class), row)| (key.clone(), *class, *row)).collect(),
            paused: self.paused.clone(),
            run: self.run,
            let_go: self.let_go,
            channel: self.channel.clone(),
            dead: self.totals,
            unknown: self.unknown_totals,
        }
    }
}

fn put<K: Ord, V>(rows: &mut BTreeMap<K, V>, key: K, row: Option<V>) {
    match row {
        Some(row) => drop(rows.insert(key, row)),
        None => drop(rows.remove(&key)),
    }
}
