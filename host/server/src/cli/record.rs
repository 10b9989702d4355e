//! `bugle record`: what became of a notification, and which ones are late.

use clap::{Args, Subcommand};

use super::admin::query;
use super::{Context, print};
use crate::api::RecordView;

/// What can be done with send records.
#[derive(Debug, Subcommand)]
pub(super) enum RecordCommand {
    /// Find what was sent: by business key, recipient, event or the provider's reference
    #[command(
        after_help = "Examples:\n  bugle record find --key order:7 --recipient user:42\n  bugle record find --event 7f3c\n  bugle record find --provider-ref sm-77"
    )]
    Find {
        #[command(flatten)]
        what: FindArgs,
        /// Subscription [default: all]
        #[arg(long)]
        subscription: Option<String>,
    },
    /// List records that have waited too long for what has to follow: another attempt, a person
    #[command(after_help = "Example:\n  bugle record late --older 2h --subscription orders-sms")]
    Late {
        /// In that state for so long, or longer
        #[arg(long, value_name = "TIME", default_value = "1h")]
        older: String,
        /// Subscription [default: all]
        #[arg(long)]
        subscription: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
}

/// What to look for: all that is given must hold.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct FindArgs {
    /// Business key, as with --key
    business_key: Option<String>,
    /// Business key, such as `order:7`
    #[arg(long, conflicts_with = "business_key")]
    key: Option<String>,
    /// Recipient, such as `user:42`
    #[arg(long)]
    recipient: Option<String>,
    /// The event's id
    #[arg(long, value_name = "ID")]
    event: Option<String>,
    /// The provider's reference
    #[arg(long, value_name = "REFERENCE")]
    provider_ref: Option<String>,
}

pub(super) fn run(context: &Context, command: RecordCommand) -> anyhow::Result<()> {
    let path = match command {
        RecordCommand::Find { what, subscription } => {
            let FindArgs { business_key, key, recipient, event, provider_ref } = what;
            let parameters = query(&[
                ("key", key.or(business_key).as_deref()),
                ("recipient", recipient.as_deref()),
                ("event", event.as_deref()),
                ("provider_ref", provider_ref.as_deref()),
                ("subscription", subscription.as_deref()),
            ]);
            format!("/v1/records{parameters}")
        }
        RecordCommand::Late { older, subscription, limit } => {
            let parameters = query(&[
                ("older", Some(&older)),
                ("subscription", subscription.as_deref()),
                ("limit", Some(&limit.to_string())),
            ]);
            format!("/v1/records/late{parameters}")
        }
    };
    let records: Vec<RecordView> = context.admin()?.get(&path)?;
    if context.json {
        return print::json(&records);
    }
    let rows: Vec<_> = records.iter().map(row).collect();
    let headings =
        ["AT", "SUBSCRIPTION", "EVENT", "ABOUT", "RECIPIENT", "STATUS", "TRIES", "PROVIDER", "REFERENCE", "DETAIL"];
    print::table(&headings, &rows, "no records")
}

fn row(record: &RecordView) -> Vec<String> {
    vec![
        record.at.clone(),
        record.subscription.clone(),
        record.event_id.clone(),
        record.business_key.clone(),
        if record.recipient.is_empty() { "(delivery)".to_owned() } else { record.recipient.clone() },
        record.status.clone(),
        record.attempt.to_string(),
        record.provider.clone(),
        record.provider_reference.clone(),
        record.detail.clone(),
    ]
}
