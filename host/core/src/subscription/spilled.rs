//! What memory keeps of deliveries that wait on disk only: which lanes they block, when they are due, and which they are.
//!
//! About 36 bytes each, so that a million fit where a few thousand would with their rows, keys and queues. Knows nothing of
//! rows, events and verdicts. See docs/decisions/0015-waiting-deliveries-on-disk.md.
//!
//! Invariant: a spilled delivery is in `offsets` until its load was answered, and so is the lane it heads in `lanes`; meanwhile
//! it is in the heap of its class, in `loads`, or waits for a person.

use alloc::collections::BTreeMap;

use super::due_heap::DueHeap;
use super::heads::Heads;
use super::offset_set::OffsetSet;
use crate::event::Class;
use crate::ids::Offset;
use crate::lane_hash::LaneHash;
use crate::row::Culprit;
use crate::step::LoadNumber;
use crate::time::Timestamp;

/// Spilled deliveries whose attempts are given back: as many as a window of evidence can hold several times over.
const GIVEN_BACK_MAX: usize = 4_096;
/// Spilled deliveries on which the plugin broke: when there are more, it is not the events that are to blame.
const BROKEN_MAX: usize = 4_096;
/// A delivery on its way back to memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loading {
    pub(crate) offset: Offset,
    class: Class,
    due: Timestamp,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Spilled {
    seed: u64,
    lanes: Heads,
    offsets: OffsetSet,
    /// Those of them that are never due.
    parked: OffsetSet,
    /// Rows found at the restart whose deliveries are settled: what was let go while it waited here. They are to be deleted.
    orphans: OffsetSet,
    /// Those whose row was found at the restart and whose event was not read since.
    recovered: OffsetSet,
    /// By class.
    due: [DueHeap; 3],
    loads: BTreeMap<LoadNumber, Loading>,
    /// How many of them, by class.
    loading: [usize; 3],
    loads_asked: u64,
    /// Rows of a recovered machine that are not the head of a spilled lane, or whose lane is not known: their events queue as
    /// if they had none, and are spilled when they come to the head of their lane.
    strays: BTreeMap<Offset, Timestamp>,
    /// Of those that were strays once and are spilled now: the lane each of them blocks, or that it blocks none. Their rows need not
    /// say so, and their events cannot once they are erased.
    stray_lanes: BTreeMap<Offset, Option<LaneHash>>,
    given_back: BTreeMap<Offset, (u32, Culprit)>,
    /// Successes of the subscription when the plugin broke on a delivery first.
    broken_at: BTreeMap<Offset, u64>,
}

fn heap_of(class: Class) -> usize {
    usize::from(class.code())
}

impl Spilled {
    pub(crate) fn new(seed: u64) -> Spilled {
        Spilled {
            seed,
            lanes: Heads::new(seed),
            offsets: OffsetSet::default(),
            parked: OffsetSet::default(),
            orphans: OffsetSet::default(),
            recovered: OffsetSet::default(),
            due: Default::default(),
            loads: BTreeMap::new(),
            loading: [0; 3],
            loads_asked: 0,
            strays: BTreeMap::new(),
            stray_lanes: BTreeMap::new(),
            given_back: BTreeMap::new(),
            broken_at: BTreeMap::new(),
        }
    }

    /// Deliveries on disk only.
    pub(crate) fn len(&self) -> usize {
        self.offsets.len() + self.strays.len()
    }

    /// Keys they block.
    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Keys among them that have later events.
    pub(crate) fn followed(&self) -> usize {
        self.lanes.followed()
    }

    /// Whether an event that is read for the first time since the restart is one whose row was found then. It may have come back,
    /// and be anywhere, before the log was read so far.
    pub(crate) fn is_recovered(&self, offset: Offset) -> bool {
        self.recovered.contains(offset)
    }

    /// The first offset from here on that is not such an event.
    pub(crate) fn next_unrecovered(&self, from: Offset) -> Offset {
        self.recovered.next_absent(from)
    }

    /// The first offset in `from..to` that is such an event.
    pub(crate) fn next_recovered(&self, from: Offset, to: Offset) -> Option<Offset> {
        self.recovered.next_within(from, to)
    }

    /// Adds a delivery whose row was found at the restart.
    pub(crate) fn recover(&mut self, offset: Offset, class: Class, due: Timestamp) {
        self.recovered.insert(offset);
        self.add(offset, class, due);
    }

    /// The log was read up to here.
    pub(crate) fn passed(&mut self, position: Offset) {
        self.recovered.forget_below(position);
    }

    /// Adds a delivery that is on disk; one that is never due waits for a person.
    pub(crate) fn add(&mut self, offset: Offset, class: Class, due: Timestamp) {
        self.offsets.insert(offset);
        if due == Timestamp::NEVER {
            self.parked.insert(offset);
        } else {
            self.due[heap_of(class)].push(due, offset);
        }
    }

