//! The backlog cap: what expires, what is kept, and when publishing is refused.

use super::*;
use crate::row::LetGoWhy;
use crate::spec::{BacklogCap, BacklogPolicy};
use crate::subscription::LogExtent;

fn capped(events_max: u64, policy: BacklogPolicy) -> Subscription {
    Subscription { backlog: BacklogCap { events_max, policy, ..BacklogCap::default() }, ..spec() }
}

fn log(end: u64, bytes_from: u64) -> Input<'static> {
    let bytes_from = Offset(bytes_from);
    Input::Log(LogExtent { end: Offset(end), bytes_from, bytes_from_slack: bytes_from })
}

fn said(bench: &mut Bench) -> Vec<Action> {
    bench.machine.seal(&mut bench.step);
    bench.step.writes.clear();
    let actions = std::mem::take(&mut bench.step.actions);
    actions.into_iter().filter(|action| matches!(action, Action::BacklogFull { .. } | Action::Expired { .. })).collect()
}

#[test]
fn the_oldest_of_a_paused_subscription_expires_beyond_the_cap() {
    let mut bench = Bench::new(capped(1_000, BacklogPolicy::ExpireOldest), &[]);
    bench.handle(Input::Pause { by: "operator".into(), reason: "lunch".into() });
    bench.handle(log(1_000, 0));
    assert!(said(&mut bench).is_empty(), "the cap itself is allowed");
    bench.handle(log(1_001, 0));
    // A 256th more than needed: 1,001 - (1,000 - 3) are let go.
    assert_eq!(said(&mut bench), [Action::Expired { events: 4, below: Offset(4) }]);
    let row = bench.machine.status().let_go.unwrap();
    assert_eq!((row.from, row.to, row.events, row.why), (Offset(0), Offset(4), 4, LetGoWhy::Expired));
    assert_eq!((bench.machine.floor(), bench.machine.unsettled(Offset(1_001))), (Offset(4), 997));
    bench.handle(log(1_100, 0));
    let row = bench.machine.status().let_go.unwrap();
    assert_eq!((row.serial, row.total), (1, 4 + row.events), "rows are counted and summed");
}

#[test]
fn what_is_with_the_plugin_never_expires() {
    let mut bench = Bench::new(capped(2, BacklogPolicy::ExpireOldest), &["a", "b", "a", "b", "c"]);
    let calls = bench.started();
    assert_eq!(offsets(&calls), [0, 1, 4]);
    bench.handle(log(5, 0));
    bench.commit();
    let status = bench.machine.status();
    assert_eq!((status.in_flight, status.floor, status.let_go.unwrap().events), (3, Offset(0), 2));
    for call in &calls {
        assert!(bench.machine.is_live(call.ticket));
        bench.end(call, Verdict::Ack);
    }
    bench.commit();
    assert_eq!((bench.machine.floor(), bench.machine.status().lanes), (Offset(5), 0));
    assert!(bench.started().is_empty(), "2 and 3 have expired");
}

#[test]
fn a_stuck_delivery_that_pins_too_many_bytes_expires_with_its_row() {
    let mut bench = Bench::new(spec(), &["a", "a", "b"]);
    let calls = bench.started();
    bench.end(&calls[0], nack());
    bench.end(&calls[1], Verdict::Ack);
    bench.commit();
    bench.handle(log(3, 1));
    let (writes, next) = bench.commit();
    assert!(writes.iter().any(|write| matches!(write, Write::Waiting { offset: Offset(0), row: None, .. })));
    assert_eq!((offsets(&next), bench.machine.floor()), (vec![1], Offset(1)), "its lane goes on");
}

#[test]
fn what_was_settled_above_the_floor_is_not_counted_as_backlog() {
    let mut bench = Bench::new(capped(3, BacklogPolicy::ExpireOldest), &["a", "b", "c", "d"]);
    let calls = bench.started();
    for call in &calls[1..] {
        bench.end(call, Verdict::Ack);
    }
    bench.handle(log(4, 0));
    assert!(said(&mut bench).is_empty());
    assert_eq!(bench.machine.unsettled(Offset(4)), 1);
}

#[test]
fn publishing_is_refused_while_the_backlog_is_over_its_cap_and_no_longer() {
    let mut bench = Bench::new(capped(2, BacklogPolicy::RefusePublish), &["a", "a", "a"]);
    bench.handle(log(3, 0));
    bench.handle(log(3, 0));
    assert_eq!(said(&mut bench), [Action::BacklogFull { is_full: true }], "said once");
    assert!(bench.machine.status().is_backlog_full && bench.machine.floor() == Offset(0), "nothing expires");
    let call = bench.started().remove(0);
    bench.end(&call, Verdict::Ack);
    bench.handle(log(3, 0));
    assert_eq!(said(&mut bench), [Action::BacklogFull { is_full: false }]);
}

#[test]
fn a_policy_that_changes_takes_its_refusal_back() {
    let mut bench = Bench::new(capped(2, BacklogPolicy::RefusePublish), &["a", "a", "a"]);
    bench.handle(log(3, 0));
    said(&mut bench);
    bench.handle(Input::Reconfigure(capped(100, BacklogPolicy::ExpireOldest)));
    bench.handle(log(3, 0));
    assert_eq!(said(&mut bench), [Action::BacklogFull { is_full: false }]);
}
