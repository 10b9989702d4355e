//! The words of `explain`: what a machine said, as sentences with times.
//!
//! Pure, so that every state is tested without a host. Knows nothing of where the answer goes.

use bugle_broker::Ending;
use bugle_core::event::Class;
use bugle_core::ids::{Offset, Position};
use bugle_core::row::{
    AttemptNote, DeadRow, DeadState, LetGoRow, LetGoWhy, RecordRow, RecordStatus, UnknownRow, UnknownState,
};
use bugle_core::subscription::{Bound, Explained, Gate, LaneExplained, Standing};
use bugle_core::time::Timestamp;

use crate::api::{EventHead, ExplanationView};
use crate::host::status::position as text_of;
use crate::moment;

/// What must be known beside the machine's answer.
pub(super) struct Told {
    pub(super) subscription: String,
    /// Names of the topics it covers.
    pub(super) topics: Vec<String>,
    /// First offset it looked at.
    pub(super) started_at: Offset,
    /// Whether it keeps a send record of each delivery.
    pub(super) has_records: bool,
    pub(super) now: Timestamp,
}

impl Told {
    /// Where an event is.
    pub(super) fn event(
        &self,
        position: Position,
        head: &EventHead,
        explained: &Explained,
        ending: Option<&Ending>,
    ) -> ExplanationView {
        let mut view = match ending {
            Some(ending) => self.ending(ending),
            None => self.standing(position.offset, Some(head), explained),
        };
        view.subscription.clone_from(&self.subscription);
        if view.state == "waiting" && view.until.is_some() && view.until == head.expires {
            view.next = "it expires then, without another attempt".to_owned();
        }
        view.why.extend(explained.gates.iter().map(|gate| self.gate(gate)));
        view
    }

    /// What the lane of a key is doing.
    pub(super) fn lane(&self, key: &str, class: Class, lane: &LaneExplained) -> ExplanationView {
        let mut view = match &lane.head {
            None => ExplanationView::default(),
            Some((offset, explained)) => {
                let mut view = self.standing(*offset, None, explained);
                view.why.extend(explained.gates.iter().map(|gate| self.gate(gate)));
                view
            }
        };
        if let Some(until) = lane.held {
            let held = self.held(until);
            (view.state, view.next, view.until) = (held.state, held.next, held.until);
            view.why = held.why;
        }
        if lane.on_disk.is_some() && lane.head.is_none() {
            view.state = "waiting".to_owned();
            view.next = "the first of them is tried again when its time has come, or when a person decides".to_owned();
        }
        view.head = lane.head.as_ref().map(|(offset, _)| text_of(*offset));
        let count = match lane.beyond {
            None if lane.on_disk.is_some() => {
                format!("the first event of key `{key}` waits on disk, and the others behind it")
            }
            None => format!("{} events of key `{key}` are read and not settled", lane.queued),
            Some(beyond) => {
                format!("{} events of key `{key}` are queued, and more from {} on", lane.queued, text_of(beyond))
            }
        };
        view.why.insert(0, count);
        ExplanationView {
            subscription: self.subscription.clone(),
            class: Some(class.word().to_owned()),
            queued: Some(lane.queued as u64),
            ..view
        }
    }

