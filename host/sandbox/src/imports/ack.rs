//! `ack`: verdicts by call, more time, what else is known of the delivery, pausing the subscription.
//!
//! Which verdict wins is the core's decision.

use bugle_core::code::Code;
use bugle_core::delivery::{Fault, Retry};
use bugle_core::import::{Import, Reply};
use bugle_core::time::{Millis, Timestamp};
use std::time::Duration;
use tokio::time::Instant;

use super::{cut, denied, done, error, unexpected};
use crate::bindings::bugle::plugin::{ack, types};
use crate::calls::HostCalls;
use crate::rights::Right;
use crate::state::State;

/// Reasons are for people.
pub(crate) const REASON_BYTES_MAX: usize = 1 << 10;
/// Furthest `defer`, as the plugin contract says.
const DEFER_MAX: Millis = Millis::from_secs(30 * 24 * 3600);

impl<C: HostCalls> ack::Host for State<C> {
    async fn ack(&mut self, t: types::Ticket) -> Result<(), types::Error> {
        self.ask(t, Import::Ack).await.and_then(done)
    }

    async fn nack(&mut self, t: types::Ticket, why: types::Retry) -> Result<(), types::Error> {
        self.ask(t, Import::Nack(retry(why))).await.and_then(done)
    }

    async fn reject(&mut self, t: types::Ticket, reason: String) -> Result<(), types::Error> {
        self.ask(t, Import::Reject(cut(reason, REASON_BYTES_MAX))).await.and_then(done)
    }

    async fn defer(&mut self, t: types::Ticket, until: types::Instant) -> Result<(), types::Error> {
        let latest = self.live(t)?.now().after(DEFER_MAX);
        if Timestamp(until) > latest {
            return Err(error(Code::Invalid, "a delivery can be deferred by 30 days at most"));
        }
        self.ask(t, Import::Defer(Timestamp(until))).await.and_then(done)
    }

    async fn extend(&mut self, t: types::Ticket, by: types::Millis) -> Result<types::Millis, types::Error> {
        match self.ask(t, Import::Extend(Millis(by))).await? {
            Reply::Granted(Millis(left)) => {
                let at = Instant::now().checked_add(Duration::from_millis(left));
                if let Some(at) = at.filter(|at| *at > self.deadline.at()) {
                    self.deadline.set(at);
                }
                Ok(left)
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn attribute(&mut self, t: types::Ticket, name: String) -> Result<Option<String>, types::Error> {
        let delivery = self.live(t)?.delivery();
        let (may_resend, is_for_a_person) = (delivery.may_resend, delivery.is_for_a_person);
        let of_delivery = match name.as_str() {
            "attempt" => Some(delivery.attempt.0.to_string()),
            "idempotency-key" => Some(delivery.idempotency_key.clone()),
            "deadline" => Some(delivery.deadline.0.to_string()),
            "priority" => Some(delivery.event.event.class().word().to_owned()),
            _ => None,
        };
        if of_delivery.is_some() {
            return Ok(of_delivery);
        }
        Ok(match name.as_str() {
            "subscription" => Some(self.rights.subscription.to_string()),
            "plugin" => Some(self.rights.plugin.clone()),
            "revision" => Some(self.rights.revision.clone()),
            // Replays that edit an event are not served yet, so every delivery is of the first generation.
            "generation" => Some("0".to_owned()),
            // A person's word goes before the policy.
            "uncertain" if may_resend => Some("resend".to_owned()),
            "uncertain" if is_for_a_person => Some("park".to_owned()),
            "uncertain" => self.rights.uncertain.clone(),
            _ => None,
        })
    }

    async fn pause_subscription(&mut self, t: types::Ticket, reason: String) -> Result<(), types::Error> {
        self.live(t)?;
        self.rights.check(Right::Pause).map_err(denied)?;
        self.ask(t, Import::PauseSubscription(cut(reason, REASON_BYTES_MAX))).await.and_then(done)
    }
}

/// A guest's retry in the core's words.
pub(crate) fn retry(why: types::Retry) -> Retry {
    Retry {
        after: why.after.map(Millis),
        reason: cut(why.reason, REASON_BYTES_MAX),
        fault: match why.fault {
            types::Fault::Event => Fault::Event,
            types::Fault::Channel => Fault::Channel,
        },
    }
}
