//! The play, act by act: start, publish, deploy half-way, kill, restart, drain, judge.
//!
//! The main thread directs; producer and receivers run on their own threads beside it.
//!
//! Invariant: the only fault the demo does not choose by its seed is how far the machine had got when the kill came.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bugle_receivers::http::{HttpReceiver, Route};
use bugle_receivers::{Dice, Journal, Producer, SmtpReceiver};
use tokio::task::JoinHandle;

use crate::channels::{self, EMAIL, INBOX, WEBHOOK};
use crate::ending;
use crate::stage::Stage;
use crate::traffic::{self, Plan, Progress, Samples};
use crate::verdict;
use crate::{Arguments, ending::Run};

/// How often the director looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

pub(crate) fn play(arguments: &Arguments, seed: u64) -> anyhow::Result<bool> {
    let started = Instant::now();
    let dice = Dice(seed);
    let logs = tempfile::Builder::new().prefix("bugle-demo-logs-").tempdir()?;
    let journal = |name: &str| Journal::create(logs.path(), name);
    let (producer, webhook, mail) = (journal("producer.jsonl")?, journal("webhook.jsonl")?, journal("mail.jsonl")?);

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let _inside = runtime.enter();
    let route = Route { path: "/hook".into(), subscription: WEBHOOK.into(), script: channels::webhook_faults(dice) };
    let http = HttpReceiver::start(Some(webhook), vec![route])?.address();
    let smtp = runtime.block_on(SmtpReceiver::start(mail, EMAIL, channels::mail_faults(dice)))?.address();
    let mut stage = Stage::open(arguments, &channels::host_config(smtp), journal("director.jsonl")?)?;
    stage.say(&format!("seed {seed}; `make demo ARGS=\"--seed {seed}\"` makes the same choices again"));
    prepare(&mut stage, http)?;

    let client = runtime.block_on(stage.connect())?;
    let progress = Arc::new(Progress::default());
    let plan = Plan {
        samples: Samples::read(&data_file())?,
        dice,
        events: arguments.events,
        rate: arguments.rate,
        progress: Arc::clone(&progress),
    };
    let publishing = runtime.spawn(traffic::publish(Producer::new(client, "github", producer), plan));
    perform(&mut stage, arguments, dice, &progress, &publishing)?;
    let counts = runtime.block_on(publishing)??;
    stage.say("everything is published; the channels finish");
    let dump = stage.drain()?;
    std::fs::write(logs.path().join("store.jsonl"), &dump)?;
    let evidence = stage.evidence(logs.path(), dump)?;
    let verdict = verdict::judge(evidence)?;
    let run = Run { seed, took: started.elapsed(), counts, arguments };
    ending::report(&run, &verdict);
    ending::close(&run, &verdict, stage, logs)?;
    Ok(verdict.is_good())
}

/// The payloads beside this crate's sources.
fn data_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/github-events.jsonl")
}

fn prepare(stage: &mut Stage, http: std::net::SocketAddr) -> anyhow::Result<()> {
    stage.say(&format!("a host on an empty data directory takes producers at {}", stage.quic()));
    stage.create_topic()?;
    stage.deploy("webhook", &bugle_guests::webhook(), &channels::webhook(http), WEBHOOK)?;
    stage.deploy("inbox", &bugle_guests::inbox(), &channels::inbox(), INBOX)?;
    stage.say("channels `webhook` (signed POST; its receiver fails now and then) and `inbox` are deployed");
    Ok(())
}

/// Deploys the e-mail channel half-way and kills the host some time after, while the producer goes on.
fn perform<T>(
    stage: &mut Stage,
    arguments: &Arguments,
    dice: Dice,
    progress: &Progress,
    publishing: &JoinHandle<T>,
) -> anyhow::Result<()> {
    let percent = 55 + u32::try_from(dice.roll("kill", "", 35))?;
    let kill_at = arguments.events / 100 * percent;
    let wait_for = |stage: &Stage, count: u32| {
        while progress.sent() < count && !publishing.is_finished() {
            stage.show(progress.sent());
            std::thread::sleep(LOOK_EVERY);
        }
    };
    wait_for(stage, arguments.events / 2);
    stage.deploy("email", &bugle_guests::email(), &channels::email(), EMAIL)?;
    stage.say(&format!("channel `email` deployed while running, at event {}", progress.sent()));
    wait_for(stage, kill_at);
    let down = stage.kill()?;
    stage.say(&format!("kill -9 at event {}; up again after {} ms", progress.sent(), down.as_millis()));
    wait_for(stage, arguments.events);
    Ok(())
}
