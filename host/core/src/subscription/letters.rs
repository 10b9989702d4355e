//! The dead letters of a subscription: how they come, what a person can do about them, and how they stay within their bounds.
//!
//! The letters themselves are on disk only; the machine keeps their numbers. Whoever decides about one reads it first, and sees
//! to it that nobody else decides about letters of this subscription meanwhile. Knows nothing of filters, rates and people.
//!
//! Invariant: the totals are those of the rows written so far; a letter whose delivery waits in its place is never removed.

use alloc::format;
use alloc::string::String;

use super::Machine;
use super::records::Became;
use super::waits::Wait;
use crate::event::{Event, StoredEvent};
use crate::ids::{Attempt, KeyGeneration, Offset, Position};
use crate::lane_hash::LaneMark;
use crate::origin::Origin;
use crate::row::{DeadRow, DeadState, DeadTotals, Parking, RecordStatus, WaitingRow};
use crate::seeded::{Bug, is_planted};
use crate::spec::{OnDeadFull, OnExhausted, Ordering};
use crate::step::{Action, Step, Stuck, Write};
use crate::time::{Millis, Timestamp};

/// How often letters are looked through for those that are too old.
pub(super) const CHECK_EVERY: Millis = Millis::from_secs(600);
/// At a bound this part of it is removed at once, so that not every new letter costs a walk over the oldest ones.
pub(super) const REMOVED_PART: u64 = 16;

/// What a person does about a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Deliver it again: in its place if its key waits for it, else as a copy to the private topic.
    Replay,
    /// Give it up for good; a key that waits for it goes on.
    Dismiss,
    /// Put another event in its place, for a later replay under another idempotency key.
    Edit(Event),
    /// Remove it.
    Purge,
}

/// Why a decision was not carried out. The caller must look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// It was decided before.
    #[error("it is {} already", .0.word())]
    Decided(DeadState),
    /// Removing it would lose the event that its key waits for.
    #[error("its key waits for it; replay or dismiss it first")]
    KeyWaits,
    /// An edited event must stay in its lane.
    #[error("its key waits for it, so ordering key and priority must stay as they are")]
    KeyChanged,
    /// There is no place for copies.
    #[error("the subscription has no private topic; start the host again to have it made")]
    NoPrivateTopic,
}

/// What the machine must know of a letter to trim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadFacts {
    /// Its event.
    pub position: Position,
    /// Where it stands.
    pub state: DeadState,
    /// When it was given up.
    pub at: Timestamp,
    /// When its event came; letters are shown in this order.
    pub received: Timestamp,
    /// See [`DeadRow::cost`].
    pub cost: u64,
}

impl DeadFacts {
    /// Those of a letter.
    #[must_use]
    pub fn of(row: &DeadRow) -> DeadFacts {
        let DeadRow { event, state, at, .. } = row;
        let (position, received) = (event.position, event.received);
        DeadFacts { position, state: *state, at: *at, received, cost: row.cost() }
    }
}

/// What trimming a page of letters came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Undecided letters that were removed.
    pub removed: u64,
    /// No further page is wanted.
    pub is_done: bool,
}

/// Why letters are looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trim {
    Age,
    Bound,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Letters {
    pub(super) totals: DeadTotals,
    /// The totals differ from their row.
    is_changed: bool,
    /// Deliveries given up since the recovery.
    buried: u64,
    trim: Option<Trim>,
    check_at: Option<Timestamp>,
}

impl Letters {
    pub(super) fn new(totals: DeadTotals) -> Letters {
        Letters { totals, is_changed: false, buried: 0, trim: None, check_at: None }
    }

    pub(super) fn next_check(&self) -> Option<Timestamp> {
        self.check_at
    }

    fn add(&mut self, state: DeadState, cost: u64) {
        self.totals.add(state, cost);
        self.is_changed = true;
    }

    fn take(&mut self, state: DeadState, cost: u64) {
        self.totals.take(state, cost);
        self.is_changed = true;
    }
}

