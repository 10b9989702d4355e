//! The child process: config, start, readiness, kill, restart, what it used.

use std::fs::{self, File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bugle::data_dir::{DataDir, Endpoints};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::admin::Admin;
use crate::wait::free_port;

/// A start includes recovery and loading plugins; generous, since other tests share the machine.
const START_WITHIN: Duration = Duration::from_secs(60);
/// A graceful stop waits for calls in flight.
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// How to start a host.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// More lines for its config file, after the sections `quic` and `admin`.
    pub config: String,
    /// More environment.
    pub environment: Vec<(String, String)>,
}

/// A running (or killed) host.
#[derive(Debug)]
pub struct Host {
    binary: PathBuf,
    directory: TempDir,
    settings: Settings,
    child: Option<Child>,
    endpoints: Option<Endpoints>,
}

/// What a process used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time, user and system.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub resident: u64,
    /// Threads.
    pub threads: u64,
}

impl Host {
    /// Starts `binary` on a fresh data directory and free ports, and waits until it serves.
    pub fn start(binary: &Path, settings: Settings) -> Result<Host> {
        let directory =
            tempfile::Builder::new().prefix("bugle-test-").tempdir().context("could not make a directory")?;
        let config = format!(
            "data_dir = {:?}\n[quic]\nlisten = \"127.0.0.1:{}\"\n[admin]\nlisten = \"127.0.0.1:{}\"\n{}\n",
            directory.path().join("data"),
            free_port(),
            free_port(),
            settings.config,
        );
        fs::write(directory.path().join("bugle.toml"), config).context("could not write the config file")?;
        let mut host = Host { binary: binary.to_owned(), directory, settings, child: None, endpoints: None };
        host.restart()?;
        Ok(host)
    }

    /// Starts the host again on the same data directory and ports; the one before must have ended.
    pub fn restart(&mut self) -> Result<()> {
        anyhow::ensure!(self.child.is_none(), "the host still runs");
        let log = self.log()?;
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--config").arg(self.directory.path().join("bugle.toml"));
        command.envs(self.settings.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        #[allow(
            unsafe_code,
            reason = "prctl is async-signal-safe and touches only the new child: it dies with this process"
        )]
        // SAFETY: between fork and exec only prctl is called, which is async-signal-safe.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        let child = command.spawn().with_context(|| format!("could not start `{}`", self.binary.display()))?;
        let pid = child.id();
        self.child = Some(child);
        self.endpoints = Some(self.wait_until_ready(pid)?);
        Ok(())
    }

    fn wait_until_ready(&mut self, pid: u32) -> Result<Endpoints> {
        let deadline = Instant::now() + START_WITHIN;
        loop {
            if let Ok(endpoints) = self.data().find()
                && endpoints.pid == pid
            {
                return Ok(endpoints);
            }
            if let Some(status) = self.exited()? {
                bail!("the host ended at its start with {status}:\n{}", self.log_text());
            }
            if Instant::now() > deadline {
                bail!("the host was not ready after {START_WITHIN:?}:\n{}", self.log_text());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn exited(&mut self) -> Result<Option<ExitStatus>> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?),
            None => Ok(None),
        }
    }

    /// SIGKILL, and wait until the process is gone.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { bail!("the host does not run") };
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGTERM, and wait until the process has ended; an error if it does not end well.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { bail!("the host does not run") };
        kill_process(Pid::from_child(&child), Signal::TERM)?;
        let deadline = Instant::now() + STOP_WITHIN;
        loop {
            match child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the host ended with {status}:\n{}", self.log_text()),
                None if Instant::now() > deadline => {
                    child.kill()?;
                    bail!("the host did not end within {STOP_WITHIN:?} of SIGTERM:\n{}", self.log_text());
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Leaves the directory of a stopped host where it is, for a person to look at; gives its path.
    pub fn keep(mut self) -> Result<PathBuf> {
        anyhow::ensure!(self.child.is_none(), "the host still runs");
        self.directory.disable_cleanup(true);
        Ok(self.directory.path().to_owned())
    }

    /// Its data directory.
    pub fn data(&self) -> DataDir {
        DataDir::at(&self.directory.path().join("data"))
    }

    /// A directory that lives as long as the host, for the test's own files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The binary it was started from; also its command line.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Where producers connect, and the fingerprint of its certificate.
    pub fn quic(&self) -> (SocketAddr, String) {
        let endpoints = self.endpoints();
        (endpoints.quic.parse().expect("the host announces a socket address"), endpoints.fingerprint.clone())
    }

    /// Where providers call back, if the config says so.
    pub fn inbound(&self) -> Option<SocketAddr> {
        let address = self.endpoints().inbound.as_ref();
        address.map(|address| address.parse().expect("the host announces a socket address"))
    }

    /// Its admin API.
    pub fn admin(&self) -> Admin {
        let token = fs::read_to_string(self.data().token()).expect("a served data directory has a token");
        Admin::new(&self.endpoints().admin, token.trim())
    }

    fn endpoints(&self) -> &Endpoints {
        self.endpoints.as_ref().expect("set by the start")
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// What the process used so far.
    pub fn usage(&self) -> Usage {
        usage(self.pid()).unwrap_or_default()
    }

    /// What the host said so far.
    pub fn log_text(&self) -> String {
        fs::read_to_string(self.directory.path().join("host.log")).unwrap_or_default()
    }

    fn log(&self) -> Result<File> {
        let path = self.directory.path().join("host.log");
        OpenOptions::new().create(true).append(true).open(path).context("could not open the host's log")
    }

    /// A command of the host's own command line against this host; gives its standard output.
    pub fn cli(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.binary)
            .args(arguments)
            .env("BUGLE_DATA_DIR", self.data().path())
            .stdin(Stdio::null())
            .output()
            .context("could not run the command line")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!(
                "`bugle {}` ended with {}: {}{text}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(text)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let text = self.log_text();
            let tail: Vec<&str> = text.lines().rev().take(40).collect();
            eprintln!("the host's last words:");
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

/// CPU and memory of a process from /proc; `None` when it is gone.
fn usage(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Fields after the command name, which is in parentheses and may contain spaces: state is field 3 of proc(5).
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let threads = fields.get(17)?.parse().ok()?;
    let pages: u64 = fields.get(21)?.parse().ok()?;
    // Linux reports 100 ticks a second to user space on every platform we run on, and x86-64 pages of 4 KiB.
    Some(Usage { cpu: Duration::from_millis(ticks * 10), resident: pages * 4096, threads })
}
