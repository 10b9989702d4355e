//! `bugle publish`: one event from flags, or a file of them, over QUIC like any producer.
//!
//! Knows nothing of batches or retries, which are the client's.
//!
//! Invariant: the command succeeds only if every event is durable.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bugle_client::{Client, Event, Outcome, PendingReceipt};
use bugle_wire::AttributeValue;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::sync::mpsc;

use super::{Context, print};

/// What to publish.
#[derive(Debug, Args)]
pub(super) struct PublishArgs {
    /// Topic
    topic: String,
    #[command(flatten)]
    event: EventArgs,
    /// Publish every line of this file: CloudEvents JSON (- is standard input)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kind", "source", "id", "key", "subject", "deliver_at", "delay", "expire_at", "ttl", "replaces_pending", "data", "data_file", "attributes"])]
    file: Option<PathBuf>,
    /// With --file: at most this many events a second
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<u32>,
    /// Name of this producer
    #[arg(long, default_value = "bugle-cli")]
    producer: String,
    /// File with the token that this host asks producers for [default: none]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Give up after this long
    #[arg(long, default_value = "30s")]
    timeout: crate::quantity::Duration,
}

#[derive(Debug, Args)]
struct EventArgs {
    /// CloudEvents type, such as `order.paid`
    #[arg(long = "type", value_name = "TYPE", required_unless_present = "file")]
    kind: Option<String>,
    /// CloudEvents source, such as `https://shop.example/orders`
    #[arg(long, required_unless_present = "file")]
    source: Option<String>,
    /// CloudEvents id [default: a new one]
    #[arg(long)]
    id: Option<String>,
    /// Ordering key: events that share it are delivered in order
    #[arg(long)]
    key: Option<String>,
    /// CloudEvents subject
    #[arg(long)]
    subject: Option<String>,
    /// Not delivered before this time, such as 2026-11-25T10:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "delay")]
    deliver_at: Option<bugle_wire::Timestamp>,
    /// Not delivered before this time from now, such as 10m
    #[arg(long, value_name = "SPAN")]
    delay: Option<crate::quantity::Duration>,
    /// No delivery starts from this time on, such as 2026-11-25T10:05:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "ttl")]
    expire_at: Option<bugle_wire::Timestamp>,
    /// No delivery starts from this time from now on, such as 5m
    #[arg(long, value_name = "SPAN")]
    ttl: Option<crate::quantity::Duration>,
    /// Take the place of the scheduled events of the same key
    #[arg(long, requires = "key")]
    replaces_pending: bool,
    /// Payload: JSON if it parses as JSON, else text
    #[arg(long, conflicts_with = "data_file")]
    data: Option<String>,
    /// Payload from a file, as bytes
    #[arg(long, value_name = "FILE")]
    data_file: Option<PathBuf>,
    /// A further attribute
    #[arg(long = "attribute", value_name = "NAME=VALUE")]
    attributes: Vec<String>,
}

/// What became of a file.
#[derive(Debug, Default, Serialize)]
struct Summary {
    stored: u64,
    duplicates: u64,
    refused: u64,
    unknown: u64,
    /// The first refusals: line and why.
    problems: Vec<String>,
}

/// Enough to see what is wrong with a file.
const PROBLEMS_MAX: usize = 10;

/// Receipts that may be awaited at once; the client bounds what is in flight anyway.
const RECEIPTS_MAX: usize = 16 * 1024;

pub(super) fn run(context: &Context, args: PublishArgs) -> anyhow::Result<()> {
    if args.rate.is_some() && args.file.is_none() {
        bail!("--rate goes with --file; one event needs no rate");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let event = match args.file {
            Some(_) => None,
            None => Some(event(&args.event)?),
        };
        let client = connect(context, &args).await?;
        let done = match (event, &args.file) {
            (None, Some(file)) => publish_file(context, &client, &args, file).await,
            (Some(event), _) => publish_one(context, &client, &args.topic, event).await,
            (None, None) => bail!("give --type and --source, or --file"),
        };
        client.close().await;
        done
    })
}

async fn connect(context: &Context, args: &PublishArgs) -> anyhow::Result<Client> {
    let endpoints = context.data.find()?;
    let token = match &args.token_file {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("could not read `{}`", file.display()))?,
        None => String::new(),
    };
    Client::builder(&endpoints.quic)
        .producer(&args.producer)
        .token(token.trim_end_matches('\n'))
        .server_fingerprint(&endpoints.fingerprint)
        .publish_timeout(args.timeout.std())
        .connect()
        .await
        .with_context(|| format!("could not reach the host at {}; start it with `bugle serve`", endpoints.quic))
}

