//! `kv`: the plugin's small store. Needs the grant `kv`.
//!
//! Buffering, versions and conflicts are the core's.

use bugle_core::import::{Entry, Import, Reply};
use bugle_core::time::Millis;

use super::{denied, done, unexpected};
use crate::bindings::bugle::plugin::{kv, types};
use crate::calls::HostCalls;
use crate::rights::Right;
use crate::state::State;

impl<C: HostCalls> State<C> {
    /// The ticket comes first: to a stale one the grant is nobody's business.
    async fn ask_kv(&mut self, ticket: u64, import: Import) -> Result<Reply, types::Error> {
        self.live(ticket)?;
        self.rights.check(Right::Kv).map_err(denied)?;
        self.ask(ticket, import).await
    }
}

impl<C: HostCalls> kv::Host for State<C> {
    async fn get(&mut self, t: types::Ticket, key: String) -> Result<Option<kv::Entry>, types::Error> {
        match self.ask_kv(t, Import::KvGet { key }).await? {
            Reply::Entry(found) => Ok(found.map(entry)),
            other => Err(unexpected(&other)),
        }
    }

    async fn put(
        &mut self,
        t: types::Ticket,
        key: String,
        value: Vec<u8>,
        ttl: Option<types::Millis>,
    ) -> Result<(), types::Error> {
        self.ask_kv(t, Import::KvPut { key, value, ttl: ttl.map(Millis) }).await.and_then(done)
    }

    async fn swap(
        &mut self,
        t: types::Ticket,
        key: String,
        expect: Option<u64>,
        value: Option<Vec<u8>>,
        ttl: Option<types::Millis>,
    ) -> Result<bool, types::Error> {
        match self.ask_kv(t, Import::KvSwap { key, expect, value, ttl: ttl.map(Millis) }).await? {
            Reply::Swapped(applied) => Ok(applied),
            other => Err(unexpected(&other)),
        }
    }

    async fn delete(&mut self, t: types::Ticket, key: String) -> Result<(), types::Error> {
        self.ask_kv(t, Import::KvDelete { key }).await.and_then(done)
    }

    async fn add(
        &mut self,
        t: types::Ticket,
        key: String,
        delta: i64,
        ttl: Option<types::Millis>,
    ) -> Result<(), types::Error> {
        self.ask_kv(t, Import::KvAdd { key, delta, ttl: ttl.map(Millis) }).await.and_then(done)
    }

    async fn scan(
        &mut self,
        t: types::Ticket,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Result<Vec<kv::Item>, types::Error> {
        match self.ask_kv(t, Import::KvScan { prefix, after, limit }).await? {
            Reply::Entries(found) => {
                Ok(found.into_iter().map(|(key, found)| kv::Item { key, entry: entry(found) }).collect())
            }
            other => Err(unexpected(&other)),
        }
    }
}

fn entry(found: Entry) -> kv::Entry {
    kv::Entry { value: found.value, version: found.version }
}
