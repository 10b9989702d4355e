//! Backups and restores, as JSON.

use serde::{Deserialize, Serialize};

/// A backup to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// A folder on the host's machine, as an absolute path; it must not exist or be empty.
    pub dir: String,
}

/// A whole backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupView {
    /// Where it is.
    pub dir: String,
    /// When it was made.
    pub made_at: String,
    /// Position of the next event: it holds all before it.
    pub next: String,
    /// Identity of the store.
    pub incarnation: String,
    /// Files of the store.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Rows that were read and decoded; 0 if only the ends of the log were looked at.
    #[serde(default)]
    pub rows: u64,
    /// Whether the large files are hard links to the host's own: it took no room, and is lost with the disk.
    pub is_linked: bool,
    /// How long it took.
    pub took_ms: u64,
}

/// A restored data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreView {
    /// Where it is.
    pub data_dir: String,
    /// The backup.
    pub from: String,
    /// When that was made.
    pub made_at: String,
    /// Position of the next event.
    pub next: String,
    /// Rows that were read and decoded.
    pub rows: u64,
    /// Bytes that were copied.
    pub bytes: u64,
    /// Its new identity.
    pub incarnation: String,
    /// Identity of the store in the backup.
    pub incarnation_before: String,
    /// Subscriptions that were paused.
    pub paused: u64,
}
