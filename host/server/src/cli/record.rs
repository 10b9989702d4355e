//! `bugle record`.

use clap::Subcommand;

use super::admin::query;
use super::{Context, print};
use crate::api::RecordView;

/// What can be done with send records.
#[derive(Debug, Subcommand)]
pub(super) enum RecordCommand {
    /// Find what was sent for a business key
    #[command(after_help = "Example:\n  bugle record find order:7 --recipient user:42")]
    Find {
        /// Business key, such as `order:7`
        business_key: String,
        /// Recipient, such as `user:42` [default: all]
        #[arg(long)]
        recipient: Option<String>,
        /// Subscription [default: all]
        #[arg(long)]
        subscription: Option<String>,
    },
}

pub(super) fn run(context: &Context, command: RecordCommand) -> anyhow::Result<()> {
    let RecordCommand::Find { business_key, recipient, subscription } = command;
    let parameters = query(&[
        ("business_key", Some(&business_key)),
        ("recipient", recipient.as_deref()),
        ("subscription", subscription.as_deref()),
    ]);
    let records: Vec<RecordView> = context.admin()?.get(&format!("/v1/records{parameters}"))?;
    if context.json {
        return print::json(&records);
    }
    let row = |record: &RecordView| {
        vec![
            record.at.clone(),
            record.subscription.clone(),
            record.recipient.clone(),
            record.status.clone(),
            record.provider.clone(),
            record.provider_reference.clone(),
            record.detail.clone(),
        ]
    };
    let rows: Vec<_> = records.iter().map(row).collect();
    let headings = ["AT", "SUBSCRIPTION", "RECIPIENT", "STATUS", "PROVIDER", "REFERENCE", "DETAIL"];
    print::table(&headings, &rows, "no records for this key")
}
