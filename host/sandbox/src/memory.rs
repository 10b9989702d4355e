//! How much memory one instance may take, all its linear memories together, and whether it asked for more.
//!
//! Invariant: what was granted never exceeds the bound.

use wasmtime::ResourceLimiter;

use crate::engine::{MEMORIES_MAX, TABLE_ELEMENTS_MAX};

/// Core instances of one store.
const INSTANCES_MAX: usize = 16;
/// Tables of one store.
const TABLES_MAX: usize = 8;

/// Bound and use of one instance.
#[derive(Debug)]
pub(crate) struct MemoryLimit {
    bytes_max: usize,
    bytes: usize,
    was_refused: bool,
}

impl MemoryLimit {
    pub(crate) fn new(bytes_max: usize) -> MemoryLimit {
        MemoryLimit { bytes_max, bytes: 0, was_refused: false }
    }

    /// Whether growth was refused since the last time this was asked.
    pub(crate) fn take_refused(&mut self) -> bool {
        std::mem::take(&mut self.was_refused)
    }

    /// Memory of wasm never shrinks: an instance past half its bound is better replaced.
    pub(crate) fn is_half_full(&self) -> bool {
        self.bytes > self.bytes_max / 2
    }

    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let bytes = self.bytes.saturating_add(desired.saturating_sub(current));
        if bytes > self.bytes_max {
            self.was_refused = true;
            return Ok(false);
        }
        self.bytes = bytes;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }
}
