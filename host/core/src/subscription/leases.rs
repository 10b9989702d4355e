//! The leases of a subscription: which deliveries are with the plugin, under which ticket and until when.
//!
//! A ticket is a running number and a slot, hidden under a mask of the machine's own, so it is never given twice and one of
//! another subscription does not fit. A delivery whose event is being fetched has a lease too, so that a late answer finds it
//! gone. Knows nothing of lanes and verdicts. Invariant: a ticket is live from its grant until its one end, or until its time
//! ran out.

use alloc::vec::Vec;
use core::hash::Hasher;
use siphasher::sip::SipHasher13;

use crate::event::Class;
use crate::flow::{Decision, Start};
use crate::ids::{Attempt, Offset, Revision, Slot, SubscriptionId, Ticket};
use crate::lane::LaneId;
use crate::time::{Millis, Timestamp};

/// Low bits of a ticket that say which slot it is in.
const INDEX_BITS: u32 = 16;

/// Deliveries in flight at once: what the index can tell apart.
pub(crate) const LEASES_MAX: usize = 1 << INDEX_BITS;

/// A delivery may be held this many times its first lease in all, so that a guest cannot hold it for ever.
const LEASES_IN_ALL_MAX: u64 = 10;

/// Why the machine wants an event without calling the plugin: what it will do with the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposal {
    /// It has no attempt left: dead letter.
    Bury,
    /// A degrade rule hands it on or drops it.
    Degrade(Decision),
    /// The time of its event has passed.
    Expire,
}

/// What a lease was given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The plugin is called.
    Call(Start),
    /// The event is fetched, for this.
    Fetch(Disposal),
}

impl Purpose {
    fn is_fetch(self) -> bool {
        match self {
            Purpose::Call(_) => false,
            Purpose::Fetch(_) => true,
        }
    }
}

/// One delivery with the plugin, or whose event is fetched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    pub(crate) purpose: Purpose,
    pub(crate) ticket: Ticket,
    pub(crate) offset: Offset,
    pub(crate) lane: Option<LaneId>,
    pub(crate) class: Class,
    pub(crate) attempt: Attempt,
    /// Others may be in the same call of the plugin.
    pub(crate) is_shared: bool,
    /// It is with the plugin alone, since a call that it shared broke.
    pub(crate) is_alone: bool,
    /// The plugin revision that has it, once that is known.
    pub(crate) revision: Option<Revision>,
    pub(crate) since: Timestamp,
    until: Timestamp,
    until_max: Timestamp,
}

impl Lease {
    /// It runs out then.
    pub(crate) fn until(&self) -> Timestamp {
        self.until
    }

    /// How its call started; `None` if its event is only fetched.
    pub(crate) fn call(&self) -> Option<Start> {
        match self.purpose {
            Purpose::Call(start) => Some(start),
            Purpose::Fetch(_) => None,
        }
    }
}

/// What a lease is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    pub(crate) purpose: Purpose,
    pub(crate) offset: Offset,
    pub(crate) lane: Option<LaneId>,
    pub(crate) class: Class,
    pub(crate) attempt: Attempt,
    pub(crate) is_alone: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Leases {
    slots: Vec<Option<Lease>>,
    free: Vec<usize>,
    live: usize,
    /// Those of the live ones whose event is fetched.
    fetching: usize,
    granted: u64,
    mask: u64,
    /// No lease runs out before then. Kept when leases end, so it can be early: then the check finds the real time.
    check: Option<Timestamp>,
}

impl Leases {
    pub(crate) fn new(seed: u64, subscription: SubscriptionId, slot: Slot) -> Leases {
        let mut hasher = SipHasher13::new_with_keys(seed, u64::from(subscription.0));
        hasher.write_u16(slot.0);
        Leases {
            slots: Vec::new(),
            free: Vec::new(),
            live: 0,
            fetching: 0,
            granted: 0,
            mask: hasher.finish(),
            check: None,
        }
    }

    /// Deliveries with the plugin.
    pub(crate) fn calls(&self) -> usize {
        self.live - self.fetching
    }

    /// Deliveries whose event is fetched.
    pub(crate) fn fetching(&self) -> usize {
        self.fetching
    }

