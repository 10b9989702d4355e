//! A subscription as people write it, in TOML or JSON, and its translation to what the core runs.
//!
//! The same form is read by the CLI, sent over the admin API and kept in the catalog. Knows nothing of what the plugin does with
//! its settings, nor of how grants are enforced.
//!
//! Invariant: [`Definition::check`] accepted whatever reaches the catalog.

mod backlog;
mod filter;
mod given_up;
mod grants;
mod protect;
mod start;

use std::collections::BTreeMap;
use std::path::Path;

use bugle_core::ids::{SubscriptionId, TopicId};
use bugle_core::origin::{PRIVATE_PREFIX, SETTLED_TOPIC};
use bugle_core::pattern::TopicPattern;
use bugle_core::spec;
use serde::{Deserialize, Serialize};

use crate::hint;
use crate::name::{self, NameError};
use crate::quantity::{Duration, Size};

pub use backlog::{BacklogPolicySpec, BacklogSpec};
pub use filter::FilterSpec;
pub use given_up::{DeadLettersSpec, OnDeadFullSpec, OnExhaustedSpec};
pub use grants::{Grants, SecretSource};
pub use protect::{ActionSpec, BlameSpec, BreakerSpec, ClassSpec, DegradeSpec, HealthSpec, RateSpec};
pub use start::Start;

/// A subscription: topics, filter, plugin, policy, settings and grants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Its name: a-z, 0-9, `-`, `_` and `.`, at most 64.
    pub name: String,
    /// The topics it covers, at least one: names, and patterns such as `orders.*` (one segment) or `orders.**` (all below).
    pub topics: Vec<String>,
    /// The plugin that handles its events.
    pub plugin: String,
    /// Which events it wants. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterSpec>,
    /// `by-key` (default) or `none`.
    #[serde(default)]
    pub ordering: OrderingSpec,
    /// Deliveries in flight at once. Default 32. Large: more memory and more pressure on the receiver.
    #[serde(default = "default_concurrency")]
    pub concurrency: u32,
    /// Deliveries per call of the plugin at most, 1 to 64; only for a plugin of world `batch-channel`. Default 16. Nothing waits for
    /// a call to be full. Large: fewer calls, and more deliveries run again one by one when a call breaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_max: Option<u32>,
    /// How long an attempt may hold a delivery. Default 60s. Small: slow receivers get the same event again.
    #[serde(default = "default_lease")]
    pub lease: Duration,
    /// When failed attempts are repeated and when they end.
    #[serde(default)]
    pub retry: RetrySpec,
    /// How fast deliveries start, over all revisions and retries: `100/s`, `30/m`, `5/200ms`. Default: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateSpec>,
    /// How many may start at once after a quiet time. Default: what the rate gives in a second, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Bytes of events read ahead. Default 4MiB. Small: a lagging subscription reads the disk more often.
    #[serde(default = "default_prefetch", skip_serializing_if = "is_default_prefetch")]
    pub prefetch: Size,
    /// When the channel is left alone because it is sick, and when it is tried again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub breaker: BreakerSpec,
    /// When a fault is the event's and when the channel's or the plugin's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub blame: BlameSpec,
    /// Ordered rules: which events are sent, deferred, rerouted or dropped, and when. The first that fits decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degrade: Vec<DegradeSpec>,
    /// What happens to a delivery that used up its attempts: `skip` (default), `block` or `park-key`.
    #[serde(default)]
    pub on_exhausted: OnExhaustedSpec,
    /// Bounds of its dead letters.
    #[serde(default)]
    pub dead_letters: DeadLettersSpec,
    /// What to do about effects that may have happened: `resend` with the same idempotency key, `ask` the provider first, or
    /// `park` for a person. Default: what the plugin's manifest says, else `resend`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncertain: Option<UncertainSpec>,
    /// Attribute that names what an event is about, for claims and records. Default: `businesskey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub business_key: Option<String>,
    /// Whether the host keeps a send record of each delivery: that an attempt failed, how it ended, when, after how many tries.
    /// Default false; worth its rows for sms, push and e-mail. What the plugin notes is kept in any case.
    #[serde(default, skip_serializing_if = "is_default")]
    pub records: bool,
    /// A channel that several subscriptions share: what one of them has claimed, such as `order:7`, is done for all of them. Same rules
    /// as for names. Default: claims are the subscription's own. Can't be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Whether an event in the topic `bugle.settled` says how each delivery ended: outcome, subscription, event, cause. Default false.
    #[serde(default, skip_serializing_if = "is_default")]
    pub settled_events: bool,
    /// Whether its provider may call back at `/inbound/NAME` of the listener `[inbound]`, for a plugin that exports `inbound`. Default
    /// false: such a call finds nothing there.
    #[serde(default, skip_serializing_if = "is_default")]
    pub inbound: bool,
    /// How long what was sent may stay without a word of its provider: `15m`. Then it counts as maybe sent, and `uncertain` says what is
    /// done: sent again with the same idempotency key, asked about, or parked for a person. Needs `inbound`. Default: as long as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_after: Option<Duration>,
    /// Where a new subscription starts: `latest` (default), `earliest`, a position such as `0-1234`, a time, or `2h ago`. Ignored
    /// once it exists.
    #[serde(default)]
    pub start: Start,
    /// How much it may leave unsettled, and what happens beyond.
    #[serde(default)]
    pub backlog: BacklogSpec,
    /// Settings of the plugin, checked against its manifest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, serde_json::Value>,
    /// What the plugin may do beyond its own deliveries. Default: nothing.
    #[serde(default)]
    pub grants: Grants,
    /// Bounds of each call, tighter than the host's.
    #[serde(default)]
    pub limits: LimitsSpec,
}

