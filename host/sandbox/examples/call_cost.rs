//! What a call costs: `cargo run -p bugle-sandbox --example call_cost [PLUGIN] [WAITING] [TYPE]`.
//!
//! Prints microseconds per delivery of a warm plugin through the whole sandbox (queue, runner, hand-over, guest, finish), the
//! same with a fresh instance each time, and, if asked for, the memory of that many calls that wait for one HTTP answer each (or do what an event of TYPE asks of the probe, such as `sleep`).

use bugle_core::delivery::{CallEnd, Delivery};
use bugle_core::event::{Event, Index, Span, StoredEvent};
use bugle_core::ids::{Attempt, Name, Offset, Position, Slot, Ticket, TopicId};
use bugle_core::import::{Import, ImportResult, Reply};
use bugle_core::time::Timestamp;
use bugle_egress::{Egress, Options as EgressOptions};
use bugle_sandbox::{Binding, Compiler, Grants, HostCalls, Limits, Options, Plugin, Sandbox, Tighter};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Deliveries that are measured.
const CALLS: usize = 200_000;
/// Deliveries handed over at once, as a worker would.
const BATCH: usize = 500;
/// How long the receiver lets callers wait.
const ANSWER_AFTER: Duration = Duration::from_secs(5);

/// Counts down calls under way.
#[derive(Default)]
struct Gate {
    left: Mutex<usize>,
    done: Condvar,
    failures: AtomicU64,
}

impl Gate {
    fn add(&self, calls: usize) {
        *self.left.lock().expect("nobody panics with the lock") += calls;
    }
}

struct Call {
    delivery: Delivery,
    gate: Arc<Gate>,
}

impl HostCalls for Call {
    fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    fn topic(&self) -> Name {
        "orders".into()
    }

    fn now(&self) -> Timestamp {
        Timestamp(0)
    }

    async fn import(&mut self, _: Import) -> ImportResult {
        Ok(Reply::Done)
    }

    fn finish(self, end: CallEnd) {
        if end != CallEnd::Returned(Ok(())) {
            self.gate.failures.fetch_add(1, Ordering::Relaxed);
            eprintln!("{end:?}");
        }
        let mut left = self.gate.left.lock().expect("nobody panics with the lock");
        *left -= 1;
        if *left == 0 || *left == BATCH {
            self.gate.done.notify_all();
        }
    }
}

fn event(kind: &str, data: &str) -> Result<Event, Box<dyn Error>> {
    let mut bytes = Vec::new();
    let mut put = |text: &str| {
        let span = Span { start: bytes.len() as u32, len: text.len() as u32 };
        bytes.extend_from_slice(text.as_bytes());
        span
    };
    let index = Index {
        id: put("event-1"),
        source: put("/call-cost"),
        kind: put(kind),
        key: Some(put("key-1")),
        content_type: Some(put("application/json")),
        data: put(data),
        ..Index::default()
    };
    Ok(Event::new(bytes.into(), index)?)
}

fn calls(count: usize, event: &Event, gate: &Arc<Gate>) -> Vec<Call> {
    (0..count)
        .map(|n| {
            let position = Position { slot: Slot(0), offset: Offset(n as u64) };
            let event = StoredEvent { position, topic: TopicId(1), received: Timestamp(0), event: event.clone() };
            let delivery = Delivery {
                ticket: Ticket(n as u64 + 1),
                event,
                attempt: Attempt(1),
                idempotency_key: format!("key-{n}"),
                deadline: Timestamp(60_000),
                wants_fresh: false,
            };
            Call { delivery, gate: Arc::clone(gate) }
        })
        .collect()
}

fn wait(gate: &Gate, left_max: usize) {
    let left = gate.left.lock().expect("nobody panics with the lock");
    drop(gate.done.wait_while(left, |left| *left > left_max).expect("nobody panics with the lock"));
}

/// CPU time of the process: what the machine's other work does not change.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// A line of `/proc/self/status`, in KiB.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn binding(name: &str, concurrency: usize, origin: Option<&str>) -> Result<Binding, Box<dyn Error>> {
    let egress = origin.map(str::parse).transpose()?.into_iter().collect();
    let settings = origin.map(|origin| ("url".to_owned(), origin.into())).into_iter().collect();
    Ok(Binding {
        subscription: name.into(),
        is_ordered: true,
        concurrency: u32::try_from(concurrency)?,
        settings,
        grants: Grants { egress, ..Grants::default() },
        limits: Tighter::default(),
        business_key: None,
        uncertain: None,
    })
}

fn activate(sandbox: &Sandbox<Call>, plugin: &Plugin, binding: &Binding) -> Result<(), Box<dyn Error>> {
    sandbox.activate(&sandbox.bind(plugin, binding)?);
    Ok(())
}

