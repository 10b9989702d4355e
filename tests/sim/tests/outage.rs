//! A provider that is gone for a day: nothing is lost, nothing is given up, and nobody is hurried when it is back.
//!
//! A thousand events a second, scaled down by a thousand: one a second, on a thousand keys, for 24 simulated hours.

use bugle_core::time::Millis;
use bugle_sim::{Outage, outage};

const HOUR: u64 = 3_600;

#[test]
fn a_day_without_the_provider_gives_nothing_up_and_one_poisoned_event_delays_nobody() {
    let plan = Outage {
        seed: 1,
        every: Millis::from_secs(1),
        before: Millis::from_secs(HOUR / 6),
        gone: Millis::from_secs(24 * HOUR),
        keys: 1_000,
        critical_one_in: 10,
        rate: 10,
        kills: 3,
    };
    let report = outage(plan).unwrap_or_else(|broken| panic!("{broken}"));
    println!("{report:?}");
    assert_eq!(report.events, 87_001, "one a second for 24 h 10 min, and the poisoned one");
    let causes: Vec<&str> = report.dead.iter().map(|(_, cause)| cause.as_str()).collect();
    assert_eq!(causes, ["poison"], "only the poisoned event is given up, and it says why");
    assert_eq!((report.inversions, report.repeats), (0, 0), "in order, once");
    assert!(report.healthy_wait_max <= Millis(1_000), "waited {:?} beside the poisoned event", report.healthy_wait_max);
    // While the provider is gone it is left alone but for a probe now and then, and only what was a probe has a row.
    let probes = report.attempts_while_gone - report.handed_on;
    assert!(probes < 1_000, "{probes} attempts");
    assert!(report.rows_while_gone <= probes, "{} waiting rows after {probes} attempts", report.rows_while_gone);
    // Critical events go out through the other channel: all but those that came before the trouble was seen.
    assert!(report.handed_on + 20 >= report.critical_while_gone, "{} were handed on", report.handed_on);
    assert!(report.critical_wait_max < Millis::from_secs(60), "a critical event waited {:?}", report.critical_wait_max);
    // After it is back: the backlog at the rate, neither faster nor much slower.
    assert!(report.ten_seconds_max <= 10 * u64::from(plan.rate) + u64::from(plan.rate), "{}", report.ten_seconds_max);
    let at_the_rate = report.backlog * 1_000 / u64::from(plan.rate);
    assert!(report.drained_in.0 < at_the_rate * 11 / 10 + 300_000, "{:?} for {}", report.drained_in, report.backlog);
}
