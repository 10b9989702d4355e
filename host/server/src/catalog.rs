//! The form of definitions in the store: a version byte and JSON, or the bytes of a component.
//!
//! The store and the broker see opaque bytes. Knows nothing of where they are kept.
//!
//! Invariant: a row of an unknown version is refused with its name, never guessed at.

use bugle_core::ids::{Revision, TopicId};
use bugle_core::retention::{KeepClass, Retention, Shelf};
use bugle_core::spec::Topic;
use bugle_core::time::Millis;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::definition::Definition;

/// First byte of each JSON row. A change of form gets a new number and a reader for the old one.
const VERSION: u8 = 1;

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicRow {
    /// Its number.
    pub id: u32,
    /// The class of its retention; 0 is the default.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub class: u8,
    /// One bit for each class it ever had.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub classes: u8,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(number: &u8) -> bool {
    *number == 0
}

impl TopicRow {
    /// Where its events are; `None` if a newer host wrote it.
    #[must_use]
    pub fn shelf(&self) -> Option<Shelf> {
        KeepClass::new(self.class).map(|class| Shelf::of(class, self.classes))
    }
}

/// The stored form of a topic with the default retention.
#[must_use]
pub fn topic_row(topic: &Topic) -> Vec<u8> {
    encode(&TopicRow { id: topic.id.0, class: 0, classes: 0 })
}

/// The stored form of a topic.
#[must_use]
pub fn topic_row_on(topic: TopicId, shelf: Shelf) -> Vec<u8> {
    let classes = if shelf == Shelf::default() { 0 } else { shelf.ever() };
    encode(&TopicRow { id: topic.0, class: shelf.class().number(), classes })
}

/// A retention, under its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionRow {
    /// The class of the log.
    pub class: u8,
    /// Events older than this may go, in ms.
    pub age_ms: u64,
    /// Bytes beyond which the oldest may go.
    pub bytes: u64,
    /// Whether events may go as soon as every subscription has settled them.
    #[serde(default)]
    pub when_done: bool,
    /// Nothing younger goes, in ms.
    pub at_least_ms: u64,
}

impl RetentionRow {
    /// As the core has it.
    #[must_use]
    pub fn rules(&self) -> Retention {
        Retention {
            age: Millis(self.age_ms),
            bytes: self.bytes,
            when_done: self.when_done,
            at_least: Millis(self.at_least_ms),
        }
    }
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubscriptionRow {
    /// Its number.
    pub id: u32,
    /// As applied, secrets and all: the store is readable by the host's user only.
    pub definition: Definition,
    /// First offset it looked at; written right after its creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
}

/// A plugin and its active revision; the component is a row of its own under that revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginRow {
    /// SHA-256 of the component, 64 hexadecimal digits.
    pub revision: String,
    /// When it became active, in ms since 1970.
    pub deployed_at: u64,
    /// Size of the component.
    pub bytes: u64,
    /// Version from its manifest.
    pub version: String,
    /// Description from its manifest.
    pub description: String,
}

/// A row that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the definition of {what} `{name}` in the store cannot be read ({problem}); was it written by a newer bugle?")]
pub struct DecodeRowError {
    what: &'static str,
    name: String,
    problem: String,
}

/// The bytes of a row.
pub fn encode<T: Serialize>(row: &T) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, row).expect("rows have text keys and a Vec takes every write");
    bytes
}

/// The row of the bytes; `what` and `name` are for the error.
pub fn decode<T: DeserializeOwned>(what: &'static str, name: &str, bytes: &[u8]) -> Result<T, DecodeRowError> {
    let fail = |problem: String| DecodeRowError { what, name: name.to_owned(), problem };
    match bytes.split_first() {
        Some((&VERSION, json)) => serde_json::from_slice(json).map_err(|error| fail(error.to_string())),
        Some((version, _)) => Err(fail(format!("version {version}"))),
        None => Err(fail("it is empty".to_owned())),
    }
}

/// All 64 digits of a revision.
#[must_use]
pub fn digits(revision: &Revision) -> String {
    revision.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The 32 bytes of 64 hexadecimal digits.
#[must_use]
pub fn from_digits(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let pairs = text.as_bytes().chunks(2);
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let pair = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    let is_plain = text.bytes().all(|digit| digit.is_ascii_hexdigit());
    (text.len() == 64 && is_plain).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use bugle_core::ids::TopicId;
    use bugle_core::retention::{KeepClass, Shelf};

    use super::{DecodeRowError, PluginRow, RetentionRow, TopicRow, decode, encode, topic_row_on};

    #[test]
    fn the_form_of_rows_is_pinned() {
        assert_eq!(encode(&TopicRow { id: 7, class: 0, classes: 0 }), b"\x01{\"id\":7}");
        let moved = Shelf::default().moved_to(KeepClass::new(2).unwrap());
        assert_eq!(topic_row_on(TopicId(7), moved), b"\x01{\"id\":7,\"class\":2,\"classes\":5}");
        let retention = RetentionRow { class: 1, age_ms: 60_000, bytes: 5, when_done: true, at_least_ms: 9 };
        assert_eq!(
            encode(&retention),
            b"\x01{\"class\":1,\"age_ms\":60000,\"bytes\":5,\"when_done\":true,\"at_least_ms\":9}"
        );
        let plugin = PluginRow {
            revision: "ab".into(),
            deployed_at: 1,
            bytes: 2,
            version: "0.1.0".into(),
            description: "d".into(),
        };
        let pinned = br#"{"revision":"ab","deployed_at":1,"bytes":2,"version":"0.1.0","description":"d"}"#;
        assert_eq!(encode(&plugin), [&[1], &pinned[..]].concat());
    }

    #[test]
    fn digits_go_there_and_back() {
        let bytes = std::array::from_fn(|index| u8::try_from(index * 7).unwrap());
        let text = super::digits(&bugle_core::ids::Revision(bytes));
        assert_eq!(super::from_digits(&text), Some(bytes));
        for bad in ["", "ab", &text[1..], &text.replace('0', "+"), &text.replace('0', "g")] {
            assert_eq!(super::from_digits(bad), None, "{bad}");
        }
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let check = |bytes: &[u8], told: &str| {
            let read: Result<TopicRow, DecodeRowError> = decode("topic", "orders", bytes);
            let error = read.unwrap_err().to_string();
            assert!(error.contains("topic `orders`") && error.contains(told), "{error}");
        };
        check(b"\x02{\"id\":7}", "version 2");
        check(b"", "empty");
        check(b"\x01{\"id\":", "EOF");
        assert_eq!(decode::<TopicRow>("topic", "o", b"\x01{\"id\":7}").unwrap().id, 7);
    }
}
