//! Which class goes first.

use super::*;

#[test]
fn critical_goes_first_and_low_does_not_starve() {
    let mut log: Vec<StoredEvent> = (0..40).map(|n| event(n, "", Class::Normal)).collect();
    log[1] = event(1, "", Class::Low);
    log[39] = event(39, "", Class::Critical);
    let spec = Subscription { concurrency: 1, ..spec() };
    let mut bench = Bench::with(Machine::recover(spec, Slot(0), 1, Recovered::at(Offset(0))), log);
    let mut order = Vec::new();
    let mut calls = bench.started();
    while let Some(call) = calls.pop() {
        order.push(call.position.offset.0);
        bench.end(&call, Verdict::Ack);
        calls.extend(bench.started());
    }
    assert_eq!((order[0], order.len()), (39, 40));
    let low = order.iter().position(|offset| *offset == 1).unwrap();
    assert!((10..25).contains(&low), "the low event was number {low}");
}
