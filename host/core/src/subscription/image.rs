//! What a machine must still know after a restart, in a form that can be compared.
//!
//! Leases are left out: they die with the process. Invariant: the image of a live machine equals that of one recovered from all
//! rows written so far, once both have read the log equally far.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::Machine;
use crate::event::Class;
use crate::ids::Offset;
use crate::lane::LaneState;
use crate::row::{ChannelRow, PausedRow, WaitingRow};
use crate::time::Timestamp;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Everything below was read, or needs no reading.
    pub read: Offset,
    /// What was read and is not settled.
    pub unsettled: Vec<Offset>,
    /// Rows of those that were tried.
    pub waiting: BTreeMap<Offset, WaitingRow>,
    /// Closed lanes.
    pub holds: BTreeMap<(String, Class), Timestamp>,
    /// Why it does not run.
    pub paused: Option<PausedRow>,
    /// How its channel is.
    pub channel: Option<ChannelRow>,
}

impl Machine {
    /// The image of the machine now. Walks every offset above the floor: for tests and for people, not for each event.
    #[must_use]
    pub fn image(&self) -> Image {
        let read = self.reads.position().max(self.cursor.floor());
        let unsettled = (self.cursor.floor().0..read.0).map(Offset);
        let holds = self.lanes.iter().filter_map(|lane| match lane.state {
            LaneState::Closed { until } => Some(((String::from(lane.key()), lane.class()), until)),
            LaneState::Free | LaneState::Idle | LaneState::Ready | LaneState::InFlight | LaneState::Waiting => None,
        });
        Image {
            read,
            unsettled: unsettled.filter(|offset| !self.cursor.is_settled(*offset)).collect(),
            waiting: self.waits.rows().map(|(offset, row)| (offset, row.clone())).collect(),
            holds: holds.collect(),
            paused: self.paused.clone(),
            channel: self.flow.row(),
        }
    }
}
