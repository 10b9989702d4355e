//! What the host itself saw of one outgoing call: nothing left, something left, or a complete answer came back.
//!
//! Shared between the call and its owner, so that the answer is there also when the call is cut off in the middle. It knows
//! counts of bytes, not what they mean.
//!
//! Invariant: it never says `Nothing` once a byte of the request was accepted for sending.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bugle_core::import::Sent;

use crate::error::EgressError;

/// Bytes written on one connection since it was opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written(Arc<AtomicU64>);

impl Written {
    /// Counts more bytes.
    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Release);
    }

    /// All bytes so far.
    pub(crate) fn total(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

#[derive(Debug, Default)]
enum State {
    /// No connection was handed the request yet.
    #[default]
    Idle,
    /// A connection has the request; what it wrote beyond `before` may be part of it.
    OnConnection { written: Written, before: u64 },
    /// Content went out on a connection whose bytes are not counted.
    MayHaveLeft,
    /// The whole answer is here.
    Answered,
    /// Nothing had left when the call was cut off, and nothing may leave any more.
    CutOff,
}

/// The call was cut off: whoever was about to send must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IsCutOff;

impl From<IsCutOff> for EgressError {
    fn from(_: IsCutOff) -> EgressError {
        EgressError::not_sent("the call was cut off before anything was sent")
    }
}

/// The record of one outgoing call. Make one per call; ask [`Evidence::sent`] when the call ended, however it ended.
#[derive(Clone, Debug, Default)]
pub struct Evidence(Arc<Mutex<State>>);

impl Evidence {
    /// A call of which nothing has left.
    #[must_use]
    pub fn new() -> Evidence {
        Evidence::default()
    }

    /// What is known now. While a connection has the request it may write at any moment, so that counts as `Maybe`.
    #[must_use]
    pub fn sent(&self) -> Sent {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Idle | State::CutOff => Sent::Nothing,
            State::OnConnection { .. } | State::MayHaveLeft => Sent::Maybe,
            State::Answered => Sent::Answered,
        }
    }

    /// The connection is done with the request: what it had not written by now it will never write.
    pub(crate) fn connection_failed(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::OnConnection { written, before } = &*state {
            *state = if written.total() == *before { State::Idle } else { State::MayHaveLeft };
        }
    }

    /// Ends the call for good: what has not left by now never will. Returns what is known then.
    pub fn cut_off(&self) -> Sent {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Idle = *state {
            *state = State::CutOff;
        }
        drop(state);
        self.sent()
    }

    /// Whether the call was cut off is decided under the same lock, so that nobody sends after it.
    fn unless_cut_off(&self, next: State) -> Result<(), IsCutOff> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::CutOff = *state {
            return Err(IsCutOff);
        }
        *state = next;
        Ok(())
    }

    /// The request is about to be handed to this connection, which is quiet.
    pub(crate) fn on_connection(&self, written: &Written) -> Result<(), IsCutOff> {
        self.unless_cut_off(State::OnConnection { before: written.total(), written: written.clone() })
    }

    /// Content is about to go out.
    pub(crate) fn may_have_left(&self) -> Result<(), IsCutOff> {
        self.unless_cut_off(State::MayHaveLeft)
    }

    /// The complete answer arrived.
    pub(crate) fn answered(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State::Answered;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_earlier_requests_do_not_count() {
        let evidence = Evidence::new();
        assert_eq!(evidence.sent(), Sent::Nothing);
        let written = Written::default();
        written.add(100);
        evidence.on_connection(&written).unwrap();
        assert_eq!(evidence.sent(), Sent::Maybe);
        evidence.connection_failed();
        assert_eq!(evidence.sent(), Sent::Nothing);
        evidence.on_connection(&written).unwrap();
        written.add(1);
        evidence.connection_failed();
        assert_eq!(evidence.sent(), Sent::Maybe);
        evidence.answered();
        assert_eq!(evidence.sent(), Sent::Answered);
    }

    #[test]
    fn nothing_is_sent_after_a_cut() {
        let evidence = Evidence::new();
        assert_eq!(evidence.cut_off(), Sent::Nothing);
        assert_eq!(evidence.on_connection(&Written::default()), Err(IsCutOff));
        assert_eq!(evidence.may_have_left(), Err(IsCutOff));
        assert_eq!(evidence.sent(), Sent::Nothing);
        let evidence = Evidence::new();
        evidence.may_have_left().unwrap();
        assert_eq!(evidence.cut_off(), Sent::Maybe);
        evidence.answered();
        assert_eq!(evidence.cut_off(), Sent::Answered);
    }
}
