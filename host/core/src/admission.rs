//! Admission: the only sequencer of a slot. It gives events their offsets, recognises repeats, and refuses what would break a
//! promise (guarantees G3, G5).
//!
//! Two layers find a repeat: the sequence of a batch in its producer's stream, and the id of an event in the id window. A hash
//! only finds candidates; the verdict compares topic, source, id and bytes with the stored event, which the driver looks up.
//! Knows nothing of sessions' bytes, of the disk, and of who reads the events.
//!
//! Invariant: everything it returns holds once the writes of the same group are durable; nothing of it may be told before.

mod block;
mod evidence;
mod filter;
mod group;
mod ids;
mod life;
mod publish;
mod query;
mod recovery;
mod refused;
mod schedule;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::hash::Hasher;

use hashbrown::HashMap;
use siphasher::sip::SipHasher13;

use crate::event::{Event, StoredEvent};
use crate::ids::{Name, Offset, Position, SessionId, Slot, StreamId, TopicId};
use crate::publish::{Abandon, OpenSession, Opened, PublishBatch};
use crate::schedule::{ScheduledName, ScheduledQuery};
use crate::spec::Topic;
use crate::step::Write;
use crate::time::Timestamp;
use group::Group;
use ids::IdWindow;
pub use ids::{IdPlace, WindowSize};
use life::{LifeId, Lives};
pub use query::IdQuery;
pub use recovery::{Facts, Recovery};
use refused::Refused;
pub use schedule::Released;
use schedule::Schedule;

/// Events of a batch at most; the wire says the same to clients.
pub const BATCH_EVENTS_MAX: usize = 4096;

/// See the module. Calls in their order, for each group that is committed at once: any number of [`open`](Self::open),
/// [`publish`](Self::publish) (each after [`probe`](Self::probe) and the look-ups it asks for) or, if the driver can take nothing,
/// [`refuse`](Self::refuse), [`append`](Self::append), [`release`](Self::release),
/// [`query`](Self::query) and [`abandon`](Self::abandon); then [`seal`](Self::seal) once; then the commit; then
/// [`committed`](Self::committed), and only then are the answers told. If the commit fails, the admission is thrown away.
#[derive(Debug)]
pub struct Admission {
    slot: Slot,
    seed: (u64, u64),
    next: Offset,
    topics: HashMap<Name, TopicId>,
    window: IdWindow,
    sessions: HashMap<SessionId, Session>,
    lives: Lives,
    group: Group,
    schedule: Schedule,
}

#[derive(Debug)]
struct Session {
    life: LifeId,
    refused: Refused,
}

/// A look-up the driver makes before a publish: does this place hold an event with this hash?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdLookup {
    /// Which event of the batch asks.
    pub index: u32,
    /// Keyed hash of topic, source and id.
    pub hash: u64,
    /// Where to look.
    pub place: IdPlace,
}

/// An event that a look-up found. A look-up that finds none has no fact: a block may know nothing of the hash, and an event may
/// have left the log.
#[derive(Clone, Debug)]
pub struct IdFact {
    /// As in the look-up.
    pub index: u32,
    /// The stored event.
    pub event: StoredEvent,
}

/// What is known of a batch's ids without the disk.
#[derive(Clone, Debug, Default)]
pub struct Probe {
    topic: Option<TopicId>,
    hashes: Vec<u64>,
    lookups: Vec<IdLookup>,
    /// What was found of scheduled events that an event of the batch replaces, by its place in the batch.
    replaced: Vec<(u32, Vec<StoredEvent>)>,
}

impl Probe {
    /// Which events of the batch replace scheduled ones, and which: at most one more than
    /// [`REPLACED_EVENTS_MAX`](crate::schedule::REPLACED_EVENTS_MAX) of each are looked up and told to
    /// [`found_replaced`](Self::found_replaced).
    pub fn replaces<'b>(&self, batch: &'b PublishBatch) -> impl Iterator<Item = (u32, ScheduledQuery<'b>)> + use<'b> {
        let topic = self.topic;
        (0..).zip(&batch.events).filter_map(move |(index, event)| {
            let event = event.as_ref().ok().filter(|event| event.timing().replaces_pending)?;
            Some((index, ScheduledQuery { topic: topic?, name: ScheduledName::Key(event.key()?) }))
        })
    }

    /// What the store has of it.
    pub fn found_replaced(&mut self, index: u32, found: Vec<StoredEvent>) {
        self.replaced.push((index, found));
    }

    /// What to look up; mostly nothing. The driver takes what its memory of recent events has from there.
    #[must_use]
    pub fn lookups(&self) -> &[IdLookup] {
        &self.lookups
    }
}

