//! How much a machine keeps in memory.
//!
//! Knows nothing of what happens at a bound; the places that ask say so.

/// Bounds of what a machine keeps in memory; an offset takes 8 to 40 bytes. The defaults hold some 20 MiB at worst, beside 40 bytes
/// for each delivery that waits on disk only.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Offsets in the queue of one lane; what is over is read again from the log later. Small, so that many stuck keys fit.
    pub lane_queue_max: usize,
    /// Offsets in all lanes. Lanes that wait for a retry are spilled then; if that does not help, reading stops until one moves.
    pub queued_max: usize,
    /// Keys that are blocked, waiting or held at once; the same then.
    pub lanes_max: usize,
    /// Deliveries that wait for another attempt in memory, each with up to 4 KiB of notes; the others wait on disk only.
    pub waiting_max: usize,
    /// Events read ahead that could start at once; a subscription with a large concurrency reads four times that ahead.
    pub ready_min: usize,
    /// Bits of a lane's hash that count: all of them, except in tests that want keys to collide.
    pub lane_hash_bits: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            lane_queue_max: 256,
            queued_max: 262_144,
            lanes_max: 65_536,
            waiting_max: 4_096,
            ready_min: 1_024,
            lane_hash_bits: u64::BITS,
        }
    }
}
