//! Timers of plugins: scheduled events in the private topic of their subscription, of a kind and a key that only the host gives there.
//!
//! So they wait, are released, delivered, repeated and given up as any scheduled event, and come back after a restart. What is left to
//! say here is how one is named, made and told from an event. Knows nothing of how it fires.
//!
//! Invariant: what was published by anybody is no timer, wherever it was handed on to.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::event::{Class, StoredEvent};
use crate::ids::{SubscriptionId, TopicId};
use crate::import::NewEvent;
use crate::origin::Origin;
use crate::time::{Millis, Timestamp};

/// CloudEvents `type` of a timer.
pub const TIMER_KIND: &str = "bugle.timer";
/// Ordering key of a timer, before its name: each has a lane of its own.
const KEY_PREFIX: &str = "timer/";

/// Timers of one subscription that may wait: each is a few rows on disk. Calls that run at once may go a little beyond.
pub const TIMERS_MAX: u64 = 100_000;
/// Data of one timer.
pub const TIMER_DATA_BYTES_MAX: usize = 4 << 10;
/// How far ahead a timer may be: a year.
pub const TIMER_AHEAD_MAX: Millis = Millis::from_secs(366 * 24 * 3600);

/// A timer that a call sets or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerChange {
    /// Its name.
    pub name: String,
    /// What it becomes; `None` ends it.
    pub event: Option<NewEvent>,
    /// For the loop guard: as many as of the event whose delivery set it.
    pub hops: u32,
}

/// The ordering key of a timer.
#[must_use]
pub fn timer_key(name: &str) -> String {
    format!("{KEY_PREFIX}{name}")
}

/// The event that a timer is.
pub(crate) fn timer_event(name: &str, id: String, at: Timestamp, data: Vec<u8>) -> NewEvent {
    NewEvent {
        // By number; it has no name that a guest may use.
        topic: String::new(),
        kind: TIMER_KIND.to_string(),
        subject: Some(name.to_string()),
        key: Some(timer_key(name)),
        id: Some(id),
        deliver_at: Some(at),
        expires: None,
        class: Class::Normal,
        content_type: None,
        attributes: Vec::new(),
        data,
    }
}

/// The name of the timer that an event is when it is delivered to the subscription with this private topic; also of a copy of it, such as a
/// replayed dead letter.
#[must_use]
pub fn timer_name(subscription: SubscriptionId, private: Option<TopicId>, event: &StoredEvent) -> Option<&str> {
    if private != Some(event.topic) || event.event.kind() != TIMER_KIND {
        return None;
    }
    // What was handed on from elsewhere came from another topic.
    let is_own = private == Some(Origin::of(subscription, private, event).topic);
    event.event.key().filter(|_| is_own)?.strip_prefix(KEY_PREFIX)
}
