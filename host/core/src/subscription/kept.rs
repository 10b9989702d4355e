//! What dead letters and unknown results have in common: both are kept for a person, within bounds, and not for ever.
//!
//! The rows are on disk only. The machine keeps their numbers, asks for pages when some have to go, and says which.
//!
//! Invariant: the totals are those of the rows written so far; a letter whose delivery waits in its place is never removed.

use super::Machine;
use crate::ids::Position;
use crate::row::{DeadRow, DeadState, Parking, UnknownRow, UnknownState};
use crate::spec::OnDeadFull;
use crate::step::{Action, Kept, Step, Write};
use crate::time::{Millis, Timestamp};

/// How often rows are looked through for those that are too old.
const CHECK_EVERY: Millis = Millis::from_secs(600);
/// At a bound this part of it is removed at once, so that not every new row costs a walk over the oldest ones.
const REMOVED_PART: u64 = 16;

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptState {
    /// A dead letter.
    Dead(DeadState),
    /// An unknown result.
    Unknown(UnknownState),
}

impl KeptState {
    fn is_undecided(self) -> bool {
        match self {
            KeptState::Dead(state) => state.is_undecided(),
            KeptState::Unknown(state) => state == UnknownState::Open,
        }
    }
}

/// What the machine must know of a row to trim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptFacts {
    /// Its event.
    pub position: Position,
    /// Where it stands.
    pub state: KeptState,
    /// When it was given up or parked.
    pub at: Timestamp,
    /// When its event came; rows are shown in this order.
    pub received: Timestamp,
    /// See [`DeadRow::cost`] and [`UnknownRow::cost`].
    pub cost: u64,
}

impl From<&DeadRow> for KeptFacts {
    fn from(row: &DeadRow) -> KeptFacts {
        let (position, received) = (row.event.position, row.event.received);
        KeptFacts { position, state: KeptState::Dead(row.state), at: row.at, received, cost: row.cost() }
    }
}

impl From<&UnknownRow> for KeptFacts {
    fn from(row: &UnknownRow) -> KeptFacts {
        let (position, received) = (row.event.position, row.event.received);
        KeptFacts { position, state: KeptState::Unknown(row.state), at: row.at, received, cost: row.cost() }
    }
}

/// What trimming a page came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Rows that nobody had decided about and that were removed.
    pub removed: u64,
    /// No further page is wanted.
    pub is_done: bool,
}

/// Why rows are looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trim {
    Age,
    Bound,
}

/// The totals of one kind, and when its rows are looked through.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    pub(super) totals: T,
    /// The totals differ from their row.
    pub(super) is_changed: bool,
    upkeep: Upkeep,
}

#[derive(Debug, Default)]
struct Upkeep {
    trim: Option<Trim>,
    check_at: Option<Timestamp>,
}

impl<T> Shelf<T> {
    pub(super) fn new(totals: T) -> Shelf<T> {
        Shelf { totals, is_changed: false, upkeep: Upkeep::default() }
    }

    pub(super) fn next_check(&self) -> Option<Timestamp> {
        self.upkeep.check_at
    }

    /// Changes the totals.
    pub(super) fn count(&mut self, change: impl FnOnce(&mut T)) {
        change(&mut self.totals);
        self.is_changed = true;
    }
}

impl Machine {
    fn upkeep(&mut self, kept: Kept) -> &mut Upkeep {
        match kept {
            Kept::Dead => &mut self.letters.upkeep,
            Kept::Unknown => &mut self.unknowns.upkeep,
        }
    }

    /// How many rows there are, and what they cost.
    fn amount(&self, kept: Kept) -> (u64, u64) {
        match kept {
            Kept::Dead => (self.letters.totals.letters, self.letters.totals.bytes),
            Kept::Unknown => (self.unknowns.totals.rows, self.unknowns.totals.bytes),
        }
    }

    fn begin_trim(&mut self, kept: Kept, trim: Trim, step: &mut Step) {
        // A walk for the age that is under way goes on for the bound.
        if self.upkeep(kept).trim.replace(trim).is_none() {
            step.actions.push(Action::Trim(kept));
        }
    }