impl Admission {
    /// The topic exists from here on.
    pub fn add_topic(&mut self, topic: Topic) {
        self.topics.insert(topic.name, topic.id);
    }

    /// The topic is gone from here on: a batch for it is refused like one for any name that is none.
    pub fn remove_topic(&mut self, name: &str) {
        self.topics.remove(name);
    }

    /// Offset of the next event.
    #[must_use]
    pub fn next(&self) -> Offset {
        self.next
    }

    /// Ids the window knows just now, and the bytes its filter takes when full.
    #[must_use]
    pub fn window(&self) -> (u64, usize) {
        (self.window.ids(), self.window.filter_bytes())
    }

    /// A producer presents itself. For a resumed epoch `rows` are its stored sequences; a new one needs none. An epoch that was
    /// never given is not resumed: the answer names a new one.
    pub fn open(&mut self, open: OpenSession, rows: Vec<(StreamId, crate::ids::Sequence)>) -> Opened {
        self.close(open.session);
        let life = self.lives.open(open.producer, open.epoch, rows, self.next);
        self.sessions.insert(open.session, Session { life, refused: Refused::default() });
        let life = self.lives.get(life);
        Opened { epoch: life.epoch, streams: life.streams() }
    }

    /// A connection ended. Its life goes on.
    pub fn close(&mut self, session: SessionId) {
        if let Some(session) = self.sessions.remove(&session) {
            self.lives.close(session.life);
        }
    }

    /// The producer gives up an event that was refused: later events of its key may come.
    pub fn abandon(&mut self, abandon: &Abandon) {
        if let Some(session) = self.sessions.get_mut(&abandon.session) {
            session.refused.abandon(abandon);
        }
    }

    /// Stores a follow-up event. It is not checked for repeats, since it is committed exactly once with what settles its
    /// delivery; a later publish of the same id is a repeat of it.
    pub fn append(&mut self, now: Timestamp, topic: TopicId, event: Event, writes: &mut Vec<Write>) -> Position {
        let hash = self.hash(topic, event.source(), event.id());
        self.store(now, topic, event, hash, writes)
    }

    /// Ends a group: rows of the streams that moved, and a bounded share of the id window's upkeep.
    pub fn seal(&mut self, now: Timestamp, writes: &mut Vec<Write>) {
        self.append_held_back(now, writes);
        self.lives.seal(writes);
        self.schedule.seal(writes);
        self.window.step(now, writes);
    }

    /// The group is durable, and its events can be looked up from here on.
    pub fn committed(&mut self) {
        self.group.clear(self.next);
        self.schedule.committed();
    }

    /// Events below `floor`, none received after `until`, are no longer in the log, so their ids are forgotten.
    pub fn trimmed(&mut self, floor: Offset, until: Timestamp) {
        self.window.trimmed(floor, until);
    }

    /// Some of the events below, none received after `until`, are no longer in the log: a retry of one that is not found may be too
    /// old. Ids of those that are still there are known as before.
    pub fn dropped(&mut self, below: Offset, until: Timestamp) {
        self.window.dropped(below, until);
    }

    fn store(&mut self, now: Timestamp, topic: TopicId, event: Event, hash: u64, writes: &mut Vec<Write>) -> Position {
        let offset = self.next;
        self.next = offset.next();
        self.window.add(hash, offset, now);
        self.group.push(topic, &event);
        let position = Position { slot: self.slot, offset };
        let stored = StoredEvent { position, topic, received: now, event };
        self.schedule.stored(&stored, writes);
        writes.push(Write::Event(stored));
        position
    }

    #[inline]
    fn hash(&self, topic: TopicId, source: &str, id: &str) -> u64 {
        // The source's length keeps "ab" + "c" apart from "a" + "bc".
        let mut hasher = SipHasher13::new_with_keys(self.seed.0, self.seed.1);
        hasher.write_u64(u64::from(topic.0) << 32 | source.len() as u64);
        hasher.write(source.as_bytes());
        hasher.write(id.as_bytes());
        hasher.finish()
    }
}
