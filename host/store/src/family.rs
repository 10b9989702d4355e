//! The column families and how each is set up (docs/architecture.md, "Storage").
//!
//! State families are few and static, since each has a memtable of its own; log epochs are families too, written in order and
//! dropped whole, so they are never compacted. Knows nothing of rows.
//!
//! Invariant: all write buffers and cached blocks of the store together stay within [`MEMORY_BYTES`].

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, LogLevel, Options, WriteBufferManager};

/// Write buffers and block cache together: the store's share of the host's memory budget.
pub(crate) const MEMORY_BYTES: usize = 192 << 20;
/// Part of it for write buffers; a flush starts before it is used up.
const WRITE_BUFFERS_BYTES: usize = 96 << 20;
/// The cache of a database that is only looked at.
const LOOK_BYTES: usize = 8 << 20;
/// Bounds both the disk held by quiet families and the time a restart needs to replay.
const WAL_BYTES_MAX: u64 = 256 << 20;
/// One flush of a log memtable makes one file; an epoch of 2 GiB has 64.
const LOG_BUFFER_BYTES: usize = 32 << 20;
const STATE_BUFFER_BYTES: usize = 16 << 20;
/// Events are read in runs, so larger blocks cost nothing and have a smaller index.
const LOG_BLOCK_BYTES: usize = 16 << 10;
/// "Never", for the counts of level-0 files at which RocksDB would slow down writers.
const NEVER: i32 = 1 << 30;

/// What the crate has no setter for: no resuming by itself after an error (guarantees G11), checksums of rows in memory.
const GUARDS: &str = "max_bgerror_resume_count=0;memtable_protection_bytes_per_key=8;block_protection_bytes_per_key=8;\
     avoid_unnecessary_blocking_io=true";

/// A static family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Cursors, chunks, producer sequences: small and rewritten all the time.
    Cursor,
    /// Waiting deliveries, held lanes, pause marks.
    Lane,
    /// Dedup claims.
    Claim,
    /// Send records.
    Record,
    /// Dead letters and parked deliveries, with their events.
    Dead,
    /// Kv entries.
    Kv,
    /// Scheduled events, with their names and what became of them.
    Due,
    /// Sealed blocks of the id window.
    Ids,
    /// Everything about the store itself and the server's definitions.
    Meta,
}

impl Family {
    pub(crate) const ALL: [Family; 9] = [
        Family::Cursor,
        Family::Lane,
        Family::Claim,
        Family::Record,
        Family::Dead,
        Family::Kv,
        Family::Due,
        Family::Ids,
        Family::Meta,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Family::Cursor => "cursor",
            Family::Lane => "lane",
            Family::Claim => "claim",
            Family::Record => "record",
            Family::Dead => "dead",
            Family::Kv => "kv",
            Family::Due => "due",
            Family::Ids => "ids",
            Family::Meta => "meta",
        }
    }

    /// Families read by exact key, where a filter saves reads of absent keys.
    fn has_filter(self) -> bool {
        matches!(self, Family::Claim | Family::Kv)
    }

    /// Random hashes do not shrink.
    fn compression(self) -> DBCompressionType {
        match self {
            Family::Ids => DBCompressionType::None,
            Family::Cursor
            | Family::Lane
            | Family::Claim
            | Family::Record
            | Family::Dead
            | Family::Kv
            | Family::Due
            | Family::Meta => DBCompressionType::Lz4,
        }
    }
}

/// Memory that all families share.
pub(crate) struct Memory {
    cache: Cache,
    buffers: WriteBufferManager,
}

impl Memory {
    pub(crate) fn new() -> Memory {
        Memory::of(MEMORY_BYTES, WRITE_BUFFERS_BYTES)
    }

    /// For a database that is only looked at, beside the one that is served.
    pub(crate) fn for_a_look() -> Memory {
        Memory::of(LOOK_BYTES, LOOK_BYTES)
    }

    fn of(cache_bytes: usize, buffers_bytes: usize) -> Memory {
        let cache = Cache::new_lru_cache(cache_bytes);
        let buffers = WriteBufferManager::new_write_buffer_manager_with_cache(buffers_bytes, false, cache.clone());
        Memory { cache, buffers }
    }
}

/// Options of the whole database.
pub(crate) fn database(memory: &Memory, recovery: DBRecoveryMode) -> Result<Options, rocksdb::Error> {
    let mut options = guarded()?;
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_wal_recovery_mode(recovery);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_write_buffer_manager(&memory.buffers);
    options.set_max_background_jobs(2);
    options.set_bytes_per_sync(1 << 20);
    // One writer: the machinery for many only costs.
    options.set_allow_concurrent_memtable_write(false);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(1 << 20);
    Ok(options)
}

/// Options of a static family.
pub(crate) fn state(memory: &Memory, family: Family) -> Result<Options, rocksdb::Error> {
    let mut options = guarded()?;
    options.set_write_buffer_size(STATE_BUFFER_BYTES);
    options.set_max_write_buffer_number(3);
    options.set_compression_type(family.compression());
    let mut blocks = tables(memory);
    if family.has_filter() {
        blocks.set_bloom_filter(10.0, false);
        options.set_memtable_prefix_bloom_ratio(0.05);
        options.set_memtable_whole_key_filtering(true);
    }
    options.set_block_based_table_factory(&blocks);
    Ok(options)
}

/// Options of a log epoch: in order, level 0 only, dropped as a whole.
pub(crate) fn log(memory: &Memory) -> Result<Options, rocksdb::Error> {
    let mut options = guarded()?;
    options.set_write_buffer_size(LOG_BUFFER_BYTES);
    options.set_max_write_buffer_number(4);
    options.set_compression_type(DBCompressionType::None);
    options.set_disable_auto_compactions(true);
    options.set_level_zero_file_num_compaction_trigger(NEVER);
    options.set_level_zero_slowdown_writes_trigger(NEVER);
    options.set_level_zero_stop_writes_trigger(NEVER);
    let mut blocks = tables(memory);
    blocks.set_block_size(LOG_BLOCK_BYTES);
    options.set_block_based_table_factory(&blocks);
    Ok(options)
}

/// Indexes and filters live in the block cache too: outside it they would grow with the log, past any budget.
fn tables(memory: &Memory) -> BlockBasedOptions {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&memory.cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_cache_index_and_filter_blocks_with_high_priority(true);
    blocks
}

fn guarded() -> Result<Options, rocksdb::Error> {
    Options::default().get_options_from_string(GUARDS)
}
