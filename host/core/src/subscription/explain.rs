//! Why a delivery does not move: where it is in its subscription, what it waits for, and until when.
//!
//! A pure look at the machine, for operators. [`Standing`] says where one event is; [`Gate`] what keeps the whole subscription
//! from starting or reading more. Whoever adds a reason to wait adds a variant here. Knows nothing of dead letters and parked
//! deliveries, which are rows that the machine has forgotten: the caller looks those up for what is settled.
//!
//! Invariant: every unsettled event that was read has a standing that names the thing that will move it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::Machine;
use crate::event::{Class, StoredEvent};
use crate::ids::{Attempt, Offset};
use crate::lane::{LaneId, LaneState};
use crate::row::{AttemptNote, Parking, PausedRow};
use crate::spec::Ordering;
use crate::time::Timestamp;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Where this event is; the caller read it from the log.
    Event(StoredEvent),
    /// What the lane of a key is doing.
    Lane {
        /// Ordering key.
        key: String,
        /// Priority class.
        class: Class,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a question for an event.
    Event(Explained),
    /// To a question for a key; `None`: nothing of that key is read and unsettled, and the lane is not held.
    Lane(Option<LaneExplained>),
}

/// Where an event is, and what stands in the way of whatever moves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Where it is.
    pub standing: Standing,
    /// What keeps the subscription from going on with it; empty if nothing does, or if it is not the subscription's turn.
    pub gates: Vec<Gate>,
    /// Attempts a delivery gets in all.
    pub attempts_max: u32,
}

/// The lane of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneExplained {
    /// The event that is next or under way, and where it stands; none in a lane that is only held.
    pub head: Option<(Offset, Explained)>,
    /// Events of the key that are read and unsettled, as many as are kept in memory.
    pub queued: usize,
    /// From here on more of them are in the log only.
    pub beyond: Option<Offset>,
    /// The plugin keeps the lane closed until then.
    pub held: Option<Timestamp>,
}

/// Where one event is in one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The subscription does not cover its topic.
    NotCovered,
    /// The filter does not want it.
    FilteredOut,
    /// The subscription has not read so far.
    Unread {
        /// It has read everything below.
        read: Offset,
    },
    /// Another event of its key comes first.
    Queued {
        /// The head of the lane.
        head: Offset,
        /// How many come before it, if all of them are in memory.
        ahead: Option<usize>,
        /// Where the head is.
        standing: Box<Standing>,
    },
    /// First of its lane, which the plugin keeps closed.
    Held {
        /// It opens then.
        until: Timestamp,
    },
    /// It could start.
    Ready {
        /// How many others start before it.
        ahead: usize,
    },
    /// The plugin has it.
    InFlight {
        /// Which try.
        attempt: Attempt,
        /// Since when.
        since: Timestamp,
        /// The lease ends then.
        until: Timestamp,
    },
    /// It was tried and waits for its next attempt.
    Waiting {
        /// Then.
        due: Timestamp,
        /// Attempts spent.
        spent: u32,
        /// Calls in a row that never ran, so that the plugin is not to blame.
        refusals: u32,
        /// The latest failed attempt.
        last: Option<AttemptNote>,
    },
    /// It was given up and its key waits for a person.
    Parked {
        /// Attempts spent.
        spent: u32,
        /// The latest failed attempt.
        last: Option<AttemptNote>,
    },
    /// No attempt is left: it becomes a dead letter as soon as its event was read.
    GivingUp {
        /// Attempts spent.
        spent: u32,
    },
    /// Done with; a dead letter or a parked delivery has a row that says so.
    Settled,
    /// The machine has lost it, which is a bug of ours.
    Unaccounted,
}

impl Standing {
    /// Whether nothing more happens to it in this subscription, so that a row may tell how it ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self {
            Standing::NotCovered | Standing::FilteredOut | Standing::Settled | Standing::Unaccounted => true,
            Standing::Unread { .. }
            | Standing::Queued { .. }
            | Standing::Held { .. }
            | Standing::Ready { .. }
            | Standing::InFlight { .. }
            | Standing::Waiting { .. }
            | Standing::Parked { .. }
            | Standing::GivingUp { .. } => false,
        }
    }
}

