//! The real program as a process: how it ends. What it does while it runs is tested in `tests/e2e`.
//!
//! Invariant: exit code 0 means an ordered stop, and a host that is not there announces nothing.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const BUGLE: &str = env!("CARGO_BIN_EXE_bugle");

/// Generous: other tests share the machine.
const WITHIN: Duration = Duration::from_secs(60);

struct Host {
    dir: TempDir,
    child: Child,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Host {
    /// Starts a host in a shell that prepares its process, and waits until it serves.
    fn start(prepare: &str) -> Host {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("bugle.toml");
        std::fs::write(&config, "[quic]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n").unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new("sh")
            .args(["-c", &format!("{prepare} exec \"$0\" serve --config \"$1\" --data-dir \"$2\"")])
            .args([Path::new(BUGLE), &config, &dir.path().join("data")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let host = Host { dir, child };
        until("the host to serve", || host.announcement().exists().then_some(()));
        host
    }

    fn announcement(&self) -> PathBuf {
        self.dir.path().join("data/endpoints.json")
    }

    fn cli(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(BUGLE);
        command.args(arguments).arg("--data-dir").arg(self.dir.path().join("data"));
        command.stdin(Stdio::null()).output().unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    fn exit_code(&mut self) -> Option<i32> {
        until("the host to end", || self.child.try_wait().unwrap()).code()
    }
}

#[test]
fn sigterm_ends_the_host_in_order() {
    let mut host = Host::start("");
    assert!(host.cli(&["topic", "create", "orders"]).status.success());
    let published = host.cli(&["publish", "orders", "--type", "t", "--source", "s", "--id", "1"]);
    assert!(published.status.success(), "{published:?}");
    kill_process(Pid::from_child(&host.child), Signal::TERM).unwrap();
    assert_eq!(host.exit_code(), Some(0), "{}", host.log());
    assert!(!host.announcement().exists());
    let away = host.cli(&["status"]);
    assert!(!away.status.success());
    assert!(String::from_utf8_lossy(&away.stderr).contains("bugle serve --data-dir"), "{away:?}");
}

#[test]
fn a_failed_disk_ends_the_host_with_an_error_and_confirms_nothing_more() {
    // Files may not grow beyond 1.5 MB: the log's next append fails, as on a disk that gives out.
    let mut host = Host::start("trap '' XFSZ; ulimit -f 3000;");
    assert!(host.cli(&["topic", "create", "orders"]).status.success());
    let payload = "x".repeat(20_000);
    let line = |id: u32| format!("{{\"id\":\"{id}\",\"source\":\"s\",\"type\":\"t\",\"data\":\"{payload}\"}}\n");
    let file = host.dir.path().join("events.jsonl");
    std::fs::write(&file, (0..200).map(line).collect::<String>()).unwrap();
    let published = host.cli(&["publish", "orders", "--file", file.to_str().unwrap(), "--timeout", "3s", "--json"]);
    assert!(!published.status.success());
    assert_eq!(host.exit_code(), Some(1), "{}", host.log());
    let told = host.log();
    assert!(told.contains("bugle: the store failed") && told.contains("check the disk"), "{told}");
    assert!(!host.announcement().exists());
    let summary: serde_json::Value = serde_json::from_slice(&published.stdout).unwrap();
    let count = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!(count("stored") + count("unknown"), 200, "{summary}");
    assert!(count("unknown") > 0, "{summary}");
}

/// Soft and hard limit of open files, as the system counts them.
fn open_files(host: &Host) -> (u64, u64) {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", host.child.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[test]
fn the_soft_limit_of_open_files_is_raised_to_the_hard_one() {
    let host = Host::start("ulimit -Sn 256;");
    let (soft, hard) = open_files(&host);
    assert!(soft == hard && soft > 256, "{soft} of {hard}");
    let told = host.log();
    assert!(told.contains(&format!("open_files={soft}")), "{told}");
    drop(host);
    let host = Host::start("ulimit -Sn 256; ulimit -Hn 1000;");
    assert_eq!(open_files(&host), (1_000, 1_000));
    let told = host.log();
    assert!(told.contains("WARN") && told.contains("LimitNOFILE=") && told.contains("open_files=1000"), "{told}");
}
