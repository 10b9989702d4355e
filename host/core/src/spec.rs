//! What an operator configures: topics and subscriptions, as the core understands them.
//!
//! Parsing from files and JSON is the server's; this is the checked result.

mod protect;

use alloc::string::String;
use alloc::vec::Vec;

use crate::event::{Event, StoredEvent};
use crate::ids::{Name, SubscriptionId, TopicId};
use crate::pattern::TopicPattern;
use crate::time::Millis;
pub use protect::{
    Blame, BreakerPolicy, Classes, DEGRADE_RULES_MAX, DegradeAction, DegradeRule, Health, Protection, RATE_PER_MAX,
    Rate,
};

/// A topic: a named log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its number.
    pub id: TopicId,
    /// Its name.
    pub name: Name,
}

/// Which events of its topics a subscription wants; compiled once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// Every event.
    #[default]
    Everything,
    /// The attribute has exactly this value.
    Exact {
        /// CloudEvents attribute name.
        attribute: String,
        /// Wanted value.
        value: String,
    },
    /// The attribute starts with this.
    Prefix {
        /// CloudEvents attribute name.
        attribute: String,
        /// Wanted beginning.
        value: String,
    },
    /// The attribute ends with this.
    Suffix {
        /// CloudEvents attribute name.
        attribute: String,
        /// Wanted end.
        value: String,
    },
    /// All of these hold.
    All(Vec<Filter>),
    /// At least one of these holds.
    Any(Vec<Filter>),
    /// This does not hold.
    Not(alloc::boxed::Box<Filter>),
}

/// How deep a filter may nest; a deeper one is refused when it is applied, so that matching can recurse safely.
pub const FILTER_DEPTH_MAX: usize = 16;

/// How many comparisons and groups a filter may have; every event that is read may meet all of them.
pub const FILTER_PARTS_MAX: usize = 1_024;

impl Filter {
    /// Comparisons and groups in it.
    #[must_use]
    pub fn parts(&self) -> usize {
        match self {
            Filter::Everything | Filter::Exact { .. } | Filter::Prefix { .. } | Filter::Suffix { .. } => 1,
            Filter::All(parts) | Filter::Any(parts) => 1 + parts.iter().map(Filter::parts).sum::<usize>(),
            Filter::Not(part) => 1 + part.parts(),
        }
    }

    /// Whether the subscription wants the event. A missing attribute matches no comparison.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        match self {
            Filter::Everything => true,
            Filter::Exact { attribute, value } => event.attribute(attribute).is_some_and(|text| text == value),
            Filter::Prefix { attribute, value } => {
                event.attribute(attribute).is_some_and(|text| text.starts_with(value.as_str()))
            }
            Filter::Suffix { attribute, value } => {
                event.attribute(attribute).is_some_and(|text| text.ends_with(value.as_str()))
            }
            Filter::All(parts) => parts.iter().all(|part| part.matches(event)),
            Filter::Any(parts) => parts.iter().any(|part| part.matches(event)),
            Filter::Not(part) => !part.matches(event),
        }
    }

    /// Levels of nesting, the filter itself included.
    #[must_use]
    pub fn depth(&self) -> usize {
        match self {
            Filter::Everything | Filter::Exact { .. } | Filter::Prefix { .. } | Filter::Suffix { .. } => 1,
            Filter::All(parts) | Filter::Any(parts) => 1 + parts.iter().map(Filter::depth).max().unwrap_or(0),
            Filter::Not(part) => 1 + part.depth(),
        }
    }
}

/// Whether events that share a key run one at a time, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordering {
    /// By ordering key; events without a key run in parallel.
    ByKey,
    /// Every event on its own.
    None,
}

