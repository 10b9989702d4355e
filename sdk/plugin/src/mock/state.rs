//! The mock's state: what is committed, and the transactions of the deliveries that run.
//!
//! It mirrors the contract's rules for buffers and claims: confirm commits what was buffered since the claim
//! opened, release discards it, an ack commits the rest, anything else discards it.

use super::Verdict;
use super::reply::{MailReply, Reply};
use crate::host::wit;
use crate::raw::reconciling::exports::bugle::plugin::reconcile::{Answer, Doubt};
use crate::{Failure, Outcome};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use wit::types::{Delivery, Error, NewEvent};

/// Where virtual time starts: 2026-11-01T00:00:00Z.
pub(super) const START: u64 = 1_793_491_200_000;

#[derive(Debug)]
pub(super) struct State {
    pub(super) now: u64,
    pub(super) config: BTreeMap<String, String>,
    pub(super) secrets: BTreeMap<String, Vec<u8>>,
    pub(super) denied: BTreeSet<String>,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) replies: VecDeque<Reply>,
    pub(super) mail_replies: VecDeque<MailReply>,
    pub(super) requests: Vec<wit::http::Request>,
    pub(super) mails: Vec<wit::mail::Message>,
    pub(super) published: Vec<NewEvent>,
    /// With the id of the event they are about.
    pub(super) notes: Vec<(String, wit::records::SendNote)>,
    pub(super) logs: Vec<String>,
    pub(super) paused: Option<String>,
    pub(super) claims: BTreeMap<String, Slot>,
    /// The deliveries of the call that runs, in their order.
    pub(super) live: Vec<Live>,
    /// The call is one of a batch channel: verdicts take effect at once.
    pub(super) settles_at_call: bool,
    pub(super) asked: Option<Asked>,
    /// Timers that wait: when, and what with.
    pub(super) timers: BTreeMap<String, (u64, Vec<u8>)>,
    /// Those that fire, until they are acked or given up.
    pub(super) firing: BTreeMap<String, Vec<u8>>,
    kv: BTreeMap<String, Stored>,
    attempts: BTreeMap<String, u32>,
    counter: u64,
}

/// The delivery that runs.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) delivery: Delivery,
    pub(super) verdict: Option<Result<(), Failure>>,
    pub(super) open: Vec<Open>,
    pub(super) writes: Vec<Write>,
    pub(super) events: Vec<NewEvent>,
    pub(super) pause: Option<String>,
}

impl Live {
    /// A delivery whose verdict took effect: nothing of it is left to commit.
    fn settled(delivery: Delivery, verdict: Outcome) -> Live {
        let (open, writes, events) = (Vec::new(), Vec::new(), Vec::new());
        Live { delivery, verdict: Some(verdict), open, writes, events, pause: None }
    }
}

/// What kind of verdict, for `settled`.
fn discriminant(verdict: &Outcome) -> Option<std::mem::Discriminant<Failure>> {
    verdict.as_ref().err().map(std::mem::discriminant)
}

/// A claim this delivery holds, and where its nested transaction starts.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: u64,
    pub(super) key: String,
    pub(super) uncertain: bool,
    pub(super) maybe_sent: bool,
    pub(super) keep: u64,
    writes_from: usize,
    events_from: usize,
}

/// The plugin's `reconcile`.
#[derive(Clone)]
pub(super) struct Asked(pub(super) Rc<dyn Fn(Delivery, Doubt) -> Answer>);

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asked")
    }
}

/// What is known of a claim key.
#[derive(Debug)]
pub(super) enum Slot {
    Held,
    Uncertain,
    Done { receipt: Option<Vec<u8>>, until: u64 },
}

#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) value: Vec<u8>,
    pub(super) version: u64,
    expires: u64,
}

#[derive(Debug, Clone)]
pub(super) enum Write {
    Put { key: String, value: Vec<u8>, ttl: Option<u64> },
    Delete { key: String },
    Add { key: String, delta: i64, ttl: Option<u64> },
    SetTimer { name: String, at: u64, data: Vec<u8> },
    CancelTimer { name: String },
}

impl Default for State {
    fn default() -> Self {
        Self {
            now: START,
            config: BTreeMap::new(),
            secrets: BTreeMap::new(),
            denied: BTreeSet::new(),
            attributes: BTreeMap::new(),
            replies: VecDeque::new(),
            mail_replies: VecDeque::new(),
            requests: Vec::new(),
            mails: Vec::new(),
            published: Vec::new(),
            notes: Vec::new(),
            logs: Vec::new(),
            paused: None,
            claims: BTreeMap::new(),
            live: Vec::new(),
            settles_at_call: false,
            asked: None,
            timers: BTreeMap::new(),
            firing: BTreeMap::new(),
            kv: BTreeMap::new(),
            attempts: BTreeMap::new(),
            counter: 0,
        }
    }
}

