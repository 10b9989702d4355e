//! A host for tests: commits groups to a disk in memory, looks up what admission asks for, crashes and recovers.

use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

use bytes::Bytes;

use crate::admission::{Admission, Facts, IdFact, IdLookup, IdPlace, Recovery, WindowSize};
use crate::code::Code;
use crate::event::{Event, Index, Span, StoredEvent};
use crate::ids::{BootId, Name, Offset, ProducerEpoch, Sequence, SessionId, Slot, StreamId, TopicId};
use crate::publish::{
    Abandon, BatchOutcome, IdState, OpenSession, Opened, PublishBatch, Refusal, TracedKey, Try, Unreadable,
};
use crate::row::{FateRow, IdBlockRow, IdEntry, ScheduledTotals};
use crate::schedule::{Due, REPLACED_EVENTS_MAX};
use crate::spec::Topic;
use crate::step::Write;
use crate::time::Timestamp;

/// An event of source `s` whose bytes are id, source, key and data, one after another.
pub(super) fn event(id: &str, key: Option<&str>, data: &str) -> Event {
    let mut bytes = Vec::new();
    let mut span = |part: &str| {
        let start = bytes.len() as u32;
        bytes.extend_from_slice(part.as_bytes());
        Span { start, len: part.len() as u32 }
    };
    let index = Index {
        id: span(id),
        source: span("s"),
        kind: Span::default(),
        key: key.map(&mut span),
        data: span(data),
        ..Index::default()
    };
    Event::new(Bytes::from(bytes), index).unwrap()
}

/// An event that the door refused: of source `s`, or without a name.
pub(super) fn unreadable(id: &str, key: TracedKey) -> Result<Event, Unreadable> {
    let refusal = Refusal { code: Code::MalformedEvent, retry_after: None, detail: String::new() };
    let source = String::from(if id.is_empty() { "" } else { "s" });
    Err(Unreadable { refusal, source, id: String::from(id), key })
}

pub(super) fn batch(
    topic: &str,
    session: u64,
    stream: u32,
    sequence: u64,
    attempt: Try,
    events: Vec<Result<Event, Unreadable>>,
) -> PublishBatch {
    PublishBatch {
        session: SessionId(session),
        stream: StreamId(stream),
        sequence: Sequence(sequence),
        attempt,
        topic: Name::from(topic),
        events,
    }
}

#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) events: BTreeMap<Offset, StoredEvent>,
    sequences: BTreeMap<(String, ProducerEpoch, StreamId), Sequence>,
    chunks: BTreeMap<(u64, u32), Vec<IdEntry>>,
    blocks: BTreeMap<u64, IdBlockRow>,
    pub(super) due: BTreeMap<Due, StoredEvent>,
    pub(super) fates: BTreeMap<Offset, FateRow>,
    pub(super) totals: BTreeMap<TopicId, ScheduledTotals>,
}

pub(super) struct Driver {
    pub(super) admission: Admission,
    pub(super) now: Timestamp,
    size: WindowSize,
    boots: Vec<(BootId, Offset)>,
    epochs: BTreeMap<SessionId, ProducerEpoch>,
    pub(super) disk: Disk,
    pub(super) group: Vec<Write>,
}

impl Driver {
    pub(super) fn new(size: WindowSize) -> Driver {
        let boots = Vec::from([(BootId(1), Offset(0))]);
        let disk = Disk::default();
        let admission = recover(size, &boots, &disk);
        let now = Timestamp(1_000_000_000);
        Driver { admission, now, size, boots, epochs: BTreeMap::new(), disk, group: Vec::new() }
    }

    pub(super) fn open(&mut self, session: u64, producer: &str, epoch: Option<ProducerEpoch>) -> Opened {
        let rows = self.disk.sequences.iter();
        let rows = rows
            .filter(|((name, of, _), _)| name == producer && Some(*of) == epoch)
            .map(|((_, _, stream), sequence)| (*stream, *sequence))
            .collect();
        let open = OpenSession { session: SessionId(session), producer: Name::from(producer), epoch };
        let opened = self.admission.open(open, rows);
        self.epochs.insert(SessionId(session), opened.epoch);
        opened
    }

    pub(super) fn epoch(&self, session: u64) -> ProducerEpoch {
        self.epochs[&SessionId(session)]
    }

    pub(super) fn publish(
        &mut self,
        session: u64,
        stream: u32,
        sequence: u64,
        attempt: Try,
        events: Vec<Event>,
    ) -> BatchOutcome {
        self.publish_to("t", session, stream, sequence, attempt, events)
    }

    pub(super) fn publish_to(
        &mut self,
        topic: &str,
        session: u64,
        stream: u32,
        sequence: u64,
        attempt: Try,
        events: Vec<Event>,
    ) -> BatchOutcome {
        self.publish_batch(batch(topic, session, stream, sequence, attempt, events.into_iter().map(Ok).collect()))
    }

    pub(super) fn publish_batch(&mut self, batch: PublishBatch) -> BatchOutcome {
        let mut probe = self.admission.probe(&batch);
        for (index, query) in probe.replaces(&batch) {
            let found = self.disk.due.values().filter(|event| query.is_of(event)).take(REPLACED_EVENTS_MAX + 1);
            probe.found_replaced(index, found.cloned().collect());
        }
        let facts = self.facts(probe.lookups());
        self.admission.publish(self.now, batch, &probe, &facts, &mut self.group).outcome
    }

