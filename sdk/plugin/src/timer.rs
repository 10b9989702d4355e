//! Timers: the plugin asks to be woken up later, and is, once, with a delivery of its own.
//!
//! Set and cancelled with the ack, like kv writes. Invariant: the function of a timer can do what a channel can, and its verdict counts the
//! same.

use crate::cx::Cx;
use crate::error::HostError;
use crate::host::{self, millis, wit};
use crate::verdict::Outcome;
use serde::de::DeserializeOwned;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A timer that fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    name: String,
    data: Vec<u8>,
}

impl Timer {
    pub(crate) fn new(name: String, data: Vec<u8>) -> Timer {
        Timer { name, data }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it was given when it was set.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The same as JSON.
    ///
    /// # Errors
    /// `invalid` if it is none, which `?` turns into a reject.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, HostError> {
        serde_json::from_slice(&self.data).map_err(|error| {
            HostError::invalid(format!("the data of timer `{}` is not what was expected: {error}", self.name))
        })
    }
}

impl Cx {
    /// Be woken up at that time, at most a year ahead; moves a timer of that name that waits. Counts with the ack.
    ///
    /// # Errors
    /// `denied` without the grant `timers = true`, `invalid`, `too-large` over 4 KiB of data, `quota`, `unsupported` if the plugin has no
    /// `#[channel(timer = ...)]`.
    pub fn set_timer(&self, name: &str, at: SystemTime, data: &[u8]) -> Result<(), HostError> {
        let at = millis(at.duration_since(UNIX_EPOCH).unwrap_or_default());
        Ok(host::timers::set(self.ticket(), name, at, data)?)
    }

    /// [`Cx::set_timer`], so long from now.
    ///
    /// # Errors
    /// As [`Cx::set_timer`].
    pub fn set_timer_in(&self, name: &str, after: Duration, data: &[u8]) -> Result<(), HostError> {
        self.set_timer(name, self.now() + after, data)
    }

    /// End a timer; says whether there was one. Counts with the ack, and a timer that falls due before that fires.
    ///
    /// # Errors
    /// As [`Cx::set_timer`].
    pub fn cancel_timer(&self, name: &str) -> Result<bool, HostError> {
        Ok(host::timers::cancel(self.ticket(), name)?)
    }
}

/// Run the author's function for a timer.
///
/// # Errors
/// The author's verdict.
pub fn fire(
    ticket: u64,
    name: String,
    data: Vec<u8>,
    fired: impl FnOnce(&Cx, Timer) -> Outcome,
) -> Result<(), wit::types::Failure> {
    Ok(fired(&Cx::of_timer(ticket), Timer::new(name, data))?)
}

#[cfg(test)]
mod tests {
    use crate::mock::{self, Host, Verdict};
    use crate::prelude::*;

    /// Reminds of an order that nobody paid, unless somebody did.
    fn remind(cx: &Cx, event: Event<Value>) -> Outcome {
        let name = format!("remind/{}", event.subject().unwrap_or_default());
        match event.kind() {
            "order.placed" => cx.set_timer_in(&name, Duration::from_secs(1800), event.data())?,
            "order.paid" => info!("was set: {}", cx.cancel_timer(&name)?),
            _ => return reject("unknown"),
        }
        if event.attribute("fails").is_some() { retry(None, "after the timer") } else { Ok(()) }
    }

    fn reminded(cx: &Cx, timer: Timer) -> Outcome {
        let order: Value = timer.json()?;
        cx.publish("reminders", "order.unpaid").json(&order).send()?;
        if cx.attempt() == 1 { retry(None, "once more") } else { Ok(()) }
    }

    fn placed() -> mock::EventBuilder {
        mock::event("1").kind("order.placed").subject("7").json(&json!({ "order": 7 }))
    }

    #[test]
    fn a_timer_waits_with_the_ack_and_fires_until_it_is_acked() {
        let host = Host::new();
        let failing = host.deliver(remind, placed().attribute("fails", "yes"));
        assert!(failing.settled().is_err() && host.timers().is_empty(), "a failed attempt sets nothing");
        host.deliver(remind, placed()).expect_ack();
        assert_eq!(host.timers().len(), 1);
        host.advance(Duration::from_secs(1799));
        assert!(host.fire(reminded, "remind/7").is_none(), "never early");
        host.advance(Duration::from_secs(1));
        assert!(matches!(host.fire(reminded, "remind/7"), Some(Verdict::Failed(_))));
        assert!(host.published().is_empty());
        host.fire(reminded, "remind/7").unwrap().expect_ack();
        assert_eq!(host.published().len(), 1);
        assert!(host.fire(reminded, "remind/7").is_none() && host.timers().is_empty(), "once");
    }

    #[test]
    fn one_that_is_cancelled_does_not_fire() {
        let host = Host::new();
        host.deliver(remind, placed()).expect_ack();
        let paid = |id: &str| mock::event(id).kind("order.paid").subject("7").json(&json!({}));
        host.deliver(remind, paid("2")).expect_ack();
        host.deliver(remind, paid("3")).expect_ack();
        host.advance(Duration::from_secs(3600));
        assert!(host.fire(reminded, "remind/7").is_none());
        assert_eq!(host.logs(), ["info was set: true", "info was set: false"]);
        let host = Host::new().deny("timers");
        let Err(Failure::Retry { reason, .. }) = host.deliver(remind, placed()).settled() else { panic!("denied") };
        assert!(reason.contains("timers"), "{reason}");
    }
}
