//! What a person does with dead letters and unknown results in the random histories: decide about one, let the machine trim them.
//!
//! A row is decided about as it is on disk, and only if no write of it is under way: the driver holds them meanwhile.

use bugle_core::event::StoredEvent;
use bugle_core::ids::{BootId, Offset, TopicId};
use bugle_core::ledger::Ledger;
use bugle_core::origin::Origin;
use bugle_core::row::{DeadRow, DeadState, UnknownRow, UnknownState};
use bugle_core::step::{Kept, Write};
use bugle_core::subscription::{DecideError, Decision, Input, KeptFacts, Resolution, ResolveError, Resolved};

use crate::event::event;
use crate::world::{Call, World};

/// Letters of a page shown to the machine.
const PAGE: usize = 3;

impl World {
    /// Letters that are on disk as they were last written.
    fn quiet_letters(&self) -> Vec<DeadRow> {
        let is_quiet = |(offset, row): &(&Offset, &DeadRow)| self.written.dead.get(offset) == Some(*row);
        self.disk.dead.iter().filter(is_quiet).map(|(_, row)| row.clone()).collect()
    }

    pub(crate) fn decide_one(&mut self) -> Result<(), String> {
        let letters = self.quiet_letters();
        if letters.is_empty() {
            return Ok(());
        }
        let letter = self.random.pick(&letters).clone();
        let decision = match self.random.below(8) {
            0..3 => Decision::Replay,
            3..5 => Decision::Dismiss,
            5..6 => Decision::Purge,
            _ => Decision::Edit(self.edited(&letter)),
        };
        self.decide(letter, decision)
    }

    /// Another event for the letter, now and then with another key.
    fn edited(&mut self, letter: &DeadRow) -> bugle_core::event::Event {
        let event_now = &letter.event.event;
        let key = if self.random.chance(80) { event_now.key().unwrap_or_default() } else { "z" };
        event(letter.event.position.offset, letter.event.topic, "edited", key, event_now.class()).event
    }

    fn decide(&mut self, letter: DeadRow, decision: Decision) -> Result<(), String> {
        let offset = letter.event.position.offset;
        let state = letter.state;
        self.journal.push(format!("decide about the letter of {offset}, {}: {decision:?}", state.word()));
        let is_purge = decision == Decision::Purge;
        let decided = self.machine.decide(self.now, letter, decision, &mut self.step);
        self.take_writes()?;
        match decided {
            Ok(()) if is_purge || state.is_undecided() => {}
            Ok(()) => return Err(format!("the letter of {offset} was decided twice")),
            Err(DecideError::Decided(DeadState::Replayed | DeadState::Dismissed)) if !state.is_undecided() => {}
            Err(DecideError::KeyWaits) if is_purge && self.written.is_parked_or_released(offset) => {}
            Err(DecideError::KeyChanged) if self.written.is_parked_or_released(offset) => {}
            Err(error) => return Err(format!("the letter of {offset}: {error}")),
        }
        self.handle(Input::Tick)
    }

    /// The second phase: every key that waits for a person is tried again in its place.
    pub(crate) fn decide_parked(&mut self) -> Result<(), String> {
        for letter in self.quiet_letters() {
            if letter.state == DeadState::Manual {
                self.decide(letter, Decision::Replay)?;
            }
        }
        Ok(())
    }

    /// The event of a delivery: as published, or as it is in the letter from which it is tried again.
    pub(crate) fn event_of(&self, call: Call) -> StoredEvent {
        match (call.letter, self.written.dead.get(&call.offset)) {
            (Some(_), Some(letter)) => letter.event.clone(),
            (Some(_) | None, _) => self.log[call.offset.0 as usize].clone(),
        }
    }

    /// Unknown results that are on disk as they were last written.
    fn quiet_unknowns(&self) -> Vec<UnknownRow> {
        let is_quiet = |(offset, row): &(&Offset, &UnknownRow)| self.written.unknown.get(offset) == Some(*row);
        self.disk.unknown.iter().filter(is_quiet).map(|(_, row)| row.clone()).collect()
    }

