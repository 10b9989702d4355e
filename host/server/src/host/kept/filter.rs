//! Which dead letters or unknown results are meant: the words of a person, and the test of one row.
//!
//! Knows nothing of who asks. Invariant: a filter that was parsed asks for what its text says, at the moment of the parse.

use std::fmt;

use bugle_core::event::StoredEvent;
use bugle_core::ids::{Position, Revision};
use bugle_core::row::{DeadState, UnknownState};
use bugle_core::time::Timestamp;

use crate::api::KeptFilter;
use crate::{catalog, moment};

/// Where a row of one kind stands.
pub(in crate::host) trait State: Copy + PartialEq + 'static {
    const ALL: &'static [Self];
    /// What such a row is called.
    const KIND: &'static str;
    /// Whether a row has a cause to ask for.
    const HAS_CAUSE: bool;
    fn word(self) -> &'static str;
    /// Whether a person still has to decide.
    fn is_undecided(self) -> bool;
}

impl State for DeadState {
    const ALL: &'static [DeadState] = &DeadState::ALL;
    const KIND: &'static str = "a dead letter";
    const HAS_CAUSE: bool = true;

    fn word(self) -> &'static str {
        self.word()
    }

    fn is_undecided(self) -> bool {
        self.is_undecided()
    }
}

impl State for UnknownState {
    const ALL: &'static [UnknownState] = &UnknownState::ALL;
    const KIND: &'static str = "an unknown result";
    const HAS_CAUSE: bool = false;

    fn word(self) -> &'static str {
        self.word()
    }

    fn is_undecided(self) -> bool {
        self == UnknownState::Open
    }
}

/// A parsed [`KeptFilter`].
#[derive(Clone, Debug)]
pub(in crate::host) struct Wanted<S> {
    pub(in crate::host) position: Option<Position>,
    kind: Option<String>,
    key: Option<String>,
    cause: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    revision: Option<String>,
    pub(in crate::host) state: Option<S>,
    /// Only those that nobody decided about.
    is_undecided: bool,
}

/// What a filter looks at in a row.
pub(in crate::host) struct Seen<'a, S> {
    pub(in crate::host) event: &'a StoredEvent,
    pub(in crate::host) cause: &'a str,
    pub(in crate::host) revision: Option<&'a Revision>,
    pub(in crate::host) at: Timestamp,
    pub(in crate::host) state: S,
}

impl<S: State> Wanted<S> {
    /// Says what is wrong with a filter that cannot be.
    pub(in crate::host) fn parse(filter: &KeptFilter, now: Timestamp) -> Result<Wanted<S>, String> {
        let KeptFilter { position, kind, key, cause, since, until, revision, state } = filter;
        let time = |text: &Option<String>| text.as_deref().map(|text| moment::since(text, now)).transpose();
        let position = position.as_deref().map(str::parse::<Position>).transpose();
        let is_digits = |text: &String| text.len() <= 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        if revision.as_ref().is_some_and(|text| !is_digits(text)) {
            return Err("a revision is the SHA-256 of a component, or the first of its hexadecimal digits".to_owned());
        }
        if cause.is_some() && !S::HAS_CAUSE {
            return Err(format!("{} has no cause; leave `cause` away", S::KIND));
        }
        let wanted = Wanted {
            position: position.map_err(|error| error.to_string())?,
            kind: kind.clone(),
            key: key.clone(),
            cause: cause.clone(),
            since: time(since)?,
            until: time(until)?,
            revision: revision.as_ref().map(|text| text.to_ascii_lowercase()),
            state: state.as_deref().map(state_of).transpose()?,
            is_undecided: false,
        };
        match (wanted.since, wanted.until) {
            (Some(since), Some(until)) if since >= until => {
                Err("`since` is not before `until`, so nothing is asked for".to_owned())
            }
            _ => Ok(wanted),
        }
    }

    /// The same, without those that were decided about.
    pub(in crate::host) fn undecided(self) -> Wanted<S> {
        Wanted { is_undecided: true, ..self }
    }

    pub(in crate::host) fn selects(&self, row: &Seen<'_, S>) -> bool {
        let event = &row.event.event;
        let has_kind = |wanted: &String| match wanted.strip_suffix('*') {
            Some(beginning) => event.kind().starts_with(beginning),
            None => event.kind() == wanted,
        };
        let has_revision = |wanted: &String| {
            row.revision.is_some_and(|revision| catalog::digits(revision).starts_with(wanted.as_str()))
        };
        self.position.is_none_or(|wanted| row.event.position == wanted)
            && self.kind.as_ref().is_none_or(has_kind)
            && self.key.as_ref().is_none_or(|wanted| event.key() == Some(wanted))
            && self.cause.as_ref().is_none_or(|wanted| row.cause == *wanted)
            && self.since.is_none_or(|since| row.at >= since)
            && self.until.is_none_or(|until| row.at < until)
            && self.revision.as_ref().is_none_or(has_revision)
            && self.state.is_none_or(|wanted| row.state == wanted)
            && (!self.is_undecided || row.state.is_undecided())
    }
}

