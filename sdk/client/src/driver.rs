//! Keeps a session alive: runs it, reconnects when it ends, and resolves batches past their deadline.
//!
//! One task, owned by the client and awaited when it closes. It decides only when to connect again.
//!
//! The invariant: while the client lives there is a session or an attempt to open one, and when the driver ends every
//! batch is resolved.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bugle_wire::Code;
use quinn::Endpoint;

use crate::backoff::Backoff;
use crate::connect::{AGAIN_TIMEOUT, ConnectError, Target};
use crate::session::Session;
use crate::shared::Shared;

/// How long a close may take to reach the host before the socket goes.
const FAREWELL: Duration = Duration::from_millis(500);

pub(crate) struct Driver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) endpoint: Endpoint,
    pub(crate) target: Target,
    /// How long a publish is tried; also the longest sleep of the deadline watch.
    pub(crate) publish_timeout: Duration,
}

impl Drop for Driver {
    /// Also when the runtime is shut down under it: nobody waits for a receipt that can't come any more.
    fn drop(&mut self) {
        self.shared.end(Code::UNAVAILABLE, "the client's runtime has stopped");
    }
}

impl Driver {
    /// Runs until the client is stopped or the host refuses it for good.
    pub(crate) async fn run(self, first: Session) {
        tokio::select! {
            () = self.shared.stop.notified() => self.shared.end(Code::UNAVAILABLE, "the client is closed"),
            () = self.watch_deadlines() => {}
            error = self.keep_session(first) => {
                tracing::error!(error = %error, "the host refuses this producer; publishing stops");
                let code = match &error {
                    ConnectError::Refused { code, .. } => *code,
                    ConnectError::Settings { .. }
                    | ConnectError::Resolve { .. }
                    | ConnectError::Socket(_)
                    | ConnectError::Unreachable { .. }
                    | ConnectError::Timeout { .. }
                    | ConnectError::Protocol { .. } => Code::UNAVAILABLE,
                };
                self.shared.end(code, &error.to_string());
            }
        }
        self.endpoint.close(quinn::VarInt::from_u32(0), b"");
        // The host notices a vanished client by itself.
        let _ = tokio::time::timeout(FAREWELL, self.endpoint.wait_idle()).await;
    }

    /// Runs sessions one after another; returns only an error that trying again can't cure.
    async fn keep_session(&self, first: Session) -> ConnectError {
        let mut session = first;
        loop {
            self.begin(&session);
            let end = session.run(&self.shared).await;
            tracing::warn!(error = %end, address = self.target.address, "session ended; connecting again");
            session = match self.reconnect().await {
                Ok(session) => session,
                Err(error) => return error,
            };
        }
    }

    fn begin(&self, session: &Session) {
        let welcome = &session.welcome;
        let credit_bytes = welcome.limits.map_or(0, |limits| limits.credit_bytes as usize);
        self.shared.counters.session();
        self.shared.requests().begin_session();
        let is_restored = self.shared.queue().begin_session(welcome, credit_bytes);
        if is_restored {
            self.shared.counters.restored();
            tracing::error!(
                address = self.target.address,
                "the host's store has another history than before: it was restored from a backup or made anew, and events \
                 that were confirmed since then are missing there"
            );
        }
        tracing::info!(
            session = welcome.session,
            epoch = welcome.epoch,
            address = self.target.address,
            "session begun"
        );
    }

    async fn reconnect(&self) -> Result<Session, ConnectError> {
        let mut backoff = Backoff::default();
        loop {
            let mut settled = Vec::new();
            let epoch = self.shared.queue().prepare_session(&mut settled);
            self.shared.settle(settled);
            match self.target.open(&self.endpoint, epoch, AGAIN_TIMEOUT).await {
                Ok(session) => return Ok(session),
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    let asked = retry_after(&error).unwrap_or_default();
                    let wait = backoff.next_wait(random()).max(asked.min(self.publish_timeout));
                    tracing::debug!(error = %error, wait = ?wait, "could not connect");
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    async fn watch_deadlines(&self) {
        loop {
            let now = Instant::now();
            // A batch that is opened from now on has a later deadline than this.
            let latest = now + self.publish_timeout;
            let wake = self.shared.expire(now).map_or(latest, |next| next.min(latest));
            tokio::time::sleep_until(wake.into()).await;
        }
    }
}

fn retry_after(error: &ConnectError) -> Option<Duration> {
    match error {
        ConnectError::Refused { retry_after, .. } => *retry_after,
        ConnectError::Settings { .. }
        | ConnectError::Resolve { .. }
        | ConnectError::Socket(_)
        | ConnectError::Unreachable { .. }
        | ConnectError::Timeout { .. }
        | ConnectError::Protocol { .. } => None,
    }
}

/// Spreads clients that lost the same host.
fn random() -> u64 {
    getrandom::u64().unwrap_or_default()
}
