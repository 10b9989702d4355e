//! Rate, breaker, blame and degrade rules as people write them.
//!
//! `rate = "100/s"`; `degrade = [{ while = "sick", classes = ["normal", "low"], do = "defer" }]`. What they do is the core's.
//!
//! Invariant: every refusal names the field it is about.

use std::fmt;
use std::str::FromStr;

use bugle_core::event::Class;
use bugle_core::ids::TopicId;
use bugle_core::spec::{
    Blame, BreakerPolicy, Classes, DEGRADE_RULES_MAX, DegradeAction, DegradeRule, Health, RATE_PER_MAX, Rate,
};
use bugle_core::time::Millis;
use serde::{Deserialize, Serialize};

use crate::name;
use crate::quantity::Duration;

/// How fast deliveries start: `100/s`, `30/m`, `1000/h`, or any span, `5/200ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateSpec {
    /// This many.
    pub events: u32,
    /// In this span.
    pub per: Duration,
}

impl FromStr for RateSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            || format!("`{text}` is not a rate; write a whole number and a span: `100/s`, `30/m`, `1000/h`, `5/200ms`");
        let (events, span) = text.split_once('/').ok_or_else(wrong)?;
        let per = if span.starts_with(|first: char| first.is_ascii_digit()) {
            span.parse()
        } else {
            format!("1{span}").parse()
        };
        let rate = RateSpec { events: events.parse().map_err(|_| wrong())?, per: per.map_err(|_| wrong())? };
        if rate.events == 0 || rate.per.0 == Millis(0) || rate.per.0 > RATE_PER_MAX {
            return Err(format!(
                "`{text}` must be at least one event, in a span from 1ms to 1d; `pause` stops a subscription"
            ));
        }
        Ok(rate)
    }
}

impl fmt::Display for RateSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.events, self.per)
    }
}

impl Serialize for RateSpec {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RateSpec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl RateSpec {
    /// With a burst; the default is what the rate gives in a second, at least one.
    pub(super) fn to_core(self, burst: Option<u32>) -> Rate {
        let in_a_second = u64::from(self.events).saturating_mul(1000) / self.per.0.0.max(1);
        let burst = burst.unwrap_or(u32::try_from(in_a_second).unwrap_or(u32::MAX).max(1));
        Rate { events: self.events, per: self.per.0, burst }
    }
}

/// See [`BreakerPolicy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerSpec {
    /// Whether there is one. Default true; without it every fault is the event's.
    pub enabled: bool,
    /// Bound of the first time open. Default 5s.
    pub open_first: Duration,
    /// Bound of every time open. Default 5m.
    pub open_max: Duration,
    /// Probes that must succeed in a row. Default 3.
    pub probes: u32,
}

impl Default for BreakerSpec {
    fn default() -> Self {
        let policy = BreakerPolicy::default();
        BreakerSpec {
            enabled: true,
            open_first: Duration(policy.open_first),
            open_max: Duration(policy.open_max),
            probes: policy.probes,
        }
    }
}

impl BreakerSpec {
    pub(super) fn to_core(self) -> Option<BreakerPolicy> {
        let policy = BreakerPolicy { open_first: self.open_first.0, open_max: self.open_max.0, probes: self.probes };
        self.enabled.then_some(policy)
    }

    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.open_first.0 == Millis(0) || self.open_max > OPEN_MAX {
            return Err(("breaker.open_first", format!("must be at least 1ms, and `open_max` at most {OPEN_MAX}")));
        }
        if self.open_first > self.open_max {
            return Err(("breaker.open_first", format!("is longer than `open_max` ({})", self.open_max)));
        }
        if !(1..=PROBES_MAX).contains(&self.probes) {
            return Err(("breaker.probes", format!("must be from 1 to {PROBES_MAX}")));
        }
        Ok(())
    }
}

/// A breaker open for longer would be a subscription that was forgotten.
const OPEN_MAX: Duration = Duration::from_secs(24 * 3600);
/// Probes go out one at a time; more would keep a healthy channel closed for long.
const PROBES_MAX: u32 = 100;
/// More events than this never fail together before somebody has noticed.
const BLAME_EVENTS_MAX: u32 = 1_000;

/// See [`Blame`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlameSpec {
    /// Events over which faults must spread before channel or plugin is blamed. Default 10.
    pub events_min: u32,
    /// Breaks on a fresh instance that make an event poison. Default 3.
    pub fresh_breaks_max: u32,
}

impl Default for BlameSpec {
    fn default() -> Self {
        let Blame { events_min, fresh_breaks_max } = Blame::default();
        BlameSpec { events_min, fresh_breaks_max }
    }
}

impl BlameSpec {
    pub(super) fn to_core(self) -> Blame {
        Blame { events_min: self.events_min, fresh_breaks_max: self.fresh_breaks_max }
    }

    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if !(2..=BLAME_EVENTS_MAX).contains(&self.events_min) {
            let problem = format!("must be from 2 to {BLAME_EVENTS_MAX}: one event alone proves nothing");
            return Err(("blame.events_min", problem));
        }
        if self.fresh_breaks_max == 0 {
            return Err(("blame.fresh_breaks_max", "is 0, so every event would be poison; use at least 1".to_owned()));
        }
        Ok(())
    }
}

