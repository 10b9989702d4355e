//! Where a delivery is, asked at each station of its life.

use super::*;
use crate::delivery::Verdict;
use crate::subscription::{Answer, Bound, Explained, Gate, LaneExplained, Question, Standing};

impl Bench {
    fn explain(&self, offset: usize) -> Explained {
        match self.machine.explain(&Question::Event(self.log[offset].clone())) {
            Answer::Event(explained) => explained,
            Answer::Lane(lane) => panic!("asked for an event, got {lane:?}"),
        }
    }

    fn standing(&self, offset: usize) -> Standing {
        self.explain(offset).standing
    }

    fn lane(&self, key: &str) -> Option<LaneExplained> {
        match self.machine.explain(&Question::Lane { key: key.into(), class: Class::Normal }) {
            Answer::Lane(lane) => lane,
            Answer::Event(explained) => panic!("asked for a lane, got {explained:?}"),
        }
    }
}

fn one_at_a_time() -> Subscription {
    Subscription { concurrency: 1, ..spec() }
}

#[test]
fn an_event_of_a_topic_that_is_not_covered() {
    let mut log = vec![event(0, "a", Class::Normal), event(1, "a", Class::Normal)];
    log[0].topic = TopicId(9);
    let bench = Bench::with(Machine::recover(spec(), Slot(0), 1, Recovered::at(Offset(0))), log);
    assert_eq!(bench.standing(0), Standing::NotCovered);
    assert!(matches!(bench.standing(1), Standing::InFlight { .. }));
}

#[test]
fn an_event_that_the_filter_does_not_want() {
    let filter = Filter::Exact { attribute: "type".into(), value: "b".into() };
    let bench = Bench::new(Subscription { filter, ..spec() }, &["a", "b"]);
    assert_eq!(bench.standing(0), Standing::FilteredOut);
}

#[test]
fn an_event_that_was_not_read_yet_and_what_reading_waits_for() {
    let bounds = Bounds { queued_max: 2, ..Bounds::default() };
    let machine = Machine::recover_bounded(one_at_a_time(), Slot(0), 1, Recovered::at(Offset(0)), bounds);
    let mut bench = Bench::with(machine, (0..3).map(|offset| event(offset, "a", Class::Normal)).collect());
    bench.log.push(event(3, "b", Class::Normal));
    let explained = bench.explain(3);
    assert_eq!(explained.standing, Standing::Unread { read: Offset(3) });
    assert_eq!(explained.gates, [Gate::Full(Bound::Queued)]);
    bench.handle(Input::Pause { by: "operator".into(), reason: "lunch".into() });
    assert!(matches!(&bench.explain(3).gates[..], [Gate::Paused(row), Gate::Full(_)] if row.reason == "lunch"));
}

#[test]
fn an_event_with_the_plugin_since_when_and_until_when() {
    let bench = Bench::new(spec(), &["a"]);
    let expected =
        Standing::InFlight { attempt: crate::ids::Attempt(1), since: Timestamp(100), until: Timestamp(1_100) };
    assert_eq!(bench.standing(0), expected);
    assert_eq!(bench.explain(0).attempts_max, 2);
}

#[test]
fn an_event_behind_others_of_its_key() {
    let mut bench = Bench::new(spec(), &["a", "a", "a"]);
    let Standing::Queued { head, ahead, standing } = bench.standing(2) else { panic!("{:?}", bench.standing(2)) };
    assert_eq!((head, ahead), (Offset(0), Some(2)));
    assert!(matches!(*standing, Standing::InFlight { .. }));
    let call = bench.started().remove(0);
    bench.end(&call, nack());
    let Standing::Queued { standing, .. } = bench.standing(1) else { panic!("{:?}", bench.standing(1)) };
    assert!(matches!(*standing, Standing::Waiting { spent: 1, .. }), "{standing:?}");
}

#[test]
fn an_event_that_did_not_fit_the_queue_of_its_key() {
    let bounds = Bounds { lane_queue_max: 1, ..Bounds::default() };
    let machine = Machine::recover_bounded(spec(), Slot(0), 1, Recovered::at(Offset(0)), bounds);
    let log = (0..3).map(|offset| event(offset, "a", Class::Normal)).collect();
    let bench = Bench::with(machine, log);
    assert!(matches!(bench.standing(2), Standing::Queued { head: Offset(0), ahead: None, .. }));
    assert_eq!(bench.lane("a").unwrap().beyond, Some(Offset(1)));
}

#[test]
fn an_event_that_is_ready_and_has_no_place() {
    let mut log: Vec<StoredEvent> = (0..4).map(|n| event(n, "", Class::Normal)).collect();
    log[3] = event(3, "", Class::Critical);
    let mut bench = Bench::with(Machine::recover(one_at_a_time(), Slot(0), 1, Recovered::at(Offset(0))), log);
    let explained = bench.explain(1);
    assert_eq!(
        (explained.standing, explained.gates),
        (Standing::Ready { ahead: 1 }, vec![Gate::NoPlace { in_flight: 1 }])
    );
    bench.handle(Input::Pause { by: "operator".into(), reason: "lunch".into() });
    assert!(matches!(&bench.explain(1).gates[..], [Gate::Paused(_), Gate::NoPlace { .. }]));
}

