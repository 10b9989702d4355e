//! `bugle policy simulate`: a degrade policy over stored events, without sending anything.
//!
//! Decides with the functions of the core that the subscription itself runs. Rules count as after their times: the simulated
//! health has lasted. Invariant: nothing is written and nothing is sent.

use std::collections::BTreeMap;

use bugle_core::event::{Class, StoredEvent};
use bugle_core::flow::Counting;
use bugle_core::ids::Offset;
use bugle_core::origin::private_topic;
use bugle_core::spec::{DegradeAction, Health, Subscription};
use bugle_core::time::Millis;
use bugle_store::EventBounds;

use super::status::position;
use super::subscriptions::ApplyError;
use super::{Host, locked};
use crate::api::{ClassDecisions, HealthDecisions, SimulateRequest, Simulation};
use crate::definition::{Definition, HealthSpec};

/// Events looked at in one go.
const PAGE: EventBounds = EventBounds { events_max: 4_096, bytes_max: 1 << 20 };
/// A simulation ends here and says so: it answers a person who waits.
const LOOKED_AT_MAX: u64 = 2_000_000;

/// Why a policy was not simulated.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The caller: the subscription.
    #[error("there is no subscription `{0}`; `bugle subscription list` shows them")]
    NotFound(String),
    /// The caller: the file is about another one.
    #[error("the file defines `{file}`, and the policy of `{asked}` was asked for; give it the same `name`")]
    OtherName {
        /// In the file.
        file: String,
        /// On the command line.
        asked: String,
    },
    /// The caller: no rule.
    #[error("`{0}` has no degrade rule, so everything is sent; give a file with `degrade = [...]`")]
    NoRule(String),
    /// The caller: the definition.
    #[error(transparent)]
    Definition(#[from] ApplyError),
}

/// Decisions by rule and class under one health.
struct Tally {
    health: HealthSpec,
    counting: Counting,
    classes: BTreeMap<Class, ClassDecisions>,
    rules: Vec<u64>,
}

impl Tally {
    fn new(spec: &Subscription, health: HealthSpec) -> Tally {
        let rules = &spec.protection.degrade;
        Tally {
            health,
            counting: Counting::lasting(rules, health.to_core()),
            classes: BTreeMap::new(),
            rules: vec![0; rules.len()],
        }
    }

    fn add(&mut self, spec: &Subscription, event: &StoredEvent, age: Millis) {
        let class = event.event.class();
        let decision = self.counting.decide(&spec.protection.degrade, class, age);
        if let Some(count) = decision.rule.and_then(|rule| self.rules.get_mut(rule)) {
            *count += 1;
        }
        // A copy that another subscription handed on stays.
        let is_copy = spec.redelivery == Some(event.topic);
        let counts = self.classes.entry(class).or_default();
        match decision.action {
            DegradeAction::Send => counts.sent += 1,
            DegradeAction::Defer => counts.deferred += 1,
            DegradeAction::Reroute(_) if is_copy => counts.sent += 1,
            DegradeAction::Reroute(_) => counts.rerouted += 1,
            DegradeAction::Drop => counts.dropped += 1,
        }
    }

    fn view(self) -> HealthDecisions {
        let name = |(class, counts): (Class, ClassDecisions)| (class.word().to_owned(), counts);
        HealthDecisions {
            health: Health::word(self.health.to_core()).to_owned(),
            classes: self.classes.into_iter().map(name).collect(),
            rules: self.rules,
        }
    }
}

impl Host {
    /// What the policy of a subscription, or of a candidate for it, would do with the stored events.
    pub async fn simulate(&self, name: &str, request: SimulateRequest) -> Result<Simulation, SimulateError> {
        let definition = match request.definition {
            Some(definition) if definition.name != name => {
                return Err(SimulateError::OtherName { file: definition.name, asked: name.to_owned() });
            }
            Some(definition) => {
                definition.check().map_err(ApplyError::from)?;
                definition
            }
            None => self.stored(name).ok_or_else(|| SimulateError::NotFound(name.to_owned()))?,
        };
        if definition.degrade.is_empty() {
            return Err(SimulateError::NoRule(name.to_owned()));
        }
        let redelivery = self.bus().topic(&private_topic(name));
        let spec = Subscription { redelivery, ..self.spec_of(&definition)? };
        let healths =
            if request.health.is_empty() { vec![HealthSpec::Healthy, HealthSpec::Sick] } else { request.health };
        let mut tallies: Vec<Tally> = healths.into_iter().map(|health| Tally::new(&spec, health)).collect();
        let (from, end) = (self.offset_of(request.from).await?, self.bus().end());
        let age = request.age.map_or(Millis(0), |age| age.0);
        let mut at = from;
        let (mut looked_at, mut events) = (0, 0);
        while at < end && looked_at < LOOKED_AT_MAX {
            let page = self.bus().read(at, PAGE).await.map_err(ApplyError::from)?;
            if page.events.is_empty() {
                break;
            }
            looked_at += page.events.len() as u64;
            for event in page.events.iter().filter(|event| event.position.offset < end && spec.wants(event)) {
                events += 1;
                tallies.iter_mut().for_each(|tally| tally.add(&spec, event, age));
            }
            at = page.next.min(end);
        }
        Ok(Simulation {
            subscription: name.to_owned(),
            from: position(from),
            to: position(Offset(at.0)),
            events,
            is_cut: at < end && looked_at >= LOOKED_AT_MAX,
            healths: tallies.into_iter().map(Tally::view).collect(),
        })
    }

    fn stored(&self, name: &str) -> Option<Definition> {
        locked(&self.definitions).get(name).map(|row| row.definition.clone())
    }
}