/// A priority class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassSpec {
    /// Overtakes everything else.
    Critical,
    /// What an event is when it does not say.
    Normal,
    /// Runs when nothing else waits.
    Low,
}

impl ClassSpec {
    fn to_core(self) -> Class {
        match self {
            ClassSpec::Critical => Class::Critical,
            ClassSpec::Normal => Class::Normal,
            ClassSpec::Low => Class::Low,
        }
    }
}

/// How a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthSpec {
    /// The breaker is closed.
    Healthy,
    /// It is not.
    Sick,
}

impl HealthSpec {
    /// As the core has it.
    #[must_use]
    pub fn to_core(self) -> Health {
        match self {
            HealthSpec::Healthy => Health::Healthy,
            HealthSpec::Sick => Health::Sick,
        }
    }
}

impl FromStr for HealthSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "healthy" => Ok(HealthSpec::Healthy),
            "sick" => Ok(HealthSpec::Sick),
            other => Err(format!("`{other}` is not a health; write `healthy` or `sick`")),
        }
    }
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionSpec {
    /// Deliver.
    Send,
    /// Keep.
    Defer,
    /// Hand to the subscription `to`.
    Reroute,
    /// Settle with a record.
    Drop,
}

/// One rule of a degrade policy; the first that fits an event decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DegradeSpec {
    /// For events of these classes. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<ClassSpec>>,
    /// While the channel is `sick` (its breaker is not closed) or `healthy`. Default: always.
    #[serde(rename = "while", default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSpec>,
    /// For events received at least this long ago. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older_than: Option<Duration>,
    /// `send`, `defer`, `reroute` or `drop`.
    #[serde(rename = "do")]
    pub action: ActionSpec,
    /// The subscription that gets what is rerouted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// How long `while` must have been so before the rule begins to count. Default: 0s.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub sustained: Option<Duration>,
    /// How long `while` must have been otherwise before the rule ceases to count. Default: 0s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Duration>,
}

impl DegradeSpec {
    fn check(&self, own_name: &str) -> Result<(), String> {
        if self.classes.as_ref().is_some_and(Vec::is_empty) {
            return Err("has no `classes`; leave the field out to mean all".to_owned());
        }
        if self.action == ActionSpec::Defer && self.older_than.is_some() {
            return Err("cannot `defer` by `older_than`: the oldest are first in the queue, and would hold all behind"
                .to_owned());
        }
        if self.health.is_none() && (self.sustained.is_some() || self.until.is_some()) {
            return Err("has `for` or `until` but no `while` that they could be about".to_owned());
        }
        match (self.action, &self.to) {
            (ActionSpec::Reroute, None) => Err("must say `to` which subscription it reroutes".to_owned()),
            (ActionSpec::Reroute, Some(to)) if to == own_name => Err("reroutes to its own subscription".to_owned()),
            (ActionSpec::Reroute, Some(to)) => name::check("subscription", to).map_err(|error| error.to_string()),
            (ActionSpec::Send | ActionSpec::Defer | ActionSpec::Drop, Some(_)) => {
                Err("has `to`, which only `do = \"reroute\"` knows".to_owned())
            }
            (ActionSpec::Send | ActionSpec::Defer | ActionSpec::Drop, None) => Ok(()),
        }
    }

    fn to_core(&self, action: DegradeAction) -> DegradeRule {
        let time = |duration: Option<Duration>| duration.map_or(Millis(0), |duration| duration.0);
        let classes =
            |classes: &Vec<ClassSpec>| Classes::of(&classes.iter().map(|class| class.to_core()).collect::<Vec<_>>());
        DegradeRule {
            classes: self.classes.as_ref().map_or(Classes::ALL, classes),
            health: self.health.map(HealthSpec::to_core),
            older_than: time(self.older_than),
            action,
            sustained: time(self.sustained),
            until: time(self.until),
        }
    }
}

/// Checks everything that can be judged without the host.
pub(super) fn check(rules: &[DegradeSpec], own_name: &str) -> Result<(), String> {
    if rules.len() > DEGRADE_RULES_MAX {
        return Err(format!("has {} rules, at most {DEGRADE_RULES_MAX} are allowed", rules.len()));
    }
    for (number, rule) in rules.iter().enumerate() {
        rule.check(own_name).map_err(|problem| format!("rule {} {problem}", number + 1))?;
    }
    Ok(())
}

/// The rules as the core has them. `private_topic` knows the private topic of each subscription; the name of one that it does
/// not know comes back.
pub(super) fn to_core(
    rules: &[DegradeSpec],
    private_topic: impl Fn(&str) -> Option<TopicId>,
) -> Result<Vec<DegradeRule>, String> {
    let rule = |rule: &DegradeSpec| {
        let action = match rule.action {
            ActionSpec::Send => DegradeAction::Send,
            ActionSpec::Defer => DegradeAction::Defer,
            ActionSpec::Drop => DegradeAction::Drop,
            ActionSpec::Reroute => {
                let to = rule.to.as_deref().unwrap_or_default();
                DegradeAction::Reroute(private_topic(to).ok_or_else(|| to.to_owned())?)
            }
        };
        Ok(rule.to_core(action))
    };
    rules.iter().map(rule).collect()
}
