//! A producer of the simulated bus: publishes numbered events in batches, pipelined, and sends again what was left in doubt.
//!
//! It sees only what a client sees: receipts. Its log of them is evidence for the checks. Invariant: it sends an event of a key
//! only in the order of their numbers, and an unconfirmed batch again before any newer one.

use std::collections::{BTreeMap, VecDeque};

use bugle_core::event::Class;
use bugle_core::ids::{Offset, ProducerEpoch, Sequence, SessionId, StreamId};
use bugle_core::publish::{BatchOutcome, BatchResult, OpenSession, Opened, PublishBatch, Try};

use crate::events::Attributes;
use crate::random::Random;

/// Batches on the way at once.
const BATCHES_OUTSTANDING_MAX: usize = 4;

const STREAM: StreamId = StreamId(1);

/// One batch that has no receipt yet.
#[derive(Clone, Debug)]
struct Outstanding {
    sequence: Sequence,
    numbers: Vec<u64>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Producer {
    pub(crate) name: String,
    session: SessionId,
    epoch: Option<ProducerEpoch>,
    next_sequence: u64,
    next_number: u64,
    outstanding: VecDeque<Outstanding>,
    /// Key, class of each event it made.
    planned: Vec<(Option<String>, Class)>,
    /// Number and place of each confirmed event.
    pub(crate) confirmed: BTreeMap<u64, Offset>,
}

impl Producer {
    pub(crate) fn new(number: u64) -> Producer {
        Producer {
            name: format!("producer-{number}"),
            session: SessionId(number),
            epoch: None,
            next_sequence: 1,
            next_number: 0,
            outstanding: VecDeque::new(),
            planned: Vec::new(),
            confirmed: BTreeMap::new(),
        }
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.outstanding.is_empty()
    }

    /// Events it made so far.
    pub(crate) fn made(&self) -> u64 {
        self.next_number
    }

    pub(crate) fn hello(&mut self, connection: u64) -> OpenSession {
        self.session = SessionId(connection);
        OpenSession { session: self.session, producer: self.name.as_str().into(), epoch: self.epoch }
    }

    /// The host answered the hello: what is in doubt goes out again.
    pub(crate) fn opened(&mut self, opened: &Opened) -> Vec<PublishBatch> {
        if self.epoch != Some(opened.epoch) {
            // A new life: sequences begin again.
            self.epoch = Some(opened.epoch);
            self.next_sequence = 1;
            for batch in &mut self.outstanding {
                batch.sequence = Sequence(self.next_sequence);
                self.next_sequence += 1;
            }
        }
        self.outstanding.iter().map(|batch| self.batch(batch, Try::Retry)).collect()
    }

    /// A new batch, unless too many are on the way.
    pub(crate) fn publish(&mut self, random: &mut Random) -> Option<PublishBatch> {
        if self.outstanding.len() >= BATCHES_OUTSTANDING_MAX {
            return None;
        }
        let mut numbers = Vec::new();
        for _ in 0..random.within(1, 5) {
            let key = *random.pick(&[None, Some("a"), Some("b"), Some("c"), Some("d")]);
            let class = *random.pick(&[Class::Normal, Class::Normal, Class::Normal, Class::Critical]);
            self.planned.push((key.map(|key| format!("{}/{key}", self.name)), class));
            numbers.push(self.next_number);
            self.next_number += 1;
        }
        let batch = Outstanding { sequence: Sequence(self.next_sequence), numbers };
        self.next_sequence += 1;
        self.outstanding.push_back(batch.clone());
        Some(self.batch(&batch, Try::First))
    }

    fn batch(&self, batch: &Outstanding, attempt: Try) -> PublishBatch {
        let event = |number: &u64| {
            let (key, class) = &self.planned[*number as usize];
            let (id, key, class) = (number.to_string(), key.as_deref(), *class);
            Ok(Attributes { id: &id, source: &self.name, key, class, data: "" }.event())
        };
        PublishBatch {
            session: self.session,
            stream: STREAM,
            sequence: batch.sequence,
            attempt,
            topic: "orders".into(),
            events: batch.numbers.iter().map(event).collect(),
        }
    }

    /// A receipt came.
    pub(crate) fn receipt(&mut self, result: &BatchResult) -> Result<(), String> {
        let Some(at) = self.outstanding.iter().position(|batch| batch.sequence == result.sequence) else {
            return Err(format!("{}: a receipt for batch {} that is not waiting", self.name, result.sequence));
        };
        let batch = self.outstanding.remove(at).expect("its place was just found");
        let BatchOutcome::Stored { first, duplicates, refused, .. } = &result.outcome else {
            return Err(format!("{}: a batch was refused: {:?}", self.name, result.outcome));
        };
        if let Some((_, refusal)) = refused.first() {
            return Err(format!("{}: an event was refused: {refusal:?}", self.name));
        }
        let mut next = first.map_or(0, |position| position.offset.0);
        for (index, number) in batch.numbers.iter().enumerate() {
            let duplicate = duplicates.iter().find(|(at, _)| *at as usize == index);
            let offset = duplicate.map_or(Offset(next), |(_, position)| position.offset);
            next += u64::from(duplicate.is_none());
            self.confirmed.insert(*number, offset);
        }
        Ok(())
    }
}
