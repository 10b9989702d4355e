//! `bugle unknown`: look at deliveries that may have been sent, and say what became of them.
//!
//! Knows nothing of what a resolution does. Invariant: what changes more than one asks first.

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};

use super::admin::{AdminClient, escape, query};
use super::{Context, print};
use crate::api::{ResolveRequest, Resolved, UnknownFilter, UnknownView};

/// What can be done with unknown results.
#[derive(Debug, Subcommand)]
pub(super) enum UnknownCommand {
    /// List deliveries that may have been sent
    #[command(
        after_help = "Examples:\n  bugle unknown list orders-sms --state open --since 2h\n  bugle unknown list --type order.* --json"
    )]
    List {
        /// Subscription [default: all]
        subscription: Option<String>,
        #[command(flatten)]
        filters: Filters,
        /// At most this many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Show one with its attempts, the keys to ask the provider for, and its event
    #[command(after_help = "Example:\n  bugle unknown show orders-sms 0-1234")]
    Show {
        /// Subscription
        subscription: String,
        /// Position of its event
        position: String,
    },
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
    /// CloudEvents type; with * at its end every type that begins so
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Ordering key
    #[arg(long)]
    key: Option<String>,
    /// Parked since: RFC 3339, or how long ago (2h)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Parked before: RFC 3339, or how long ago
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Plugin revision of the last attempt, or how its SHA-256 begins
    #[arg(long, value_name = "SHA256")]
    revision: Option<String>,
    /// open, sent, not-sent or retried
    #[arg(long)]
    state: Option<String>,
}

impl Filters {
    fn filter(self, position: Option<String>) -> UnknownFilter {
        let Filters { kind, key, since, until, revision, state } = self;
        UnknownFilter { position, kind, key, since, until, revision, state }
    }
}

pub(super) fn run(context: &Context, command: UnknownCommand) -> anyhow::Result<()> {
    let admin = context.admin()?;
    match command {
        UnknownCommand::List { subscription, filters, limit } => list(context, &admin, subscription, filters, limit),
        UnknownCommand::Show { subscription, position } => {
            let path = format!("/v1/unknown/{}/{}", escape(&subscription), escape(&position));
            show(context, &admin.get(&path)?)
        }
        UnknownCommand::Resolve(args) => resolve(context, &admin, args),
    }
}

fn list(
    context: &Context,
    admin: &AdminClient,
    subscription: Option<String>,
    filters: Filters,
    limit: u32,
) -> anyhow::Result<()> {
    let filter = filters.filter(None);
    let parameters = query(&[
        ("subscription", subscription.as_deref()),
        ("limit", Some(&limit.to_string())),
        ("type", filter.kind.as_deref()),
        ("key", filter.key.as_deref()),
        ("since", filter.since.as_deref()),
        ("until", filter.until.as_deref()),
        ("revision", filter.revision.as_deref()),
        ("state", filter.state.as_deref()),
    ]);
    let unknown: Vec<UnknownView> = admin.get(&format!("/v1/unknown{parameters}"))?;
    if context.json {
        return print::json(&unknown);
    }
    let text = |view: &UnknownView, attribute: &str| {
        view.event.event.get(attribute).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
    };
    let row = |view: &UnknownView| {
        vec![
            view.at.clone(),
            view.subscription.clone(),
            view.position.clone(),
            text(view, "id"),
            text(view, "partitionkey"),
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
    print::pairs(&pairs)?;
    print::line("")?;
    let attempts: Vec<_> =
        view.history.iter().map(|note| vec![note.attempt.to_string(), note.at.clone(), note.reason.clone()]).collect();
    print::table(&["ATTEMPT", "ENDED", "WHY"], &attempts, "no attempts")?;
    print::line("")?;
    print::json(&view.event.event)
}

fn resolve(context: &Context, admin: &AdminClient, args: ResolveArgs) -> anyhow::Result<()> {
    let ResolveArgs { subscription, position, found, receipt, remark, filters, yes } = args;
    let is_one = position.is_some();
    let request = ResolveRequest {
        subscription,
        filter: filters.filter(position),
        resolution: found.word().to_owned(),
        receipt,
        remark,
        confirm: (yes && !is_one).then_some(u64::MAX),
    };
    let resolved: Resolved = match admin.post("/v1/unknown/resolve", &request) {
        Ok(resolved) => resolved,
        Err(error) if !yes && !is_one && error.to_string().contains("confirm that number") => {
            bail!("{error}; add --yes to do it")
        }
        Err(error) => return Err(error),
    };
    if context.json {
        return print::json(&resolved);
    }
    let Resolved { resolved, before, skipped } = resolved;
    let word = found.word();
    print::line(&format!("{resolved} resolved as {word}, {before} were before, {skipped} left as they are"))
}
