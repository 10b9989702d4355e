//! Tests of definitions: the written forms, what is refused, and that no secret shows.

use std::path::Path;

use bugle_core::ids::{SubscriptionId, TopicId};
use bugle_core::spec::{Classes, DeadBounds, DegradeAction, Filter, Health, OnDeadFull, OnExhausted, Ordering, Rate};
use bugle_core::time::Millis;

use super::{Definition, SecretSource, Start};

const FULL: &str = r#"
name = "orders-webhook"
topics = ["orders"]
plugin = "webhook"
filter = { all = [{ prefix = { type = "order." } }, { not = { exact = { subject = "test" } } }] }
ordering = "none"
concurrency = 8
rate = "30/m"
burst = 4
prefetch = "1MiB"
breaker = { open_first = "2s", open_max = "1m", probes = 5 }
blame = { events_min = 20, fresh_breaks_max = 2 }
degrade = [
    { while = "sick", classes = ["critical"], do = "reroute", to = "sms", for = "10s", until = "1m" },
    { classes = ["low"], older_than = "1h", do = "drop" },
]
lease = "90s"
start = "0-17"
on_exhausted = "park-key"

[retry]
attempts_max = 5
first_backoff = "200ms"
backoff_max = "10s"

[dead_letters]
letters_max = 500
bytes_max = "2MiB"
age_max = "3d"
on_full = "pause"

[config]
url = "https://api.example.com/hook"
tries = 3

[grants]
egress = ["https://api.example.com"]
publish = ["audit"]
pause = true
mail = true

[grants.secrets]
signing = { value = "whsec_c2VjcmV0" }

[limits]
memory = "32MiB"
wall = "20s"
"#;

fn parse(text: &str) -> Definition {
    Definition::parse(Path::new("s.toml"), text).unwrap()
}

fn refused(text: &str) -> String {
    Definition::parse(Path::new("s.toml"), text).unwrap_err().to_string()
}

fn check(change: &str, to: &str, wanted: &[&str]) {
    let text = FULL.replace(change, to);
    assert_ne!(text, FULL, "{change}");
    let said = refused(&text);
    for part in wanted {
        assert!(said.contains(part), "{to}: {said}");
    }
}

#[test]
fn three_lines_are_a_definition() {
    let minimal = parse("name = \"a\"\ntopics = [\"t\"]\nplugin = \"p\"\n");
    assert_eq!(minimal.concurrency, 32);
    assert_eq!(minimal.start, Start::Latest);
    let core = minimal.to_core(SubscriptionId(1), vec![TopicId(2)]);
    assert_eq!(core.filter, Filter::Everything);
    assert_eq!(core.ordering, Ordering::ByKey);
    assert_eq!(core.retry.attempts_max, 16);
    assert_eq!(core.lease.0, 60_000);
    assert_eq!((core.on_exhausted, core.dead), (OnExhausted::Skip, DeadBounds::default()));
}

#[test]
fn a_full_definition_survives_json() {
    let full = parse(FULL);
    let json = serde_json::to_string(&full).unwrap();
    let back = Definition::parse(Path::new("s.json"), &json).unwrap();
    assert_eq!(back, full);
    let core = full.to_core(SubscriptionId(1), vec![TopicId(2)]);
    assert_eq!(core.concurrency, 8);
    assert_eq!(core.filter.depth(), 3);
    assert_eq!((core.on_exhausted, core.dead.letters_max), (OnExhausted::ParkKey, 500));
    assert_eq!((core.dead.bytes_max, core.dead.on_full), (2 << 20, OnDeadFull::Pause));
}

#[test]
fn mistakes_are_told_with_a_way_out() {
    check("concurrency", "concurency", &["s.toml:7:1", "did you mean `concurrency`?"]);
    check("concurrency = 8", "concurrency = 0", &["`concurrency`", "from 1"]);
    check("concurrency = 8", "batch_max = 0", &["`batch_max`", "from 1 to 64"]);
    check("concurrency = 8", "batch_max = 65", &["`batch_max`", "from 1 to 64"]);
    check("[\"orders\"]", "[]", &["`topics` is empty"]);
    check("[\"orders\"]", "[\"Orders\"]", &["not a topic name"]);
    check("attempts_max = 5", "attempts_max = 0", &["use 1 for no retry"]);
    check("\"200ms\"", "\"20s\"", &["longer than `backoff_max`"]);
    check("\"90s\"", "\"2d\"", &["from 1s to 1d"]);
    check("\"0-17\"", "\"newest\"", &["`latest`", "`earliest`"]);
    check("\"park-key\"", "\"park\"", &["`park-key`", "`block`"]);
    check("letters_max = 500", "letters_max = 0", &["no dead letter would be kept"]);
    check("\"2MiB\"", "\"2KiB\"", &["`1MiB`"]);
    check("\"3d\"", "\"3s\"", &["`1m`"]);
    check("\"pause\"", "\"stop\"", &["`remove-oldest`"]);
    check("[\"orders\"]", "[\"bugle.to.x\"]", &["private topic"]);
    check("type =", "Type =", &["`Type`", "CloudEvents attribute"]);
    check("{ prefix = { type = \"order.\" } }", "{ prefx = {} }", &["did you mean `prefix`?"]);
    check("egress = [\"https://api.example.com\"]", "egress = [\"api.example.com/x\"]", &["an origin such as"]);
}

