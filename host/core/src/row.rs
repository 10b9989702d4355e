//! The persistent state, row by row, as the core means it. Encoding is the store's (`store::keys`, `store::codec`).
//!
//! A row is a result, never a command: writing it again changes nothing.

mod dead;
mod expiry;
mod record;
mod scheduled;
mod unknown;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::event::Class;
use crate::ids::{Attempt, Offset};
use crate::lane_hash::LaneMark;
use crate::time::Timestamp;

pub use dead::{DeadRow, DeadState, DeadTotals, Parking};
pub use expiry::{Expiring, ExpiryEntry, Second, sweep_until, swept_below};
pub use record::{ClaimName, Follow, Forgotten, LateEntry, RECORDS_KEPT, RecordRow, RecordStatus, forgets};
pub use scheduled::{Fate, FateRow, ScheduledTotals};
pub use unknown::{UncertainClaim, UnknownRow, UnknownState, UnknownTotals};

/// Offsets per cursor chunk: one bit each, so a chunk is 512 bytes.
pub const CHUNK_OFFSETS: u64 = 4096;

/// Which offsets of one chunk above the cursor's floor are settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorChunk(pub Box<[u64; 64]>);

/// Everything below `floor` is settled for the subscription; what is settled above it is in the chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CursorRow {
    /// First offset that may be unsettled.
    pub floor: Offset,
}

/// One ended attempt, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptNote {
    /// Which try.
    pub attempt: Attempt,
    /// When it ended.
    pub at: Timestamp,
    /// Why it did not succeed.
    pub reason: String,
}

/// Ended attempts kept per delivery; older ones are dropped so that a row stays small.
pub const ATTEMPT_NOTES_MAX: usize = 8;

/// A delivery that waits for its next attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitingRow {
    /// Attempts charged to the event: its budget.
    pub spent: u32,
    /// Attempts that failed by the channel's fault.
    pub channel: u32,
    /// Attempts that failed by the plugin's fault.
    pub plugin: u32,
    /// Latest attempts in a row in which the plugin broke, whoever was to blame: the next one runs on a fresh instance.
    pub broke: u32,
    /// Earliest next attempt; [`Timestamp::NEVER`]: something else than time will wake it.
    pub due: Timestamp,
    /// The event's class.
    pub class: Class,
    /// Its lane, so that a restart need not read the event.
    pub lane: LaneMark,
    /// Whether it waits for a person.
    pub parking: Parking,
    /// The latest ended attempts, oldest first.
    pub notes: Vec<AttemptNote>,
}

impl WaitingRow {
    /// Attempts that ended, whoever was to blame.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.spent.saturating_add(self.channel).saturating_add(self.plugin)
    }
}

/// State of a dedup claim on disk. A key without a row is free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimState {
    /// A strong claim's intent: whoever finds it after a crash must take it as uncertain.
    Claimed,
    /// Something may have left; the next claim is told so.
    Uncertain,
    /// Done, with the receipt.
    Done {
        /// Answer to later claims.
        receipt: Option<Vec<u8>>,
    },
}

/// A dedup claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRow {
    /// Its state.
    pub state: ClaimState,
    /// After this the row counts as absent.
    pub expires: Timestamp,
}

/// A done weak claim: what is remembered of it until its time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowMark {
    /// After this it counts as absent.
    pub expires: Timestamp,
    /// Tells marks of one end apart; grows.
    pub number: u64,
    /// Business key.
    pub key: String,
    /// Answer to later claims.
    pub receipt: Option<Vec<u8>>,
}

/// A kv value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvRow {
    /// The value; a number written by `add` is its decimal text.
    pub value: Vec<u8>,
    /// After this the row counts as absent.
    pub expires: Option<Timestamp>,
    /// Changes with every write.
    pub version: u64,
}

/// Why a subscription does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PausedRow {
    /// Who: `operator`, `plugin`, `host`.
    pub by: String,
    /// For people.
    pub reason: String,
    /// Since when.
    pub at: Timestamp,
}

/// How an operator has a subscription run until that is done. There is no row when nothing was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunRow {
    /// It reads nothing from here on and pauses once everything below is settled.
    pub drain_to: Option<Offset>,
    /// It works faster for a while.
    pub boost: Option<Boost>,
}

/// See [`RunRow::boost`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boost {
    /// Times the configured concurrency and rate.
    pub factor: u32,
    /// Until everything below was read and nothing of it waits for a free place.
    pub until: Offset,
}

/// Rows kept of what a subscription let go; an older one is overwritten.
pub const LET_GO_ROWS_MAX: u64 = 256;

/// A run of the log that a subscription let go of undelivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LetGoRow {
    /// Counts the rows; the store keeps the latest [`LET_GO_ROWS_MAX`].
    pub serial: u64,
    /// First offset.
    pub from: Offset,
    /// The offset after the last one. What was settled before, or with the plugin and kept, is in between too.
    pub to: Offset,
    /// Offsets let go, in events an upper bound, as topics share the log.
    pub events: u64,
    /// Those of all rows so far.
    pub total: u64,
    /// Why.
    pub why: LetGoWhy,
    /// When.
    pub at: Timestamp,
}

/// Why events were let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetGoWhy {
    /// The backlog was over its cap.
    Expired,
    /// An operator moved the subscription forward.
    Sought,
}

/// Who is to blame for faults that spread over many events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Culprit {
    /// What is behind the channel.
    Channel,
    /// The plugin.
    Plugin,
}

impl Culprit {
    /// Every culprit, in code order.
    pub const ALL: [Culprit; 2] = [Culprit::Channel, Culprit::Plugin];

    /// The word in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Culprit::Channel => "channel",
            Culprit::Plugin => "plugin",
        }
    }
}

/// An open breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRow {
    /// Who was blamed.
    pub culprit: Culprit,
    /// No probe starts before then.
    pub until: Timestamp,
    /// When the channel fell sick.
    pub since: Timestamp,
    /// The failure that opened it last.
    pub reason: String,
}

/// The state of a subscription's channel. A subscription without a row has never had trouble.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelRow {
    /// The breaker, if it is open.
    pub open: Option<OpenRow>,
    /// Openings in a row, the current one included.
    pub times: u32,
    /// When the breaker opened or closed last.
    pub since: Timestamp,
    /// One bit for each degrade rule that counts.
    pub counting: u32,
    /// Repeated attempts have shown that first failures say nothing of it.
    pub forgives_first: bool,
}

/// A lane kept closed by `ordering.hold`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldRow {
    /// The lane opens again then.
    pub until: Timestamp,
}

/// One id of a sealed part of the publish-id window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdEntry {
    /// Keyed hash of topic, source and id: finds candidates, proves nothing.
    pub hash: u64,
    /// The event that has it.
    pub offset: Offset,
}

/// A sealed block of the publish-id window: all its chunks are written, the ids are not rebuilt from the log any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdBlockRow {
    /// The first event whose id is in the block.
    pub first: Offset,
    /// One past the last.
    pub end: Offset,
    /// How many ids it has.
    pub ids: u32,
    /// Into how many chunks, by hash, they are divided.
    pub chunks: u32,
    /// When its first event was received.
    pub oldest: Timestamp,
    /// When its last event was received.
    pub newest: Timestamp,
}

impl IdBlockRow {
    /// The chunk that has this hash, if the block has it.
    #[must_use]
    pub fn chunk_of(&self, hash: u64) -> u32 {
        // The high half of the product is below the number of chunks.
        ((u128::from(hash) * u128::from(self.chunks)) >> 64) as u32
    }
}