impl Machine {
    /// Gives a delivery up: the dead letter and the settlement, or the parking of its key, are one batch.
    pub(super) fn bury(
        &mut self,
        now: Timestamp,
        event: StoredEvent,
        wait: Wait,
        cause: &str,
        hold: Option<Millis>,
        step: &mut Step,
    ) {
        let position = event.position;
        let parks = self.spec.on_exhausted == OnExhausted::ParkKey && wait.lane.is_some();
        let generation = match wait.row.parking {
            Parking::Released { generation } => generation,
            Parking::Never | Parking::Parked => Origin::of(self.spec.id, self.spec.redelivery, &event).generation,
        };
        let row = DeadRow {
            event,
            state: if parks { DeadState::Manual } else { DeadState::Open },
            holds_key: parks,
            decided: None,
            generation,
            revision: wait.revision,
            cause: cause.into(),
            reason: wait.row.notes.last().map_or_else(String::new, |note| note.reason.clone()),
            attempts: wait.row.spent,
            channel: wait.row.channel,
            plugin: wait.row.plugin,
            notes: wait.row.notes.clone(),
            at: now,
        };
        if wait.row.parking != Parking::Never {
            // It takes the place of the letter from which it was tried again.
            self.letters.take(DeadState::Replayed, row.cost());
        }
        self.letters.add(row.state, row.cost());
        self.letters.buried += 1;
        let status = if parks { RecordStatus::Manual } else { RecordStatus::Dead };
        let detail = format!("{cause}: {}", row.reason);
        self.record(now, &row.event, Became { status, attempt: Attempt(wait.row.attempts()), detail }, step);
        let dead = Write::Dead { subscription: self.spec.id, position, row };
        if is_planted(Bug::DeadLetterAfterAck) {
            self.held_back[0].push(dead);
        } else {
            step.writes.push(dead);
        }
        if parks {
            self.park_key(position, wait, step);
        } else {
            self.settle(now, position.offset, wait.lane, Some(wait), hold, step);
        }
        self.bound_letters(now, step);
    }

    /// Deliveries given up since the machine was recovered.
    #[must_use]
    pub fn buried(&self) -> u64 {
        self.letters.buried
    }

    /// Leaves a delivery as the head of its lane, to be tried no more until a person decides.
    fn park_key(&mut self, position: Position, mut wait: Wait, step: &mut Step) {
        let offset = position.offset;
        wait.row.parking = Parking::Parked;
        wait.row.due = Timestamp::NEVER;
        wait.row.lane = self.mark_of(&wait);
        step.writes.push(Write::Waiting { subscription: self.spec.id, offset, row: Some(wait.row) });
        step.actions.push(Action::Stuck { position, how: Stuck::Parked });
        self.spill(offset, wait.class, wait.lane, Timestamp::NEVER);
    }

