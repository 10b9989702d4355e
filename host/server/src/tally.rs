//! What the host counts where its parts meet: suppressed side effects and broken plugin calls.
//!
//! Names are few (subscriptions and plugins), so a map behind a lock is touched only when something out of the ordinary happens.
//! Knows nothing of how the numbers are shown.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bugle_core::delivery::CallEnd;
use bugle_core::ids::Name;
use bugle_core::import::{ClaimOutcome, ImportResult, Reply};

/// Counts since the start of the host.
#[derive(Debug, Default)]
pub struct Tally {
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    suppressed: BTreeMap<Name, u64>,
    broken: BTreeMap<Name, Broken>,
    callbacks: BTreeMap<Name, [u64; Took::ALL.len()]>,
    callbacks_to_nobody: u64,
}

/// What became of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    /// It moved a record.
    Moved,
    /// It told nothing new.
    Nothing,
    /// A reference of it was not known.
    Unknown,
    /// The plugin did not accept it.
    Refused,
    /// The plugin broke on it.
    Broke,
    /// It came to a host that could not take it then.
    Busy,
}

impl Took {
    /// Each of them.
    pub const ALL: [Took; 6] = [Took::Moved, Took::Nothing, Took::Unknown, Took::Refused, Took::Broke, Took::Busy];

    /// The label of its count.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Took::Moved => "moved",
            Took::Nothing => "nothing-new",
            Took::Unknown => "unknown",
            Took::Refused => "refused",
            Took::Broke => "broke",
            Took::Busy => "busy",
        }
    }
}

/// Calls of one plugin that did not end by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Broken {
    /// Trapped.
    pub trapped: u64,
    /// Took too long.
    pub timed_out: u64,
    /// Hit a limit.
    pub limited: u64,
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the answer to an import: a claim that was done before is a suppressed side effect.
    pub fn import(&self, subscription: &Name, answer: &ImportResult) {
        if let Ok(Reply::Claim(ClaimOutcome::Done(_))) = answer {
            let mut inside = self.lock();
            *inside.suppressed.entry(subscription.clone()).or_default() += 1;
        }
    }

    /// Looks at the end of a call.
    pub fn end(&self, plugin: &Name, end: &CallEnd) {
        let count: fn(&mut Broken) -> &mut u64 = match end {
            CallEnd::Returned(_) | CallEnd::NotStarted(_) => return,
            CallEnd::Trapped(_) => |broken| &mut broken.trapped,
            CallEnd::TimedOut(_) => |broken| &mut broken.timed_out,
            CallEnd::LimitExceeded(_) => |broken| &mut broken.limited,
        };
        let mut inside = self.lock();
        *count(inside.broken.entry(plugin.clone()).or_default()) += 1;
    }

    /// A callback to this subscription was answered.
    pub fn callback(&self, subscription: &str, took: Took) {
        let mut inside = self.lock();
        let counts = inside.callbacks.entry(Name::from(subscription)).or_default();
        counts[took as usize] += 1;
    }

    /// A callback under a name that takes none.
    pub fn callback_to_nobody(&self) {
        self.lock().callbacks_to_nobody += 1;
    }

    /// Callbacks that the plugin of this subscription did not accept or broke on.
    #[must_use]
    pub fn callbacks_not_received(&self, subscription: &str) -> u64 {
        let inside = self.lock();
        inside
            .callbacks
            .get(subscription)
            .map_or(0, |counts| counts[Took::Refused as usize] + counts[Took::Broke as usize])
    }

    /// Callbacks by subscription, in the order of [`Took::ALL`]; and those to nobody.
    #[must_use]
    pub fn callbacks(&self) -> (Vec<(Name, [u64; Took::ALL.len()])>, u64) {
        let inside = self.lock();
        let all = inside.callbacks.iter().map(|(name, counts)| (name.clone(), *counts)).collect();
        (all, inside.callbacks_to_nobody)
    }

    /// Suppressed side effects of a subscription.
    #[must_use]
    pub fn suppressed(&self, subscription: &str) -> u64 {
        let inside = self.lock();
        inside.suppressed.get(subscription).copied().unwrap_or_default()
    }

    /// Broken calls by plugin.
    #[must_use]
    pub fn broken(&self) -> Vec<(Name, Broken)> {
        let inside = self.lock();
        inside.broken.iter().map(|(name, broken)| (name.clone(), *broken)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;
    use bugle_core::delivery::CallEnd;
    use bugle_core::ids::{ClaimId, Name};
    use bugle_core::import::{ClaimOutcome, Reply};

    #[test]
    fn only_what_is_out_of_the_ordinary_is_counted() {
        let tally = Tally::default();
        let name = Name::from("a");
        tally.import(&name, &Ok(Reply::Claim(ClaimOutcome::Done(None))));
        let claim = ClaimId(1);
        let uncertain = false;
        tally.import(&name, &Ok(Reply::Claim(ClaimOutcome::Claimed { claim, uncertain })));
        tally.import(&name, &Ok(Reply::Done));
        assert_eq!((tally.suppressed("a"), tally.suppressed("b")), (1, 0));
        tally.end(&name, &CallEnd::Returned(Ok(())));
        assert!(tally.broken().is_empty());
        tally.end(&name, &CallEnd::Trapped("x".into()));
        tally.end(&name, &CallEnd::TimedOut("x".into()));
        let (_, broken) = tally.broken().pop().unwrap();
        assert_eq!((broken.trapped, broken.timed_out, broken.limited), (1, 1, 0));
    }
}
