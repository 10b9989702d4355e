//! All records of a run, indexed by what the rules ask for.
//!
//! It judges only whether the evidence is whole: lines that parse, results that belong to an intent, a store dump that came
//! to its end. It knows no promise of the bus.
//!
//! Invariant: records may arrive in any order and from any number of files; nothing read is dropped in silence.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, BufRead};

use crate::record::{
    Answer, Call, Dropped, Intent, Kill, Log, Outcome, Position, Record, ScanEnd, State, Subscription,
};
use crate::report::{Promise, Report};

/// What names an event in a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventName {
    /// `source` of the event.
    pub source: String,
    /// `id` of the event.
    pub id: String,
}

impl EventName {
    pub(crate) fn new(source: &str, id: &str) -> Self {
        Self { source: source.to_owned(), id: id.to_owned() }
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` of `{}`", self.id, self.source)
    }
}

/// One try of a producer and what came of it; no answer means that the run ended first.
#[derive(Debug, Clone)]
pub(crate) struct Try {
    pub(crate) intent: Intent,
    pub(crate) answer: Option<Answer>,
}

/// One effect of one event through one subscription.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Effect {
    pub(crate) subscription: String,
    pub(crate) event: EventName,
    pub(crate) effect: String,
}

/// The records of a run.
#[derive(Debug, Default)]
pub struct History {
    pub(crate) tries: BTreeMap<EventName, Vec<Try>>,
    pub(crate) subscriptions: BTreeMap<String, Subscription>,
    pub(crate) calls: BTreeMap<Effect, Vec<Call>>,
    pub(crate) kills: Vec<Kill>,
    pub(crate) log: BTreeMap<Position, Vec<Log>>,
    pub(crate) stored: HashMap<EventName, Vec<Position>>,
    pub(crate) states: BTreeMap<String, BTreeMap<Position, Vec<State>>>,
    outcomes: Vec<Outcome>,
    dropped: Vec<Dropped>,
    scan: Option<ScanEnd>,
    scanned: ScanEnd,
    unreadable: Vec<String>,
}

impl History {
    /// Adds all lines of one file; `name` is for messages. Call [`History::complete`] after the last file.
    ///
    /// # Errors
    ///
    /// When reading fails. A line that is no record is kept as a violation.
    pub fn read(&mut self, name: &str, lines: impl BufRead) -> io::Result<()> {
        for (number, line) in lines.lines().enumerate() {
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            match serde_json::from_str(&line) {
                Ok(record) => self.push(record),
                Err(error) => self.unreadable.push(format!("{name}:{}: {error}", number + 1)),
            }
        }
        Ok(())
    }

    /// Adds one record.
    pub fn push(&mut self, record: Record) {
        match record {
            Record::Intent(intent) => {
                let name = EventName::new(&intent.source, &intent.id);
                self.tries.entry(name).or_default().push(Try { intent, answer: None });
            }
            Record::Result(outcome) => self.outcomes.push(outcome),
            Record::Subscription(subscription) => {
                self.subscriptions.insert(subscription.subscription.clone(), subscription);
            }
            Record::Call(call) => {
                let effect = Effect {
                    subscription: call.subscription.clone(),
                    event: EventName::new(&call.source, &call.id),
                    effect: call.effect.clone(),
                };
                self.calls.entry(effect).or_default().push(call);
            }
            Record::Kill(kill) => self.kills.push(kill),
            Record::Log(log) => {
                self.scanned.events += 1;
                let name = EventName::new(&log.source, &log.id);
                self.stored.entry(name).or_default().push(log.position);
                self.log.entry(log.position).or_default().push(log);
            }
            Record::State(row) => {
                self.scanned.states += 1;
                let rows = self.states.entry(row.subscription).or_default();
                rows.entry(row.position).or_default().push(row.state);
            }
            Record::Dropped(dropped) => self.dropped.push(dropped),
            Record::ScanEnd(end) => self.scan = Some(end),
        }
    }

    /// Joins results to their intents and sorts by time. Call it once, after the last record.
    pub fn complete(&mut self) {
        for tries in self.tries.values_mut() {
            tries.sort_by_key(|attempt| attempt.intent.attempt);
        }
        for calls in self.calls.values_mut() {
            calls.sort_by_key(|call| call.at_us);
        }
        self.kills.sort_by_key(|kill| kill.from_us);
        for outcome in std::mem::take(&mut self.outcomes) {
            let name = EventName::new(&outcome.source, &outcome.id);
            let found = self.tries.get_mut(&name).and_then(|tries| {
                tries.iter_mut().find(|attempt| attempt.intent.attempt == outcome.attempt && attempt.answer.is_none())
            });
            match found {
                Some(attempt) if attempt.intent.at_us <= outcome.at_us => attempt.answer = Some(outcome.outcome),
                _ => self.outcomes.push(outcome),
            }
        }
        self.fill_in_dropped();
    }

    /// What a retention let go of stands where it was confirmed, as it was sent, and is acked wherever it matches: it may go only then, so
    /// that all rules hold for it as if it were still there.
    fn fill_in_dropped(&mut self) {
        for Dropped { topic, below } in std::mem::take(&mut self.dropped) {
            let of_topic = self.tries.iter().filter(|(_, tries)| tries.iter().any(|sent| sent.intent.topic == topic));
            let mut gone = Vec::new();
            for (name, tries) in of_topic.filter(|(name, _)| !self.stored.contains_key(*name)) {
                let confirmed = tries.iter().find_map(|sent| match sent.answer {
                    Some(Answer::Confirmed { position, .. }) if position < below => Some((position, &sent.intent)),
                    _ => None,
                });
                gone.extend(confirmed.map(|(position, intent)| (name.clone(), position, intent.clone())));
            }
            for (name, position, Intent { topic, source, id, kind, key, digest, .. }) in gone {
                let log = Log { position, topic, source, id, kind, key, class: String::new(), digest };
                for subscription in self.subscriptions.values().filter(|subscription| subscription.matches(&log)) {
                    let rows = self.states.entry(subscription.subscription.clone()).or_default();
                    rows.entry(position).or_default().push(State::Acked);
                }
                self.stored.entry(name).or_default().push(position);
                self.log.entry(position).or_default().push(log);
            }
        }
    }

    /// The event at `position`, if the store has one there.
    pub(crate) fn at(&self, position: Position) -> Option<&Log> {
        self.log.get(&position).and_then(|found| found.first())
    }

    /// The state of `position` in `subscription`, if there is exactly one.
    pub(crate) fn state(&self, subscription: &str, position: Position) -> Option<State> {
        match self.states.get(subscription)?.get(&position)?.as_slice() {
            [state] => Some(*state),
            _ => None,
        }
    }

    /// Judges whether the evidence is whole.
    pub(crate) fn check_input(&self, report: &mut Report) {
        let mut wrong = |code, text| report.add(Promise::Input, code, text);
        for line in &self.unreadable {
            wrong("bad-line", line.clone());
        }
        for outcome in &self.outcomes {
            let name = EventName::new(&outcome.source, &outcome.id);
            wrong(
                "result-without-intent",
                format!("event {name}, try {}, has a result but no earlier intent", outcome.attempt),
            );
        }
        if self.tries.is_empty() {
            wrong("nothing-published", "no producer meant to send anything, so nothing can be judged".to_owned());
        }
        match &self.scan {
            None => wrong("no-scan", "the store dump is missing or was cut short: no `scan-end` line".to_owned()),
            Some(end) if *end != self.scanned => wrong(
                "scan-incomplete",
                format!(
                    "the store dump has {} events and {} states, its last line says {} and {}",
                    self.scanned.events, self.scanned.states, end.events, end.states
                ),
            ),
            Some(_) => {}
        }
        let named_by_calls = self.calls.keys().map(|effect| &effect.subscription);
        let mut undeclared: Vec<&String> =
            named_by_calls.chain(self.states.keys()).filter(|name| !self.subscriptions.contains_key(*name)).collect();
        undeclared.sort_unstable();
        undeclared.dedup();
        for name in undeclared {
            wrong("unknown-subscription", format!("subscription `{name}` is not declared by a `subscription` line"));
        }
    }
}

impl Subscription {
    /// Whether the subscription must handle the event.
    pub(crate) fn matches(&self, log: &Log) -> bool {
        self.topics.contains(&log.topic)
            && (self.types.is_empty() || self.types.contains(&log.kind))
            && self.from.is_none_or(|from| log.position >= from)
    }
}

#[cfg(test)]
mod tests {
    use crate::record::{Record, Subscription};
    use crate::sample::{Sample, check, codes};

    #[test]
    fn line_that_is_no_record_is_caught() {
        let lines = |extra: &str| Sample::good().lines() + extra;
        assert_eq!(codes(&lines("{\"kind\":\"kill\",\"from_us\":1,\"until_us\":2}\n")), Vec::<&str>::new());
        assert_eq!(codes(&lines("{\"kind\":\"kill\",\"from\":1}\n")), ["bad-line"]);
        assert_eq!(codes(&lines("{\"kind\":\"call\",\"at_")), ["bad-line"]);
    }

    #[test]
    fn missing_or_short_store_dump_is_caught() {
        let lines = Sample::good().lines();
        let whole: Vec<&str> = lines.lines().collect();
        let (end, rest) = whole.split_last().unwrap();
        assert_eq!(codes(&rest.join("\n")), ["no-scan"]);
        let short = rest.join("\n") + "\n" + &end.replace("\"states\":4", "\"states\":5");
        assert_eq!(codes(&short), ["scan-incomplete"]);
    }

    #[test]
    fn run_without_producers_is_caught() {
        let is_theirs = |record: &Record| matches!(record, Record::Intent(_) | Record::Result(_));
        check(&Sample::good().without(is_theirs), &["nothing-published"]);
    }

    #[test]
    fn result_without_intent_is_caught() {
        let is_intent = |record: &Record| matches!(record, Record::Intent(intent) if intent.id == "b1");
        check(&Sample::good().without(is_intent), &["result-without-intent", "never-published"]);
        let late = Sample::good().edit(|record| {
            if let Record::Intent(intent) = record
                && intent.id == "b1"
            {
                intent.at_us = 1_000;
            }
        });
        check(&late, &["result-without-intent", "unresolved"]);
    }

    #[test]
    fn what_was_let_go_of_must_have_been_delivered() {
        let is_stored = |record: &Record| match record {
            Record::Log(log) => log.position.offset < 3,
            Record::State(row) => row.position.offset < 3,
            _ => false,
        };
        let dropped = |topic: &str, below: &str| Sample::good().without(is_stored).dropped(topic, below);
        check(&dropped("orders", "0-3"), &[]);
        check(&dropped("orders", "0-2"), &["lost", "delivered-not-stored"]);
        check(&dropped("refunds", "0-3"), &["lost", "lost", "delivered-not-stored", "delivered-not-stored"]);
        let is_call = |record: &Record| matches!(record, Record::Call(call) if call.id == "a2");
        check(&dropped("orders", "0-3").without(is_call), &["acked-without-effect"]);
    }

    #[test]
    fn undeclared_subscription_is_caught() {
        let undeclared = Sample::good().without(|record| matches!(record, Record::Subscription(_)));
        check(&undeclared, &["unknown-subscription"]);
    }

    #[test]
    fn filter_start_and_topic_decide_what_a_subscription_must_handle() {
        let narrowed = |change: fn(&mut Subscription)| {
            Sample::good()
                .edit(move |record| {
                    if let Record::Subscription(subscription) = record {
                        change(subscription);
                    }
                })
                .without(|record| matches!(record, Record::State(_)))
        };
        check(&narrowed(|_| ()), &["no-state"; 4]);
        check(&narrowed(|found| found.types.push("order.refunded".to_owned())), &[]);
        check(&narrowed(|found| found.topics = vec!["refunds".to_owned()]), &[]);
        check(&narrowed(|found| found.from = Some("0-4".parse().unwrap())), &["no-state"]);
    }
}
