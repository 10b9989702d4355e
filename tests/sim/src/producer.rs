//! A producer of the simulated bus: publishes numbered events in batches, pipelined, and sends again what was left in doubt.
//!
//! It sees only what a client sees: receipts. Its log of them is evidence for the checks. Invariant: it pins a key to a stream, sends
//! the events of a key in the order of their numbers, and an unconfirmed batch again before any newer one of its stream.

use std::collections::{BTreeMap, VecDeque};

use bugle_core::code::Code;
use bugle_core::event::{Class, Timing};
use bugle_core::ids::{Offset, ProducerEpoch, Sequence, SessionId, StreamId};
use bugle_core::publish::{BatchOutcome, BatchResult, OpenSession, Opened, PublishBatch, Refusal, Try};
use bugle_core::time::{Millis, Timestamp};
use bugle_random::Random;

use crate::events::Attributes;
use crate::rule::{self, Checked, broken, must};

/// So many of a hundred events are to be delivered later.
const SCHEDULED_PERCENT: u64 = 12;
/// So many of a hundred events with a key take the place of the scheduled ones of it.
const REPLACING_PERCENT: u64 = 8;
/// So many of a hundred events are of no use from some time on.
const EXPIRING_PERCENT: u64 = 15;
/// At most so much later: most attempts come before that, and the others not at all.
const TTL_MS_MAX: u64 = 6_000;
/// At most so much later: some are due before they are stored, some after a restart.
const AHEAD_MS_MAX: u64 = 4_000;

/// Batches on the way at once.
const BATCHES_OUTSTANDING_MAX: usize = 4;

/// Streams of a producer, each with the keys that are pinned to it.
const STREAMS: [&[Option<&str>]; 2] = [&[None, Some("a"), Some("b")], &[Some("c"), Some("d")]];

/// One batch that has no receipt yet.
#[derive(Clone, Debug)]
struct Outstanding {
    stream: StreamId,
    sequence: Sequence,
    numbers: Vec<u64>,
    /// Its events are old ids with new content.
    is_forged: bool,
}

/// An event as it was made, however often it is sent.
#[derive(Clone, Debug)]
struct Planned {
    key: Option<String>,
    class: Class,
    timing: Timing,
    /// It was made with an expirytime or a delivertime.
    is_timed: bool,
    /// The call that published it, or published it again after it was refused; an unanswered batch that is sent again is none.
    called: u64,
    /// The session that told of its first refusal.
    refused_in: Option<SessionId>,
    /// The session that confirmed it.
    confirmed_in: Option<SessionId>,
}

