//! `/metrics` in Prometheus text form.
//!
//! Knows the names and where the numbers come from; counts nothing itself. Labels are names of subscriptions and plugins, never
//! keys or ids, so their number stays small.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bugle_broker::{SubscriptionStatus, Throughput};
use bugle_core::flow::BreakerStatus;
use bugle_core::ids::Name;

use crate::host::Host;
use crate::tally::Took;

/// Version 0.0.4 of the text format.
const TEXT: &str = "text/plain; version=0.0.4";

pub(super) async fn show(State(host): State<Arc<Host>>) -> Response {
    let mut page = Page::default();
    process(&mut page, &host);
    commits(&mut page, &host);
    logs(&mut page, &host);
    producers(&mut page, &host);
    subscriptions(&mut page, &host).await;
    plugins(&mut page, &host);
    callbacks(&mut page, &host);
    ([(CONTENT_TYPE, TEXT)], page.0).into_response()
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: u64) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        self.line(name, "", value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "gauge", help);
        self.line(name, "", value);
    }

    fn each<T>(
        &mut self,
        kind: &str,
        name: &str,
        help: &str,
        label: &str,
        all: &[(Name, T)],
        value: impl Fn(&T) -> u64,
    ) {
        self.head(name, kind, help);
        for (owner, counts) in all {
            self.line(name, &format!("{label}=\"{owner}\""), value(counts));
        }
    }
}

fn process(page: &mut Page, host: &Host) {
    let memory = "process_resident_memory_bytes";
    page.gauge(memory, "Resident memory.", crate::host::resident_bytes());
    let uptime = "bugle_uptime_seconds";
    page.gauge(uptime, "Seconds since the start.", host.uptime().as_secs());
}

fn commits(page: &mut Page, host: &Host) {
    let bus = host.bus();
    let counts = bus.commits();
    page.counter("bugle_events_total", "Events stored.", counts.events.get());
    page.counter("bugle_duplicates_total", "Publishes recognised as repeated.", counts.duplicates.get());
    page.counter("bugle_refused_total", "Events and batches refused.", counts.refused.get());
    page.counter("bugle_disk_full_total", "Batches refused for lack of disk.", counts.disk_full.get());
    page.counter(
        "bugle_backlog_refused_total",
        "Batches refused because a subscription's backlog is over its cap.",
        counts.backlog_full.get(),
    );
    page.counter("bugle_released_total", "Scheduled events released.", counts.released.get());
    page.gauge("bugle_scheduled_events", "Scheduled events that wait for their time.", host.scheduled_waiting());
    page.counter("bugle_commits_total", "Atomic batches written.", counts.commits.get());
    // Every commit is synced once and nothing else is, so the two are one number under two names.
    page.counter("bugle_fsyncs_total", "Syncs of the write-ahead log.", counts.commits.get());
    page.counter("bugle_commit_bytes_total", "Bytes of those batches.", counts.bytes.get());
    page.counter("bugle_commit_rows_total", "Rows of those batches.", counts.rows.get());
    page.counter("bugle_commit_microseconds_total", "Time inside commits.", counts.commit_us.get());
    page.counter("bugle_id_lookups_total", "Ids looked up to judge duplicates.", counts.lookups.get());
    page.counter("bugle_swept_rows_total", "Rows of ended claims and kv entries removed.", counts.swept.get());
    page.gauge("bugle_log_end", "Offset after the last event.", bus.end().0);
    page.gauge("bugle_tail_ring_bytes", "Events in memory.", bus.ring_bytes() as u64);
    page.gauge("bugle_disk_full", "1 while publishing is refused for lack of disk.", u64::from(bus.is_disk_full()));
}

/// One line per retention.
fn logs(page: &mut Page, host: &Host) {
    let kept: Vec<_> = host.kept_logs().into_iter().map(|kept| (Name::from(kept.retention.as_str()), kept)).collect();
    let label = "retention";
    page.each("gauge", "bugle_log_bytes", "Bytes of the log, in memory and on disk.", label, &kept, |kept| kept.bytes);
    page.each("gauge", "bugle_log_epochs", "Runs it is dropped in.", label, &kept, |kept| kept.epochs);
    let help = "Bytes that a subscription keeps beyond the retention.";
    page.each("gauge", "bugle_log_pinned_bytes", help, label, &kept, |kept| kept.pinned_bytes);
    let help = "Age of the oldest event that is kept; 0 if there is none.";
    page.each("gauge", "bugle_log_oldest_age_seconds", help, label, &kept, |kept| {
        kept.oldest.map_or(0, |age| age.0.0 / 1000)
    });
    page.each("gauge", "bugle_log_oldest", "Offset of the oldest event that is kept.", label, &kept, |kept| {
        kept.from_offset()
    });
}

