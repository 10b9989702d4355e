//! Letting go of the beginning of the simulated log: the core's rules, over runs drawn by dice; each topic has a retention of its own.
//!
//! The events stay in memory for the checks; that nobody reads one again is a rule. Admission keeps their ids here, since producers
//! send again at any time; that it forgets them first is tested with admission. Invariant: as in the host, what is needed is what
//! the rows on disk say.

use bugle_core::ids::{Offset, TopicId};
use bugle_core::retention::{CLASSES_MAX, KeepClass, Retention, Run};
use bugle_core::spec::Subscription;
use bugle_core::time::Millis;

use crate::rule::Checked;
use crate::world::World;

/// Rounds of the committer after which the host lets go of what nobody needs.
const RETAIN_PERCENT: u64 = 50;

/// Events of a run at most.
const RUN_EVENTS_MAX: u64 = 4;

/// The retention of a topic.
pub(crate) fn class_of(topic: TopicId) -> KeepClass {
    KeepClass::new((topic.0 % CLASSES_MAX as u32) as u8).unwrap_or_default()
}

/// One bit for each retention that a subscription covers.
pub(crate) fn covered(spec: &Subscription) -> u8 {
    spec.covered().into_iter().fold(0, |all, topic| all | 1 << class_of(topic).number())
}

impl World {
    /// Now and then, a look of the host at the log of one retention.
    pub(crate) fn retain(&mut self) -> Checked {
        if !self.bus.random.chance(RETAIN_PERCENT) {
            return Ok(());
        }
        let synced = &self.bus.disk.synced;
        let class = class_of(TopicId(self.bus.random.below(CLASSES_MAX as u64) as u32));
        let specs = self.workers.iter().map(|worker| &worker.spec);
        let needed = specs.filter_map(|spec| synced.rows(spec.id).claims(covered(spec)).needed_of(class)).min();
        let floor = self.bus.disk.floors[class.index()];
        let of_class = |offset: &u64| class_of(synced.log[*offset as usize].topic) == class;
        let offsets: Vec<u64> = (floor.0..synced.end().0).filter(of_class).collect();
        let (mut runs, mut rest) = (Vec::new(), &offsets[..]);
        while !rest.is_empty() {
            let len = self.bus.random.within(1, RUN_EVENTS_MAX).min(rest.len() as u64) as usize;
            let (run, behind) = rest.split_at(len);
            let received = |offset: u64| Some(synced.log[offset as usize].received);
            let (oldest, newest) = (received(run[0]), received(run[len - 1]));
            runs.push(Run { first: Offset(run[0]), bytes: len as u64, oldest, newest });
            rest = behind;
        }
        let random = &mut self.bus.random;
        let rules = Retention {
            age: Millis(random.within(0, 60_000)),
            bytes: random.within(0, 200),
            when_done: random.chance(60),
            at_least: Millis(0),
        };
        let below = rules.judge(self.bus.now, &runs, needed.unwrap_or(synced.end())).drop_below;
        if below <= floor {
            return Ok(());
        }
        self.bus.note(|| format!("the log of {class:?} is let go of below {below}"));
        self.bus.disk.floors[class.index()] = below;
        let doomed = || offsets.iter().map(|offset| Offset(*offset)).filter(|offset| *offset < below);
        self.workers.iter().try_for_each(|worker| {
            let rows = self.bus.disk.synced.rows(worker.spec.id);
            let reads = |offset: Offset| {
                rows.has_in_front(offset)
                    && worker.spec.covered().contains(&self.bus.disk.synced.log[offset.0 as usize].topic)
            };
            let is_needed = |offset: &Offset| rows.waiting(*offset).is_some() || reads(*offset);
            doomed().filter(is_needed).try_for_each(|offset| self.bus.disk.needs(offset, &worker.spec.name))
        })
    }
}
