//! Each finding from its facts, and none from a host in order.

use bugle_core::row::{DeadTotals, PausedRow, UnknownTotals};
use bugle_core::time::Timestamp;

use super::{Facts, FileFacts, Level, RoomFacts, SubscriptionFacts, diagnose};

fn sound() -> SubscriptionFacts {
    SubscriptionFacts {
        name: "hook".into(),
        plugin: "webhook".into(),
        has_plugin: true,
        ..SubscriptionFacts::default()
    }
}

fn host() -> Facts {
    Facts {
        data_dir: "/data".into(),
        is_running: true,
        room: Some(RoomFacts { total: 100 << 30, free: 60 << 30 }),
        files: Some(FileFacts { allowed: 65_536, open: 40 }),
        token_mode: Some(0o100_600),
        store: Some("store: fine".into()),
        subscriptions: vec![sound()],
        ..Facts::default()
    }
}

#[test]
fn a_host_in_order_has_no_finding() {
    let found = diagnose(&host());
    assert_eq!(found.findings, []);
    assert!(found.healthy.iter().any(|line| line == "1 of 1 subscriptions are in order"), "{:?}", found.healthy);
}

#[test]
fn each_fact_that_is_wrong_is_one_finding_with_an_advice() {
    let check = |code: &str, level: Level, facts: Facts| {
        let found = diagnose(&facts).findings;
        assert_eq!(found.len(), 1, "{code}: {found:?}");
        assert_eq!((found[0].code.as_str(), found[0].level), (code, level));
        assert!(!found[0].what.is_empty() && !found[0].advice.is_empty() && !found[0].place.is_empty(), "{found:?}");
    };
    let (warning, error) = (Level::Warning, Level::Error);
    let room = |percent: u64| Some(RoomFacts { total: 100 << 30, free: percent << 30 });
    let files = |allowed, open| Some(FileFacts { allowed, open });
    check("store", error, Facts { failure: Some("lost".into()), ..host() });
    check("half-restored", error, Facts { is_half_restored: true, ..host() });
    check("disk-full", error, Facts { is_disk_full: true, room: room(4), ..host() });
    check("disk-low", warning, Facts { room: room(14), ..host() });
    check("open-files", warning, Facts { files: files(1024, 10), ..host() });
    check("open-files", error, Facts { files: files(65_536, 60_000), ..host() });
    check("wal-size", warning, Facts { wal_bytes: 600 << 20, ..host() });
    check("log-pinned", warning, Facts { pinned: vec![("hook".into(), 5 << 30)], ..host() });
    check("damaged-log", warning, Facts { set_aside: vec!["damaged-wal-1".into()], ..host() });
    check("token-mode", error, Facts { token_mode: Some(0o100_644), ..host() });
    let one = |code: &str, level, change: &dyn Fn(&mut SubscriptionFacts)| {
        let mut subscription = sound();
        change(&mut subscription);
        check(code, level, Facts { subscriptions: vec![subscription], ..host() });
    };
    let paused = |by: &str| Some(PausedRow { by: by.into(), reason: String::new(), at: Timestamp(1) });
    one("paused", warning, &|facts| facts.paused = paused("operator"));
    one("paused", error, &|facts| facts.paused = paused("host"));
    one("plugin-missing", error, &|facts| (facts.has_plugin, facts.paused) = (false, paused("host")));
    one("stopped", error, &|facts| facts.is_stopped = true);
    one("breaker-open", warning, &|facts| facts.breaker = Some(("channel".into(), "status 503".into())));
    one("blocked", warning, &|facts| facts.blocked = 1);
    one("backlog-full", error, &|facts| facts.is_backlog_full = true);
    one("backlog-near", warning, &|facts| facts.unsettled = facts.cap.events_max / 10 * 9);
    one("backlog-near", warning, &|facts| facts.is_near_bytes = true);
    one("letters-removed", warning, &|facts| facts.dead.removed = 1);
    one("letters-near", warning, &|facts| {
        facts.dead = DeadTotals { letters: facts.dead_bounds.letters_max, ..DeadTotals::default() };
    });
    one("parked", warning, &|facts| facts.parked = 2);
    one("unknown-removed", warning, &|facts| facts.unknown.removed = 1);
    one("unknown-near", warning, &|facts| {
        facts.unknown = UnknownTotals { rows: facts.dead_bounds.letters_max, ..UnknownTotals::default() };
    });
}

#[test]
fn small_bounds_are_near_when_they_are() {
    let found = |letters: u64| {
        let mut subscription = sound();
        subscription.dead_bounds.letters_max = 50;
        subscription.dead.letters = letters;
        diagnose(&Facts { subscriptions: vec![subscription], ..host() }).findings.len()
    };
    assert_eq!((found(1), found(40), found(41)), (0, 0, 1));
}

#[test]
fn the_worst_comes_first() {
    let facts = Facts { wal_bytes: 600 << 20, is_disk_full: true, ..host() };
    let levels: Vec<Level> = diagnose(&facts).findings.iter().map(|finding| finding.level).collect();
    assert_eq!(levels, [Level::Error, Level::Warning]);
}
