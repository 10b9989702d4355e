//! `bugle tail`.

use clap::Args;

use super::admin::{escape, query};
use super::{Context, print};
use crate::api::{EventView, TailPage};
use crate::definition::Start;

/// What to print.
#[derive(Debug, Args)]
pub(super) struct TailArgs {
    /// Topic
    topic: String,
    /// Where to begin: latest, earliest, a position, a time, or such as '2h ago'
    #[arg(long, default_value = "latest")]
    from: Start,
    /// Stop at the end instead of waiting for more
    #[arg(long)]
    no_follow: bool,
    /// Stop after this many events
    #[arg(long)]
    limit: Option<u64>,
}

/// How long the host may wait for events before it answers an empty page.
const WAIT_MS: &str = "20000";

pub(super) fn run(context: &Context, args: TailArgs) -> anyhow::Result<()> {
    let admin = context.admin()?;
    let mut from = args.from.to_string();
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let wait = (!args.no_follow).then_some(WAIT_MS);
        let limit = left.min(1000).to_string();
        let parameters = query(&[("from", Some(&from)), ("limit", Some(&limit)), ("wait_ms", wait)]);
        let path = format!("/v1/topics/{}/events{parameters}", escape(&args.topic));
        let page: TailPage = admin.get(&path)?;
        for view in &page.events {
            show(context, view)?;
        }
        left -= left.min(page.events.len() as u64);
        let is_end = page.events.is_empty() && page.next == from;
        from = page.next;
        if args.no_follow && is_end {
            break;
        }
    }
    Ok(())
}

fn show(context: &Context, view: &EventView) -> anyhow::Result<()> {
    if context.json {
        return print::json_line(view);
    }
    let text = |name: &str| {
        let value = view.event.get(name).and_then(|value| value.as_str());
        value.unwrap_or("-").to_owned()
    };
    let data = view.event.get("data").or_else(|| view.event.get("data_base64"));
    let data = data.map(ToString::to_string).unwrap_or_default();
    let line = format!(
        "{} {} {} {} key={} {data}",
        view.position,
        view.received,
        text("type"),
        text("id"),
        text("partitionkey"),
    );
    print::line(&line)
}
