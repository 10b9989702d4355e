//! `bugle dead`: look at dead letters, and decide about them.
//!
//! Knows nothing of what a decision does. Invariant: what changes more than one letter asks first.

mod edit;
mod replay;

use clap::{Args, Subcommand};

use super::admin::AdminClient;
use super::kept::{self, Extent, One, attribute};
use super::{Context, print};
use crate::api::{DeadChanged, DeadRequest, DeadView, KeptFilter};

/// Where dead letters are in the admin API.
const ROOT: &str = "/v1/dead";

/// What can be done with dead letters.
#[derive(Debug, Subcommand)]
pub(super) enum DeadCommand {
    /// List deliveries that were given up, with cause and state
    #[command(
        after_help = "Examples:\n  bugle dead list orders-webhook --state open --type order.* --since 2h\n  bugle dead list --cause rejected --limit 20 --json"
    )]
    List {
        #[command(flatten)]
        extent: Extent,
        #[command(flatten)]
        filters: Filters,
    },
    /// Show a dead letter with its attempts and its event
    #[command(after_help = "Example:\n  bugle dead show orders-webhook 0-1234")]
    Show(One),
    /// Change the event of a dead letter before it is replayed; the replay has a new idempotency key
    #[command(
        after_help = "Examples:\n  bugle dead edit orders-webhook 0-1234 --data {}\n  bugle dead edit orders-webhook 0-1234 --file event.json"
    )]
    Edit(edit::EditArgs),
    /// Deliver dead letters again: to their subscription only, in their old order per key
    #[command(
        after_help = "Examples:\n  bugle dead replay orders-webhook --type order.* --dry-run\n  bugle dead replay orders-webhook --rate 500\n  bugle dead replay orders-webhook 0-1234"
    )]
    Replay(replay::ReplayArgs),
    /// Give dead letters up for good; a key that waits for one goes on
    #[command(
        after_help = "Examples:\n  bugle dead dismiss orders-webhook 0-1234\n  bugle dead dismiss orders-webhook --cause rejected --yes"
    )]
    Dismiss(Many),
    /// Remove dead letters from the disk
    #[command(
        after_help = "Examples:\n  bugle dead purge orders-webhook 0-1234\n  bugle dead purge orders-webhook --state replayed --until 7d --yes"
    )]
    Purge(Many),
}

/// One letter or those of a filter.
#[derive(Debug, Args)]
pub(super) struct Many {
    /// Subscription
    subscription: String,
    /// Position of one event [default: those that the filters select]
    position: Option<String>,
    #[command(flatten)]
    filters: Filters,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Which letters.
#[derive(Debug, Args)]
pub(super) struct Filters {
    #[command(flatten)]
    common: kept::Filters,
    /// Cause, such as rejected or attempts-exhausted
    #[arg(long)]
    cause: Option<String>,
    /// open, manual, replayed or dismissed
    #[arg(long)]
    state: Option<String>,
}

impl Filters {
    fn filter(self, position: Option<String>) -> KeptFilter {
        let Filters { common, cause, state } = self;
        KeptFilter { cause, state, ..common.filter(position) }
    }
}

pub(super) fn run(context: &Context, command: DeadCommand) -> anyhow::Result<()> {
    let admin = context.admin()?;
    match command {
        DeadCommand::List { extent, filters } => list(context, &admin, extent, filters),
        DeadCommand::Show(one) => {
            let letter: DeadView = admin.get(&one.path(ROOT))?;
            show(context, &letter)
        }
        DeadCommand::Edit(args) => edit::run(context, &admin, args),
        DeadCommand::Replay(args) => replay::run(context, &admin, args),
        DeadCommand::Dismiss(many) => change(context, &admin, "dismiss", many),
        DeadCommand::Purge(many) => change(context, &admin, "purge", many),
    }
}

fn list(context: &Context, admin: &AdminClient, extent: Extent, filters: Filters) -> anyhow::Result<()> {
    let dead: Vec<DeadView> = kept::list(admin, ROOT, extent, &filters.filter(None))?;
    if context.json {
        return print::json(&dead);
    }
    let row = |dead: &DeadView| {
        vec![
            dead.at.clone(),
            dead.subscription.clone(),
            dead.position.clone(),
            attribute(&dead.event, "id"),
            attribute(&dead.event, "partitionkey"),
            dead.state.clone(),
            dead.cause.clone(),
            charges(dead),
            dead.reason.clone(),
        ]
    };
    let rows: Vec<_> = dead.iter().map(row).collect();
    let headings = ["AT", "SUBSCRIPTION", "POSITION", "EVENT", "KEY", "STATE", "CAUSE", "ATTEMPTS", "REASON"];
    print::table(&headings, &rows, "no dead letters")
}

/// Attempts of the event, and those that were others' fault if there were any.
fn charges(dead: &DeadView) -> String {
    match (dead.channel_faults, dead.plugin_faults) {
        (0, 0) => dead.attempts.to_string(),
        (channel, plugin) => format!("{} + {channel} channel + {plugin} plugin", dead.attempts),
    }
}

fn show(context: &Context, letter: &DeadView) -> anyhow::Result<()> {
    if context.json {
        return print::json(letter);
    }
    let state = match (letter.state.as_str(), letter.holds_key) {
        ("manual", _) => "manual: its key waits; replay or dismiss it".to_owned(),
        ("replayed", true) => "replayed in its place".to_owned(),
        ("replayed", false) => "replayed as a copy".to_owned(),
        (state, _) => state.to_owned(),
    };
    let mut pairs =
        vec![("subscription", letter.subscription.clone()), ("position", letter.position.clone()), ("state", state)];
    pairs.extend(letter.decided.clone().map(|at| ("decided", at)));
    pairs.extend([
        ("given up", letter.at.clone()),
        ("cause", format!("{} after {} attempts: {}", letter.cause, charges(letter), letter.reason)),
        ("topic", letter.event.topic.clone()),
        ("idempotency key", format!("{} (edited {} times)", letter.idempotency_key, letter.key_generation)),
    ]);
    pairs.extend(letter.revision.clone().map(|revision| ("plugin revision", revision)));
    pairs.extend(letter.trace.clone().map(|trace| ("trace", trace)));
    kept::show(&pairs, &letter.history, &letter.event)
}

fn change(context: &Context, admin: &AdminClient, verb: &str, many: Many) -> anyhow::Result<()> {
    let Many { subscription, position, filters, yes } = many;
    let filter = filters.filter(position);
    let request = DeadRequest { subscription, confirm: kept::confirmed(yes, &filter), filter };
    let changed: DeadChanged = kept::change(admin, &format!("{ROOT}/{verb}"), &request)?;
    if context.json {
        return print::json(&changed);
    }
    let done = if verb == "purge" { "purged" } else { "dismissed" };
    print::line(&format!("{} {done}, {} left as they are", changed.changed, changed.skipped))
}
