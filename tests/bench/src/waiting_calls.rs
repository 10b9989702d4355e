//! B10, waiting calls: the memory of ten thousand calls of the webhook plugin that wait at once.
//!
//! Once in an import that answers late, which is what guests and their cages cost (stores, stacks, memories, tables), and once for an HTTP
//! answer, with everything that a request has in the host. The receiver is a process of its own (this program again), so that its memory
//! is not counted. What is told is the growth of the anonymous memory of this process.

use std::io::BufRead as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use crate::calls::{Gate, activate, calls, event, sandbox};
use crate::report::Measured;

/// Word on the command line that makes this program the receiver.
pub(crate) const RECEIVER: &str = "hold-answers";
/// How long the receiver lets callers wait: long enough for all of them to come.
const ANSWER_AFTER: Duration = Duration::from_secs(5);

/// Answers every request after a while, until the process is killed.
pub(crate) fn receive() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (mut stream, _) = listener.accept().await?;
            tokio::spawn(async move {
                let mut head = [0; 512];
                // A caller that is gone wants no answer.
                drop(stream.read(&mut head).await);
                tokio::time::sleep(ANSWER_AFTER).await;
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await);
            });
        }
    })
}

struct Receiver(Child);

impl Drop for Receiver {
    fn drop(&mut self) {
        // It may have died by itself; there is nobody to tell.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn receiver() -> Result<(Receiver, SocketAddr)> {
    let mut child = Command::new(std::env::current_exe()?).arg(RECEIVER).stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().context("the receiver has no output")?;
    let receiver = Receiver(child);
    let mut line = String::new();
    std::io::BufReader::new(stdout).read_line(&mut line)?;
    Ok((receiver, line.trim().parse()?))
}

/// A line of `/proc/self/status`, in KiB or as a plain number.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// What calls wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// An import of the host: nothing but the guest side is there.
    Import,
    /// The answer of a receiver.
    Answer,
}

/// Lets that many calls wait at once.
pub(crate) fn run(count: usize, wait: Wait) -> Result<Measured> {
    bugle_receivers::limits::raise_open_files().context("could not raise the limit of open files")?;
    let threads = std::thread::available_parallelism()?.get();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let cache = tempfile::tempdir().context("could not make a directory for compiled plugins")?;
    let (sandbox, plugin) = sandbox(&runtime, cache.path(), count, bugle_guests::webhook())?;
    let (_receiver, address) = receiver()?;
    activate(&sandbox, &plugin, "waiting", count, Some(&format!("http://{address}")))?;
    let event = event("order.paid", r#"{"order": 7}"#)?;
    let (gate, held) = (Arc::new(Gate::default()), Arc::new(Semaphore::new(0)));
    let mut batch = calls(count, 1, &event, &gate);
    if wait == Wait::Import {
        batch = batch.into_iter().map(|call| call.held_by(&held)).collect();
    }
    let before = status("RssAnon");
    let start = Instant::now();
    gate.add(count);
    sandbox.run("waiting", batch);
    let are_waiting = || sandbox.status().subscriptions.iter().any(|pool| pool.waiting >= count);
    while !are_waiting() && start.elapsed() < ANSWER_AFTER {
        std::thread::sleep(Duration::from_millis(10));
    }
    let own = status("RssAnon").saturating_sub(before);
    let threads = status("Threads");
    let maps = std::fs::read_to_string("/proc/self/maps")?.lines().count();
    held.close();
    gate.wait(0);
    gate.check()?;
    let seconds = start.elapsed().as_secs_f64();
    let what = if wait == Wait::Import { "in an import: the guest side" } else { "for an HTTP answer" };
    Ok(Measured {
        settings: format!("{count} calls wait at once {what}"),
        events: count as u64,
        seconds,
        rate: count as f64 / seconds,
        host_mib: own >> 10,
        note: format!("{} KiB a call, {threads} threads, {maps} memory maps", own / count as u64),
        ..Measured::of("B10", "-")
    })
}
