//! The send record that the host keeps of each delivery of a subscription that wants them.
//!
//! One row per delivery, without a recipient, written in the batch of what it tells: that an attempt failed and another follows, that
//! the delivery was put off, or how it ended. Recipients are the plugin's to note. What is let go in runs of the log has no
//! record; the row of the run tells of it. Knows nothing of indexes and of how long records are kept.
//!
//! Invariant: a delivery that a row tells the end of has a record that says the same, from one batch on.

use alloc::format;
use alloc::string::String;

use super::Machine;
use super::waits::cut;
use crate::event::StoredEvent;
use crate::ids::Attempt;
use crate::row::{Follow, RecordRow, RecordStatus};
use crate::seeded::{Bug, is_planted};
use crate::step::{Step, Write};
use crate::time::Timestamp;

/// What a record says beside its event.
pub(super) struct Became {
    pub(super) status: RecordStatus,
    pub(super) attempt: Attempt,
    /// For people.
    pub(super) detail: String,
}

impl Machine {
    /// Writes the record of a delivery and tells its end, if the subscription wants that.
    pub(super) fn record(&mut self, now: Timestamp, event: &StoredEvent, became: Became, step: &mut Step) {
        self.outcome(event, &became, step);
        if !self.spec.records {
            return;
        }
        let row = self.record_row(now, event, became);
        let record = Write::Record { subscription: self.spec.id, position: event.position, row };
        if is_planted(Bug::RecordAfterSettled) {
            self.held_back[0].push(record);
        } else {
            step.writes.push(record);
        }
    }

    pub(super) fn record_row(&self, now: Timestamp, event: &StoredEvent, became: Became) -> RecordRow {
        let Became { status, attempt, detail } = became;
        let event = &event.event;
        let named = self.spec.business_key.as_deref().and_then(|name| event.attribute(name));
        let business_key = named.or_else(|| event.attribute("businesskey"));
        RecordRow {
            // As the sandbox tells a guest what an event is about.
            business_key: business_key.map_or_else(|| format!("{} {}", event.source(), event.id()), String::from),
            recipient: String::new(),
            status,
            provider: String::new(),
            provider_reference: String::new(),
            detail: cut(detail),
            attempt,
            at: now,
            event_id: event.id().into(),
            // How the delivery goes on is known here; what became of a message is not.
            follow: Follow::Unwatched,
        }
    }
}