    fn standing(&self, offset: Offset, head: Option<&EventHead>, explained: &Explained) -> ExplanationView {
        let key = head.and_then(|head| head.key.as_deref()).unwrap_or_default();
        match &explained.standing {
            Standing::NotCovered => {
                let topic = head.map(|head| head.topic.as_str()).unwrap_or_default();
                let why = format!("it covers {}, not `{topic}`", list(&self.topics));
                over("not-covered", why, "nothing: it is not delivered here")
            }
            Standing::FilteredOut => {
                over("filtered-out", "its filter does not want the event", "nothing: it is not delivered here")
            }
            Standing::Settled if offset < self.started_at => {
                let why = format!("the subscription began at {}", text_of(self.started_at));
                over("before-start", why, "nothing: it is not delivered here")
            }
            Standing::Settled => over("settled", self.without_record(), "nothing: it is done"),
            Standing::Unread { read } => ExplanationView {
                why: vec![format!("everything below {} has been read", text_of(*read))],
                next: format!("it is read after {} more", events(offset.0.saturating_sub(read.0))),
                ..state("unread")
            },
            Standing::Queued { head, ahead, standing } => self.queued(key, *head, *ahead, standing, explained),
            Standing::Held { until } => self.held(*until),
            Standing::Ready { ahead } => ExplanationView {
                why: vec![match ahead {
                    0 => "it is the next to start".to_owned(),
                    ahead => format!("{} before it", start(*ahead)),
                }],
                next: "its next attempt starts as soon as there is a free place".to_owned(),
                ..state("ready")
            },
            Standing::InFlight { attempt, since, until } => ExplanationView {
                why: vec![format!("attempt {attempt} of {} is with the plugin", explained.attempts_max)],
                next: format!("the attempt ends, at the latest {}", self.when(*until)),
                since: Some(moment::text(*since)),
                until: Some(moment::text(*until)),
                attempt: Some(attempt.0),
                ..state("in-flight")
            },
            Standing::Waiting { .. }
            | Standing::Parked { .. }
            | Standing::OnDisk { .. }
            | Standing::BehindOnDisk { .. }
            | Standing::Behind
            | Standing::Degraded
            | Standing::Expiring
            | Standing::GivingUp { .. }
            | Standing::Unaccounted => self.standing_still(key, explained),
        }
    }

    /// What does not move by itself just now: it was tried, or waits behind something that is not in memory.
    fn standing_still(&self, key: &str, explained: &Explained) -> ExplanationView {
        match &explained.standing {
            Standing::Waiting { due, spent, refusals, last } => {
                self.waiting(*due, *spent, *refusals, last.as_ref(), explained.attempts_max)
            }
            Standing::Parked { spent, last } => ExplanationView {
                why: vec![match last {
                    Some(note) => format!("its key waits for a person after {spent} attempts: {}", note.reason),
                    None => format!("its key waits for a person after {spent} attempts"),
                }],
                next: self.decide(),
                since: last.as_ref().map(|note| moment::text(note.at)),
                attempt: Some(*spent),
                ..state("parked")
            },
            Standing::OnDisk { due } => ExplanationView {
                why: vec!["it was tried and waits on disk".to_owned()],
                next: due.map_or_else(|| self.decide(), |due| format!("its next attempt starts {}", self.when(due))),
                until: due.map(moment::text),
                ..state("waiting")
            },
            Standing::BehindOnDisk { .. } => ExplanationView {
                why: vec![format!("others of its key `{key}` come first, and the first of them waits on disk")],
                next: "it starts after those".to_owned(),
                ..state("queued")
            },
            Standing::Behind => ExplanationView {
                why: vec!["its class is held back by the degrade policy".to_owned()],
                next: "it is read again and starts when the policy lets its class go".to_owned(),
                ..state("held-back")
            },
            Standing::Degraded => ExplanationView {
                why: vec!["a degrade rule hands it on or drops it".to_owned()],
                next: "its event is read once more for that".to_owned(),
                ..state("degraded")
            },
            Standing::Expiring => ExplanationView {
                why: vec!["its expirytime has passed".to_owned()],
                next: "its event is read once more for its record, and it ends as expired".to_owned(),
                ..state("expiring")
            },
            Standing::GivingUp { spent } => ExplanationView {
                why: vec![format!("{spent} of {} attempts are spent", explained.attempts_max)],
                next: "its event is read once more and becomes a dead letter".to_owned(),
                attempt: Some(*spent),
                ..state("giving-up")
            },
            Standing::Unaccounted
            | Standing::NotCovered
            | Standing::FilteredOut
            | Standing::Settled
            | Standing::Unread { .. }
            | Standing::Queued { .. }
            | Standing::Held { .. }
            | Standing::Ready { .. }
            | Standing::InFlight { .. } => over(
                "unaccounted",
                "the host has lost track of it, which is a bug: please report it",
                "nothing, until the host is started again",
            ),
        }
    }

    fn queued(
        &self,
        key: &str,
        head: Offset,
        ahead: Option<usize>,
        standing: &Standing,
        explained: &Explained,
    ) -> ExplanationView {
        let first = self.standing(
            head,
            None,
            &Explained { standing: standing.clone(), gates: Vec::new(), attempts_max: explained.attempts_max },
        );
        let before = match ahead {
            Some(1) => format!("{} of its key `{key}` comes first", text_of(head)),
            Some(ahead) => format!("{ahead} events of its key `{key}` come first, {} is the next", text_of(head)),
            None => format!("others of its key `{key}` come first, {} is the next", text_of(head)),
        };
        let mut why = vec![before];
        why.extend(first.why.iter().map(|why| format!("{} is {}: {why}", text_of(head), first.state)));
        ExplanationView {
            why,
            next: format!("of {}: {}", text_of(head), first.next),
            since: first.since,
            until: first.until,
            head: Some(text_of(head)),
            ..state("queued")
        }
    }

