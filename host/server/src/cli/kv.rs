//! `bugle kv`.

use anyhow::bail;
use clap::Subcommand;

use super::admin::{escape, query};
use super::{Context, print};
use crate::api::{EntriesPage, EntryView, Swapped};
use crate::quantity::Duration;

/// What can be done with kv entries.
#[derive(Debug, Subcommand)]
pub(super) enum KvCommand {
    /// Print an entry's value
    #[command(after_help = "Example:\n  bugle kv get inbox user:42/unread")]
    Get {
        /// Store: the subscription's name
        store: String,
        /// Key
        key: String,
    },
    /// Write an entry
    #[command(after_help = "Example:\n  bugle kv put inbox user:42/unread 0 --expect 17")]
    Put {
        /// Store: the subscription's name
        store: String,
        /// Key
        key: String,
        /// Value
        value: String,
        /// Only if the entry has this version; 0 means that it must not exist
        #[arg(long)]
        expect: Option<u64>,
        /// Forget it after this long, such as 24h
        #[arg(long)]
        ttl: Option<Duration>,
    },
    /// List entries in key order
    #[command(after_help = "Example:\n  bugle kv scan inbox --prefix user:42/ --limit 20")]
    Scan {
        /// Store: the subscription's name
        store: String,
        /// Only keys that start so
        #[arg(long, default_value = "")]
        prefix: String,
        /// Only keys after this one
        #[arg(long)]
        after: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Delete an entry
    #[command(after_help = "Example:\n  bugle kv delete inbox user:42/unread")]
    Delete {
        /// Store: the subscription's name
        store: String,
        /// Key
        key: String,
        /// Only if the entry has this version
        #[arg(long)]
        expect: Option<u64>,
    },
}

pub(super) fn run(context: &Context, command: KvCommand) -> anyhow::Result<()> {
    let admin = context.admin()?;
    let entry = |store: &str, key: &str| format!("/v1/kv/{}/{}", escape(store), escape(key));
    match command {
        KvCommand::Get { store, key } => {
            let found: EntryView = admin.get(&entry(&store, &key))?;
            if context.json {
                return print::json(&found);
            }
            print::line(&shown(&found))
        }
        KvCommand::Put { store, key, value, expect, ttl } => {
            let parameters = query(&[
                ("expect", expect.map(|version| version.to_string()).as_deref()),
                ("ttl", ttl.map(|ttl| ttl.to_string()).as_deref()),
            ]);
            let path = format!("{}{parameters}", entry(&store, &key));
            done(context, &admin.put_bytes(&path, value.as_bytes())?)
        }
        KvCommand::Delete { store, key, expect } => {
            let expect = expect.map(|version| version.to_string());
            let path = format!("{}{}", entry(&store, &key), query(&[("expect", expect.as_deref())]));
            done(context, &admin.delete(&path)?)
        }
        KvCommand::Scan { store, prefix, after, limit } => {
            let parameters =
                query(&[("prefix", Some(&prefix)), ("after", after.as_deref()), ("limit", Some(&limit.to_string()))]);
            let page: EntriesPage = admin.get(&format!("/v1/kv/{}{parameters}", escape(&store)))?;
            if context.json {
                return print::json(&page);
            }
            let row = |entry: &EntryView| vec![entry.key.clone(), entry.version.to_string(), shown(entry)];
            let rows: Vec<_> = page.entries.iter().map(row).collect();
            print::table(&["KEY", "VERSION", "VALUE"], &rows, "no entries")?;
            match page.after {
                Some(after) => print::line(&format!("more: --after '{after}'")),
                None => Ok(()),
            }
        }
    }
}

fn shown(entry: &EntryView) -> String {
    let base64 = || entry.value_base64.as_ref().map(|text| format!("base64:{text}"));
    entry.value.clone().or_else(base64).unwrap_or_default()
}

fn done(context: &Context, answer: &Swapped) -> anyhow::Result<()> {
    if !answer.applied {
        bail!("the entry has another version; read it again and repeat [conflict]");
    }
    if context.json {
        return print::json(answer);
    }
    print::line("done")
}
