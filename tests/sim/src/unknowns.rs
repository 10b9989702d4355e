//! What a person does with unknown results in a history: says of one what became of it.
//!
//! A row is resolved as it is on disk, and only if no write of it is under way: the host holds the rows meanwhile. The person says
//! anything; what is said wrongly is the person's fault, so the evidence follows it. Invariant: a resolution is refused only for
//! the reason that the rows give.

use bugle_core::ids::Offset;
use bugle_core::ledger::LedgerStep;
use bugle_core::row::{UnknownRow, UnknownState};
use bugle_core::step::Kept;
use bugle_core::subscription::{Resolution, ResolveError, Resolved};

use crate::bus::Bus;
use crate::rule::{self, Checked, broken};
use crate::worker::Worker;

impl Worker {
    /// Unknown results that are on disk as they were last written.
    pub(super) fn quiet_unknowns(&self, bus: &Bus) -> Vec<UnknownRow> {
        let (synced, written) = (bus.disk.synced.rows(self.spec.id), bus.disk.written.rows(self.spec.id));
        let mut busy = self.busy(bus, Kept::Unknown);
        busy.extend(self.resolving.iter().map(|(row, _)| row.event.position.offset));
        let is_quiet = |(offset, row): &(&Offset, &UnknownRow)| {
            !busy.contains(offset) && written.unknown.get(offset) == Some(*row)
        };
        synced.unknown.iter().filter(is_quiet).map(|(_, row)| row.clone()).collect()
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
}