#[test]
fn an_event_that_waits_for_its_next_attempt_and_why() {
    let mut bench = Bench::new(spec(), &["a"]);
    let call = bench.started().remove(0);
    bench.end(&call, nack());
    let Standing::Waiting { due, spent, refusals, last } = bench.standing(0) else { panic!("{:?}", bench.standing(0)) };
    assert_eq!((due, spent, refusals), (Timestamp(150), 1, 0));
    assert_eq!(last.unwrap().reason, "busy");
}

#[test]
fn an_event_whose_call_never_ran_waits_at_no_cost() {
    let mut bench = Bench::new(spec(), &["a"]);
    let call = bench.started().remove(0);
    bench.end(&call, Verdict::NotStarted("no instance".into()));
    let Standing::Waiting { due, spent, refusals, last } = bench.standing(0) else { panic!("{:?}", bench.standing(0)) };
    assert_eq!((spent, refusals, last), (0, 1, None));
    assert!(due > bench.now, "the alarm, not the row, says when");
}

#[test]
fn an_event_that_waited_before_a_restart_and_was_not_read_since() {
    let row = crate::row::WaitingRow { spent: 1, due: Timestamp(900), ..Default::default() };
    let rows = Recovered { waiting: vec![(Offset(0), row)], ..Recovered::at(Offset(0)) };
    let machine = Machine::recover(spec(), Slot(0), 1, rows);
    let bench = Bench {
        machine,
        log: vec![event(0, "a", Class::Normal)],
        now: Timestamp(100),
        step: Step::default(),
        reads: 0,
        rows: BTreeMap::new(),
        loads: 0,
        discharged: 0,
    };
    assert!(matches!(bench.standing(0), Standing::Waiting { due: Timestamp(900), .. }));
}

#[test]
fn the_next_event_of_a_key_that_the_plugin_holds() {
    let mut bench = Bench::new(spec(), &["a", "a", "a"]);
    let call = bench.started().remove(0);
    bench.end_with(&call, Verdict::Ack, Some(Millis(500)), None);
    assert_eq!(bench.standing(1), Standing::Held { until: Timestamp(600) });
    assert!(
        matches!(bench.standing(2), Standing::Queued { standing, .. } if matches!(*standing, Standing::Held { .. }))
    );
    assert_eq!(bench.lane("a").unwrap().held, Some(Timestamp(600)));
}

#[test]
fn an_event_without_an_attempt_left_is_being_given_up() {
    let spec = Subscription { retry: RetryPolicy { attempts_max: 1, ..spec().retry }, ..spec() };
    let mut bench = Bench::new(spec, &["a"]);
    bench.log.clear();
    bench.tick(1_000);
    bench.log = vec![event(0, "a", Class::Normal)];
    assert_eq!(bench.standing(0), Standing::GivingUp { spent: 1 });
}

#[test]
fn a_settled_event_and_a_settled_key() {
    let mut bench = Bench::new(spec(), &["a"]);
    let call = bench.started().remove(0);
    bench.end(&call, Verdict::Ack);
    assert_eq!(bench.standing(0), Standing::Settled);
    assert_eq!((bench.lane("a"), bench.lane("never seen")), (None, None));
}

#[test]
fn the_lane_of_a_key_tells_its_head_and_its_length() {
    let bench = Bench::new(spec(), &["a", "b", "a"]);
    let lane = bench.lane("a").unwrap();
    assert_eq!((lane.queued, lane.beyond, lane.held), (2, None, None));
    let (head, explained) = lane.head.unwrap();
    assert!(head == Offset(0) && matches!(explained.standing, Standing::InFlight { .. }));
}

#[test]
fn every_unsettled_event_is_accounted_for() {
    let keys: Vec<String> = (0..300).map(|n| ["", "a", "b", "c"][n % 4].to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let log: Vec<StoredEvent> = keys.iter().enumerate().map(|(n, key)| event(n as u64, key, Class::Normal)).collect();
    let bounds = Bounds { lane_queue_max: 3, ready_min: 16, ..Bounds::default() };
    let machine = Machine::recover_bounded(spec(), Slot(0), 1, Recovered::at(Offset(0)), bounds);
    let mut bench = Bench::with(machine, log);
    let mut calls = bench.started();
    for turn in 0..200 {
        let Some(call) = calls.pop() else { break };
        bench.end(&call, if turn % 3 == 0 { nack() } else { Verdict::Ack });
        bench.tick(turn % 20);
        calls.extend(bench.commit().1);
        calls.extend(bench.started());
        for offset in 0..bench.log.len() {
            let standing = bench.standing(offset);
            let head_is_lost =
                matches!(&standing, Standing::Queued { standing, .. } if **standing == Standing::Unaccounted);
            assert!(standing != Standing::Unaccounted && !head_is_lost, "{offset} after turn {turn}: {standing:?}");
        }
    }
}
