//! One batch of a producer: sequence, whole-batch limits, then a verdict for each event in turn.
//!
//! Knows nothing of how candidates were found. Invariant: a batch that is refused as a whole leaves nothing but keys that wait, and
//! one that is not uses up its sequence.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::evidence::may_be_forgotten;
use super::ids::IdPlace;
use super::life::Step;
use super::{Admission, BATCH_EVENTS_MAX, IdFact, IdLookup, Probe};
use crate::code::Code;
use crate::event::{ERASED_KIND, Event, StoredEvent};
use crate::ids::{Name, Offset, Position, SessionId, StreamId, TopicId};
use crate::origin::is_reserved;
use crate::publish::{BatchOutcome, BatchResult, PublishBatch, Refusal, Try};
use crate::schedule::{AHEAD_MAX, REPLACED_EVENTS_MAX, ScheduledName, ScheduledQuery};
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
struct Frame<'p> {
    session: SessionId,
    stream: StreamId,
    topic: TopicId,
    topic_name: Name,
    attempt: Try,
    now: Timestamp,
    /// First offset an event of the producer's life can have.
    life_first: Offset,
    /// The batch was processed before: nothing of it is stored now.
    is_repeated: bool,
    /// Scheduled events that events of the batch replace, by index.
    replaced: &'p [(u32, Vec<StoredEvent>)],
}

