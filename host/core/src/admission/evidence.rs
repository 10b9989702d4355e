//! When can an event have been published for the first time, at the earliest? Decides whether a retry can be too old.
//!
//! The time inside a version 7 UUID or the `time` attribute bounds it: nothing is published before it is made. Without
//! either, the start of the producer's life does: a client that repeats events of an earlier life must give them a time.
//!
//! Invariant: `false` only if the event cannot be among those that were forgotten.

use super::ids::Forgotten;
use crate::event::Event;
use crate::ids::Offset;
use crate::time::{Millis, Timestamp};

/// A producer's clock may be this far ahead of ours. More would make each retry of a host at full rate too old, since its
/// window is then under a minute long; clocks kept by NTP differ by far less.
const CLOCK_SKEW_MAX: Millis = Millis(10_000);

/// Whether a retry that is not in the window may have been stored and forgotten.
pub(super) fn may_be_forgotten(event: &Event, life_first: Offset, forgotten: Forgotten, now: Timestamp) -> bool {
    if forgotten.below == Offset(0) {
        return false;
    }
    let made = uuid_v7_time(event.id()).or_else(|| event.time()).filter(|made| *made <= now.after(CLOCK_SKEW_MAX));
    match made {
        Some(made) => made <= forgotten.until.after(CLOCK_SKEW_MAX),
        None => life_first < forgotten.below,
    }
}

/// The time in a version 7 UUID in its usual text form.
fn uuid_v7_time(id: &str) -> Option<Timestamp> {
    let bytes = id.as_bytes();
    let has_form = bytes.len() == 36
        && bytes.get(14) == Some(&b'7')
        && bytes.iter().enumerate().all(|(index, byte)| {
            if matches!(index, 8 | 13 | 18 | 23) { *byte == b'-' } else { byte.is_ascii_hexdigit() }
        });
    if !has_form {
        return None;
    }
    let high = u64::from_str_radix(id.get(0..8)?, 16).ok()?;
    let low = u64::from_str_radix(id.get(9..13)?, 16).ok()?;
    Some(Timestamp(high << 16 | low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_tells_its_time_and_other_ids_do_not() {
        assert_eq!(uuid_v7_time("017f22e2-79b0-7cc3-98c4-dc0c0c07398f"), Some(Timestamp(0x017f_22e2_79b0)));
        for other in [
            "",
            "7",
            "017f22e2-79b0-4cc3-98c4-dc0c0c07398f",
            "017f22e2779b0-7cc3-98c4-dc0c0c07398f",
            "ä17f22e2-79b0-7cc3-98c4-dc0c0c07398",
        ] {
            assert_eq!(uuid_v7_time(other), None, "{other}");
        }
    }
}
