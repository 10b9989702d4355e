//! One batch of a producer: sequence, whole-batch limits, then a verdict for each event in turn.
//!
//! Knows nothing of how candidates were found. Invariant: a batch that is refused as a whole leaves no trace, and one that is
//! not uses up its sequence.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::evidence::may_be_forgotten;
use super::ids::IdPlace;
use super::life::Step;
use super::{Admission, BATCH_EVENTS_MAX, IdFact, IdLookup, Probe};
use crate::code::Code;
use crate::event::{Event, StoredEvent};
use crate::ids::{Offset, Position, SessionId, TopicId};
use crate::origin::is_reserved;
use crate::publish::{BatchOutcome, BatchResult, PublishBatch, Refusal, Try};
use crate::seeded::{Bug, is_planted};
use crate::step::Write;
use crate::time::Timestamp;

/// How an event compares with a stored one that has the same hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sameness {
    /// Same topic, source, id and bytes.
    Same,
    /// Same topic, source and id, other bytes.
    Reused,
    /// Another id: the hashes are equal by accident.
    Other,
}

impl Sameness {
    pub(super) fn of(has_same_id: bool, has_same_bytes: bool) -> Sameness {
        match (has_same_id, has_same_bytes || is_planted(Bug::ContentNotCompared)) {
            (true, true) => Sameness::Same,
            (true, false) => Sameness::Reused,
            (false, _) => Sameness::Other,
        }
    }

    pub(super) fn with_stored(stored: &StoredEvent, topic: TopicId, event: &Event) -> Sameness {
        let known = &stored.event;
        Sameness::of(
            stored.topic == topic && known.source() == event.source() && known.id() == event.id(),
            known.bytes() == event.bytes(),
        )
    }
}

/// What is known of one event's id.
enum Known {
    Nothing,
    Duplicate(Offset),
    Reused(Offset),
}

/// What all events of a batch share.
struct Frame {
    session: SessionId,
    topic: TopicId,
    attempt: Try,
    now: Timestamp,
    /// First offset an event of the producer's life can have.
    life_first: Offset,
    /// The batch was processed before: nothing of it is stored now.
    is_repeated: bool,
}

/// The outcome while it is being put together.
#[derive(Default)]
struct Verdicts {
    first: Option<Position>,
    stored: u32,
    duplicates: Vec<(u32, Position)>,
    refused: Vec<(u32, Refusal)>,
}

impl Admission {
    /// Hashes the ids of a batch and names what has to be looked up before [`publish`](Self::publish). Independent for each
    /// event, so that the processor overlaps the memory accesses of many.
    #[must_use]
    pub fn probe(&self, batch: &PublishBatch) -> Probe {
        let Some(topic) = self.topics.get(&batch.topic).copied() else {
            return Probe::default();
        };
        let recent = self.group.first();
        let mut lookups = Vec::new();
        let hashes: Vec<u64> = batch
            .events
            .iter()
            .map(|event| event.as_ref().map_or(0, |event| self.hash(topic, event.source(), event.id())))
            .collect();
        for ((index, event), hash) in (0..).zip(&batch.events).zip(&hashes) {
            if event.is_ok() {
                let mut note = |place: IdPlace| lookups.push(IdLookup { index, hash: *hash, place });
                self.window.probe(*hash, recent, &mut note);
            }
        }
        Probe { topic: Some(topic), hashes, lookups }
    }

    /// Decides a batch: `probe` is that of the same batch in the same group, `facts` what its look-ups found, in their order.
    pub fn publish(
        &mut self,
        now: Timestamp,
        batch: PublishBatch,
        probe: &Probe,
        facts: &[IdFact],
        writes: &mut Vec<Write>,
    ) -> BatchResult {
        let (stream, sequence) = (batch.stream, batch.sequence);
        let answer = |outcome| BatchResult { stream, sequence, outcome };
        let Some(life) = self.sessions.get(&batch.session).map(|session| session.life) else {
            return answer(refuse_all(Code::UnexpectedFrame, "the session is not open; say hello first".into()));
        };
        let is_repeated = match self.lives.step(life, stream, sequence) {
            Step::Next => false,
            Step::Repeated(Some(result)) => return result,
            Step::Repeated(None) => true,
            Step::Gap(expected) => return answer(refuse_gap(&batch, expected)),
            Step::TooManyStreams => {
                let detail = format!("the producer has {} streams; use fewer", super::life::STREAMS_MAX);
                return answer(refuse_all(Code::Quota, detail));
            }
        };
        let topic = match self.check_whole(&batch, probe) {
            Ok(topic) => topic,
            Err(refusal) => return answer(BatchOutcome::Refused(refusal)),
        };
        let frame = Frame {
            session: batch.session,
            topic,
            attempt: batch.attempt,
            now,
            life_first: self.lives.get(life).first,
            is_repeated,
        };
        let mut verdicts = Verdicts::default();
        for ((index, event), hash) in (0..).zip(batch.events).zip(&probe.hashes) {
            match event {
                Ok(event) => {
                    let facts = of_event(facts, index);
                    self.decide(&frame, index, event, *hash, facts, &mut verdicts, writes);
                }
                Err(refusal) => verdicts.refused.push((index, refusal)),
            }
        }
        let Verdicts { first, stored, duplicates, refused } = verdicts;
        let result = answer(BatchOutcome::Stored { first, stored, duplicates, refused });
        if !is_repeated {
            self.lives.reached(life, &result);
        }
        result
    }