impl Planned {
    fn new(key: Option<String>, class: Class, timing: Timing) -> Planned {
        let is_timed = timing.expires.is_some() || timing.deliver_at.is_some();
        Planned { key, class, timing, is_timed, called: 0, refused_in: None, confirmed_in: None }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Producer {
    pub(crate) name: String,
    session: SessionId,
    is_open: bool,
    epoch: Option<ProducerEpoch>,
    next_sequence: [u64; STREAMS.len()],
    outstanding: VecDeque<Outstanding>,
    resends: Vec<PublishBatch>,
    /// Calls that published something.
    calls: u64,
    /// Each event it made.
    planned: Vec<Planned>,
    /// Number and place of each confirmed event.
    pub(crate) confirmed: BTreeMap<u64, Offset>,
}

impl Producer {
    pub(crate) fn new(number: u64) -> Producer {
        Producer {
            name: format!("producer-{number}"),
            session: SessionId(0),
            is_open: false,
            epoch: None,
            next_sequence: [1; STREAMS.len()],
            outstanding: VecDeque::new(),
            resends: Vec::new(),
            calls: 0,
            planned: Vec::new(),
            confirmed: BTreeMap::new(),
        }
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.is_open || !self.outstanding.is_empty()
    }

    /// Events it made so far.
    pub(crate) fn made(&self) -> u64 {
        self.planned.len() as u64
    }

    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    /// A new connection, of a new life if it has forgotten the old one.
    pub(crate) fn hello(&mut self, connection: u64, has_forgotten: bool) -> OpenSession {
        self.session = SessionId(connection);
        self.is_open = false;
        let epoch = self.epoch.filter(|_| !has_forgotten);
        OpenSession { session: self.session, producer: self.name.as_str().into(), epoch }
    }

    /// The host answered the hello: what is in doubt goes out again.
    pub(crate) fn opened(&mut self, session: SessionId, opened: &Opened) -> Vec<PublishBatch> {
        if session != self.session {
            return Vec::new();
        }
        self.is_open = true;
        if self.epoch != Some(opened.epoch) {
            // A new life: sequences begin again.
            self.epoch = Some(opened.epoch);
            self.next_sequence = [1; STREAMS.len()];
            for batch in &mut self.outstanding {
                let next = &mut self.next_sequence[batch.stream.0 as usize];
                batch.sequence = Sequence(*next);
                *next += 1;
            }
        }
        self.outstanding.iter().map(|batch| self.batch(batch, Try::Retry)).collect()
    }

    /// A new batch, unless too many are on the way.
    pub(crate) fn publish(&mut self, now: Timestamp, random: &mut Random) -> Option<PublishBatch> {
        if !self.is_open || self.outstanding.len() >= BATCHES_OUTSTANDING_MAX {
            return None;
        }
        let stream = random.below(STREAMS.len() as u64) as usize;
        let mut numbers = Vec::new();
        for _ in 0..random.within(1, 5) {
            let key = *random.pick(STREAMS[stream]);
            let class = *random.pick(&[Class::Normal, Class::Normal, Class::Normal, Class::Critical]);
            numbers.push(self.made());
            let ahead = random.chance(SCHEDULED_PERCENT).then(|| Millis(random.within(0, AHEAD_MS_MAX)));
            let deliver_at = ahead.map(|ahead| now.after(ahead));
            let ttl = random.chance(EXPIRING_PERCENT).then(|| Millis(random.within(1, TTL_MS_MAX)));
            let timing = Timing {
                deliver_at,
                expires: ttl.map(|ttl| deliver_at.unwrap_or(now).after(ttl)),
                replaces_pending: key.is_some() && random.chance(REPLACING_PERCENT),
                ..Timing::default()
            };
            let key = key.map(|key| format!("{}/{key}", self.name));
            self.planned.push(Planned::new(key, class, timing));
        }
        self.call(&numbers);
        Some(self.send(stream, numbers, false))
    }

    /// One event of this key and class.
    pub(crate) fn publish_one(&mut self, key: &str, class: Class) -> Option<PublishBatch> {
        if !self.is_open || self.outstanding.len() >= BATCHES_OUTSTANDING_MAX {
            return None;
        }
        let number = self.made();
        self.planned.push(Planned::new(Some(key.to_owned()), class, Timing::default()));
        self.call(&[number]);
        Some(self.send(0, vec![number], false))
    }

    /// The id of an event that was confirmed, with other content.
    pub(crate) fn forge(&mut self, random: &mut Random) -> Option<PublishBatch> {
        if !self.is_open || self.outstanding.len() >= BATCHES_OUTSTANDING_MAX || self.confirmed.is_empty() {
            return None;
        }
        let (number, _) = self.confirmed.iter().nth(random.below(self.confirmed.len() as u64) as usize)?;
        // Without a key, since a refused event would hold back what follows it.
        let number = *number;
        Some(self.send(random.below(STREAMS.len() as u64) as usize, vec![number], true))
    }

    fn call(&mut self, numbers: &[u64]) {
        self.calls += 1;
        for number in numbers {
            self.planned[*number as usize].called = self.calls;
        }
    }

    /// Whether an event may be stored behind a later one: it was refused, and published again after that one was, and a new
    /// session lay between, which begins without the refusals of the last one.
    pub(crate) fn may_be_overtaken(&self, number: u64, by: u64) -> bool {
        let (event, by) = (&self.planned[number as usize], &self.planned[by as usize]);
        event.called > by.called && event.refused_in.is_some() && event.refused_in != by.confirmed_in
    }

    fn send(&mut self, stream: usize, numbers: Vec<u64>, is_forged: bool) -> PublishBatch {
        let sequence = Sequence(self.next_sequence[stream]);
        self.next_sequence[stream] += 1;
        let batch = Outstanding { stream: StreamId(stream as u32), sequence, numbers, is_forged };
        self.outstanding.push_back(batch.clone());
        self.batch(&batch, Try::First)
    }

    fn batch(&self, batch: &Outstanding, attempt: Try) -> PublishBatch {
        let event = |number: &u64| {
            let Planned { key, class, timing, .. } = &self.planned[*number as usize];
            let (key, data) = if batch.is_forged { (None, "forged") } else { (key.as_deref(), "") };
            let (id, source) = (&number.to_string(), &self.name);
            Ok(Attributes {
                id,
                source,
                key,
                class: *class,
                data,
                timing: if batch.is_forged { Timing::default() } else { *timing },
            }
            .event())
        };
        PublishBatch {
            session: self.session,
            stream: batch.stream,
            sequence: batch.sequence,
            attempt,
            topic: "orders".into(),
            events: batch.numbers.iter().map(event).collect(),
        }
    }

    /// Whether events were refused only for their times, since the host's clock is another one by now, and others because of those.
    fn is_of_another_time(&self, batch: &Outstanding, refused: &[(u32, Refusal)]) -> bool {
        let is_scheduled =
            |index: u32| self.planned[batch.numbers[index as usize] as usize].timing.deliver_at.is_some();
        let is_explained = |(index, refusal): &(u32, Refusal)| match refusal.code {
            Code::InvalidAttribute => is_scheduled(*index),
            // The first answer was a refusal for its time, or behind one, and nobody remembers it.
            Code::TooOld => self.planned.iter().any(|planned| planned.is_timed),
            Code::Expired => self.planned[batch.numbers[*index as usize] as usize].timing.expires.is_some(),
            code => code == Code::BehindRefused && self.planned.iter().any(|planned| planned.refused_in.is_some()),
        };
        let is_timing = |code: Code| matches!(code, Code::InvalidAttribute | Code::Expired | Code::TooOld);
        let is_first = refused.iter().any(|(_, refusal)| is_timing(refusal.code));
        !refused.is_empty()
            && refused
                .iter()
                .all(|refused| is_explained(refused) || (is_first && refused.1.code == Code::BehindRefused))
    }

    /// Sends the batch once more, to be delivered at once and whenever that is; what of it was stored is known.
    fn send_sooner(&mut self, batch: &Outstanding, refused: &[(u32, Refusal)]) -> Checked<Vec<(u64, Offset)>> {
        for (index, _) in refused.iter().filter(|(_, refusal)| refusal.code != Code::BehindRefused) {
            let timing = &mut self.planned[batch.numbers[*index as usize] as usize].timing;
            (timing.deliver_at, timing.expires) = (None, None);
        }
        let refused: Vec<u64> = refused.iter().map(|(index, _)| batch.numbers[*index as usize]).collect();
        for number in &refused {
            self.planned[*number as usize].refused_in.get_or_insert(self.session);
        }
        self.call(&refused);
        let again = self.send(batch.stream.0 as usize, batch.numbers.clone(), false);
        self.resends.push(again);
        Ok(Vec::new())
    }

    /// Batches that have to go out once more.
    pub(crate) fn take_resends(&mut self) -> Vec<PublishBatch> {
        std::mem::take(&mut self.resends)
    }

    /// The place of an event that it knows to be stored, so that it does not send it again.
    pub(crate) fn pick_confirmed(&self, random: &mut Random) -> Option<Offset> {
        let len = self.confirmed.len() as u64;
        let at = random.below(len.max(1)) as usize;
        self.confirmed.values().nth(at).copied()
    }

    /// A receipt came, for this session.
    pub(crate) fn receipt(&mut self, session: SessionId, result: &BatchResult) -> Checked<Vec<(u64, Offset)>> {
        if session != self.session {
            return Ok(Vec::new());
        }
        let is_its = |batch: &Outstanding| batch.stream == result.stream && batch.sequence == result.sequence;
        let Some(at) = self.outstanding.iter().position(is_its) else {
            let what = format!("{}: a receipt for batch {} that is not waiting", self.name, result.sequence);
            return broken(rule::RECEIPT_OF_EACH, what);
        };
        let batch = self.outstanding.remove(at).expect("its place was just found");
        let BatchOutcome::Stored { first, stored, duplicates, refused } = &result.outcome else {
            return broken(rule::RECEIPT_OF_EACH, format!("{}: refused: {:?}", self.name, result.outcome));
        };
        if batch.is_forged {
            let is_refused = refused.iter().all(|(_, refusal)| refusal.code == Code::IdReused) && refused.len() == 1;
            let what = || format!("{}: {:?} with other content: {:?}", self.name, batch.numbers, result.outcome);
            return must(rule::CONTENT_IS_COMPARED, is_refused, what).map(|()| Vec::new());
        }
        if self.is_of_another_time(&batch, refused) {
            return self.send_sooner(&batch, refused);
        }
        if let Some((_, refusal)) = refused.first() {
            return broken(rule::RECEIPT_OF_EACH, format!("{}: an event was refused: {refusal:?}", self.name));
        }
        let is_whole = *stored as usize + duplicates.len() == batch.numbers.len();
        must(rule::RECEIPT_OF_EACH, is_whole, || format!("{}: {:?} for {batch:?}", self.name, result.outcome))?;
        let mut next = first.map_or(0, |position| position.offset.0);
        let mut places = Vec::new();
        for (index, number) in batch.numbers.iter().enumerate() {
            let duplicate = duplicates.iter().find(|(at, _)| *at as usize == index);
            let offset = duplicate.map_or(Offset(next), |(_, position)| position.offset);
            next += u64::from(duplicate.is_none());
            self.confirmed.insert(*number, offset);
            self.planned[*number as usize].confirmed_in.get_or_insert(session);
            places.push((*number, offset));
        }
        Ok(places)
    }
}