    /// Carries out a person's decision about a letter as it is on disk. Several may go into one step; follow with
    /// [`super::Input::Tick`].
    pub fn decide(
        &mut self,
        now: Timestamp,
        mut letter: DeadRow,
        decision: Decision,
        step: &mut Step,
    ) -> Result<(), DecideError> {
        let offset = letter.event.position.offset;
        if decision != Decision::Purge && !letter.state.is_undecided() {
            return Err(DecideError::Decided(letter.state));
        }
        match decision {
            Decision::Replay => {
                letter.holds_key = self.release(now, &letter, step);
                if !letter.holds_key {
                    let topic = self.spec.redelivery.ok_or(DecideError::NoPrivateTopic)?;
                    let origin = self.letter_origin(&letter);
                    let event = letter.event.event.clone();
                    step.writes.push(Write::Redeliver { topic, origin, is_late: true, event });
                }
                self.restate(now, letter, DeadState::Replayed, step);
            }
            Decision::Dismiss => {
                if self.give_up_parked(&letter, step) {
                    let attempt = Attempt(letter.attempts.saturating_add(letter.channel).saturating_add(letter.plugin));
                    let detail = "a person gave it up".into();
                    self.record(now, &letter.event, Became { status: RecordStatus::Dead, attempt, detail }, step);
                }
                self.restate(now, letter, DeadState::Dismissed, step);
            }
            Decision::Edit(event) => {
                let old = &letter.event.event;
                let is_moved = event.key() != old.key() || event.class() != old.class();
                if is_moved && self.parking(offset) != Parking::Never {
                    return Err(DecideError::KeyChanged);
                }
                self.letters.take(letter.state, letter.cost());
                letter.event.event = event;
                letter.generation = KeyGeneration(letter.generation.0.saturating_add(1));
                self.letters.add(letter.state, letter.cost());
                self.write_letter(letter, step);
            }
            Decision::Purge => {
                if self.parking(offset) != Parking::Never {
                    return Err(DecideError::KeyWaits);
                }
                self.remove_letter(&DeadFacts::of(&letter), step);
            }
        }
        Ok(())
    }

    /// The delivery that a replay of the letter continues.
    fn letter_origin(&self, letter: &DeadRow) -> Origin {
        let origin = Origin::of(self.spec.id, self.spec.redelivery, &letter.event);
        Origin { generation: letter.generation, may_resend: false, ..origin }
    }

    fn restate(&mut self, now: Timestamp, mut letter: DeadRow, state: DeadState, step: &mut Step) {
        let cost = letter.cost();
        self.letters.take(letter.state, cost);
        self.letters.add(state, cost);
        letter.state = state;
        letter.decided = Some(now);
        self.write_letter(letter, step);
    }

    fn write_letter(&self, row: DeadRow, step: &mut Step) {
        step.writes.push(Write::Dead { subscription: self.spec.id, position: row.event.position, row });
    }

    fn remove_letter(&mut self, facts: &DeadFacts, step: &mut Step) {
        self.letters.take(facts.state, facts.cost);
        step.writes.push(Write::DeadGone { subscription: self.spec.id, position: facts.position });
    }

    /// Whether a delivery waits for a person, or again after one decided. One that is on disk only and not parked counts as
    /// released: its row may say so, and a letter may be what it needs.
    pub(super) fn parking(&self, offset: Offset) -> Parking {
        match self.waits.get(offset) {
            Some(wait) => wait.row.parking,
            None if self.spilled.is_parked(offset) => Parking::Parked,
            None if self.spilled.contains(offset) => Parking::Released { generation: KeyGeneration::default() },
            None => Parking::Never,
        }
    }

    /// Has a parked delivery tried again in its place, with a fresh budget; false if it is not parked.
    fn release(&mut self, now: Timestamp, letter: &DeadRow, step: &mut Step) -> bool {
        let (offset, event) = (letter.event.position.offset, &letter.event.event);
        if self.parking(offset) != Parking::Parked {
            return false;
        }
        let class = event.class();
        let row = WaitingRow {
            due: now,
            parking: Parking::Released { generation: letter.generation },
            class,
            lane: event.key().map_or(LaneMark::Unkeyed, |key| LaneMark::Keyed(self.lanes.hash_of(key, class))),
            ..WaitingRow::default()
        };
        step.writes.push(Write::Waiting { subscription: self.spec.id, offset, row: Some(row) });
        self.spilled.unpark(offset, class, now);
        true
    }

