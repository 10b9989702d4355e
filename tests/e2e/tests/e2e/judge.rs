//! From the logs of a run to the checker's report.
//!
//! Knows where the lines come from and decides nothing. Invariant: a dump is taken only when every subscription has settled
//! everything, or when it settles nothing any more, which the checker then sees.

use std::time::{Duration, Instant};

use bugle_checker::record::{Kill, Position, Record, Subscription};
use bugle_checker::{Allowances, History, Report, check};
use bugle_receivers::{Journal, now_us};
use serde_json::Value;

use crate::scene::Scene;

/// What the checker must know of a subscription, from the answer that created it.
pub(crate) fn promise(applied: &Value, topic: &str, repeats_max: Option<u64>) -> Subscription {
    let start: Position = applied["started_at"].as_str().unwrap().parse().unwrap();
    Subscription {
        subscription: applied["definition"]["name"].as_str().unwrap().to_owned(),
        topics: vec![topic.to_owned()],
        types: Vec::new(),
        from: Some(start),
        ordered: true,
        calls_out: true,
        timeout_us: Some(2_000_000),
        repeats_per_kill_max: repeats_max,
    }
}

/// Kills the host, writes it down, and starts it again.
pub(crate) fn kill(scene: &mut Scene, journal: &Journal) {
    let from_us = now_us();
    scene.host.kill().unwrap();
    journal.write(Record::Kill(Kill { from_us, until_us: now_us() }));
    scene.host.restart().unwrap();
}

/// The store dump once the rows on disk say that everything is settled, or when nothing was settled for `patience`: a hot key on a
/// slow disk takes its time, and goes on.
pub(crate) fn dump(scene: &Scene, patience: Duration) -> String {
    let (mut last, mut deadline) = (Vec::new(), Instant::now() + patience);
    loop {
        let status = scene.get("/v1/status");
        let lines = status["subscriptions"].as_object().unwrap();
        let backlogs: Vec<u64> = lines.values().map(|line| line["backlog"].as_u64().unwrap()).collect();
        let is_idle = backlogs.iter().all(|backlog| *backlog == 0);
        if backlogs != last {
            (last, deadline) = (backlogs, Instant::now() + patience);
        }
        if is_idle || Instant::now() > deadline {
            let dump = scene.admin().text("/v1/dump").unwrap();
            let is_open = |line: &str| ["\"ready\"", "\"waiting\""].iter().any(|word| line.contains(word));
            if Instant::now() > deadline || !dump.lines().any(is_open) {
                return dump;
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The checker's report on logs and dump.
pub(crate) fn report(journals: &[&Journal], dump: &str, unsettled: bool) -> Report {
    let mut history = History::default();
    for journal in journals {
        journal.records().unwrap().into_iter().for_each(|record| history.push(record));
    }
    history.read("store dump", dump.as_bytes()).unwrap();
    history.complete();
    let allowances = Allowances { unsettled_events: unsettled, unknown_results: false, ..Allowances::default() };
    check(&history, &allowances)
}