pub(super) fn error(code: &str, message: impl Into<String>) -> Error {
    Error { code: code.to_owned(), message: message.into(), retry_after: None }
}

impl State {
    /// Start the next attempt of a delivery under a ticket never used before.
    pub(super) fn start(&mut self, mut delivery: Delivery) -> Delivery {
        let attempt = self.attempts.entry(delivery.event.id.clone()).or_default();
        *attempt += 1;
        delivery.attempt = *attempt;
        delivery.ticket = self.next();
        delivery.deadline += self.now - START;
        self.live.push(Live {
            delivery: delivery.clone(),
            verdict: None,
            open: Vec::new(),
            writes: Vec::new(),
            events: Vec::new(),
            pause: None,
        });
        delivery
    }

    pub(super) fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// The running delivery, if the ticket is its own and it has no verdict.
    pub(super) fn working(&mut self, ticket: u64) -> Result<&mut Live, Error> {
        let live = self.known(ticket)?;
        match live.verdict {
            None => Ok(live),
            Some(_) => Err(error("settled", "this delivery has its verdict")),
        }
    }

    /// The running delivery, if the ticket is its own.
    pub(super) fn known(&mut self, ticket: u64) -> Result<&mut Live, Error> {
        let live = self.live.iter_mut().find(|live| live.delivery.ticket == ticket);
        live.ok_or_else(|| error("stale", format!("ticket {ticket} is not live in this call")))
    }

    pub(super) fn granted(&self, what: &str, line: &str) -> Result<(), Error> {
        if self.denied.contains(what) {
            return Err(error("denied", format!("denied: {what} - add {line} in plugin.toml")));
        }
        Ok(())
    }

    /// Something left the machine without a complete answer.
    pub(super) fn mark_maybe_sent(&mut self, ticket: u64) {
        for open in self.known(ticket).into_iter().flat_map(|live| &mut live.open) {
            open.maybe_sent = true;
        }
    }

    /// A verdict by import: the first one stands, and the same one again is no mistake.
    pub(super) fn settle(&mut self, ticket: u64, verdict: Outcome) -> Result<(), Error> {
        let at_call = self.settles_at_call;
        let live = self.known(ticket)?;
        match &live.verdict {
            Some(first) if discriminant(first) == discriminant(&verdict) => return Ok(()),
            Some(_) => return Err(error("settled", "this delivery has its verdict")),
            None => live.verdict = Some(verdict.clone()),
        }
        if at_call {
            let effects = std::mem::replace(live, Live::settled(live.delivery.clone(), verdict.clone()));
            drop(self.take_effect(effects, verdict));
        }
        Ok(())
    }

    /// End the first attempt of the call with what the handler returned for it.
    pub(super) fn finish(&mut self, returned: Outcome) -> Verdict {
        let mut live = self.live.remove(0);
        let verdict = live.verdict.take().unwrap_or(returned);
        self.take_effect(live, verdict)
    }

    fn take_effect(&mut self, mut live: Live, verdict: Outcome) -> Verdict {
        let unknown = matches!(verdict, Err(Failure::Unknown(_)));
        self.close_claims(&live, unknown);
        self.paused = live.pause.take().or(self.paused.take());
        match verdict {
            Ok(()) => {
                self.commit(live.writes, live.events);
                Verdict::Acked
            }
            Err(failure) => Verdict::Failed(failure),
        }
    }

    /// End the first attempt of the call as a crash: whatever was open may have been sent. A verdict that took effect stands.
    pub(super) fn crash(&mut self) -> Verdict {
        let live = self.live.remove(0);
        match live.verdict {
            Some(verdict) if self.settles_at_call => verdict.map_or_else(Verdict::Failed, |()| Verdict::Acked),
            Some(_) | None => {
                self.close_claims(&live, false);
                Verdict::Crashed
            }
        }
    }

    /// The question to the plugin that comes before this claim, if the policy is to ask.
    pub(super) fn question(&self, ticket: u64, key: &str) -> Option<(Asked, Delivery)> {
        let asks = self.attributes.get("uncertain").is_some_and(|policy| policy == "ask");
        let is_uncertain = matches!(self.claims.get(key), Some(Slot::Uncertain));
        let live = self.live.iter().find(|live| live.delivery.ticket == ticket)?;
        self.asked.clone().filter(|_| asks && is_uncertain).map(|asked| (asked, live.delivery.clone()))
    }

