//! A host in memory, for plain `cargo test` of a plugin's logic.
//!
//! Script what the outside answers, deliver events, look at what came of it. Time is virtual. It follows the contract
//! in `wit/` for claims, buffering, settlement and errors, but has no limits, egress rules or lanes: those
//! are the real host's. Invariant: only an ack (or a confirmed claim) makes buffered writes visible.
//!
//! ```ignore
//! let host = mock::Host::new().config("url", "https://sms.example");
//! host.reply(Reply::status(503).header("retry-after", "7"));
//! let verdict = host.deliver(sms, mock::event("1").json(&json!({ "to": "+49", "text": "hi" })));
//! assert_eq!(verdict.settled(), retry(Duration::from_secs(7), "provider busy"));
//! ```

mod callback;
mod event;
pub(crate) mod imports;
mod reply;
mod state;

pub use callback::{CallbackBuilder, callback};
pub use event::{EventBuilder, event};
pub use reply::{MailReply, Reply};

use crate::Timer;
use crate::host::wit;
use crate::parcel::Parcel;
use crate::{Callback, Cx, Delivery, Doubt, Event, Failure, Found, Outcome, Status, batch};
use serde::Serialize;
use serde::de::DeserializeOwned;
use state::{Asked, State};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

/// A request as the receiver would see it.
pub type SentRequest = wit::http::Request;
/// A mail as the relay would see it.
pub type SentMail = wit::mail::Message;
/// A follow-up event that became visible.
pub type PublishedEvent = wit::types::NewEvent;
/// A note that was kept.
pub type KeptNote = wit::records::SendNote;

/// The host. Make one per test.
#[derive(Debug, Default)]
pub struct Host {
    state: Rc<RefCell<State>>,
}

/// What became of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Done.
    Acked,
    /// The plugin said why not.
    Failed(Failure),
    /// A scripted crash ended the attempt ([`Reply::crash`]).
    Crashed,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<RefCell<State>>>> = const { RefCell::new(None) };
}

impl Host {
    /// An empty host: every grant given, nothing scripted.
    pub fn new() -> Self {
        Self::default()
    }