/// What keeps a subscription from starting or reading more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It is paused.
    Paused(PausedRow),
    /// As many deliveries are with the plugin as may be.
    NoPlace {
        /// How many.
        in_flight: usize,
    },
    /// So much is unsettled that reading stops until some of it moves.
    Full(Bound),
    /// It drains: nothing from here on is read.
    Draining {
        /// First offset that is not read.
        to: Offset,
    },
    /// After a seek nothing starts before the calls that it cancelled have ended.
    Cancelled {
        /// How many still run.
        calls: usize,
        /// Until then at the latest.
        until: Timestamp,
    },
}

/// The bound of memory that stops reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Events queued behind others of their keys.
    Queued,
    /// Keys with something unsettled.
    Lanes,
    /// Deliveries that wait for another attempt.
    Waiting,
}

impl Machine {
    /// Answers a question of an operator. Changes nothing; walks what is in memory, so not for each event.
    #[must_use]
    pub fn explain(&self, question: &Question) -> Answer {
        match question {
            Question::Event(event) => Answer::Event(self.explain_event(event)),
            Question::Lane { key, class } => Answer::Lane(self.explain_lane(key, *class)),
        }
    }

    fn explain_event(&self, event: &StoredEvent) -> Explained {
        self.explained(self.standing_of(event))
    }

    fn explained(&self, standing: Standing) -> Explained {
        let gates = match &standing {
            Standing::Unread { .. } => self.read_gates(),
            Standing::Ready { .. } | Standing::GivingUp { .. } => self.start_gates(),
            Standing::Held { .. } | Standing::Waiting { .. } | Standing::Queued { .. } | Standing::InFlight { .. } => {
                self.paused.iter().cloned().map(Gate::Paused).collect()
            }
            Standing::NotCovered
            | Standing::FilteredOut
            | Standing::Parked { .. }
            | Standing::Settled
            | Standing::Unaccounted => Vec::new(),
        };
        Explained { standing, gates, attempts_max: self.spec.retry.attempts_max }
    }

    /// What keeps a ready delivery from starting.
    fn start_gates(&self) -> Vec<Gate> {
        let mut gates: Vec<Gate> = self.paused.iter().cloned().map(Gate::Paused).collect();
        let in_flight = self.leases.calls();
        if in_flight >= self.places() {
            gates.push(Gate::NoPlace { in_flight });
        }
        gates.extend(self.cancelled_until().map(|(calls, until)| Gate::Cancelled { calls, until }));
        gates
    }

    /// What keeps the machine from reading on.
    fn read_gates(&self) -> Vec<Gate> {
        let mut gates: Vec<Gate> = self.paused.iter().cloned().map(Gate::Paused).collect();
        gates.extend(self.run.drain_to.map(|to| Gate::Draining { to }));
        gates.extend(self.full_bound().map(Gate::Full));
        gates
    }

    fn standing_of(&self, event: &StoredEvent) -> Standing {
        let offset = event.position.offset;
        let is_settled = self.cursor.is_settled(offset);
        if !is_settled && let Some(standing) = self.standing_in_memory(offset, self.lane_of(event)) {
            return standing;
        }
        let is_covered = self.topics.binary_search(&event.topic).is_ok() || self.spec.redelivery == Some(event.topic);
        if !is_covered {
            Standing::NotCovered
        } else if !self.wants(event) {
            Standing::FilteredOut
        } else if is_settled {
            Standing::Settled
        } else if offset >= self.reads.position() {
            Standing::Unread { read: self.reads.position() }
        } else {
            Standing::Unaccounted
        }
    }

    fn lane_of(&self, event: &StoredEvent) -> Option<LaneId> {
        match self.spec.ordering {
            Ordering::ByKey => self.lanes.find(event.event.key()?, event.event.class()),
            Ordering::None => None,
        }
    }

