//! `bugle erase`.

use clap::{ArgGroup, Args};

use super::{Context, print};
use crate::api::{EraseRequest, EraseView};

/// Arguments of `bugle erase`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("whose").args(["key", "attribute", "recipient"]).required(true).multiple(true))]
pub(super) struct EraseArgs {
    /// Events of this ordering key
    #[arg(long, conflicts_with = "attribute")]
    key: Option<String>,
    /// Events in which an attribute has this value
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    attribute: Option<(String, String)>,
    /// Send records of this recipient and outcomes that name it, whatever the event
    #[arg(long)]
    recipient: Option<String>,
    /// Only events of this topic, with their copies and outcomes
    #[arg(long)]
    topic: Option<String>,
    /// Do it; without, it is only counted
    #[arg(long)]
    yes: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("give the name and the value, as in `subject=user/42`")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Erases until there is no more; what a run says is added up.
pub(super) fn run(context: &Context, args: EraseArgs) -> anyhow::Result<()> {
    let EraseArgs { key, attribute, recipient, topic, yes } = args;
    let (attribute, value) = attribute.unzip();
    let mut request = EraseRequest { topic, key, attribute, value, recipient, dry_run: !yes, receipt: None };
    let admin = context.admin()?;
    let mut all: EraseView = admin.post_patiently("/v1/erase", &request)?;
    while all.is_more && yes {
        request.receipt.clone_from(&all.receipt);
        let next: EraseView = admin.post_patiently("/v1/erase", &request)?;
        all = EraseView {
            events: all.events + next.events,
            scheduled: all.scheduled + next.scheduled,
            dead_letters: all.dead_letters + next.dead_letters,
            unknown: all.unknown + next.unknown,
            records: all.records + next.records,
            took_ms: all.took_ms + next.took_ms,
            ..next
        };
    }
    if context.json {
        return print::json(&all);
    }
    let more = if all.is_more { " or more" } else { "" };
    print::pairs(&[
        ("events", format!("{}{more} of {} looked at, before {}", all.events, all.looked_at, all.up_to)),
        ("scheduled", format!("{} of them", all.scheduled)),
        ("dead letters", all.dead_letters.to_string()),
        ("unknown", all.unknown.to_string()),
        ("send records", all.records.to_string()),
    ])?;
    if !yes {
        return print::line("nothing was erased; --yes does it, for good");
    }
    print::line(&format!("erased, from the files too, in {} ms; backups have it still", all.took_ms))?;
    if let Some(receipt) = &all.receipt {
        print::line(&format!("receipt {receipt}: keep it to prove that the audit row is of this"))?;
    }
    if all.listed {
        print::line("the store's list of files names it until the host is started again; see the operating guide")?;
    }
    if all.calls > 0 {
        let calls = all.calls;
        print::line(&format!(
            "{calls} calls were under way; erase again when they have ended, for what they may leave"
        ))?;
    }
    match all.left {
        0 => Ok(()),
        left => print::line(&format!("{left} dead letters are being delivered again; erase again when that has ended")),
    }
}
