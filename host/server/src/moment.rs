//! Times as people read them: RFC 3339 in UTC.
//!
//! The calendar is the one of the wire crate, so that a time looks the same everywhere.

use bugle_core::time::Timestamp;

use crate::quantity::Duration;

/// A time as text; one beyond the calendar is told in milliseconds.
#[must_use]
pub fn text(at: Timestamp) -> String {
    i64::try_from(at.0)
        .ok()
        .and_then(bugle_wire::Timestamp::from_unix_ms)
        .map_or_else(|| format!("{} ms", at.0), |time| time.to_string())
}

/// A time from text: RFC 3339, or how long before `now` it was (`2h`). Says what is wrong with anything else.
pub fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(ago) = text.parse::<Duration>() {
        return Ok(Timestamp(now.0.saturating_sub(ago.0.0)));
    }
    let time = text.parse::<bugle_wire::Timestamp>().ok();
    let ms = time.and_then(|time| u64::try_from(time.unix_ms()).ok());
    ms.map(Timestamp).ok_or_else(|| {
        format!("`{text}` is not a time; write RFC 3339 such as `2026-11-25T10:00:00Z`, or how long ago it was: `2h`")
    })
}

#[cfg(test)]
mod tests {
    use bugle_core::time::Timestamp;

    #[test]
    fn a_time_is_read_as_it_was_written_or_as_an_age() {
        let now = Timestamp(10_000_000);
        assert_eq!(super::parse("1970-01-01T00:00:01Z", now), Ok(Timestamp(1000)));
        assert_eq!(super::parse("1h", now), Ok(Timestamp(6_400_000)));
        assert_eq!(super::parse("9d", now), Ok(Timestamp(0)));
        for bad in ["", "now", "1", "1969-01-01T00:00:00Z", "2026-13-01T00:00:00Z"] {
            assert!(super::parse(bad, now).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_is_rfc_3339() {
        assert_eq!(super::text(Timestamp(0)), "1970-01-01T00:00:00Z");
        assert_eq!(super::text(Timestamp(u64::MAX)), format!("{} ms", u64::MAX));
    }
}
