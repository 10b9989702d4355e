//! G4 and G6: receivers are called again only for a reason, always with the same key, and an ack means that it was done.
//!
//! Reasons for one more call: the receiver refused, it gave no complete answer in time, or the host was killed before the
//! ack can have been durable. It does not look at order between events.
//!
//! Invariant: each reason excuses one more call, never two.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::Allowances;
use crate::history::{Effect, History};
use crate::record::{Call, CallAnswer, Kill, State, Subscription};
use crate::report::{Promise, Report};

pub(crate) fn check(history: &History, allowances: &Allowances, report: &mut Report) {
    report.figures.kills = history.kills.len();
    let mut at_kills: BTreeMap<(usize, &str), u64> = BTreeMap::new();
    for (effect, calls) in &history.calls {
        report.figures.calls += calls.len();
        report.figures.effects += usize::from(calls.iter().any(|call| call.answer == CallAnswer::Accepted));
        if !history.stored.contains_key(&effect.event) {
            report.add(
                Promise::G1,
                "delivered-not-stored",
                format!("{effect} reached its receiver, but the event is not stored"),
            );
        }
        let subscription = history.subscriptions.get(&effect.subscription);
        for pair in calls.windows(2) {
            let [earlier, later] = pair else { continue };
            if is_refused_or_late(earlier, subscription) {
                continue;
            }
            report.figures.repeats += 1;
            if let Some(kill) = excuse(history, allowances, effect, earlier, later, report) {
                *at_kills.entry((kill, effect.subscription.as_str())).or_insert(0) += 1;
            }
        }
        same_key(effect, calls, report);
    }
    too_many_at_one_kill(history, &at_kills, report);
    keys_are_not_shared(history, report);
    acked_means_done(history, report);
}

/// The host had to call again: it was told to, or it cannot have seen an answer.
fn is_refused_or_late(call: &Call, subscription: Option<&Subscription>) -> bool {
    let timeout = subscription.and_then(|found| found.timeout_us);
    let is_late = timeout.is_some_and(|timeout| call.done_us.saturating_sub(call.at_us) >= timeout);
    call.answer != CallAnswer::Accepted || is_late
}

/// The kill that explains why `later` repeats the accepted call `earlier`; a violation is reported when there is none.
fn excuse(
    history: &History,
    allowances: &Allowances,
    effect: &Effect,
    earlier: &Call,
    later: &Call,
    report: &mut Report,
) -> Option<usize> {
    let gone_us = |kill: &Kill| kill.until_us + allowances.echo_us;
    let lies_between = |kill: &Kill| gone_us(kill) >= earlier.at_us && kill.from_us <= later.at_us;
    let Some(kill) = history.kills.iter().position(lies_between) else {
        report.add(
            Promise::G4,
            "repeat",
            format!(
                "{effect} was accepted at {} and called again at {} without a kill between",
                earlier.done_us, later.at_us
            ),
        );
        return None;
    };
    // The first kill after the call is the one that can have lost the ack.
    let before_us = history.kills.get(kill)?.from_us.saturating_sub(earlier.done_us);
    if before_us > allowances.ack_window_us {
        report.add(
            Promise::G6,
            "again-after-ack",
            format!(
                "{effect} was accepted {before_us} us before the kill, was surely acked, and was called again at {}",
                later.at_us
            ),
        );
        return None;
    }
    Some(kill)
}

fn same_key(effect: &Effect, calls: &[Call], report: &mut Report) {
    let keys: BTreeSet<&str> = calls.iter().map(|call| call.idempotency_key.as_str()).collect();
    if keys.len() > 1 {
        report.add(
            Promise::G4,
            "key-changed",
            format!("{effect} was called with {} idempotency keys: {keys:?}", keys.len()),
        );
    }
}

/// A receiver that drops equal keys would drop a different effect that came with the same one.
fn keys_are_not_shared(history: &History, report: &mut Report) {
    let mut owners: HashMap<(&str, &str), &Effect> = HashMap::new();
    for (effect, calls) in &history.calls {
        let keys: BTreeSet<&str> = calls.iter().map(|call| call.idempotency_key.as_str()).collect();
        for key in keys {
            let owner = *owners.entry((&effect.subscription, key)).or_insert(effect);
            if owner != effect {
                report.add(
                    Promise::G4,
                    "key-shared",
                    format!("{owner} and {effect} share the idempotency key `{key}`"),
                );
            }
        }
    }
}

fn too_many_at_one_kill(history: &History, at_kills: &BTreeMap<(usize, &str), u64>, report: &mut Report) {
    for ((kill, subscription), repeats) in at_kills {
        let max = &mut report.figures.repeats_at_one_kill_max;
        *max = (*max).max(*repeats);
        let limit = history.subscriptions.get(*subscription).and_then(|found| found.repeats_per_kill_max);
        if let Some(limit) = limit
            && *repeats > limit
        {
            report.add(
                Promise::G4,
                "too-many-repeats",
                format!("kill {} made subscription `{subscription}` repeat {repeats} effects, at most {limit} were in flight", kill + 1),
            );
        }
    }
}

