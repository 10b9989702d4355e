//! What a person does with dead letters in a history: decides about one; and how the host shows rows to be trimmed.
//!
//! A letter is decided about as it is on disk, and only if no write of it is under way: the host holds the letters meanwhile.
//! Invariant: a decision that is refused is refused for the reason that the rows give.

use bugle_core::event::{Event, Timing};
use bugle_core::ids::Offset;
use bugle_core::row::{DeadRow, DeadState};
use bugle_core::step::{Kept, Write};
use bugle_core::subscription::{DecideError, Decision, Input, KeptFacts};

use crate::bus::{Bus, Item};
use crate::events::Attributes;
use crate::rule::{self, Checked, broken};
use crate::worker::Worker;

/// Rows of a page shown to the machine: small, so that there are several.
const PAGE: usize = 3;

impl Worker {
    /// Letters that are on disk as they were last written.
    fn quiet_letters(&self, bus: &Bus) -> Vec<DeadRow> {
        let (synced, written) = (bus.disk.synced.rows(self.spec.id), bus.disk.written.rows(self.spec.id));
        let busy = self.busy(bus, Kept::Dead);
        let is_quiet =
            |(offset, row): &(&Offset, &DeadRow)| !busy.contains(offset) && written.dead.get(offset) == Some(*row);
        synced.dead.iter().filter(is_quiet).map(|(_, row)| row.clone()).collect()
    }

    /// Rows of a kind of which a write is under way.
    pub(super) fn busy(&self, bus: &Bus, kept: Kept) -> Vec<Offset> {
        let queued = bus.queue.iter().filter_map(|item| match item {
            Item::Writes { writes, .. } => Some(writes),
            Item::Publish { .. } | Item::Hello { .. } | Item::Release | Item::Cancel { .. } | Item::Callback { .. } => {
                None
            }
        });
        let position = |write: &Write| match (kept, write) {
            (Kept::Dead, Write::Dead { subscription, position, .. } | Write::DeadGone { subscription, position })
            | (
                Kept::Unknown,
                Write::Unknown { subscription, position, .. } | Write::UnknownGone { subscription, position },
            ) => (*subscription == self.spec.id).then_some(position.offset),
            _ => None,
        };
        queued.flatten().chain(&self.step.writes).filter_map(position).collect()
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

    /// Shows a page of rows to the machine, if it wants to trim that kind.
    pub(crate) fn answer_trim(&mut self, bus: &mut Bus, kept: Kept) -> Checked {
        let Some(after) = self.trims.remove(&kept) else { return Ok(()) };
        let facts: Vec<KeptFacts> = match kept {
            Kept::Dead => self.quiet_letters(bus).iter().map(KeptFacts::from).collect(),
            Kept::Unknown => self.quiet_unknowns(bus).iter().map(KeptFacts::from).collect(),
        };
        let wanted = facts.into_iter().filter(|facts| after.is_none_or(|after| facts.position.offset > after));
        let page: Vec<KeptFacts> = wanted.take(PAGE).collect();
        let trimmed = self.machine.trim(bus.now, kept, &page, page.len() < PAGE, &mut self.step);
        if let (false, Some(last)) = (trimmed.is_done, page.last()) {
            self.trims.insert(kept, Some(last.position.offset));
        }
        self.handle(bus, Input::Tick)
    }
}

/// The letter's event with other content, in the same lane.
fn edited(letter: &DeadRow) -> Event {
    let event = &letter.event.event;
    let (id, source, key, class) = (event.id(), event.source(), event.key(), event.class());
    Attributes { id, source, key, class, data: "edited", timing: Timing::default() }.event()
}
