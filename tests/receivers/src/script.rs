//! How a receiver misbehaves: decided by a seed, the event and the number of the call, so that a run can be repeated.
//!
//! Knows no protocol; each receiver puts a [`Behaviour`] into its own words. Invariant: an event's call after the first
//! `faulty_calls` is taken, unless it is refused for good, so every run can settle.

use std::time::Duration;

/// SplitMix64: enough for a test's dice, and the same on every machine.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The dice of one run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `sides` for this question and subject, always the same one.
    #[must_use]
    pub fn roll(self, question: &str, subject: &str, sides: u64) -> u64 {
        let bytes = question.bytes().chain([0]).chain(subject.bytes());
        let hash = bytes.fold(mix(self.0), |hash, byte| mix(hash ^ u64::from(byte)));
        hash % sides.max(1)
    }
}

/// What a receiver does with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Takes it.
    Accept,
    /// Fails for now (HTTP 500, SMTP 451).
    Fail,
    /// Has too much to do, come back later (HTTP 429 with Retry-After, SMTP 451).
    Busy,
    /// Refuses for good (HTTP 422, SMTP 550).
    Reject,
    /// Is gone (HTTP 410, SMTP 550).
    Gone,
    /// Reads the call and never answers.
    Hang,
    /// Breaks off in the middle of its answer.
    Break,
    /// Reads the call and resets the connection in place of an answer.
    Reset,
}

impl Behaviour {
    /// Whether the call has its effect: only a complete answer that refuses it says that it has none.
    pub(crate) fn takes(self) -> bool {
        match self {
            Behaviour::Accept | Behaviour::Hang | Behaviour::Break | Behaviour::Reset => true,
            Behaviour::Fail | Behaviour::Busy | Behaviour::Reject | Behaviour::Gone => false,
        }
    }
}

/// Chances of each behaviour in a thousand; what is left is taken.
#[derive(Clone, Debug)]
pub struct Script {
    /// The dice.
    pub dice: Dice,
    /// Chance of [`Behaviour::Fail`].
    pub fail: u64,
    /// Chance of [`Behaviour::Busy`].
    pub busy: u64,
    /// Chance of [`Behaviour::Hang`].
    pub hang: u64,
    /// Chance of [`Behaviour::Break`].
    pub broken: u64,
    /// Chance of [`Behaviour::Reset`].
    pub reset: u64,
    /// Chance of [`Behaviour::Reject`], on every call of the event.
    pub reject: u64,
    /// Every call is [`Behaviour::Gone`].
    pub gone: bool,
    /// How many of an event's calls may meet a fault.
    pub faulty_calls: u32,
    /// Seconds in Retry-After.
    pub retry_after_s: u64,
    /// Time before each answer.
    pub delay: Duration,
}

impl Default for Script {
    fn default() -> Self {
        Script {
            dice: Dice(0),
            fail: 0,
            busy: 0,
            hang: 0,
            broken: 0,
            reset: 0,
            reject: 0,
            gone: false,
            faulty_calls: 1,
            retry_after_s: 1,
            delay: Duration::ZERO,
        }
    }
}

impl Script {
    /// What happens to an event's n-th call, counted from 1.
    #[must_use]
    pub fn decide(&self, id: &str, call: u32) -> Behaviour {
        if self.gone {
            return Behaviour::Gone;
        }
        if self.dice.roll("reject", id, 1000) < self.reject {
            return Behaviour::Reject;
        }
        if call > self.faulty_calls {
            return Behaviour::Accept;
        }
        let mut rolled = self.dice.roll(&format!("call {call}"), id, 1000);
        let chances = [
            (self.fail, Behaviour::Fail),
            (self.busy, Behaviour::Busy),
            (self.hang, Behaviour::Hang),
            (self.broken, Behaviour::Break),
            (self.reset, Behaviour::Reset),
        ];
        for (chance, behaviour) in chances {
            if rolled < chance {
                return behaviour;
            }
            rolled -= chance;
        }
        Behaviour::Accept
    }
}

#[cfg(test)]
mod tests {
    use super::{Behaviour, Dice, Script};

    fn decisions(seed: u64) -> Vec<Behaviour> {
        let script = Script { dice: Dice(seed), fail: 200, busy: 100, hang: 50, broken: 50, ..Script::default() };
        (0..1000).map(|n| script.decide(&n.to_string(), 1)).collect()
    }

    #[test]
    fn a_seed_repeats_its_choices_and_another_differs() {
        assert_eq!(decisions(7), decisions(7));
        assert_ne!(decisions(7), decisions(8));
    }

    #[test]
    fn chances_are_about_as_asked_for() {
        let all = decisions(1);
        let count = |wanted| all.iter().filter(|found| **found == wanted).count();
        assert!((150..250).contains(&count(Behaviour::Fail)));
        assert!((500..700).contains(&count(Behaviour::Accept)));
    }

    #[test]
    fn every_event_is_taken_in_the_end_unless_refused_for_good() {
        let script = Script { fail: 1000, faulty_calls: 2, ..Script::default() };
        assert_eq!(
            [1, 2, 3].map(|call| script.decide("a", call)),
            [Behaviour::Fail, Behaviour::Fail, Behaviour::Accept]
        );
        let script = Script { reject: 1000, ..Script::default() };
        assert_eq!(script.decide("a", 9), Behaviour::Reject);
    }
}