fn producers(page: &mut Page, host: &Host) {
    let counts = host.producers();
    page.gauge("bugle_sessions", "Producers connected.", counts.open);
    page.counter("bugle_sessions_total", "Sessions opened.", counts.opened);
    page.counter("bugle_sessions_refused_total", "Connections that got no session.", counts.turned_away);
    page.counter("bugle_sessions_broken_total", "Sessions ended by a client's mistake.", counts.broken);
    page.counter("bugle_received_events_total", "Events received.", counts.events);
    page.counter("bugle_received_bytes_total", "Bytes of publish frames received.", counts.bytes);
}

async fn subscriptions(page: &mut Page, host: &Host) {
    let all = host.bus().throughputs();
    let label = "subscription";
    let mut counter = |name: &str, help: &str, value: &dyn Fn(&Throughput) -> u64| {
        page.each("counter", name, help, label, &all, value);
    };
    counter("bugle_attempts_total", "Attempts started.", &|counts| counts.attempts);
    counter("bugle_delivered_total", "Deliveries acked.", &|counts| counts.acked);
    counter("bugle_retried_total", "Attempts to be repeated.", &|counts| counts.nacked + counts.broke + counts.lapsed);
    counter("bugle_rejected_total", "Deliveries rejected by the plugin.", &|counts| counts.rejected);
    counter("bugle_dead_total", "Deliveries given up, rejected ones included.", &|counts| counts.dead);
    counter("bugle_deferred_total", "Attempts put off.", &|counts| counts.deferred);
    counter("bugle_unknown_total", "Attempts that may have been sent.", &|counts| counts.unknown);
    counter("bugle_conflicts_total", "Attempts run again after a conflict.", &|counts| counts.conflicts);
    counter("bugle_not_started_total", "Attempts that never started.", &|counts| counts.not_started);
    counter("bugle_expired_total", "Events that expired: the backlog was over its cap.", &|counts| counts.expired);
    let past = "Deliveries that ended because the expirytime of their event had passed.";
    counter("bugle_expired_deliveries_total", past, &|counts| counts.expired_deliveries);
    let copies = "Deliveries that go on in a copy, since nothing was heard of what was sent.";
    counter("bugle_late_copies_total", copies, &|counts| counts.late_copies);
    let manual = "Send records that nothing followed and that a person has to look at.";
    counter("bugle_late_manual_total", manual, &|counts| counts.late_manual);
    counter("bugle_breaker_opened_total", "Times the breaker opened.", &|counts| counts.flow.opened);
    counter("bugle_degrade_deferred_total", "Events a degrade rule kept back.", &|counts| counts.flow.deferred);
    counter("bugle_degrade_rerouted_total", "Events a degrade rule handed on.", &|counts| counts.flow.rerouted);
    counter("bugle_degrade_dropped_total", "Events a degrade rule dropped.", &|counts| counts.flow.dropped);
    counter("bugle_store_reads_total", "Reads of events from the disk.", &|counts| counts.store_reads);
    let suppressed = "bugle_suppressed_total";
    page.each(
        "counter",
        suppressed,
        "Side effects skipped because they were done before.",
        label,
        &all_suppressed(host),
        |count| *count,
    );
    gauges(page, host).await;
    histogram(page, &all);
}

fn all_suppressed(host: &Host) -> Vec<(Name, u64)> {
    let names = host.bus().subscriptions().into_iter().map(|spec| spec.name);
    names.map(|name| (name.clone(), host.tally().suppressed(&name))).collect()
}

