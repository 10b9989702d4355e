//! `bugle policy`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::admin::escape;
use super::{Context, print};
use crate::api::{SimulateRequest, Simulation};
use crate::definition::{Definition, HealthSpec, Start};
use crate::quantity::Duration;

/// What can be done with policies.
#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Say what a degrade policy would do with stored events; nothing is sent
    #[command(
        after_help = "Examples:\n  bugle policy simulate sms --health sick\n  bugle policy simulate sms --file candidate.toml --from 0-120000 --health sick --age 10m\n\nOnly critical events while the gateway is sick, in the subscription's file:\n  degrade = [{ while = \"sick\", classes = [\"normal\", \"low\"], do = \"defer\" }]"
    )]
    Simulate(SimulateArgs),
}

#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// The subscription
    subscription: String,
    /// A candidate for its definition [default: as it is]
    #[arg(long)]
    file: Option<PathBuf>,
    /// From where on: earliest or a position
    #[arg(long, default_value = "earliest")]
    from: Start,
    /// Under which health: sick or healthy; may be given twice [default: both]
    #[arg(long)]
    health: Vec<HealthSpec>,
    /// How long each event has waited when it is decided, such as 10m [default: not at all]
    #[arg(long)]
    age: Option<Duration>,
}

pub(super) fn run(context: &Context, command: PolicyCommand) -> anyhow::Result<()> {
    let PolicyCommand::Simulate(args) = command;
    let candidate = args.file.as_deref().map(read).transpose()?;
    let request = SimulateRequest { definition: candidate, from: args.from, health: args.health, age: args.age };
    let path = format!("/v1/subscriptions/{}/simulate", escape(&args.subscription));
    let simulation: Simulation = context.admin()?.post(&path, &request)?;
    if context.json {
        return print::json(&simulation);
    }
    show(&simulation)
}

fn read(file: &Path) -> anyhow::Result<Definition> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("could not read the definition `{}`", file.display()))?;
    let mut definition = Definition::parse(file, &text)?;
    // A simulation needs no secret, so none leaves this machine for it.
    definition.grants.secrets.clear();
    Ok(definition)
}

fn show(simulation: &Simulation) -> anyhow::Result<()> {
    let Simulation { subscription, from, to, events, is_cut, healths } = simulation;
    print::line(&format!("{events} events of `{subscription}` from {from} up to {to}; nothing was sent"))?;
    if *is_cut {
        print::line("there are more; go on with `--from`")?;
    }
    let mut rows = Vec::new();
    for decisions in healths {
        for (class, counts) in &decisions.classes {
            let mut row = vec![decisions.health.clone(), class.clone()];
            row.extend([counts.sent, counts.deferred, counts.rerouted, counts.dropped].map(|count| count.to_string()));
            rows.push(row);
        }
    }
    let headings = ["HEALTH", "CLASS", "SENT", "DEFERRED", "REROUTED", "DROPPED"];
    print::table(&headings, &rows, "no events to decide")
}
