//! When events of the backlog were received, as far as a rule on their age needs to know.
//!
//! The machine keeps offsets only. Events of a log are received in the order of their offsets, so a few marks tell for every
//! offset between two of them that it was received before the later one; when there are too many, every other one goes.
//!
//! Invariant: an event is never taken for older than it is, and at most for younger by one gap between marks.

use alloc::collections::VecDeque;

use crate::ids::Offset;
use crate::time::{Millis, Timestamp};

/// Marks kept: the gap is then at most 1/256 of the time that the backlog spans.
const MARKS_MAX: usize = 512;

/// The first gap between marks.
const GAP_FIRST: Millis = Millis(50);

/// See the module.
#[derive(Debug)]
pub(crate) struct Ages {
    marks: VecDeque<(Offset, Timestamp)>,
    gap: Millis,
    /// The latest event noted.
    latest: Option<(Offset, Timestamp)>,
}

impl Ages {
    pub(crate) fn new() -> Ages {
        Ages { marks: VecDeque::new(), gap: GAP_FIRST, latest: None }
    }

    /// Notes an event that was read at the frontier; events come in the order of their offsets.
    pub(crate) fn note(&mut self, offset: Offset, received: Timestamp) {
        if self.latest.is_some_and(|(latest, _)| offset <= latest) {
            return;
        }
        // Two clocks never ran backwards between two events, but a damaged row must not make an event older than it is.
        let received = self.latest.map_or(received, |(_, latest)| received.max(latest));
        self.latest = Some((offset, received));
        let is_due = self.marks.back().is_none_or(|(_, marked)| received.since(*marked) >= self.gap);
        if !is_due {
            return;
        }
        self.marks.push_back((offset, received));
        if self.marks.len() > MARKS_MAX {
            let mut keep = false;
            self.marks.retain(|_| {
                keep = !keep;
                keep
            });
            self.gap = Millis(self.gap.0.saturating_mul(2));
        }
    }

    /// Forgets marks that no unsettled event needs.
    pub(crate) fn forget_below(&mut self, floor: Offset) {
        while self.marks.front().is_some_and(|(offset, _)| *offset < floor) {
            self.marks.pop_front();
        }
        if self.marks.is_empty() {
            self.gap = GAP_FIRST;
        }
    }

    /// The latest time at which the event can have been received; `None` if nothing is known of it.
    pub(crate) fn received_by(&self, offset: Offset) -> Option<Timestamp> {
        let at = self.marks.partition_point(|(marked, _)| *marked < offset);
        let mark = self.marks.get(at).map(|(_, received)| *received);
        let latest = || self.latest.filter(|(latest, _)| offset <= *latest).map(|(_, received)| received);
        mark.or_else(latest)
    }
}

#[cfg(test)]
mod tests {
    use super::{Ages, MARKS_MAX};
    use crate::ids::Offset;
    use crate::time::Timestamp;

    #[test]
    fn an_event_is_never_taken_for_older_and_rarely_for_much_younger() {
        let mut ages = Ages::new();
        let received = |offset: u64| Timestamp(offset * 7 + offset % 5);
        for offset in 0..200_000 {
            ages.note(Offset(offset), received(offset));
        }
        assert!(ages.marks.len() <= MARKS_MAX);
        let span = received(199_999).0;
        for offset in (0..200_000).step_by(37) {
            let by = ages.received_by(Offset(offset)).unwrap();
            assert!(by >= received(offset), "{offset} looks older than it is");
            let off = by.since(received(offset)).0;
            assert!(off <= span / 128, "{offset} looks {off} ms younger than it is");
        }
        assert_eq!(ages.received_by(Offset(200_000)), None);
    }

    #[test]
    fn what_is_settled_takes_no_memory_and_fine_marks_come_back() {
        let mut ages = Ages::new();
        for offset in 0..100_000 {
            ages.note(Offset(offset), Timestamp(offset * 100));
        }
        ages.forget_below(Offset(100_000));
        assert!(ages.marks.is_empty());
        ages.note(Offset(100_000), Timestamp(10_000_000));
        ages.note(Offset(100_001), Timestamp(10_000_060));
        assert_eq!(ages.received_by(Offset(100_000)), Some(Timestamp(10_000_000)));
        assert_eq!(ages.received_by(Offset(100_001)), Some(Timestamp(10_000_060)));
    }
}