    fn held(&self, until: Timestamp) -> ExplanationView {
        ExplanationView {
            why: vec!["the plugin keeps its key closed".to_owned()],
            next: format!("the key opens {}", self.when(until)),
            until: Some(moment::text(until)),
            ..state("held")
        }
    }

    fn waiting(
        &self,
        due: Timestamp,
        spent: u32,
        refusals: u32,
        last: Option<&AttemptNote>,
        attempts_max: u32,
    ) -> ExplanationView {
        let mut why = Vec::new();
        if let Some(note) = last {
            let (attempt, at) = (note.attempt, moment::text(note.at));
            why.push(format!("attempt {attempt} of {attempts_max} failed at {at}: {}", note.reason));
        }
        if refusals > 0 {
            why.push(format!("the plugin could not be run {refusals} times in a row, which costs no attempt"));
        } else if last.is_none() {
            why.push("the plugin put it off, which costs no attempt".to_owned());
        }
        ExplanationView {
            why,
            next: match spent < attempts_max {
                true => format!("attempt {} starts {}", spent + 1, self.when(due)),
                false => format!("no attempt is left; it becomes a dead letter {}", self.when(due)),
            },
            since: last.map(|note| moment::text(note.at)),
            until: Some(moment::text(due)),
            attempt: Some(spent),
            ..state("waiting")
        }
    }

    fn ending(&self, ending: &Ending) -> ExplanationView {
        match ending {
            Ending::Dead(row) => self.dead(row),
            Ending::Unknown(row) => self.unknown(row),
            Ending::Expired(row) => ExplanationView {
                why: vec![row.detail.clone()],
                next: "nothing: it is of no use any more, and no dead letter".to_owned(),
                since: Some(moment::text(row.at)),
                attempt: Some(row.attempt.0),
                ..state("expired")
            },
            Ending::LetGo(row) => self.let_go(row),
            Ending::Record(row) => record(row),
        }
    }