    /// Whether a delivery is spilled.
    pub(crate) fn contains(&self, offset: Offset) -> bool {
        self.offsets.contains(offset) || self.is_stray(offset)
    }

    /// Whether a spilled delivery is never due.
    pub(crate) fn is_parked(&self, offset: Offset) -> bool {
        self.parked.contains(offset) || self.strays.get(&offset) == Some(&Timestamp::NEVER)
    }

    /// When a spilled delivery is due; `None` if it is on its way back. A walk: for people, not for each event.
    pub(crate) fn due_of(&self, offset: Offset) -> Option<Timestamp> {
        let in_heap = self.due.iter().flat_map(DueHeap::iter).find(|(_, spilled)| *spilled == offset);
        in_heap.map(|(due, _)| due).or_else(|| self.strays.get(&offset).copied())
    }

    /// Makes a delivery due that never was; its row says so too.
    pub(crate) fn unpark(&mut self, offset: Offset, class: Class, due: Timestamp) {
        if let Some(stray) = self.strays.get_mut(&offset) {
            *stray = due;
            return;
        }
        self.parked.remove(offset);
        self.due[heap_of(class)].push(due, offset);
    }

    /// Forgets a delivery that is never due: it was settled. False if it is not the head of its lane.
    pub(crate) fn forget_parked(&mut self, offset: Offset) -> bool {
        if self.strays.remove(&offset).is_some() {
            return false;
        }
        self.parked.remove(offset);
        self.offsets.remove(offset);
        self.forget_lane(offset);
        true
    }

    /// Everything below `to` was settled, whatever it waited for: it comes back at once, so that its lane goes on.
    pub(crate) fn hurry_below(&mut self, to: Offset) {
        for heap in &mut self.due {
            heap.hurry_below(to);
        }
        while let Some(offset) = self.parked.next_within(Offset(0), to) {
            self.unpark(offset, Class::default(), Timestamp(0));
        }
        let kept = self.strays.split_off(&to);
        for offset in core::mem::replace(&mut self.strays, kept).into_keys() {
            self.orphans.insert(offset);
        }
    }

    /// Notes a row whose delivery is settled.
    pub(crate) fn add_orphan(&mut self, offset: Offset) {
        self.orphans.insert(offset);
    }

    /// Takes a row that is to be deleted.
    pub(crate) fn take_orphan(&mut self) -> Option<Offset> {
        self.orphans.pop_first()
    }

    pub(crate) fn has_orphans(&self) -> bool {
        self.orphans.len() > 0
    }

    /// Whether there is a row on disk of any of them.
    pub(crate) fn has_rows(&self) -> bool {
        self.len() > 0 || self.has_orphans()
    }

    /// Nothing is spilled any more; an answer to a load of before is still told from one to a later load.
    pub(crate) fn clear(&mut self) {
        *self = Spilled { loads_asked: self.loads_asked, ..Spilled::new(self.seed) };
    }

    /// Blocks a lane, with the first later event of it that was read; false if it was blocked before.
    pub(crate) fn block(&mut self, lane: LaneHash, behind: Option<Offset>) -> bool {
        self.lanes.insert(lane, behind)
    }

    /// Whether a lane is blocked.
    pub(crate) fn is_blocked(&self, lane: LaneHash) -> bool {
        self.lanes.contains(lane)
    }

    /// Notes a later event of a blocked lane; false if the lane is not blocked.
    pub(crate) fn follow(&mut self, lane: LaneHash, offset: Offset) -> bool {
        self.lanes.follow(lane, offset)
    }

    /// Frees a lane whose head is back. If it has later events: where they begin, at or after `from`.
    pub(crate) fn unblock(&mut self, lane: LaneHash, from: Offset) -> Option<Offset> {
        self.lanes.remove(lane, from)
    }

    /// The earliest due time of a class.
    pub(crate) fn next_due(&self, class: Class) -> Option<Timestamp> {
        self.due[heap_of(class)].next()
    }

    /// The earliest due time of all.
    pub(crate) fn next_retry(&self) -> Option<Timestamp> {
        self.due.iter().filter_map(DueHeap::next).min()
    }

    /// Deliveries of a class on their way back.
    pub(crate) fn loading(&self, class: Class) -> usize {
        self.loading[heap_of(class)]
    }

    /// Takes the first delivery of a class that is due, to be loaded.
    pub(crate) fn take_due(&mut self, class: Class, now: Timestamp) -> Option<(LoadNumber, Offset)> {
        if self.next_due(class)? > now {
            return None;
        }
        let (due, offset) = self.due[heap_of(class)].pop()?;
        self.loads_asked += 1;
        let number = LoadNumber(self.loads_asked);
        self.loads.insert(number, Loading { offset, class, due });
        self.loading[heap_of(class)] += 1;
        Some((number, offset))
    }

