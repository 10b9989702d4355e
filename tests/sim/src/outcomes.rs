//! Outcomes as events: each end of a delivery of a subscription that tells them has exactly one, and nothing else has any.
//!
//! Knows nothing of the machine. Invariant: what a batch tells and what ended in it are the same, so the balance is even between two
//! batches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bugle_core::event::StoredEvent;
use bugle_core::ids::SubscriptionId;
use bugle_core::origin::Origin;
use bugle_core::row::RecordStatus;
use bugle_core::spec::Subscription;

use crate::definition::{self, OUTCOMES};
use crate::rule::{self, Checked, broken};

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcomes {
    /// Names of the subscriptions that tell, which never changes.
    tells: BTreeMap<SubscriptionId, Arc<str>>,
    /// Ends less events that tell them, by subscription, place and outcome; what is even is not there.
    balance: BTreeMap<String, i64>,
}

/// What the data of an outcome says in the simulated bus.
pub(crate) fn data(attributes: &[(String, String)]) -> String {
    let of = |wanted: &str| attributes.iter().find(|(name, _)| name == wanted).map_or("", |(_, value)| value.as_str());
    format!("{} {} {}", of("subscription"), of("eventposition"), of("outcome"))
}

fn told(name: &str, event: &StoredEvent, how: RecordStatus) -> String {
    format!("{name} {} {}", event.position, how.word())
}

impl Outcomes {
    /// A subscription exists.
    pub(crate) fn name(&mut self, spec: &Subscription) {
        if spec.settled.is_some() {
            self.tells.insert(spec.id, Arc::clone(&spec.name));
        }
    }

    /// The batch says how this delivery ended. Deliveries of outcomes are told to nobody.
    pub(crate) fn ended(&mut self, subscription: SubscriptionId, event: &StoredEvent, how: RecordStatus) {
        let private = definition::private(subscription.0 as usize - 1);
        let origin = Origin::of(subscription, Some(private), event);
        if let Some(name) = self.tells.get(&subscription).filter(|_| origin.topic != OUTCOMES) {
            let told = told(name, event, how);
            self.add(told, 1);
        }
    }

    /// It may have ended, so an outcome of it is in order, and none is too. Asked after all events of the batch.
    pub(crate) fn may_have_ended(&mut self, subscription: SubscriptionId, event: &StoredEvent, how: RecordStatus) {
        let Some(name) = self.tells.get(&subscription) else { return };
        if let Some(balance) = self.balance.get_mut(&told(name, event, how)) {
            *balance = (*balance + 1).min(0);
        }
    }

    /// The batch holds this event.
    pub(crate) fn stored(&mut self, event: &StoredEvent) {
        if event.topic == OUTCOMES {
            self.add(String::from_utf8_lossy(event.event.data()).into_owned(), -1);
        }
    }

    fn add(&mut self, told: String, by: i64) {
        *self.balance.entry(told).or_insert(0) += by;
    }

    /// After a batch.
    pub(crate) fn check(&mut self) -> Checked {
        let odd: BTreeSet<_> = self.balance.iter().filter(|(_, balance)| **balance != 0).collect();
        if !odd.is_empty() {
            return broken(rule::OUTCOME_IS_TOLD, format!("ends less the events that tell them: {odd:?}"));
        }
        self.balance.clear();
        Ok(())
    }
}
