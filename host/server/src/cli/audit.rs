//! `bugle audit`.

use clap::Subcommand;

use super::admin::query;
use super::{Context, print};
use crate::api::AuditView;

/// What can be done with the audit list.
#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// List what operators did
    #[command(after_help = "Example:\n  bugle audit list --since 24h")]
    List {
        /// Since: RFC 3339, or how long ago
        #[arg(long, value_name = "TIME", default_value = "7d")]
        since: String,
        /// At most this many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
}

pub(super) fn run(context: &Context, command: AuditCommand) -> anyhow::Result<()> {
    let AuditCommand::List { since, limit } = command;
    let parameters = query(&[("since", Some(&since)), ("limit", Some(&limit.to_string()))]);
    let actions: Vec<AuditView> = context.admin()?.get(&format!("/v1/audit{parameters}"))?;
    if context.json {
        return print::json(&actions);
    }
    let row = |action: &AuditView| {
        vec![action.at.clone(), action.by.clone(), action.action.clone(), action.target.clone(), action.detail.clone()]
    };
    let rows: Vec<_> = actions.iter().map(row).collect();
    print::table(&["AT", "BY", "ACTION", "TARGET", "DETAIL"], &rows, "nothing was done")
}
