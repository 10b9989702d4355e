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
use crate::row::{ChannelRow, DeadTotals, LetGoRow, PausedRow, RunRow, UnknownTotals, WaitingRow};
use crate::time::Timestamp;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Everything below was read, or needs no reading.
    pub read: Offset,
    /// What was read and is not settled.
    pub unsettled: Vec<Offset>,
    /// When those that were tried are due.
    pub waiting: BTreeMap<Offset, Timestamp>,
    /// Closed lanes.
    pub holds: BTreeMap<(String, Class), Timestamp>,
    /// Its dead letters in numbers.
    pub dead: DeadTotals,
    /// Its unknown results in numbers.
    pub unknown: UnknownTotals,
    /// Why it does not run.
    pub paused: Option<PausedRow>,
    /// Whether it drains or is boosted.
    pub run: RunRow,
    /// What it let go last.
    pub let_go: Option<LetGoRow>,
    /// How its channel is.
    pub channel: Option<ChannelRow>,
}

impl Machine {
    /// Rows of waiting deliveries that are in memory, as they are on disk or in the gathering step.
    pub fn waiting_rows(&self) -> impl Iterator<Item = (Offset, &WaitingRow)> {
        self.waits.rows()
    }

    /// The image of the machine now. Walks every offset above the floor: for tests and for people, not for each event.
    #[must_use]
    pub fn image(&self) -> Image {
        let read = self.next_unknown(self.reads.position());
        let unsettled = (self.cursor.floor().0..read.0).map(Offset);
        let holds = self.lanes.iter().filter_map(|lane| match lane.state {
            LaneState::Closed { until } => Some(((String::from(lane.key()), lane.class()), until)),
            LaneState::Free | LaneState::Idle | LaneState::Ready | LaneState::InFlight | LaneState::Waiting => None,
        });
        let mut waiting = self.spilled.dues();
        // What was let go comes back only for its row to be deleted.
        waiting.retain(|offset, _| !self.cursor.is_settled(*offset));
        waiting.extend(self.waits.rows().map(|(offset, row)| (offset, row.due)));
        Image {
            read,
            unsettled: unsettled.filter(|offset| !self.cursor.is_settled(*offset)).collect(),
            waiting,
            holds: holds.collect(),
            dead: self.letters.totals,
            unknown: self.unknowns.totals,
            paused: self.paused.clone(),
            run: self.run,
            let_go: self.let_go,
            channel: self.flow.row(),
        }
    }
}
