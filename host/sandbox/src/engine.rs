//! The wasmtime engine: which features exist, how memory and stacks are pooled, and the clock that stops busy guests.
//!
//! It knows nothing of plugins. Whatever our guests do not need is off: most faults found in wasmtime of late sat there.
//!
//! Invariant: the engine that compiles and the engine that runs differ only in how they allocate instances.

use std::thread;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::options::{Limits, TICK};

/// Address space per memory slot: with 4 GiB a 32-bit access needs no bounds check. Memory is taken only as it is used.
const MEMORY_RESERVATION_BYTES: u64 = 4 << 30;
/// Slots beyond this would not fit in 47 bits of address space.
pub(crate) const SLOTS_MAX: u32 = 20_000;
/// Memory maps of one started instance, measured; the kernel bounds them per process.
const MAPS_PER_SLOT: u64 = 6;
/// Memory maps of everything else.
const MAPS_OTHER: u64 = 3000;
/// Stack of guest code. Our host functions run above it, on the rest of the fiber's stack.
const GUEST_STACK_BYTES: usize = 512 << 10;
/// Stack of a fiber; only what is touched costs memory.
const FIBER_STACK_BYTES: usize = 2 << 20;
/// Core instances of one component: the module, its shims and adapters.
const CORE_INSTANCES_PER_SLOT: u32 = 8;
/// Tables of one component.
const TABLES_PER_SLOT: u32 = 4;
/// Memories of one component; Python and JavaScript guests have up to three.
pub(crate) const MEMORIES_MAX: u32 = 4;
/// Entries of a table; the largest seen (StarlingMonkey) has 7,710.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 20_000;

/// Settings that both engines share.
fn shared() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .memory_reservation(MEMORY_RESERVATION_BYTES)
        .memory_init_cow(true)
        // Nobody reads them: what a guest says of its end is on its stderr.
        .wasm_backtrace_max_frames(None)
        .concurrency_support(false)
        .shared_memory(false)
        .wasm_threads(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        .wasm_relaxed_simd(false)
        .wasm_stack_switching(false);
    config
}

/// The engine that only compiles.
pub(crate) fn compiling() -> wasmtime::Result<Engine> {
    Engine::new(&shared())
}

/// The engine that runs guests, its slots reserved.
pub(crate) fn running(limits: &Limits) -> wasmtime::Result<Engine> {
    let slots = limits.slots;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES_PER_SLOT))
        .total_memories(slots)
        .total_tables(slots.saturating_mul(TABLES_PER_SLOT))
        .total_stacks(slots)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(2 * TABLES_PER_SLOT)
        .max_core_instances_per_component(2 * CORE_INSTANCES_PER_SLOT)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX))
        // Measured: keeping pages resident costs a thousand times the memory for no time.
        .linear_memory_keep_resident(0)
        .table_keep_resident(0)
        .pagemap_scan(Enabled::No);
    let mut config = shared();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// How many maps the kernel must allow for so many slots, if it allows fewer.
pub(crate) fn missing_maps(slots: u32) -> Option<u64> {
    let allowed = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse::<u64>().ok()?;
    let needed = u64::from(slots) * MAPS_PER_SLOT + MAPS_OTHER;
    (needed > allowed).then_some(needed)
}

/// Starts the epoch clock. It ends with the engine. A thread of its own, since busy guests could hold up any runtime's timers.
pub(crate) fn start_ticking(engine: &Engine) -> std::io::Result<()> {
    let weak = engine.weak();
    thread::Builder::new()
        .name("epoch".to_owned())
        .spawn(move || {
            while let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
                drop(engine);
                thread::sleep(TICK);
            }
        })
        .map(drop)
}
