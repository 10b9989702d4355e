//! What is wrong, where, and what to do about it: findings of facts that were gathered elsewhere.
//!
//! The same judgement serves a running host, which gathers its own facts, and a directory that nobody serves. Changes nothing
//! and reads nothing.
//!
//! Invariant: every finding names a thing and an action, and nothing that works as it should is a finding.

mod offline;
mod subscriptions;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use offline::look;
pub(crate) use offline::{set_aside, token_mode};
pub(crate) use subscriptions::NEAR_PERCENT;
pub use subscriptions::SubscriptionFacts;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// It works, and will not for ever or not for everybody.
    Warning,
    /// Something is refused, stopped, lost or about to be.
    Error,
}

impl Level {
    /// For people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// A stable word for the kind of finding.
    pub code: String,
    /// Where: a path, a subscription, the host.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// Everything that was found, and on what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The data directory.
    pub data_dir: String,
    /// Whether a host serves it: without one, only what is on disk can be told.
    pub is_running: bool,
    /// What was looked at and is in order.
    pub healthy: Vec<String>,
    /// What is not, worst first.
    pub findings: Vec<Finding>,
}

/// Room on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomFacts {
    /// Bytes in all.
    pub total: u64,
    /// Bytes free.
    pub free: u64,
}

/// Files this process may have open, and has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// The bound.
    pub allowed: u64,
    /// Open now; 0 if the system does not tell.
    pub open: u64,
}

/// What is known of a host or of a directory. What is `None` could not be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The data directory.
    pub data_dir: String,
    /// Whether a host serves it.
    pub is_running: bool,
    /// Why the store takes nothing any more, or cannot be opened.
    pub failure: Option<String>,
    /// A restore was interrupted.
    pub is_half_restored: bool,
    /// Room on the disk.
    pub room: Option<RoomFacts>,
    /// Publishing is refused for lack of it.
    pub is_disk_full: bool,
    /// Open files; of a running host only.
    pub files: Option<FileFacts>,
    /// Bytes of the write-ahead log.
    pub wal_bytes: u64,
    /// Names of damaged write-ahead logs that were set aside.
    pub set_aside: Vec<String>,
    /// Mode of the admin token's file.
    pub token_mode: Option<u32>,
    /// What the store is, in words: format, identity, log.
    pub store: Option<String>,
    /// Who keeps a log longer than its retention asks for, and how many bytes of it.
    pub pinned: Vec<(String, u64)>,
    /// Subscriptions of a running host.
    pub subscriptions: Vec<SubscriptionFacts>,
}

/// Free disk below this is worth a warning; publishing stops at 5 %.
const FREE_PERCENT_LOW: u64 = 15;
/// Fewer open files than this are few, as the start says.
const FILES_FEW: u64 = 16_384;
/// Of the allowed ones, more than this share in use is much.
const FILES_PERCENT_MUCH: u64 = 80;
/// RocksDB flushes at 256 MiB; twice that says that it does not get to it.
const WAL_BYTES_MUCH: u64 = 512 << 20;

/// Judges the facts.
#[must_use]
pub fn diagnose(facts: &Facts) -> Diagnosis {
    let mut report = Report::default();
    store(facts, &mut report);
    disk(facts, &mut report);
    machine(facts, &mut report);
    for subscription in &facts.subscriptions {
        subscription.judge(&mut report);
    }
    if facts.is_running {
        let sound = facts.subscriptions.len() - report.sick;
        report.healthy.push(format!("{sound} of {} subscriptions are in order", facts.subscriptions.len()));
    }
    report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    Diagnosis {
        data_dir: facts.data_dir.clone(),
        is_running: facts.is_running,
        healthy: report.healthy,
        findings: report.findings,
    }
}

/// A diagnosis under way.
#[derive(Default)]
struct Report {
    healthy: Vec<String>,
    findings: Vec<Finding>,
    /// Subscriptions with a finding.
    sick: usize,
}