fn event(args: &EventArgs) -> anyhow::Result<Event> {
    let source = args.source.as_deref().unwrap_or_default();
    let kind = args.kind.as_deref().unwrap_or_default();
    let mut builder = Event::builder(source, kind);
    if let Some(id) = &args.id {
        builder = builder.id(id);
    }
    if let Some(key) = &args.key {
        builder = builder.key(key);
    }
    if let Some(subject) = &args.subject {
        builder = builder.subject(subject);
    }
    if let Some(time) = args.deliver_at {
        builder = builder.deliver_at(time);
    }
    if let Some(delay) = &args.delay {
        builder = builder.delay(delay.std());
    }
    if let Some(time) = args.expire_at {
        builder = builder.expires(time);
    }
    if let Some(ttl) = &args.ttl {
        builder = builder.ttl(ttl.std());
    }
    if args.replaces_pending {
        builder = builder.replaces_pending();
    }
    for attribute in &args.attributes {
        let Some((name, value)) = attribute.split_once('=') else {
            bail!("`--attribute {attribute}` has no `=`; write `--attribute NAME=VALUE`");
        };
        builder = builder.attribute(name, AttributeValue::String(value));
    }
    let bytes = match &args.data_file {
        Some(file) => std::fs::read(file).with_context(|| format!("could not read `{}`", file.display()))?,
        None => Vec::new(),
    };
    builder = match &args.data {
        Some(data) if serde_json::from_str::<serde_json::Value>(data).is_ok() => builder.json(data),
        Some(data) => builder.text(data),
        None if args.data_file.is_some() => builder.binary(&bytes),
        None => builder,
    };
    Ok(builder.build()?)
}

async fn publish_one(context: &Context, client: &Client, topic: &str, event: Event) -> anyhow::Result<()> {
    let id = event.view().id.to_owned();
    match client.publish(topic, event).await {
        Outcome::Confirmed(receipt) => {
            if context.json {
                return print::json(&serde_json::json!({
                    "id": id,
                    "position": receipt.position.to_string(),
                    "duplicate": receipt.duplicate,
                }));
            }
            let word = if receipt.duplicate { "was stored before" } else { "stored" };
            print::line(&format!("{id} {word} at {}", receipt.position))
        }
        Outcome::Refused { code, detail, .. } => bail!("not stored: {detail} [{code}]"),
        Outcome::Unknown => {
            bail!("no receipt came for `{id}`; ask with `bugle query`, or publish it again with the same --id")
        }
    }
}

async fn publish_file(context: &Context, client: &Client, args: &PublishArgs, file: &Path) -> anyhow::Result<()> {
    let (bar, lines) = open(file)?;
    let (tx, rx) = mpsc::channel(RECEIPTS_MAX);
    let receipts = tokio::spawn(collect(rx, bar.clone()));
    let started = Instant::now();
    let mut sent = 0u32;
    for (number, line) in lines.enumerate() {
        let line = line.with_context(|| format!("could not read `{}`", file.display()))?;
        if line.trim().is_empty() {
            continue;
        }
        let place = format!("{}:{}", file.display(), number + 1);
        let event = Event::from_json(&line).with_context(|| place.clone())?;
        if let Some(rate) = args.rate {
            let due = started + Duration::from_secs(1) * sent / rate.max(1);
            tokio::time::sleep_until(due.into()).await;
        }
        let receipt = client.send(&args.topic, event).await;
        sent += 1;
        tx.send((place, receipt)).await.context("the receipts ended")?;
    }
    drop(tx);
    let summary = receipts.await?;
    bar.finish_and_clear();
    report(context, &summary)
}

/// The lines of a file, and a bar that knows how many there are; standard input has no known end.
#[expect(clippy::type_complexity, reason = "a line iterator has no shorter name")]
fn open(file: &Path) -> anyhow::Result<(ProgressBar, Box<dyn Iterator<Item = std::io::Result<String>>>)> {
    if file == Path::new("-") {
        let lines = std::io::stdin().lines();
        return Ok((ProgressBar::new_spinner(), Box::new(lines)));
    }
    let read = || {
        let opened = std::fs::File::open(file).map(BufReader::new);
        opened.with_context(|| format!("could not read `{}`", file.display()))
    };
    let total = read()?.lines().count() as u64;
    let style = "{bar:40} {pos}/{len} events, {per_sec}, {eta} left";
    let bar = ProgressBar::new(total).with_style(ProgressStyle::with_template(style)?);
    Ok((bar, Box::new(read()?.lines())))
}

async fn collect(mut receipts: mpsc::Receiver<(String, PendingReceipt)>, bar: ProgressBar) -> Summary {
    let mut summary = Summary::default();
    while let Some((place, receipt)) = receipts.recv().await {
        let problem = match receipt.await {
            Outcome::Confirmed(receipt) if receipt.duplicate => {
                summary.duplicates += 1;
                None
            }
            Outcome::Confirmed(_) => {
                summary.stored += 1;
                None
            }
            Outcome::Refused { code, detail, .. } => {
                summary.refused += 1;
                Some(format!("{place}: {detail} [{code}]"))
            }
            Outcome::Unknown => {
                summary.unknown += 1;
                Some(format!("{place}: no receipt came; publish the file again, nothing is stored twice"))
            }
        };
        if summary.problems.len() < PROBLEMS_MAX {
            summary.problems.extend(problem);
        }
        bar.inc(1);
    }
    summary
}

fn report(context: &Context, summary: &Summary) -> anyhow::Result<()> {
    if context.json {
        print::json(summary)?;
    } else {
        print::line(&format!(
            "{} stored, {} stored before, {} refused, {} without receipt",
            summary.stored, summary.duplicates, summary.refused, summary.unknown
        ))?;
    }
    if summary.refused + summary.unknown > 0 {
        bail!("not every event is durable:\n  {}", summary.problems.join("\n  "));
    }
    Ok(())
}