    /// A setting of the subscription, as text.
    pub fn config(self, name: &str, value: &str) -> Self {
        self.state.borrow_mut().config.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A secret.
    pub fn secret(self, name: &str, value: &str) -> Self {
        self.state.borrow_mut().secrets.insert(name.to_owned(), value.as_bytes().to_vec());
        self
    }

    /// Take a grant away: `http`, `mail`, `kv`, `timers`, `publish`, `pause` or `secrets`.
    pub fn deny(self, grant: &str) -> Self {
        self.state.borrow_mut().denied.insert(grant.to_owned());
        self
    }

    /// What [`Cx::attribute`] answers; `uncertain` sets the operator's policy.
    pub fn attribute(self, name: &str, value: &str) -> Self {
        self.state.borrow_mut().attributes.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The answer to the next request that has none yet.
    pub fn reply(&self, reply: Reply) -> &Self {
        self.state.borrow_mut().replies.push_back(reply);
        self
    }

    /// The relay's answer to the next mail that has none yet; by default it accepts.
    pub fn mail_reply(&self, reply: MailReply) -> &Self {
        self.state.borrow_mut().mail_replies.push_back(reply);
        self
    }

    /// Make another delivery hold this claim.
    pub fn hold_claim(&self, key: &str) -> &Self {
        self.state.borrow_mut().claims.insert(key.to_owned(), state::Slot::Held);
        self
    }

    /// The plugin's `reconcile`: asked about uncertain claims when the policy is `ask` ([`Host::attribute`]).
    pub fn reconciles<T, R, F>(&self, ask: F)
    where
        T: DeserializeOwned + 'static,
        R: Serialize + 'static,
        F: Fn(&Cx, &Event<T>, &Doubt) -> Result<Found<R>, Failure> + 'static,
    {
        let ask = move |delivery: wit::types::Delivery, doubt| crate::reconcile(delivery, doubt, &ask);
        self.state.borrow_mut().asked = Some(Asked(Rc::new(ask)));
    }

    /// Let time pass: claims and kv entries expire.
    pub fn advance(&self, time: Duration) {
        self.state.borrow_mut().now += crate::host::millis(time);
    }

    /// Deliver an event; the same event again is the next attempt.
    pub fn deliver<T, F>(&self, channel: F, event: EventBuilder) -> Verdict
    where
        T: DeserializeOwned + 'static,
        F: FnOnce(&Cx, Event<T>) -> Outcome,
    {
        let delivery = self.state.borrow_mut().start(event.into_delivery());
        let run = || crate::entry::run(Parcel::of(&delivery), channel);
        let returned = self.within(|| catch_unwind(AssertUnwindSafe(run)));
        let mut state = self.state.borrow_mut();
        match returned {
            Ok(outcome) => state.finish(outcome),
            Err(panic) if panic.is::<reply::Crash>() => state.crash(),
            Err(panic) => {
                drop(state);
                resume_unwind(panic)
            }
        }
    }

    /// Fire a timer that is due, or that failed when it fired before; `None` if there is none, or not yet.
    pub fn fire(&self, fired: impl FnOnce(&Cx, Timer) -> Outcome, name: &str) -> Option<Verdict> {
        let (delivery, data) = {
            let mut state = self.state.borrow_mut();
            let is_due = state.timers.get(name).is_some_and(|(at, _)| *at <= state.now);
            let waiting = if is_due { state.timers.remove(name).map(|(_, data)| data) } else { None };
            let data = waiting.or_else(|| state.firing.get(name).cloned())?;
            state.firing.insert(name.to_owned(), data.clone());
            (state.start(event(&format!("timer/{name}")).kind("bugle.timer").into_delivery()), data)
        };
        let run = || fired(&Cx::of_timer(delivery.ticket), Timer::new(name.to_owned(), data));
        let returned = self.within(|| catch_unwind(AssertUnwindSafe(run)));
        let mut state = self.state.borrow_mut();
        let verdict = match returned {
            Ok(outcome) => state.finish(outcome),
            Err(panic) if panic.is::<reply::Crash>() => state.crash(),
            Err(panic) => {
                drop(state);
                resume_unwind(panic)
            }
        };
        if matches!(verdict, Verdict::Acked | Verdict::Failed(Failure::Reject(_))) {
            state.firing.remove(name);
        }
        Some(verdict)
    }

    /// Names of the timers that wait, in their order.
    pub fn timers(&self) -> Vec<String> {
        self.state.borrow().timers.keys().cloned().collect()
    }

    /// Deliver events in one call of a batch channel. Verdicts given with [`Cx::settle`] take effect at once and stand when the call
    /// then crashes; the host runs the others again one by one.
    pub fn deliver_batch<T, F>(&self, channel: F, events: Vec<EventBuilder>) -> Vec<Verdict>
    where
        T: DeserializeOwned + 'static,
        F: FnOnce(&[Delivery<T>]) -> Vec<Outcome>,
    {
        let deliveries: Vec<_> = {
            let mut state = self.state.borrow_mut();
            state.settles_at_call = true;
            events.into_iter().map(|event| state.start(event.into_delivery())).collect()
        };
        let returned = self.within(|| {
            catch_unwind(AssertUnwindSafe(|| batch::run(deliveries.iter().map(Parcel::of).collect(), channel)))
        });
        let mut state = self.state.borrow_mut();
        let verdicts = match returned {
            Ok(outcomes) => outcomes.into_iter().map(|outcome| state.finish(outcome)).collect(),
            Err(panic) if panic.is::<reply::Crash>() => {
                let many = state.live.len();
                (0..many).map(|_| state.crash()).collect()
            }
            Err(panic) => {
                drop(state);
                resume_unwind(panic)
            }
        };
        state.settles_at_call = false;
        verdicts
    }

    /// Hand a callback of the provider to the plugin's `inbound` function. What it says is checked by the real host, not here.
    ///
    /// # Errors
    /// The text with which it refuses.
    pub fn receive<E: std::fmt::Display>(
        &self,
        inbound: impl FnOnce(&Callback) -> Result<Vec<Status>, E>,
        callback: CallbackBuilder,
    ) -> Result<Vec<Status>, String> {
        let callback = Callback::from(callback.into_inner());
        self.within(|| inbound(&callback)).map_err(|error| error.to_string())
    }

    /// Run code that needs a host but no delivery, such as a config check.
    pub fn within<R>(&self, code: impl FnOnce() -> R) -> R {
        CURRENT.set(Some(Rc::clone(&self.state)));
        let result = code();
        CURRENT.set(None);
        result
    }

    /// Every request that was sent, in order.
    pub fn requests(&self) -> Vec<SentRequest> {
        self.state.borrow().requests.clone()
    }

    /// Every mail that was handed over or may have been, in order.
    pub fn mails(&self) -> Vec<SentMail> {
        self.state.borrow().mails.clone()
    }

    /// Follow-up events that are visible.
    pub fn published(&self) -> Vec<PublishedEvent> {
        self.state.borrow().published.clone()
    }

    /// Notes that were kept.
    pub fn notes(&self) -> Vec<KeptNote> {
        self.state.borrow().notes.iter().map(|(_, note)| note.clone()).collect()
    }

    /// Log lines: level, text, fields.
    pub fn logs(&self) -> Vec<String> {
        self.state.borrow().logs.clone()
    }

    /// Why the subscription is paused, if it is.
    pub fn paused(&self) -> Option<String> {
        self.state.borrow().paused.clone()
    }

    /// A committed kv value as text.
    pub fn kv(&self, key: &str) -> Option<String> {
        self.kv_all().into_iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// All committed kv entries as text, in key order.
    pub fn kv_all(&self) -> Vec<(String, String)> {
        let state = self.state.borrow();
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        state.committed().map(|(key, entry)| (key.clone(), text(&entry.value))).collect()
    }
}

impl Verdict {
    /// The verdict as the plugin would write it.
    ///
    /// # Errors
    /// The failure.
    ///
    /// # Panics
    /// The attempt crashed.
    pub fn settled(self) -> Outcome {
        match self {
            Self::Acked => Ok(()),
            Self::Failed(failure) => Err(failure),
            Self::Crashed => panic!("the attempt crashed before it had a verdict"),
        }
    }

    /// Assert that it is an ack.
    ///
    /// # Panics
    /// It is not.
    pub fn expect_ack(self) {
        assert_eq!(self, Self::Acked);
    }
}

/// The state of the host whose delivery runs on this thread.
fn current<R>(read: impl FnOnce(&mut State) -> R) -> R {
    CURRENT.with_borrow(|current| {
        let state = current.as_ref().expect("host calls work inside `mock::Host::deliver` or `within` only");
        read(&mut state.borrow_mut())
    })
}

#[cfg(test)]
mod tests;
