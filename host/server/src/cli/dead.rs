//! `bugle dead`.

use clap::Subcommand;

use super::admin::query;
use super::{Context, print};
use crate::api::DeadView;

/// What can be done with dead letters.
#[derive(Debug, Subcommand)]
pub(super) enum DeadCommand {
    /// List deliveries that were given up, with cause and history
    #[command(after_help = "Example:\n  bugle dead list orders-webhook --limit 20 --json")]
    List {
        /// Subscription [default: all]
        subscription: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
}

pub(super) fn run(context: &Context, command: DeadCommand) -> anyhow::Result<()> {
    let DeadCommand::List { subscription, limit } = command;
    let parameters = query(&[("subscription", subscription.as_deref()), ("limit", Some(&limit.to_string()))]);
    let dead: Vec<DeadView> = context.admin()?.get(&format!("/v1/dead{parameters}"))?;
    if context.json {
        return print::json(&dead);
    }
    let row = |dead: &DeadView| {
        let id = dead.event.event.get("id").and_then(|id| id.as_str());
        vec![
            dead.at.clone(),
            dead.subscription.clone(),
            dead.position.clone(),
            id.unwrap_or_default().to_owned(),
            dead.cause.clone(),
            charges(dead),
            dead.reason.clone(),
        ]
    };
    let rows: Vec<_> = dead.iter().map(row).collect();
    let headings = ["AT", "SUBSCRIPTION", "POSITION", "EVENT", "CAUSE", "ATTEMPTS", "REASON"];
    print::table(&headings, &rows, "no dead letters")
}

/// Attempts of the event, and those that were others' fault if there were any.
fn charges(dead: &DeadView) -> String {
    match (dead.channel_faults, dead.plugin_faults) {
        (0, 0) => dead.attempts.to_string(),
        (channel, plugin) => format!("{} + {channel} channel + {plugin} plugin", dead.attempts),
    }
}
