//! Where a message lies in the store. README.md documents it for readers; both change together.
//!
//! Keys sort by user, then by event time. Invariant: no user id, whatever is in it, reaches into
//! the keys of another user.

use bugle_plugin::prelude::*;
use std::time::{SystemTime, UNIX_EPOCH};

/// The keys of one message.
#[derive(Debug)]
pub(crate) struct Layout {
    user: String,
    /// `<13 digits of milliseconds>-<idempotency key>`: sorts by time, and a replay of the same delivery lands on itself.
    place: String,
}

/// The JSON value of a message. Never changed after it was written.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) title: String,
    pub(crate) body: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) link: Option<String>,
    pub(crate) time: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) source: String,
    pub(crate) event: String,
}

impl Layout {
    /// None if the user id is empty, or too long for a key.
    pub(crate) fn new(user: &str, time: SystemTime, idempotency_key: &str) -> Option<Self> {
        /// Encoded thrice as long at worst, which with the rest stays under the host's 512 bytes.
        const USER_BYTES_MAX: usize = 140;
        if user.is_empty() || user.len() > USER_BYTES_MAX {
            return None;
        }
        let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Some(Self { user: encode(user), place: format!("{millis:013}-{idempotency_key}") })
    }

    pub(crate) fn message(&self) -> String {
        format!("user/{}/msg/{}", self.user, self.place)
    }

    pub(crate) fn unread(&self) -> String {
        format!("user/{}/unread/{}", self.user, self.place)
    }

    pub(crate) fn received(&self) -> String {
        format!("user/{}/received", self.user)
    }
}

/// Percent-encode what is not a letter, a digit or one of `-._~@+`, so that no id holds a `/`. An id of dots
/// only is encoded too: as a step of a URL path it would lead elsewhere.
fn encode(user: &str) -> String {
    let mut text = String::with_capacity(user.len());
    let only_dots = user.bytes().all(|byte| byte == b'.');
    for byte in user.bytes() {
        if !only_dots && (byte.is_ascii_alphanumeric() || b"-._~@+".contains(&byte)) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}
