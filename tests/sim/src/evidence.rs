//! What is known outside of the bus: what the receiver saw, what calls did, what was left in doubt.
//!
//! No row and no machine is asked. Invariant: an entry is made when something happens, not when the bus says so.

use std::collections::{BTreeMap, BTreeSet};

use bugle_core::callback::Progress;
use bugle_core::ids::{Offset, SubscriptionId};
use bugle_core::time::{Millis, Timestamp};

/// From a claim to the effect under it.
const CALL_TIME_MAX: Millis = Millis::from_secs(60);

/// One event of one subscription.
pub(crate) type Place = (SubscriptionId, Offset);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// How often the receiver saw the effect of an event.
    pub(crate) received: BTreeMap<Place, u32>,
    /// Effects whose latest call met a fault after it was sent: one more may come.
    excused: BTreeSet<Place>,
    /// Something may have left under this claim, and no complete answer came; with the end of the claim's keep time.
    doubts: BTreeMap<(SubscriptionId, String), Timestamp>,
    /// What the provider has under each claim's key, and since when.
    provider: BTreeMap<(SubscriptionId, String), Timestamp>,
    /// Of these a person said that they be sent, whatever the provider has, or their claims had their time.
    may_go_again: BTreeSet<(SubscriptionId, String)>,
    /// How often the provider was asked.
    pub(crate) asked: u64,
    /// Deliveries of which a call returned with an ack.
    pub(crate) returned: BTreeSet<Place>,
    /// Attempts that ran and did not succeed.
    pub(crate) ran: BTreeMap<Place, u32>,
    /// Lanes closed by a delivery, until when.
    pub(crate) holds: BTreeMap<(SubscriptionId, u32), (Offset, Timestamp)>,
    /// What plain notifications reached their receiver: when, whose, which.
    pub(crate) notified: Vec<(Timestamp, Place)>,
    /// What providers were answered to have said, at the furthest.
    pub(crate) told_by_providers: BTreeMap<Place, Progress>,
    /// Attempts started.
    pub(crate) attempts: u64,
    /// Transactions that met a conflict.
    pub(crate) conflicts: u64,
}

impl Evidence {
    /// The receiver sees the effect; whether a repeat is explained.
    pub(crate) fn receive(&mut self, place: Place) -> bool {
        let times = self.received.entry(place).or_default();
        *times += 1;
        let is_first = *times == 1;
        self.excused.remove(&place) || is_first
    }

    /// The provider gets something under this key; whether that is in order: the first time, when the claim is forgotten, or because a
    /// person wanted it.
    pub(crate) fn got(&mut self, key: (SubscriptionId, String), now: Timestamp, keep: Millis) -> bool {
        let before = self.provider.insert(key.clone(), now);
        let is_wanted = self.may_go_again.remove(&key);
        is_wanted || before.is_none_or(|before| is_forgotten(before, now, keep))
    }

    pub(crate) fn has_got(&self, key: &(SubscriptionId, String)) -> bool {
        self.provider.contains_key(key)
    }

    /// A person says that it was not sent, or wants it sent again.
    pub(crate) fn tell_to_send(&mut self, key: (SubscriptionId, String)) {
        self.may_go_again.insert(key);
    }

    /// A fault hit a call after its effect left.
    pub(crate) fn excuse(&mut self, place: Place) {
        if self.received.contains_key(&place) {
            self.excused.insert(place);
        }
    }

    /// Something leaves under the claim.
    pub(crate) fn doubt(&mut self, claim: (SubscriptionId, String), expires: Timestamp) {
        self.doubts.insert(claim, expires);
    }

    pub(crate) fn resolve(&mut self, claim: &(SubscriptionId, String)) {
        self.doubts.remove(claim);
    }

    /// What had its time is over, even if the clock goes back behind its end: the rows of these claims may be gone.
    pub(crate) fn end_claims(&mut self, now: Timestamp, keep: Millis) {
        self.doubts.retain(|_, expires| *expires > now);
        let has_ended = |(_, since): &(_, &Timestamp)| is_forgotten(**since, now, keep);
        self.may_go_again.extend(self.provider.iter().filter(has_ended).map(|(key, _)| key.clone()));
    }

    pub(crate) fn is_in_doubt(&self, claim: &(SubscriptionId, String), now: Timestamp) -> bool {
        self.doubts.get(claim).is_some_and(|expires| *expires > now)
    }

    /// Sends of something that the receiver had seen before.
    pub(crate) fn repeats(&self) -> u64 {
        self.received.values().map(|times| u64::from(*times) - 1).sum()
    }
}

/// Whether the claim of what the provider has since then had its time; it was made a little before the effect.
fn is_forgotten(since: Timestamp, now: Timestamp, keep: Millis) -> bool {
    now.after(CALL_TIME_MAX) >= since.after(keep)
}
