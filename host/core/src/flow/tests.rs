//! The parts together: random outages against what a person would expect of them.

use std::vec::Vec;

use super::{Called, Fault, Flow, Outcome, Start};
use crate::backoff::Jitter;
use crate::ids::{Offset, SubscriptionId};
use crate::row::Culprit;
use crate::spec::{Protection, Rate};
use crate::time::{Millis, Timestamp};

const NACK: Fault = Fault { is_break: false, retry_after: None };

fn called(offset: u64, start: Start) -> Called {
    Called { offset: Offset(offset), start, is_first: true }
}

fn flow(policy: &Protection) -> Flow {
    Flow::recover(policy, Jitter::new(1, SubscriptionId(1)), None)
}

#[test]
fn an_outage_of_a_day_costs_nobody_an_attempt_and_ends_by_itself() {
    let mut flow = flow(&Protection::standard());
    let (mut now, end) = (Timestamp(1_000), Timestamp(86_400_000));
    let mut charged = 0_i64;
    let (mut calls, mut offset) = (0_u64, 0);
    while now < end {
        while flow.may_start(now) {
            let start = flow.start(now).unwrap();
            let charge = flow.failed(now, called(offset, start), NACK, "503");
            offset += 1;
            calls += 1;
            charged += i64::from(charge.culprit.is_none());
            charged -= charge.given_back.iter().map(|(_, count)| i64::from(*count)).sum::<i64>();
        }
        now = flow.next_wakeup(Some(now)).unwrap();
    }
    assert_eq!(charged, 0);
    assert!(calls < 10 + 86_400_000 / 150_000 + 20, "{calls} calls would not leave a sick provider alone");
    for _ in 0..3 {
        let start = flow.start(now).unwrap();
        assert_eq!((start, flow.may_start(now)), (Start::Probe, false));
        flow.ended(now, called(offset, start), &Outcome::Succeeded);
    }
    assert_eq!((flow.start(now), flow.row().unwrap().open), (Some(Start::Call), None));
}

#[test]
fn late_ends_of_calls_from_before_neither_pay_nor_close_it() {
    let mut flow = flow(&Protection::standard());
    let now = Timestamp(5);
    let starts: Vec<Start> = (0..30).map(|_| flow.start(now).unwrap()).collect();
    for offset in 0..10 {
        flow.failed(now, called(offset, starts[0]), NACK, "503");
    }
    let late = flow.failed(now, called(11, starts[11]), NACK, "503");
    assert_eq!((late.culprit, late.given_back.len()), (Some(Culprit::Channel), 0));
    for offset in 12..30 {
        flow.ended(now, called(offset, starts[12]), &Outcome::Succeeded);
    }
    assert!(!flow.may_start(now), "only probes close it");
}

#[test]
fn rate_is_changed_live_and_a_wakeup_is_named() {
    let rate = Rate { events: 1, per: Millis(1_000), burst: 1 };
    let slow = Protection { rate: Some(rate), ..Protection::standard() };
    let mut flow = flow(&slow);
    assert!(flow.start(Timestamp(10)).is_some() && flow.start(Timestamp(10)).is_none());
    assert_eq!(flow.next_wakeup(Some(Timestamp(10))), Some(Timestamp(1_010)));
    flow.reconfigure(Timestamp(10), &Protection { rate: Some(Rate { events: 100, ..rate }), ..slow });
    assert!(flow.start(Timestamp(19)).is_none() && flow.start(Timestamp(20)).is_some());
    flow.reconfigure(Timestamp(20), &Protection::standard());
    assert!((0..1_000).all(|_| flow.start(Timestamp(20)).is_some()));
}

#[test]
fn without_a_breaker_every_fault_is_the_events() {
    let mut flow = flow(&Protection { breaker: None, ..Protection::standard() });
    for offset in 0..100 {
        assert_eq!(flow.failed(Timestamp(0), called(offset, Start::Call), NACK, "503").culprit, None);
    }
    assert_eq!(flow.row(), None);
}