fn default_concurrency() -> u32 {
    32
}

fn default_prefetch() -> Size {
    Size::mib(4)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn is_default_prefetch(prefetch: &Size) -> bool {
    *prefetch == default_prefetch()
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn default_lease() -> Duration {
    Duration::from_secs(60)
}

/// Whether events of one key run one at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderingSpec {
    /// By ordering key.
    #[default]
    ByKey,
    /// Every event on its own.
    None,
}

/// What to do about effects that may have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UncertainSpec {
    /// Sent again with the same idempotency key.
    Resend,
    /// The provider is asked first, if the plugin can.
    Ask,
    /// Parked for a person.
    Park,
}

impl UncertainSpec {
    /// The word in files and manifests.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            UncertainSpec::Resend => "resend",
            UncertainSpec::Ask => "ask",
            UncertainSpec::Park => "park",
        }
    }
}

/// See [`spec::RetryPolicy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySpec {
    /// Attempts in all. Default 16.
    pub attempts_max: u32,
    /// Bound of the first wait. Default 1s.
    pub first_backoff: Duration,
    /// Bound of every wait. Default 1h.
    pub backoff_max: Duration,
}

impl Default for RetrySpec {
    fn default() -> Self {
        let policy = spec::RetryPolicy::default();
        RetrySpec {
            attempts_max: policy.attempts_max,
            first_backoff: Duration(policy.first_backoff),
            backoff_max: Duration(policy.backoff_max),
        }
    }
}

/// Bounds of one call; unset ones are the manifest's or the host's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSpec {
    /// Memory of one instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// CPU time of one attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Duration>,
    /// Time of one attempt, waiting included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall: Option<Duration>,
}

/// Why a definition is not accepted. The caller must change it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// Not TOML or JSON of the right shape.
    #[error("{0}")]
    Syntax(String),
    /// A name is not allowed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A field cannot have this value.
    #[error("subscription `{name}`: `{field}` {problem}")]
    Field {
        /// The subscription.
        name: String,
        /// The field.
        field: &'static str,
        /// What is wrong and what to write.
        problem: String,
    },
}

/// A concurrency beyond this is a typing mistake: each delivery in flight holds its event in memory.
const CONCURRENCY_MAX: u32 = 100_000;

/// Names and patterns of one subscription; each event of the log is looked up in the topics they stand for.
const TOPICS_MAX: usize = 256;

