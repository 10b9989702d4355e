//! The end of a call on its way to ledger and machine, as the host's worker does it.
//!
//! Holds no decision. Invariant: rows that a dead ticket leaves behind are only those that tell the fate of its claims.

use bugle_core::attempt::{Ended, Settlement};
use bugle_core::delivery::Verdict;
use bugle_core::event::StoredEvent;
use bugle_core::ids::Ticket;
use bugle_core::ledger::{ClaimFate, LedgerStep};
use bugle_core::spec::Ordering;
use bugle_core::step::Write;
use bugle_core::subscription::Input;

use crate::bus::Bus;
use crate::definition::private;
use crate::import::{follow_ups, notes};
use crate::rule::Checked;
use crate::worker::Worker;

/// A call that ended and waits for the submit.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) ticket: Ticket,
    pub(super) event: StoredEvent,
    pub(super) ended: Ended,
    /// It was stopped while a claim was being opened for it.
    pub(super) is_stray: bool,
    /// Others were in the call.
    pub(super) is_shared: bool,
    /// The guest waits to hear what becomes of its verdict.
    pub(super) is_answered: bool,
}

impl Worker {
    /// Hands the end of a call to ledger and machine.
    pub(super) fn settle(&mut self, bus: &mut Bus, held: Held) -> Checked<Option<LedgerStep>> {
        let Held { ticket, event, mut ended, is_stray, is_shared, is_answered } = held;
        let is_live = self.machine.is_live(ticket);
        let mut rows = Vec::new();
        let mut last = None;
        if is_live {
            let kv = std::mem::take(&mut ended.transaction.kv);
            let stored = |key: &str| bus.disk.written.kv(&self.spec.name, key);
            match bus.ledger.kv_commit(bus.now, &self.spec.name, &ended.transaction.reads, kv, stored) {
                Ok(Some((writes, step))) => {
                    rows.extend(writes);
                    last = Some(step);
                }
                Ok(None) => {}
                Err(_) => {
                    bus.evidence.conflicts += 1;
                    ended.verdict = Verdict::Conflict;
                }
            }
        }
        let is_acked = is_live && ended.verdict == Verdict::Ack;
        let mut add = |settled: Option<(Write, LedgerStep)>| {
            if let Some((write, step)) = settled {
                rows.push(write);
                last = Some(step);
            }
        };
        for claim in ended.confirms.drain(..) {
            if is_acked {
                add(bus.ledger.confirm(bus.now, claim, None).ok());
            } else {
                add(bus.ledger.release(bus.now, claim, ClaimFate::Uncertain).unwrap_or(None));
            }
        }
        for end in ended.releases.drain(..) {
            add(bus.ledger.release(bus.now, end.claim, end.fate).unwrap_or(None));
        }
        if is_stray {
            for claim in bus.ledger.open_claims(ticket) {
                add(bus.ledger.release(bus.now, claim, ClaimFate::Unsent).unwrap_or(None));
            }
        }
        if is_live {
            rows.append(&mut notes(&mut ended.transaction, &self.spec, &event));
        }
        if is_acked {
            rows.append(&mut follow_ups(&ended.transaction, &self.spec.name, private(self.plan.index)));
            self.note_hold(bus, &event, &ended);
        }
        if !is_live {
            // Its lease ran out while it waited here: an attempt, even if the plugin never ran.
            *bus.evidence.ran.entry((self.spec.id, event.position.offset)).or_default() += u32::from(!is_shared);
            self.step.writes.append(&mut rows);
        } else if is_shared && matches!(ended.verdict, Verdict::Broke(_)) {
            self.batches.broken.insert(event.position.offset);
        }
        if is_answered {
            let settlement = match ended.verdict {
                _ if !is_live => Settlement::Lapsed,
                Verdict::Conflict => Settlement::Conflict,
                _ => Settlement::Kept,
            };
            self.batches.settled.push((ticket, settlement));
        }
        let (verdict, hold, pause) = (ended.verdict, ended.hold, ended.pause);
        self.handle(bus, Input::Finished { ticket, event, verdict, writes: rows, hold, pause })?;
        Ok(last)
    }

    /// The lane of the event stays closed, as its plugin asked.
    fn note_hold(&self, bus: &mut Bus, event: &StoredEvent, ended: &Ended) {
        let lane = bus.disk.written.lane(event.position.offset);
        if let (Ordering::ByKey, Some(lane), Some(hold)) = (self.ordering, lane, ended.hold) {
            let entry = (event.position.offset, bus.now.after(hold));
            bus.evidence.holds.insert((self.spec.id, lane), entry);
        }
    }
}
