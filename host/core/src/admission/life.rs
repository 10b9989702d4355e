//! Producers' lives: which sequence each of their streams has reached, and the latest results, for answers to repeated batches.
//!
//! A life goes on over reconnects and restarts: its sequences are rows on disk, its results are not and are bounded over all
//! lives. Knows nothing of topics, events and ids.
//!
//! Invariant: a stream's last sequence never goes back, and never runs ahead of the events it stands for.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use hashbrown::HashMap;

use crate::ids::{BootId, Name, Offset, ProducerEpoch, Sequence, StreamId};
use crate::publish::{BatchOutcome, BatchResult};
use crate::seeded::{Bug, is_planted};
use crate::step::Write;

/// Results kept over all lives: with about 120 bytes each under 8 MiB, and several seconds of batches.
const RESULTS_MAX: usize = 65_536;
/// A result with more duplicates and refusals than this is not kept; the id window answers a repeat of its batch.
const RESULT_DETAILS_MAX: usize = 64;
/// Lives without a session kept in memory, so that a reconnect finds its results; older ones come back from their rows.
const IDLE_LIVES_MAX: usize = 1024;
/// Streams of a life; a client pins keys to streams and needs few.
pub(super) const STREAMS_MAX: usize = 256;
/// Bits of an epoch that count within one boot.
const EPOCHS_PER_BOOT_BITS: u32 = 32;

/// Handle of a life in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LifeId(u64);

/// See the module.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) producer: Name,
    pub(super) epoch: ProducerEpoch,
    /// The first offset an event of this life can have.
    pub(super) first: Offset,
    sessions: u32,
    streams: BTreeMap<StreamId, Stream>,
}

#[derive(Debug, Default)]
struct Stream {
    last: Sequence,
    results: VecDeque<BatchResult>,
    /// The row is behind `last`.
    is_dirty: bool,
}

/// What a batch's sequence means for its stream.
#[derive(Debug)]
pub(super) enum Step {
    /// The next one.
    Next,
    /// It was processed before; with its result if that is still known.
    Repeated(Option<BatchResult>),
    /// It skips ahead of this one.
    Gap(Sequence),
    /// The life has too many streams for a new one.
    TooManyStreams,
}

/// All lives in memory.
#[derive(Debug)]
pub(super) struct Lives {
    boot: BootId,
    /// Epochs of earlier boots belong to another history of the store.
    first_boot: BootId,
    epochs: u32,
    /// Where the log ended at earlier boots: bounds when their lives can have begun.
    boots: BTreeMap<BootId, Offset>,
    lives: HashMap<LifeId, Life>,
    by_epoch: HashMap<(Name, ProducerEpoch), LifeId>,
    next_id: u64,
    /// Lives that lost their last session, oldest first; an entry is stale if the life has one again.
    idle: VecDeque<LifeId>,
    /// Whose result was kept, oldest first.
    results: VecDeque<(LifeId, StreamId)>,
    dirty: Vec<(LifeId, StreamId)>,
}

impl Lives {
    pub(super) fn new(boot: BootId, first_boot: BootId, boots: &[(BootId, Offset)]) -> Lives {
        Lives {
            boot,
            first_boot,
            epochs: 0,
            boots: boots.iter().copied().collect(),
            lives: HashMap::new(),
            by_epoch: HashMap::new(),
            next_id: 0,
            idle: VecDeque::new(),
            results: VecDeque::new(),
            dirty: Vec::new(),
        }
    }

    /// Resumes a life, or begins one if none is named or the named one was never given.
    pub(super) fn open(
        &mut self,
        producer: Name,
        epoch: Option<ProducerEpoch>,
        rows: Vec<(StreamId, Sequence)>,
        next: Offset,
    ) -> LifeId {
        let resumed = epoch.filter(|epoch| self.was_given(*epoch));
        let epoch = resumed.unwrap_or_else(|| self.give_epoch());
        let life = match self.by_epoch.get(&(producer.clone(), epoch)) {
            Some(life) => *life,
            None => {
                let first = if resumed.is_some() { self.first_of(epoch) } else { next };
                self.insert(producer, epoch, first)
            }
        };
        let state = self.life_mut(life);
        state.sessions += 1;
        if resumed.is_some() {
            for (stream, sequence) in rows {
                let stream = state.streams.entry(stream).or_default();
                stream.last = stream.last.max(sequence);
            }
        }
        life
    }

    /// A session of the life ended.
    pub(super) fn close(&mut self, life: LifeId) {
        let state = self.life_mut(life);
        state.sessions = state.sessions.saturating_sub(1);
        if state.sessions == 0 {
            self.idle.push_back(life);
        }
        while self.idle.len() > IDLE_LIVES_MAX
            && let Some(life) = self.idle.pop_front()
        {
            let is_dirty = self.dirty.iter().any(|(dirty, _)| *dirty == life);
            if is_dirty {
                // Its rows are not written yet: later.
                self.idle.push_back(life);
                break;
            }
            self.forget(life);
        }
    }

