//! `bugle scheduled`.

use clap::Subcommand;

use super::admin::{escape, query};
use super::{Context, print};
use crate::api::{ScheduledEvent, ScheduledList};

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
}

/// Events of one page.
const PAGE: usize = 1_000;

pub(super) fn run(context: &Context, command: ScheduledCommand) -> anyhow::Result<()> {
    match command {
        ScheduledCommand::List { topic, from, limit } => list(context, &topic, from, limit),
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
