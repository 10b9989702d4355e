//! Callbacks of providers: the plugin says what one means, the bus moves the send records.
//!
//! A callback can be here before the delivery that it is about has committed its note: then it waits a little, as it usually is a matter of
//! milliseconds, and after that the provider has to say it again. Knows nothing of HTTP.
//!
//! Invariant: what is not durable is not answered as taken.

use std::time::Duration;

use bugle_broker::CallbackError;
use bugle_sandbox::inbound::{Callback, ReceiveError};
use tokio::time::Instant;

use super::{Host, locked};
use crate::api::ReceivedView;
use crate::tally::Took;

/// Time of the plugin for one callback, waiting for its place included. Providers give up after 10 to 15 s.
const RECEIVE_WITHIN: Duration = Duration::from_secs(5);
/// How long a reference may be unknown before the provider has to come again.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);
/// How often it is looked for meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why a callback was not taken.
#[derive(Debug, thiserror::Error)]
pub enum InboundError {
    /// The caller: there is no such subscription, or its provider may not call back.
    #[error("no subscription of that name takes callbacks")]
    NotFound,
    /// The caller: the plugin does not accept it.
    #[error("the plugin refused the callback")]
    Refused,
    /// The plugin's author.
    #[error("the plugin broke on the callback")]
    Broke,
    /// Later.
    #[error("too many callbacks at once")]
    Busy,
    /// Later, or never: no delivery has noted one of its references.
    #[error("no send record has one of its references")]
    Unknown,
    /// The operator: the disk; or the host stops.
    #[error("could not keep the callback")]
    Failed(#[from] CallbackError),
}

impl Host {
    /// Whether callbacks are taken under this name.
    pub fn takes_callbacks(&self, name: &str) -> Result<(), InboundError> {
        let takes = locked(&self.definitions).get(name).is_some_and(|row| row.definition.inbound);
        if takes {
            return Ok(());
        }
        self.parts.tally.callback_to_nobody();
        Err(InboundError::NotFound)
    }

    /// Takes a callback: what it says is durable when this returns.
    pub async fn callback(&self, name: &str, callback: Callback) -> Result<ReceivedView, InboundError> {
        self.takes_callbacks(name)?;
        let taken = self.take(name, callback).await;
        let took = match &taken {
            Ok(ReceivedView { moved: 1.., .. }) => Took::Moved,
            Ok(ReceivedView { moved: 0, .. }) => Took::Nothing,
            Err(InboundError::Refused | InboundError::NotFound) => Took::Refused,
            Err(InboundError::Broke) => Took::Broke,
            Err(InboundError::Unknown) => Took::Unknown,
            Err(InboundError::Busy | InboundError::Failed(_)) => Took::Busy,
        };
        self.parts.tally.callback(name, took);
        if let Err(InboundError::Failed(error)) = &taken {
            tracing::error!(subscription = name, %error, "a callback could not be kept");
        }
        taken
    }

    async fn take(&self, name: &str, callback: Callback) -> Result<ReceivedView, InboundError> {
        let place = self.callbacks.try_acquire().map_err(|_| InboundError::Busy)?;
        let received = self.parts.sandbox.receive(name, callback, RECEIVE_WITHIN).await;
        drop(place);
        let changes = received.map_err(|error| self.not_received(name, error))?;
        let until = Instant::now() + KNOWN_WITHIN;
        let mut taken = ReceivedView::default();
        let mut heard = self.bus().callback(name, changes).await?;
        loop {
            taken.moved += heard.moved;
            taken.same += heard.same;
            if heard.unknown.is_empty() {
                return Ok(taken);
            }
            if Instant::now() >= until || self.is_stopping() {
                return Err(InboundError::Unknown);
            }
            tokio::time::sleep(LOOK_EVERY).await;
            heard = self.bus().callback(name, heard.unknown).await?;
        }
    }

    /// Strangers can make as many of these as they like, so they are logged ever more seldom.
    fn not_received(&self, name: &str, error: ReceiveError) -> InboundError {
        let (refused, why) = match error {
            ReceiveError::NotReceiving => return InboundError::NotFound,
            ReceiveError::NoSlot => return InboundError::Busy,
            ReceiveError::Refused(text) => (InboundError::Refused, text),
            ReceiveError::Broke(end) => {
                let plugin = locked(&self.definitions).get(name).map(|row| row.definition.plugin.clone());
                let plugin = bugle_core::ids::Name::from(plugin.unwrap_or_default());
                self.parts.tally.end(&plugin, &end);
                (InboundError::Broke, format!("{end:?}"))
            }
            ReceiveError::Panicked => (InboundError::Broke, ReceiveError::Panicked.to_string()),
        };
        let so_far = self.parts.tally.callbacks_not_received(name) + 1;
        if so_far.is_power_of_two() {
            tracing::warn!(subscription = name, so_far, error = why, "a callback was not accepted");
        }
        refused
    }
}