    /// The earliest time at which a lease can have run out.
    pub(crate) fn next_check(&self) -> Option<Timestamp> {
        if self.live == 0 { None } else { self.check }
    }

    /// Leases a delivery from `now` on; fewer than [`LEASES_MAX`] are live.
    pub(crate) fn grant(&mut self, now: Timestamp, lease: Millis, grant: Grant) -> Ticket {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.granted += 1;
        let ticket = Ticket((self.granted << INDEX_BITS | index as u64) ^ self.mask);
        let until = now.after(lease);
        self.check = Some(match self.check {
            Some(check) if self.live > 0 => check.min(until),
            Some(_) | None => until,
        });
        self.live += 1;
        self.fetching += usize::from(grant.purpose.is_fetch());
        self.slots[index] = Some(Lease {
            purpose: grant.purpose,
            ticket,
            offset: grant.offset,
            lane: grant.lane,
            class: grant.class,
            attempt: grant.attempt,
            is_shared: false,
            is_alone: grant.is_alone,
            revision: None,
            since: now,
            until,
            until_max: now.after(Millis(lease.0.saturating_mul(LEASES_IN_ALL_MAX))),
        });
        ticket
    }

    fn index(&self, ticket: Ticket) -> usize {
        ((ticket.0 ^ self.mask) % LEASES_MAX as u64) as usize
    }

    /// The lease of a live ticket.
    pub(crate) fn get(&self, ticket: Ticket) -> Option<&Lease> {
        self.slots.get(self.index(ticket))?.as_ref().filter(|lease| lease.ticket == ticket)
    }

    /// Others are in its call too.
    pub(crate) fn share(&mut self, ticket: Ticket) {
        let index = self.index(ticket);
        if let Some(Some(lease)) = self.slots.get_mut(index)
            && lease.ticket == ticket
        {
            lease.is_shared = true;
        }
    }

    /// See [`super::Machine::ran_on`].
    pub(crate) fn ran_on(&mut self, ticket: Ticket, revision: Revision) {
        let index = self.index(ticket);
        if let Some(Some(lease)) = self.slots.get_mut(index)
            && lease.ticket == ticket
        {
            lease.revision = Some(revision);
        }
    }

    /// Leases of deliveries below an offset. A walk: for people, not for each event.
    pub(crate) fn below(&self, to: Offset) -> Vec<Lease> {
        self.slots.iter().flatten().filter(|lease| lease.offset < to).copied().collect()
    }

    /// The lease of a delivery. A walk: for people, not for each event.
    pub(crate) fn of(&self, offset: Offset) -> Option<&Lease> {
        self.slots.iter().flatten().find(|lease| lease.offset == offset)
    }

    /// Ends the lease of a live ticket.
    pub(crate) fn end(&mut self, ticket: Ticket) -> Option<Lease> {
        let lease = *self.get(ticket)?;
        let index = self.index(ticket);
        self.slots[index] = None;
        self.free.push(index);
        self.live -= 1;
        self.fetching -= usize::from(lease.purpose.is_fetch());
        Some(lease)
    }

    /// See [`super::Machine::extend`].
    pub(crate) fn extend(&mut self, now: Timestamp, ticket: Ticket, by: Millis) -> Option<Millis> {
        let index = self.index(ticket);
        let lease = self.slots.get_mut(index)?.as_mut()?;
        if lease.ticket != ticket || lease.until <= now {
            return None;
        }
        lease.until = lease.until.after(by).min(lease.until_max);
        Some(lease.until.since(now))
    }

    /// Ends every lease that ran out, oldest ticket first.
    pub(crate) fn take_lapsed(&mut self, now: Timestamp) -> Vec<Lease> {
        let live = self.slots.iter().flatten();
        let mut lapsed: Vec<Lease> = live.clone().filter(|lease| lease.until <= now).copied().collect();
        self.check = live.map(|lease| lease.until).filter(|until| *until > now).min();
        lapsed.sort_unstable_by_key(|lease| lease.ticket.0 ^ self.mask);
        for lease in &lapsed {
            self.end(lease.ticket);
        }
        lapsed
    }
}
