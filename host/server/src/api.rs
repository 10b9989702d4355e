//! The JSON of the admin API, shared by the server and the command line.
//!
//! Additive changes only: a field may be added, none is renamed or removed. Positions, revisions and times are text, so that no
//! client has to know how they are made. Knows nothing of HTTP.

mod backup;
mod dead;
mod erase;
mod explain;
mod kept;
mod records;
mod retention;
mod runs;
mod scheduled;
mod unknown;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::definition::{Definition, HealthSpec, Start};
use crate::quantity::Duration;

pub use backup::{BackupRequest, BackupView, RestoreView};
pub use dead::{
    AuditView, DeadChanged, DeadRequest, DeadView, PlannedReplay, ReplayPlan, ReplayProgress, ReplayRequest,
};
pub use erase::{EraseRequest, EraseView};
pub use explain::{EventHead, ExplainView, ExplanationView};
pub use kept::KeptFilter;
pub use records::{ReceivedView, RecordFilter, RecordView};
pub use retention::{KeptView, RetentionView, SetRetention, SetTopic};
pub use runs::{BoostRequest, DrainView, LetGoView, SeekRequest, SeekView};
pub use scheduled::{CancelRequest, CancelledView, ScheduledCounts, ScheduledEvent, ScheduledList, ScheduledView};
pub use unknown::{ResolveRequest, Resolved, UnknownView};

/// Every answer that is not 2xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable code, as in the table of codes.
    pub code: String,
    /// What was attempted, on what, and what to do.
    pub message: String,
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Its retention, `default` if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<String>,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicView {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: u32,
    /// Whether only the host writes to it: the private topic of a subscription.
    #[serde(default)]
    pub is_reserved: bool,
    /// Names of the subscriptions that cover it.
    pub subscriptions: Vec<String>,
    /// Its scheduled events in numbers.
    #[serde(default)]
    pub scheduled: ScheduledCounts,
    /// What is kept of its retention's log.
    #[serde(default)]
    pub kept: KeptView,
}

/// What applying a definition would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// `create`, `change` or `none`.
    pub action: String,
    /// Where a new subscription would start.
    pub start: String,
    /// How many stored events it would get at once.
    pub events: u64,
}

/// Why a subscription does not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseView {
    /// `operator`, `plugin` or `host`.
    pub by: String,
    /// For people.
    pub reason: String,
}

/// A request to pause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PauseRequest {
    /// For people.
    pub reason: String,
}

/// A subscription and what it is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubscriptionView {
    /// Its number.
    pub id: u32,
    /// `running`, `draining`, `paused` or `stopped`.
    pub state: String,
    /// Who paused it and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<PauseView>,
    /// Why it cannot run (no plugin of that name, its settings refused).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Where it started, when it was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// How much is left and how long it takes.
    #[serde(default)]
    pub drain: DrainView,
    /// Where a drain under way ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_to: Option<String>,
    /// The factor of a boost under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boost: Option<u32>,
    /// Deliveries that may be in flight at once, a boost included.
    #[serde(default)]
    pub places: u64,
    /// Timers of its plugin that wait.
    #[serde(default)]
    pub timers: u64,
    /// The latest run of the log that was let go undelivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub let_go: Option<LetGoView>,
    /// What it is doing now.
    pub status: SubscriptionStatus,
    /// As applied, without the value of any secret.
    pub definition: Definition,
}

/// Counters and gauges of one subscription.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SubscriptionStatus {
    /// Everything below is settled.
    pub floor: String,
    /// Offsets of the log from the floor to the end: an upper bound of what is not settled.
    pub backlog: u64,
    /// Events read and not yet started.
    pub ready: u64,
    /// Attempts that run now.
    pub in_flight: u64,
    /// Deliveries that wait for their next attempt.
    pub waiting: u64,
    /// Attempts started since the host started.
    pub attempts: u64,
    /// Deliveries acked since the host started.
    pub delivered: u64,
    /// Attempts to be repeated since the host started.
    pub retried: u64,
    /// Deliveries given up since the host started.
    pub dead: u64,
    /// Dead letters that nobody decided about yet.
    #[serde(default)]
    pub dead_open: u64,
    /// Keys that wait for a decision about their dead letter.
    #[serde(default)]
    pub parked: u64,
    /// Keys whose first delivery used up its attempts and is tried on.
    #[serde(default)]
    pub blocked: u64,
    /// Dead letters kept, in any state.
    #[serde(default)]
    pub dead_letters: u64,
    /// Their bytes.
    #[serde(default)]
    pub dead_bytes: u64,
    /// Undecided dead letters that were removed for being too many or too old.
    #[serde(default)]
    pub dead_removed: u64,
    /// Deliveries that may have been sent and that nobody resolved yet.
    #[serde(default)]
    pub unknown_open: u64,
    /// Unknown results kept, in any state.
    #[serde(default)]
    pub unknown_results: u64,
    /// Open unknown results that were removed for being too many or too old.
    #[serde(default)]
    pub unknown_removed: u64,
    /// Events that expired undelivered since the host started, because the backlog was over its cap.
    #[serde(default)]
    pub expired: u64,
    /// Deliveries that ended since the host started because the `expirytime` of their event had passed.
    #[serde(default)]
    pub expired_deliveries: u64,
    /// The backlog is over its cap and publishing to the subscription's topics is refused.
    #[serde(default)]
    pub is_backlog_full: bool,
    /// Side effects skipped because they were done before, since the host started.
    pub suppressed: u64,
    /// When the next waiting delivery is tried again, if the channel lets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<String>,
    /// Breaker, rate and degrade rules.
    #[serde(default)]
    pub channel: ChannelView,
    /// Publish to settled, the median, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settle_ms_p50: Option<u64>,
    /// Publish to settled, the slowest hundredth, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settle_ms_p99: Option<u64>,
}

