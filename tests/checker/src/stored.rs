//! G1 and G3: what was confirmed is stored once, unchanged, and stands in exactly one state for each subscription.
//!
//! It looks at producers and at the store only; what receivers saw is judged elsewhere.
//!
//! Invariant: an event in doubt may be stored or not, but never twice; a refused one is not stored.

use crate::Allowances;
use crate::history::{EventName, History, Try};
use crate::record::{Answer, Position, State};
use crate::report::{Promise, Report};

pub(crate) fn check(history: &History, allowances: &Allowances, report: &mut Report) {
    report.figures.stored = history.stored.values().map(Vec::len).sum();
    for (event, tries) in &history.tries {
        report.figures.published += 1;
        published(history, event, tries, allowances, report);
    }
    stored_once(history, report);
    states(history, allowances, report);
}

/// What a producer knows in the end about one event.
fn published(history: &History, event: &EventName, tries: &[Try], allowances: &Allowances, report: &mut Report) {
    let stored_at: &[Position] = history.stored.get(event).map_or(&[], Vec::as_slice);
    let mut confirmed: Option<(Position, &str)> = None;
    let mut in_doubt = false;
    for attempt in tries {
        match &attempt.answer {
            Some(Answer::Confirmed { position, .. }) => {
                confirmed_at(history, event, *position, &attempt.intent.digest, report);
                match confirmed {
                    Some((first, _)) if first != *position => report.add(
                        Promise::G3,
                        "other-position",
                        format!("event {event} was confirmed at {first} and then at {position}"),
                    ),
                    Some((_, digest)) if digest != attempt.intent.digest => report.add(
                        Promise::G3,
                        "id-reused-accepted",
                        format!("event {event} was confirmed twice with different content"),
                    ),
                    _ => confirmed = Some((*position, &attempt.intent.digest)),
                }
            }
            Some(Answer::Refused { .. }) => {}
            Some(Answer::Unknown) | None => in_doubt = true,
        }
    }
    match (confirmed, in_doubt) {
        (Some(_), _) => report.figures.confirmed += 1,
        (None, true) => {
            report.figures.unknown += 1;
            if !allowances.unknown_results {
                report.add(
                    Promise::G3,
                    "unresolved",
                    format!("event {event} is in doubt to the end: no try was confirmed or refused"),
                );
            }
        }
        (None, false) => {
            report.figures.refused += 1;
            if let [position, ..] = stored_at {
                report.add(
                    Promise::G3,
                    "refused-but-stored",
                    format!("event {event} was refused each time, but is stored at {position}"),
                );
            }
        }
    }
}

/// What a confirm promised about one position.
fn confirmed_at(history: &History, event: &EventName, position: Position, digest: &str, report: &mut Report) {
    let Some(log) = history.at(position) else {
        let elsewhere = history.stored.get(event).and_then(|positions| positions.first());
        let code = if elsewhere.is_some() { "moved" } else { "lost" };
        let where_now = elsewhere.map_or("nowhere".to_owned(), |other| format!("at {other}"));
        report.add(Promise::G1, code, format!("event {event} was confirmed at {position} and is stored {where_now}"));
        return;
    };
    if EventName::new(&log.source, &log.id) != *event {
        let other = EventName::new(&log.source, &log.id);
        report.add(
            Promise::G1,
            "replaced",
            format!("event {event} was confirmed at {position}, where {other} is stored"),
        );
    } else if log.digest != digest {
        report.add(
            Promise::G3,
            "other-content",
            format!("event {event} was confirmed at {position} with other content than what is stored there"),
        );
    }
}

fn stored_once(history: &History, report: &mut Report) {
    for (event, positions) in &history.stored {
        if let [first, .., last] = positions.as_slice() {
            report.add(
                Promise::G3,
                "stored-twice",
                format!("event {event} is stored {} times, at {first} and at {last}", positions.len()),
            );
        }
        if !history.tries.is_empty() && !history.tries.contains_key(event) {
            report.add(
                Promise::G3,
                "never-published",
                format!("event {event} is stored, but no producer meant to send it"),
            );
        }
    }
}

