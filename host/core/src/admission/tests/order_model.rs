//! Random histories of refusals of every kind, against the promise itself (guarantees G5).
//!
//! The model knows the true key of each event, also where the host can't read it. Checked after each batch: no event of a key is
//! stored while what its key waits for is unresolved; nothing waits without a reason. At the end everything is sent
//! again until it is stored, which must not end in a deadlock, and then every key is free.

use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;

use proptest::prelude::*;

use super::driver::{Driver, batch, event, unreadable};
use super::{WindowSize, refused_code};
use crate::code::Code;
use crate::event::Event;
use crate::ids::{Name, TopicId};
use crate::publish::{BatchOutcome, TracedKey, Try, Unreadable};
use crate::spec::Topic;

const KEYS: u8 = 4;
const TOPICS: [&str; 3] = ["t", "u", "later"];

/// What becomes of an event, if nothing holds it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Good,
    /// Refused by the core: its id is stored with other content.
    Reused,
    /// Refused at the door: whether its key, and its name, can be read.
    Unreadable {
        shows_key: bool,
        shows_name: bool,
    },
}

#[derive(Clone, Debug)]
enum Act {
    Publish(usize, Vec<(Option<u8>, Kind)>),
    /// The host is short of disk.
    DiskFull(usize, Vec<Option<u8>>),
    CreateLater,
    Resend(usize),
    Abandon(usize),
    Commit,
    Reconnect,
}

fn act() -> impl Strategy<Value = Act> {
    let key = || proptest::option::weighted(0.9, 0..KEYS);
    let kind = prop_oneof![
        4 => Just(Kind::Good),
        1 => Just(Kind::Reused),
        2 => (any::<bool>(), any::<bool>())
            .prop_map(|(shows_key, shows_name)| Kind::Unreadable { shows_key, shows_name }),
    ];
    prop_oneof![
        8 => (0..3_usize, proptest::collection::vec((key(), kind), 1..5)).prop_map(|(topic, events)| Act::Publish(topic, events)),
        1 => (0..3_usize, proptest::collection::vec(key(), 1..3)).prop_map(|(topic, keys)| Act::DiskFull(topic, keys)),
        1 => Just(Act::CreateLater),
        4 => (0..8_usize).prop_map(Act::Resend),
        3 => (0..8_usize).prop_map(Act::Abandon),
        2 => Just(Act::Commit),
        1 => Just(Act::Reconnect),
    ]
}

/// An event that was sent.
#[derive(Clone, Debug)]
struct Made {
    id: String,
    topic: &'static str,
    key: Option<u8>,
    kind: Kind,
}

impl Made {
    /// Its client pins a key to a stream.
    fn stream(&self) -> u32 {
        u32::from(self.key.unwrap_or(0) % 2) + 1
    }

    fn hides_key(&self) -> bool {
        matches!(self.kind, Kind::Unreadable { shows_key: false, .. })
    }

    fn has_name(&self) -> bool {
        !matches!(self.kind, Kind::Unreadable { shows_name: false, .. })
    }

    /// With the same name, that is, and with content that can be accepted.
    fn can_be_resent(&self) -> bool {
        self.has_name() && self.kind != Kind::Reused
    }

    fn sent(&self) -> Result<Event, Unreadable> {
        let key = self.key.map(|key| key.to_string());
        match self.kind {
            Kind::Good => Ok(event(&self.id, key.as_deref(), "x")),
            Kind::Reused => Ok(event(&self.id, key.as_deref(), "other")),
            Kind::Unreadable { shows_key, .. } => {
                let key = match key {
                    _ if !shows_key => TracedKey::Unknown,
                    None => TracedKey::None,
                    Some(key) => TracedKey::Known(key),
                };
                unreadable(if self.has_name() { &self.id } else { "" }, key)
            }
        }
    }
}

struct Model {
    driver: Driver,
    sequences: BTreeMap<u32, u64>,
    made: u32,
    /// Refused, neither stored since nor given up; oldest refusal first.
    unresolved: Vec<Made>,
    /// The ids of what a key waits for, until it is resolved, oldest first.
    guards: BTreeMap<(&'static str, u8), Vec<String>>,
}

impl Model {
    fn new() -> Model {
        let mut driver = Driver::new(WindowSize::default());
        driver.open(1, "p", None);
        Model { driver, sequences: BTreeMap::new(), made: 0, unresolved: Vec::new(), guards: BTreeMap::new() }
    }

    fn run(&mut self, act: Act) {
        match act {
            Act::Publish(topic, events) => {
                let events: Vec<Made> = events.into_iter().map(|(key, kind)| self.make(topic, key, kind)).collect();
                self.send(&events, false);
            }
            Act::DiskFull(topic, keys) => {
                let events: Vec<Made> = keys.into_iter().map(|key| self.make(topic, key, Kind::Good)).collect();
                self.send(&events, true);
            }
            Act::CreateLater => self.driver.admission.add_topic(Topic { id: TopicId(3), name: Name::from("later") }),
            Act::Resend(at) => self.resend(at),
            Act::Abandon(at) => self.abandon(at),
            Act::Commit => self.driver.commit(),
            Act::Reconnect => {
                let epoch = self.driver.epoch(1);
                self.driver.open(1, "p", Some(epoch));
                self.unresolved.clear();
                self.guards.clear();
            }
        }
    }