    /// After a row was added: are there too many?
    pub(super) fn bound_kept(&mut self, now: Timestamp, kept: Kept, step: &mut Step) {
        let (bounds, (rows, bytes)) = (self.spec.dead, self.amount(kept));
        if rows <= bounds.letters_max && bytes <= bounds.bytes_max {
            return;
        }
        match bounds.on_full {
            OnDeadFull::RemoveOldest => self.begin_trim(kept, Trim::Bound, step),
            OnDeadFull::Pause => {
                let (what, remedy) = match kept {
                    Kept::Dead => ("dead letters", "replay, dismiss or purge some"),
                    Kept::Unknown => {
                        ("unknown results", "raise `dead_letters.letters_max` or shorten `dead_letters.age_max`")
                    }
                };
                let mib = bytes >> 20;
                let reason = alloc::format!("{rows} {what} ({mib} MiB) are more than allowed; {remedy}, then resume");
                self.pause(now, "host".into(), reason, step);
            }
        }
    }

    /// Has rows looked through for their age now and then.
    pub(super) fn look_after_kept(&mut self, now: Timestamp, step: &mut Step) {
        for kept in [Kept::Dead, Kept::Unknown] {
            let is_empty = self.amount(kept).0 == 0;
            let upkeep = self.upkeep(kept);
            if is_empty {
                upkeep.check_at = None;
                continue;
            }
            if *upkeep.check_at.get_or_insert(now.after(CHECK_EVERY)) <= now {
                upkeep.check_at = Some(now.after(CHECK_EVERY));
                if upkeep.trim.is_none() {
                    self.begin_trim(kept, Trim::Age, step);
                }
            }
        }
    }

    /// Removes rows that are too old or too many: the answer to [`Action::Trim`], page by page in the order of their places.
    /// `is_last`: there are no more rows, or they cannot be read.
    pub fn trim(&mut self, now: Timestamp, kept: Kept, page: &[KeptFacts], is_last: bool, step: &mut Step) -> Trimmed {
        let mut trimmed = Trimmed { removed: 0, is_done: is_last };
        let age_max = self.spec.dead.age_max;
        for facts in page {
            let is_over = self.is_over(kept);
            if !is_over && now.since(facts.received) <= age_max {
                // A row is not older than its event, and what follows came later still.
                trimmed.is_done = true;
                break;
            }
            // A letter whose delivery was let go keeps no key any more.
            let is_wanted = kept == Kept::Dead && self.parking(facts.position.offset) != Parking::Never;
            if !is_wanted && (is_over || now.since(facts.at) > age_max) {
                self.remove_kept(facts, step);
                trimmed.removed += u64::from(facts.state.is_undecided());
            }
        }
        match kept {
            Kept::Dead => self.letters.totals.removed += trimmed.removed,
            Kept::Unknown => self.unknowns.totals.removed += trimmed.removed,
        }
        if trimmed.is_done {
            self.upkeep(kept).trim = None;
        }
        trimmed
    }

    pub(super) fn remove_kept(&mut self, facts: &KeptFacts, step: &mut Step) {
        let (subscription, position) = (self.spec.id, facts.position);
        match facts.state {
            KeptState::Dead(state) => {
                self.letters.count(|totals| totals.take(state, facts.cost));
                step.writes.push(Write::DeadGone { subscription, position });
            }
            KeptState::Unknown(state) => {
                self.unknowns.count(|totals| totals.take(state, facts.cost));
                step.writes.push(Write::UnknownGone { subscription, position });
            }
        }
    }

    /// Whether a trim for the bounds has more to remove.
    fn is_over(&mut self, kept: Kept) -> bool {
        let (bounds, (rows, bytes)) = (self.spec.dead, self.amount(kept));
        let low = |max: u64| max - max / REMOVED_PART;
        self.upkeep(kept).trim == Some(Trim::Bound) && (rows > low(bounds.letters_max) || bytes > low(bounds.bytes_max))
    }

    /// Adds the totals to a step that is about to be committed.
    pub(super) fn seal_kept(&mut self, step: &mut Step) {
        let subscription = self.spec.id;
        if core::mem::take(&mut self.letters.is_changed) {
            step.writes.push(Write::DeadTotals { subscription, row: self.letters.totals });
        }
        if core::mem::take(&mut self.unknowns.is_changed) {
            step.writes.push(Write::UnknownTotals { subscription, row: self.unknowns.totals });
        }
    }
}