#[test]
fn topics_may_be_names_and_patterns() {
    let text = "name = \"a\"\ntopics = [\"orders\", \"orders.*\", \"refunds.**\"]\nplugin = \"p\"\n";
    let definition = parse(text);
    assert_eq!(definition.named_topics().collect::<Vec<_>>(), ["orders"]);
    let core = definition.to_core(SubscriptionId(1), vec![TopicId(2)]);
    assert_eq!(core.patterns.len(), 2);
    assert!(core.has_pattern_for("refunds.eu.west") && !core.has_pattern_for("orders"));
    let with = |topic: &str| text.replace("orders.*", topic);
    assert!(refused(&with("orders.**.x")).contains("bad pattern"));
    assert!(refused(&with("bugle.*")).contains("topics of the host"));
    let many: Vec<String> = (0..300).map(|n| format!("\"t{n}\"")).collect();
    let many = format!("name = \"a\"\ntopics = [{}]\nplugin = \"p\"\n", many.join(","));
    assert!(refused(&many).contains("more than 256"));
}

#[test]
fn a_backlog_has_a_cap_and_a_policy() {
    let text = "name = \"a\"\ntopics = [\"t\"]\nplugin = \"p\"\n";
    let core = parse(text).to_core(SubscriptionId(1), vec![TopicId(2)]);
    assert_eq!(core.backlog, bugle_core::spec::BacklogCap::default());
    assert_eq!((core.backlog.events_max, core.backlog.bytes_max), (10_000_000, 16 << 30));
    let with = format!("{text}backlog = {{ events = 5, bytes = \"1MiB\", policy = \"refuse-publish\" }}\n");
    let core = parse(&with).to_core(SubscriptionId(1), vec![TopicId(2)]);
    assert_eq!((core.backlog.events_max, core.backlog.bytes_max), (5, 1 << 20));
    assert_eq!(core.backlog.policy, bugle_core::spec::BacklogPolicy::RefusePublish);
    assert!(refused(&with.replace("1MiB", "0B")).contains("more than 0"));
    assert!(refused(&with.replace("refuse-publish", "refuse")).contains("refuse-publish"));
}

#[test]
fn a_filter_may_not_have_parts_without_end() {
    let parts: Vec<String> = (0..1_100).map(|n| format!("{{ exact = {{ id = \"{n}\" }} }}")).collect();
    let filter = format!("{{ any = [{}] }}", parts.join(","));
    let text = format!("name = \"a\"\ntopics = [\"t\"]\nplugin = \"p\"\nfilter = {filter}\n");
    assert!(refused(&text).contains("more than 1024 parts"));
}

#[test]
fn rate_breaker_blame_and_rules_reach_the_core() {
    let full = parse(FULL);
    let core = full.to_core(SubscriptionId(1), vec![TopicId(2)]);
    let protection = &core.protection;
    assert_eq!(protection.rate, Some(Rate { events: 30, per: Millis(60_000), burst: 4 }));
    let breaker = protection.breaker.unwrap();
    assert_eq!((breaker.open_first, breaker.open_max, breaker.probes), (Millis(2_000), Millis(60_000), 5));
    assert_eq!((protection.blame.events_min, protection.blame.fresh_breaks_max), (20, 2));
    assert_eq!(core.prefetch_bytes, 1 << 20);
    let rules = full.degrade_rules(|name| (name == "sms").then_some(TopicId(9))).unwrap();
    assert_eq!((rules[0].action, rules[0].health), (DegradeAction::Reroute(TopicId(9)), Some(Health::Sick)));
    assert_eq!((rules[0].sustained, rules[0].until), (Millis(10_000), Millis(60_000)));
    assert_eq!((rules[1].action, rules[1].older_than), (DegradeAction::Drop, Millis(3_600_000)));
    assert_eq!((rules[1].classes, rules[1].health), (Classes::of(&[bugle_core::event::Class::Low]), None));
    assert_eq!(full.degrade_rules(|_| None), Err("sms".to_owned()));
    let minimal =
        parse("name = \"a\"\ntopics = [\"t\"]\nplugin = \"p\"\nrate = \"100/s\"\nbreaker = { enabled = false }\n");
    let core = minimal.to_core(SubscriptionId(1), vec![TopicId(2)]);
    assert_eq!(core.protection.rate, Some(Rate { events: 100, per: Millis(1_000), burst: 100 }));
    assert_eq!((core.protection.breaker, core.prefetch_bytes), (None, 4 << 20));
}

