//! Prints a config as a TOML file with each field's documentation above it.
//!
//! Knows nothing of particular fields: text and values are handed in by the `section!` macro.
//!
//! Invariant: what it prints parses back to the same config.

use std::fmt::Write as _;

use serde::Serialize;

/// The page being written.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    /// Starts a table.
    pub(super) fn section(&mut self, name: &str, about: &str) {
        let _ = write!(self.0, "\n# {about}\n[{name}]\n");
    }

    /// One field: its documentation as comments, then its value; an unset one as a comment.
    pub(super) fn field<T: Serialize>(&mut self, doc: &[&str], name: &str, value: &T) {
        for line in doc {
            let _ = writeln!(self.0, "#{line}");
        }
        match toml::Value::try_from(value) {
            Ok(value) => {
                let _ = writeln!(self.0, "{name} = {value}");
            }
            Err(_) => {
                let _ = writeln!(self.0, "# {name} is not set");
            }
        }
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        self.0
    }
}
