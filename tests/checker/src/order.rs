//! G5: events of one key are stored in the order of the calls, and handled one after the other in the order of the log.
//!
//! It does not ask how often an event was called, only when. A priority class is a lane of its own.
//!
//! Invariant: only what must be ordered is judged. Two publishes of which one was retried while the other ran are not, and
//! neither are events that a person must decide about.

use std::collections::BTreeMap;

use crate::history::{EventName, History};
use crate::record::{Call, CallAnswer, Log, Position, State, Subscription};
use crate::report::{Promise, Report};

pub(crate) fn check(history: &History, report: &mut Report) {
    stored_in_call_order(history, report);
    for (name, subscription) in history.subscriptions.iter().filter(|(_, found)| found.ordered) {
        let calls = calls_by_event(history, name);
        for lane in lanes(history, subscription).values() {
            one_at_a_time(history, name, lane, &calls, report);
        }
    }
}

/// The calls of one producer for one event: the first and the last try.
struct Span<'a> {
    event: &'a EventName,
    first_seq: u64,
    last_seq: u64,
    position: Position,
}

/// When all tries of an event came before the first try of another one with the same key, it is stored before it.
fn stored_in_call_order(history: &History, report: &mut Report) {
    let mut lanes: BTreeMap<(&str, &str, &str), Vec<Span<'_>>> = BTreeMap::new();
    for (event, tries) in &history.tries {
        let (Some(first), Some(last)) = (tries.first(), tries.last()) else { continue };
        let Some([position]) = history.stored.get(event).map(Vec::as_slice) else { continue };
        let Some(key) = &first.intent.key else { continue };
        let is_one_producer = tries.iter().all(|attempt| attempt.intent.producer == first.intent.producer);
        if is_one_producer {
            let lane = (first.intent.producer.as_str(), first.intent.topic.as_str(), key.as_str());
            lanes.entry(lane).or_default().push(Span {
                event,
                first_seq: first.intent.seq,
                last_seq: last.intent.seq,
                position: *position,
            });
        }
    }
    for ((producer, _, key), spans) in lanes {
        for (earlier, later) in inversions(&spans) {
            report.add(
                Promise::G5,
                "stored-out-of-order",
                format!(
                    "`{producer}` sent {} before {}, both with key `{key}`, but they are stored at {} and {}",
                    earlier.event, later.event, earlier.position, later.position
                ),
            );
        }
    }
}

/// For each span the one that ended before it began and is stored furthest behind it, if any is.
fn inversions<'a, 'b>(spans: &'b [Span<'a>]) -> Vec<(&'b Span<'a>, &'b Span<'a>)> {
    let mut by_first: Vec<&Span<'_>> = spans.iter().collect();
    by_first.sort_by_key(|span| span.first_seq);
    let mut by_last: Vec<&Span<'_>> = spans.iter().collect();
    by_last.sort_by_key(|span| span.last_seq);
    let mut ended = by_last.into_iter().peekable();
    let mut furthest: Option<&Span<'_>> = None;
    let mut found = Vec::new();
    for span in by_first {
        while let Some(earlier) = ended.next_if(|earlier| earlier.last_seq < span.first_seq) {
            if furthest.is_none_or(|other| other.position < earlier.position) {
                furthest = Some(earlier);
            }
        }
        if let Some(earlier) = furthest.filter(|earlier| earlier.position > span.position) {
            found.push((earlier, span));
        }
    }
    found
}

fn calls_by_event<'a>(history: &'a History, subscription: &str) -> BTreeMap<(&'a str, &'a str), Vec<&'a Call>> {
    let mut found: BTreeMap<_, Vec<&Call>> = BTreeMap::new();
    for (effect, calls) in history.calls.iter().filter(|(effect, _)| effect.subscription == subscription) {
        let event = (effect.event.source.as_str(), effect.event.id.as_str());
        found.entry(event).or_default().extend(calls);
    }
    found
}