    fn forget(&mut self, life: LifeId) {
        let is_idle = self.lives.get(&life).is_some_and(|life| life.sessions == 0);
        if is_idle && let Some(life) = self.lives.remove(&life) {
            self.by_epoch.remove(&(life.producer, life.epoch));
        }
    }

    pub(super) fn get(&self, life: LifeId) -> &Life {
        self.lives.get(&life).expect("a session keeps its life in memory")
    }

    fn life_mut(&mut self, life: LifeId) -> &mut Life {
        self.lives.get_mut(&life).expect("a session keeps its life in memory")
    }

    /// What this sequence means for the stream.
    pub(super) fn step(&self, life: LifeId, stream: StreamId, sequence: Sequence) -> Step {
        let life = self.get(life);
        let known = life.streams.get(&stream);
        let mut last = known.map_or(Sequence(0), |stream| stream.last);
        if is_planted(Bug::SequencePerProducer) {
            last = life.streams.values().map(|stream| stream.last).max().unwrap_or_default();
        }
        if known.is_none() && life.streams.len() >= STREAMS_MAX {
            Step::TooManyStreams
        } else if sequence <= last {
            let result = known.and_then(|stream| {
                let index = stream.results.binary_search_by_key(&sequence, |result| result.sequence).ok()?;
                stream.results.get(index).cloned()
            });
            Step::Repeated(result)
        } else if sequence.0 == last.0 + 1 {
            Step::Next
        } else {
            Step::Gap(Sequence(last.0 + 1))
        }
    }

    /// The stream has reached the result's sequence.
    pub(super) fn reached(&mut self, life: LifeId, result: &BatchResult) {
        let stream = self.life_mut(life).streams.entry(result.stream).or_default();
        stream.last = result.sequence;
        let was_dirty = core::mem::replace(&mut stream.is_dirty, true);
        let is_kept = details(&result.outcome) <= RESULT_DETAILS_MAX;
        if is_kept {
            stream.results.push_back(result.clone());
            self.results.push_back((life, result.stream));
        }
        if !was_dirty {
            self.dirty.push((life, result.stream));
        }
        if self.results.len() > RESULTS_MAX
            && let Some((life, stream)) = self.results.pop_front()
            && let Some(life) = self.lives.get_mut(&life)
            && let Some(stream) = life.streams.get_mut(&stream)
        {
            stream.results.pop_front();
        }
    }

    /// Rows of the streams that moved since the last call.
    pub(super) fn seal(&mut self, writes: &mut Vec<Write>) {
        for (life, stream) in self.dirty.drain(..) {
            let Some(life) = self.lives.get_mut(&life) else { continue };
            let Some(state) = life.streams.get_mut(&stream) else { continue };
            state.is_dirty = false;
            writes.push(Write::ProducerSequence {
                producer: life.producer.clone(),
                epoch: life.epoch,
                stream,
                sequence: state.last,
            });
        }
    }

    fn insert(&mut self, producer: Name, epoch: ProducerEpoch, first: Offset) -> LifeId {
        let id = LifeId(self.next_id);
        self.next_id += 1;
        self.by_epoch.insert((producer.clone(), epoch), id);
        self.lives.insert(id, Life { producer, epoch, first, sessions: 0, streams: BTreeMap::new() });
        id
    }

    fn give_epoch(&mut self) -> ProducerEpoch {
        self.epochs += 1;
        ProducerEpoch(self.boot.0 << EPOCHS_PER_BOOT_BITS | u64::from(self.epochs))
    }

    fn was_given(&self, epoch: ProducerEpoch) -> bool {
        let boot = BootId(epoch.0 >> EPOCHS_PER_BOOT_BITS);
        let count = epoch.0 & u64::from(u32::MAX);
        let is_of_this_history = boot.0 > 0 && boot >= self.first_boot;
        count > 0 && is_of_this_history && (boot < self.boot || (boot == self.boot && count <= u64::from(self.epochs)))
    }

    /// A life of an earlier boot began no earlier than that boot; of one that is not known any more, at the beginning.
    fn first_of(&self, epoch: ProducerEpoch) -> Offset {
        let boot = BootId(epoch.0 >> EPOCHS_PER_BOOT_BITS);
        self.boots.get(&boot).copied().unwrap_or(Offset(0))
    }
}

impl Life {
    /// Last sequence of each stream.
    pub(super) fn streams(&self) -> Vec<(StreamId, Sequence)> {
        self.streams.iter().map(|(stream, state)| (*stream, state.last)).collect()
    }
}

fn details(outcome: &BatchOutcome) -> usize {
    match outcome {
        BatchOutcome::Stored { duplicates, refused, .. } => duplicates.len() + refused.len(),
        BatchOutcome::Refused(_) => 1,
    }
}
