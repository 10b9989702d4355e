//! The backlog cap: how much a subscription may leave unsettled, and what happens beyond it (guarantees G10).
//!
//! Two measures, since either can fill a disk: unsettled offsets (in events, an upper bound, as topics share the log), and the
//! bytes of log from the floor on, which a single stuck event can pin. The driver says now and then where the log ends and which
//! offset the bytes allow; the machine decides.
//!
//! Invariant: what expires is the oldest, is settled with a row that tells the range, and is never with the plugin.

use super::Machine;
use super::seek::UnderWay;
use crate::ids::Offset;
use crate::row::LetGoWhy;
use crate::spec::BacklogPolicy;
use crate::step::{Action, Step};
use crate::time::Timestamp;

/// What of the cap is let go at once more than needed, so that a full backlog expires in runs and not one by one: a 256th.
const SLACK_SHIFT: u32 = 8;

/// What a driver knows of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogExtent {
    /// The offset after the last event.
    pub end: Offset,
    /// The first offset from which on the log has at most the bytes of the cap, as well as the driver can tell.
    pub bytes_from: Offset,
    /// The same for a 256th less than the cap.
    pub bytes_from_slack: Offset,
}

impl Machine {
    /// Offsets below `end` that are not settled, in events an upper bound.
    #[must_use]
    pub fn unsettled(&self, end: Offset) -> u64 {
        end.0.saturating_sub(self.cursor.floor().0).saturating_sub(self.cursor.settled_above_floor())
    }

    /// Compares the backlog with its cap and acts by policy.
    pub(super) fn check_backlog(&mut self, now: Timestamp, log: LogExtent, step: &mut Step) {
        let cap = self.spec.backlog;
        let events = self.unsettled(log.end);
        let is_over = events > cap.events_max || log.bytes_from > self.cursor.floor();
        match cap.policy {
            BacklogPolicy::RefusePublish => self.say_backlog(is_over, step),
            BacklogPolicy::ExpireOldest => {
                self.say_backlog(false, step);
                if is_over {
                    self.expire(now, log, events, step);
                }
            }
        }
    }

    /// The offset behind the `count` oldest ones that are neither settled nor with the plugin.
    fn behind_waiting(&self, count: u64, end: Offset) -> Offset {
        let mut kept = 0;
        loop {
            let to = self.cursor.behind_unsettled(count + kept, end);
            let in_flight = self.leases.below(to).len() as u64;
            if in_flight == kept {
                return to;
            }
            kept = in_flight;
        }
    }

    fn say_backlog(&mut self, is_full: bool, step: &mut Step) {
        if self.is_backlog_full != is_full {
            self.is_backlog_full = is_full;
            step.actions.push(Action::BacklogFull { is_full });
        }
    }

    fn expire(&mut self, now: Timestamp, log: LogExtent, events: u64, step: &mut Step) {
        let cap = self.spec.backlog;
        let mut to = self.cursor.floor();
        if events > cap.events_max {
            let target = cap.events_max - (cap.events_max >> SLACK_SHIFT);
            to = to.max(self.behind_waiting(events - target, log.end));
        }
        if log.bytes_from > self.cursor.floor() {
            to = to.max(log.bytes_from_slack.max(log.bytes_from));
        }
        let count = self.let_go_below(now, to.min(log.end), LetGoWhy::Expired, UnderWay::Kept, step);
        if count > 0 {
            step.actions.push(Action::Expired { events: count, below: to.min(log.end) });
        }
    }
}