    /// As a host whose disk is full.
    pub(super) fn refuse(&mut self, batch: &PublishBatch) -> Option<BatchOutcome> {
        let refusal = Refusal { code: Code::DiskFull, retry_after: None, detail: String::new() };
        self.admission.refuse(batch, refusal).map(|result| result.outcome)
    }

    /// Gives up an event of source `s`, or one without a name.
    pub(super) fn abandon(&mut self, topic: &str, session: u64, stream: u32, id: &str) {
        let source = String::from(if id.is_empty() { "" } else { "s" });
        let (session, stream) = (SessionId(session), StreamId(stream));
        self.admission.abandon(&Abandon { session, stream, topic: Name::from(topic), source, id: String::from(id) });
    }

    pub(super) fn query(&mut self, id: &str) -> IdState {
        let query = self.admission.query("t", "s", id).unwrap();
        let facts = self.facts(query.lookups());
        self.admission.answer(&query, "s", id, &facts)
    }

    /// Adds rows of somebody else to the group.
    pub(super) fn add(&mut self, writes: Vec<Write>) {
        self.group.extend(writes);
    }

    pub(super) fn commit(&mut self) {
        self.admission.seal(self.now, &mut self.group);
        for write in self.group.drain(..) {
            self.disk.apply(write);
        }
        self.admission.committed();
    }

    /// Loses what was not committed.
    pub(super) fn restart(&mut self) {
        self.group.clear();
        let boot = BootId(self.boots.len() as u64 + 1);
        self.boots.push((boot, self.disk.next()));
        self.epochs.clear();
        self.admission = recover(self.size, &self.boots, &self.disk);
    }

    /// What is on disk becomes another store's: its boots go on far away.
    pub(super) fn restore(&mut self) {
        self.group.clear();
        self.boots = Vec::from([(BootId(70_000), self.disk.next())]);
        self.epochs.clear();
        self.admission = recover(self.size, &self.boots, &self.disk);
    }

    /// The log loses its events below this offset.
    pub(super) fn trim(&mut self, floor: u64) {
        self.disk.events = self.disk.events.split_off(&Offset(floor));
    }

    fn facts(&self, lookups: &[IdLookup]) -> Vec<IdFact> {
        let mut facts = Vec::new();
        for lookup in lookups {
            let offsets: Vec<Offset> = match lookup.place {
                IdPlace::Log(offset) => Vec::from([offset]),
                IdPlace::Block(block) => self.disk.find(block, lookup.hash),
            };
            let found = offsets.iter().filter_map(|offset| self.disk.events.get(offset));
            facts.extend(found.map(|event| IdFact { index: lookup.index, event: event.clone() }));
        }
        facts
    }
}

impl Disk {
    fn next(&self) -> Offset {
        self.events.keys().next_back().map_or(Offset(0), |offset| offset.next())
    }

    fn find(&self, block: u64, hash: u64) -> Vec<Offset> {
        let row = self.blocks[&block];
        let ids = &self.chunks[&(block, row.chunk_of(hash))];
        ids.iter().filter(|id| id.hash == hash).map(|id| id.offset).collect()
    }

    fn apply(&mut self, write: Write) {
        match write {
            Write::Event(event) => {
                assert!(event.position.offset == self.next(), "offsets have no gap");
                self.events.insert(event.position.offset, event);
            }
            Write::ProducerSequence { producer, epoch, stream, sequence } => {
                self.sequences.insert((String::from(&*producer), epoch, stream), sequence);
            }
            Write::IdChunk { block, chunk, ids, .. } => {
                assert!(ids.is_sorted());
                self.chunks.insert((block, chunk), ids);
            }
            Write::IdBlock { block, row: Some(row) } => {
                self.blocks.insert(block, row);
            }
            Write::IdBlock { block, row: None } => {
                self.blocks.remove(&block);
                self.chunks.retain(|(of, _), _| *of != block);
            }
            Write::Scheduled(event) => {
                self.due.insert(Due::of(&event).unwrap(), event);
            }
            Write::ScheduleEnded { event, row } => {
                self.due.remove(&Due::of(&event).unwrap()).unwrap();
                assert_eq!(self.fates.insert(event.position.offset, row), None, "a scheduled event ends once");
            }
            Write::ScheduledTotals { topic, row } => {
                self.totals.insert(topic, row);
            }
            other => panic!("admission writes no {other:?}"),
        }
    }
}

fn recover(size: WindowSize, boots: &[(BootId, Offset)], disk: &Disk) -> Admission {
    let topic = |id, name: &str| Topic { id: TopicId(id), name: Name::from(name) };
    let mut recovery = Recovery::new(Facts {
        slot: Slot(0),
        seed: [7; 16],
        boot: boots[boots.len() - 1].0,
        first_boot: boots[0].0,
        boots: boots.to_vec(),
        next: disk.next(),
        floor: disk.events.keys().next().copied().unwrap_or_default(),
        dropped_below: disk.events.keys().next().copied().unwrap_or_default(),
        topics: Vec::from([topic(1, "t"), topic(2, "u")]),
        window: size,
    });
    for (block, row) in &disk.blocks {
        recovery.block(*block, *row);
        for ((_, _), ids) in disk.chunks.range((*block, 0)..(*block + 1, 0)) {
            recovery.chunk(*block, ids);
        }
    }
    for event in disk.events.range(recovery.replay_from()..).map(|(_, event)| event).collect::<Vec<_>>() {
        recovery.event(event);
    }
    for (topic, totals) in &disk.totals {
        recovery.scheduled(*topic, *totals);
    }
    recovery.finish()
}
