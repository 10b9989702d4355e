//! `bugle dead replay`: the plan, and the replay with its progress.
//!
//! Interrupted, the host stops too; run again, it takes what is still open.

use anyhow::bail;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::super::admin::AdminClient;
use super::super::{Context, print};
use super::Filters;
use crate::api::{PlannedReplay, ReplayPlan, ReplayProgress, ReplayRequest};

/// What to replay.
#[derive(Debug, Args)]
pub(in super::super) struct ReplayArgs {
    /// Subscription
    subscription: String,
    /// Position of one event [default: those that the filters select]
    position: Option<String>,
    #[command(flatten)]
    filters: Filters,
    /// At most this many a second [default: as fast as they can be stored]
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<u32>,
    /// Only say what would be sent, and what dedup would suppress
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(context: &Context, admin: &AdminClient, args: ReplayArgs) -> anyhow::Result<()> {
    let ReplayArgs { subscription, position, filters, rate, dry_run } = args;
    let request = ReplayRequest { subscription, filter: filters.filter(position), rate };
    if dry_run {
        let plan: ReplayPlan = admin.post("/v1/dead/replay/plan", &request)?;
        return if context.json { print::json(&plan) } else { show_plan(&plan) };
    }
    let style = "{bar:40} {pos}/{len} letters, {per_sec}, {eta} left";
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template(style)?);
    let mut last = ReplayProgress::default();
    admin.post_lines("/v1/dead/replay", &request, |progress: ReplayProgress| {
        bar.set_length(progress.total);
        bar.set_position(progress.replayed + progress.skipped);
        last = progress;
    })?;
    bar.finish_and_clear();
    if context.json {
        print::json(&last)?;
    } else {
        print::line(&format!("{} of {} replayed, {} left as they are", last.replayed, last.total, last.skipped))?;
    }
    match (&last.error, last.is_done) {
        (Some(failure), _) => bail!("{} [{}]", failure.message, failure.code),
        (None, false) => bail!("the host broke off; run the replay again, it takes what is still open"),
        (None, true) => Ok(()),
    }
}

fn show_plan(plan: &ReplayPlan) -> anyhow::Result<()> {
    print::pairs(&[
        ("letters", format!("{} ({} in their place, the others as copies)", plan.letters, plan.in_place)),
        ("would be sent", plan.would_send.to_string()),
        ("dedup would suppress", plan.would_suppress.to_string()),
        ("maybe sent before", plan.uncertain.to_string()),
    ])?;
    print::line("")?;
    let row = |planned: &PlannedReplay| {
        vec![
            planned.position.clone(),
            planned.event_id.clone(),
            planned.key.clone().unwrap_or_default(),
            planned.how.clone(),
            planned.dedup.clone(),
            planned.idempotency_key.clone(),
        ]
    };
    let rows: Vec<_> = plan.first.iter().map(row).collect();
    print::table(&["POSITION", "EVENT", "KEY", "HOW", "DEDUP", "IDEMPOTENCY KEY"], &rows, "no letter is selected")?;
    if plan.letters > rows.len() as u64 {
        print::line(&format!("... and {} more", plan.letters - rows.len() as u64))?;
    }
    Ok(())
}
