//! What a plugin is handed and how a call can end.
//!
//! Shared by the subscription machine, which decides, and by the sandbox, which carries out. Holds no decision itself.

use alloc::string::String;

use crate::event::StoredEvent;
use crate::ids::{Attempt, Ticket};
use crate::step::Batch;
use crate::time::{Millis, Timestamp};

/// One delivery as handed to a plugin for one attempt.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Valid inside this call only.
    pub ticket: Ticket,
    /// The event.
    pub event: StoredEvent,
    /// Which try this is.
    pub attempt: Attempt,
    /// The same on each attempt of this delivery; goes out with each external call.
    pub idempotency_key: String,
    /// When the attempt must have ended.
    pub deadline: Timestamp,
    /// It must run on an instance that has run nothing else, since the plugin broke on it before.
    pub wants_fresh: bool,
    /// A person had it delivered again although it may have been sent: it may be sent again, whatever the policy.
    pub may_resend: bool,
    /// It was sent so often without a word of its provider that a person has to decide, whatever the policy: an uncertain claim is for
    /// [`crate::delivery::Verdict::Unknown`].
    pub is_for_a_person: bool,
    /// The call it may share with others, if the plugin takes several deliveries per call.
    pub batch: Option<Batch>,
    /// The plugin is to be asked about claims that were left uncertain: how the attempt before ended, as far as that is known.
    pub asks: Option<String>,
}

impl Delivery {
    /// Whether an uncertain claim is asked about before it is given. What a person said goes before the policy.
    #[must_use]
    pub fn must_ask(&self) -> bool {
        self.asks.is_some() && !self.may_resend && !self.is_for_a_person
    }
}

/// When a verdict given by import takes effect. The world of the plugin that runs says which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Settles {
    /// When the call returns; a trap before that is a failed attempt.
    #[default]
    AtReturn,
    /// At once: a call for several deliveries completes them one by one.
    AtCall,
}

/// What the guest asks for when it could not do the work now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Earliest next attempt, if the guest (or the provider) said one.
    pub after: Option<Millis>,
    /// For people.
    pub reason: String,
    /// Whose fault the guest thinks it was; a hint only.
    pub fault: Fault,
}

/// A guest's hint on whose fault a failure was. The host attributes by evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The event cannot be handled.
    Event,
    /// The provider behind the channel.
    Channel,
}

/// How a guest says that it did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Try again.
    Retry(Retry),
    /// Never try again: dead letter, with the reason.
    Reject(String),
    /// Not now: come back after this long, at no cost to the budget.
    Defer(Millis),
    /// Maybe sent; with the provider's reference.
    Unknown(String),
}

/// How one call of a plugin ended, as the sandbox saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// The guest returned.
    Returned(Result<(), Failure>),
    /// The guest trapped; text from its standard error or the trap.
    Trapped(String),
    /// The CPU budget or the wall limit was used up.
    TimedOut(String),
    /// A limit of the sandbox stopped it (memory, tables, host-call bytes); says which.
    LimitExceeded(String),
    /// No instance could be had, or the host is stopping: the guest never ran. Costs no attempt.
    NotStarted(String),
}

/// What the delivery's attempt came to, after the return value, the imports and the evidence were put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Ack,
    /// Again, after a backoff or the time asked for.
    Nack(Retry),
    /// Dead letter.
    Reject(String),
    /// Again at or after this time, at no cost.
    Defer(Timestamp),
    /// Maybe sent: parked or asked, by policy.
    Unknown(String),
    /// The plugin broke (trap, time, limit): counts as an attempt, blamed by evidence.
    Broke(String),
    /// Two transactions touched the same keys: run again at once, at no cost.
    Conflict,
    /// Never ran: run again at no cost.
    NotStarted(String),
}
