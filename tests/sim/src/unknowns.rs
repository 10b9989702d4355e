//! What a person does with unknown results in a history: says of one what became of it, and the host trims them when asked.
//!
//! A row is resolved as it is on disk, and only if no write of it is under way: the host holds the rows meanwhile. The person says
//! anything; what is said wrongly is the person's fault, so the evidence follows it. Invariant: a resolution is refused only for
//! the reason that the rows give.

use bugle_core::ids::Offset;
use bugle_core::ledger::LedgerStep;
use bugle_core::row::{UnknownRow, UnknownState};
use bugle_core::step::Write;
use bugle_core::subscription::{Input, Resolution, ResolveError, Resolved, UnknownFacts};

use crate::bus::{Bus, Item};
use crate::rule::{self, Checked, broken};
use crate::worker::Worker;

/// Rows of a page shown to the machine: small, so that there are several.
const PAGE: usize = 3;

impl Worker {
    /// Unknown results that are on disk as they were last written.
    fn quiet_unknowns(&self, bus: &Bus) -> Vec<UnknownRow> {
        let (synced, written) = (bus.disk.synced.rows(self.spec.id), bus.disk.written.rows(self.spec.id));
        let queued = bus.queue.iter().filter_map(|item| match item {
            Item::Writes { writes, .. } => Some(writes),
            Item::Publish { .. } | Item::Hello { .. } | Item::Release | Item::Cancel { .. } => None,
        });
        let queued = queued.flatten().chain(&self.step.writes).filter_map(|write| self.unknown_of(write));
        let held = self.resolving.iter().map(|(row, _)| row.event.position.offset);
        let busy: Vec<Offset> = queued.chain(held).collect();
        let is_quiet = |(offset, row): &(&Offset, &UnknownRow)| {
            !busy.contains(offset) && written.unknown.get(offset) == Some(*row)
        };
        synced.unknown.iter().filter(is_quiet).map(|(_, row)| row.clone()).collect()
    }

    fn unknown_of(&self, write: &Write) -> Option<Offset> {
        if let Write::Unknown { subscription, position, .. } | Write::UnknownGone { subscription, position } = write
            && *subscription == self.spec.id
        {
            return Some(position.offset);
        }
        None
    }

    /// A person says something of one of them.
    pub(crate) fn resolve_one(&mut self, bus: &mut Bus) -> Checked {
        let rows = self.quiet_unknowns(bus);
        if rows.is_empty() {
            return Ok(());
        }
        let row = bus.random.pick(&rows).clone();
        let resolution = match bus.random.below(3) {
            0 => Resolution::Sent { receipt: None },
            1 => Resolution::NotSent,
            _ => Resolution::Retry,
        };
        self.resolving.push((row, resolution));
        Ok(())
    }

    /// Carries out what people said, with the ledger.
    pub(crate) fn resolve_all(&mut self, bus: &mut Bus) -> Checked<Option<LedgerStep>> {
        let mut last = None;
        for (row, resolution) in std::mem::take(&mut self.resolving) {
            let (offset, state) = (row.event.position.offset, row.state);
            let keys: Vec<String> = row.claims.iter().map(|claim| claim.key.clone()).collect();
            bus.note(|| format!("{}: {resolution:?} is said of {offset}, {}", self.spec.name, state.word()));
            let (written, ledger) = (&bus.disk.written, &mut bus.ledger);
            let stored = |scope: &str, key: &str| written.claim(scope, key);
            let told = (row, &resolution, "asked the provider");
            match self.machine.resolve(bus.now, ledger, told, stored, &mut self.step) {
                Ok(Resolved::Now(step)) if state == UnknownState::Open => {
                    last = step.max(last);
                    for key in keys.into_iter().map(|key| (self.spec.id, key)) {
                        if resolution == Resolution::NotSent {
                            bus.evidence.resolve(&key);
                        }
                        if resolution != (Resolution::Sent { receipt: None }) {
                            bus.evidence.tell_to_send(key);
                        }
                    }
                }
                Ok(Resolved::Before) if state == resolution.state() => {}
                Err(ResolveError::Decided(told)) if told == state && state != UnknownState::Open => {}
                Err(ResolveError::Held(_)) if !keys.is_empty() => {}
                other => {
                    let what = format!("{}: {offset}, {}: {other:?}", self.spec.name, state.word());
                    return broken(rule::RESOLVED_ONCE, what);
                }
            }
        }
        Ok(last)
    }

    /// Shows a page of unknown results to the machine, if it wants to trim them.
    pub(crate) fn answer_unknown_trim(&mut self, bus: &mut Bus) -> Checked {
        let Some(after) = self.trim_unknown else { return Ok(()) };
        let rows = self.quiet_unknowns(bus);
        let wanted = rows.iter().filter(|row| after.is_none_or(|after| row.event.position.offset > after));
        let page: Vec<UnknownFacts> = wanted.map(UnknownFacts::of).take(PAGE).collect();
        let is_last = page.len() < PAGE;
        let trimmed = self.machine.trim_unknown(bus.now, &page, is_last, &mut self.step);
        self.trim_unknown = if trimmed.is_done { None } else { page.last().map(|facts| Some(facts.position.offset)) };
        self.handle(bus, Input::Tick)
    }
}