    pub(crate) fn resolve_one(&mut self) -> Result<(), String> {
        let rows = self.quiet_unknowns();
        if rows.is_empty() {
            return Ok(());
        }
        let row = self.random.pick(&rows).clone();
        let resolution = match self.random.below(3) {
            0 => Resolution::Sent { receipt: None },
            1 => Resolution::NotSent,
            _ => Resolution::Retry,
        };
        let (offset, state) = (row.event.position.offset, row.state);
        self.journal.push(format!("resolve {offset}, {}: {resolution:?}", state.word()));
        let mut ledger = Ledger::new(BootId(1));
        let told = (row, &resolution, "looked it up");
        let resolved = self.machine.resolve(self.now, &mut ledger, told, |_, _| None, &mut self.step);
        self.take_writes()?;
        match resolved {
            Ok(Resolved::Now(None)) if state == UnknownState::Open => Ok(()),
            Ok(Resolved::Before) if state == resolution.state() => Ok(()),
            Err(ResolveError::Decided(told)) if state == told && state != UnknownState::Open => Ok(()),
            other => Err(format!("the unknown result of {offset}, {}: {other:?}", state.word())),
        }
    }

    /// Shows a page of each kind that the machine wants to trim.
    pub(crate) fn answer_trims(&mut self) -> Result<(), String> {
        for kept in [Kept::Dead, Kept::Unknown] {
            let Some(after) = self.trims.remove(&kept) else { continue };
            let facts: Vec<KeptFacts> = match kept {
                Kept::Dead => self.quiet_letters().iter().map(KeptFacts::from).collect(),
                Kept::Unknown => self.quiet_unknowns().iter().map(KeptFacts::from).collect(),
            };
            let wanted = facts.into_iter().filter(|facts| after.is_none_or(|after| facts.position.offset > after));
            let page: Vec<KeptFacts> = wanted.take(PAGE).collect();
            let is_last = page.len() < PAGE;
            self.journal.push(format!("trim {kept:?} after {after:?}: {page:?}, last {is_last}"));
            let rows = |world: &World| (world.written.dead.len() + world.written.unknown.len()) as u64;
            let before = rows(self);
            let trimmed = self.machine.trim(self.now, kept, &page, is_last, &mut self.step);
            self.take_writes()?;
            if trimmed.removed > before - rows(self) {
                return Err("more rows were counted as removed than were".to_owned());
            }
            if let (false, Some(last)) = (trimmed.is_done, page.last()) {
                self.trims.insert(kept, Some(last.position.offset));
            }
            self.handle(Input::Tick)?;
        }
        Ok(())
    }

    /// A copy gets its place in the log, as admission gives it, in the batch of the letter that explains it.
    pub(crate) fn place(&mut self, write: &Write, batch: &[Write]) -> Result<(), String> {
        let Write::Redeliver { topic, origin, is_late, event: copy } = write else { return Ok(()) };
        if !is_late && *topic == TopicId(4) {
            // Handed on to another subscription.
            return Ok(());
        }
        let (id, private) = (self.spec.id, self.spec.redelivery);
        let explains = |other: &Write| {
            let (event, generation, may_resend) = match other {
                Write::Dead { row, .. } if row.state == DeadState::Replayed => (&row.event, row.generation, false),
                Write::Unknown { row, .. } if row.state == UnknownState::NotSent => (&row.event, row.generation, false),
                Write::Unknown { row, .. } if row.state == UnknownState::Retried => (&row.event, row.generation, true),
                _ => return false,
            };
            Origin { generation, may_resend, ..Origin::of(id, private, event) } == *origin
        };
        if *topic != TopicId(3) || !is_late || !batch.iter().any(explains) {
            return Err(format!("a copy of {origin} without a row that explains it"));
        }
        let offset = Offset(self.log.len() as u64);
        self.journal.push(format!("  the copy of {origin} is {offset}"));
        self.log.push(event(offset, *topic, "copy", copy.key().unwrap_or_default(), copy.class()));
        Ok(())
    }
}
