//! Events with an `expirytime` in the histories: what the machine must see to, and what a driver does when a start comes late.
//!
//! Knows nothing of how the machine finds them. Invariant: a time that matters is that of the event as it is delivered.

use bugle_core::clock::Skew;
use bugle_core::delivery::Verdict;
use bugle_core::event::{Class, StoredEvent, Timing};
use bugle_core::ids::{Offset, Slot, SubscriptionId, TopicId};
use bugle_core::row::RecordStatus;
use bugle_core::spec::Subscription;
use bugle_core::step::{Action, Step, Write};
use bugle_core::subscription::{Input, Machine, Recovered};
use bugle_core::time::{Millis, Timestamp};

use crate::event::event;
use crate::world::{Call, World};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

impl World {
    /// After an input: no attempt was started on what is past its time, counted from this action of the step on.
    pub(crate) fn check_expiry(&self, known: usize) -> Result<(), String> {
        let new = self.step.actions.get(known..).unwrap_or_default();
        for action in new.iter().chain(&self.step.immediate) {
            let Action::Invoke(invocation) = action else { continue };
            let call = Call::of(invocation);
            if self.event_of(call).event.is_expired(self.now) {
                return Err(format!("{call:?} starts although its time has passed at {}", self.now.0));
            }
        }
        Ok(())
    }

    /// What is told as expired is past its time.
    pub(crate) fn check_expired(&mut self, write: &Write) -> Result<(), String> {
        let Write::Record { position, row, .. } = write else { return Ok(()) };
        if row.status != RecordStatus::Expired {
            return Ok(());
        }
        self.reached.expired += 1;
        let is_past = |event: &StoredEvent| event.event.is_expired(self.now);
        let offset = position.offset;
        let in_letter = self.written.dead.get(&offset).is_some_and(|letter| is_past(&letter.event));
        if in_letter || is_past(&self.log[offset.0 as usize]) {
            Ok(())
        } else {
            Err(format!("{offset} expired at {}, before its time", self.now.0))
        }
    }

    /// A start comes to the driver: later than it was decided, it may be too late. Whether the call runs.
    pub(crate) fn is_in_time(&mut self, call: Call) -> Result<bool, String> {
        if !self.event_of(call).event.is_expired(self.now) {
            return Ok(true);
        }
        self.finish(call, Verdict::NotStarted("its time has passed".to_owned()), None, None)?;
        Ok(false)
    }
}

/// An event of use for an hour waits behind a busy place, second by second, while somebody sets the wall clock by a day and by years, and
/// back. It must expire when the hour is over, by the time since boot, and not before.
pub(crate) fn steps_of_the_wall() -> Result<(), String> {
    let start: i64 = 1_800_000_000_000;
    let now = |ms: i64| Timestamp(ms.unsigned_abs());
    let spec = Subscription {
        concurrency: 1,
        lease: Millis::from_secs(7_200),
        ..Subscription::new(SubscriptionId(1), "mail", "mail", vec![TopicId(1)])
    };
    let timing = Timing { expires: Some(now(start).after(Millis::from_secs(3_600))), ..Timing::default() };
    let plain = |offset| event(Offset(offset), TopicId(1), "wanted", "", Class::Normal);
    let log = [plain(0), StoredEvent { event: plain(1).event.timed(timing), ..plain(1) }];
    let mut machine = Machine::recover(spec, Slot(0), 1, Recovered::at(Offset(0)));
    let (mut step, mut skew, mut offset) = (Step::default(), Skew::new(0), start);
    machine.handle(now(start), Input::Tick, &mut step);
    machine.handle(now(start), Input::Events { from: Offset(0), events: &log, next: Offset(2) }, &mut step);
    for second in 1..=3_600_i64 {
        let boot = second * 1_000;
        // A day ahead, back, a year behind, back, and once in a while some seconds.
        let stepped = match second {
            60..600 => DAY_MS,
            1_200..1_900 => -365 * DAY_MS,
            2_400..2_500 => 10 * 365 * DAY_MS,
            _ => 0,
        };
        offset += skew.decide(boot, start + boot + stepped - (boot + offset)).by_ms();
        step.immediate.clear();
        machine.handle(now(boot + offset), Input::Tick, &mut step);
        let is_picked = step.immediate.iter().any(|action| matches!(action, Action::Fetch(_)));
        match (is_picked, second) {
            (true, 3_600) => return Ok(()),
            (true, _) => return Err(format!("an event of use for an hour expired after {second} s")),
            (false, _) => {}
        }
    }
    Err("an event of use for an hour did not expire after it".to_owned())
}