/// Each stored event that matches a subscription has exactly one state there.
fn states(history: &History, allowances: &Allowances, report: &mut Report) {
    for (name, subscription) in &history.subscriptions {
        let rows = history.states.get(name);
        for log in history.log.values().flatten().filter(|log| subscription.matches(log)) {
            report.figures.deliveries += 1;
            let found: &[State] = rows.and_then(|rows| rows.get(&log.position)).map_or(&[], Vec::as_slice);
            let place = format!("event `{}` at {} in subscription `{name}`", log.id, log.position);
            match found {
                [] => report.add(Promise::G1, "no-state", format!("{place} is in no state")),
                [State::Filtered] => {
                    report.add(Promise::G1, "no-state", format!("{place} was filtered out, but matches"))
                }
                [state] if state.is_settled() => report.figures.settled += 1,
                [state] if !allowances.unsettled_events => {
                    report.add(Promise::G1, "unsettled", format!("{place} is still {state:?} at the end"));
                }
                [_] => {}
                [..] => {
                    report.add(Promise::G1, "two-states", format!("{place} is in {} states: {found:?}", found.len()))
                }
            }
        }
        for (position, found) in rows.into_iter().flatten() {
            let matching = history.at(*position).is_some_and(|log| subscription.matches(log));
            if !matching && found.iter().any(|state| *state != State::Filtered) {
                report.add(
                    Promise::G1,
                    "stray-state",
                    format!("position {position} is {found:?} in subscription `{name}`, which has no such event"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::record::{Answer, Record, State};
    use crate::sample::{Sample, check};

    #[test]
    fn clean_history_passes() {
        check(&Sample::good(), &[]);
    }

    #[test]
    fn lost_and_moved_events_are_caught() {
        check(
            &Sample::good().without(|record| matches!(record, Record::Log(log) if log.id == "b1")),
            &["lost", "stray-state", "delivered-not-stored"],
        );
        let moved = Sample::good().edit(|record| {
            if let Record::Log(log) = record
                && log.id == "b1"
            {
                log.position.offset = 40;
            }
        });
        check(&moved, &["moved", "no-state", "stray-state"]);
    }

    #[test]
    fn event_in_no_state_or_two_is_caught() {
        let is_a1 = |record: &Record| matches!(record, Record::State(row) if row.position.offset == 1);
        check(&Sample::good().without(is_a1), &["no-state"]);
        check(&Sample::good().state(1, State::Dead), &["two-states"]);
        check(&Sample::good().state(77, State::Acked), &["stray-state"]);
        check(&Sample::good().state(77, State::Filtered), &[]);
    }

    #[test]
    fn event_stored_twice_is_caught() {
        check(&Sample::good().log(9, "b1", Some("B")).state(9, State::Acked), &["stored-twice"]);
    }

    #[test]
    fn duplicate_gets_the_first_position() {
        let again =
            |position| Sample::good().publish(90, "a1", 2, "A", Answer::Confirmed { position, duplicate: true });
        check(&again("0-1".parse().unwrap()), &[]);
        check(&again("0-2".parse().unwrap()), &["replaced", "other-position"]);
    }

    #[test]
    fn other_content_under_one_id_is_caught() {
        let changed = Sample::good().edit(|record| {
            if let Record::Log(log) = record
                && log.id == "a1"
            {
                log.digest = "other".to_owned();
            }
        });
        check(&changed, &["other-content"]);
    }

    #[test]
    fn refused_event_is_not_stored() {
        let refused = Answer::Refused { code: "unknown-topic".to_owned() };
        check(&Sample::good().publish(90, "r1", 1, "A", refused.clone()), &[]);
        let stored = Sample::good().publish(90, "r1", 1, "A", refused).log(9, "r1", Some("A")).state(9, State::Dead);
        check(&stored, &["refused-but-stored"]);
    }

    #[test]
    fn event_in_doubt_must_be_resolved_unless_allowed() {
        let doubt = Sample::good().publish(90, "u1", 1, "A", Answer::Unknown);
        check(&doubt, &["unresolved"]);
        let mut allowed = doubt;
        allowed.allowances.unknown_results = true;
        check(&allowed, &[]);
    }

    #[test]
    fn event_nobody_sent_is_caught() {
        check(&Sample::good().log(9, "ghost", None).state(9, State::Acked).call(900, "ghost"), &["never-published"]);
    }

    #[test]
    fn unsettled_event_is_caught_when_all_should_be() {
        let waiting = Sample::good().edit(|record| {
            if let Record::State(row) = record
                && row.position.offset == 4
            {
                row.state = State::Waiting;
            }
        });
        check(&waiting, &[]);
        let mut strict = waiting;
        strict.allowances.unsettled_events = false;
        check(&strict, &["unsettled"]);
    }
}