#[test]
fn bad_protection_is_refused_by_field() {
    check("\"30/m\"", "\"fast\"", &["`fast` is not a rate", "`100/s`"]);
    check("\"30/m\"", "\"0/s\"", &["at least one event"]);
    check("\"30/m\"", "\"1/2d\"", &["1ms to 1d"]);
    check("burst = 4", "burst = 0", &["`burst` is 0"]);
    check("rate = \"30/m\"\n", "", &["`burst` has no `rate`"]);
    check("\"1MiB\"", "\"1KiB\"", &["`prefetch` must be from 64KiB"]);
    check("open_first = \"2s\"", "open_first = \"2m\"", &["`breaker.open_first` is longer than `open_max` (1m)"]);
    check("open_max = \"1m\"", "open_max = \"2d\"", &["`breaker.open_first`", "at most 1d"]);
    check("probes = 5", "probes = 0", &["`breaker.probes`", "from 1"]);
    check("events_min = 20", "events_min = 1", &["`blame.events_min`", "proves nothing"]);
    check("fresh_breaks_max = 2", "fresh_breaks_max = 0", &["`blame.fresh_breaks_max` is 0"]);
    check("do = \"drop\"", "do = \"defer\"", &["`degrade` rule 2 cannot `defer` by `older_than`"]);
    check("do = \"drop\"", "do = \"explode\"", &["`explode`"]);
    check("classes = [\"low\"]", "classes = []", &["rule 2 has no `classes`"]);
    check("classes = [\"low\"]", "classes = [\"high\"]", &["`high`"]);
    check(", to = \"sms\"", "", &["rule 1 must say `to`"]);
    check("to = \"sms\"", "to = \"orders-webhook\"", &["its own subscription"]);
    check("to = \"sms\"", "to = \"S M S\"", &["not a subscription name"]);
    check("do = \"drop\"", "do = \"drop\", to = \"sms\"", &["rule 2 has `to`"]);
    check("while = \"sick\", ", "", &["rule 1 has `for` or `until` but no `while`"]);
    check("while =", "whle =", &["did you mean `while`?"]);
}

#[test]
fn a_filter_may_not_nest_without_end() {
    let deep = format!("{}{{ exact = {{ id = \"1\" }} }}{}", "{ not = ".repeat(20), " }".repeat(20));
    let text = format!("name = \"a\"\ntopics = [\"t\"]\nplugin = \"p\"\nfilter = {deep}\n");
    assert!(refused(&text).contains("deeper than 16"));
}

#[test]
fn a_secret_shows_only_its_fingerprint_and_can_be_kept() {
    let full = parse(FULL);
    let shown = full.grants.redacted();
    let text = serde_json::to_string(&shown).unwrap() + &format!("{full:?}");
    assert!(!text.contains("c2VjcmV0"), "{text}");
    let mut again = shown.clone();
    again.resolve_secrets(Some(&full.grants)).unwrap();
    assert_eq!(again, full.grants);
    let mut foreign = shown;
    assert!(foreign.resolve_secrets(None).unwrap_err().contains("signing"));
}

#[test]
fn env_and_file_are_read_where_the_person_is() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), "abc\n").unwrap();
    let source = SecretSource::File("key".into());
    assert_eq!(source.read(dir.path()).unwrap().value(), Some("abc"));
    let missing = SecretSource::Env("BUGLE_TEST_NOT_SET".into());
    assert!(missing.read(dir.path()).unwrap_err().contains("BUGLE_TEST_NOT_SET"));
    let mut grants = super::Grants::default();
    grants.secrets.insert("x".into(), missing);
    assert!(grants.resolve_secrets(None).unwrap_err().contains("must be sent as its value"));
}
