//! Expiry: when a delivery ends by it, what that leaves, and what it never touches.

use super::super::{Answer, Question, Standing};
use super::*;
use crate::event::Timing;
use crate::row::RecordStatus;
use crate::spec::Protection;

/// An event that nobody wants from this time on.
fn until(offset: u64, key: &str, at: u64) -> StoredEvent {
    let plain = event(offset, key, Class::Normal);
    let timing = Timing { expires: Some(Timestamp(at)), ..Timing::default() };
    StoredEvent { event: plain.event.timed(timing), ..plain }
}

fn bench(spec: Subscription, log: Vec<StoredEvent>) -> Bench {
    Bench::with(Machine::recover(spec, Slot(0), 1, Recovered::at(Offset(0))), log)
}

/// Offsets that a record says expired, with the attempts made.
fn expired(writes: &[Write]) -> Vec<(u64, u32)> {
    let told = writes.iter().filter_map(|write| match write {
        Write::Record { position, row, .. } if row.status == RecordStatus::Expired => {
            Some((position.offset.0, row.attempt.0))
        }
        _ => None,
    });
    told.collect()
}

#[test]
fn what_is_past_its_time_when_it_is_read_ends_without_a_call_and_its_key_goes_on() {
    let mut bench = bench(spec(), vec![until(0, "a", 100), event(1, "a", Class::Normal), until(2, "b", 101)]);
    assert_eq!(offsets(&bench.started()), [2], "the time itself is too late, one before it is not");
    let (writes, calls) = bench.commit();
    assert_eq!(expired(&writes), [(0, 0)], "the record is written although the subscription has none");
    assert_eq!(offsets(&calls), [1], "the next of the key, after the settlement is durable");
    assert_eq!((bench.machine.expired(), bench.machine.buried()), (1, 0), "it is no dead letter");
}

#[test]
fn what_waits_for_a_place_expires_at_its_time_and_what_runs_goes_on() {
    let mut bench = bench(Subscription { concurrency: 1, ..spec() }, vec![until(0, "a", 150), until(1, "b", 150)]);
    let call = bench.started().remove(0);
    assert_eq!(bench.machine.next_wakeup(), Some(Timestamp(150)));
    bench.tick(49);
    assert_eq!(expired(&bench.commit().0), []);
    bench.tick(1);
    let Answer::Event(explained) = bench.machine.explain(&Question::Event(bench.log[1].clone())) else { panic!() };
    assert_eq!(explained.standing, Standing::Settled, "its event was at hand");
    assert_eq!(expired(&bench.commit().0), [(1, 0)]);
    bench.end(&call, Verdict::Ack);
    assert_eq!((expired(&bench.commit().0), bench.machine.floor()), (vec![], Offset(2)), "a call under way may finish");
}

#[test]
fn a_failed_delivery_comes_back_at_its_time_to_expire_and_not_later() {
    let retry = RetryPolicy { attempts_max: 9, first_backoff: Millis(90_000), backoff_max: Millis(90_000) };
    let mut bench = bench(Subscription { retry, ..spec() }, vec![until(0, "a", 400), event(1, "a", Class::Normal)]);
    let call = bench.started().remove(0);
    let busy = Retry { after: Some(Millis(80_000)), reason: "busy".into(), fault: Fault::Channel };
    bench.end(&call, Verdict::Nack(busy));
    let (writes, _) = bench.commit();
    let row = writes.iter().find_map(|write| match write {
        Write::Waiting { row: Some(row), .. } => Some(row.due),
        _ => None,
    });
    assert_eq!(row, Some(Timestamp(400)), "the row says so, for a restart");
    bench.tick(299);
    assert!(bench.started().is_empty() && expired(&bench.commit().0).is_empty());
    bench.tick(1);
    let (writes, calls) = bench.commit();
    assert_eq!((expired(&writes), offsets(&calls)), (vec![(0, 1)], vec![1]));
    assert!(writes.iter().any(|write| matches!(write, Write::Waiting { row: None, .. })), "its row goes with it");
}