/// A receiver in a process of its own would be fairer; in one of its own threads it costs little enough to be subtracted.
async fn receiver(listener: tokio::net::TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut head = [0; 512];
            drop(stream.read(&mut head).await);
            tokio::time::sleep(ANSWER_AFTER).await;
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await);
        });
    }
}

/// Runs the receiver in a child, so that its memory is not ours.
fn receive() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        receiver(listener).await;
        Ok(())
    })
}

fn child() -> Result<(std::process::Child, SocketAddr), Box<dyn Error>> {
    use std::io::BufRead as _;
    let mut child = std::process::Command::new(std::env::current_exe()?)
        .arg("receive")
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().ok_or("the child has no output")?;
    let mut line = String::new();
    std::io::BufReader::new(stdout).read_line(&mut line)?;
    Ok((child, line.trim().parse()?))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "receive") {
        return receive();
    }
    let path = arguments.first().map_or_else(bugle_guests::probe, Into::into);
    let waiting: usize = arguments.get(1).map_or(Ok(0), |text| text.parse())?;
    let threads = std::thread::available_parallelism()?.get();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let cache = tempfile::tempdir()?;
    let sandbox = Sandbox::new(Options {
        guest: runtime.handle().clone(),
        guest_threads: threads,
        cache: cache.path().join("compiled"),
        compiler: Compiler::InProcess,
        egress: Egress::new(EgressOptions::default())?,
        limits: Limits { slots: u32::try_from(waiting.max(100))?, ..Limits::default() },
    })?;
    let plugin = runtime.block_on(sandbox.load(std::fs::read(path)?, None))?;
    let gate = Arc::new(Gate::default());
    let ok = event("ok", "{}")?;
    for (name, concurrency) in [("one", 1), ("all", 64)] {
        activate(&sandbox, &plugin, &binding(name, concurrency, None)?)?;
        for round in ["cold", "warm"] {
            let batches: Vec<Vec<Call>> = (0..CALLS / BATCH).map(|_| calls(BATCH, &ok, &gate)).collect();
            let (began, cpu_before) = (Instant::now(), cpu_seconds());
            for batch in batches {
                // As a worker does: never more in flight than the queue takes.
                wait(&gate, BATCH);
                gate.add(batch.len());
                sandbox.run(name, batch);
            }
            wait(&gate, 0);
            let each = |seconds: f64| seconds * 1e6 / CALLS as f64;
            println!(
                "concurrency {concurrency:>2}, {round}: {:.2} us per delivery, {:.2} us of CPU",
                each(began.elapsed().as_secs_f64()),
                each(cpu_seconds() - cpu_before)
            );
        }
    }
    if waiting > 0 {
        wait_many(&sandbox, &plugin, waiting, &gate)?;
    }
    match gate.failures.load(Ordering::Relaxed) {
        0 => Ok(()),
        failures => Err(format!("{failures} calls failed").into()),
    }
}

fn wait_many(sandbox: &Sandbox<Call>, plugin: &Plugin, count: usize, gate: &Arc<Gate>) -> Result<(), Box<dyn Error>> {
    let (mut child, address) = child()?;
    let origin = format!("http://{address}");
    activate(sandbox, plugin, &binding("waiting", count, Some(&origin))?)?;
    let kind = std::env::args().nth(3).unwrap_or_else(|| "http-wait".to_owned());
    let millis = ANSWER_AFTER.as_millis();
    let event = event(&kind, &format!(r#"{{"url": "{origin}/", "millis": {millis}}}"#))?;
    let (before, own_before) = (memory("VmRSS"), memory("RssAnon"));
    let began = Instant::now();
    gate.add(count);
    sandbox.run("waiting", calls(count, &event, gate));
    let latest = began + ANSWER_AFTER;
    while sandbox.status().subscriptions.iter().all(|pool| pool.waiting < count) && Instant::now() < latest {
        std::thread::sleep(Duration::from_millis(10));
    }
    let all_waiting = began.elapsed();
    let (resident, own) = (memory("VmRSS") - before, memory("RssAnon") - own_before);
    let threads = memory("Threads");
    let maps = std::fs::read_to_string("/proc/self/maps")?.lines().count();
    wait(gate, 0);
    println!(
        "{count} waiting calls: all wait after {all_waiting:.2?}, done after {:.2?}; {} MiB of own memory more ({} KiB each), {} MiB \
         resident with the pages they share, {threads} threads, {maps} memory maps",
        began.elapsed(),
        own >> 10,
        own / count as u64,
        resident >> 10
    );
    child.kill()?;
    child.wait()?;
    Ok(())
}
