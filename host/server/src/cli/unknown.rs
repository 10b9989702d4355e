//! `bugle unknown`: look at deliveries that may have been sent, and say what became of them.
//!
//! Knows nothing of what a resolution does. Invariant: what changes more than one asks first.

use clap::{Args, Subcommand, ValueEnum};

use super::admin::AdminClient;
use super::kept::{self, Extent, One, attribute};
use super::{Context, print};
use crate::api::{KeptFilter, ResolveRequest, Resolved, UnknownView};

/// Where unknown results are in the admin API.
const ROOT: &str = "/v1/unknown";

/// What can be done with unknown results.
#[derive(Debug, Subcommand)]
pub(super) enum UnknownCommand {
    /// List deliveries that may have been sent
    #[command(
        after_help = "Examples:\n  bugle unknown list orders-sms --state open --since 2h\n  bugle unknown list --type order.* --json"
    )]
    List {
        #[command(flatten)]
        extent: Extent,
        #[command(flatten)]
        filters: Filters,
    },
    /// Show one with its attempts, the keys to ask the provider for, and its event
    #[command(after_help = "Example:\n  bugle unknown show orders-sms 0-1234")]
    Show(One),
    /// Say what became of it: sent, not-sent, or retry if nobody knows
    #[command(
        after_help = "Examples:\n  bugle unknown resolve orders-sms 0-1234 --as sent --receipt '\"sm-77\"'\n  bugle unknown resolve orders-sms 0-1234 --as not-sent\n  bugle unknown resolve orders-sms --since 2h --as retry --yes"
    )]
    Resolve(ResolveArgs),
}

/// What was found out.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Found {
    /// It was sent: dedup keeps it from being sent again
    Sent,
    /// It was not sent: it is delivered again as if for the first time
    NotSent,
    /// Nobody knows: it is sent again under the same idempotency key
    Retry,
}

impl Found {
    fn word(self) -> &'static str {
        match self {
            Found::Sent => "sent",
            Found::NotSent => "not-sent",
            Found::Retry => "retry",
        }
    }
}

/// Which ones, and what became of them.
#[derive(Debug, Args)]
pub(super) struct ResolveArgs {
    /// Subscription
    subscription: String,
    /// Position of one event [default: those that the filters select and that are open]
    position: Option<String>,
    /// What was found out
    #[arg(long = "as", value_enum)]
    found: Found,
    /// With sent: what later claims of its keys are answered; JSON for plugins made with the SDK
    #[arg(long)]
    receipt: Option<String>,
    /// How it was found out, for people
    #[arg(long)]
    remark: Option<String>,
    #[command(flatten)]
    filters: Filters,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Which ones.
#[derive(Debug, Args)]
pub(super) struct Filters {
    #[command(flatten)]
    common: kept::Filters,
    /// open, sent, not-sent or retried
    #[arg(long)]
    state: Option<String>,
}

impl Filters {
    fn filter(self, position: Option<String>) -> KeptFilter {
        KeptFilter { state: self.state, ..self.common.filter(position) }
    }
}

pub(super) fn run(context: &Context, command: UnknownCommand) -> anyhow::Result<()> {
    let admin = context.admin()?;
    match command {
        UnknownCommand::List { extent, filters } => list(context, &admin, extent, filters),
        UnknownCommand::Show(one) => show(context, &admin.get(&one.path(ROOT))?),
        UnknownCommand::Resolve(args) => resolve(context, &admin, args),
    }
}

fn list(context: &Context, admin: &AdminClient, extent: Extent, filters: Filters) -> anyhow::Result<()> {
    let unknown: Vec<UnknownView> = kept::list(admin, ROOT, extent, &filters.filter(None))?;
    if context.json {
        return print::json(&unknown);
    }
    let row = |view: &UnknownView| {
        vec![
            view.at.clone(),
            view.subscription.clone(),
            view.position.clone(),
            attribute(&view.event, "id"),
            attribute(&view.event, "partitionkey"),
            view.state.clone(),
            view.attempts.to_string(),
            view.reference.clone(),
        ]
    };
    let rows: Vec<_> = unknown.iter().map(row).collect();
    let headings = ["AT", "SUBSCRIPTION", "POSITION", "EVENT", "KEY", "STATE", "ATTEMPTS", "REFERENCE"];
    print::table(&headings, &rows, "no unknown results")
}

fn show(context: &Context, view: &UnknownView) -> anyhow::Result<()> {
    if context.json {
        return print::json(view);
    }
    let state = match view.state.as_str() {
        "open" => "open: ask the provider, then `bugle unknown resolve` it".to_owned(),
        "sent" => "sent, as a person said".to_owned(),
        "not-sent" => "not sent, as a person said: delivered again as a copy".to_owned(),
        "retried" => "sent again as a copy, as a person wanted".to_owned(),
        other => other.to_owned(),
    };
    let mut pairs =
        vec![("subscription", view.subscription.clone()), ("position", view.position.clone()), ("state", state)];
    pairs.extend(view.decided.clone().map(|at| ("decided", at)));
    pairs.extend((!view.remark.is_empty()).then(|| ("remark", view.remark.clone())));
    pairs.extend([
        ("parked", format!("{} after {} attempts", view.at, view.attempts)),
        ("reference", view.reference.clone()),
        ("idempotency key", view.idempotency_key.clone()),
        ("claims in doubt", if view.claims.is_empty() { "none".to_owned() } else { view.claims.join(", ") }),
        ("topic", view.event.topic.clone()),
    ]);
    pairs.extend(view.revision.clone().map(|revision| ("plugin revision", revision)));
    pairs.extend(view.trace.clone().map(|trace| ("trace", trace)));
    kept::show(&pairs, &view.history, &view.event)
}

fn resolve(context: &Context, admin: &AdminClient, args: ResolveArgs) -> anyhow::Result<()> {
    let ResolveArgs { subscription, position, found, receipt, remark, filters, yes } = args;
    let filter = filters.filter(position);
    let request = ResolveRequest {
        subscription,
        confirm: kept::confirmed(yes, &filter),
        filter,
        resolution: found.word().to_owned(),
        receipt,
        remark,
    };
    let resolved: Resolved = kept::change(admin, &format!("{ROOT}/resolve"), &request)?;
    if context.json {
        return print::json(&resolved);
    }
    let Resolved { resolved, before, skipped } = resolved;
    let word = found.word();
    print::line(&format!("{resolved} resolved as {word}, {before} were before, {skipped} left as they are"))
}
