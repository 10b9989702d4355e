//! The rules of the bus in words, and the report of one that was broken.
//!
//! A check names the rule; the failing seed, the shrunk history and the table of seeded bugs show it. Knows nothing of how a rule
//! is checked. Invariant: each rule begins with the guarantee it belongs to (`docs/guarantees.md`).

use std::fmt;

macro_rules! rules {
    ($($name:ident = $words:literal;)*) => {
        $(pub(crate) const $name: &str = $words;)*

        /// Every rule.
        pub const RULES: &[&str] = &[$($words,)*];
    };
}

rules! {
    CONFIRMED_IS_STORED = "G1: a confirmed event is on disk, at the place its receipt names";
    LOG_HAS_NO_HOLE = "G1: the log has no hole and no second event at a place";
    TOLD_WHEN_PASSED = "G1: the cursor passes an event together with the row that tells what became of it, and not without";
    HANDED_ON_WITH_ITS_RECORD = "G1: what is handed on to another subscription arrives in one batch with the record of it";
    TOLD_ONCE = "G1: what became of a delivery is told once";
    LETTERS_ARE_COUNTED = "G1: the numbers of the dead letters are those of the letters, and a key is parked exactly if a letter says so";
    DECIDED_ONCE = "G1: a dead letter is decided once";
    UNKNOWN_ARE_COUNTED = "G1: the numbers of the unknown results are those of their rows";
    FLOOR_ONLY_RISES = "G1: the floor of a cursor never falls";
    KEPT_WHILE_NEEDED = "G1: what is still needed of the log is never let go of";
    WANTED_ONLY = "G1: only events that the subscription covers and its filter wants are delivered";
    RECOVERS_AS_IT_LIVED = "G1: a machine recovered from all rows is the machine that wrote them";
    SYNCED_BEFORE_TOLD = "G11: nothing is told of a batch that the disk may lose";
    ONE_EVENT_PER_ID = "G3: an id is in the log once";
    RECEIPT_OF_EACH = "G3: a batch is answered once, and every event of it is stored or known";
    CONTENT_IS_COMPARED = "G3: a known id with other content is refused";
    EFFECTS_WITH_THEIR_CLAIM = "G4: a claim is done in one batch with what was buffered under it";
    EFFECTS_WITH_THE_ACK = "G4: what a delivery wrote counts exactly when it is acked";
    REPEAT_HAS_A_CAUSE = "G4: an effect happens again only after a fault that left it in doubt";
    REMEMBERED = "G4: what a weak claim was confirmed with does not happen again before its time has come, restart or not";
    KEPT_ITS_TIME = "G4: a kv entry with a time to live is there until it has ended, and then its row goes";
    SCAN_IS_WHOLE = "G4: the pages of a scan show each entry once, in key order, with what the call itself wrote";
    DONE_IS_DONE = "G4: what a claim says is done is not sent again";
    MAYBE_SENT_IS_TOLD = "G4: a claim under which something may have left is never given as a new one";
    RECORDED = "G4: what became of a delivery and its send record are in one batch and say the same";
    OUTCOME_IS_TOLD = "G4: what became of a delivery and the event that tells it are in one batch and say the same";
    ASKED_BEFORE_RESENT = "G4: with `ask` and a truthful provider, what was sent under a key is not sent again";
    PROVIDER_IS_HEARD = "G4: what a provider said of a send is on disk once it was answered, and nothing takes it back";
    TIMER_WITH_THE_ACK = "G4: a timer is set in the batch of the ack of the delivery that set it, and not without";
    TIMER_IS_ONE = "G8: one timer of a name waits, the latest";
    LATE_GOES_ON = "G4: what nothing followed is in doubt, and goes on in a copy, in the batch of the record that says so";
    RESOLVED_ONCE = "G4: an unknown result is resolved once, and what a person said of it is what its claims and its copy say in one batch";
    PUBLISHED_IN_ORDER = "G5: events of a key are stored in the order in which they were published";
    SETTLED_BEFORE_NEXT = "G5: the next event of a key starts after the one before is durably settled";
    ONE_PER_LANE = "G5: one delivery of a key at a time";
    HELD_LANE_RESTS = "G5: nothing starts in a lane that is held closed";
    SETTLED_STAYS_SETTLED = "G6: a settled delivery is not handed out again";
    ACK_AT_THE_RETURN = "G6: only a call that returned acks";
    SHARES_FAIRLY = "G6: a call holds no more deliveries than it may, and one of a key";
    ALONE_AFTER_A_BREAK = "G6: what a broken call left unsettled runs alone on a fresh instance";
    WITHIN_CONCURRENCY = "G6: no more deliveries in flight than the subscription allows";
    NOT_BEFORE_DUE = "G8: an attempt does not start before it is due";
    SCHEDULED_ENDS_WITH_ITS_COPY = "G1: the row of a scheduled event goes in the batch that holds its copy, and a copy is made once";
    NOT_BEFORE_ITS_TIME = "G8: a scheduled event is delivered by its copy, and that is stored when it is due";
    NOT_AFTER_ITS_TIME = "G8: no attempt starts once the expirytime of its event has passed";
    EXPIRED_IS_PAST = "G8: only what is past its expirytime is told as expired";
    ERASED_IS_GONE = "G8: what is left of an erased event is not delivered";
    CLOCK_IS_BELIEVABLE = "G8: the clock never goes back, and follows a large step only when it was stable";
    ATTEMPTS_ARE_COUNTED = "G8: an attempt has the number after those that ran, on disk and at the plugin";
    BOUNDED_MEMORY = "G10: a machine reads no further than its bounds allow";
    SETTLES_AT_LAST = "liveness: once faults stop, everything settles";
    NO_PANIC = "the host does not break an invariant of its own";
    DRIVER_IS_SOUND = "an import is answered with what it asks for";
}

/// A rule that was broken, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// One of [`RULES`].
    pub rule: &'static str,
    /// Which event, which subscription.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken: {}\n  {}", self.rule, self.what)
    }
}

/// What a check comes to.
pub(crate) type Checked<T = ()> = Result<T, Broken>;

/// The rule is broken.
pub(crate) fn broken<T>(rule: &'static str, what: impl Into<String>) -> Checked<T> {
    Err(Broken { rule, what: what.into() })
}

/// The rule is broken unless this holds.
pub(crate) fn must(rule: &'static str, holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { broken(rule, what()) }
}
