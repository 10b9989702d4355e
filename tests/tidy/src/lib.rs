//! The rules of the house, checked by a test instead of by a reviewer: imports between our crates, file and function
//! size, module docs, names, forbidden words, links.
//!
//! It reads text and knows nothing of what the code does; rules that need a compiler belong to clippy. `tests/repository.rs`
//! runs every rule on the repository, the unit tests beside each rule show that a bad sample is caught.
//!
//! Invariant: a problem fails the test and names file, line and what to do; a note is printed and fails nothing.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a panic is how a test fails"))]

use std::fmt;
use std::path::{Path, PathBuf};

pub mod imports;
pub mod mask;
pub mod pages;
pub mod promises;
pub mod source;
pub mod tree;
pub mod words;

/// One place that breaks a rule, or comes near to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file, relative to the repository.
    pub path: PathBuf,
    /// The line, counted from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong and what to do.
    pub what: String,
}

impl Finding {
    /// A finding at `line` of `path`.
    pub fn new(path: &Path, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_path_buf(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.path.display(), self.what)
        } else {
            write!(f, "{}:{}: {}", self.path.display(), self.line, self.what)
        }
    }
}