/// The events of each lane in log order. Slots have nothing to do with each other.
fn lanes<'a>(
    history: &'a History,
    subscription: &Subscription,
) -> BTreeMap<(u16, &'a str, &'a str, &'a str), Vec<&'a Log>> {
    let mut lanes: BTreeMap<_, Vec<&Log>> = BTreeMap::new();
    for log in history.log.values().flatten().filter(|log| subscription.matches(log)) {
        if let Some(key) = &log.key {
            let lane = (log.position.slot, log.topic.as_str(), key.as_str(), log.class.as_str());
            lanes.entry(lane).or_default().push(log);
        }
    }
    lanes
}

/// No call for an event comes before the last call, or the settlement, of an earlier event of its lane.
fn one_at_a_time(
    history: &History,
    subscription: &str,
    lane: &[&Log],
    calls: &BTreeMap<(&str, &str), Vec<&Call>>,
    report: &mut Report,
) {
    let mut last_call: Option<(&Log, u64)> = None;
    let mut last_effect: Option<(&Log, u64)> = None;
    let mut unsettled: Option<&Log> = None;
    for log in lane {
        let place = format!("event `{}` at {} in subscription `{subscription}`", log.id, log.position);
        let own: &[&Call] = calls.get(&(log.source.as_str(), log.id.as_str())).map_or(&[], Vec::as_slice);
        let first = own.iter().map(|call| call.at_us).min();
        let effect = own.iter().filter(|call| call.answer == CallAnswer::Accepted).map(|call| call.at_us).min();
        if let (Some(at), Some((other, other_at))) = (effect, last_effect)
            && at < other_at
        {
            let text = format!("{place} took effect at {at}, before `{}` of the same key at {other_at}", other.id);
            report.add(Promise::G5, "effect-out-of-order", text);
        } else if let (Some(at), Some((other, other_at))) = (first, last_call)
            && at < other_at
        {
            let text = format!(
                "{place} was called at {at}, but `{}` of the same key was still called at {other_at}",
                other.id
            );
            report.add(Promise::G5, "overtaken", text);
        }
        if let (Some(_), Some(other)) = (first, unsettled) {
            let text = format!("{place} was called, but `{}` of the same key is not settled", other.id);
            report.add(Promise::G5, "unsettled-overtaken", text);
        }
        last_call = later(last_call, log, own.iter().map(|call| call.at_us).max());
        last_effect = later(last_effect, log, effect);
        if history.state(subscription, log.position).is_some_and(holds_its_lane) {
            unsettled = unsettled.or(Some(log));
        }
    }
}

fn later<'a>(known: Option<(&'a Log, u64)>, log: &'a Log, at: Option<u64>) -> Option<(&'a Log, u64)> {
    match (known, at) {
        (Some((_, known_at)), Some(at)) if at < known_at => known,
        (_, Some(at)) => Some((log, at)),
        (known, None) => known,
    }
}

/// A scheduled event joins its lane when due; parked and unknown ones wait for a person by their own rule.
fn holds_its_lane(state: State) -> bool {
    match state {
        State::Ready | State::InFlight | State::Waiting => true,
        State::Scheduled
        | State::Parked
        | State::Acked
        | State::Dead
        | State::Expired
        | State::Suppressed
        | State::Unknown
        | State::Filtered => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::record::{Answer, Record, State};
    use crate::sample::{Sample, check};

    fn move_call(id: &'static str, at: u64) -> Sample {
        Sample::good().edit(move |record| {
            if let Record::Call(call) = record
                && call.id == id
            {
                (call.at_us, call.done_us) = (at, at + 10);
            }
        })
    }

    #[test]
    fn effects_out_of_order_are_caught_within_a_key_only() {
        check(&move_call("a2", 50), &["effect-out-of-order"]);
        check(&move_call("b1", 50), &[]);
    }

    #[test]
    fn attempt_before_the_last_of_its_predecessor_is_caught() {
        // a1 is called again after a2 began: excused by the kill as a repeat, but not in order.
        check(&Sample::good().kill(110, 120).call(250, "a1"), &["overtaken"]);
    }

    #[test]
    fn order_is_not_asked_of_an_unordered_subscription() {
        let unordered = move_call("a2", 50).edit(|record| {
            if let Record::Subscription(subscription) = record {
                subscription.ordered = false;
            }
        });
        check(&unordered, &[]);
    }

    #[test]
    fn unsettled_event_may_not_be_overtaken() {
        let set = |state| {
            Sample::good().without(|record| matches!(record, Record::Call(call) if call.id == "a1")).edit(
                move |record| {
                    if let Record::State(row) = record
                        && row.position.offset == 1
                    {
                        row.state = state;
                    }
                },
            )
        };
        check(&set(State::Waiting), &["unsettled-overtaken"; 2]);
        check(&set(State::Dead), &[]);
    }

    #[test]
    fn publishes_of_a_key_are_stored_in_call_order() {
        let swapped = Sample::good().edit(|record| {
            if let Record::Intent(intent) = record {
                match intent.id.as_str() {
                    "a1" => intent.seq = 2,
                    "a2" => intent.seq = 1,
                    _ => {}
                }
            }
        });
        check(&swapped, &["stored-out-of-order"]);
    }

    #[test]
    fn retried_publish_that_overlaps_another_is_not_judged() {
        let first = "0-1".parse().unwrap();
        let retried = Sample::good().publish(90, "a1", 2, "A", Answer::Confirmed { position: first, duplicate: true });
        check(&retried, &[]);
    }
}
