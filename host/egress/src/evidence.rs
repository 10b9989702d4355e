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
            State::Idle => Sent::Nothing,
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

    fn set(&self, state: State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// The request is about to be handed to this connection, which is quiet.
    pub(crate) fn on_connection(&self, written: &Written) {
        self.set(State::OnConnection { before: written.total(), written: written.clone() });
    }

    /// Content is about to go out.
    pub(crate) fn may_have_left(&self) {
        self.set(State::MayHaveLeft);
    }

    /// The complete answer arrived.
    pub(crate) fn answered(&self) {
        self.set(State::Answered);
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
        evidence.on_connection(&written);
        assert_eq!(evidence.sent(), Sent::Maybe);
        evidence.connection_failed();
        assert_eq!(evidence.sent(), Sent::Nothing);
        evidence.on_connection(&written);
        written.add(1);
        evidence.connection_failed();
        assert_eq!(evidence.sent(), Sent::Maybe);
        evidence.answered();
        assert_eq!(evidence.sent(), Sent::Answered);
    }
}
