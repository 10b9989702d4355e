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
use super::leases::{Disposal, Purpose};
use crate::event::{Class, StoredEvent};
use crate::flow::BreakerStatus;
use crate::ids::{Attempt, Offset};
use crate::lane::{LaneId, LaneState};
use crate::lane_hash::LaneMark;
use crate::row::{AttemptNote, Parking, PausedRow, WaitingRow};
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
    /// Its head waits on disk only, in a row of this lane; memory does not know which event that is.
    pub on_disk: Option<LaneMark>,
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
    /// It waits on disk only; its row says for what ([`Standing::of_row`]).
    OnDisk {
        /// Its next attempt; `None`: a person decides.
        due: Option<Timestamp>,
    },
    /// Others of its key come first, and the first of them waits on disk only, in a row of this lane.
    BehindOnDisk {
        /// What the row's lane is marked with.
        lane: LaneMark,
    },
    /// The reading passed it while its class is held back by the degrade policy; it is read again when that ends.
    Behind,
    /// A degrade rule hands it on or drops it, as soon as its event was read.
    Degraded,
    /// The time of its event has passed: it ends as expired as soon as its event was read.
    Expiring,
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
    /// What the row of a delivery that waits says.
    #[must_use]
    pub fn of_row(row: &WaitingRow) -> Standing {
        let (spent, last) = (row.attempts(), row.notes.last().cloned());
        match row.parking {
            Parking::Parked => Standing::Parked { spent, last },
            Parking::Never | Parking::Released { .. } => Standing::Waiting { due: row.due, spent, refusals: 0, last },
        }
    }

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
            | Standing::OnDisk { .. }
            | Standing::BehindOnDisk { .. }
            | Standing::Behind
            | Standing::Degraded
            | Standing::Expiring
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
    /// The breaker is open: the channel or the plugin is sick.
    Breaker {
        /// The next probe.
        until: Timestamp,
        /// Why it opened.
        reason: String,
    },
    /// The rate is used up for the moment.
    Rate,
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
            Standing::Ready { .. } | Standing::GivingUp { .. } | Standing::Behind | Standing::Degraded => {
                self.start_gates()
            }
            Standing::Held { .. }
            | Standing::Expiring
            | Standing::Waiting { .. }
            | Standing::OnDisk { .. }
            | Standing::BehindOnDisk { .. }
            | Standing::Queued { .. }
            | Standing::InFlight { .. } => self.paused.iter().cloned().map(Gate::Paused).collect(),
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
        let flow = self.flow.status(self.now);
        if let BreakerStatus::Open { until, reason, .. } = flow.breaker {
            gates.push(Gate::Breaker { until, reason });
        }
        if flow.tokens == Some(0) {
            gates.push(Gate::Rate);
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
        } else if self.is_behind(event.event.class(), offset) {
            Standing::Behind
        } else if let Some(lane) = self.blocked_on_disk(event) {
            Standing::BehindOnDisk { lane }
        } else {
            Standing::Unaccounted
        }
    }

    fn blocked_on_disk(&self, event: &StoredEvent) -> Option<LaneMark> {
        let lane = self.lanes.hash_of(event.event.key()?, event.event.class());
        self.spilled.is_blocked(lane).then_some(LaneMark::Keyed(lane))
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
        if self.ready.has_past(offset) {
            return Some(Standing::Expiring);
        }
        if let Some(disposal) = self.disposal_of(offset) {
            let spent = self.waits.get(offset).map_or(0, |wait| wait.row.attempts());
            return Some(match disposal {
                Disposal::Bury => Standing::GivingUp { spent },
                Disposal::Degrade(_) => Standing::Degraded,
                Disposal::Expire => Standing::Expiring,
            });
        }
        if let Some(id) = lane
            && let Some(standing) = self.standing_in_lane(offset, id)
        {
            return Some(standing);
        }
        self.standing_waiting(offset).or_else(|| self.ready.ahead_of(offset).map(|ahead| Standing::Ready { ahead }))
    }

    /// What is about to be done with a delivery that is not attempted.
    fn disposal_of(&self, offset: Offset) -> Option<Disposal> {
        let fetched = self.leases.of(offset).and_then(|lease| match lease.purpose {
            Purpose::Call(_) => None,
            Purpose::Fetch(disposal) => Some(disposal),
        });
        let queued = || self.unwanted.iter().find(|unwanted| unwanted.item.offset == offset);
        fetched.or_else(|| queued().map(|unwanted| unwanted.disposal))
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
        let wait = self.waits.get(offset)?;
        match Standing::of_row(&wait.row) {
            Standing::Waiting { due, spent, last, .. } if wait.is_pending => {
                let due = self.waits.alarm_of(offset).unwrap_or(due);
                Some(Standing::Waiting { due, spent, refusals: wait.refusals, last })
            }
            Standing::Waiting { .. } => None,
            parked => Some(parked),
        }
    }

    /// What waits on disk only; how often it was tried and why it failed is in its row, which the machine does not have.
    fn standing_spilled(&self, offset: Offset) -> Standing {
        let due = self.spilled.due_of(offset).filter(|_| !self.spilled.is_parked(offset));
        Standing::OnDisk { due }
    }

    fn explain_lane(&self, key: &str, class: Class) -> Option<LaneExplained> {
        let Some(id) = self.lanes.find(key, class) else {
            let hash = self.lanes.hash_of(key, class);
            let on_disk = self.spilled.is_blocked(hash).then_some(LaneMark::Keyed(hash))?;
            return Some(LaneExplained { head: None, queued: 0, beyond: None, held: None, on_disk: Some(on_disk) });
        };
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
        let beyond = lane.overflow.map(|overflow| overflow.from);
        Some(LaneExplained { head, queued: lane.len(), beyond, held, on_disk: None })
    }
}