    fn make(&mut self, topic: usize, key: Option<u8>, kind: Kind) -> Made {
        self.made += 1;
        let made = Made { id: self.made.to_string(), topic: TOPICS[topic], key, kind };
        if kind == Kind::Reused && made.topic != "later" {
            // Its id is taken by an event of nobody's key.
            let taken = event(&made.id, None, "x");
            self.publish(made.topic, 1, Vec::from([Ok(taken)]));
        }
        made
    }

    /// Sends each event on its stream, in order.
    fn send(&mut self, events: &[Made], is_disk_full: bool) {
        for stream in 1..=2 {
            let events: Vec<&Made> = events.iter().filter(|made| made.stream() == stream).collect();
            let Some(topic) = events.first().map(|made| made.topic) else { continue };
            let sent = events.iter().map(|made| made.sent()).collect();
            let outcome = if is_disk_full {
                let sequence = self.sequences.get(&stream).copied().unwrap_or_default() + 1;
                self.driver.refuse(&batch(topic, 1, stream, sequence, Try::First, sent)).expect("it is the next batch")
            } else {
                self.publish(topic, stream, sent)
            };
            for (index, made) in (0..).zip(events) {
                match &outcome {
                    BatchOutcome::Refused(_) => self.refused(made),
                    BatchOutcome::Stored { duplicates, refused, .. } => {
                        let refusal = refused.iter().find(|(at, _)| *at == index).map(|(_, refusal)| refusal.code);
                        let is_new = duplicates.iter().all(|(at, _)| *at != index);
                        self.check(made, refusal, is_new);
                    }
                }
            }
        }
    }

    fn publish(&mut self, topic: &str, stream: u32, events: Vec<Result<Event, Unreadable>>) -> BatchOutcome {
        let sequence = self.sequences.entry(stream).or_default();
        let outcome = self.driver.publish_batch(batch(topic, 1, stream, *sequence + 1, Try::First, events));
        match refused_code(&outcome) {
            Some(code) => assert_eq!((code, topic), (Code::UnknownTopic, "later")),
            None => *sequence += 1,
        }
        outcome
    }

    fn check(&mut self, made: &Made, refusal: Option<Code>, is_new: bool) {
        let Some(code) = refusal else {
            if let (true, Some(key)) = (is_new, made.key) {
                let first = self.guards.get(&(made.topic, key)).and_then(|guards| guards.first());
                assert!(first.is_none_or(|first| *first == made.id), "{made:?} overtakes {first:?}");
            }
            return self.resolve(&made.id);
        };
        if code == Code::BehindRefused {
            let is_reason = |other: &Made| {
                other.id != made.id
                    && ((other.topic, other.key) == (made.topic, made.key)
                        || (other.hides_key() && other.stream() == made.stream()))
            };
            assert!(made.key.is_some() && self.unresolved.iter().any(is_reason), "{made:?} waits for nothing");
        }
        self.refused(made);
    }

    fn refused(&mut self, made: &Made) {
        if let Some(key) = made.key {
            let guards = self.guards.entry((made.topic, key)).or_default();
            if !guards.contains(&made.id) {
                guards.push(made.id.clone());
            }
        }
        if self.unresolved.iter().all(|other| other.id != made.id) {
            self.unresolved.push(made.clone());
        }
    }

    fn resolve(&mut self, id: &str) {
        self.unresolved.retain(|made| made.id != id);
        self.guards.values_mut().for_each(|guards| guards.retain(|guard| guard != id));
    }

    /// Sends a refused event again, readable and with content of its own where it lacked that.
    fn resend(&mut self, at: usize) {
        let Some(made) = self.unresolved.get(at).cloned() else { return };
        if made.can_be_resent() {
            self.send(&[Made { kind: Kind::Good, ..made }], false);
        }
    }

    fn abandon(&mut self, at: usize) {
        let Some(made) = self.unresolved.get(at).cloned() else { return };
        let (topic, stream) = (made.topic, made.stream());
        if made.has_name() {
            self.driver.abandon(topic, 1, stream, &made.id);
            return self.resolve(&made.id);
        }
        self.driver.abandon(topic, 1, stream, "");
        let is_meant = |other: &&Made| !other.has_name() && other.topic == topic && other.stream() == stream;
        let ids: Vec<String> = self.unresolved.iter().filter(is_meant).map(|other| other.id.clone()).collect();
        ids.iter().for_each(|id| self.resolve(id));
    }

    /// The faults stop, and everything must settle.
    fn settle(&mut self) {
        self.run(Act::CreateLater);
        while let Some(at) = self.unresolved.iter().position(|made| !made.can_be_resent()) {
            self.abandon(at);
        }
        while !self.unresolved.is_empty() {
            let waiting = self.unresolved.clone();
            for made in &waiting {
                self.send(&[Made { kind: Kind::Good, ..made.clone() }], false);
            }
            assert!(self.unresolved.len() < waiting.len(), "each waits for another one: {waiting:?}");
        }
        for topic in 0..TOPICS.len() {
            for key in 0..KEYS {
                let made = self.make(topic, Some(key), Kind::Good);
                self.send(core::slice::from_ref(&made), false);
                assert!(self.unresolved.is_empty(), "{made:?} is refused although nothing is unresolved");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_key_is_reordered_by_a_refusal_and_none_is_stuck(acts in proptest::collection::vec(act(), 1..60)) {
        let mut model = Model::new();
        for act in acts {
            model.run(act);
        }
        model.settle();
    }
}
