//! What weak claims are remembered by: marks in memory, each with a row that is written in the order of its end.
//!
//! A strong claim has a row under its key, which is a random place. A done weak claim has none there: its mark goes to the end of its
//! scope's window, in the batch of what it confirms, and the window's beginning goes as a range when its time has come. So a crash
//! forgets no mark either. When the marks take more memory than they may, further claims get rows as strong ones do.
//!
//! Knows nothing of calls. Invariant: a mark in memory has its row, or one on the way.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use hashbrown::HashMap;

use super::{Ledger, LedgerStep};
use crate::ids::{BootId, Name};
use crate::row::WindowMark;
use crate::seeded::{Bug, is_planted};
use crate::step::Write;
use crate::time::Timestamp;

/// Memory for marks: about 250,000 of them, which is ten minutes of 400 claims a second.
pub const WINDOW_BYTES_MAX: usize = 48 << 20;

/// What a mark takes beside its texts: two entries of maps, two counts of references.
const MARK_BYTES: usize = 160;

/// Marks that go in one look; more wait for the next one.
const ENDED_MAX: usize = 8_192;

/// Numbers of one boot, as of kv versions.
const NUMBERS_PER_BOOT_BITS: u32 = 40;

#[derive(Debug)]
pub(super) struct Window {
    scopes: HashMap<Name, Scope>,
    bytes: usize,
    bytes_max: usize,
    next_number: u64,
}

#[derive(Debug, Default)]
struct Scope {
    marks: HashMap<Arc<str>, Mark>,
    /// Keys by the end of their marks.
    ends: BTreeMap<(Timestamp, u64), Arc<str>>,
}

#[derive(Debug)]
struct Mark {
    expires: Timestamp,
    number: u64,
    receipt: Option<Vec<u8>>,
}

impl Mark {
    fn bytes(&self, key: &str) -> usize {
        MARK_BYTES + key.len() + self.receipt.as_ref().map_or(0, Vec::len)
    }
}

impl Window {
    pub(super) fn new(boot: BootId, bytes_max: usize) -> Window {
        Window { scopes: HashMap::new(), bytes: 0, bytes_max, next_number: (boot.0 << NUMBERS_PER_BOOT_BITS) + 1 }
    }

    /// The receipt of a key that is done, if its time has not come.
    pub(super) fn done(&self, now: Timestamp, scope: &str, key: &str) -> Option<Option<Vec<u8>>> {
        let mark = self.scopes.get(scope)?.marks.get(key)?;
        (mark.expires > now).then(|| mark.receipt.clone())
    }

    /// Marks a key as done; the mark is given back when there is no room for it, or nothing to remember.
    pub(super) fn add(&mut self, now: Timestamp, scope: &Name, mark: NewMark) -> Result<WindowMark, NewMark> {
        let NewMark { key, expires, receipt } = mark;
        let number = self.next_number;
        let entry = Mark { expires, number, receipt };
        if expires <= now || self.bytes + entry.bytes(&key) > self.bytes_max {
            return Err(NewMark { key, expires, receipt: entry.receipt });
        }
        self.next_number += 1;
        let row = WindowMark { expires, number, key: key.clone(), receipt: entry.receipt.clone() };
        self.insert(scope, key, entry);
        Ok(row)
    }

    fn insert(&mut self, scope: &Name, key: String, mark: Mark) {
        self.bytes += mark.bytes(&key);
        let scope = self.scopes.entry(scope.clone()).or_default();
        let key: Arc<str> = Arc::from(key);
        scope.ends.insert((mark.expires, mark.number), Arc::clone(&key));
        if let Some(before) = scope.marks.insert(Arc::clone(&key), mark) {
            // One that had ended. Its row is still there, so its end stays too.
            self.bytes -= before.bytes(&key);
        }
    }

    pub(super) fn end_scope(&mut self, scope: &str) {
        if let Some(scope) = self.scopes.remove(scope) {
            self.bytes -= scope.marks.iter().map(|(key, mark)| mark.bytes(key)).sum::<usize>();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.scopes.values().map(|scope| scope.marks.len()).sum()
    }
}

/// A key to remember.
pub(super) struct NewMark {
    pub(super) key: String,
    pub(super) expires: Timestamp,
    pub(super) receipt: Option<Vec<u8>>,
}

impl Ledger {
    /// A ledger whose marks may take so much memory.
    #[must_use]
    pub fn with_window(boot: BootId, bytes_max: usize) -> Ledger {
        Ledger { window: Window::new(boot, bytes_max), ..Ledger::new(boot) }
    }

    /// A mark found on disk at the start, before any claim is made.
    pub fn recover_mark(&mut self, scope: &Name, mark: WindowMark) {
        if is_planted(Bug::WindowForgottenAtRestart) {
            return;
        }
        let WindowMark { expires, number, key, receipt } = mark;
        self.window.insert(scope, key, Mark { expires, number, receipt });
    }

    /// Forgets marks whose time has come, some thousand at once: a range of rows for each scope that has any.
    pub fn end_marks(&mut self, now: Timestamp) -> Vec<Write> {
        let window = &mut self.window;
        let (mut writes, mut left) = (Vec::new(), ENDED_MAX);
        for (name, scope) in &mut window.scopes {
            let mut last = None;
            while left > 0 && scope.ends.first_key_value().is_some_and(|((expires, _), _)| *expires <= now) {
                let Some((place, key)) = scope.ends.pop_first() else { break };
                if let Some(mark) = scope.marks.get(&key).filter(|mark| mark.number == place.1) {
                    window.bytes -= mark.bytes(&key);
                    scope.marks.remove(&key);
                }
                left -= 1;
                last = Some(place);
            }
            if let Some((expires, number)) = last {
                writes.push(Write::WindowEnded { scope: name.clone(), expires, number });
            }
        }
        window.scopes.retain(|_, scope| !scope.ends.is_empty());
        writes
    }

    /// Whether a key is done by a weak claim.
    #[must_use]
    pub fn is_remembered(&self, now: Timestamp, scope: &str, key: &str) -> bool {
        self.window.done(now, scope, key).is_some()
    }

    /// Weak claims that are remembered in memory.
    #[must_use]
    pub fn marks(&self) -> usize {
        self.window.len()
    }

    /// The mark of a weak claim that is done, in place of its row.
    pub(super) fn mark(&mut self, now: Timestamp, scope: &Name, mark: NewMark) -> Result<(Write, LedgerStep), NewMark> {
        let mark = self.window.add(now, scope, mark)?;
        Ok((Write::Window { scope: scope.clone(), mark }, self.step()))
    }
}
