//! What the worker looks at about once a second: its backlog against the cap, and its pace.
//!
//! Woken by the upkeep, since a paused subscription has no other reason to wake. Decides nothing: the machine does.

use std::sync::Arc;

use bugle_core::ids::Offset;
use bugle_core::subscription::{Input, LogExtent};

use super::Worker;
use super::pace::Pace;

/// What is expired beyond need when a backlog is over its cap in bytes, as in the core for events: a 256th.
const SLACK_SHIFT: u32 = 8;

impl Worker {
    /// Takes a sample and compares the backlog with its cap, if the upkeep asked for it.
    pub(super) fn look(&mut self) {
        let is_asked = self.port.inbox.take_look();
        if self.pace.is_due(self.now) {
            let progress = self.machine.status().progress;
            self.pace.note(self.now, progress, self.port.shared.ring.end().0);
        }
        if is_asked {
            let shared = Arc::clone(&self.port.shared);
            let bytes_max = self.machine.backlog_cap().bytes_max;
            let log = LogExtent {
                end: shared.ring.end(),
                bytes_from: shared.store.last_bytes_from(bytes_max),
                bytes_from_slack: shared.store.last_bytes_from(bytes_max - (bytes_max >> SLACK_SHIFT)),
            };
            self.handle(Input::Log(log));
        }
    }

    /// The pace up to now.
    pub(super) fn read_pace(&self) -> Pace {
        self.pace.read(self.now, self.machine.status().progress, self.port.shared.ring.end().0)
    }

    pub(super) fn backlog_full(&mut self, is_full: bool) {
        let (port, backlogs) = (&self.port, &self.port.shared.backlogs);
        if is_full {
            backlogs.add(port.subscription, &port.name, port.inbox.covered());
            tracing::warn!(subscription = %port.name, "its backlog is over the cap: publishing to its topics is refused until it has worked some of it off");
        } else {
            backlogs.remove(port.subscription);
            tracing::info!(subscription = %port.name, "its backlog is below the cap again");
        }
    }

    pub(super) fn expired(&mut self, events: u64, below: Offset) {
        self.port.counters.expired.add(events);
        tracing::warn!(subscription = %self.port.name, events, below = below.0, "its backlog was over the cap: the oldest of it has expired undelivered");
    }
}
