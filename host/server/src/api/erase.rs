//! Erasing, as JSON.

use serde::{Deserialize, Serialize};

/// Whose content is to be erased: `key`, or `attribute` and `value`, or `recipient`, or one of the first two and `recipient`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EraseRequest {
    /// Events of this topic only, their copies and outcomes included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Events of this ordering key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Events in which this attribute ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// ... has this value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Send records of this recipient and outcomes that name it, whatever the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// Only count.
    #[serde(default)]
    pub dry_run: bool,
    /// Goes on with an erasing that had more than goes at once, under the receipt that it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
}

/// What was erased, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EraseView {
    /// Nothing was changed.
    pub dry_run: bool,
    /// Events of the log whose content went.
    pub events: u64,
    /// Those of them that were still scheduled and were cancelled.
    pub scheduled: u64,
    /// Dead letters removed.
    pub dead_letters: u64,
    /// Dead letters left, since they are being delivered again in their place; erase again when that has ended.
    pub left: u64,
    /// Unknown results removed.
    pub unknown: u64,
    /// Send records removed.
    pub records: u64,
    /// Events looked at.
    pub looked_at: u64,
    /// Events before this position were looked at; what was published since is not erased.
    pub up_to: String,
    /// Calls under way when dead letters were looked through: if one of them has what was erased and leaves a dead letter or an unknown
    /// result, that goes when it is erased again.
    pub calls: u64,
    /// RocksDB's list of its tables still names the key or recipient, as the first or last of a table, until the host is started again.
    pub listed: bool,
    /// There is more than goes at once: erase again.
    pub is_more: bool,
    /// How long all of it took, until the files had nothing of it any more, in ms.
    pub took_ms: u64,
    /// Random; with it and the text that was erased, the audit row can be proven to be of this text. Kept nowhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
}
