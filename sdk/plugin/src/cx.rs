//! What a channel function may do, and what it may know of its delivery.
//!
//! Everything hangs on the ticket inside, valid for this one call; the host checks it at each use.
//! It decides nothing: each method is one host call or the start of a builder.

use crate::error::HostError;
use crate::host::{self, millis, wit};
use crate::once::Claim;
use crate::parcel::{Parcel, Text};
use crate::verdict::{Failure, Outcome};
use crate::{Config, FanOut, Kv, Mail, Note, Publish, Request, SendRecord};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The delivery at hand. Passed to the channel function; cannot outlive the call.
#[derive(Debug)]
pub struct Cx {
    delivery: Parcel,
}

/// What [`Cx::sign`] computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mac {
    /// HMAC-SHA256, 32 bytes.
    HmacSha256,
    /// HMAC-SHA512, 64 bytes.
    HmacSha512,
}

impl Cx {
    pub(crate) fn new(delivery: Parcel) -> Self {
        Self { delivery }
    }

    /// Of a timer that fires: what else is known of it is asked for.
    pub(crate) fn of_timer(ticket: u64) -> Self {
        let ask = |name: &str| host::ack::attribute(ticket, name).ok().flatten().unwrap_or_default();
        Self::new(Parcel::of(&wit::types::Delivery {
            ticket,
            attempt: ask("attempt").parse().unwrap_or(1),
            idempotency_key: ask("idempotency-key"),
            deadline: ask("deadline").parse().unwrap_or_default(),
            priority: ask("priority"),
            ..nothing()
        }))
    }

    /// The raw ticket, for [`crate::raw`].
    pub fn ticket(&self) -> u64 {
        self.delivery.ticket
    }

    /// 1 for the first attempt.
    pub fn attempt(&self) -> u32 {
        self.delivery.attempt
    }

    /// The same on every attempt of this delivery and on no other.
    pub fn idempotency_key(&self) -> &str {
        self.delivery.text(Text::IdempotencyKey)
    }

    /// `critical`, `normal` or `low`.
    pub fn priority(&self) -> &str {
        self.delivery.text(Text::Priority)
    }

