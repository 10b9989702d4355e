//! Times as people read them: RFC 3339 in UTC.
//!
//! The calendar is the one of the wire crate, so that a time looks the same everywhere.

use bugle_core::time::{Millis, Timestamp};

use crate::quantity::Duration;

/// A time as text; one beyond the calendar is told in milliseconds.
#[must_use]
pub fn text(at: Timestamp) -> String {
    i64::try_from(at.0)
        .ok()
        .and_then(bugle_wire::Timestamp::from_unix_ms)
        .map_or_else(|| format!("{} ms", at.0), |time| time.to_string())
}

/// The wall clock, for what is done while no host runs whose accepted time could be asked for.
#[must_use]
pub fn wall() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.ok().and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or(0))
}

/// The time of an RFC 3339 text, from 1970 on.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    let time: bugle_wire::Timestamp = text.parse().ok()?;
    u64::try_from(time.unix_ms()).ok().map(Timestamp)
}

/// A time from text: RFC 3339, or how long before `now` it was (`2h`). Says what is wrong with anything else.
pub fn since(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(ago) = text.parse::<Duration>() {
        return Ok(Timestamp(now.0.saturating_sub(ago.0.0)));
    }
    parse(text).ok_or_else(|| {
        format!("`{text}` is not a time; write RFC 3339 such as `2026-11-25T10:00:00Z`, or how long ago it was: `2h`")
    })
}

/// A span of time in its two largest units, for people: `350 ms`, `6 s`, `5 min 3 s`, `2 h`, `3 d 4 h`.
#[must_use]
pub fn span(span: Millis) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let seconds = span.0 / 1000;
    if seconds == 0 {
        return format!("{} ms", span.0);
    }
    let largest = UNITS.iter().position(|(_, unit)| seconds >= *unit).unwrap_or_default();
    let mut left = seconds;
    let mut parts = Vec::new();
    for (name, unit) in UNITS.iter().skip(largest).take(2) {
        let count = left / unit;
        left %= unit;
        if count > 0 {
            parts.push(format!("{count} {name}"));
        }
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use bugle_core::time::{Millis, Timestamp};

    #[test]
    fn a_span_has_at_most_two_units() {
        let told = |ms| super::span(Millis(ms));
        assert_eq!([told(0), told(999), told(6_345), told(60_000)], ["0 ms", "999 ms", "6 s", "1 min"]);
        assert_eq!([told(303_000), told(7_261_000), told(273_600_000)], ["5 min 3 s", "2 h 1 min", "3 d 4 h"]);
    }

    #[test]
    fn a_time_is_read_as_it_was_written_or_as_an_age() {
        let now = Timestamp(10_000_000);
        assert_eq!(super::since("1970-01-01T00:00:01Z", now), Ok(Timestamp(1000)));
        assert_eq!(super::since("1h", now), Ok(Timestamp(6_400_000)));
        assert_eq!(super::since("9d", now), Ok(Timestamp(0)));
        for bad in ["", "now", "1", "1969-01-01T00:00:00Z", "2026-13-01T00:00:00Z"] {
            assert!(super::since(bad, now).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_is_rfc_3339() {
        assert_eq!(super::text(Timestamp(0)), "1970-01-01T00:00:00Z");
        assert_eq!(super::text(Timestamp(u64::MAX)), format!("{} ms", u64::MAX));
    }
}