    /// Where an unsettled event is, if the machine knows it already.
    fn standing_in_memory(&self, offset: Offset, lane: Option<LaneId>) -> Option<Standing> {
        if let Some(lease) = self.leases.of(offset).filter(|lease| lease.call().is_some()) {
            let (attempt, since, until) = (lease.attempt, lease.since, lease.until());
            return Some(Standing::InFlight { attempt, since, until });
        }
        if self.leases.of(offset).is_some() || self.unwanted.iter().any(|unwanted| unwanted.item.offset == offset) {
            let spent = self.waits.get(offset).map_or(0, |wait| wait.row.spent);
            return Some(Standing::GivingUp { spent });
        }
        if let Some(id) = lane
            && let Some(standing) = self.standing_in_lane(offset, id)
        {
            return Some(standing);
        }
        self.standing_waiting(offset).or_else(|| self.ready.ahead_of(offset).map(|ahead| Standing::Ready { ahead }))
    }

    fn standing_in_lane(&self, offset: Offset, id: LaneId) -> Option<Standing> {
        let lane = self.lanes.get(id);
        let head = lane.head();
        match lane.place_of(offset) {
            Some(0) => match lane.state {
                LaneState::Closed { until } => Some(Standing::Held { until }),
                LaneState::Free | LaneState::Idle | LaneState::Ready | LaneState::InFlight | LaneState::Waiting => None,
            },
            Some(ahead) => self.queued_behind(head?, Some(ahead), id),
            None if lane.overflow.is_some_and(|overflow| overflow.from <= offset) => {
                self.queued_behind(head?, None, id)
            }
            None => None,
        }
    }

    fn queued_behind(&self, head: Offset, ahead: Option<usize>, id: LaneId) -> Option<Standing> {
        // The head of a lane is queued behind nothing, so this ends after one turn.
        let standing = self.standing_in_memory(head, Some(id)).unwrap_or(Standing::Unaccounted);
        Some(Standing::Queued { head, ahead, standing: Box::new(standing) })
    }

    /// A row of a restart whose event was not read yet counts too: it is what the delivery will wait for.
    fn standing_waiting(&self, offset: Offset) -> Option<Standing> {
        if self.spilled.contains(offset) {
            return Some(self.standing_spilled(offset));
        }
        let row = self.waits.get(offset).map(|wait| &wait.row);
        if let Some(row) = row.filter(|row| row.parking == Parking::Parked) {
            return Some(Standing::Parked { spent: row.spent, last: row.notes.last().cloned() });
        }
        if let Some(wait) = self.waits.get(offset) {
            let due = self.waits.alarm_of(offset).unwrap_or(wait.row.due);
            let (spent, refusals, last) = (wait.row.spent, wait.refusals, wait.row.notes.last().cloned());
            return wait.is_pending.then_some(Standing::Waiting { due, spent, refusals, last });
        }
        None
    }

    /// What waits on disk only: how often it was tried and why it failed is in its row, which the machine does not have.
    fn standing_spilled(&self, offset: Offset) -> Standing {
        if self.spilled.is_parked(offset) {
            return Standing::Parked { spent: 0, last: None };
        }
        let due = self.spilled.due_of(offset).unwrap_or(self.now);
        Standing::Waiting { due, spent: 0, refusals: 0, last: None }
    }

    fn explain_lane(&self, key: &str, class: Class) -> Option<LaneExplained> {
        let id = self.lanes.find(key, class)?;
        let lane = self.lanes.get(id);
        let held = match lane.state {
            LaneState::Closed { until } => Some(until),
            LaneState::Idle if lane.head().is_none() && lane.overflow.is_none() => return None,
            LaneState::Free | LaneState::Idle | LaneState::Ready | LaneState::InFlight | LaneState::Waiting => None,
        };
        let head = lane.head().map(|head| {
            let standing = self.standing_in_memory(head, Some(id)).unwrap_or(Standing::Unaccounted);
            (head, self.explained(standing))
        });
        Some(LaneExplained { head, queued: lane.len(), beyond: lane.overflow.map(|overflow| overflow.from), held })
    }
}
