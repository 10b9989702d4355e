//! Several deliveries in one call: what a batch channel is handed, and how its verdicts find their deliveries.
//!
//! It holds no state between calls. Its invariant: data that does not decode is rejected before the author's function runs, which
//! then sees only the others.

use crate::host::wit::types;
use crate::{Cx, Event, Failure, Outcome};
use serde::de::DeserializeOwned;

/// One delivery of a batch.
#[derive(Debug)]
pub struct Delivery<T> {
    /// What may be done for it; every call of it concerns this delivery alone.
    pub cx: Cx,
    /// Its event.
    pub event: Event<T>,
}

/// Run the deliveries of one call.
///
/// # Panics
/// The author's function returned another number of verdicts than it was given deliveries. The host takes that for a trap: what
/// was not settled at the call runs again, one by one.
pub fn handle_batch<T, F>(deliveries: Vec<types::Delivery>, channel: F) -> Vec<Result<(), types::Failure>>
where
    T: DeserializeOwned + 'static,
    F: FnOnce(&[Delivery<T>]) -> Vec<Outcome>,
{
    let outcomes = run(deliveries, channel);
    outcomes.into_iter().map(|outcome| outcome.map_err(types::Failure::from)).collect()
}

/// See [`handle_batch`].
pub(crate) fn run<T, F>(deliveries: Vec<types::Delivery>, channel: F) -> Vec<Outcome>
where
    T: DeserializeOwned + 'static,
    F: FnOnce(&[Delivery<T>]) -> Vec<Outcome>,
{
    let mut decoded = Vec::with_capacity(deliveries.len());
    let mut rejected = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        let cx = Cx::new(&delivery);
        match Event::decode(delivery.event, delivery.business_key) {
            Ok(event) => {
                decoded.push(Delivery { cx, event });
                rejected.push(None);
            }
            Err(reason) => rejected.push(Some(Failure::Reject(reason))),
        }
    }
    let verdicts = if decoded.is_empty() { Vec::new() } else { channel(&decoded) };
    assert!(
        verdicts.len() == decoded.len(),
        "the batch channel returned {} verdicts for {} deliveries; return one for each, in their order",
        verdicts.len(),
        decoded.len()
    );
    let mut verdicts = verdicts.into_iter();
    // Each that was not rejected has its verdict: the numbers are equal.
    rejected.into_iter().map(|rejected| rejected.map_or_else(|| verdicts.next().unwrap_or(Ok(())), Err)).collect()
}

#[cfg(test)]
mod tests {
    use crate::mock::{self, Host, Reply, Verdict};
    use crate::prelude::*;

    #[derive(Deserialize)]
    struct Push {
        to: String,
    }

    fn to(id: &str, to: &str) -> mock::EventBuilder {
        mock::event(id).json(&json!({ "to": to }))
    }

    /// Counts each delivery in its own kv entry; who is called `stop` is tried again.
    fn push(batch: &[Delivery<Push>]) -> Vec<Outcome> {
        let one = |delivery: &Delivery<Push>| {
            delivery.cx.kv().add(&delivery.event.to, 1, None)?;
            if delivery.event.to == "stop" { retry(None, "not now") } else { Ok(()) }
        };
        batch.iter().map(one).collect()
    }

    #[test]
    fn each_delivery_has_its_own_verdict_and_effects() {
        let host = Host::new();
        let verdicts = host.deliver_batch(push, vec![to("1", "a"), to("2", "stop"), to("3", "b")]);
        let failed = retry(None, "not now");
        assert_eq!(verdicts.into_iter().map(Verdict::settled).collect::<Vec<_>>(), [Ok(()), failed, Ok(())]);
        let counted = |name: &str| host.kv(name);
        assert_eq!((counted("a"), counted("stop"), counted("b")), (Some("1".into()), None, Some("1".into())));
    }

    #[test]
    fn data_that_does_not_decode_is_rejected_and_the_others_are_handled() {
        let verdicts = Host::new().deliver_batch(push, vec![to("1", "a"), mock::event("2").data(b"{}"), to("3", "b")]);
        let settled: Vec<Outcome> = verdicts.into_iter().map(Verdict::settled).collect();
        assert!(settled[0].is_ok() && settled[2].is_ok());
        assert!(matches!(&settled[1], Err(Failure::Reject(reason)) if reason.contains("data of event `2`")));
    }

    #[test]
    fn what_was_settled_at_the_call_stands_when_the_call_then_crashes() {
        fn send(batch: &[Delivery<Push>]) -> Vec<Outcome> {
            for delivery in batch {
                let sent = delivery.cx.kv().add("sent", 1, None).and_then(|()| delivery.cx.ack());
                assert_eq!(sent, Ok(()));
                assert_eq!(delivery.cx.ack(), Ok(()), "the same answer again");
                assert!(delivery.cx.kv().add("late", 1, None).is_err(), "it has its verdict");
                drop(delivery.cx.get("https://push.example/next").send());
            }
            batch.iter().map(|_| Ok(())).collect()
        }
        let host = Host::new();
        host.reply(Reply::status(200)).reply(Reply::crash());
        let events = vec![to("1", "a"), to("2", "b"), to("3", "c")];
        // The second delivery is settled before the request after it crashes the call; the third was not reached.
        fn stale(verdict: &Verdict) -> bool {
            *verdict == Verdict::Acked
        }
        host.reply(Reply::status(200));
        let verdicts = host.deliver_batch(send, events);
        assert_eq!(verdicts.iter().map(stale).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(host.kv("sent").as_deref(), Some("2"));
        assert_eq!(host.deliver_batch(push, vec![to("3", "c")]), [Verdict::Acked]);
    }

    #[test]
    #[should_panic(expected = "returned 1 verdicts for 2 deliveries")]
    fn another_number_of_verdicts_is_a_trap() {
        fn short(_: &[Delivery<Push>]) -> Vec<Outcome> {
            vec![Ok(())]
        }
        drop(Host::new().deliver_batch(short, vec![to("1", "a"), to("2", "b")]));
    }
}