/// When and how often a delivery is tried again. Backoff is exponential with full jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first one counted; then dead letter. Default 16.
    pub attempts_max: u32,
    /// Bound of the first wait. Default 1 s.
    pub first_backoff: Millis,
    /// Bound of every wait. Default 1 h.
    pub backoff_max: Millis,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy { attempts_max: 16, first_backoff: Millis::from_secs(1), backoff_max: Millis::from_secs(3600) }
    }
}

/// Deliveries of one call of a batch plugin, whatever the subscription says: the bound of the plugin contract.
pub const BATCH_DELIVERIES_MAX: u32 = 64;

/// What happens to a delivery that used up its attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExhausted {
    /// Dead letter; its key goes on.
    #[default]
    Skip,
    /// Never given up: tried again at the longest backoff for ever, and its key waits.
    Block,
    /// Dead letter, and its key waits until a person replays or dismisses it. Without a key it is like `Skip`. So that order holds,
    /// a rejected delivery parks its key too.
    ParkKey,
}

/// What happens when a subscription has as many dead letters as it may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDeadFull {
    /// The oldest are removed, counted and alarmed; those whose key waits stay.
    #[default]
    RemoveOldest,
    /// The subscription pauses.
    Pause,
}

/// Bounds of the dead letters of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadBounds {
    /// Letters in any state. Default 100,000.
    pub letters_max: u64,
    /// Their bytes, each counted with an overhead. Default 1 GiB.
    pub bytes_max: u64,
    /// Older ones are removed. Default 30 days.
    pub age_max: Millis,
    /// What happens at the first two bounds.
    pub on_full: OnDeadFull,
}

impl Default for DeadBounds {
    fn default() -> Self {
        DeadBounds {
            letters_max: 100_000,
            bytes_max: 1 << 30,
            age_max: Millis::from_secs(30 * 24 * 3600),
            on_full: OnDeadFull::default(),
        }
    }
}

/// What happens to a delivery that may have been sent ([`crate::delivery::Verdict::Unknown`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnknown {
    /// Like a nack: tried again after a backoff with the same idempotency key, so that the receiver can drop the repeat.
    #[default]
    Resend,
    /// Like [`OnUnknown::Resend`], but before a claim that was left uncertain is given again the plugin is asked what became of it, also
    /// after a crash of the host. Parked when there is no claim to ask about, or when the attempts are used up.
    Ask,
    /// Parked until a person decides; its lane goes on.
    Park,
}

/// How much a subscription may leave unsettled. One that stands still would otherwise fill the disk for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BacklogCap {
    /// Unsettled events. Default 10 million.
    pub events_max: u64,
    /// Bytes of log from the oldest unsettled event on. Default 16 GiB.
    pub bytes_max: u64,
    /// What happens beyond.
    pub policy: BacklogPolicy,
}

impl Default for BacklogCap {
    fn default() -> Self {
        BacklogCap { events_max: 10_000_000, bytes_max: 16 << 30, policy: BacklogPolicy::default() }
    }
}

/// What happens to a backlog over its cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BacklogPolicy {
    /// The oldest unsettled events expire, with a row that says which.
    #[default]
    ExpireOldest,
    /// Publishing to the subscription's topics is refused until it has worked some of it off.
    RefusePublish,
}

