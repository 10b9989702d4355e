//! Calls that several deliveries share: what must hold when they start, and how they break.
//!
//! A batch is known by the ticket of its first member. Invariant: the driver hands over before the end of any call comes in, as
//! real ones do.

use std::collections::BTreeMap;

use bugle_core::delivery::Verdict;
use bugle_core::ids::{Attempt, Offset, Ticket};
use bugle_core::step::Invocation;

use crate::world::{Call, World};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    /// Deliveries that were handed over together.
    members: BTreeMap<Ticket, Vec<Offset>>,
    /// Deliveries whose shared call broke, and the attempt that nobody paid for.
    broken: BTreeMap<Offset, Attempt>,
}

impl World {
    /// A delivery is about to be handed to the plugin: with whom?
    pub(crate) fn check_batch(&mut self, invocation: &Invocation) -> Result<(), String> {
        let offset = invocation.position.offset;
        let wrong = |what: &str| Err(format!("{invocation:?} {what}"));
        if let Some(attempt) = self.batches.broken.remove(&offset) {
            if invocation.batch.is_some() || !invocation.wants_fresh {
                return wrong("is not alone on a fresh instance although its batch broke");
            }
            if invocation.attempt != attempt {
                return wrong(&format!("pays for its batch: {attempt} was free"));
            }
        }
        let Some(batch) = invocation.batch else { return Ok(()) };
        if invocation.wants_fresh {
            return wrong("shares its call and wants a fresh instance");
        }
        let others = self.batches.members.get(&batch.first).cloned().unwrap_or_default();
        if others.len() >= self.spec.batch_max as usize || batch.place >= self.spec.batch_max {
            return wrong(&format!("is one too many beside {others:?}"));
        }
        if let Some(other) = others.iter().find(|other| **other == offset || self.is_same_lane(**other, offset)) {
            return wrong(&format!("is in one call with {other}, which has its key and class"));
        }
        self.reached.shared += u64::from(!others.is_empty());
        self.batches.members.entry(batch.first).or_default().push(offset);
        Ok(())
    }

    /// The end of a call is about to come in.
    pub(crate) fn note_end(&mut self, call: Call, is_live: bool, verdict: &Verdict) {
        self.machine.handed_over();
        if let Some(batch) = call.batch
            && is_live
            && matches!(verdict, Verdict::Broke(_))
            && self.batches.members.get(&batch.first).is_some_and(|members| members.len() > 1)
        {
            self.reached.shared_broken += 1;
            self.batches.broken.insert(call.offset, call.attempt);
        }
    }

    /// Its run alone was spent by a lease that ran out before it began.
    pub(crate) fn forget_broken(&mut self, offset: Offset) {
        self.batches.broken.remove(&offset);
    }

    /// The call broke for all that shared it.
    pub(crate) fn break_others(&mut self, call: Call) -> Result<(), String> {
        let Some(batch) = call.batch else { return Ok(()) };
        let is_other = |other: &Call| other.batch.is_some_and(|other| other.first == batch.first);
        while let Some(at) = self.calls.iter().position(is_other) {
            let other = self.calls.swap_remove(at);
            self.finish(other, Verdict::Broke("trap".to_owned()), None, None)?;
        }
        Ok(())
    }
}