fn state_of<S: State>(word: &str) -> Result<S, String> {
    S::ALL.iter().copied().find(|state| state.word() == word).ok_or_else(|| {
        let mut words: Vec<String> = S::ALL.iter().map(|state| format!("`{}`", state.word())).collect();
        let last = words.pop().unwrap_or_default();
        format!("`{word}` is not a state of {}; use {} or {last}", S::KIND, words.join(", "))
    })
}

/// For the audit list.
impl<S: State> fmt::Display for Wanted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("position", self.position.map(|position| position.to_string())),
            ("type", self.kind.clone()),
            ("key", self.key.as_ref().map(|_| "given".to_owned())),
            ("cause", self.cause.clone()),
            ("since", self.since.map(moment::text)),
            ("until", self.until.map(moment::text)),
            ("revision", self.revision.clone()),
            ("state", self.state.map(|state| state.word().to_owned())),
        ];
        let said: Vec<String> =
            parts.into_iter().filter_map(|(name, value)| value.map(|value| format!("{name} {value}"))).collect();
        f.write_str(if said.is_empty() { "no filter" } else { "filter: " })?;
        f.write_str(&said.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use bugle_core::event::{Event, Index, Span, StoredEvent};
    use bugle_core::ids::{Offset, Revision, Slot, TopicId};
    use bytes::Bytes;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn event() -> StoredEvent {
        let span = |start, len| Span { start, len };
        let index =
            Index { id: span(0, 2), source: span(0, 2), kind: span(2, 10), key: Some(span(12, 6)), ..Index::default() };
        let event = Event::new(Bytes::from_static(b"e1order.paiduser-1"), index).unwrap();
        let position = Position { slot: Slot(0), offset: Offset(7) };
        StoredEvent { position, topic: TopicId(1), received: Timestamp(0), event }
    }

    fn selects(wanted: &Wanted<DeadState>, state: DeadState) -> bool {
        let (event, revision) = (event(), Revision([0xab; 32]));
        let at = Timestamp(NOW.0 - 3_600_000);
        wanted.selects(&Seen { event: &event, cause: "rejected", revision: Some(&revision), at, state })
    }

    fn parse(change: impl FnOnce(&mut KeptFilter)) -> Result<Wanted<DeadState>, String> {
        let mut filter = KeptFilter::default();
        change(&mut filter);
        Wanted::parse(&filter, NOW)
    }

    #[test]
    fn each_part_selects_and_all_must_hold() {
        let check = |change: fn(&mut KeptFilter), wanted: bool| {
            assert_eq!(selects(&parse(change).unwrap(), DeadState::Open), wanted);
        };
        check(|_| {}, true);
        check(|filter| filter.kind = Some("order.*".to_owned()), true);
        check(|filter| filter.kind = Some("order".to_owned()), false);
        check(|filter| filter.key = Some("user-1".to_owned()), true);
        check(|filter| filter.key = Some("user".to_owned()), false);
        check(|filter| filter.cause = Some("rejected".to_owned()), true);
        check(|filter| filter.cause = Some("poison".to_owned()), false);
        check(|filter| filter.since = Some("2h".to_owned()), true);
        check(|filter| filter.since = Some("1m".to_owned()), false);
        check(|filter| filter.until = Some("1m".to_owned()), true);
        check(|filter| filter.until = Some("1970-01-01T00:00:00Z".to_owned()), false);
        check(|filter| filter.revision = Some("ABab".to_owned()), true);
        check(|filter| filter.revision = Some("ac".to_owned()), false);
        check(|filter| filter.state = Some("open".to_owned()), true);
        check(|filter| filter.state = Some("manual".to_owned()), false);
        check(|filter| filter.position = Some("0-7".to_owned()), true);
        check(|filter| filter.position = Some("0-8".to_owned()), false);
        check(
            |filter| {
                filter.kind = Some("order.paid".to_owned());
                filter.key = Some("user-2".to_owned());
            },
            false,
        );
        let all = parse(|_| {}).unwrap();
        assert!(selects(&all, DeadState::Dismissed) && !selects(&all.undecided(), DeadState::Dismissed));
    }

    #[test]
    fn what_cannot_be_meant_is_told() {
        let check = |change: fn(&mut KeptFilter), told: &str| {
            let error = parse(change).unwrap_err();
            assert!(error.contains(told), "{error}");
        };
        check(|filter| filter.state = Some("closed".to_owned()), "`dismissed`");
        check(|filter| filter.since = Some("yesterday".to_owned()), "`2h`");
        check(|filter| filter.revision = Some("latest".to_owned()), "SHA-256");
        check(|filter| filter.position = Some("7".to_owned()), "0-1234");
        check(
            |filter| {
                filter.since = Some("1m".to_owned());
                filter.until = Some("1h".to_owned());
            },
            "not before",
        );
        let unknown = |filter: KeptFilter| Wanted::<UnknownState>::parse(&filter, NOW).unwrap_err();
        let state = unknown(KeptFilter { state: Some("manual".to_owned()), ..KeptFilter::default() });
        assert!(state.ends_with("use `open`, `sent`, `not-sent` or `retried`"), "{state}");
        let cause = unknown(KeptFilter { cause: Some("rejected".to_owned()), ..KeptFilter::default() });
        assert!(cause.contains("no cause"), "{cause}");
    }
}
