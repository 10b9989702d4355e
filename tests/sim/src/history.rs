//! A history: the seed of a world and the actions that happen in it. It is drawn from a seed, or read from a regression file.
//!
//! Knows nothing of what the actions come to. Invariant: the same history gives the same run, on every machine.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use bugle_random::Random;

use crate::action::Action;

/// Actions of a history that nobody asked to be longer: a few hundred deliveries and several crashes.
pub const ACTIONS: usize = 500;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// What the world is made from: definitions, bounds, hashes.
    pub seed: u64,
    /// Whether there are faults: crashes, traps, lost answers, clock steps.
    pub has_faults: bool,
    /// What happens.
    pub actions: Vec<Action>,
}

impl History {
    /// Draws a history.
    #[must_use]
    pub fn draw(seed: u64, has_faults: bool, actions: usize) -> History {
        let mut random = Random::new(seed);
        let actions = (0..actions).map(|_| Action::draw(&mut random, has_faults)).collect();
        History { seed, has_faults, actions }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = if self.has_faults { "with-faults" } else { "without-faults" };
        let mut text = format!("seed {} {faults}\n", self.seed);
        for action in &self.actions {
            writeln!(text, "{action}")?;
        }
        f.write_str(&text)
    }
}

impl FromStr for History {
    type Err = String;

    /// Lines that begin with `#` are for people.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let first = lines.next().unwrap_or_default();
        let wrong = || format!("a history begins like `seed 7 with-faults`, not `{first}`");
        let words: Vec<&str> = first.split_whitespace().collect();
        let (seed, has_faults) = match words.as_slice() {
            ["seed", seed, "with-faults"] => (seed.parse().map_err(|_| wrong())?, true),
            ["seed", seed, "without-faults"] => (seed.parse().map_err(|_| wrong())?, false),
            _ => return Err(wrong()),
        };
        let actions = lines.map(str::parse).collect::<Result<_, _>>()?;
        Ok(History { seed, has_faults, actions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_what_its_text_says() {
        let history = History::draw(7, true, 100);
        assert_eq!(history.to_string().parse(), Ok(history));
    }

    #[test]
    fn text_that_is_no_history_is_refused() {
        for text in ["", "seed x with-faults", "seed 7", "seed 7 with-faults\njump 1 2", "seed 7 with-faults\nread 1"] {
            assert!(text.parse::<History>().is_err(), "{text}");
        }
    }
}
