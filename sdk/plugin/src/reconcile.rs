//! The host asks what became of an effect that may have happened, before it lets it be done again (`uncertain = "ask"`).
//!
//! The author's function looks it up at the provider; this turns its answer into the contract's. Invariant: whatever goes wrong in the
//! author's function is `unknown`, never "not sent".

use crate::host::wit::types;
use crate::parcel::Parcel;
use crate::raw::reconciling::exports::bugle::plugin::reconcile as wit;
use crate::{Cx, Event, Failure, Found};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What the host knows of the effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    key: String,
    reference: String,
}

impl Doubt {
    /// The key of the claim: what was given to `once` or `claim`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How the attempt before ended: the reference of its `unknown`, or a reason; empty if the host does not know.
    pub fn reference(&self) -> &str {
        &self.reference
    }
}

/// Ask the author's function. Its receipt is kept as `once` keeps one, so that `once` reads it.
pub fn reconcile<T, R, F>(delivery: types::Delivery, about: wit::Doubt, ask: F) -> wit::Answer
where
    T: DeserializeOwned + 'static,
    R: Serialize,
    F: FnOnce(&Cx, &Event<T>, &Doubt) -> Result<Found<R>, Failure>,
{
    let delivery = Parcel::of(&delivery);
    let cx = Cx::new(delivery.clone());
    let event = match Event::decode(delivery) {
        Ok(event) => event,
        Err(reason) => return wit::Answer::Unknown(reason),
    };
    let doubt = Doubt { key: about.key, reference: about.reference };
    match ask(&cx, &event, &doubt) {
        Ok(Found::Done(receipt)) => wit::Answer::Done(serde_json::to_vec(&receipt).ok().filter(|text| text != b"null")),
        Ok(Found::NotDone) => wit::Answer::NotSent,
        Ok(Found::Unclear) => wit::Answer::Unknown("the provider does not know".to_owned()),
        Err(failure) => wit::Answer::Unknown(why(failure)),
    }
}

fn why(failure: Failure) -> String {
    match failure {
        Failure::Retry { reason, .. } | Failure::Reject(reason) => reason,
        Failure::Unknown(reference) => format!("the question to the provider got no answer {reference}"),
        Failure::Defer(_) => "the provider asks to wait".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::{self, Host, Reply};
    use crate::prelude::*;

    fn sms(cx: &Cx, _: Event<()>) -> Outcome {
        cx.once("order 7", || Ok(cx.post("https://sms.example/").send()?.text().into_owned()))
    }

    fn asked(cx: &Cx, _: &Event<()>, doubt: &Doubt) -> Result<Found<String>, Failure> {
        assert_eq!(doubt.key(), "order 7");
        let reply = cx.get(&format!("https://sms.example/{}", cx.idempotency_key())).send()?;
        match reply.status() {
            200 => Ok(Found::Done(reply.text().into_owned())),
            404 => Ok(Found::NotDone),
            _ => Ok(Found::Unclear),
        }
    }

    /// The first attempt got no answer.
    fn doubtful() -> Host {
        let host = Host::new().attribute("uncertain", "ask");
        host.reconciles(asked);
        host.reply(Reply::maybe_sent());
        assert_eq!(host.deliver(sms, mock::event("1")).settled(), unknown(""));
        host
    }

    fn methods(host: &Host) -> Vec<String> {
        host.requests().into_iter().map(|request| request.method).collect()
    }

    #[test]
    fn what_the_provider_has_is_not_sent_again() {
        let host = doubtful();
        host.reply(Reply::status(200));
        host.deliver(sms, mock::event("1")).expect_ack();
        assert_eq!(methods(&host), ["POST", "GET"]);
        host.deliver(sms, mock::event("1")).expect_ack();
        assert_eq!(methods(&host), ["POST", "GET"], "and nobody asks again");
    }

    #[test]
    fn what_it_has_not_is_sent() {
        let host = doubtful();
        host.reply(Reply::status(404)).reply(Reply::status(200));
        host.deliver(sms, mock::event("1")).expect_ack();
        assert_eq!(methods(&host), ["POST", "GET", "POST"]);
    }

    #[test]
    fn what_cannot_be_told_is_not_sent() {
        let host = doubtful();
        host.reply(Reply::status(503)).reply(Reply::maybe_sent());
        for _ in 0..2 {
            assert!(matches!(host.deliver(sms, mock::event("1")).settled(), Err(Failure::Unknown(_))));
        }
        assert_eq!(methods(&host), ["POST", "GET", "GET"]);
    }
}
