//! What a person does with dead letters in the random histories: decide about one, let the machine trim them.
//!
//! A letter is decided about as it is on disk, and only if no write of it is under way: the driver holds the letters meanwhile.

use bugle_core::ids::{Offset, TopicId};
use bugle_core::origin::Origin;
use bugle_core::row::{DeadRow, DeadState};
use bugle_core::step::Write;
use bugle_core::subscription::{DeadFacts, DecideError, Decision, Input};

use crate::event::event;
use crate::world::World;

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

    pub(crate) fn answer_trim(&mut self) -> Result<(), String> {
        let Some(after) = self.trim else { return Ok(()) };
        let letters = self.quiet_letters();
        let wanted = letters.iter().filter(|row| after.is_none_or(|after| row.event.position.offset > after));
        let page: Vec<DeadFacts> = wanted.map(DeadFacts::of).take(PAGE).collect();
        let is_last = page.len() < PAGE;
        self.journal.push(format!("trim after {after:?}: {page:?}, last {is_last}"));
        let before = self.written.dead.len() as u64;
        let trimmed = self.machine.trim(self.now, &page, is_last, &mut self.step);
        self.take_writes()?;
        if trimmed.removed > before - self.written.dead.len() as u64 {
            return Err("more letters were counted as removed than were".to_owned());
        }
        self.trim = if trimmed.is_done { None } else { page.last().map(|facts| Some(facts.position.offset)) };
        self.handle(Input::Tick)
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
            matches!(other, Write::Dead { row, .. } if row.state == DeadState::Replayed
                && Origin { generation: row.generation, ..Origin::of(id, private, &row.event) } == *origin)
        };
        if *topic != TopicId(3) || !is_late || !batch.iter().any(explains) {
            return Err(format!("a copy of {origin} without a letter that explains it"));
        }
        let offset = Offset(self.log.len() as u64);
        self.journal.push(format!("  the copy of {origin} is {offset}"));
        self.log.push(event(offset, *topic, "copy", copy.key().unwrap_or_default(), copy.class()));
        Ok(())
    }
}
