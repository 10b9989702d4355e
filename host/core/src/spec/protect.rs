//! How a subscription protects what is behind its channel: rate, blame, breaker, degrade rules.
//!
//! Only the checked settings; what they do is decided in [`crate::flow`]. Invariant: every default is given here and nowhere
//! else.

use alloc::vec::Vec;

use crate::event::Class;
use crate::ids::TopicId;
use crate::time::Millis;

/// How many deliveries may start in a span of time, over all revisions and redeliveries of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// This many; at least 1.
    pub events: u32,
    /// In this span; at least 1 ms, at most [`RATE_PER_MAX`].
    pub per: Millis,
    /// At most this many at once after a quiet time; at least 1.
    pub burst: u32,
}

/// The longest span of a rate: one delivery a day is the slowest.
pub const RATE_PER_MAX: Millis = Millis::from_secs(24 * 3600);

/// When a fault is the event's and when the channel's or the plugin's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blame {
    /// Faults must spread over this many events before channel or plugin is blamed, and this many others must have succeeded
    /// before a single event is poison. Default 10. Small: a few bad events stop everything for a while; large: an outage
    /// spends more attempts before it is seen.
    pub events_min: u32,
    /// An event that broke the plugin this often on a fresh instance is poison. Default 3.
    pub fresh_breaks_max: u32,
}

impl Default for Blame {
    fn default() -> Self {
        Blame { events_min: 10, fresh_breaks_max: 3 }
    }
}

/// How long an open breaker waits and what closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Bound of the first time open; it doubles each time. Default 5 s. Small: a sick provider is asked more often.
    pub open_first: Millis,
    /// Bound of every time open. Default 5 min. Large: recovery is noticed later.
    pub open_max: Millis,
    /// Probes that must succeed one after another before it closes. Default 3.
    pub probes: u32,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        BreakerPolicy { open_first: Millis::from_secs(5), open_max: Millis::from_secs(300), probes: 3 }
    }
}

/// How the channel is: sick from the moment its breaker opens until it closes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// The breaker is closed.
    #[default]
    Healthy,
    /// The breaker is open, or probes are under way.
    Sick,
}

impl Health {
    /// The word in files and on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Health::Healthy => "healthy",
            Health::Sick => "sick",
        }
    }
}

/// A set of priority classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classes(u8);

impl Classes {
    /// Every class.
    pub const ALL: Classes = Classes(0b111);

    /// Only these.
    #[must_use]
    pub fn of(classes: &[Class]) -> Classes {
        Classes(classes.iter().fold(0, |set, class| set | 1 << class.code()))
    }

    /// Whether the class is one of them.
    #[must_use]
    pub fn has(self, class: Class) -> bool {
        self.0 >> class.code() & 1 == 1
    }
}

/// What a degrade rule does with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DegradeAction {
    /// Deliver it, as breaker and rate allow.
    Send,
    /// Keep it until no rule says so any more.
    Defer,
    /// Hand it to another subscription, through this topic, and settle it here.
    Reroute(TopicId),
    /// Settle it with a send record that says why.
    Drop,
}

impl DegradeAction {
    /// The word in files and on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            DegradeAction::Send => "send",
            DegradeAction::Defer => "defer",
            DegradeAction::Reroute(_) => "reroute",
            DegradeAction::Drop => "drop",
        }
    }
}

/// One rule of a degrade policy. The first rule that fits an event decides; an event that none fits is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DegradeRule {
    /// For events of these classes.
    pub classes: Classes,
    /// While the channel is so; `None`: always.
    pub health: Option<Health>,
    /// For events that were received at least this long ago.
    pub older_than: Millis,
    /// What to do.
    pub action: DegradeAction,
    /// The health must have been so for this long before the rule begins to count.
    pub sustained: Millis,
    /// The health must have been otherwise for this long before the rule ceases to count.
    pub until: Millis,
}

/// Rules of one policy: whether each counts is a bit of one row.
pub const DEGRADE_RULES_MAX: usize = 32;

/// Everything that protects a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protection {
    /// How fast deliveries start. Default: no bound.
    pub rate: Option<Rate>,
    /// Who is to blame for faults.
    pub blame: Blame,
    /// When the channel is left alone; `None`: never, and every fault is the event's.
    pub breaker: Option<BreakerPolicy>,
    /// What happens to which events; at most [`DEGRADE_RULES_MAX`].
    pub degrade: Vec<DegradeRule>,
}

impl Protection {
    /// The documented defaults: a breaker, no rate, no degrade rule.
    #[must_use]
    pub fn standard() -> Protection {
        Protection { breaker: Some(BreakerPolicy::default()), ..Protection::default() }
    }
}
