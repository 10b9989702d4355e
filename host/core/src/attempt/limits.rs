//! Bounds of one call's transaction, and the check of every import against them. A guest's mistake is an error, never a panic.

use alloc::format;
use alloc::string::{String, ToString};

use crate::code::Code;
use crate::delivery::Retry;
use crate::event::ERASED_KIND;
use crate::import::{Import, ImportError, NewEvent};
use crate::origin::is_reserved;
use crate::schedule::AHEAD_MAX;
use crate::time::{Millis, Timestamp};
use crate::timer::{TIMER_AHEAD_MAX, TIMER_DATA_BYTES_MAX};

/// Claims a call may have open at once; a channel needs one, a fan-out inside one call a few.
pub const CLAIMS_MAX: usize = 16;
/// Business keys, kv keys, recipients: long enough for two URLs, short enough for an index.
pub const KEY_BYTES_MAX: usize = 512;
/// One kv value.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// Data of one follow-up event.
pub(super) const EVENT_BYTES_MAX: usize = 256 * 1024;
/// A receipt is an identifier or a small answer, kept for the claim's keep time.
pub(super) const RECEIPT_BYTES_MAX: usize = 4 * 1024;
/// Everything buffered by one call; four largest events. Bounds the batch that the ack becomes part of.
pub const TRANSACTION_BYTES_MAX: usize = 1024 * 1024;
/// Changes of kv entries in one call; more belong into several events.
pub(super) const KV_CHANGES_MAX: usize = 1024;
/// kv entries read in one call; each is validated at the commit.
pub(super) const KV_READS_MAX: usize = 4096;
/// Entries of one scan.
pub(super) const SCAN_MAX: u32 = 256;
/// Keys and values of one scan; a quarter of a transaction, so that a page can be written back.
pub const SCAN_BYTES_MAX: usize = 256 * 1024;
/// Follow-up events of one call.
pub(super) const FOLLOW_UPS_MAX: usize = 256;
/// Timers set and cancelled in one call.
pub(super) const TIMER_CHANGES_MAX: usize = 256;
/// Send records noted in one call.
pub(super) const NOTES_MAX: usize = 256;
/// A chain of follow-ups longer than this is a loop.
pub(crate) const HOPS_MAX: u32 = 16;
/// Longest keep time of a claim and time to live of a kv entry: 400 days, so that a year of reminders fits.
pub(super) const KEEP_MAX: Millis = Millis::from_secs(400 * 24 * 3600);
/// Longest hold of a lane: a day; longer waits belong into `defer`.
pub(super) const HOLD_MAX: Millis = Millis::from_secs(24 * 3600);
/// Reasons and references are for people; the rest is cut off.
const TEXT_BYTES_MAX: usize = 1024;

pub(super) fn error(code: Code, message: &str) -> ImportError {
    ImportError { code, message: message.to_string(), retry_after: None }
}

/// The lease is not ours any more; whatever the guest does now has no effect.
pub(super) fn lapsed() -> ImportError {
    error(Code::Stale, "the lease of this delivery has lapsed; return now")
}

/// Cuts a text for people at its bound, on a character.
pub(super) fn text(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        let end = (0..=TEXT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

pub(super) fn retry(retry: Retry) -> Retry {
    Retry { reason: text(retry.reason), ..retry }
}

/// Refuses what is over a bound before anything looks at it.
pub(super) fn check(now: Timestamp, import: &Import) -> Result<(), ImportError> {
    match import {
        Import::Claim { key, .. } => named("claim key", key),
        Import::Confirm { receipt, .. } => {
            sized("receipt", receipt.as_ref().map_or(0, |bytes| bytes.len()), RECEIPT_BYTES_MAX)
        }
        Import::Note(note) => {
            named("business key", &note.business_key)?;
            named("recipient", &note.recipient)?;
            let texts = note.provider.len() + note.provider_reference.len() + note.detail.len();
            sized("send record", texts, 4 * TEXT_BYTES_MAX)
        }
        Import::FindRecords { business_key, recipient } => {
            named("business key", business_key)?;
            recipient.as_ref().map_or(Ok(()), |recipient| named("recipient", recipient))
        }
        Import::KvGet { key } | Import::KvDelete { key } | Import::KvAdd { key, .. } => named("kv key", key),
        Import::KvPut { key, value, .. } => {
            named("kv key", key)?;
            sized("kv value", value.len(), VALUE_BYTES_MAX)
        }
        Import::KvSwap { key, value, .. } => {
            named("kv key", key)?;
            sized("kv value", value.as_ref().map_or(0, |bytes| bytes.len()), VALUE_BYTES_MAX)
        }
        Import::KvScan { prefix, after, limit } => {
            if *limit == 0 || *limit > SCAN_MAX {
                return Err(error(Code::Invalid, "a scan takes a limit of 1 to 256"));
            }
            sized("kv prefix", prefix.len(), KEY_BYTES_MAX)?;
            sized("kv key", after.as_ref().map_or(0, |key| key.len()), KEY_BYTES_MAX)
        }
        Import::Publish(events) => events.iter().try_for_each(|event| follow_up(now, event)),
        Import::TimerSet { name, at, data } => {
            named("timer name", name)?;
            if *at > now.after(TIMER_AHEAD_MAX) {
                return Err(error(
                    Code::Invalid,
                    "a timer is a year ahead at most; set a nearer one, and then the next",
                ));
            }
            sized("timer data", data.len(), TIMER_DATA_BYTES_MAX)
        }
        Import::TimerCancel { name } => named("timer name", name),
        Import::Ack
        | Import::Nack(_)
        | Import::Reject(_)
        | Import::Defer(_)
        | Import::Extend(_)
        | Import::PauseSubscription(_)
        | Import::Release { .. }
        | Import::Reconciled(_)
        | Import::Waiting
        | Import::Hold(_)
        | Import::EgressStart
        | Import::EgressEnd(_) => Ok(()),
    }
}

fn follow_up(now: Timestamp, event: &NewEvent) -> Result<(), ImportError> {
    if event.deliver_at.is_some_and(|at| at > now.after(AHEAD_MAX)) {
        return Err(error(Code::Invalid, "`deliver-at` is more than 400 days ahead; publish the event later"));
    }
    named("topic", &event.topic)?;
    if is_reserved(&event.topic) {
        let message = "topics that begin with `bugle.` are written by the host alone; publish to another one";
        return Err(error(Code::Denied, message));
    }
    named("event type", &event.kind)?;
    if event.kind == ERASED_KIND {
        return Err(error(
            Code::Denied,
            "events of type `bugle.erased` are written by the host alone; use another type",
        ));
    }
    sized("ordering key", event.key.as_ref().map_or(0, |key| key.len()), 1024)?;
    sized("event data", event.data.len(), EVENT_BYTES_MAX)
}

fn named(what: &str, text: &str) -> Result<(), ImportError> {
    if text.is_empty() {
        return Err(error(Code::Invalid, &format!("{what} is empty; give a name")));
    }
    if text.chars().any(char::is_control) {
        return Err(error(Code::Invalid, &format!("{what} has a control character; use printable text")));
    }
    sized(what, text.len(), KEY_BYTES_MAX)
}

fn sized(what: &str, bytes: usize, max: usize) -> Result<(), ImportError> {
    if bytes <= max {
        return Ok(());
    }
    Err(error(Code::TooLarge, &format!("{what} has {bytes} bytes, at most {max} are allowed")))
}