    pub(super) fn reconciled(&mut self, key: &str, keep: u64, answer: Answer) -> Result<(), Error> {
        match answer {
            Answer::Done(receipt) => {
                let until = self.now.saturating_add(keep);
                self.claims.insert(key.to_owned(), Slot::Done { receipt, until });
            }
            Answer::NotSent => drop(self.claims.remove(key)),
            Answer::Unknown(reason) => {
                return Err(error("uncertain", format!("it is not known whether it was done: {reason}")));
            }
        }
        Ok(())
    }

    fn close_claims(&mut self, live: &Live, unknown: bool) {
        for open in &live.open {
            if unknown || open.maybe_sent || open.uncertain {
                self.claims.insert(open.key.clone(), Slot::Uncertain);
            }
        }
    }

    pub(super) fn open_claim(&mut self, ticket: u64, key: &str, uncertain: bool, keep: u64) -> Result<u64, Error> {
        let id = self.next();
        let live = self.working(ticket)?;
        let (writes_from, events_from) = (live.writes.len(), live.events.len());
        live.open.push(Open { id, key: key.to_owned(), uncertain, maybe_sent: false, keep, writes_from, events_from });
        Ok(id)
    }

    /// Take an open claim out of the delivery, with what was buffered since it opened.
    pub(super) fn close_claim(&mut self, id: u64) -> Result<(Open, Vec<Write>, Vec<NewEvent>), Error> {
        let unknown = || error("stale", format!("claim {id} is not open in this call"));
        let is_open = |live: &&mut Live| live.open.iter().any(|open| open.id == id);
        let live = self.live.iter_mut().find(is_open).ok_or_else(unknown)?;
        let place = live.open.iter().position(|open| open.id == id).ok_or_else(unknown)?;
        let open = live.open.remove(place);
        let writes = live.writes.split_off(open.writes_from.min(live.writes.len()));
        let events = live.events.split_off(open.events_from.min(live.events.len()));
        Ok((open, writes, events))
    }

    pub(super) fn commit(&mut self, writes: Vec<Write>, events: Vec<NewEvent>) {
        for write in writes {
            let version = self.next();
            match write {
                Write::SetTimer { name, at, data } => drop(self.timers.insert(name, (at, data))),
                Write::CancelTimer { name } => drop(self.timers.remove(&name)),
                write => apply(&mut self.kv, write, self.now, version),
            }
        }
        self.published.extend(events);
    }

    /// Committed entries that have not expired.
    pub(super) fn committed(&self) -> impl Iterator<Item = (&String, &Stored)> {
        self.kv.iter().filter(|(_, stored)| stored.expires > self.now)
    }

    /// Whether a timer waits as the delivery sees it.
    pub(super) fn has_timer(&self, ticket: u64, name: &str) -> bool {
        let own = self.live.iter().filter(|live| live.delivery.ticket == ticket);
        let changes = own.flat_map(|live| live.writes.iter());
        let mut latest = changes.filter_map(|write| match write {
            Write::SetTimer { name: set, .. } if set == name => Some(true),
            Write::CancelTimer { name: ended } if ended == name => Some(false),
            _ => None,
        });
        latest.next_back().unwrap_or_else(|| self.timers.contains_key(name))
    }

    /// The store as the delivery sees it: its own writes on top, as version 0.
    pub(super) fn seen(&self, ticket: u64) -> BTreeMap<String, Stored> {
        let mut seen: BTreeMap<_, _> = self.committed().map(|(key, stored)| (key.clone(), stored.clone())).collect();
        let own = self.live.iter().filter(|live| live.delivery.ticket == ticket);
        for write in own.flat_map(|live| live.writes.iter().cloned()) {
            apply(&mut seen, write, self.now, 0);
        }
        seen
    }
}

fn apply(kv: &mut BTreeMap<String, Stored>, write: Write, now: u64, version: u64) {
    let expires = |ttl: Option<u64>| ttl.map_or(u64::MAX, |ttl| now.saturating_add(ttl));
    match write {
        Write::SetTimer { .. } | Write::CancelTimer { .. } => {}
        Write::Put { key, value, ttl } => {
            kv.insert(key, Stored { value, version, expires: expires(ttl) });
        }
        Write::Delete { key } => {
            kv.remove(&key);
        }
        Write::Add { key, delta, ttl } => {
            let stored = kv.get(&key).filter(|stored| stored.expires > now);
            let text = stored.and_then(|stored| std::str::from_utf8(&stored.value).ok());
            let sum = text.and_then(|text| text.parse::<i64>().ok()).unwrap_or(0).saturating_add(delta);
            kv.insert(key, Stored { value: sum.to_string().into_bytes(), version, expires: expires(ttl) });
        }
    }
}
