//! The stage: the host under the play, as an operator handles it, and what is read from it at the end.
//!
//! Uses the command line and the admin API only. Knows nothing of the order of the acts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bugle_checker::record::{Kill, Position, Record};
use bugle_client::Client;
use bugle_harness::{Host, Settings};
use bugle_receivers::{Journal, now_us};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::Arguments;
use crate::channels::{self, EMAIL, INBOX, WEBHOOK};
use crate::figures::Figures;
use crate::traffic::TOPIC;
use crate::verdict::Evidence;

/// Everything is delivered long before; a host that hangs must not hang the demo.
const DRAIN_WITHIN: Duration = Duration::from_secs(60);

/// How often the end of the work is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// By then receivers on a busy machine have read what a killed host had sent to them.
const SOCKETS_DRAINED: Duration = Duration::from_millis(200);

const CHANNELS: [&str; 3] = [WEBHOOK, EMAIL, INBOX];

/// See the module.
pub(crate) struct Stage {
    host: Host,
    /// Subscriptions and kills.
    journal: Journal,
    figures: BTreeMap<String, Figures>,
    bar: ProgressBar,
    quiet: bool,
}

/// The host's program, built beside this one.
fn host_program() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("bugle");
    if !program.exists() {
        bail!("`{}` is not built; run `make demo`, or `cargo build --workspace --bins` first", program.display());
    }
    Ok(program)
}

impl Stage {
    pub(crate) fn open(arguments: &Arguments, config: &str, journal: Journal) -> anyhow::Result<Stage> {
        let settings = Settings { config: config.to_owned(), ..Settings::default() };
        let host = Host::start(&host_program()?, settings)?;
        let style = "  {bar:32} {pos}/{len} events published, {elapsed}";
        let bar = match arguments.json {
            true => ProgressBar::hidden(),
            false => ProgressBar::new(u64::from(arguments.events)).with_style(ProgressStyle::with_template(style)?),
        };
        let figures = CHANNELS.map(|name| (name.to_owned(), Figures::default())).into();
        Ok(Stage { host, journal, figures, bar, quiet: arguments.json })
    }

    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            self.bar.suspend(|| println!("* {text}"));
        }
    }

    pub(crate) fn show(&self, sent: u32) {
        self.bar.set_position(u64::from(sent));
    }

    pub(crate) fn quic(&self) -> String {
        self.host.quic().0.to_string()
    }

    pub(crate) fn create_topic(&self) -> anyhow::Result<()> {
        self.host.cli(&["topic", "create", TOPIC]).map(drop)
    }

    /// Deploys a plugin and subscribes it, as an operator would.
    pub(crate) fn deploy(
        &mut self,
        plugin: &str,
        component: &Path,
        definition: &str,
        subscription: &str,
    ) -> anyhow::Result<()> {
        self.host.cli(&["plugin", "deploy", plugin, &component.display().to_string()])?;
        let file = self.host.directory().join(format!("{subscription}.toml"));
        std::fs::write(&file, definition)?;
        let answer = self.host.cli(&["subscription", "apply", "--json", &file.display().to_string()])?;
        let answer: Value = serde_json::from_str(&answer)?;
        let start = answer.get("started_at").and_then(Value::as_str);
        let start: Position =
            start.context("a new subscription tells where it starts")?.parse().map_err(anyhow::Error::msg)?;
        self.journal.write(Record::Subscription(channels::promise(subscription, start)));
        Ok(())
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<Client> {
        let (address, fingerprint) = self.host.quic();
        let builder = Client::builder(&address.to_string()).producer("github").server_fingerprint(&fingerprint);
        Ok(builder.publish_timeout(Duration::from_secs(60)).connect().await?)
    }

    /// Kills the host and starts it again; tells how long it was away.
    pub(crate) fn kill(&mut self) -> anyhow::Result<Duration> {
        self.read_figures()?;
        let from_us = now_us();
        self.host.kill()?;
        // What the host had sent is still in the receivers' sockets; they read it before the kill counts as over.
        std::thread::sleep(SOCKETS_DRAINED);
        let until_us = now_us();
        self.journal.write(Record::Kill(Kill { from_us, until_us }));
        let down = Instant::now();
        self.host.restart()?;
        Ok(down.elapsed())
    }

    fn read_figures(&mut self) -> anyhow::Result<()> {
        let metrics = self.host.admin().text("/metrics")?;
        for (name, figures) in &mut self.figures {
            figures.add(&metrics, name);
        }
        Ok(())
    }

    /// Waits until every channel has settled everything, on disk; gives the store dump that shows it.
    pub(crate) fn drain(&self) -> anyhow::Result<String> {
        let deadline = Instant::now() + DRAIN_WITHIN;
        loop {
            let status: Value = self.get("/v1/status")?;
            let channels = status.get("subscriptions").context("`status` has no subscriptions")?;
            let open = |name: &str| channels.get(name).and_then(|line| line.get("backlog")).and_then(Value::as_u64);
            let left: u64 = CHANNELS.iter().filter_map(|name| open(name)).max().unwrap_or(u64::MAX);
            self.bar.set_message(format!("{left} left"));
            // Only rows on disk count, and the last of them may still be on their way.
            if left == 0 {
                let dump = self.host.admin().text("/v1/dump")?;
                let is_open =
                    |line: &str| [r#""state":"ready""#, r#""state":"waiting""#].iter().any(|word| line.contains(word));
                if !dump.lines().any(is_open) {
                    self.bar.finish_and_clear();
                    return Ok(dump);
                }
            }
            if Instant::now() > deadline {
                bail!("the channels did not settle everything within {DRAIN_WITHIN:?}: {channels:#}");
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let answer = self.host.admin().get(path)?;
        answer.map_err(|error| anyhow::anyhow!("{path}: {} [{}]", error.message, error.code))
    }

    /// What is judged: the logs as they are on disk, the store dump, the inbox, the host's own counters.
    pub(crate) fn evidence(&mut self, logs: &Path, dump: String) -> anyhow::Result<Evidence> {
        self.read_figures()?;
        let files = ["producer.jsonl", "webhook.jsonl", "mail.jsonl", "director.jsonl"].map(|name| logs.join(name));
        Ok(Evidence { files: files.into(), dump, inbox: self.inbox()?, figures: std::mem::take(&mut self.figures) })
    }

    /// Counts the messages in all inboxes through the generic kv API.
    fn inbox(&self) -> anyhow::Result<u64> {
        let mut count = 0;
        let mut after = String::new();
        loop {
            let escaped = after.replace('%', "%25").replace('/', "%2F").replace('+', "%2B");
            let and_after = if after.is_empty() { String::new() } else { format!("&after={escaped}") };
            let page: Value = self.get(&format!("/v1/kv/{INBOX}?prefix=user/&limit=1000{and_after}"))?;
            let entries = page.get("entries").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let key =
                |entry: &&Value| entry.get("key").and_then(Value::as_str).is_some_and(|key| key.contains("/msg/"));
            count += entries.iter().filter(key).count() as u64;
            match page.get("after").and_then(Value::as_str) {
                Some(last) => after = last.to_owned(),
                None => return Ok(count),
            }
        }
    }

    /// Stops the host as an operator would; gives its folder to keep, with config, data and log.
    pub(crate) fn close(mut self, keep: bool) -> anyhow::Result<Option<PathBuf>> {
        self.host.stop()?;
        if keep { self.host.keep().map(Some) } else { Ok(None) }
    }
}
