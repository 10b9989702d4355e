//! The command line: what can be typed, and which module does it.
//!
//! Everything but `serve`, `config` and the hidden compiler child talks to a running host, found through its data directory.
//! Knows nothing of how the host does it.
//!
//! Invariant: every command takes `--json`, and its help ends with an example that works.

mod admin;
mod audit;
mod backup;
mod dead;
mod doctor;
mod erase;
mod explain;
mod kept;
mod kv;
mod plugin;
mod policy;
mod print;
mod publish;
mod query;
mod record;
mod retention;
mod scheduled;
mod status;
mod subscription;
mod tail;
mod topic;
mod unknown;

use std::path::PathBuf;
use std::process::ExitCode;

use bugle_store::OnLoss;
use clap::{Args, Parser, Subcommand};

use crate::config::{Config, DATA_DIR_DEFAULT};
use crate::data_dir::DataDir;
use crate::serve::{self, Orders};

pub use admin::AdminClient;

/// Bugle: an event bus whose subscribers are WebAssembly plugins.
#[derive(Debug, Parser)]
#[command(
    name = "bugle",
    version,
    propagate_version = true,
    after_help = "First steps:\n  bugle serve &\n  bugle topic create orders\n  bugle publish orders --type order.paid --source shop --data '{\"order\":7}'\n  bugle tail orders"
)]
pub struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Place {
    /// Data directory of the host [default: $BUGLE_DATA_DIR, else bugle-data]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the host
    #[command(after_help = "Example:\n  bugle serve --data-dir /var/lib/bugle --config /etc/bugle.toml")]
    Serve(ServeArgs),
    /// Check or print the config
    #[command(subcommand, after_help = "Example:\n  bugle config print > bugle.toml")]
    Config(ConfigCommand),
    /// Create, list, show and change topics
    #[command(subcommand, after_help = "Example:\n  bugle topic create orders")]
    Topic(topic::TopicCommand),
    /// Say how long events are kept
    #[command(subcommand, after_help = "Example:\n  bugle retention list")]
    Retention(retention::RetentionCommand),
    /// Apply, list, show, pause, resume and delete subscriptions
    #[command(subcommand, after_help = "Example:\n  bugle subscription apply orders-webhook.toml")]
    Subscription(subscription::SubscriptionCommand),
    /// Try degrade policies on stored events
    #[command(subcommand, after_help = "Example:\n  bugle policy simulate sms --health sick")]
    Policy(policy::PolicyCommand),
    /// Deploy, list and show plugins
    #[command(subcommand, after_help = "Example:\n  bugle plugin deploy webhook webhook.wasm")]
    Plugin(plugin::PluginCommand),
    /// Publish one event, or a file of them
    #[command(
        after_help = "Examples:\n  bugle publish orders --type order.paid --source shop --key user-42 --data '{\"order\":7}'\n  bugle publish orders --file events.jsonl --rate 500\n  bugle publish orders --type order.unpaid --source shop --key user-42 --delay 30m"
    )]
    Publish(publish::PublishArgs),
    /// Print events of a topic, and go on as they come
    #[command(after_help = "Example:\n  bugle tail orders --from earliest --no-follow")]
    Tail(tail::TailArgs),
    /// List and cancel scheduled events
    #[command(subcommand, after_help = "Example:\n  bugle scheduled list orders")]
    Scheduled(scheduled::ScheduledCommand),
    /// Find send records by business key
    #[command(subcommand, after_help = "Example:\n  bugle record find order:7")]
    Record(record::RecordCommand),
    /// List, show, edit, replay, dismiss and purge dead letters
    #[command(subcommand, after_help = "Example:\n  bugle dead list orders-webhook")]
    Dead(dead::DeadCommand),
    /// Make and check backups
    #[command(subcommand, after_help = "Example:\n  bugle backup create /mnt/other-disk/bugle-2026-11-30")]
    Backup(backup::BackupCommand),
    /// Make a backup the store of an empty data directory; no host may run there
    #[command(
        after_help = "Example:\n  bugle restore /mnt/other-disk/bugle-2026-11-30 --data-dir /var/lib/bugle --paused"
    )]
    Restore(backup::RestoreArgs),
    /// Erase what belongs to a key or a user: content of events, dead letters, unknown results, send records
    #[command(
        after_help = "Examples:\n  bugle erase --key user-42 --topic orders\n  bugle erase --attribute subject=user/42 --recipient user:42 --yes"
    )]
    Erase(erase::EraseArgs),
    /// List deliveries that may have been sent, and say what became of them
    #[command(subcommand, after_help = "Example:\n  bugle unknown list orders-sms")]
    Unknown(unknown::UnknownCommand),
    /// List what operators did
    #[command(subcommand, after_help = "Example:\n  bugle audit list")]
    Audit(audit::AuditCommand),
    /// Say where an event or a key is in each subscription, what it waits for and what happens next
    #[command(
        after_help = "Examples:\n  bugle explain 0-1234\n  bugle explain --topic orders --source shop --id 7f3c\n  bugle explain user-42 --subscription orders-webhook"
    )]
    Explain(explain::ExplainArgs),
    /// Read and write kv entries
    #[command(subcommand, after_help = "Example:\n  bugle kv scan inbox --prefix user:42/")]
    Kv(kv::KvCommand),
    /// Show what the host is doing
    #[command(after_help = "Example:\n  bugle status")]
    Status,
    /// Say what is wrong and what to do: of the running host, or of the directory if none serves it
    #[command(
        after_help = "Example:\n  bugle doctor --data-dir /var/lib/bugle\n\nExit code: 0 if nothing was found, 1 for warnings only, 2 if there is an error or nothing could be told."
    )]
    Doctor,
    /// Ask whether an event id was stored
    #[command(after_help = "Example:\n  bugle query orders --source shop --id 7f3c")]
    Query(query::QueryArgs),
    /// The compiler child: reads a component, writes its compiled form
    #[command(hide = true, name = bugle_sandbox::COMPILE_SUBCOMMAND)]
    CompileComponent(CompileArgs),
}