/// A subscription: topics + filter + plugin + policy. Its cursor lives in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its number.
    pub id: SubscriptionId,
    /// Its name.
    pub name: Name,
    /// The topics it covers: those it names, and those that match a pattern and exist.
    pub topics: Vec<TopicId>,
    /// Its private topic: copies of events that come to it a second time. Covered beside its topics, whatever the filter says.
    pub redelivery: Option<TopicId>,
    /// A topic that is created and matches one of these is covered from its first event on.
    pub patterns: Vec<TopicPattern>,
    /// Which of their events it wants.
    pub filter: Filter,
    /// The plugin's name; which revision runs is the sandbox's affair.
    pub plugin: Name,
    /// Ordering by key or none.
    pub ordering: Ordering,
    /// Deliveries in flight at once. Default 32.
    pub concurrency: u32,
    /// Deliveries handed to the plugin in one call at most, 1 to [`BATCH_DELIVERIES_MAX`]. Default 1, and 1 for every plugin that
    /// takes one per call.
    pub batch_max: u32,
    /// Retry policy.
    pub retry: RetryPolicy,
    /// What happens to a delivery that may have been sent. Default resend.
    pub on_unknown: OnUnknown,
    /// What happens to a delivery that used up its attempts. Default skip.
    pub on_exhausted: OnExhausted,
    /// Bounds of its dead letters.
    pub dead: DeadBounds,
    /// How long an attempt may hold a delivery. Default 60 s; the wall limit of the call is shorter.
    pub lease: Millis,
    /// How much it may leave unsettled, and what happens beyond.
    pub backlog: BacklogCap,
    /// Attribute that names what an event is about, for records that the host writes. Default:
    /// `businesskey`.
    pub business_key: Option<Name>,
    /// Whether the host keeps a send record of each delivery. Default no; what a plugin notes and what a degrade rule drops is
    /// recorded in any case.
    pub records: bool,
    /// The channel whose claims it shares with others; `None`: its claims are its own. Never changes.
    pub channel: Option<Name>,
    /// Whether providers call back: then what a plugin notes of a send is compared with what its provider said of it. Default no.
    pub inbound: bool,
    /// How long what was sent may stay without a word of its provider: then it is in doubt, and [`Subscription::on_unknown`] says what
    /// is done. Default: as long as it likes.
    pub late_after: Option<Millis>,
    /// Where events go that say how its deliveries ended: the topic [`crate::origin::SETTLED_TOPIC`]. Default: nowhere.
    pub settled: Option<TopicId>,
    /// Rate, blame, breaker and degrade policy.
    pub protection: Protection,
    /// Bytes of events read ahead of the deliveries, beyond the host's own memory of the newest. Default 4 MiB.
    pub prefetch_bytes: u64,
}

impl Subscription {
    /// Whether a topic of this name matches one of the patterns.
    #[must_use]
    pub fn has_pattern_for(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name))
    }

    /// The scope of its claims: its name, or one that it shares with all of its channel. No subscription can have such a name.
    #[must_use]
    pub fn claim_scope(&self) -> Name {
        match &self.channel {
            None => self.name.clone(),
            Some(channel) => Name::from(alloc::format!("channel/{channel}")),
        }
    }

    /// A subscription that wants every event of its topics, with the documented defaults for everything else.
    #[must_use]
    pub fn new(id: SubscriptionId, name: &str, plugin: &str, topics: Vec<TopicId>) -> Subscription {
        Subscription {
            id,
            name: name.into(),
            topics,
            redelivery: None,
            patterns: Vec::new(),
            filter: Filter::Everything,
            plugin: plugin.into(),
            ordering: Ordering::ByKey,
            concurrency: 32,
            batch_max: 1,
            retry: RetryPolicy::default(),
            on_unknown: OnUnknown::default(),
            on_exhausted: OnExhausted::default(),
            dead: DeadBounds::default(),
            lease: Millis::from_secs(60),
            backlog: BacklogCap::default(),
            business_key: None,
            records: false,
            channel: None,
            inbound: false,
            late_after: None,
            settled: None,
            protection: Protection::standard(),
            prefetch_bytes: 4 << 20,
        }
    }

    /// Whether it wants the event.
    #[must_use]
    pub fn wants(&self, event: &StoredEvent) -> bool {
        !event.is_scheduled()
            && !event.event.is_erased()
            && (self.redelivery == Some(event.topic)
                || (self.topics.contains(&event.topic) && self.filter.matches(&event.event)))
    }

    /// Every topic it looks at, the private one included.
    #[must_use]
    pub fn covered(&self) -> Vec<TopicId> {
        self.topics.iter().chain(&self.redelivery).copied().collect()
    }
}
