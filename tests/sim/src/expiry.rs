//! kv entries that end by time, as plugins write, renew and scan them, and the host's sweep.
//!
//! Holds no decision. What must be seen is worked out here from the rows alone. Invariant: a plugin never deletes these entries.

use bugle_core::import::{Import, Reply};
use bugle_core::row::{Expiring, ExpiryEntry, swept_below};
use bugle_core::step::Write;
use bugle_core::subscription::Machine;
use bugle_core::time::Millis;

use crate::bus::{Bus, Done};
use crate::call::Call;
use crate::rule::{self, Checked, broken, must};
use crate::world::World;

/// Entries with a time to live begin with this.
pub(crate) const KEPT: &str = "kept/";

/// How many of them a subscription has: few, so that they are renewed all the time.
const KEPT_KEYS: u64 = 5;

/// Sweeps after everything is at rest: more than there are rows that end.
const SWEEPS_MAX: u32 = 1_000;

/// Entries that one look of the simulated sweep reads: fewer than there may be.
const PAGE: usize = 3;

impl Call {
    /// Renews an entry, or lets another one end by writing it anew, and then looks at all of them.
    pub(super) fn keep(&mut self, bus: &mut Bus, machine: &mut Machine) -> Checked {
        let key = format!("{KEPT}{}", bus.random.below(KEPT_KEYS));
        // Short ones end within the history, long ones outlive the jumps of its clock: an entry has been both.
        let ttl = if bus.random.chance(50) { bus.random.within(1, 500) } else { bus.random.within(1_000, 3_600_000) };
        let ttl = Some(Millis(ttl));
        let import = match bus.random.below(3) {
            0 => Import::KvAdd { key: key.clone(), delta: 1, ttl },
            _ => Import::KvPut { key: key.clone(), value: b"7".to_vec(), ttl },
        };
        self.expect(bus, machine, import)?;
        if bus.random.chance(50) { self.scan(bus, machine, &key) } else { Ok(()) }
    }

    /// Page by page, compared with the rows.
    fn scan(&mut self, bus: &mut Bus, machine: &mut Machine, own: &str) -> Checked {
        let limit = bus.random.within(1, 4) as u32;
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let import = Import::KvScan { prefix: KEPT.to_owned(), after: after.clone(), limit };
            let page = match self.import(bus, machine, import) {
                Some(Ok(Reply::Entries(page))) => page,
                other => return broken(rule::DRIVER_IS_SOUND, format!("a scan was answered {other:?}")),
            };
            must(rule::SCAN_IS_WHOLE, page.len() <= limit as usize, || format!("{} entries", page.len()))?;
            match page.last() {
                Some((key, _)) => after = Some(key.clone()),
                None => break,
            }
            seen.extend(page.into_iter().map(|(key, _)| key));
        }
        let mut expected = bus.disk.written.kept(&self.subscription, bus.now);
        expected.insert(own.to_owned(), ());
        let expected: Vec<String> = expected.into_keys().collect();
        must(rule::SCAN_IS_WHOLE, seen == expected, || format!("{seen:?} and not {expected:?} at {}", bus.now.0))
    }
}

impl World {
    /// The host's sweep: entries of the index, each looked at once more.
    pub(crate) fn sweep(&mut self) {
        let ended = self.bus.ledger.end_marks(self.bus.now);
        self.bus.push(ended, None, Done::Nobody);
        for of in Expiring::ALL {
            let entries: Vec<ExpiryEntry> = self.bus.disk.written.ended(of, self.bus.now, PAGE);
            let (is_last, bus) = (entries.len() < PAGE, &mut self.bus);
            let mut writes = Vec::new();
            for entry in entries {
                let (scope, key) = (entry.scope.clone(), entry.key.clone());
                writes.extend(match of {
                    Expiring::Kv => bus.ledger.expire_kv(bus.now, entry, bus.disk.written.kv(&scope, &key)),
                    Expiring::Claim => bus.ledger.expire_claim(bus.now, entry, bus.disk.written.claim(&scope, &key)),
                });
            }
            if is_last {
                writes.push(Write::ExpiriesBelow { of, below: swept_below(bus.now) });
            }
            bus.push(writes, None, Done::Nobody);
        }
    }

    /// When all is at rest and their time has come, nothing of them is left.
    pub(crate) fn check_swept(&mut self) -> Checked {
        self.bus.pass(Millis::from_secs(10))?;
        let mut left = Vec::new();
        for _ in 0..SWEEPS_MAX {
            self.sweep();
            self.commit(usize::MAX)?;
            left = self.bus.disk.synced.left_behind(self.bus.now);
            if left.is_empty() {
                break;
            }
        }
        must(rule::KEPT_ITS_TIME, left.is_empty(), || format!("left behind at {}: {left:?}", self.bus.now.0))
    }
}
