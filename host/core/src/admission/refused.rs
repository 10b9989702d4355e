//! Keys whose order a refusal would break: until the refused event is resent or abandoned, later events of its key wait.
//!
//! One set per session (guarantees G5). Knows nothing of why an event was refused.
//!
//! Invariant: while a key is in the set, no event of it but the refused one is let through.

use alloc::string::{String, ToString};

use hashbrown::HashMap;

use super::BATCH_EVENTS_MAX;
use crate::event::Event;
use crate::ids::TopicId;

/// Keys of one session that may wait for a resend; a client that leaves more unresolved is refused whole batches. Every event
/// of one batch fits.
const KEYS_MAX: usize = BATCH_EVENTS_MAX;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// By topic and key, the first refused event: source and id.
    heads: HashMap<TopicId, HashMap<String, (String, String)>>,
    count: usize,
}

impl Refused {
    /// Whether the event must wait for an earlier one of its key.
    #[inline]
    pub(super) fn holds_back(&self, topic: TopicId, event: &Event) -> bool {
        if self.count == 0 {
            return false;
        }
        let Some(key) = event.key() else { return false };
        self.heads
            .get(&topic)
            .and_then(|keys| keys.get(key))
            .is_some_and(|(source, id)| source != event.source() || id != event.id())
    }

    /// Whether every event of a batch could be refused and still be remembered.
    pub(super) fn has_room<'a>(&self, topic: TopicId, events: impl Iterator<Item = &'a Event>) -> bool {
        if self.count == 0 {
            return true;
        }
        let known = self.heads.get(&topic);
        let fresh = events.filter_map(Event::key).filter(|key| !known.is_some_and(|keys| keys.contains_key(*key)));
        self.count + fresh.count() <= KEYS_MAX
    }

    /// The event was refused: its key waits for it.
    pub(super) fn hold(&mut self, topic: TopicId, event: &Event) {
        let Some(key) = event.key() else { return };
        let keys = self.heads.entry(topic).or_default();
        if !keys.contains_key(key) {
            keys.insert(key.to_string(), (event.source().to_string(), event.id().to_string()));
            self.count += 1;
        }
    }

    /// The event was stored after all.
    #[inline]
    pub(super) fn resent(&mut self, topic: TopicId, event: &Event) {
        if self.count == 0 {
            return;
        }
        if let Some(key) = event.key()
            && let Some(keys) = self.heads.get_mut(&topic)
            && keys.remove(key).is_some()
        {
            self.count -= 1;
        }
    }

    /// The producer gives the event up.
    pub(super) fn abandon(&mut self, source: &str, id: &str) {
        for keys in self.heads.values_mut() {
            keys.retain(|_, head| head.0 != source || head.1 != id);
        }
        self.count = self.heads.values().map(HashMap::len).sum();
    }
}