    /// Wall time now; virtual in the mock.
    pub fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(host::now())
    }

    /// Time left before this attempt is cut off.
    pub fn remaining(&self) -> Duration {
        Duration::from_millis(self.delivery.deadline.saturating_sub(host::now()))
    }

    /// Give the verdict now. In a batch it takes effect at once: this delivery is done with everything it did, whatever becomes of
    /// the rest of the call. In a call for one delivery it takes effect when the function returns, and what that returns counts
    /// no more.
    ///
    /// # Errors
    /// `settled` if it has another verdict, `stale` if its time had run out, `conflict` if another delivery changed what this one
    /// read (it runs again by itself), `invalid` for `unknown`, which can only be returned.
    pub fn settle(&self, outcome: Outcome) -> Result<(), HostError> {
        let t = self.delivery.ticket;
        match outcome {
            Ok(()) => host::ack::ack(t)?,
            Err(Failure::Retry { after, reason, fault }) => {
                host::ack::nack(t, &wit::types::Retry { after: after.map(millis), reason, fault: fault.into() })?;
            }
            Err(Failure::Reject(reason)) => host::ack::reject(t, &reason)?,
            Err(Failure::Defer(time)) => host::ack::defer(t, host::now().saturating_add(millis(time)))?,
            Err(Failure::Unknown(_)) => {
                return Err(HostError::invalid("`unknown` can only be returned by the function"));
            }
        }
        Ok(())
    }

    /// [`Cx::settle`] as done.
    ///
    /// # Errors
    /// As [`Cx::settle`].
    pub fn ack(&self) -> Result<(), HostError> {
        self.settle(Ok(()))
    }

    /// Ask for more time; returns what is now left.
    ///
    /// # Errors
    /// The host's.
    pub fn extend(&self, by: Duration) -> Result<Duration, HostError> {
        Ok(Duration::from_millis(host::ack::extend(self.delivery.ticket, millis(by))?))
    }

    /// Anything else the host knows of this delivery; names in `wit/ack.wit`.
    pub fn attribute(&self, name: &str) -> Option<String> {
        host::ack::attribute(self.delivery.ticket, name).ok().flatten()
    }

    /// Stop the subscription, together with this delivery's verdict, until a person resumes it.
    ///
    /// # Errors
    /// `denied` without the grant `pause = true`.
    pub fn pause_subscription(&self, reason: &str) -> Result<(), HostError> {
        Ok(host::ack::pause_subscription(self.delivery.ticket, reason)?)
    }

    /// Do an effect once per key, and be done: claim, run, confirm with what it returned.
    /// [`Cx::claim`] has the details and choices.
    ///
    /// # Errors
    /// The failure that the effect returned; `defer` while another delivery holds the key; `unknown`
    /// if an earlier attempt may have done it.
    pub fn once<R: Serialize>(&self, key: &str, effect: impl FnOnce() -> Result<R, Failure>) -> Outcome {
        self.claim::<serde_json::Value>(key).run(|| Ok(serde_json::to_value(effect()?).unwrap_or_default())).map(drop)
    }

    /// Do an effect once per key, with choices.
    pub fn claim<R: Serialize + DeserializeOwned>(&self, key: &str) -> Claim<'_, R> {
        Claim::new(self, key)
    }

    /// How many later events of this ordering key are known to wait.
    ///
    /// # Errors
    /// The host's.
    pub fn waiting(&self) -> Result<u32, HostError> {
        Ok(host::ordering::waiting(self.delivery.ticket)?)
    }

    /// After the ack, start no further event of this ordering key for that long.
    ///
    /// # Errors
    /// `invalid` without an ordering key or over 24 hours.
    pub fn hold(&self, time: Duration) -> Result<(), HostError> {
        Ok(host::ordering::hold(self.delivery.ticket, millis(time))?)
    }

    /// A GET request. A URL that starts with `/` is joined to the setting `url`.
    pub fn get(&self, url: &str) -> Request<'_> {
        self.request("GET", url)
    }

    /// A POST request.
    pub fn post(&self, url: &str) -> Request<'_> {
        self.request("POST", url)
    }

    /// A PUT request.
    pub fn put(&self, url: &str) -> Request<'_> {
        self.request("PUT", url)
    }

    /// A DELETE request.
    pub fn delete(&self, url: &str) -> Request<'_> {
        self.request("DELETE", url)
    }

    /// Any request.
    pub fn request(&self, method: &str, url: &str) -> Request<'_> {
        Request::new(self, method, url)
    }

    /// A mail by the host's relay.
    pub fn mail(&self) -> Mail<'_> {
        Mail::new(self)
    }

    /// The plugin's store.
    pub fn kv(&self) -> Kv<'_> {
        Kv::new(self)
    }

    /// One event to very many recipients, page by page, over crashes and redeploys; `name` tells fan-outs of one event apart.
    pub fn fan_out(&self, name: &str) -> FanOut<'_> {
        FanOut::new(self, name)
    }

    /// A follow-up event of this `type`, visible with the ack.
    pub fn publish(&self, topic: &str, kind: &str) -> Publish<'_> {
        Publish::new(self, topic, kind)
    }

    /// Note what became of a send: the row of this event and recipient.
    pub fn note(&self, recipient: &str, status: &str) -> Note<'_> {
        Note::new(self, recipient, status)
    }

    /// Send records of this subscription about `business_key`, newest first.
    ///
    /// # Errors
    /// The host's.
    pub fn find_records(&self, business_key: &str, recipient: Option<&str>) -> Result<Vec<SendRecord>, HostError> {
        Ok(host::records::find(business_key, recipient)?)
    }

    /// MAC of `data` with a secret that the plugin never sees.
    ///
    /// # Errors
    /// `denied`, `not-found`, or `invalid` if a `whsec_` secret does not decode.
    pub fn sign(&self, secret: &str, algorithm: Mac, data: &[u8]) -> Result<Vec<u8>, HostError> {
        crate::sign(secret, algorithm, data)
    }

    /// A secret itself; prefer [`Cx::sign`] or a header binding in the manifest.
    ///
    /// # Errors
    /// `denied` without `uses = ["reveal"]`, `not-found`.
    pub fn reveal(&self, secret: &str) -> Result<Vec<u8>, HostError> {
        Ok(host::secrets::reveal(secret)?)
    }

    /// The subscription's settings.
    pub fn config(&self) -> Config {
        Config::default()
    }
}

/// A delivery of no event.
fn nothing() -> wit::types::Delivery {
    let event = wit::types::Event {
        id: String::new(),
        source: String::new(),
        kind: String::new(),
        subject: None,
        topic: String::new(),
        position: String::new(),
        key: None,
        time: 0,
        content_type: None,
        attributes: Vec::new(),
        data: Vec::new(),
    };
    wit::types::Delivery {
        ticket: 0,
        event,
        attempt: 1,
        idempotency_key: String::new(),
        business_key: String::new(),
        deadline: 0,
        priority: String::new(),
    }
}

/// As [`Cx::sign`], for a config check, which has no delivery.
///
/// # Errors
/// As [`Cx::sign`].
pub fn sign(secret: &str, algorithm: Mac, data: &[u8]) -> Result<Vec<u8>, HostError> {
    let algorithm = match algorithm {
        Mac::HmacSha256 => "hmac-sha256",
        Mac::HmacSha512 => "hmac-sha512",
    };
    Ok(host::secrets::sign(secret, algorithm, data)?)
}