/// A lease beyond a day would hide a dead plugin for that long.
const LEASE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Providers call back over the internet: before this nothing is late.
const LATE_AFTER_MIN: Duration = Duration::from_secs(1);
/// Later than this nobody wants it sent again, and the record would be forgotten before long.
const LATE_AFTER_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// A prefetch below this reads the disk for nearly every event.
const PREFETCH_MIN: Size = Size(64 << 10);
/// A prefetch beyond this would be most of the host's memory.
const PREFETCH_MAX: Size = Size::mib(256);

impl Definition {
    /// Parses a file by its ending: `.json`, else TOML.
    pub fn parse(file: &Path, text: &str) -> Result<Definition, DefinitionError> {
        let shown = file.display().to_string();
        let parsed = if file.extension().is_some_and(|ending| ending == "json") {
            serde_json::from_str(text).map_err(|error| hint::json_error(&shown, &error))
        } else {
            toml::from_str(text).map_err(|error| hint::toml_error(&shown, text, &error))
        };
        let definition: Definition = parsed.map_err(DefinitionError::Syntax)?;
        definition.check()?;
        Ok(definition)
    }

    /// Checks everything that can be judged without the host.
    pub fn check(&self) -> Result<(), DefinitionError> {
        name::check("subscription", &self.name)?;
        name::check("plugin", &self.plugin)?;
        self.channel.as_ref().map_or(Ok(()), |channel| name::check("channel", channel))?;
        let refuse =
            |field: &'static str, problem: String| DefinitionError::Field { name: self.name.clone(), field, problem };
        self.check_topics()?;
        if !(1..=CONCURRENCY_MAX).contains(&self.concurrency) {
            let problem = format!("must be from 1 to {CONCURRENCY_MAX}");
            return Err(refuse("concurrency", problem));
        }
        if self.batch_max.is_some_and(|batch_max| !(1..=spec::BATCH_DELIVERIES_MAX).contains(&batch_max)) {
            return Err(refuse("batch_max", format!("must be from 1 to {}", spec::BATCH_DELIVERIES_MAX)));
        }
        if self.retry.attempts_max == 0 {
            let problem = "is 0, so nothing would ever be sent; use 1 for no retry".to_owned();
            return Err(refuse("retry.attempts_max", problem));
        }
        if self.retry.first_backoff > self.retry.backoff_max {
            let problem = format!("is longer than `backoff_max` ({})", self.retry.backoff_max);
            return Err(refuse("retry.first_backoff", problem));
        }
        if self.lease < Duration::from_secs(1) || self.lease > LEASE_MAX {
            return Err(refuse("lease", format!("must be from 1s to {LEASE_MAX}")));
        }
        if let Some(late_after) = self.late_after {
            if !self.inbound {
                let problem =
                    "needs `inbound = true`: where no provider calls back, everything would be late".to_owned();
                return Err(refuse("late_after", problem));
            }
            if !(LATE_AFTER_MIN..=LATE_AFTER_MAX).contains(&late_after) {
                return Err(refuse("late_after", format!("must be from {LATE_AFTER_MIN} to {LATE_AFTER_MAX}")));
            }
        }
        self.dead_letters.check().map_err(|(field, problem)| refuse(field, problem))?;
        self.backlog.check().map_err(|problem| refuse("backlog", problem))?;
        self.filter.as_ref().map_or(Ok(()), FilterSpec::check).map_err(|problem| refuse("filter", problem))?;
        self.check_protection().map_err(|(field, problem)| refuse(field, problem))?;
        self.grants.check().map_err(|(field, problem)| refuse(field, problem))
    }

    fn check_protection(&self) -> Result<(), (&'static str, String)> {
        match (self.rate, self.burst) {
            (None, Some(_)) => return Err(("burst", "has no `rate` that it could belong to".to_owned())),
            (Some(_), Some(0)) => {
                return Err(("burst", "is 0, so nothing would ever be sent; use at least 1".to_owned()));
            }
            (_, None) | (Some(_), Some(_)) => {}
        }
        if !(PREFETCH_MIN..=PREFETCH_MAX).contains(&self.prefetch) {
            return Err(("prefetch", format!("must be from {PREFETCH_MIN} to {PREFETCH_MAX}")));
        }
        self.breaker.check()?;
        self.blame.check()?;
        protect::check(&self.degrade, &self.name).map_err(|problem| ("degrade", problem))
    }

