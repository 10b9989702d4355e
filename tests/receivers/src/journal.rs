//! What producers, receivers and killers write down: JSON lines in a file, as the checker reads them, and the same in memory.
//!
//! Invariant: a record is in the file when the call that wrote it returns, so a run that is torn off leaves its evidence.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use bugle_checker::record::{Call, Record};

/// One log. Cheap to clone; clones write to the same file.
#[derive(Clone, Debug)]
pub struct Journal {
    inside: Arc<Mutex<Inside>>,
}

#[derive(Debug)]
struct Inside {
    file: File,
    records: Vec<Record>,
    /// The first write that failed; told by [`Journal::records`], since a receiver cannot stop the run.
    broken: Option<std::io::Error>,
}

impl Journal {
    /// Starts the log `name` in a directory.
    pub fn create(directory: &Path, name: &str) -> anyhow::Result<Journal> {
        let path = directory.join(name);
        let file = File::create(&path).with_context(|| format!("could not write `{}`", path.display()))?;
        let inside = Inside { file, records: Vec::new(), broken: None };
        Ok(Journal { inside: Arc::new(Mutex::new(inside)) })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a record down.
    pub fn write(&self, record: Record) {
        let mut line = serde_json::to_vec(&record).unwrap_or_default();
        line.push(b'\n');
        let mut inside = self.inside();
        if let Err(error) = inside.file.write_all(&line) {
            inside.broken.get_or_insert(error);
        }
        inside.records.push(record);
    }

    /// Everything written so far; an error if some of it is not in the file.
    pub fn records(&self) -> anyhow::Result<Vec<Record>> {
        let mut inside = self.inside();
        match inside.broken.take() {
            Some(error) => Err(error).context("a log could not be written"),
            None => Ok(inside.records.clone()),
        }
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inside().records.len()
    }

    /// Nothing was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The calls written so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        let inside = self.inside();
        let call = |record: &Record| match record {
            Record::Call(call) => Some(call.clone()),
            _ => None,
        };
        inside.records.iter().filter_map(call).collect()
    }
}
