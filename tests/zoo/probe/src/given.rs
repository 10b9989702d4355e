//! Parameters of a behaviour, from the event's JSON data.
//!
//! All are optional: a test names only what it cares for.

use bugle_plugin::prelude::*;

pub(crate) struct Given<'a>(&'a Value);

impl<'a> Given<'a> {
    pub(crate) fn new(data: &'a Value) -> Self {
        Self(data)
    }

    pub(crate) fn text(&self, name: &str, default: &'a str) -> &'a str {
        self.0.get(name).and_then(Value::as_str).unwrap_or(default)
    }

    pub(crate) fn optional(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).and_then(Value::as_str)
    }

    pub(crate) fn number(&self, name: &str, default: u64) -> u64 {
        self.0.get(name).and_then(Value::as_u64).unwrap_or(default)
    }

    pub(crate) fn time(&self, name: &str, default: Duration) -> Duration {
        self.optional_time(name).unwrap_or(default)
    }

    /// Milliseconds.
    pub(crate) fn optional_time(&self, name: &str) -> Option<Duration> {
        self.0.get(name).and_then(Value::as_u64).map(Duration::from_millis)
    }
}
