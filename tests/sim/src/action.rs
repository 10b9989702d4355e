//! What can happen to the bus, as data: a kind, whom it happens to, and the dice for everything that is left open.
//!
//! A history is a list of these, drawn from a seed; what it comes to depends on the state it meets. Since each action brings its own
//! dice, the others mean the same when one is left out. Invariant: the words are those of the regression files.

use std::fmt;
use std::str::FromStr;

use bugle_random::Random;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $weight:literal, $needs_faults:literal;)*) => {
        /// A kind of action.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
        }

        /// Every kind with its word, how often it comes, and whether it is a fault.
        const KINDS: &[(Kind, &str, u64, bool)] = &[$((Kind::$name, $word, $weight, $needs_faults),)*];
    };
}

kinds! {
    /// A producer sends a batch.
    Publish = "publish", 75, false;
    /// A producer uses a known id for other content.
    Forge = "forge", 6, false;
    /// A producer's connection breaks, and it comes back; perhaps without its memory.
    Reconnect = "reconnect", 6, true;
    /// The log answers the read of a worker.
    Read = "read", 160, false;
    /// A call goes on by one stage.
    Advance = "advance", 420, false;
    /// A worker submits what has gathered.
    Submit = "submit", 110, false;
    /// The committer does a whole round.
    Commit = "commit", 90, false;
    /// The committer does one stage of a round.
    CommitStage = "commit-stage", 60, false;
    /// Time goes by.
    PassTime = "pass-time", 40, false;
    /// Somebody sets the wall clock.
    StepWall = "step-wall", 5, true;
    /// An operator pauses or resumes a subscription.
    PauseOrResume = "pause-or-resume", 14, true;
    /// An operator has a subscription finish what it has read and then pause, or work faster.
    Drain = "drain", 5, true;
    /// An operator has a subscription go on further ahead.
    Seek = "seek", 3, true;
    /// The host compares the backlog of a subscription with its cap.
    TellLog = "tell-log", 6, true;
    /// An operator changes a subscription.
    Reconfigure = "reconfigure", 8, true;
    /// A new revision of a plugin.
    Redeploy = "redeploy", 6, true;
    /// A person decides about a dead letter, or the host removes some.
    Letters = "letters", 14, true;
    /// A person resolves an unknown result, or the host removes some.
    Unknowns = "unknowns", 10, true;
    /// An operator cancels scheduled events.
    Cancel = "cancel", 5, true;
    /// The content of a confirmed event is erased.
    Erase = "erase", 3, true;
    /// The host looks for claims and kv entries that have ended.
    Sweep = "sweep", 8, false;
    /// A provider says what became of something that was sent.
    Callback = "callback", 16, true;
    /// A part of the log cannot be read.
    FailRead = "fail-read", 3, true;
    /// A sync fails.
    FailSync = "fail-sync", 3, true;
    /// The disk does nothing for a while.
    SlowDisk = "slow-disk", 2, true;
    /// The power fails.
    Crash = "crash", 6, true;
    /// The disk is lost, and a backup of all that was synced is restored.
    Restore = "restore", 2, true;
}

/// One action of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// What happens.
    pub kind: Kind,
    /// Which producer or subscription, counted round and round.
    pub target: u8,
    /// Everything else.
    pub dice: u64,
}

impl Action {
    /// Draws one.
    pub(crate) fn draw(random: &mut Random, has_faults: bool) -> Action {
        let kinds = || KINDS.iter().filter(|(_, _, _, is_fault)| has_faults || !is_fault);
        let mut at = random.below(kinds().map(|(_, _, weight, _)| weight).sum());
        let mut kind = Kind::Publish;
        for (of, _, weight, _) in kinds() {
            if at < *weight {
                kind = *of;
                break;
            }
            at -= weight;
        }
        Action { kind, target: random.below(60) as u8, dice: random.below(u64::MAX) }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = KINDS.iter().find(|(kind, ..)| *kind == self.kind).map_or("", |(_, word, ..)| word);
        write!(f, "{word} {} {:x}", self.target, self.dice)
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let wrong = || format!("`{line}` is not an action; one looks like `advance 2 5f3a90`");
        let mut words = line.split_whitespace();
        let (word, target, dice) = (words.next(), words.next(), words.next());
        let kind = KINDS.iter().find(|(_, known, ..)| word == Some(known)).ok_or_else(wrong)?.0;
        let target = target.and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
        let dice = dice.and_then(|text| u64::from_str_radix(text, 16).ok()).ok_or_else(wrong)?;
        if words.next().is_some() { Err(wrong()) } else { Ok(Action { kind, target, dice }) }
    }
}
