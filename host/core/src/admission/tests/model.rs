//! Random histories of publishing, committing and crashing, against a model that remembers everything.
//!
//! Checked after each batch: an id inside the window is never stored twice; a duplicate names an event with the same bytes; a
//! first attempt is never too old; a refused key lets nothing pass; after a crash exactly the committed groups are there.

use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;

use proptest::prelude::*;

use super::driver::{Driver, event};
use super::{WindowSize, refused_code};
use crate::code::Code;
use crate::ids::{Offset, ProducerEpoch};
use crate::publish::{BatchOutcome, IdState, Try};
use crate::time::Timestamp;

/// One event to publish: id, key and which of two contents.
type Wish = (u16, Option<u8>, bool);

#[derive(Clone, Debug)]
enum Act {
    Publish {
        stream: u32,
        retry: bool,
        wishes: Vec<Wish>,
    },
    /// A batch with ids never used before, to push others out of the window.
    Push(u16),
    /// The last batch again.
    Repeat,
    Abandon(u16),
    Query(u16),
    Commit,
    Wait(u64),
    Reconnect,
    Restart,
}

fn act(ids: u16) -> impl Strategy<Value = Act> {
    let wish = (0..ids, proptest::option::weighted(0.4, 0..4_u8), proptest::bool::weighted(0.9));
    prop_oneof![
        8 => (1..3_u32, any::<bool>(), proptest::collection::vec(wish, 1..6))
            .prop_map(|(stream, retry, wishes)| Act::Publish { stream, retry, wishes }),
        3 => (1..30_u16).prop_map(Act::Push),
        2 => Just(Act::Repeat),
        2 => (0..ids).prop_map(Act::Abandon),
        2 => (0..ids).prop_map(Act::Query),
        5 => Just(Act::Commit),
        1 => (0..20_000_000_u64).prop_map(Act::Wait),
        1 => Just(Act::Reconnect),
        1 => Just(Act::Restart),
    ]
}

#[derive(Clone, Debug)]
struct Copy {
    offset: u64,
    at: Timestamp,
    content: String,
}

/// Everything that was ever stored.
#[derive(Clone, Debug, Default)]
struct Stored {
    copies: BTreeMap<String, Vec<Copy>>,
    count: u64,
    sequences: BTreeMap<u32, u64>,
}

/// Id, key and data of an event.
type Made = (String, Option<u8>, String);

/// The last batch: stream, sequence, events, and what became of it.
type Last = (u32, u64, Vec<Made>, BatchOutcome);

struct Model {
    driver: Driver,
    size: WindowSize,
    durable: Stored,
    /// `durable` and the group.
    live: Stored,
    epoch: ProducerEpoch,
    /// Key and the ids that hold it, oldest first.
    held: BTreeMap<u8, Vec<String>>,
    last: Option<Last>,
    pushed: u32,
}

impl Model {
    fn new(size: WindowSize) -> Model {
        let mut driver = Driver::new(size);
        let epoch = driver.open(1, "p", None).epoch;
        Model {
            driver,
            size,
            durable: Stored::default(),
            live: Stored::default(),
            epoch,
            held: BTreeMap::new(),
            last: None,
            pushed: 0,
        }
    }

    fn run(&mut self, act: Act) {
        match act {
            Act::Publish { stream, retry, wishes } => {
                let events = wishes
                    .into_iter()
                    .map(|(id, key, same)| (id.to_string(), key, if same { "x" } else { "y" }.to_string()));
                self.publish(stream, if retry { Try::Retry } else { Try::First }, events.collect());
            }
            Act::Push(count) => {
                let first = self.pushed;
                self.pushed += u32::from(count);
                let events = (first..self.pushed).map(|id| (std::format!("push-{id}"), None, "x".to_string()));
                self.publish(1, Try::First, events.collect());
            }
            Act::Repeat => self.repeat(),
            Act::Abandon(id) => {
                self.driver.abandon("t", 1, 1, &id.to_string());
                self.resolve(&id.to_string());
            }
            Act::Query(id) => self.query(&id.to_string()),
            Act::Commit => {
                self.driver.commit();
                self.durable = self.live.clone();
            }
            Act::Wait(ms) => self.driver.now.0 += ms,
            Act::Reconnect => self.reconnect(),
            Act::Restart => {
                self.driver.restart();
                self.live = self.durable.clone();
                self.last = None;
                self.reconnect();
            }
        }
    }

    fn reconnect(&mut self) {
        let opened = self.driver.open(1, "p", Some(self.epoch));
        self.held.clear();
        assert_eq!(opened.epoch, self.epoch);
        let streams: Vec<_> = opened.streams.iter().map(|(stream, last)| (stream.0, last.0)).collect();
        let expected: Vec<_> = self.live.sequences.iter().map(|(stream, last)| (*stream, *last)).collect();
        assert_eq!(streams, expected);
    }

