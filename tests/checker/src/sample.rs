//! A small hand-made history that is clean, and ways to spoil it. Only for the checker's own tests.
//!
//! One ordered subscription `mail` on topic `orders`; a1, a2, a3 share key `A`, b1 has key `B`. They are at 0-1 to 0-4 and
//! are called at 100, 200, 300 and 400, answered 10 later, acked.
//!
//! Invariant: `Sample::good()` has no violation, so whatever a spoiled one shows was caused by the spoiling.

use crate::record::{
    Answer, Call, CallAnswer, Dropped, Intent, Kill, Log, Outcome, Position, Record, ScanEnd, State, StateRow,
    Subscription,
};
use crate::{Allowances, History};

/// Records and how to judge them.
pub(crate) struct Sample {
    records: Vec<Record>,
    pub(crate) allowances: Allowances,
}

impl Sample {
    pub(crate) fn good() -> Self {
        let mut sample = Self {
            records: vec![Record::Subscription(Subscription {
                subscription: "mail".to_owned(),
                topics: vec!["orders".to_owned()],
                types: Vec::new(),
                from: None,
                ordered: true,
                calls_out: true,
                timeout_us: None,
                repeats_per_kill_max: None,
            })],
            allowances: Allowances { echo_us: 0, ..Allowances::default() },
        };
        for (offset, id, key) in [(1, "a1", "A"), (2, "a2", "A"), (3, "a3", "A"), (4, "b1", "B")] {
            let position = Position { slot: 0, offset };
            sample = sample
                .publish(offset, id, 1, key, Answer::Confirmed { position, duplicate: false })
                .log(offset, id, Some(key))
                .state(offset, State::Acked)
                .call(offset * 100, id);
        }
        sample
    }

    /// An intent at `seq` and its result.
    pub(crate) fn publish(mut self, seq: u64, id: &str, attempt: u32, key: &str, outcome: Answer) -> Self {
        self.records.push(Record::Intent(Intent {
            at_us: seq,
            producer: "shop".to_owned(),
            seq,
            attempt,
            topic: "orders".to_owned(),
            source: "/shop".to_owned(),
            id: id.to_owned(),
            kind: "order.paid".to_owned(),
            key: Some(key.to_owned()),
            digest: format!("digest-{id}"),
        }));
        self.records.push(Record::Result(Outcome {
            at_us: seq + 1,
            source: "/shop".to_owned(),
            id: id.to_owned(),
            attempt,
            outcome,
        }));
        self
    }

    pub(crate) fn log(mut self, offset: u64, id: &str, key: Option<&str>) -> Self {
        self.records.push(Record::Log(Log {
            position: Position { slot: 0, offset },
            topic: "orders".to_owned(),
            source: "/shop".to_owned(),
            id: id.to_owned(),
            kind: "order.paid".to_owned(),
            key: key.map(str::to_owned),
            class: String::new(),
            digest: format!("digest-{id}"),
        }));
        self
    }

    /// The retention has let go of events of a topic.
    pub(crate) fn dropped(mut self, topic: &str, below: &str) -> Self {
        self.records.push(Record::Dropped(Dropped { topic: topic.to_owned(), below: below.parse().unwrap() }));
        self
    }

    pub(crate) fn state(mut self, offset: u64, state: State) -> Self {
        self.records.push(Record::State(StateRow {
            subscription: "mail".to_owned(),
            position: Position { slot: 0, offset },
            state,
        }));
        self
    }

    /// An accepted call, answered 10 later.
    pub(crate) fn call(mut self, at_us: u64, id: &str) -> Self {
        self.records.push(Record::Call(Call {
            at_us,
            done_us: at_us + 10,
            subscription: "mail".to_owned(),
            source: "/shop".to_owned(),
            id: id.to_owned(),
            effect: String::new(),
            idempotency_key: format!("key-{id}"),
            answer: CallAnswer::Accepted,
        }));
        self
    }

    pub(crate) fn kill(mut self, from_us: u64, until_us: u64) -> Self {
        self.records.push(Record::Kill(Kill { from_us, until_us }));
        self
    }

    pub(crate) fn without(mut self, gone: impl Fn(&Record) -> bool) -> Self {
        self.records.retain(|record| !gone(record));
        self
    }

    pub(crate) fn edit(mut self, change: impl Fn(&mut Record)) -> Self {
        self.records.iter_mut().for_each(change);
        self
    }

    /// The records as the lines of a log, with the end of the store dump.
    pub(crate) fn lines(&self) -> String {
        let count = |wanted: fn(&Record) -> bool| {
            u64::try_from(self.records.iter().filter(|record| wanted(record)).count()).unwrap()
        };
        let end = Record::ScanEnd(ScanEnd {
            events: count(|record| matches!(record, Record::Log(_))),
            states: count(|record| matches!(record, Record::State(_))),
        });
        let lines = self.records.iter().chain([&end]);
        lines.map(|record| serde_json::to_string(record).unwrap() + "\n").collect()
    }
}

/// The codes of all violations in `lines`, sorted.
pub(crate) fn codes(lines: &str) -> Vec<&'static str> {
    report(lines, &Allowances::default()).0
}

fn report(lines: &str, allowances: &Allowances) -> (Vec<&'static str>, String) {
    let mut history = History::default();
    history.read("sample", lines.as_bytes()).unwrap();
    history.complete();
    let report = crate::check(&history, allowances);
    let mut codes: Vec<_> = report.violations.iter().map(|violation| violation.code).collect();
    codes.sort_unstable();
    (codes, report.to_string())
}

/// Reads the sample as a file would be read and compares the codes of all violations, in any order.
#[track_caller]
pub(crate) fn check(sample: &Sample, expected: &[&str]) {
    let (found, text) = report(&sample.lines(), &sample.allowances);
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected, "{text}");
}