/// Arguments of the hidden compiler child; the sandbox calls it and owns their meaning.
#[derive(Debug, Args)]
pub struct CompileArgs {
    /// The component.
    pub input: PathBuf,
    /// Where its machine code goes.
    pub output: PathBuf,
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    file: ConfigArgs,
    /// Start although confirmed events are missing, after the loss was named; what is kept is served
    #[arg(long)]
    accept_loss: bool,
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// Config file [default: bugle.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say whether the config can work
    #[command(after_help = "Example:\n  bugle config check --config bugle.toml")]
    Check(ConfigArgs),
    /// Print the effective config with every field explained
    #[command(after_help = "Example:\n  bugle config print > bugle.toml")]
    Print(ConfigArgs),
}

/// What every command needs: where the host is and how to print.
#[derive(Debug)]
struct Context {
    data: DataDir,
    json: bool,
}

impl Context {
    fn admin(&self) -> anyhow::Result<AdminClient> {
        AdminClient::find(&self.data)
    }
}

impl Place {
    fn named_data_dir(&self) -> Option<PathBuf> {
        let named = || std::env::var_os("BUGLE_DATA_DIR").map(PathBuf::from);
        self.data_dir.clone().or_else(named)
    }
}

/// Does what was asked and tells a failure with its causes.
#[must_use]
pub fn main(cli: Cli) -> ExitCode {
    match run(cli) {
        Ok(code) => code,
        Err(error) if print::is_reader_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bugle: {}", print::causes(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let named = cli.place.named_data_dir();
    let context =
        Context { data: DataDir::at(named.as_deref().unwrap_or(DATA_DIR_DEFAULT.as_ref())), json: cli.place.json };
    let done = match cli.command {
        Command::Doctor => return Ok(doctor::run(&context)),
        Command::Serve(args) => {
            let (mut config, file) = Config::load(args.file.config.as_deref())?;
            config.data_dir = named.unwrap_or(config.data_dir);
            let on_loss = match args.accept_loss {
                true => OnLoss::Accept,
                false => OnLoss::Refuse,
            };
            serve::serve(&config, file.as_deref(), Orders { on_loss })
        }
        Command::Config(command) => config(command, named, context.json),
        Command::Topic(command) => topic::run(&context, command),
        Command::Retention(command) => retention::run(&context, command),
        Command::Subscription(command) => subscription::run(&context, command),
        Command::Policy(command) => policy::run(&context, command),
        Command::Plugin(command) => plugin::run(&context, command),
        Command::Publish(args) => publish::run(&context, args),
        Command::Tail(args) => tail::run(&context, args),
        Command::Scheduled(command) => scheduled::run(&context, command),
        Command::Record(command) => record::run(&context, command),
        Command::Dead(command) => dead::run(&context, command),
        Command::Backup(command) => backup::run(&context, command),
        Command::Restore(args) => backup::restore(&context, &args),
        Command::Erase(args) => erase::run(&context, args),
        Command::Unknown(command) => unknown::run(&context, command),
        Command::Audit(command) => audit::run(&context, command),
        Command::Explain(args) => explain::run(&context, args),
        Command::Kv(command) => kv::run(&context, command),
        Command::Status => status::run(&context),
        Command::Query(args) => query::run(&context, args),
        Command::CompileComponent(args) => serve::compile_component(&args),
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn config(command: ConfigCommand, named: Option<PathBuf>, json: bool) -> anyhow::Result<()> {
    let (ConfigCommand::Check(args) | ConfigCommand::Print(args)) = &command;
    let (mut config, file) = Config::load(args.config.as_deref())?;
    config.data_dir = named.unwrap_or(config.data_dir);
    match command {
        ConfigCommand::Print(_) if json => print::json(&config),
        ConfigCommand::Print(_) => print::text(&config.print()),
        ConfigCommand::Check(_) if json => print::json(&serde_json::json!({ "ok": true })),
        ConfigCommand::Check(_) => match file {
            Some(file) => print::line(&format!("{}: ok", file.display())),
            None => print::line("no config file: the defaults apply, and they are ok"),
        },
    }
}

#[cfg(test)]
mod tests;
