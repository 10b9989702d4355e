//! Time as the core sees it: a wall instant and a duration, both in milliseconds, never one type for both.
//!
//! Nothing here reads a clock: the driver passes `now`, taken from the host's accepted clock (monotonic elapsed time on top of
//! a persisted wall mark), so it never steps back between two inputs.

/// A wall time in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

/// A duration in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Timestamp {
    /// A time that never comes.
    pub const NEVER: Timestamp = Timestamp(u64::MAX);

    /// The instant `by` later; saturates at the end of time.
    #[must_use]
    pub fn after(self, by: Millis) -> Timestamp {
        Timestamp(self.0.saturating_add(by.0))
    }

    /// How long ago `earlier` was; zero if it is in the future.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

impl Millis {
    /// A number of whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Millis {
        Millis(seconds.saturating_mul(1000))
    }
}