async fn gauges(page: &mut Page, host: &Host) {
    let mut all = Vec::new();
    for status in host.bus().statuses().await {
        all.push((status.spec.name.clone(), status));
    }
    let label = "subscription";
    page.each(
        "gauge",
        "bugle_backlog",
        "Offsets from the floor to the end of the log: an upper bound.",
        label,
        &all,
        |status| status.backlog_max,
    );
    page.each("gauge", "bugle_unsettled", "Offsets of the log that are not settled.", label, &all, |status| {
        status.unsettled
    });
    page.each("gauge", "bugle_backlog_full", "1 while publishing is refused for its backlog.", label, &all, |status| {
        status.machine.as_ref().map_or(0, |machine| u64::from(machine.is_backlog_full))
    });
    page.each("gauge", "bugle_in_flight", "Attempts that run.", label, &all, |status| {
        status.machine.as_ref().map_or(0, |machine| machine.in_flight as u64)
    });
    page.each("gauge", "bugle_waiting", "Deliveries that wait for their next attempt.", label, &all, |status| {
        status.machine.as_ref().map_or(0, |machine| machine.waiting as u64)
    });
    let breaker = "bugle_breaker_state";
    page.each("gauge", breaker, "0 closed or off, 1 half-open, 2 open.", label, &all, |status| {
        status.machine.as_ref().map_or(0, |machine| match &machine.flow.breaker {
            BreakerStatus::Off | BreakerStatus::Closed => 0,
            BreakerStatus::Open { is_half_open: true, .. } => 1,
            BreakerStatus::Open { is_half_open: false, .. } => 2,
        })
    });
    let dead = |status: &SubscriptionStatus| status.machine.as_ref().map(|machine| machine.dead).unwrap_or_default();
    page.each("gauge", "bugle_dead_letters", "Dead letters kept, in any state.", label, &all, |status| {
        dead(status).letters
    });
    page.each("gauge", "bugle_dead_letter_bytes", "Their bytes.", label, &all, |status| dead(status).bytes);
    let unknown =
        |status: &SubscriptionStatus| status.machine.as_ref().map(|machine| machine.unknown).unwrap_or_default();
    let help = "Deliveries that may have been sent and that nobody resolved.";
    page.each("gauge", "bugle_unknown_open", help, label, &all, |status| unknown(status).open);
    let help = "Unknown results removed unresolved.";
    page.each("counter", "bugle_unknown_removed_total", help, label, &all, |status| unknown(status).removed);
    page.each("gauge", "bugle_dead_open", "Dead letters that nobody decided about.", label, &all, |status| {
        dead(status).open
    });
    page.each("gauge", "bugle_parked_keys", "Keys that wait for a decision.", label, &all, |status| {
        dead(status).manual
    });
    page.each("gauge", "bugle_blocked_keys", "Keys whose head used up its attempts.", label, &all, |status| {
        status.machine.as_ref().map_or(0, |machine| machine.blocked as u64)
    });
    let removed = "Undecided dead letters removed for being too many or too old.";
    page.each("counter", "bugle_dead_removed_total", removed, label, &all, |status| dead(status).removed);
    page.each("gauge", "bugle_paused", "1 while paused.", label, &all, |status| {
        status.machine.as_ref().map_or(0, |machine| u64::from(machine.paused.is_some()))
    });
}

fn histogram(page: &mut Page, all: &[(Name, Throughput)]) {
    let name = "bugle_settle_milliseconds";
    page.head(name, "histogram", "From publish to settled, acked deliveries.");
    for (subscription, counts) in all {
        let mut below = 0;
        let mut sum = 0;
        for (bound, count) in counts.settle_ms.buckets() {
            below += count;
            sum += bound.0 * count;
            let labels = format!("subscription=\"{subscription}\",le=\"{}\"", bound.0);
            page.line(&format!("{name}_bucket"), &labels, below);
        }
        let labels = format!("subscription=\"{subscription}\"");
        page.line(&format!("{name}_bucket"), &format!("{labels},le=\"+Inf\""), below);
        // An upper bound: buckets are 19 % wide and each counts as its upper edge.
        page.line(&format!("{name}_sum"), &labels, sum);
        page.line(&format!("{name}_count"), &labels, below);
    }
}

fn plugins(page: &mut Page, host: &Host) {
    let all = host.tally().broken();
    page.each("counter", "bugle_plugin_traps_total", "Calls that trapped.", "plugin", &all, |broken| broken.trapped);
    page.each(
        "counter",
        "bugle_plugin_timeouts_total",
        "Calls stopped for taking too long.",
        "plugin",
        &all,
        |broken| broken.timed_out,
    );
    page.each("counter", "bugle_plugin_limits_total", "Calls stopped by a limit.", "plugin", &all, |broken| {
        broken.limited
    });
}

fn callbacks(page: &mut Page, host: &Host) {
    let (all, to_nobody) = host.tally().callbacks();
    let name = "bugle_callbacks_total";
    page.head(name, "counter", "Callbacks of providers, by what became of them.");
    for (subscription, counts) in &all {
        for (took, count) in Took::ALL.into_iter().zip(counts) {
            page.line(name, &format!("subscription=\"{subscription}\",result=\"{}\"", took.word()), *count);
        }
    }
    page.counter("bugle_callbacks_to_nobody_total", "Callbacks under a name that takes none.", to_nobody);
}
