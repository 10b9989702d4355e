//! What later events of a session wait for: events that were refused and are neither sent again nor abandoned (guarantees G5).
//!
//! A refused event holds back its key in its topic. One whose key nobody can read may be of any key, so it holds back every event
//! with a key on its publish stream, to which its client has pinned it. When there are too many keys to remember, the next one
//! holds back every event with a key in the session. Events without a key never wait. Knows nothing of why an event was refused.
//! See docs/decisions/0016-refusals-at-the-door.md.
//!
//! Invariant: each hold names one refused event; of the holds there are, the event of the oldest can always be sent again. What waits
//! together has at least one hold; those behind its first are remembered while there is room.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use hashbrown::HashMap;

use super::BATCH_EVENTS_MAX;
use crate::event::Event;
use crate::ids::{Name, StreamId};
use crate::publish::{Abandon, TracedKey, Unreadable};

/// Keys of one session that wait: every event of one batch has room.
const SCOPES_MAX: usize = BATCH_EVENTS_MAX;
/// Refused events that are remembered behind the first of their key.
const FURTHER_MAX: usize = BATCH_EVENTS_MAX;
/// Text of the holds of a session: 128 bytes for each, far more than usual ids take.
const HOLD_BYTES_MAX: usize = 1 << 20;
/// Text at which no event behind the first of its key is remembered any more, so that other keys have room.
const FURTHER_BYTES_MAX: usize = HOLD_BYTES_MAX / 2;

/// Bytes of a name in the text for events that wait.
const SHOWN_BYTES_MAX: usize = 64;

/// Which later events wait.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Scope {
    /// Those of this key in this topic.
    Key(Name, String),
    /// Those with a key on this publish stream.
    Stream(StreamId),
    /// Those with a key.
    Session,
}

/// The refused event. Source or id is empty where it could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Head {
    topic: Name,
    source: String,
    id: String,
}

#[derive(Debug)]
struct Hold {
    scope: Scope,
    head: Head,
    /// On which the event came.
    stream: StreamId,
}

/// Holds are numbered in the order in which their events came.
type Serial = u64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Refused {
    holds: BTreeMap<Serial, Hold>,
    scopes: HashMap<Scope, BTreeSet<Serial>>,
    /// An event holds back the same only once; many may have the same unreadable name.
    heads: HashMap<Head, HashMap<Scope, Serial>>,
    bytes: usize,
    next: Serial,
}

impl Refused {
    /// Why the event must wait, if it must: something older than its own refusal holds it back.
    #[inline]
    pub(super) fn holds_back(&self, stream: StreamId, topic: &Name, event: &Event) -> Option<String> {
        if self.holds.is_empty() {
            return None;
        }
        let key = event.key()?;
        let scopes = [Scope::Key(topic.clone(), key.to_string()), Scope::Stream(stream), Scope::Session];
        let holds = || scopes.iter().filter_map(|scope| self.oldest(scope));
        let is_own = |hold: &Hold| {
            *hold.head.topic == **topic && hold.head.source == event.source() && hold.head.id == event.id()
        };
        let own = holds().filter(|(_, hold)| is_own(hold)).map(|(serial, _)| serial).min();
        holds()
            .filter(|(serial, hold)| !is_own(hold) && own.is_none_or(|own| *serial < own))
            .min_by_key(|(serial, _)| *serial)
            .map(|(_, hold)| hold.explain())
    }

    fn oldest(&self, scope: &Scope) -> Option<(Serial, &Hold)> {
        let serial = *self.scopes.get(scope)?.first()?;
        Some((serial, self.holds.get(&serial)?))
    }

    /// The event was refused: its key waits for it.
    pub(super) fn hold(&mut self, stream: StreamId, topic: &Name, event: &Event) {
        let Some(key) = event.key() else { return };
        let scope = Scope::Key(topic.clone(), key.to_string());
        self.insert(scope, stream, Head::new(topic, event.source(), event.id()));
    }

    /// An event was refused that the door could not read.
    pub(super) fn hold_unreadable(&mut self, stream: StreamId, topic: &Name, event: &Unreadable) {
        let scope = match &event.key {
            TracedKey::None => return,
            TracedKey::Known(key) => Scope::Key(topic.clone(), key.clone()),
            TracedKey::Unknown => Scope::Stream(stream),
        };
        self.insert(scope, stream, Head::new(topic, &event.source, &event.id));
    }

