//! `bugle scheduled`.

use anyhow::bail;
use clap::Subcommand;

use super::admin::{escape, query};
use super::{Context, print};
use crate::api::{CancelRequest, CancelledView, ScheduledEvent, ScheduledList};

/// What can be done with scheduled events.
#[derive(Debug, Subcommand)]
pub(super) enum ScheduledCommand {
    /// List scheduled events of a topic, those due first
    #[command(after_help = "Example:\n  bugle scheduled list orders --from 2026-11-25T10:00:00Z --limit 20")]
    List {
        /// Topic
        topic: String,
        /// Due at this time or later
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Cancel one scheduled event, or all of an ordering key
    #[command(
        after_help = "Examples:\n  bugle scheduled cancel orders --source shop --id 7f3c\n  bugle scheduled cancel orders --key order-7"
    )]
    Cancel {
        /// Topic
        topic: String,
        /// CloudEvents id of the event
        #[arg(long, requires = "source", required_unless_present = "key")]
        id: Option<String>,
        /// CloudEvents source of the event
        #[arg(long, requires = "id")]
        source: Option<String>,
        /// Ordering key of the events
        #[arg(long, conflicts_with_all = ["id", "source"])]
        key: Option<String>,
    },
}

/// Events of one page.
const PAGE: usize = 1_000;

pub(super) fn run(context: &Context, command: ScheduledCommand) -> anyhow::Result<()> {
    match command {
        ScheduledCommand::List { topic, from, limit } => list(context, &topic, from, limit),
        ScheduledCommand::Cancel { topic, id, source, key } => {
            cancel(context, &topic, &CancelRequest { source, id, key })
        }
    }
}

/// Asks again while there is more of a key; what came in between is cancelled too.
fn cancel(context: &Context, topic: &str, request: &CancelRequest) -> anyhow::Result<()> {
    let admin = context.admin()?;
    let path = format!("/v1/topics/{}/scheduled/cancel", escape(topic));
    let mut all: CancelledView = admin.post(&path, request)?;
    while all.is_more {
        let next: CancelledView = admin.post(&path, request)?;
        all = CancelledView { cancelled: all.cancelled.saturating_add(next.cancelled), ..next };
    }
    if context.json {
        return print::json(&all);
    }
    let position = all.position.as_deref().unwrap_or("-");
    let at = all.ended_at.as_deref().unwrap_or("-");
    let other = all.other.as_deref().unwrap_or("-");
    match all.state.as_str() {
        "done" => print::line(&format!("{} cancelled", all.cancelled)),
        "already-released" => {
            print::line(&format!("{position} was released {at}, too late to cancel; its copy is {other}"))
        }
        "already-replaced" => print::line(&format!("{position} was replaced {at} by {other}")),
        "already-expired" => print::line(&format!("{position} expired {at}, when it was to be released")),
        "already-cancelled" => print::line(&format!("{position} was cancelled {at}")),
        "not-scheduled" => print::line(&format!("{position} was delivered at once; nothing is scheduled")),
        _ => bail!(
            "no event of that source and id is scheduled in `{topic}`, nor known within the window of remembered ids"
        ),
    }
}

fn list(context: &Context, topic: &str, mut from: Option<String>, limit: usize) -> anyhow::Result<()> {
    let admin = context.admin()?;
    let mut found: Vec<ScheduledEvent> = Vec::new();
    while found.len() < limit {
        let wanted = (limit - found.len()).min(PAGE).to_string();
        let parameters = query(&[("from", from.as_deref()), ("limit", Some(&wanted))]);
        let page: ScheduledList = admin.get(&format!("/v1/topics/{}/scheduled{parameters}", escape(topic)))?;
        found.extend(page.events);
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    if context.json {
        return print::json(&ScheduledList { events: found, next: from });
    }
    let row = |event: &ScheduledEvent| {
        let key = event.key.clone().unwrap_or_else(|| "-".to_owned());
        vec![event.due.clone(), event.position.clone(), event.kind.clone(), event.source.clone(), event.id.clone(), key]
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    print::table(&["DUE", "POSITION", "TYPE", "SOURCE", "ID", "KEY"], &rows, "nothing is scheduled")?;
    match from {
        Some(_) => print::line("there are more; give a larger --limit, or --from the last due time"),
        None => Ok(()),
    }
}