    fn publish(&mut self, stream: u32, attempt: Try, wishes: Vec<Made>) {
        let sequence = self.live.sequences.get(&stream).copied().unwrap_or_default() + 1;
        let gap = self.driver.publish(1, stream, sequence + 1, attempt, made(&wishes));
        assert_eq!(refused_code(&gap), Some(Code::Gap));
        let outcome = self.driver.publish(1, stream, sequence, attempt, made(&wishes));
        self.live.sequences.insert(stream, sequence);
        let BatchOutcome::Stored { first, stored, duplicates, refused } = outcome.clone() else {
            panic!("{outcome:?}");
        };
        let mut next = first.map_or(self.live.count, |first| first.offset.0);
        assert_eq!(next, self.live.count);
        for (index, (id, key, data)) in (0..).zip(&wishes) {
            let duplicate = duplicates.iter().find(|(of, _)| *of == index).map(|(_, position)| position.offset);
            let refusal = refused.iter().find(|(of, _)| *of == index).map(|(_, refusal)| refusal.code);
            let is_held = key.and_then(|key| self.held.get(&key)?.first()).is_some_and(|head| head != id);
            assert_eq!(is_held && duplicate.is_none(), refusal == Some(Code::BehindRefused), "{id}");
            if refusal != Some(Code::BehindRefused) {
                self.check(id, &content(*key, data), attempt, duplicate, refusal);
            }
            match (refusal, key) {
                (Some(_), Some(key)) => self.hold(*key, id),
                (None, _) => self.resolve(id),
                (Some(_), None) => {}
            }
            if duplicate.is_none() && refusal.is_none() {
                let copy = Copy { offset: next, at: self.driver.now, content: content(*key, data) };
                self.live.copies.entry(id.clone()).or_default().push(copy);
                self.live.count += 1;
                next += 1;
            }
        }
        assert_eq!(u64::from(stored), next - first.map_or(next, |first| first.offset.0));
        self.last = Some((stream, sequence, wishes, outcome));
    }

    fn hold(&mut self, key: u8, id: &str) {
        let held = self.held.entry(key).or_default();
        if held.iter().all(|other| other != id) {
            held.push(id.to_string());
        }
    }

    fn resolve(&mut self, id: &str) {
        self.held.values_mut().for_each(|held| held.retain(|other| other != id));
    }

    /// The verdict of an event that no key held back.
    fn check(&self, id: &str, content: &str, attempt: Try, duplicate: Option<Offset>, refusal: Option<Code>) {
        let copies = self.live.copies.get(id).map(Vec::as_slice).unwrap_or_default();
        let in_window = copies.iter().any(|copy| self.is_in_window(copy));
        match (duplicate, refusal) {
            (Some(offset), None) => {
                assert!(
                    copies.iter().any(|copy| copy.offset == offset.0 && copy.content == content),
                    "{id} is not at {offset}"
                );
            }
            (None, Some(Code::IdReused)) => assert!(copies.iter().any(|copy| copy.content != content), "{id}"),
            (None, Some(Code::TooOld)) => {
                assert!(attempt == Try::Retry && !in_window, "{id} is not too old");
                assert!(self.live.count > self.size.ids || self.driver.now.0 > 1_000_000_000, "nothing was forgotten");
            }
            (None, None) => assert!(!in_window, "{id} was stored twice"),
            other => panic!("{id}: {other:?}"),
        }
    }

    fn is_in_window(&self, copy: &Copy) -> bool {
        self.live.count - copy.offset <= self.size.ids && self.driver.now.since(copy.at) <= self.size.time
    }

    fn repeat(&mut self) {
        let Some((stream, sequence, wishes, outcome)) = self.last.clone() else { return };
        let again = self.driver.publish(1, stream, sequence, Try::Retry, made(&wishes));
        assert_eq!(again, outcome);
        // What it tells of refusals counts as if it were new, since it may be told in another session.
        let BatchOutcome::Stored { refused, .. } = outcome else { return };
        for (index, _) in refused {
            if let Some((id, Some(key), _)) = wishes.get(index as usize) {
                self.hold(*key, id);
            }
        }
    }

    fn query(&mut self, id: &str) {
        let copies = self.live.copies.get(id).cloned().unwrap_or_default();
        match self.driver.query(id) {
            IdState::Stored(position) => assert!(copies.iter().any(|copy| copy.offset == position.offset.0)),
            IdState::NotInWindow => assert!(!copies.iter().any(|copy| self.is_in_window(copy))),
        }
    }
}

fn made(wishes: &[Made]) -> Vec<crate::event::Event> {
    wishes.iter().map(|(id, key, data)| event(id, key.map(|key| key.to_string()).as_deref(), data)).collect()
}

/// The key is in the event's bytes too.
fn content(key: Option<u8>, data: &str) -> String {
    std::format!("{key:?} {data}")
}

fn size(ids: u64) -> WindowSize {
    WindowSize { ids, ..WindowSize::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn small_windows_keep_the_promises(ids in 1..60_u64, acts in proptest::collection::vec(act(40), 1..120)) {
        let mut model = Model::new(size(ids));
        for act in acts {
            model.run(act);
        }
    }
}

/// A window whose blocks have several chunks, filled several times over, with restarts at odd moments.
#[test]
fn a_large_window_keeps_the_promises() {
    let ids = 12_000;
    let mut model = Model::new(size(ids));
    for round in 0..1_200_u32 {
        model.run(Act::Push(29));
        if round % 3 == 0 {
            model.run(Act::Commit);
        }
        if round % 97 == 0 {
            model.run(Act::Restart);
        }
        // Looks back over the whole window and beyond.
        let back = round.wrapping_mul(2_654_435_761) % (model.pushed + 1);
        let old = std::format!("push-{back}");
        model.publish(2, Try::First, Vec::from([(old.clone(), None, "x".to_string())]));
        model.query(&old);
    }
}
