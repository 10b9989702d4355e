//! Receivers that we did not write: Python programs on libraries from PyPI, which know our promises only from the standards.
//!
//! Invariant: a program ends when its [`Program`] is dropped, since it reads its standard input.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use bugle_harness::eventually;
use serde_json::Value;

use crate::scene::{PATIENCE, binary};

pub(crate) struct Program {
    child: Child,
    pub(crate) port: u16,
    lines: Arc<Mutex<Vec<Value>>>,
}

/// The Python that tests/setup.sh has made, with the libraries in tests/requirements.txt.
pub(crate) fn python() -> PathBuf {
    let named = std::env::var_os("BUGLE_TEST_PYTHON").map(PathBuf::from);
    let target = binary().parent().and_then(Path::parent).unwrap().to_owned();
    let python = named.unwrap_or_else(|| target.join("python/bin/python3"));
    assert!(python.exists(), "`{}` is missing: run `make setup`, which installs it beside the build", python.display());
    python
}

impl Program {
    /// Starts a program of tests/e2e/receivers and waits until it listens.
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Program {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("receivers").join(name);
        let mut command = Command::new(python());
        let piped = command.arg(path).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        output.read_line(&mut first).unwrap();
        let port = first.trim().parse().unwrap_or_else(|_| panic!("`{name}` did not start: {first}"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                kept.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Program { child, port, lines }
    }

    /// What it said, once it said so much.
    pub(crate) fn said(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} lines of the receiver"), PATIENCE, || {
            let lines = self.lines.lock().unwrap();
            (lines.len() >= count).then(|| lines.clone())
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