    /// Either, as a batch has it.
    pub(super) fn hold_any(&mut self, stream: StreamId, topic: &Name, event: &Result<Event, Unreadable>) {
        match event {
            Ok(event) => self.hold(stream, topic, event),
            Err(unreadable) => self.hold_unreadable(stream, topic, unreadable),
        }
    }

    /// The event is stored: it waits for nothing, and nothing for it.
    #[inline]
    pub(super) fn stored(&mut self, topic: &Name, event: &Event) {
        if self.holds.is_empty() {
            return;
        }
        for serial in self.of(&Head::new(topic, event.source(), event.id())) {
            self.remove(serial);
        }
    }

    /// The producer gives the event up. One that has no whole name is meant only on its own publish stream.
    pub(super) fn abandon(&mut self, abandon: &Abandon) {
        let head = Head::new(&abandon.topic, &abandon.source, &abandon.id);
        for serial in self.of(&head) {
            if head.is_named() || self.holds.get(&serial).is_some_and(|hold| hold.stream == abandon.stream) {
                self.remove(serial);
            }
        }
    }

    /// An event that is refused once more keeps its place.
    fn insert(&mut self, scope: Scope, stream: StreamId, head: Head) {
        if self.heads.get(&head).is_some_and(|held| held.contains_key(&scope)) {
            return;
        }
        let mut hold = Hold { scope, head, stream };
        let bytes = self.bytes + hold.bytes();
        if self.scopes.contains_key(&hold.scope) {
            let further = self.holds.len() - self.scopes.len();
            if further >= FURTHER_MAX || bytes > FURTHER_BYTES_MAX {
                return;
            }
        } else if self.scopes.len() >= SCOPES_MAX || bytes > HOLD_BYTES_MAX {
            if self.scopes.contains_key(&Scope::Session) {
                return;
            }
            hold.scope = Scope::Session;
        }
        let serial = self.next;
        self.next += 1;
        self.bytes += hold.bytes();
        self.scopes.entry(hold.scope.clone()).or_default().insert(serial);
        self.heads.entry(hold.head.clone()).or_default().insert(hold.scope.clone(), serial);
        self.holds.insert(serial, hold);
    }

    /// What waits for an event of this name.
    fn of(&self, head: &Head) -> Vec<Serial> {
        self.heads.get(head).into_iter().flat_map(HashMap::values).copied().collect()
    }

    fn remove(&mut self, serial: Serial) {
        let Some(hold) = self.holds.remove(&serial) else { return };
        self.bytes -= hold.bytes();
        if let Some(serials) = self.scopes.get_mut(&hold.scope) {
            serials.remove(&serial);
            if serials.is_empty() {
                self.scopes.remove(&hold.scope);
            }
        }
        if let Some(held) = self.heads.get_mut(&hold.head) {
            held.remove(&hold.scope);
            if held.is_empty() {
                self.heads.remove(&hold.head);
            }
        }
    }
}

/// Enough of a name to find the event by: every event that waits repeats it, and results are kept.
fn shown(text: &str) -> &str {
    text.get(..text.floor_char_boundary(SHOWN_BYTES_MAX)).unwrap_or(text)
}

impl Head {
    fn new(topic: &Name, source: &str, id: &str) -> Head {
        Head { topic: topic.clone(), source: source.to_string(), id: id.to_string() }
    }

    /// Whether the event can come again under its name.
    fn is_named(&self) -> bool {
        !self.source.is_empty() && !self.id.is_empty()
    }
}

impl Hold {
    fn bytes(&self) -> usize {
        let key = match &self.scope {
            Scope::Key(_, key) => key.len(),
            Scope::Stream(_) | Scope::Session => 0,
        };
        key + self.head.topic.len() + self.head.source.len() + self.head.id.len()
    }

    /// For the producer of an event that waits.
    fn explain(&self) -> String {
        let (id, source) = (shown(&self.head.id), shown(&self.head.source));
        let name = match (id.is_empty(), source.is_empty()) {
            (false, false) => format!("event `{id}` of source `{source}`"),
            (false, true) => format!("event `{id}` without a readable source"),
            (true, false) => format!("an event of source `{source}` without a readable id"),
            (true, true) => String::from("an event that could not be read"),
        };
        match &self.scope {
            Scope::Key(..) => format!("{name}, of the same key, was refused; send it again or abandon it first"),
            Scope::Stream(stream) => {
                format!(
                    "{name} was refused on stream {stream} and may be of this key; send it again or abandon it first"
                )
            }
            Scope::Session => format!(
                "{SCOPES_MAX} keys wait for refused events; send those again or abandon them, the last of them being {name}"
            ),
        }
    }
}
