//! The plugin's store: bytes or JSON by key.
//!
//! Writes are buffered by the host and land with the ack; nothing is kept here between calls.

use crate::cx::Cx;
use crate::error::HostError;
use crate::host::{self, millis, wit};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

pub use wit::kv::{Entry, Item};

/// Access to the store. Made by [`Cx::kv`].
#[derive(Debug, Clone, Copy)]
pub struct Kv<'a> {
    cx: &'a Cx,
}

impl<'a> Kv<'a> {
    pub(crate) fn new(cx: &'a Cx) -> Self {
        Self { cx }
    }

    /// Value and version, if the key exists.
    ///
    /// # Errors
    /// The host's.
    pub fn get(&self, key: &str) -> Result<Option<Entry>, HostError> {
        Ok(host::kv::get(self.cx.ticket(), key)?)
    }

    /// The value decoded from JSON.
    ///
    /// # Errors
    /// The host's; `invalid` if it does not decode.
    pub fn get_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, HostError> {
        let Some(entry) = self.get(key)? else {
            return Ok(None);
        };
        serde_json::from_slice(&entry.value)
            .map(Some)
            .map_err(|error| HostError::invalid(format!("kv `{key}` is not what this plugin stores now: {error}")))
    }

    /// Set; with a `ttl` it is gone that long after the commit.
    ///
    /// # Errors
    /// The host's.
    pub fn put(&self, key: &str, value: &[u8], ttl: impl Into<Option<Duration>>) -> Result<(), HostError> {
        Ok(host::kv::put(self.cx.ticket(), key, value, ttl.into().map(millis))?)
    }

    /// Set to JSON.
    ///
    /// # Errors
    /// The host's; `invalid` if it does not serialise.
    pub fn put_json<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        ttl: impl Into<Option<Duration>>,
    ) -> Result<(), HostError> {
        let value = serde_json::to_vec(value)
            .map_err(|error| HostError::invalid(format!("value for kv `{key}` is not JSON: {error}")))?;
        self.put(key, &value, ttl)
    }

    /// Set (or delete, with no value) if the version still is `expect` (none = no such key). False = it is not.
    ///
    /// # Errors
    /// The host's.
    pub fn swap(
        &self,
        key: &str,
        expect: Option<u64>,
        value: Option<&[u8]>,
        ttl: impl Into<Option<Duration>>,
    ) -> Result<bool, HostError> {
        Ok(host::kv::swap(self.cx.ticket(), key, expect, value, ttl.into().map(millis))?)
    }

    /// Delete.
    ///
    /// # Errors
    /// The host's.
    pub fn delete(&self, key: &str) -> Result<(), HostError> {
        Ok(host::kv::delete(self.cx.ticket(), key)?)
    }

    /// Add to a counter at commit, without conflicts.
    ///
    /// # Errors
    /// The host's.
    pub fn add(&self, key: &str, delta: i64, ttl: impl Into<Option<Duration>>) -> Result<(), HostError> {
        Ok(host::kv::add(self.cx.ticket(), key, delta, ttl.into().map(millis))?)
    }

    /// One page of the keys that start with `prefix`, after the key `after`; an empty page is the end.
    ///
    /// # Errors
    /// The host's.
    pub fn scan(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Item>, HostError> {
        Ok(host::kv::scan(self.cx.ticket(), prefix, after, limit)?)
    }
}