    fn check_whole(&self, batch: &PublishBatch, probe: &Probe) -> Result<TopicId, Refusal> {
        let count = batch.events.len();
        if count == 0 || count > BATCH_EVENTS_MAX {
            let detail = format!("a batch has 1 to {BATCH_EVENTS_MAX} events, this one has {count}");
            return Err(refusal(Code::InvalidBatch, detail));
        }
        if is_reserved(&batch.topic) {
            let detail =
                format!("topic `{}` is written by the host alone; publish to a topic of your own", batch.topic);
            return Err(refusal(Code::Denied, detail));
        }
        let Some(topic) = probe.topic else {
            let detail = format!("topic `{}` does not exist; create it first", batch.topic);
            return Err(refusal(Code::UnknownTopic, detail));
        };
        // A probe of another batch would pair events with wrong hashes.
        assert!(probe.hashes.len() == count, "the probe is of another batch");
        let events = batch.events.iter().filter_map(|event| event.as_ref().ok());
        let has_room = self.sessions.get(&batch.session).is_none_or(|session| session.refused.has_room(topic, events));
        if !has_room {
            let detail = "too many keys wait for a refused event; resend or abandon those first";
            return Err(refusal(Code::Quota, detail.into()));
        }
        Ok(topic)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one event's verdict, each of another owner")]
    fn decide(
        &mut self,
        frame: &Frame,
        index: u32,
        event: Event,
        hash: u64,
        facts: &[IdFact],
        verdicts: &mut Verdicts,
        writes: &mut Vec<Write>,
    ) {
        let slot = self.slot;
        if let Some(session) = self.sessions.get(&frame.session)
            && !frame.is_repeated
            && session.refused.holds_back(frame.topic, &event)
        {
            let detail = "an earlier event of this key was refused; resend or abandon it first";
            verdicts.refused.push((index, refusal(Code::BehindRefused, detail.into())));
            return;
        }
        let verdict = match self.known(frame.topic, &event, hash, facts) {
            Known::Duplicate(offset) => Ok(Some(Position { slot, offset })),
            Known::Reused(offset) => {
                let first = Position { slot, offset };
                let detail = format!("source and id were stored at {first} with other content; use a new id");
                Err(refusal(Code::IdReused, detail))
            }
            Known::Nothing if frame.is_repeated => {
                Err(refusal(Code::TooOld, "the batch was processed long ago and its results are forgotten".into()))
            }
            Known::Nothing if frame.attempt == Try::Retry && self.is_too_old(frame, &event) => Err(refusal(
                Code::TooOld,
                "the id window no longer reaches back to the first attempt; check, then use a new id".into(),
            )),
            Known::Nothing => Ok(None),
        };
        if !frame.is_repeated
            && let Some(session) = self.sessions.get_mut(&frame.session)
        {
            match &verdict {
                Ok(_) => session.refused.resent(frame.topic, &event),
                Err(_) => session.refused.hold(frame.topic, &event),
            }
        }
        match verdict {
            Ok(Some(position)) => verdicts.duplicates.push((index, position)),
            Ok(None) => {
                let position = self.store(frame.now, frame.topic, event, hash, writes);
                verdicts.first.get_or_insert(position);
                verdicts.stored += 1;
            }
            Err(refusal) => verdicts.refused.push((index, refusal)),
        }
    }

    /// Compares with every candidate; the first copy counts, and one with the same bytes more than one without.
    fn known(&self, topic: TopicId, event: &Event, hash: u64, facts: &[IdFact]) -> Known {
        let mut same: Option<Offset> = None;
        let mut reused: Option<Offset> = None;
        let mut note = |offset: Offset, sameness: Sameness| {
            let place = match sameness {
                Sameness::Same => &mut same,
                Sameness::Reused => &mut reused,
                Sameness::Other => return,
            };
            *place = Some(place.map_or(offset, |known| known.min(offset)));
        };
        for fact in facts.iter().filter(|fact| fact.event.position.offset >= self.window.forgotten().below) {
            note(fact.event.position.offset, Sameness::with_stored(&fact.event, topic, event));
        }
        self.window.probe_recent(hash, self.group.first(), |offset| {
            note(offset, self.group.compare(offset, topic, event));
        });
        match (same, reused) {
            (Some(offset), _) => Known::Duplicate(offset),
            (None, Some(offset)) => Known::Reused(offset),
            (None, None) => Known::Nothing,
        }
    }

    fn is_too_old(&self, frame: &Frame, event: &Event) -> bool {
        may_be_forgotten(event, frame.life_first, self.window.forgotten(), frame.now)
    }

    /// For [`query`](super::query): the position of a stored event with this id, whatever its bytes.
    pub(super) fn first_with_id(&self, topic: TopicId, source: &str, id: &str, facts: &[IdFact]) -> Option<Offset> {
        let has_id =
            |stored: &StoredEvent| stored.topic == topic && stored.event.source() == source && stored.event.id() == id;
        facts.iter().filter(|fact| has_id(&fact.event)).map(|fact| fact.event.position.offset).min()
    }
}

/// The facts of one event of the batch.
fn of_event(facts: &[IdFact], index: u32) -> &[IdFact] {
    let start = facts.partition_point(|fact| fact.index < index);
    let end = facts.partition_point(|fact| fact.index <= index);
    facts.get(start..end).unwrap_or_default()
}

fn refusal(code: Code, detail: String) -> Refusal {
    Refusal { code, retry_after: None, detail }
}

fn refuse_all(code: Code, detail: String) -> BatchOutcome {
    BatchOutcome::Refused(refusal(code, detail))
}

fn refuse_gap(batch: &PublishBatch, expected: crate::ids::Sequence) -> BatchOutcome {
    let detail =
        format!("stream {} expects batch {expected} and got {}; resend from there", batch.stream, batch.sequence);
    refuse_all(Code::Gap, detail)
}
