//! Write a Bugle plugin: one function that takes an event and sends it somewhere.
//!
//! ```ignore
//! use bugle_plugin::prelude::*;
//!
//! #[derive(Deserialize)]
//! struct Sms { to: String, text: String }
//!
//! #[channel]
//! fn sms(cx: &Cx, event: Event<Sms>) -> Outcome {
//!     cx.once(event.business_key(), || {
//!         let reply = cx.post("/messages").json(&json!({ "to": event.to, "body": event.text })).send()?;
//!         match reply.status() {
//!             200..=299 => Ok(reply.json::<Sent>()?.id),
//!             429 | 500.. => retry(reply.retry_after(), "provider busy"),
//!             status => reject(format!("provider said {status}")),
//!         }
//!     })
//! }
//! ```
//!
//! On `wasm32-wasip2` every call goes to the host through the package in `wit/`. On any other target it
//! goes to [`mock::Host`], so that plugin logic is tested with plain `cargo test`.
//! It knows nothing of the host's insides. Its invariant: an effect that may have happened is never
//! reported as one that has not.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

mod batch;
mod config;
mod cx;
mod date;
mod entry;
mod error;
mod event;
mod fan_out;
mod host;
mod http;
mod inbound;
mod kv;
mod log;
mod mail;
#[cfg(not(target_arch = "wasm32"))]
pub mod mock;
mod once;
mod packed;
mod parcel;
mod publish;
pub mod raw;
mod reconcile;
mod records;
mod structured;
pub mod template;
mod timer;
mod verdict;

pub use batch::{Delivery, handle_batch};
pub use bugle_plugin_macros::{batch_channel, channel};
pub use config::Config;
pub use cx::{Cx, Mac, sign};
pub use entry::{check, handle, no_check};
pub use error::{Code, HostError};
pub use event::Event;
pub use fan_out::{FanOut, Page};
pub use http::{ReplyError, Request, Response, send_all};
pub use inbound::{Callback, Status, receive};
pub use kv::{Entry, Item, Kv};
pub use log::{Level, emit};
pub use mail::{Accepted, Mail};
pub use once::{Claim, Found};
pub use packed::{handle_packed, handle_packed_batch};
pub use publish::Publish;
pub use reconcile::{Doubt, reconcile};
pub use records::{Note, SendRecord};
pub use timer::{Timer, fire};
pub use verdict::{Failure, Fault, Outcome, defer, reject, retry, unknown};

/// What a plugin usually needs: `use bugle_plugin::prelude::*;`.
pub mod prelude {
    pub use crate::template::Template;
    pub use crate::{
        Callback, Config, Cx, Delivery, Doubt, Event, Failure, Fault, Found, HostError, Mac, Outcome, Status, Timer,
        batch_channel, channel, debug, defer, error, info, reject, retry, trace, unknown, warn,
    };
    pub use serde::{Deserialize, Serialize};
    pub use serde_json::{Value, json};
    pub use std::time::Duration;
}
