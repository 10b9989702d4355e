//! Lanes that a plugin keeps closed for a while.
//!
//! The row of a hold is written where its delivery settles. Knows nothing of why a plugin wants it. Invariant: a closed lane has an alarm.

use super::Machine;
use crate::lane::{LaneId, LaneState};
use crate::step::{Step, Write};
use crate::time::Timestamp;

impl Machine {
    /// Closes a lane; what is queued in it waits.
    pub(super) fn close(&mut self, lane: LaneId, until: Timestamp) {
        self.lanes.get_mut(lane).state = LaneState::Closed { until };
        self.waits.alarm_open(lane, until);
    }

    pub(super) fn reopen(&mut self, id: LaneId, until: Timestamp, step: &mut Step) {
        let lane = self.lanes.get(id);
        if lane.state != (LaneState::Closed { until }) {
            return;
        }
        step.writes.push(Write::Hold {
            subscription: self.spec.id,
            key: lane.key().into(),
            class: lane.class(),
            row: None,
        });
        self.proceed(id);
    }
}
