//! Random histories of one publish stream against a model of the host: cut connections, lost frames and receipts, refused
//! batches, deadlines, new epochs. In a second phase the faults stop, and everything must settle.
//!
//! The model keeps the promises of the protocol and nothing else: a sequence is taken only as last + 1, a whole refusal
//! does not use one up, a repeated sequence gets its first answer, and an event id is stored once.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bugle_wire::schema::{Duplicate, Receipt, Refusal};
use bugle_wire::{Code, Frame, Publish};
use bytes::Bytes;
use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::{Outgoing, Stream};
use crate::batch::PendingReceipt;
use crate::outcome::Outcome;

/// Nothing expires by itself.
const LONG: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug)]
enum Action {
    Append {
        topic: u8,
        bytes: usize,
    },
    Write,
    Host {
        refuses: bool,
    },
    Receipt,
    /// Everything is past its deadline.
    Expire,
    /// The connection is cut; the host still takes so many of the frames on their way, and may forget the epoch.
    Cut {
        taken: usize,
        forgets: bool,
    },
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (0_u8..3, 8_usize..40_000).prop_map(|(topic, bytes)| Action::Append { topic, bytes }),
        4 => Just(Action::Write),
        3 => Just(Action::Host { refuses: false }),
        1 => Just(Action::Host { refuses: true }),
        3 => Just(Action::Receipt),
        1 => Just(Action::Expire),
        2 => (0_usize..4, any::<bool>()).prop_map(|(taken, forgets)| Action::Cut { taken, forgets }),
    ]
}

#[derive(Default)]
struct Life {
    last: u64,
    answers: BTreeMap<u64, Receipt>,
}

/// The host: its log, and what it knows of each epoch.
#[derive(Default)]
struct Host {
    log: Vec<(String, Bytes)>,
    lives: BTreeMap<u64, Life>,
}

impl Host {
    fn take(&mut self, epoch: u64, publish: &Publish, refuses: bool) -> Receipt {
        let life = self.lives.entry(epoch).or_default();
        let receipt = Receipt { stream: 1, sequence: publish.sequence, ..Receipt::default() };
        let refused = |code: Code| Receipt {
            refused: Some(Refusal { code: code.number(), ..Refusal::default() }),
            ..receipt.clone()
        };
        if let Some(answer) = life.answers.get(&publish.sequence) {
            return answer.clone();
        }
        if publish.sequence != life.last + 1 {
            return refused(Code::GAP);
        }
        if refuses {
            return refused(Code::QUOTA);
        }
        let mut answer = receipt;
        answer.first_offset = self.log.len() as u64;
        for (index, event) in (0..).zip(publish.events()) {
            match self.log.iter().position(|(_, stored)| *stored == event) {
                Some(offset) => answer.duplicates.push(Duplicate { index, slot: 0, offset: offset as u64 }),
                None => {
                    answer.count += 1;
                    self.log.push((publish.topic().to_owned(), event));
                }
            }
        }
        life.last = publish.sequence;
        life.answers.insert(publish.sequence, answer.clone());
        answer
    }
}

struct World {
    stream: Stream,
    host: Host,
    epoch: u64,
    epochs: u64,
    frames: VecDeque<Publish>,
    receipts: VecDeque<Receipt>,
    /// In call order.
    sent: Vec<(String, Bytes, PendingReceipt)>,
}

impl World {
    fn new() -> Self {
        let mut stream = Stream::new(1);
        stream.begin_session(0);
        let (frames, receipts) = (VecDeque::new(), VecDeque::new());
        Self { stream, host: Host::default(), epoch: 1, epochs: 1, frames, receipts, sent: Vec::new() }
    }

    fn run(&mut self, action: &Action) {
        match action {
            Action::Append { topic, bytes } => self.append(*topic, *bytes),
            Action::Write => self.write().unwrap_or_default(),
            Action::Host { refuses } => self.host_takes(*refuses).unwrap_or_default(),
            Action::Receipt => self.receive().unwrap_or_default(),
            Action::Expire => self.expire(),
            Action::Cut { taken, forgets } => self.cut(*taken, *forgets),
        }
    }

    fn append(&mut self, topic: u8, bytes: usize) {
        let topic = format!("topic-{topic}");
        let mut event = self.sent.len().to_be_bytes().to_vec();
        event.resize(bytes.max(8), 0);
        let (batch, index) = self.stream.append(&topic, &event, bytes, || Instant::now() + LONG);
        self.sent.push((topic, event.into(), PendingReceipt::in_batch(batch, index)));
    }

    fn write(&mut self) -> Option<()> {
        let Outgoing { head, body, .. } = self.stream.next_frame(1 << 20, false)?;
        let bytes = Bytes::from([head, body].concat());
        let Ok(Frame::Publish(publish)) = Frame::decode_from_client(&bytes.slice(4..)) else {
            panic!("a publish frame is written");
        };
        self.frames.push_back(publish);
        Some(())
    }

    fn host_takes(&mut self, refuses: bool) -> Option<()> {
        let publish = self.frames.pop_front()?;
        self.receipts.push_back(self.host.take(self.epoch, &publish, refuses));
        Some(())
    }

    fn receive(&mut self) -> Option<()> {
        let receipt = self.receipts.pop_front()?;
        let settled = self.stream.apply(receipt).expect("the host keeps the protocol");
        settled.into_iter().for_each(|settled| settled.batch.resolve(settled.resolution));
        Some(())
    }

    fn expire(&mut self) {
        let mut settled = Vec::new();
        self.stream.expire(Instant::now() + LONG, &mut settled);
        settled.into_iter().for_each(|settled| settled.batch.resolve(settled.resolution));
    }

    fn cut(&mut self, taken: usize, forgets: bool) {
        for _ in 0..taken {
            self.host_takes(false);
        }
        self.frames.clear();
        self.receipts.clear();
        let mut dropped = Vec::new();
        self.stream.drop_expired(&mut dropped);
        dropped.into_iter().for_each(|settled| settled.batch.resolve(settled.resolution));
        if self.stream.needs_new_epoch() || forgets {
            self.epochs += 1;
            self.epoch = self.epochs;
            self.stream.forget_numbers();
        }
        let last = self.host.lives.entry(self.epoch).or_default().last;
        self.stream.begin_session(last);
    }

    /// The faults stop: everything on the way arrives.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let moved = [self.write(), self.host_takes(false), self.receive()];
            if moved == [None; 3] {
                break;
            }
        }
        assert!(self.stream.is_empty(), "everything settles: {:?}", self.stream);
    }

    fn check(self) {
        let mut last_offset: BTreeMap<String, u64> = BTreeMap::new();
        for (topic, event, pending) in self.sent {
            let copies = self.host.log.iter().filter(|(_, stored)| *stored == event).count();
            match pending.now_or_never().expect("every event has an outcome") {
                Outcome::Confirmed(receipt) => {
                    let offset = receipt.position.offset;
                    let place = usize::try_from(offset).expect("an offset of the model's log");
                    assert_eq!(self.host.log.get(place), Some(&(topic.clone(), event)), "it is where the receipt says");
                    assert_eq!(copies, 1, "it is stored once");
                    let before = last_offset.insert(topic, offset);
                    assert!(before < Some(offset), "events of a topic keep their order");
                }
                Outcome::Refused { .. } => assert_eq!(copies, 0, "a refused event is not stored"),
                Outcome::Unknown => assert!(copies <= 1),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn outcomes_are_true_in_every_history(actions in proptest::collection::vec(action(), 0..120)) {
        let mut world = World::new();
        for action in &actions {
            world.run(action);
        }
        world.settle();
        world.check();
    }
}