/// The breaker of a subscription, its rate and its degrade rules, now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelView {
    /// `off`, `closed`, `open` or `half-open`.
    pub breaker: String,
    /// `channel` or `plugin`, while the breaker is not closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blamed: Option<String>,
    /// The failure that opened it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when the channel is sick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sick_since: Option<String>,
    /// The next probe is not before then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_probe: Option<String>,
    /// Openings in a row.
    #[serde(default)]
    pub openings: u32,
    /// Deliveries that the rate would let start now; none without a rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u32>,
    /// Classes with events that were read past while they are held back.
    #[serde(default)]
    pub classes_behind: u64,
    /// Times the breaker opened, since the host started.
    #[serde(default)]
    pub opened: u64,
    /// Events a rule kept back when it was their turn, since the host started.
    #[serde(default)]
    pub deferred: u64,
    /// Events a rule handed to another subscription, since the host started.
    #[serde(default)]
    pub rerouted: u64,
    /// Events a rule dropped with a record, since the host started.
    #[serde(default)]
    pub dropped: u64,
    /// Each degrade rule, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleView>,
}

/// One degrade rule, now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleView {
    /// Whether it counts now.
    pub counts: bool,
    /// Events it decided since the host started.
    pub decided: u64,
}

/// What to simulate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimulateRequest {
    /// The candidate; without it the subscription as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<Definition>,
    /// From where on; default `latest`, which is nothing.
    pub from: Start,
    /// Under which health; without any, under each.
    pub health: Vec<HealthSpec>,
    /// How long each event has waited when it is decided. Default: not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<Duration>,
}

/// What a degrade policy would do with stored events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Simulation {
    /// The subscription.
    pub subscription: String,
    /// The first place that was looked at.
    pub from: String,
    /// The place after the last one.
    pub to: String,
    /// Events that the subscription wants there.
    pub events: u64,
    /// Whether it ended before the end of the log.
    pub is_cut: bool,
    /// What would be done with them, for each health.
    pub healths: Vec<HealthDecisions>,
}

/// Decisions under one health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthDecisions {
    /// `healthy` or `sick`.
    pub health: String,
    /// By class.
    pub classes: BTreeMap<String, ClassDecisions>,
    /// Events that each rule decided.
    pub rules: Vec<u64>,
}

/// Decisions on the events of one class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassDecisions {
    /// To be sent.
    pub sent: u64,
    /// To be kept.
    pub deferred: u64,
    /// To be handed to another subscription.
    pub rerouted: u64,
    /// To be dropped with a record.
    pub dropped: u64,
}

/// A plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginView {
    /// Its name.
    pub name: String,
    /// SHA-256 of the active component.
    pub revision: String,
    /// Version from its manifest.
    pub version: String,
    /// `channel` or `batch-channel`; none for one that could not be loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub world: Option<String>,
    /// Description from its manifest.
    pub description: String,
    /// Size of the component.
    pub bytes: u64,
    /// When it became active.
    pub deployed_at: String,
    /// Names of the subscriptions that use it.
    pub subscriptions: Vec<String>,
}

/// One ended attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptView {
    /// Which try.
    pub attempt: u32,
    /// When it ended.
    pub at: String,
    /// Why it did not succeed.
    pub reason: String,
}

/// An event in CloudEvents JSON form, beside where it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventView {
    /// Where it is.
    pub position: String,
    /// Its topic.
    pub topic: String,
    /// When the host accepted it.
    pub received: String,
    /// The event: attributes, and `data` or `data_base64`.
    pub event: serde_json::Map<String, serde_json::Value>,
}

/// A page of events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TailPage {
    /// The events, in log order.
    pub events: Vec<EventView>,
    /// Where to go on.
    pub next: String,
}

/// What is known of an event id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdView {
    /// `stored` or `not-in-window`.
    pub state: String,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
}

/// A kv entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryView {
    /// Key.
    pub key: String,
    /// Value, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Value in base64, if it is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    /// Changes with every write.
    pub version: u64,
}

/// A page of kv entries, in key order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntriesPage {
    /// The entries.
    pub entries: Vec<EntryView>,
    /// The key to go on after, if there may be more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Whether a conditional write was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swapped {
    /// `false`: the entry has another version.
    pub applied: bool,
}

/// The host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// Version of the host.
    pub version: String,
    /// How often this data directory was opened.
    pub boot: u64,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Where it keeps everything.
    pub data_dir: String,
    /// Where producers connect.
    pub quic: String,
    /// SHA-256 of its certificate.
    pub fingerprint: String,
    /// Where the next event goes.
    pub next: String,
    /// Number of topics.
    pub topics: u64,
    /// Scheduled events that wait for their time.
    #[serde(default)]
    pub scheduled: u64,
    /// What is kept of the log of each retention.
    #[serde(default)]
    pub kept: Vec<KeptView>,
    /// Events stored since the start.
    pub events: u64,
    /// Duplicates recognised since the start.
    pub duplicates: u64,
    /// Events refused since the start.
    pub refused: u64,
    /// Synced commits since the start.
    pub commits: u64,
    /// Resident memory in bytes.
    pub memory: u64,
    /// Subscriptions by name: state and numbers.
    pub subscriptions: BTreeMap<String, SubscriptionSummary>,
}

/// One line of the status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubscriptionSummary {
    /// `running`, `draining`, `paused` or `stopped`.
    pub state: String,
    /// How much is left and how long it takes.
    #[serde(default)]
    pub drain: DrainView,
    /// Its plugin.
    pub plugin: String,
    /// Counters and gauges.
    #[serde(flatten)]
    pub status: SubscriptionStatus,
}
