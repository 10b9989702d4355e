//! How far the accepted clock follows the wall: the rule of guarantees G8, without a clock.
//!
//! A driver reads its wall and the time since boot, about once a second, and adds what [`Skew::decide`] says to the accepted clock.
//! Knows nothing of what the time is used for. Invariant: going back is never done at once, and a step of more than five minutes
//! is followed only after it was stable for ten minutes, and only if it is under a day.

use crate::seeded::{Bug, is_planted};

/// A wall step up to this is followed at once: what time daemons do after a start.
const SMALL_STEP_MS: i64 = 5 * 60 * 1000;
/// A larger step must stay the same this long before it is believed.
const STABLE_MS: i64 = 10 * 60 * 1000;
/// A step of a day or more is never believed; an operator restarts the host with a right clock.
const BELIEVABLE_STEP_MS: i64 = 24 * 60 * 60 * 1000;
/// How far a held step may wander (slewing) and still count as the same step.
const SAME_STEP_MS: i64 = 2_000;
/// Going back is done by running slower: at most one part in this many.
const SLEW_PARTS: i64 = 10;

/// What is known of the difference between the wall and the accepted clock.
#[derive(Debug)]
pub struct Skew {
    /// Time since boot at the last decision.
    decided_at: i64,
    /// A large step that is not believed yet: its size and when it was first seen.
    held: Option<(i64, i64)>,
}

/// What to do about the difference now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correction {
    /// Add this to the accepted clock.
    Follow(i64),
    /// A large step that was not there before: it is held, and a person should know.
    HoldNew,
    /// The large step is still held.
    Hold,
}

impl Correction {
    /// What to add to the accepted clock.
    #[must_use]
    pub fn by_ms(self) -> i64 {
        match self {
            Correction::Follow(by) => by,
            Correction::HoldNew | Correction::Hold => 0,
        }
    }
}

impl Skew {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(boot_ms: i64) -> Skew {
        Skew { decided_at: boot_ms, held: None }
    }

    /// How much of `skew_ms` (wall minus accepted) to take over now.
    pub fn decide(&mut self, boot_ms: i64, skew_ms: i64) -> Correction {
        let elapsed = (boot_ms - self.decided_at).max(0);
        self.decided_at = boot_ms;
        if is_planted(Bug::WallClockTtl) {
            return Correction::Follow(skew_ms);
        }
        if skew_ms.abs() <= SMALL_STEP_MS {
            self.held = None;
        } else if let Some(hold) = self.hold(boot_ms, skew_ms) {
            return hold;
        }
        Correction::Follow(skew_ms.max(-(elapsed / SLEW_PARTS)))
    }

    /// Whether a large step is to be held; `None` if it is believed.
    fn hold(&mut self, boot_ms: i64, skew_ms: i64) -> Option<Correction> {
        match self.held {
            Some((step, since)) if (step - skew_ms).abs() <= SAME_STEP_MS => {
                let is_believed = boot_ms - since >= STABLE_MS && skew_ms.abs() < BELIEVABLE_STEP_MS;
                (!is_believed).then_some(Correction::Hold)
            }
            Some(_) | None => {
                self.held = Some((skew_ms, boot_ms));
                Some(Correction::HoldNew)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(skew: &mut Skew, boot_ms: i64, skew_ms: i64, by_ms: i64) {
        assert_eq!(skew.decide(boot_ms, skew_ms).by_ms(), by_ms, "at {boot_ms} with a skew of {skew_ms}");
    }

    #[test]
    fn small_steps_are_followed_and_backward_ones_slewed() {
        let mut skew = Skew::new(0);
        check(&mut skew, 1_000, 250, 250);
        check(&mut skew, 2_000, -250, -100);
        check(&mut skew, 3_000, -50, -50);
    }

    #[test]
    fn a_large_step_is_held_until_it_was_stable_and_told_once() {
        let mut skew = Skew::new(0);
        let hour = 60 * 60 * 1000;
        assert_eq!(skew.decide(1_000, hour), Correction::HoldNew);
        assert_eq!(skew.decide(STABLE_MS, hour + 500), Correction::Hold);
        assert_eq!(skew.decide(STABLE_MS + 1_000, hour + 500), Correction::Follow(hour + 500));
    }

    #[test]
    fn a_step_of_years_is_never_believed_and_a_moving_one_starts_anew() {
        let mut skew = Skew::new(0);
        let year = 365 * BELIEVABLE_STEP_MS;
        check(&mut skew, 1_000, year, 0);
        check(&mut skew, 10 * STABLE_MS, year, 0);
        let hour = 60 * 60 * 1000;
        check(&mut skew, 10 * STABLE_MS + 1, hour, 0);
        check(&mut skew, 11 * STABLE_MS, 2 * hour, 0);
        check(&mut skew, 11 * STABLE_MS + 5_000, 2 * hour, 0);
    }
}
