//! `bugle backup` and `bugle restore`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Context, print};
use crate::api::{BackupRequest, BackupView, RestoreView};
use crate::backup::{self, Restore};

/// What can be done with backups.
#[derive(Debug, Subcommand)]
pub(super) enum BackupCommand {
    /// Copy everything the running host keeps into a new folder, while it goes on
    #[command(after_help = "Example:\n  bugle backup create /mnt/other-disk/bugle-2026-11-30")]
    Create {
        /// The folder, on the host's machine; it must not exist or be empty
        dir: PathBuf,
    },
    /// Read every row of a backup; needs no host and changes nothing
    #[command(after_help = "Example:\n  bugle backup check /mnt/other-disk/bugle-2026-11-30")]
    Check {
        /// The backup
        dir: PathBuf,
    },
}

/// Arguments of `bugle restore`.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The backup
    from: PathBuf,
    /// Pause every subscription, so that nothing is sent before somebody has looked
    #[arg(long)]
    paused: bool,
}

pub(super) fn run(context: &Context, command: BackupCommand) -> anyhow::Result<()> {
    match command {
        BackupCommand::Create { dir } => {
            let dir = std::path::absolute(&dir)?.display().to_string();
            let made: BackupView = context.admin()?.post_patiently("/v1/backups", &BackupRequest { dir })?;
            if context.json {
                return print::json(&made);
            }
            let how = match made.is_linked {
                true => {
                    "hard links to the host's files: it took no room, and is lost with the disk; copy it to another one"
                }
                false => "copies",
            };
            show(&made, &[("made of", how.to_owned()), ("took", format!("{} ms", made.took_ms))])
        }
        BackupCommand::Check { dir } => {
            let found = backup::check(&dir)?;
            if context.json {
                return print::json(&found);
            }
            show(&found, &[("sound", format!("{} rows read", found.rows))])
        }
    }
}

fn show(backup: &BackupView, more: &[(&str, String)]) -> anyhow::Result<()> {
    let mut pairs = vec![
        ("backup", backup.dir.clone()),
        ("made at", backup.made_at.clone()),
        ("holds", format!("every event before {}", backup.next)),
        ("store", backup.incarnation.clone()),
        ("size", format!("{} files, {} bytes", backup.files, backup.bytes)),
    ];
    pairs.extend(more.iter().cloned());
    print::pairs(&pairs)
}

pub(super) fn restore(context: &Context, args: &RestoreArgs) -> anyhow::Result<()> {
    let restored: RestoreView = backup::restore(Restore { from: &args.from, is_paused: args.paused }, &context.data)?;
    if context.json {
        return print::json(&restored);
    }
    print::pairs(&[
        ("restored", restored.data_dir.clone()),
        ("from", format!("{} (made at {})", restored.from, restored.made_at)),
        ("holds", format!("every event before {}, {} rows, all read", restored.next, restored.rows)),
        ("store", format!("{} (was {})", restored.incarnation, restored.incarnation_before)),
        ("paused", format!("{} subscriptions", restored.paused)),
        ("next", format!("bugle serve --data-dir {}", restored.data_dir)),
    ])
}
