//! Deliberate bugs, so that the tests can show that they would notice: each is a classic mistake of event buses.
//!
//! Without the feature `seeded-bugs` nothing can be planted and the checks vanish. Knows nothing of what a bug does; the place
//! that misbehaves asks [`is_planted`], and `docs/guarantees.md` names the test that notices. Invariant: at most one bug is planted
//! at a time, and none unless a test asked for it.

#[cfg(feature = "seeded-bugs")]
use core::sync::atomic::{AtomicU32, Ordering};

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($(#[$doc])* $name,)*
        }

        impl Bug {
            /// Every bug.
            pub const ALL: &[Bug] = &[$(Bug::$name,)*];

            /// The word on a command line.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(Bug::$name => $word,)*
                }
            }
        }
    };
}

bugs! {
    /// An ack settles everything below it, finished or not.
    CumulativeAck = "cumulative-ack",
    /// A nacked event goes to the end of its lane, so later events of its key overtake it.
    RetryToTheTail = "retry-to-the-tail",
    /// The dead letter is written in a later step than the settlement.
    DeadLetterAfterAck = "dead-letter-after-ack",
    /// The end of a call whose lease lapsed still counts.
    StaleLeaseAccepted = "stale-lease-accepted",
    /// The claim's row is written in a later batch than what it protects.
    DedupRowInSecondBatch = "dedup-row-in-second-batch",
    /// Receipts and actions go out after the write, before the sync.
    ConfirmBeforeSync = "confirm-before-sync",
    /// A failed sync is tried again, and the second one says that all is well.
    SyncRetried = "sync-retried",
    /// A claim is confirmed, and what was buffered under it is lost.
    ClaimWithoutItsEffects = "claim-without-its-effects",
    /// An ack by import counts although the call then traps.
    AckOnCall = "ack-on-call",
    /// The row of a waiting delivery is deleted when its time has come, before the attempt that follows has ended.
    DueRowDeletedFirst = "due-row-deleted-first",
    /// The row of a scheduled event is deleted in an earlier batch than the one that holds its copy.
    ScheduledRowDeletedFirst = "scheduled-row-deleted-first",
    /// A failed attempt and the time of the next one are only in memory.
    TimerOnlyInMemory = "timer-only-in-memory",
    /// Every step of the wall clock is followed at once, so whatever has a keep time can be forgotten early.
    WallClockTtl = "wall-clock-ttl",
    /// A part of the log that cannot be read is passed over.
    SkippedBadRecord = "skipped-bad-record",
    /// A claim under which something may have been sent is free again.
    MaybeSentClaimFreed = "maybe-sent-claim-freed",
    /// One last sequence for all streams of a producer.
    SequencePerProducer = "sequence-per-producer",
    /// A lane that is held closed is open again after a restart.
    HoldOnlyInMemory = "hold-only-in-memory",
    /// What was settled above the floor is not written.
    CursorHolesNotWritten = "cursor-holes-not-written",
    /// A call that never ran costs an attempt.
    RefusalSpendsAttempt = "refusal-spends-attempt",
    /// An id counts as a repeat whatever its content.
    ContentNotCompared = "content-not-compared",
    /// The ids published before a restart are forgotten.
    IdsForgottenAtRestart = "ids-forgotten-at-restart",
    /// What a transaction read is not looked at again when it commits.
    ReadsNotValidated = "reads-not-validated",
    /// The machine reads on however much it has to do.
    UnboundedReading = "unbounded-reading",
    /// What follows a settlement of the same key starts before that settlement is durable.
    NextBeforeDurable = "next-before-durable",
    /// The effects of a call that failed are committed all the same.
    EffectsOfFailureKept = "effects-of-failure-kept",
    /// An open breaker is closed again after a restart.
    BreakerOnlyInMemory = "breaker-only-in-memory",
    /// What a degrade rule hands on is written in a later step than the settlement.
    HandedOnAfterSettled = "handed-on-after-settled",
    /// The send record of a delivery is written in a later step than its settlement.
    RecordAfterSettled = "record-after-settled",
    /// The event that tells how a delivery ended is written in a later step than its settlement.
    OutcomeAfterSettled = "outcome-after-settled",
    /// What a provider never spoke of again goes on in a copy, and its claim still counts as done.
    LateClaimStaysDone = "late-claim-stays-done",
    /// A record that nothing follows is handed on each time it is looked at.
    LateHandedOnAgain = "late-handed-on-again",
    /// A claim that was left uncertain is given again although the plugin was to be asked first.
    NotAskedBeforeResend = "not-asked-before-resend",
    /// Every fault is the event's, also while the provider is gone.
    OutageSpendsAttempts = "outage-spends-attempts",
    /// A kv entry or claim goes when an older end of its time has come, although it was renewed since.
    RenewedRowExpired = "renewed-row-expired",
    /// The weak claims that were done before a restart are forgotten.
    WindowForgottenAtRestart = "window-forgotten-at-restart",
    /// An event past its `expirytime` is tried again like any other.
    ExpiredIsRetried = "expired-is-retried",
    /// What a provider says is written whatever the send record says already.
    CallbackGoesBack = "callback-goes-back",
    /// A timer that is set again is set once more.
    TimerSetBesideAnother = "timer-set-beside-another",
    /// A timer is set in a later batch than the ack of the delivery that set it.
    TimerAfterAck = "timer-after-ack",
    /// A plugin's note is written whatever the provider has said of the same send.
    NoteOverCallback = "note-over-callback",
    /// A call that several deliveries share breaks, and each of them pays for it.
    BatchPaysForOne = "batch-pays-for-one",
    /// Old events go although a waiting delivery still has to be loaded.
    RetentionIgnoresWaiting = "retention-ignores-waiting",
    /// What is left of an erased event is delivered like any other.
    ErasedIsDelivered = "erased-is-delivered",
    /// An event that was erased while it waited says no more whose lane it was in, and that lane stays closed.
    ErasedBlocksItsKey = "erased-blocks-its-key",
}

impl Bug {
    /// The bug of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Bug> {
        Bug::ALL.iter().copied().find(|bug| bug.word() == word)
    }
}

/// Zero, or one more than the number of the planted bug; one for the whole process.
#[cfg(feature = "seeded-bugs")]
static PLANTED: AtomicU32 = AtomicU32::new(0);

/// Plants a bug in this process, or digs the planted one up.
#[cfg(feature = "seeded-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(0, |bug| bug as u32 + 1), Ordering::Relaxed);
}

/// Whether this bug is planted.
#[cfg(feature = "seeded-bugs")]
#[must_use]
#[inline]
pub fn is_planted(bug: Bug) -> bool {
    PLANTED.load(Ordering::Relaxed) == bug as u32 + 1
}

/// Whether this bug is planted: never, in a build without the feature.
#[cfg(not(feature = "seeded-bugs"))]
#[must_use]
#[inline]
pub const fn is_planted(_bug: Bug) -> bool {
    false
}
