//! `bugle subscription`.

pub(in crate::cli) mod runs;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};

use super::admin::{AdminClient, escape, query};
use super::{Context, print};
use crate::api::{PauseRequest, Plan, RuleView, SubscriptionStatus, SubscriptionView};
use crate::definition::{Definition, Start};

/// What can be done with subscriptions.
#[derive(Debug, Subcommand)]
pub(super) enum SubscriptionCommand {
    /// Create or change a subscription
    #[command(
        after_help = "Examples:\n  bugle subscription apply orders-webhook.toml\n  bugle subscription apply orders-webhook.toml --start earliest --yes\n\nA definition, in TOML or JSON:\n  name = \"orders-webhook\"\n  topics = [\"orders\"]\n  plugin = \"webhook\"\n  filter = { prefix = { type = \"order.\" } }\n  config = { url = \"https://api.example.com/hook\" }\n  grants = { egress = [\"https://api.example.com\"], secrets = { signing = { env = \"HOOK_SECRET\" } } }"
    )]
    Apply(ApplyArgs),
    /// List subscriptions
    #[command(after_help = "Example:\n  bugle subscription list")]
    List,
    /// Show a subscription
    #[command(after_help = "Example:\n  bugle subscription show orders-webhook")]
    Show {
        /// Its name
        name: String,
    },
    /// Stop delivering, keep everything
    #[command(after_help = "Example:\n  bugle subscription pause orders-webhook --reason 'provider is down'")]
    Pause {
        /// Its name
        name: String,
        /// Why, for people
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Deliver again
    #[command(after_help = "Example:\n  bugle subscription resume orders-webhook")]
    Resume {
        /// Its name
        name: String,
    },
    /// Finish what was read, then pause; or, with --boost, work faster until it has caught up
    #[command(
        after_help = "Examples:\n  bugle subscription drain orders-webhook\n  bugle subscription drain orders-webhook --boost 4\n\nA drain ends in a pause with the reason `drained`; pause, resume and seek end it before. A boost multiplies\nconcurrency and rate, does not pause, and ends by itself once everything published so far was started; `--boost 1`\nends it before. Both go on after a restart."
    )]
    Drain {
        /// Its name
        name: String,
        /// Multiply concurrency and rate by this until it has caught up, instead of pausing
        #[arg(long, value_name = "FACTOR")]
        boost: Option<u32>,
    },
    /// Go on at another place of the log; says how many events that concerns first
    #[command(
        after_help = "Examples:\n  bugle subscription seek orders-webhook --to latest --yes\n  bugle subscription seek orders-webhook --to 0-1234"
    )]
    Seek {
        /// Its name
        name: String,
        /// latest, earliest, a position, a time, or such as '2h ago'
        #[arg(long)]
        to: Start,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
    /// Delete a subscription and its place in the log
    #[command(after_help = "Example:\n  bugle subscription delete orders-webhook --yes")]
    Delete {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// The definition (.toml or .json)
    file: PathBuf,
    /// Where a new subscription starts: latest, earliest, a position, a time, or such as '2h ago'; wins over the file
    #[arg(long)]
    start: Option<Start>,
    /// Deliveries in flight at once; wins over the file
    #[arg(long)]
    concurrency: Option<u32>,
    /// A setting of the plugin; wins over the file
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// Do not ask before old events are delivered
    #[arg(long)]
    yes: bool,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(context: &Context, command: SubscriptionCommand) -> anyhow::Result<()> {
    let admin = context.admin()?;
    match command {
        SubscriptionCommand::Apply(args) => apply(context, &admin, &args),
        SubscriptionCommand::List => list(context, &admin),
        SubscriptionCommand::Show { name } => {
            let view: SubscriptionView = admin.get(&path(&name))?;
            show(context, &view)
        }
        SubscriptionCommand::Pause { name, reason } => {
            let path = format!("{}/pause", path(&name));
            let view: SubscriptionView = admin.post(&path, &PauseRequest { reason })?;
            show(context, &view)
        }
        SubscriptionCommand::Resume { name } => {
            let path = format!("{}/resume", path(&name));
            let view: SubscriptionView = admin.post(&path, &serde_json::json!({}))?;
            show(context, &view)
        }
        SubscriptionCommand::Drain { name, boost } => runs::drain(context, &admin, &name, boost),
        SubscriptionCommand::Seek { name, to, yes } => runs::seek(context, &admin, &name, to, yes),
        SubscriptionCommand::Delete { name, yes } => {
            if !yes {
                bail!(
                    "deleting `{name}` removes its place in the log, its waiting deliveries, its dead letters, and its claims \
                     and kv entries; send records stay; add --yes to do it"
                );
            }
            let deleted: serde_json::Value = admin.delete(&path(&name))?;
            if context.json {
                return print::json(&deleted);
            }
            print::line(&format!("deleted `{name}`"))
        }
    }
}

fn path(name: &str) -> String {
    format!("/v1/subscriptions/{}", escape(name))
}

fn apply(context: &Context, admin: &AdminClient, args: &ApplyArgs) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.file)
        .with_context(|| format!("could not read the definition `{}`", args.file.display()))?;
    let mut definition = Definition::parse(&args.file, &text)?;
    definition.start = args.start.unwrap_or(definition.start);
    definition.concurrency = args.concurrency.unwrap_or(definition.concurrency);
    for setting in &args.settings {
        let Some((name, value)) = setting.split_once('=') else {
            bail!("`--set {setting}` has no `=`; write `--set NAME=VALUE`");
        };
        definition.config.insert(name.to_owned(), setting_value(value));
    }
    definition.check()?;
    let base = args.file.parent().unwrap_or(Path::new("."));
    definition.grants.read_secrets(base).map_err(anyhow::Error::msg)?;
    let path = path(&definition.name);
    let plan: Plan = admin.put(&format!("{path}{}", query(&[("plan", Some("true"))])), &definition)?;
    let replays = plan.action == "create" && plan.events > 0;
    let told = format!(
        "`{}` starts at {} ({}): {} stored events will be delivered at once",
        definition.name, definition.start, plan.start, plan.events
    );
    if args.dry_run {
        return if context.json { print::json(&plan) } else { print::line(&format!("would {}; {told}", plan.action)) };
    }
    if replays && !args.yes {
        bail!("{told}; add --yes to do that, or use `--start latest` to begin with new events");
    }
    if replays && !context.json {
        print::line(&told)?;
    }
    let confirmed = query(&[("replay", replays.then_some("true"))]);
    let view: SubscriptionView = admin.put(&format!("{path}{confirmed}"), &definition)?;
    show(context, &view)
}

