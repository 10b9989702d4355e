//! Deliberate bugs, so that the tests can show that they would notice: each is a classic mistake of event buses.
//!
//! Without the feature `seeded-bugs` nothing can be planted and the checks vanish. Knows nothing of what a bug does; the place
//! that misbehaves asks [`is_planted`]. Invariant: at most one bug is planted at a time, and none unless a test asked for it.

#[cfg(feature = "seeded-bugs")]
use core::sync::atomic::{AtomicU32, Ordering};

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// An ack settles everything below it, finished or not.
    CumulativeAck = 1,
    /// A nacked event goes to the end of its lane, so later events of its key overtake it.
    RetryToTheTail = 2,
    /// The dead letter is written in a later step than the settlement.
    DeadLetterAfterAck = 3,
    /// The end of a call whose lease lapsed still counts.
    StaleLeaseAccepted = 4,
    /// The claim's row is written in a later batch than what it protects.
    DedupRowInSecondBatch = 5,
}

impl Bug {
    /// Every bug.
    pub const ALL: [Bug; 5] = [
        Bug::CumulativeAck,
        Bug::RetryToTheTail,
        Bug::DeadLetterAfterAck,
        Bug::StaleLeaseAccepted,
        Bug::DedupRowInSecondBatch,
    ];

    /// The word on a command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Bug::CumulativeAck => "cumulative-ack",
            Bug::RetryToTheTail => "retry-to-the-tail",
            Bug::DeadLetterAfterAck => "dead-letter-after-ack",
            Bug::StaleLeaseAccepted => "stale-lease-accepted",
            Bug::DedupRowInSecondBatch => "dedup-row-in-second-batch",
        }
    }

    /// The bug of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Bug> {
        Bug::ALL.into_iter().find(|bug| bug.word() == word)
    }
}

/// Zero, or the number of the planted bug; one for the whole process.
#[cfg(feature = "seeded-bugs")]
static PLANTED: AtomicU32 = AtomicU32::new(0);

/// Plants a bug in this process, or digs the planted one up.
#[cfg(feature = "seeded-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(0, |bug| bug as u32), Ordering::Relaxed);
}

/// Whether this bug is planted.
#[cfg(feature = "seeded-bugs")]
#[must_use]
pub fn is_planted(bug: Bug) -> bool {
    PLANTED.load(Ordering::Relaxed) == bug as u32
}

/// Whether this bug is planted: never, in a build without the feature.
#[cfg(not(feature = "seeded-bugs"))]
#[must_use]
pub const fn is_planted(_bug: Bug) -> bool {
    false
}