impl Report {
    fn add(&mut self, level: Level, code: &str, place: &str, what: String, advice: String) {
        let (code, place) = (code.to_owned(), place.to_owned());
        self.findings.push(Finding { level, code, place, what, advice });
    }
}

fn store(facts: &Facts, report: &mut Report) {
    let place = &facts.data_dir;
    if facts.is_half_restored {
        let what = "a restore was interrupted, and a host refuses the directory".to_owned();
        report.add(Level::Error, "half-restored", place, what, "run the same `bugle restore` again".to_owned());
    }
    if let Some(failure) = &facts.failure {
        let advice = match facts.is_running {
            true => "check the disk, then start the host again; it recovers by itself or says what it lost",
            false => "do what the message says; a copy of the directory first costs nothing",
        };
        report.add(Level::Error, "store", place, failure.clone(), advice.to_owned());
    }
    for name in &facts.set_aside {
        let what = format!(
            "`{name}` is a damaged write-ahead log that a start set aside; what was before the damage is served"
        );
        let advice = "check the disk for errors; delete the folder when nobody needs it".to_owned();
        report.add(Level::Warning, "damaged-log", place, what, advice);
    }
    if facts.wal_bytes > WAL_BYTES_MUCH {
        let what = format!("the write-ahead log has {} MiB, so a start takes long", facts.wal_bytes >> 20);
        let advice = "a disk that is too slow does that, and so does a long backup to another disk; see `bugle_commit` in the metrics".to_owned();
        report.add(Level::Warning, "wal-size", place, what, advice);
    }
    for (name, bytes) in &facts.pinned {
        let what = format!("it has not settled {} MiB of the log that the retention would let go of", bytes >> 20);
        let advice = format!("let it catch up, or let go of its backlog: bugle subscription seek {name} --to latest");
        report.add(Level::Warning, "log-pinned", name, what, advice);
    }
    if facts.failure.is_none() {
        report.healthy.extend(facts.store.clone());
    }
}

fn disk(facts: &Facts, report: &mut Report) {
    let Some(room) = facts.room else { return };
    let percent = room.free / (room.total / 100).max(1);
    let told = format!("{} MiB of {} MiB are free ({percent} %)", room.free >> 20, room.total >> 20);
    let advice =
        "make room: give the disk more, let subscriptions catch up, or delete hard-linked backups on the same disk";
    if facts.is_disk_full {
        let what = format!("publishing is refused for lack of disk: {told}");
        report.add(Level::Error, "disk-full", &facts.data_dir, what, advice.to_owned());
    } else if percent < FREE_PERCENT_LOW {
        let what = format!("the disk fills up: {told}; publishing stops at 5 %");
        report.add(Level::Warning, "disk-low", &facts.data_dir, what, advice.to_owned());
    } else {
        report.healthy.push(format!("disk: {told}"));
    }
}

fn machine(facts: &Facts, report: &mut Report) {
    if let Some(mode) = facts.token_mode
        && mode & 0o077 != 0
    {
        let what = format!("the admin token can be read by others (mode {:o})", mode & 0o777);
        let advice = "chmod 600 it; to have a new one: stop the host, delete the file, start".to_owned();
        report.add(Level::Error, "token-mode", &facts.data_dir, what, advice);
    }
    let Some(files) = facts.files else { return };
    let told = format!("{} of {} allowed files are open", files.open, files.allowed);
    if files.open > files.allowed / 100 * FILES_PERCENT_MUCH {
        let advice = "allow more before the start: `LimitNOFILE=65536` in the systemd unit, or `ulimit -Hn`".to_owned();
        report.add(Level::Error, "open-files", "host", format!("{told}; connections and calls beyond fail"), advice);
    } else if files.allowed < FILES_FEW {
        let advice = "allow more before the start: `LimitNOFILE=65536` in the systemd unit, or `ulimit -Hn`".to_owned();
        report.add(
            Level::Warning,
            "open-files",
            "host",
            format!("{told}, which are few for many calls at once"),
            advice,
        );
    } else {
        report.healthy.push(format!("files: {told}"));
    }
}