    /// Settles a parked delivery without another attempt, so that its key goes on; whether there was one.
    fn give_up_parked(&mut self, letter: &DeadRow, step: &mut Step) -> bool {
        let (offset, event) = (letter.event.position.offset, &letter.event.event);
        if self.parking(offset) != Parking::Parked {
            return false;
        }
        self.cursor.settle(offset);
        self.staying.remove(&offset);
        step.writes.push(Write::Waiting { subscription: self.spec.id, offset, row: None });
        let is_head = self.spilled.forget_parked(offset);
        let key = if self.spec.ordering == Ordering::ByKey { event.key() } else { None };
        let Some(key) = key else { return true };
        let (hash, class) = (self.lanes.hash_of(key, event.class()), event.class());
        if is_head {
            let id = self.open_again(offset, hash, key, class);
            self.go_on_behind(Some(id));
        } else if !self.spilled.is_blocked(hash) {
            // What follows in its lane must find that this settlement may not be durable.
            let id = self.lanes.open_hashed(hash, key, class);
            self.lanes.get_mut(id).settled_in = self.seals + 1;
            self.lanes.end(id);
        }
        true
    }

    /// After a letter was added: are there too many?
    fn bound_letters(&mut self, now: Timestamp, step: &mut Step) {
        let (bounds, totals) = (self.spec.dead, self.letters.totals);
        if totals.letters <= bounds.letters_max && totals.bytes <= bounds.bytes_max {
            return;
        }
        match bounds.on_full {
            OnDeadFull::RemoveOldest => {
                if self.letters.trim.replace(Trim::Bound).is_none() {
                    step.actions.push(Action::TrimDead);
                }
            }
            OnDeadFull::Pause => {
                let reason = alloc::format!(
                    "{} dead letters ({} MiB) are more than allowed; replay, dismiss or purge some, then resume",
                    totals.letters,
                    totals.bytes >> 20
                );
                self.pause(now, "host".into(), reason, step);
            }
        }
    }

    /// Has letters looked through for their age now and then.
    pub(super) fn look_after_letters(&mut self, now: Timestamp, step: &mut Step) {
        let letters = &mut self.letters;
        if letters.totals.letters == 0 {
            letters.check_at = None;
            return;
        }
        let at = *letters.check_at.get_or_insert(now.after(CHECK_EVERY));
        if at <= now {
            letters.check_at = Some(now.after(CHECK_EVERY));
            if letters.trim.is_none() {
                letters.trim = Some(Trim::Age);
                step.actions.push(Action::TrimDead);
            }
        }
    }

    /// Removes letters that are too old or too many: the answer to [`Action::TrimDead`], page by page in the order of their
    /// places. `is_last`: there are no more letters, or they cannot be read.
    pub fn trim(&mut self, now: Timestamp, page: &[DeadFacts], is_last: bool, step: &mut Step) -> Trimmed {
        let mut trimmed = Trimmed { removed: 0, is_done: is_last };
        let age_max = self.spec.dead.age_max;
        for facts in page {
            let is_over = self.is_over();
            if !is_over && now.since(facts.received) <= age_max {
                // A letter is not older than its event, and what follows came later still.
                trimmed.is_done = true;
                break;
            }
            // A letter whose delivery was let go keeps no key any more.
            let is_wanted = self.parking(facts.position.offset) != Parking::Never;
            if !is_wanted && (is_over || now.since(facts.at) > age_max) {
                self.remove_letter(facts, step);
                trimmed.removed += u64::from(facts.state.is_undecided());
            }
        }
        if trimmed.removed > 0 {
            self.letters.totals.removed += trimmed.removed;
        }
        if trimmed.is_done {
            self.letters.trim = None;
        }
        trimmed
    }

    /// Whether a trim for the bounds has more to remove.
    fn is_over(&self) -> bool {
        let (bounds, totals) = (self.spec.dead, self.letters.totals);
        let low = |max: u64| max - max / REMOVED_PART;
        self.letters.trim == Some(Trim::Bound)
            && (totals.letters > low(bounds.letters_max) || totals.bytes > low(bounds.bytes_max))
    }

    /// Adds the totals to a step that is about to be committed.
    pub(super) fn seal_letters(&mut self, step: &mut Step) {
        if core::mem::take(&mut self.letters.is_changed) {
            let row = self.letters.totals;
            step.writes.push(Write::DeadTotals { subscription: self.spec.id, row });
        }
    }
}
