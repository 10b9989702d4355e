//! Ten thousand deliveries that wait for an answer at once: few threads, little memory each.
//!
//! The receiver is a process of its own; it answers nothing before all of them wait, then each after a second.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bugle_harness::{Settings, eventually};
use serde_json::{Value, json};

use crate::scene::{PATIENCE, Scene, event};

const CALLS: u64 = 10_000;

/// Host threads that may run guests, or wait for them, however many calls wait.
const THREADS_MAX: usize = 8;

/// A waiting call keeps its guest's memory, its stack and a connection: about 130 KiB when this was written.
const CALL_BYTES_MAX: u64 = 256 << 10;

struct Receiver {
    child: Child,
    port: u16,
}

impl Receiver {
    fn start() -> Receiver {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bugle-receiver"));
        command.args(["--hold-until", &CALLS.to_string(), "--delay-ms", "1000"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Receiver { child, port: line.trim().parse().unwrap() }
    }

    fn stats(&self) -> Value {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(b"GET /stats HTTP/1.1\r\n\r\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.rsplit("\r\n\r\n").next().unwrap()).unwrap()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Threads of a process by name, without the number at its end, and CPU ticks of each name.
fn threads(pid: u32) -> BTreeMap<String, (usize, u64)> {
    let mut found: BTreeMap<String, (usize, u64)> = BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let (name, rest) = stat.rsplit_once(") ").unwrap();
        let name = name.split_once('(').unwrap().1.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
        let fields: Vec<&str> = rest.split(' ').collect();
        let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        let entry = found.entry(name.to_owned()).or_default();
        *entry = (entry.0 + 1, entry.1 + ticks);
    }
    found
}

#[test]
fn ten_thousand_calls_wait_at_once_on_a_handful_of_threads() {
    let receiver = Receiver::start();
    let config = format!("[sandbox]\ninstances = {}\n", CALLS + 100);
    let scene = Scene::with(Settings { config, ..Settings::default() });
    let origin = format!("http://127.0.0.1:{}", receiver.port);
    scene.probe(
        "waits",
        &format!("concurrency = {CALLS}\nconfig = {{ url = \"{origin}\" }}\ngrants = {{ egress = [\"{origin}\"] }}"),
    );
    let (idle, before) = (scene.host.usage(), threads(scene.host.pid()));
    let started = Instant::now();
    let data = json!({ "url": "/hook", "timeout": 60_000 });
    scene.store("waits", (0..CALLS).map(|n| event(&format!("w-{n}"), "http-wait", &data)));
    let published = started.elapsed();
    let stats = eventually("all calls to wait at once", 2 * PATIENCE, || {
        let stats = receiver.stats();
        (stats["waiting_max"].as_u64().unwrap() >= CALLS).then_some(stats)
    });
    let (all_wait, usage, during) = (started.elapsed(), scene.host.usage(), threads(scene.host.pid()));
    scene.settled("waits");
    let done = started.elapsed();
    let grown = usage.resident.saturating_sub(idle.resident);
    println!(
        "{CALLS} calls: published after {published:?}, all waiting after {all_wait:?}, settled after {done:?}; {stats}"
    );
    println!(
        "memory: {} MiB idle, {} MiB while all wait: {} KiB a call",
        idle.resident >> 20,
        usage.resident >> 20,
        grown / CALLS / 1024
    );
    println!("threads: {during:?}");
    let status = scene.subscription("waits")["status"].clone();
    assert_eq!((&status["delivered"], &status["retried"]), (&json!(CALLS), &json!(0)), "{status}");
    // Busy means that CPU was used; a thread that only exists (RocksDB's own, say) is neither busy nor blocked on the calls.
    let ticks = |threads: &BTreeMap<String, (usize, u64)>, name: &str| threads.get(name).map_or(0, |(_, ticks)| *ticks);
    let busy: usize =
        during.iter().filter(|(name, (_, now))| *now > ticks(&before, name)).map(|(_, (count, _))| count).sum();
    let all: usize = during.values().map(|(count, _)| count).sum();
    println!("{busy} of {all} threads worked");
    assert!(busy <= THREADS_MAX, "{busy} threads worked on the calls: {during:?}");
    assert!(grown / CALLS < CALL_BYTES_MAX, "{grown} bytes for {CALLS} calls");
    assert!(done < Duration::from_secs(120));
}
