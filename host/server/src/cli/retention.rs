//! `bugle retention`.

use clap::{ArgAction, Subcommand};

use super::admin::escape;
use super::{Context, print};
use crate::api::{KeptView, RetentionView, SetRetention};
use crate::quantity::{Duration, Size};

/// What can be done with retentions.
#[derive(Debug, Subcommand)]
pub(super) enum RetentionCommand {
    /// List retentions and what they keep
    #[command(after_help = "Example:\n  bugle retention list")]
    List,
    /// Show a retention
    #[command(after_help = "Example:\n  bugle retention show default")]
    Show {
        /// Its name
        name: String,
    },
    /// Change a retention or make one: it counts at once, for what is stored too
    #[command(
        after_help = "Examples:\n  bugle retention set short --age 1h --size 1GiB\n  bugle retention set work --when-done true"
    )]
    Set {
        /// Its name
        name: String,
        /// Events older than this may go: `30s`, `24h`, `7d`
        #[arg(long)]
        age: Option<Duration>,
        /// Beyond this size the oldest may go: `16MiB`, `64GiB`
        #[arg(long)]
        size: Option<Size>,
        /// Events may go as soon as every subscription has settled them
        #[arg(long, action = ArgAction::Set, value_name = "BOOL")]
        when_done: Option<bool>,
        /// Nothing younger goes, so that producers can retry: `60s`, the default, up to the age
        #[arg(long)]
        at_least: Option<Duration>,
    },
}

pub(super) fn run(context: &Context, command: RetentionCommand) -> anyhow::Result<()> {
    let admin = context.admin()?;
    match command {
        RetentionCommand::List => {
            let all: Vec<RetentionView> = admin.get("/v1/retentions")?;
            if context.json {
                return print::json(&all);
            }
            let rows: Vec<_> = all.iter().map(row).collect();
            print::table(
                &["RETENTION", "AGE", "SIZE", "WHEN DONE", "AT LEAST", "KEPT FROM", "LOG", "TOPICS"],
                &rows,
                "",
            )
        }
        RetentionCommand::Show { name } => show(context, &admin.get(&format!("/v1/retentions/{}", escape(&name)))?),
        RetentionCommand::Set { name, age, size, when_done, at_least } => {
            let set = SetRetention { age, size, when_done, at_least };
            show(context, &admin.put(&format!("/v1/retentions/{}", escape(&name)), &set)?)
        }
    }
}

fn row(view: &RetentionView) -> Vec<String> {
    vec![
        view.name.clone(),
        view.age.to_string(),
        view.size.to_string(),
        view.when_done.to_string(),
        view.at_least.to_string(),
        view.kept.from.clone(),
        log(&view.kept),
        view.topics.join(", "),
    ]
}

fn show(context: &Context, view: &RetentionView) -> anyhow::Result<()> {
    if context.json {
        return print::json(view);
    }
    print::pairs(&[
        ("retention", view.name.clone()),
        ("age", view.age.to_string()),
        ("size", view.size.to_string()),
        ("when done", view.when_done.to_string()),
        ("at least", view.at_least.to_string()),
        ("topics", view.topics.join(", ")),
        ("kept from", view.kept.from.clone()),
        ("log", log(&view.kept)),
        ("oldest event", oldest(&view.kept)),
        ("kept longer for", pinned(&view.kept)),
    ])
}

/// How much is kept.
pub(super) fn log(kept: &KeptView) -> String {
    let plural = if kept.epochs == 1 { "" } else { "s" };
    format!("{} in {} epoch{plural}", rounded(kept.bytes), kept.epochs)
}

/// Up to a whole KiB or, from one on, MiB.
fn rounded(bytes: u64) -> Size {
    let unit = if bytes < 1 << 20 { 1 << 10 } else { 1 << 20 };
    Size(bytes.div_ceil(unit) * unit)
}

/// How old the oldest event is.
fn oldest(kept: &KeptView) -> String {
    let seconds = |age: Duration| Duration::from_secs(age.0.0 / 1000);
    kept.oldest.map_or_else(|| "none".to_owned(), |age| format!("{} old", seconds(age)))
}

/// Who keeps more of the log than its retention asks for.
pub(super) fn pinned(kept: &KeptView) -> String {
    match &kept.pinned_by {
        None => "nobody".to_owned(),
        Some(name) => format!("subscription {name}, which has not settled it: about {}", rounded(kept.pinned_bytes)),
    }
}
