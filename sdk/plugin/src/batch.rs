//! Several deliveries in one call: what a batch channel is handed, and how its verdicts find their deliveries.
//!
//! It holds no state between calls. Its invariant: data that does not decode is rejected before the author's function runs, which
//! then sees only the others.

use crate::host::wit::types;
use crate::parcel::Parcel;
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
    let outcomes = run(deliveries.iter().map(Parcel::of).collect(), channel);
    outcomes.into_iter().map(|outcome| outcome.map_err(types::Failure::from)).collect()
}

/// See [`handle_batch`].
pub(crate) fn run<T, F>(deliveries: Vec<Parcel>, channel: F) -> Vec<Outcome>
where
    T: DeserializeOwned + 'static,
    F: FnOnce(&[Delivery<T>]) -> Vec<Outcome>,
{
    let mut decoded = Vec::with_capacity(deliveries.len());
    let mut rejected = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        let cx = Cx::new(delivery.clone());
        match Event::decode(delivery) {
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
        fn each(batch: &[Delivery<Push>]) -> Vec<Outcome> {
            for Delivery { cx, .. } in batch {
                assert_eq!(cx.kv().add("sent", 1, None), Ok(()));
                drop(cx.get("https://push.example/next").send());
                assert_eq!((cx.ack(), cx.ack()), (Ok(()), Ok(())), "the same answer again");
                assert!(cx.kv().add("late", 1, None).is_err(), "it has its verdict");
                assert!(cx.settle(reject("no")).is_err());
            }
            batch.iter().map(|_| retry(None, "counts no more")).collect()
        }
        let host = Host::new();
        host.reply(Reply::status(200)).reply(Reply::status(200)).reply(Reply::crash());
        let verdicts = host.deliver_batch(each, vec![to("1", "a"), to("2", "b"), to("3", "c")]);
        assert_eq!(verdicts, [Verdict::Acked, Verdict::Acked, Verdict::Crashed]);
        assert_eq!(host.kv("sent").as_deref(), Some("2"));
        host.reply(Reply::status(200));
        assert_eq!(host.deliver_batch(each, vec![to("3", "c")]), [Verdict::Acked], "it runs again alone");
        assert_eq!((host.kv("sent").as_deref(), host.kv("late")), (Some("3"), None));
    }

    /// The example of the plugin guide.
    fn bulk(batch: &[Delivery<Push>]) -> Vec<Outcome> {
        let message = |one: &Delivery<Push>| json!({ "to": one.event.to, "id": one.cx.idempotency_key() });
        let messages: Vec<Value> = batch.iter().map(message).collect();
        match send(&batch[0].cx, &messages) {
            Ok(tickets) => tickets.iter().map(verdict).collect(),
            Err(failure) => batch.iter().map(|_| Err(failure.clone())).collect(),
        }
    }

    fn send(cx: &Cx, messages: &[Value]) -> Result<Vec<Value>, Failure> {
        let reply = cx.post("https://push.example/push/send").json(&messages).send()?;
        match reply.status() {
            200 => Ok(reply.json::<Vec<Value>>()?),
            429 | 500.. => retry(reply.retry_after(), "provider busy"),
            status => reject(format!("provider said {status}")),
        }
    }

    fn verdict(ticket: &Value) -> Outcome {
        match ticket["status"].as_str() {
            Some("ok") => Ok(()),
            Some("gone") => reject("the device is not registered any more"),
            _ => retry(None, "not taken"),
        }
    }

    #[test]
    fn one_request_for_many_settles_each_by_what_the_provider_says_of_it() {
        let host = Host::new();
        host.reply(Reply::status(200).json(&json!([{ "status": "ok" }, { "status": "gone" }, {}])));
        let verdicts = host.deliver_batch(bulk, vec![to("1", "a"), to("2", "b"), to("3", "c")]);
        let settled: Vec<Outcome> = verdicts.into_iter().map(Verdict::settled).collect();
        assert_eq!(settled, [Ok(()), reject("the device is not registered any more"), retry(None, "not taken")]);
        assert_eq!(host.requests().len(), 1);
        host.reply(Reply::status(503));
        let verdicts = host.deliver_batch(bulk, vec![to("4", "a"), to("5", "b")]);
        assert!(verdicts.into_iter().all(|verdict| verdict.settled() == retry(None, "provider busy")));
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
