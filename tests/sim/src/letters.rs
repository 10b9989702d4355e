//! What a person does with dead letters in a history: decides about one, and the host trims them when the machine asks.
//!
//! A letter is decided about as it is on disk, and only if no write of it is under way: the host holds the letters meanwhile.
//! Invariant: a decision that is refused is refused for the reason that the rows give.

use bugle_core::event::{Event, Timing};
use bugle_core::ids::Offset;
use bugle_core::row::{DeadRow, DeadState};
use bugle_core::step::Write;
use bugle_core::subscription::{DeadFacts, DecideError, Decision, Input};

use crate::bus::{Bus, Item};
use crate::events::Attributes;
use crate::rule::{self, Checked, broken};
use crate::worker::Worker;

/// Letters of a page shown to the machine: small, so that there are several.
const PAGE: usize = 3;

impl Worker {
    /// Letters that are on disk as they were last written.
    fn quiet_letters(&self, bus: &Bus) -> Vec<DeadRow> {
        let (synced, written) = (bus.disk.synced.rows(self.spec.id), bus.disk.written.rows(self.spec.id));
        let queued = bus.queue.iter().filter_map(|item| match item {
            Item::Writes { writes, .. } => Some(writes),
            Item::Publish { .. } | Item::Hello { .. } | Item::Release | Item::Cancel { .. } => None,
        });
        let busy: Vec<Offset> =
            queued.flatten().chain(&self.step.writes).filter_map(|write| self.letter_of(write)).collect();
        let is_quiet =
            |(offset, row): &(&Offset, &DeadRow)| !busy.contains(offset) && written.dead.get(offset) == Some(*row);
        synced.dead.iter().filter(is_quiet).map(|(_, row)| row.clone()).collect()
    }

    fn letter_of(&self, write: &Write) -> Option<Offset> {
        if let Write::Dead { subscription, position, .. } | Write::DeadGone { subscription, position } = write
            && *subscription == self.spec.id
        {
            return Some(position.offset);
        }
        None
    }

    /// A person decides about one of them.
    pub(crate) fn decide_one(&mut self, bus: &mut Bus) -> Checked {
        let letters = self.quiet_letters(bus);
        if letters.is_empty() {
            return Ok(());
        }
        let letter = bus.random.pick(&letters).clone();
        let decision = match bus.random.below(8) {
            0..4 => Decision::Replay,
            4 | 5 => Decision::Dismiss,
            6 => Decision::Purge,
            _ => Decision::Edit(edited(&letter)),
        };
        self.decide(bus, letter, decision)
    }

    fn decide(&mut self, bus: &mut Bus, letter: DeadRow, decision: Decision) -> Checked {
        let (offset, state) = (letter.event.position.offset, letter.state);
        bus.note(|| format!("{}: {decision:?} of the letter of {offset}, {}", self.spec.name, state.word()));
        let is_purge = decision == Decision::Purge;
        match self.machine.decide(bus.now, letter, decision, &mut self.step) {
            Ok(()) if is_purge || state.is_undecided() => {}
            Err(DecideError::Decided(_)) if !state.is_undecided() => {}
            Err(DecideError::KeyWaits) if is_purge => {}
            other => {
                let what = format!("{}: the letter of {offset}, {}: {other:?}", self.spec.name, state.word());
                return broken(rule::DECIDED_ONCE, what);
            }
        }
        self.handle(bus, Input::Tick)
    }

    /// Every key that waits for a person is tried again in its place.
    pub(crate) fn decide_parked(&mut self, bus: &mut Bus) -> Checked {
        for letter in self.quiet_letters(bus) {
            if letter.state == DeadState::Manual {
                self.decide(bus, letter, Decision::Replay)?;
            }
        }
        Ok(())
    }

    /// Shows a page of letters to the machine, if it wants to trim them.
    pub(crate) fn answer_trim(&mut self, bus: &mut Bus) -> Checked {
        let Some(after) = self.trim else { return Ok(()) };
        let letters = self.quiet_letters(bus);
        let wanted = letters.iter().filter(|row| after.is_none_or(|after| row.event.position.offset > after));
        let page: Vec<DeadFacts> = wanted.map(DeadFacts::of).take(PAGE).collect();
        let is_last = page.len() < PAGE;
        let trimmed = self.machine.trim(bus.now, &page, is_last, &mut self.step);
        self.trim = if trimmed.is_done { None } else { page.last().map(|facts| Some(facts.position.offset)) };
        self.handle(bus, Input::Tick)
    }
}

/// The letter's event with other content, in the same lane.
fn edited(letter: &DeadRow) -> Event {
    let event = &letter.event.event;
    let (id, source, key, class) = (event.id(), event.source(), event.key(), event.class());
    Attributes { id, source, key, class, data: "edited", timing: Timing::default() }.event()
}
