//! What a machine is doing, in numbers, for operators. A reading; nothing here changes anything.

use super::Machine;
use crate::flow::{FlowCounts, FlowStatus};
use crate::ids::Offset;
use crate::row::{DeadTotals, LetGoRow, PausedRow, RunRow, UnknownTotals};
use crate::spec::OnExhausted;
use crate::time::Timestamp;

/// What operators see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Everything below is settled.
    pub floor: Offset,
    /// Everything below was read.
    pub read: Offset,
    /// Deliveries that only wait for a free place.
    pub ready: usize,
    /// Deliveries with the plugin.
    pub in_flight: usize,
    /// Deliveries that were tried and wait for their next attempt.
    pub waiting: usize,
    /// Those of them that wait on disk only.
    pub spilled: usize,
    /// When the first of them is due; breaker and rate may hold it back longer.
    pub next_attempt: Option<Timestamp>,
    /// Deliveries beyond their attempts that are tried on, since their policy is to block.
    pub blocked: usize,
    /// Dead letters in numbers.
    pub dead: DeadTotals,
    /// Unknown results in numbers.
    pub unknown: UnknownTotals,
    /// Keys that have something unsettled or are held closed.
    pub lanes: usize,
    /// Offsets queued in lanes.
    pub queued: usize,
    /// Keys with more unsettled events than are kept in memory.
    pub overflowed: usize,
    /// Classes with events that were read past while their kind is held back; they are read again when it is not.
    pub behind: usize,
    /// Why it does not run.
    pub paused: Option<PausedRow>,
    /// Ends of calls that came with a ticket that was not live.
    pub stale_ends: u64,
    /// Offsets settled or skipped so far: grows by one with each.
    pub progress: u64,
    /// Deliveries that may be in flight at once, a boost included.
    pub places: usize,
    /// Whether it drains or is boosted.
    pub run: RunRow,
    /// The backlog is over its cap and publishing is refused.
    pub is_backlog_full: bool,
    /// The latest run of the log that was let go, with the sum of all.
    pub let_go: Option<LetGoRow>,
    /// Breaker, rate and degrade policy, as of the latest input.
    pub flow: FlowStatus,
}

impl Machine {
    /// What operators see.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            floor: self.cursor.floor(),
            read: self.reads.position(),
            ready: self.ready.len(),
            in_flight: self.leases.calls(),
            waiting: self.waits.seen_len() + self.spilled.len(),
            spilled: self.spilled.len(),
            next_attempt: [self.waits.next_retry(), self.spilled.next_retry()].into_iter().flatten().min(),
            blocked: self.blocked(),
            dead: self.letters.totals,
            unknown: self.unknowns.totals,
            lanes: self.lanes.busy() + self.spilled.lanes(),
            queued: self.lanes.queued(),
            overflowed: self.lanes.overflowed().len() + self.spilled.followed(),
            behind: self.reads.behind.iter().flatten().count(),
            paused: self.paused.clone(),
            stale_ends: self.stale_ends,
            progress: self.cursor.floor().0 + self.cursor.settled_above_floor(),
            places: self.places(),
            run: self.run,
            is_backlog_full: self.is_backlog_full,
            let_go: self.let_go,
            flow: self.flow.status(self.now),
        }
    }

    /// Bytes of events that its driver may keep at hand beside the newest ones.
    #[must_use]
    pub fn prefetch_bytes(&self) -> u64 {
        self.spec.prefetch_bytes
    }

    /// What the protection of the channel did since the machine was made; cheap.
    #[must_use]
    pub fn flow_counts(&self) -> FlowCounts {
        self.flow.counts()
    }

    /// Those of them in memory.
    fn blocked(&self) -> usize {
        match self.spec.on_exhausted {
            OnExhausted::Skip | OnExhausted::ParkKey => 0,
            OnExhausted::Block => {
                let attempts_max = self.spec.retry.attempts_max;
                self.waits.rows().filter(|(_, row)| row.spent >= attempts_max).count()
            }
        }
    }
}