/// A setting from the command line: JSON where it parses as JSON, else text.
fn setting_value(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

fn list(context: &Context, admin: &AdminClient) -> anyhow::Result<()> {
    let views: Vec<SubscriptionView> = admin.get("/v1/subscriptions")?;
    if context.json {
        return print::json(&views);
    }
    let row = |view: &SubscriptionView| {
        vec![
            view.definition.name.clone(),
            view.state.clone(),
            view.definition.topics.join(", "),
            view.definition.plugin.clone(),
            view.status.backlog.to_string(),
            view.status.delivered.to_string(),
        ]
    };
    let rows: Vec<_> = views.iter().map(row).collect();
    print::table(
        &["SUBSCRIPTION", "STATE", "TOPICS", "PLUGIN", "BACKLOG", "DELIVERED"],
        &rows,
        "no subscriptions yet; make one with `bugle subscription apply FILE`",
    )
}

fn show(context: &Context, view: &SubscriptionView) -> anyhow::Result<()> {
    if context.json {
        return print::json(view);
    }
    let status = &view.status;
    let mut pairs = vec![("subscription", view.definition.name.clone()), ("state", view.state.clone())];
    if let Some(paused) = &view.paused {
        pairs.push(("paused by", format!("{}: {}", paused.by, paused.reason)));
    }
    if let Some(problem) = &view.problem {
        pairs.push(("problem", problem.clone()));
    }
    pairs.extend([
        ("topics", view.definition.topics.join(", ")),
        ("plugin", view.definition.plugin.clone()),
        ("settled below", status.floor.clone()),
        (
            "backlog",
            format!(
                "{} (ready {}, in flight {}, waiting {})",
                status.backlog, status.ready, status.in_flight, status.waiting
            ),
        ),
        (
            "dead letters",
            format!(
                "{} open, {} keys parked, {} keys blocked, {} kept ({} MiB)",
                status.dead_open,
                status.parked,
                status.blocked,
                status.dead_letters,
                status.dead_bytes >> 20
            ),
        ),
        (
            "since start",
            format!(
                "delivered {}, retried {}, dead {}, suppressed {}",
                status.delivered, status.retried, status.dead, status.suppressed
            ),
        ),
    ]);
    if view.timers > 0 {
        pairs.push(("timers", format!("{} wait", view.timers)));
    }
    pairs.extend(runs::lines(view));
    pairs.extend(channel(status));
    print::pairs(&pairs)
}

/// What protects the channel, as far as there is something to say.
fn channel(status: &SubscriptionStatus) -> Vec<(&'static str, String)> {
    let channel = &status.channel;
    let mut pairs = Vec::new();
    let breaker = match (&channel.blamed, &channel.reason, &channel.next_probe) {
        (Some(blamed), Some(reason), Some(probe)) => {
            format!(
                "{}, blamed: {blamed} ({reason}), next probe {probe}, opening {}",
                channel.breaker, channel.openings
            )
        }
        _ => channel.breaker.clone(),
    };
    pairs.push(("breaker", breaker));
    if let Some(next) = &status.next_attempt {
        pairs.push(("next attempt", next.clone()));
    }
    if let Some(tokens) = channel.tokens {
        pairs.push(("rate", format!("{tokens} may start at once")));
    }
    if !channel.rules.is_empty() {
        let rule = |(number, rule): (usize, &RuleView)| {
            format!("rule {} {} ({} events)", number + 1, if rule.counts { "counts" } else { "rests" }, rule.decided)
        };
        let rules: Vec<String> = channel.rules.iter().enumerate().map(rule).collect();
        let sums = format!("deferred {}, rerouted {}, dropped {}", channel.deferred, channel.rerouted, channel.dropped);
        pairs.push(("degrade", format!("{}; {sums}", rules.join(", "))));
    }
    pairs
}