    /// Whether a degrade rule hands events to that subscription.
    #[must_use]
    pub fn reroutes_to(&self, name: &str) -> bool {
        self.degrade.iter().any(|rule| rule.to.as_deref() == Some(name))
    }

    /// The degrade rules as the core has them. `private_topic` knows the private topic of a subscription; the name of one that
    /// it does not know comes back.
    pub fn degrade_rules(
        &self,
        private_topic: impl Fn(&str) -> Option<TopicId>,
    ) -> Result<Vec<spec::DegradeRule>, String> {
        protect::to_core(&self.degrade, private_topic)
    }

    fn check_topics(&self) -> Result<(), DefinitionError> {
        let refuse = |problem: String| DefinitionError::Field { name: self.name.clone(), field: "topics", problem };
        if self.topics.is_empty() {
            return Err(refuse("is empty; name at least one topic".to_owned()));
        }
        if self.topics.len() > TOPICS_MAX {
            return Err(refuse(format!(
                "has more than {TOPICS_MAX} names and patterns; use a pattern that covers more"
            )));
        }
        if let Some(private) = self.topics.iter().find(|topic| topic.starts_with(PRIVATE_PREFIX)) {
            return Err(refuse(format!(
                "names `{private}`, the private topic of a subscription, which no other one can cover"
            )));
        }
        for topic in &self.topics {
            if TopicPattern::is_meant(topic) {
                topic.parse::<TopicPattern>().map_err(|problem| refuse(format!("has a bad pattern: {problem}")))?;
            } else {
                name::check("topic", topic)?;
            }
        }
        Ok(())
    }

    /// Whether it needs the topic of outcomes: it tells its own, or covers those of others.
    #[must_use]
    pub fn needs_settled_topic(&self) -> bool {
        self.settled_events || self.topics.iter().any(|topic| topic == SETTLED_TOPIC)
    }

    /// The topics it names; the others are patterns.
    pub fn named_topics(&self) -> impl Iterator<Item = &String> {
        self.topics.iter().filter(|topic| !TopicPattern::is_meant(topic))
    }

    fn patterns(&self) -> Vec<TopicPattern> {
        self.topics.iter().filter_map(|topic| topic.parse().ok()).collect()
    }

    /// What the core runs; `topics` are the numbers of the named ones, the degrade rules come from [`Definition::degrade_rules`].
    #[must_use]
    pub fn to_core(&self, id: SubscriptionId, topics: Vec<TopicId>) -> spec::Subscription {
        spec::Subscription {
            filter: self.filter.as_ref().map_or_else(spec::Filter::default, FilterSpec::to_core),
            ordering: match self.ordering {
                OrderingSpec::ByKey => spec::Ordering::ByKey,
                OrderingSpec::None => spec::Ordering::None,
            },
            concurrency: self.concurrency,
            retry: spec::RetryPolicy {
                attempts_max: self.retry.attempts_max,
                first_backoff: self.retry.first_backoff.0,
                backoff_max: self.retry.backoff_max.0,
            },
            on_unknown: match self.uncertain {
                Some(UncertainSpec::Park) => spec::OnUnknown::Park,
                Some(UncertainSpec::Ask) => spec::OnUnknown::Ask,
                Some(UncertainSpec::Resend) | None => spec::OnUnknown::Resend,
            },
            on_exhausted: self.on_exhausted.to_core(),
            dead: self.dead_letters.to_core(),
            lease: self.lease.0,
            patterns: self.patterns(),
            backlog: self.backlog.to_core(),
            business_key: self.business_key.as_deref().map(bugle_core::ids::Name::from),
            records: self.records,
            channel: self.channel.as_deref().map(bugle_core::ids::Name::from),
            inbound: self.inbound,
            late_after: self.late_after.map(|after| after.0),
            protection: spec::Protection {
                rate: self.rate.map(|rate| rate.to_core(self.burst)),
                blame: self.blame.to_core(),
                breaker: self.breaker.to_core(),
                degrade: Vec::new(),
            },
            prefetch_bytes: self.prefetch.0,
            ..spec::Subscription::new(id, &self.name, &self.plugin, topics)
        }
    }
}

#[cfg(test)]
mod tests;