fn acked_means_done(history: &History, report: &mut Report) {
    let accepted: BTreeSet<(&str, &str, &str)> = history
        .calls
        .iter()
        .filter(|(_, calls)| calls.iter().any(|call| call.answer == CallAnswer::Accepted))
        .map(|(effect, _)| (effect.subscription.as_str(), effect.event.source.as_str(), effect.event.id.as_str()))
        .collect();
    for (name, subscription) in history.subscriptions.iter().filter(|(_, found)| found.calls_out) {
        for log in history.log.values().flatten().filter(|log| subscription.matches(log)) {
            let is_acked = history.state(name, log.position) == Some(State::Acked);
            if is_acked && !accepted.contains(&(name.as_str(), log.source.as_str(), log.id.as_str())) {
                report.add(
                    Promise::G6,
                    "acked-without-effect",
                    format!(
                        "event `{}` at {} is acked in subscription `{name}`, but no receiver accepted it",
                        log.id, log.position
                    ),
                );
            }
        }
    }
}

impl std::fmt::Display for Effect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.effect.is_empty() {
            write!(f, "the effect of {} through `{}`", self.event, self.subscription)
        } else {
            write!(f, "effect `{}` of {} through `{}`", self.effect, self.event, self.subscription)
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::record::{CallAnswer, Record, State};
    use crate::sample::{Sample, check};

    /// The last event of the sample is called at 400 and answered at 410.
    fn again(kills: &[(u64, u64)]) -> Sample {
        kills.iter().fold(Sample::good(), |sample, (from, until)| sample.kill(*from, *until))
    }

    #[test]
    fn repeat_without_a_reason_is_caught() {
        check(&again(&[]).call(500, "b1"), &["repeat"]);
        check(&again(&[(350, 360)]).call(500, "b1"), &["repeat"]);
        check(&again(&[(600, 610)]).call(500, "b1"), &["repeat"]);
    }

    #[test]
    fn call_that_was_in_the_socket_when_the_host_died_counts_as_before_the_kill() {
        let mut echo = again(&[(350, 360)]).call(500, "b1");
        echo.allowances.echo_us = 40;
        check(&echo, &[]);
        echo.allowances.echo_us = 39;
        check(&echo, &["repeat"]);
    }

    #[test]
    fn each_kill_excuses_one_repeat() {
        check(&again(&[(420, 430)]).call(500, "b1"), &[]);
        check(&again(&[(405, 430)]).call(500, "b1"), &[]);
        check(&again(&[(420, 430)]).call(500, "b1").call(600, "b1"), &["repeat"]);
        check(&again(&[(420, 430), (550, 560)]).call(500, "b1").call(600, "b1"), &[]);
    }

    #[test]
    fn call_long_after_the_ack_is_caught() {
        let mut late = again(&[(5_000, 5_010)]).call(6_000, "b1");
        check(&late, &[]);
        late.allowances.ack_window_us = 1_000;
        check(&late, &["again-after-ack"]);
    }

    #[test]
    fn refused_and_aborted_calls_may_be_repeated() {
        for answer in [CallAnswer::Refused, CallAnswer::Aborted] {
            let sample = Sample::good().edit(|record| {
                if let Record::Call(call) = record
                    && call.id == "b1"
                {
                    call.answer = answer;
                }
            });
            check(&sample, &["acked-without-effect"]);
            check(&sample.call(500, "b1"), &[]);
        }
    }

    #[test]
    fn answer_after_the_timeout_counts_as_none() {
        let slow = |timeout| {
            Sample::good()
                .edit(move |record| {
                    if let Record::Subscription(subscription) = record {
                        subscription.timeout_us = Some(timeout);
                    }
                })
                .call(500, "b1")
        };
        check(&slow(10), &[]);
        check(&slow(11), &["repeat"]);
    }

    #[test]
    fn repeats_beyond_the_calls_in_flight_are_caught() {
        let limited = |limit| {
            again(&[(420, 430)])
                .edit(move |record| {
                    if let Record::Subscription(subscription) = record {
                        subscription.repeats_per_kill_max = Some(limit);
                    }
                })
                .call(500, "b1")
        };
        check(&limited(1), &[]);
        check(&limited(0), &["too-many-repeats"]);
    }

    #[test]
    fn changed_or_shared_idempotency_key_is_caught() {
        let renamed = |sample: Sample, at: u64, key: &str| {
            let key = key.to_owned();
            sample.edit(move |record| {
                if let Record::Call(call) = record
                    && call.at_us == at
                {
                    call.idempotency_key = key.clone();
                }
            })
        };
        check(&renamed(again(&[(420, 430)]).call(500, "b1"), 500, "new"), &["key-changed"]);
        check(&renamed(Sample::good(), 400, "key-a1"), &["key-shared"]);
    }

    #[test]
    fn ack_without_an_effect_is_caught() {
        check(
            &Sample::good().without(|record| matches!(record, Record::Call(call) if call.id == "b1")),
            &["acked-without-effect"],
        );
    }

    #[test]
    fn effect_of_an_event_that_is_not_stored_is_caught() {
        check(&Sample::good().call(900, "ghost"), &["delivered-not-stored"]);
    }

    #[test]
    fn dead_event_needs_no_effect() {
        let sample =
            Sample::good().without(|record| matches!(record, Record::Call(call) if call.id == "b1")).edit(|record| {
                if let Record::State(row) = record
                    && row.position.offset == 4
                {
                    row.state = State::Dead;
                }
            });
        check(&sample, &[]);
    }
}