    /// What is known of a settled event when no row tells how it ended.
    fn without_record(&self) -> &'static str {
        if self.has_records {
            "it is done, and no row says how: it was delivered before the subscription kept send records, or its rows were removed since"
        } else {
            "it is done, and no row says how: it was delivered, which leaves no row here (`records = true` would), or its rows were \
             removed since"
        }
    }

    fn dead(&self, row: &DeadRow) -> ExplanationView {
        let decided = row.decided.map(|at| format!(" at {}", moment::text(at))).unwrap_or_default();
        let (word, next) = match row.state {
            DeadState::Open => ("dead", self.decide()),
            DeadState::Manual => ("parked", self.decide()),
            DeadState::Replayed => ("replayed", format!("nothing: a person had it delivered again{decided}")),
            DeadState::Dismissed => ("dismissed", format!("nothing: a person gave it up for good{decided}")),
        };
        ExplanationView {
            why: vec![format!("given up after {} attempts ({}): {}", row.attempts, row.cause, row.reason)],
            next,
            since: Some(moment::text(row.at)),
            attempt: Some(row.attempts),
            ..state(word)
        }
    }

    fn unknown(&self, row: &UnknownRow) -> ExplanationView {
        let decided = row.decided.map(|at| format!(" at {}", moment::text(at))).unwrap_or_default();
        let next = match row.state {
            UnknownState::Open => format!(
                "nothing by itself: a person decides; `bugle unknown show {} {}` says what is known",
                self.subscription, row.event.position
            ),
            UnknownState::Sent => format!("nothing: a person said{decided} that it was sent"),
            UnknownState::NotSent => {
                format!("nothing here: a person said{decided} that it was not sent, so a copy was delivered")
            }
            UnknownState::Retried => format!("nothing here: a person had a copy of it sent{decided}"),
        };
        let (reference, attempts) = (&row.reference, row.attempts);
        ExplanationView {
            why: vec![format!(
                "it may have been sent in {attempts} attempts, and nobody knew (reference: {reference})"
            )],
            next,
            since: Some(moment::text(row.at)),
            attempt: Some(attempts),
            ..state("unknown")
        }
    }

    fn decide(&self) -> String {
        format!("nothing by itself; `bugle dead list {}` shows it, to replay or dismiss it", self.subscription)
    }

    fn let_go(&self, row: &LetGoRow) -> ExplanationView {
        let (from, to, at) = (text_of(row.from), text_of(row.to), moment::text(row.at));
        let why = match row.why {
            LetGoWhy::Expired => format!("the backlog was over its cap: {from} to {to} expired at {at}"),
            LetGoWhy::Sought => format!("an operator went forward from {from} to {to} at {at}"),
        };
        ExplanationView {
            why: vec![
                why,
                "it was not delivered, unless that was before it, or a seek back took it up again".to_owned(),
            ],
            next: format!("nothing; `bugle subscription seek {} --to {from}` would deliver it", self.subscription),
            since: Some(at),
            ..state("let-go")
        }
    }

    /// What stands in the way, as a sentence.
    fn gate(&self, gate: &Gate) -> String {
        match gate {
            Gate::Paused(row) => {
                let reason = if row.reason.is_empty() { "no reason given" } else { &row.reason };
                format!("the subscription is paused by {} since {}: {reason}", row.by, moment::text(row.at))
            }
            Gate::NoPlace { in_flight } => format!("every place is taken: {in_flight} deliveries are in flight"),
            Gate::Draining { to } => {
                format!("the subscription drains: it reads nothing from {} on and then pauses", text_of(*to))
            }
            Gate::Cancelled { calls, until } => {
                format!("{calls} calls that a seek cancelled may still run, {} at the latest", self.when(*until))
            }
            Gate::Breaker { until, reason } => {
                format!("the breaker is open ({reason}); the next probe starts {}", self.when(*until))
            }
            Gate::Rate => "the rate is used up for the moment".to_owned(),
            Gate::Full(bound) => format!("reading has stopped until some of it moves: {}", full(*bound)),
        }
    }

    /// A time, and how far it is.
    fn when(&self, at: Timestamp) -> String {
        if at <= self.now {
            return "now".to_owned();
        }
        format!("in {} ({})", moment::span(at.since(self.now)), moment::text(at))
    }
}

/// What the host's send record says of a delivery that is over.
fn record(row: &RecordRow) -> ExplanationView {
    let what = match row.status {
        RecordStatus::Sent => format!("delivered, by the plugin's word, in attempt {}", row.attempt),
        RecordStatus::Suppressed => "not sent, on purpose".to_owned(),
        RecordStatus::Expired => "not sent: too late".to_owned(),
        RecordStatus::Dead | RecordStatus::Manual => "given up; its dead letter was removed since".to_owned(),
        RecordStatus::Unknown => "maybe sent; the row to decide about was removed since".to_owned(),
        RecordStatus::Accepted
        | RecordStatus::Scheduled
        | RecordStatus::Claimed
        | RecordStatus::Attempted
        | RecordStatus::Delivered
        | RecordStatus::Bounced => {
            format!("done, and the last that its send record says is `{}`", row.status.word())
        }
    };
    let why = if row.detail.is_empty() { what } else { format!("{what}: {}", row.detail) };
    ExplanationView { since: Some(moment::text(row.at)), ..over("settled", why, "nothing: it is done") }
}

fn full(bound: Bound) -> &'static str {
    match bound {
        Bound::Queued => "too many events are queued behind others of their keys",
        Bound::Lanes => "too many keys have something unsettled",
        Bound::Waiting => "too many deliveries wait for another attempt",
    }
}

fn state(word: &str) -> ExplanationView {
    ExplanationView { state: word.to_owned(), ..ExplanationView::default() }
}

fn over(word: &str, why: impl Into<String>, next: &str) -> ExplanationView {
    ExplanationView { why: vec![why.into()], next: next.to_owned(), ..state(word) }
}

fn events(count: u64) -> String {
    if count == 1 { "1 event of the log".to_owned() } else { format!("{count} events of the log") }
}

fn start(count: usize) -> String {
    if count == 1 { "1 other starts".to_owned() } else { format!("{count} others start") }
}

fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests;