#[test]
fn a_paused_subscription_and_an_open_breaker_make_no_attempt_of_it_afterwards() {
    let mut bench = bench(spec(), vec![]);
    bench.handle(Input::Pause { by: "operator".into(), reason: "lunch".into() });
    bench.log = vec![until(0, "a", 200), until(1, "", 200), event(2, "", Class::Normal)];
    bench.tick(500);
    assert_eq!(bench.machine.next_wakeup().filter(|at| *at <= bench.now), None, "nothing rings while it is paused");
    bench.handle(Input::Resume);
    let (writes, mut calls) = bench.commit();
    calls.extend(bench.started());
    assert_eq!((expired(&writes), offsets(&calls)), (vec![(0, 0), (1, 0)], vec![2]));
}

#[test]
fn neither_breaker_nor_rate_holds_it_back_and_no_evidence_comes_of_it() {
    let protection = Protection::standard();
    let keys: Vec<String> = (0..40).map(|number| format!("k{number}")).collect();
    let log = keys.iter().enumerate().map(|(offset, key)| until(offset as u64, key, 5_000)).collect();
    let mut bench = bench(Subscription { protection, concurrency: 20, ..spec() }, log);
    for call in bench.started() {
        bench.end(&call, nack());
    }
    bench.commit();
    let before = bench.machine.status();
    assert!(before.flow.counts.opened > 0, "{:?}", before.flow);
    bench.now = Timestamp(5_000);
    bench.tick(0);
    let mut told = expired(&bench.commit().0);
    told.extend(expired(&bench.commit().0));
    assert_eq!(told.len() as u64, bench.machine.expired());
    let after = bench.machine.status();
    assert_eq!((after.floor, after.dead.letters), (Offset(40), 0), "all of them, also the ones behind the breaker");
    assert_eq!(after.flow.counts.opened, before.flow.counts.opened);
}

#[test]
fn a_call_that_never_began_in_time_is_not_tried_again() {
    let mut bench = bench(spec(), vec![until(0, "a", 150)]);
    let call = bench.started().remove(0);
    bench.now = Timestamp(150);
    bench.end(&call, Verdict::NotStarted("no instance in time".into()));
    assert_eq!(expired(&bench.commit().0), [(0, 0)]);
    assert_eq!(bench.machine.floor(), Offset(1));
}

#[test]
fn spilled_deliveries_expire_after_a_restart_too() {
    let bounds = Bounds { waiting_max: 0, ..Bounds::default() };
    let rows = Recovered::at(Offset(0));
    let log: Vec<_> = (0..3).map(|offset| until(offset, &format!("k{offset}"), 400)).collect();
    let machine = Machine::recover_bounded(spec(), Slot(0), 1, rows, bounds);
    let mut live = Bench::with(machine, log.clone());
    for call in live.started() {
        let later = Retry { after: Some(Millis(9_000)), reason: "busy".into(), fault: Fault::Channel };
        live.end(&call, Verdict::Nack(later));
    }
    live.commit();
    assert_eq!(live.machine.status().spilled, 3);
    let waiting = live.rows.iter().map(|(offset, row)| (*offset, row.clone())).collect();
    let rows = Recovered { waiting, ..Recovered::at(Offset(0)) };
    let mut again = Bench::with(Machine::recover_bounded(spec(), Slot(0), 1, rows, bounds), log);
    again.rows = live.rows.clone();
    again.now = Timestamp(399);
    again.tick(0);
    assert_eq!(expired(&again.commit().0), []);
    again.tick(1);
    let mut told = Vec::new();
    for _ in 0..6 {
        told.extend(expired(&again.commit().0));
        again.tick(0);
    }
    told.sort_unstable();
    assert_eq!(told, [(0, 1), (1, 1), (2, 1)]);
    assert!(again.started().is_empty());
}

#[test]
fn a_seek_forward_forgets_their_times() {
    let mut bench = bench(Subscription { concurrency: 1, ..spec() }, vec![until(0, "a", 150), until(1, "a", 150)]);
    bench.started();
    bench.handle(Input::Seek { to: Offset(2) });
    bench.commit();
    bench.tick(2_000);
    assert_eq!(expired(&bench.commit().0), []);
    assert_eq!((bench.machine.expired(), bench.machine.next_wakeup()), (0, None));
}
