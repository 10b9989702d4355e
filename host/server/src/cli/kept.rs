//! What `bugle dead` and `bugle unknown` have in common: which rows, lists, the question before many are changed, and the history.
//!
//! Knows nothing of what is done with them. Invariant: what changes more than one asks first.

use anyhow::bail;
use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::admin::{AdminClient, escape, query};
use super::print;
use crate::api::{AttemptView, EventView, KeptFilter};

/// One of them.
#[derive(Debug, Args)]
pub(super) struct One {
    /// Subscription
    subscription: String,
    /// Position of its event
    position: String,
}

impl One {
    /// Where it is below `/v1/dead` or `/v1/unknown`.
    pub(super) fn path(&self, root: &str) -> String {
        format!("{root}/{}/{}", escape(&self.subscription), escape(&self.position))
    }
}

/// What to list.
#[derive(Debug, Args)]
pub(super) struct Extent {
    /// Subscription [default: all]
    subscription: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 100)]
    limit: u32,
}

/// Which ones, by what both kinds have.
#[derive(Debug, Args)]
pub(super) struct Filters {
    /// CloudEvents type; with * at its end every type that begins so
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Ordering key
    #[arg(long)]
    key: Option<String>,
    /// Kept since: RFC 3339, or how long ago (2h)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Kept before: RFC 3339, or how long ago
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Plugin revision of the last attempt, or how its SHA-256 begins
    #[arg(long, value_name = "SHA256")]
    revision: Option<String>,
}

impl Filters {
    /// Without cause and state.
    pub(super) fn filter(self, position: Option<String>) -> KeptFilter {
        let Filters { kind, key, since, until, revision } = self;
        KeptFilter { position, kind, key, since, until, revision, ..KeptFilter::default() }
    }
}

/// Those that a filter selects, from `/v1/dead` or `/v1/unknown`.
pub(super) fn list<T: DeserializeOwned>(
    admin: &AdminClient,
    root: &str,
    extent: Extent,
    filter: &KeptFilter,
) -> anyhow::Result<Vec<T>> {
    let parameters = query(&[
        ("subscription", extent.subscription.as_deref()),
        ("limit", Some(&extent.limit.to_string())),
        ("type", filter.kind.as_deref()),
        ("key", filter.key.as_deref()),
        ("cause", filter.cause.as_deref()),
        ("since", filter.since.as_deref()),
        ("until", filter.until.as_deref()),
        ("revision", filter.revision.as_deref()),
        ("state", filter.state.as_deref()),
    ]);
    admin.get(&format!("{root}{parameters}"))
}

/// What `confirm` of a request has to be: with `--yes` for any number of rows that a filter selects.
pub(super) fn confirmed(yes: bool, filter: &KeptFilter) -> Option<u64> {
    (yes && filter.position.is_none()).then_some(u64::MAX)
}

/// Has rows changed; a refusal for want of confirmation says how to give it.
pub(super) fn change<T: DeserializeOwned>(
    admin: &AdminClient,
    path: &str,
    request: &impl Serialize,
) -> anyhow::Result<T> {
    match admin.post(path, request) {
        Err(error) if error.to_string().contains("confirm that number") => bail!("{error}; add --yes to do it"),
        answer => answer,
    }
}

/// An attribute of an event, or nothing.
pub(super) fn attribute(event: &EventView, name: &str) -> String {
    event.event.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
}

/// Prints names and values, the attempts, and the event.
pub(super) fn show(pairs: &[(&str, String)], history: &[AttemptView], event: &EventView) -> anyhow::Result<()> {
    print::pairs(pairs)?;
    print::line("")?;
    let row = |note: &AttemptView| vec![note.attempt.to_string(), note.at.clone(), note.reason.clone()];
    let attempts: Vec<_> = history.iter().map(row).collect();
    print::table(&["ATTEMPT", "ENDED", "WHY"], &attempts, "no attempts")?;
    print::line("")?;
    print::json(&event.event)
}