    /// The delivery of a load that is not answered yet.
    pub(crate) fn load(&self, number: LoadNumber) -> Option<Loading> {
        self.loads.get(&number).copied()
    }

    /// Loads that are not answered yet.
    pub(crate) fn loads(&self) -> impl Iterator<Item = (LoadNumber, Offset)> {
        self.loads.iter().map(|(number, loading)| (*number, loading.offset))
    }

    /// Ends a load: the delivery is in memory now.
    pub(crate) fn loaded(&mut self, number: LoadNumber) {
        if let Some(loading) = self.loads.remove(&number) {
            self.offsets.remove(loading.offset);
            self.loading[heap_of(loading.class)] -= 1;
        }
    }

    /// Remembers that attempts of a spilled delivery were not its fault, until it is back. Beyond the bound they stay charged.
    pub(crate) fn give_back(&mut self, offset: Offset, count: u32, culprit: Culprit) {
        if self.offsets.contains(offset)
            && (self.given_back.len() < GIVEN_BACK_MAX || self.given_back.contains_key(&offset))
        {
            let (given, blamed) = self.given_back.entry(offset).or_insert((0, culprit));
            (*given, *blamed) = (given.saturating_add(count), culprit);
        }
    }

    /// Remembers since when the plugin breaks on a delivery; beyond the bound it counts anew.
    pub(crate) fn note_break(&mut self, offset: Offset, successes: u64) {
        if self.broken_at.len() < BROKEN_MAX {
            self.broken_at.insert(offset, successes);
        }
    }

    /// That of a delivery that is back.
    pub(crate) fn take_break(&mut self, offset: Offset) -> Option<u64> {
        if self.broken_at.is_empty() { None } else { self.broken_at.remove(&offset) }
    }

    /// What was remembered for a delivery that is back.
    pub(crate) fn take_given_back(&mut self, offset: Offset) -> Option<(u32, Culprit)> {
        if self.given_back.is_empty() { None } else { self.given_back.remove(&offset) }
    }

    /// Adds a recovered row that is no head of a spilled lane.
    pub(crate) fn add_stray(&mut self, offset: Offset, due: Timestamp) {
        self.strays.insert(offset, due);
    }

    /// Whether there is a stray row of this event.
    pub(crate) fn is_stray(&self, offset: Offset) -> bool {
        !self.strays.is_empty() && self.strays.contains_key(&offset)
    }

    /// Takes the stray row of an event that came to the head of its lane: its due time.
    pub(crate) fn take_stray(&mut self, offset: Offset) -> Option<Timestamp> {
        if self.strays.is_empty() { None } else { self.strays.remove(&offset) }
    }

    /// Notes which lane a stray that is spilled from now on blocks, if any.
    pub(crate) fn note_lane(&mut self, offset: Offset, lane: Option<LaneHash>) {
        self.stray_lanes.insert(offset, lane);
    }

    /// Notes of a stray that it blocks no lane.
    pub(crate) fn unlane_stray(&mut self, offset: Offset) {
        if self.is_stray(offset) {
            self.note_lane(offset, None);
        }
    }

    /// What was noted of one that was a stray.
    pub(crate) fn lane_of_stray(&self, offset: Offset) -> Option<Option<LaneHash>> {
        self.stray_lanes.get(&offset).copied()
    }

    /// A delivery is back, or over.
    pub(crate) fn forget_lane(&mut self, offset: Offset) {
        self.stray_lanes.remove(&offset);
    }

    /// Spilled deliveries of a run that are no strays.
    pub(crate) fn within(&self, from: Offset, to: Offset) -> impl Iterator<Item = Offset> {
        let mut at = from;
        core::iter::from_fn(move || {
            let offset = self.offsets.next_within(at, to)?;
            at = offset.next();
            Some(offset)
        })
    }

    /// Takes the first stray row of `from..to`.
    pub(crate) fn take_stray_within(&mut self, from: Offset, to: Offset) -> Option<Offset> {
        if self.strays.is_empty() {
            return None;
        }
        let offset = *self.strays.range(from..to).next()?.0;
        self.strays.remove(&offset);
        Some(offset)
    }

    /// Every delivery with its due time. A walk: for people and tests.
    pub(crate) fn dues(&self) -> BTreeMap<Offset, Timestamp> {
        let mut all: BTreeMap<Offset, Timestamp> =
            self.offsets.iter().map(|offset| (offset, Timestamp::NEVER)).collect();
        all.extend(self.due.iter().flat_map(DueHeap::iter).map(|(due, offset)| (offset, due)));
        all.extend(self.loads.values().map(|loading| (loading.offset, loading.due)));
        all.extend(&self.strays);
        all
    }
}
