//! The dead letters of a subscription: how they come, and what a person can do about them.
//!
//! The letters themselves are on disk only; their numbers and bounds are in `kept`. Whoever decides about one reads it first, and
//! sees to it that nobody else decides about letters of this subscription meanwhile. Knows nothing of filters, rates and people.
//!
//! Invariant: a decision and what it does to the delivery are one batch; what was decided is not decided again.

use alloc::format;
use alloc::string::String;

use super::Machine;
use super::kept::KeptFacts;
use super::records::Became;
use super::waits::Wait;
use crate::event::{Event, StoredEvent};
use crate::ids::{Attempt, KeyGeneration, Offset, Position};
use crate::lane_hash::LaneMark;
use crate::origin::Origin;
use crate::row::{DeadRow, DeadState, Parking, RecordStatus, WaitingRow};
use crate::seeded::{Bug, is_planted};
use crate::spec::{OnExhausted, Ordering};
use crate::step::{Action, Kept, Step, Stuck, Write};
use crate::time::{Millis, Timestamp};

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
            self.letters.count(|totals| totals.take(DeadState::Replayed, row.cost()));
        }
        self.letters.count(|totals| totals.add(row.state, row.cost()));
        self.buried += 1;
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
        self.bound_kept(now, Kept::Dead, step);
    }

    /// Deliveries given up since the machine was recovered.
    #[must_use]
    pub fn buried(&self) -> u64 {
        self.buried
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
                let (state, cost) = (letter.state, letter.cost());
                letter.event.event = event;
                letter.generation = KeyGeneration(letter.generation.0.saturating_add(1));
                self.recount(cost, state, &letter);
                self.write_letter(letter, step);
            }
            Decision::Purge => {
                if self.parking(offset) != Parking::Never {
                    return Err(DecideError::KeyWaits);
                }
                self.remove_kept(&KeptFacts::from(&letter), step);
            }
        }
        Ok(())
    }

    /// The delivery that a replay of the letter continues.
    fn letter_origin(&self, letter: &DeadRow) -> Origin {
        let origin = Origin::of(self.spec.id, self.spec.redelivery, &letter.event);
        Origin { generation: letter.generation, may_resend: false, late: 0, ..origin }
    }

    fn restate(&mut self, now: Timestamp, mut letter: DeadRow, state: DeadState, step: &mut Step) {
        let (cost, before) = (letter.cost(), letter.state);
        letter.state = state;
        letter.decided = Some(now);
        self.recount(cost, before, &letter);
        self.write_letter(letter, step);
    }

    /// A letter that counted so much in that state is another one now.
    fn recount(&mut self, cost: u64, state: DeadState, letter: &DeadRow) {
        self.letters.count(|totals| {
            totals.take(state, cost);
            totals.add(letter.state, letter.cost());
        });
    }

    fn write_letter(&self, row: DeadRow, step: &mut Step) {
        step.writes.push(Write::Dead { subscription: self.spec.id, position: row.event.position, row });
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
}