impl Frame<'_> {
    fn replaced_by(&self, index: u32) -> &[StoredEvent] {
        self.replaced.iter().find(|(at, _)| *at == index).map_or(&[], |(_, found)| found)
    }
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
        Probe { topic: Some(topic), hashes, lookups, replaced: Vec::new() }
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
            Step::Repeated(Some(result)) => {
                self.hold_again(&batch, &result.outcome);
                return result;
            }
            Step::Repeated(None) => true,
            Step::Gap(expected) => return answer(refuse_gap(&batch, expected)),
            Step::TooManyStreams => {
                // No key waits: nothing of this stream is ever stored in this life, and a key is pinned to its stream.
                let detail = format!("the producer has {} streams; use fewer", super::life::STREAMS_MAX);
                return answer(refuse_all(Code::Quota, detail));
            }
        };
        let topic = match check_whole(&batch, probe) {
            Ok(topic) => topic,
            Err(refusal) => {
                if !is_repeated {
                    self.hold_all(&batch);
                }
                return answer(BatchOutcome::Refused(refusal));
            }
        };
        let frame = Frame {
            session: batch.session,
            stream,
            topic,
            topic_name: batch.topic,
            attempt: batch.attempt,
            now,
            life_first: self.lives.get(life).first,
            is_repeated,
            replaced: &probe.replaced,
        };
        let mut verdicts = Verdicts::default();
        for ((index, event), hash) in (0..).zip(batch.events).zip(&probe.hashes) {
            match event {
                Ok(event) => {
                    let facts = of_event(facts, index);
                    self.decide(&frame, index, event, *hash, facts, &mut verdicts, writes);
                }
                Err(unreadable) => {
                    if let Some(session) = self.sessions.get_mut(&frame.session) {
                        session.refused.hold_unreadable(stream, &frame.topic_name, &unreadable);
                    }
                    verdicts.refused.push((index, unreadable.refusal));
                }
            }
        }
        let Verdicts { first, stored, duplicates, refused } = verdicts;
        let result = answer(BatchOutcome::Stored { first, stored, duplicates, refused });
        if !is_repeated {
            self.lives.reached(life, &result);
        }
        result
    }

    /// Refuses a batch that the driver can't store, for a full disk say, if it is the next one of its stream; its keys wait as
    /// after any other refusal. `None` for any other batch, of which [`publish`](Self::publish) stores nothing.
    pub fn refuse(&mut self, batch: &PublishBatch, refusal: Refusal) -> Option<BatchResult> {
        let life = self.sessions.get(&batch.session)?.life;
        match self.lives.step(life, batch.stream, batch.sequence) {
            Step::Next => {}
            Step::Repeated(_) | Step::Gap(_) | Step::TooManyStreams => return None,
        }
        self.hold_all(batch);
        let outcome = BatchOutcome::Refused(refusal);
        Some(BatchResult { stream: batch.stream, sequence: batch.sequence, outcome })
    }

    /// The whole batch was refused: each of its keys waits for its first event.
    fn hold_all(&mut self, batch: &PublishBatch) {
        let Some(session) = self.sessions.get_mut(&batch.session) else { return };
        for event in &batch.events {
            session.refused.hold_any(batch.stream, &batch.topic, event);
        }
    }

    /// A result is told again, perhaps in a new session that knows nothing of its refusals; what comes after it in this session
    /// waits for them all the same.
    fn hold_again(&mut self, batch: &PublishBatch, outcome: &BatchOutcome) {
        let (BatchOutcome::Stored { refused, .. }, Some(session)) = (outcome, self.sessions.get_mut(&batch.session))
        else {
            return;
        };
        for event in refused.iter().filter_map(|(index, _)| batch.events.get(*index as usize)) {
            session.refused.hold_any(batch.stream, &batch.topic, event);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one event's verdict, each of another owner")]
    fn decide(
        &mut self,
        frame: &Frame<'_>,
        index: u32,
        event: Event,
        hash: u64,
        facts: &[IdFact],
        verdicts: &mut Verdicts,
        writes: &mut Vec<Write>,
    ) {
        let verdict = self.verdict(frame, index, &event, hash, facts);
        if let Some(session) = self.sessions.get_mut(&frame.session) {
            match &verdict {
                Ok(_) => session.refused.stored(&frame.topic_name, &event),
                Err(_) => session.refused.hold(frame.stream, &frame.topic_name, &event),
            }
        }
        match verdict {
            Ok(Some(position)) => verdicts.duplicates.push((index, position)),
            Ok(None) => {
                let replaces = event.timing().replaces_pending.then(|| event.clone());
                let position = self.store(frame.now, frame.topic, event, hash, writes);
                if let Some(key) = replaces.as_ref().and_then(Event::key) {
                    let query = ScheduledQuery { topic: frame.topic, name: ScheduledName::Key(key) };
                    self.replace(frame.now, position, query, frame.replaced_by(index).to_vec(), writes);
                }
                verdicts.first.get_or_insert(position);
                verdicts.stored += 1;
            }
            Err(refusal) => verdicts.refused.push((index, refusal)),
        }
    }

    /// Position of the first copy, nothing for an event to be stored, or why not. A copy is told wherever its repeat comes: it
    /// is stored, so it can overtake nothing any more.
    fn verdict(
        &self,
        frame: &Frame<'_>,
        index: u32,
        event: &Event,
        hash: u64,
        facts: &[IdFact],
    ) -> Result<Option<Position>, Refusal> {
        let at = |offset| Position { slot: self.slot, offset };
        let session = self.sessions.get(&frame.session);
        let behind = session.and_then(|session| session.refused.holds_back(frame.stream, &frame.topic_name, event));
        match (self.known(frame.topic, event, hash, facts), behind) {
            (Known::Duplicate(offset), _) => Ok(Some(at(offset))),
            (Known::Reused(_) | Known::Nothing, Some(detail)) => Err(refusal(Code::BehindRefused, detail)),
            (Known::Reused(offset), None) => {
                let first = at(offset);
                let detail = format!("source and id were stored at {first} with other content; use a new id");
                Err(refusal(Code::IdReused, detail))
            }
            (Known::Nothing, None) if frame.is_repeated => {
                Err(refusal(Code::TooOld, "the batch was processed long ago and its results are forgotten".into()))
            }
            (Known::Nothing, None) if frame.attempt == Try::Retry && self.is_too_old(frame, event) => Err(refusal(
                Code::TooOld,
                "the id window no longer reaches back to the first attempt; check, then use a new id".into(),
            )),
            (Known::Nothing, None) => {
                check_new(event, frame.now)?;
                check_replaced(event, frame.replaced_by(index).len())?;
                Ok(None)
            }
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
        for fact in facts.iter().filter(|fact| fact.event.position.offset >= self.window.known_from()) {
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

    fn is_too_old(&self, frame: &Frame<'_>, event: &Event) -> bool {
        may_be_forgotten(event, frame.life_first, self.window.forgotten(), frame.now)
    }

    /// For [`query`](super::query): the position of a stored event with this id, whatever its bytes.
    pub(super) fn first_with_id(&self, topic: TopicId, source: &str, id: &str, facts: &[IdFact]) -> Option<Offset> {
        let has_id =
            |stored: &StoredEvent| stored.topic == topic && stored.event.source() == source && stored.event.id() == id;
        facts.iter().filter(|fact| has_id(&fact.event)).map(|fact| fact.event.position.offset).min()
    }
}

fn check_whole(batch: &PublishBatch, probe: &Probe) -> Result<TopicId, Refusal> {
    let count = batch.events.len();
    if count == 0 || count > BATCH_EVENTS_MAX {
        let detail = format!("a batch has 1 to {BATCH_EVENTS_MAX} events, this one has {count}");
        return Err(refusal(Code::InvalidBatch, detail));
    }
    if is_reserved(&batch.topic) {
        let detail = format!("topic `{}` is written by the host alone; publish to a topic of your own", batch.topic);
        return Err(refusal(Code::Denied, detail));
    }
    let Some(topic) = probe.topic else {
        let detail = format!("topic `{}` does not exist; create it first", batch.topic);
        return Err(refusal(Code::UnknownTopic, detail));
    };
    // A probe of another batch would pair events with wrong hashes.
    assert!(probe.hashes.len() == count, "the probe is of another batch");
    Ok(topic)
}

/// Whether the event is one that producers send, and may be delivered when it wants to be. Asked for new events only: a repeat gets the answer of the first.
fn check_new(event: &Event, now: Timestamp) -> Result<(), Refusal> {
    if event.kind() == ERASED_KIND {
        let detail = format!("events of type `{ERASED_KIND}` are written by the host alone; use another type");
        return Err(refusal(Code::Denied, detail));
    }
    if event.timing().deliver_at.is_some_and(|at| at > now.after(AHEAD_MAX)) {
        let days = AHEAD_MAX.0 / (24 * 3600 * 1000);
        let detail = format!("`delivertime` is more than {days} days ahead; publish the event later");
        return Err(refusal(Code::InvalidAttribute, detail));
    }
    if event.is_expired(now) {
        let detail = "its `expirytime` has passed, so nobody would get it; publish it with a later one, or not at all";
        return Err(refusal(Code::Expired, detail.into()));
    }
    let timing = event.timing();
    if timing.expires.is_some_and(|expires| timing.deliver_at.is_some_and(|at| expires <= at)) {
        let detail = "its `expirytime` is not after its `delivertime`, so nobody would get it; set a later one";
        return Err(refusal(Code::InvalidAttribute, detail.into()));
    }
    Ok(())
}

/// Whether the event may replace what it wants to: `found` scheduled events.
fn check_replaced(event: &Event, found: usize) -> Result<(), Refusal> {
    if !event.timing().replaces_pending {
        return Ok(());
    }
    if event.key().is_none() {
        let detail = "`replaces` needs an ordering key: set `partitionkey`".into();
        return Err(refusal(Code::InvalidAttribute, detail));
    }
    if found > REPLACED_EVENTS_MAX {
        let detail =
            format!("more than {REPLACED_EVENTS_MAX} events of its key are scheduled; cancel them by key first");
        return Err(refusal(Code::Quota, detail));
    }
    Ok(())
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
