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
