//! Times as people read them: RFC 3339 in UTC.
//!
//! The calendar is the one of the wire crate, so that a time looks the same everywhere.

use bugle_core::time::Timestamp;

/// A time as text; one beyond the calendar is told in milliseconds.
#[must_use]
pub fn text(at: Timestamp) -> String {
    i64::try_from(at.0)
        .ok()
        .and_then(bugle_wire::Timestamp::from_unix_ms)
        .map_or_else(|| format!("{} ms", at.0), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use bugle_core::time::Timestamp;

    #[test]
    fn a_time_is_rfc_3339() {
        assert_eq!(super::text(Timestamp(0)), "1970-01-01T00:00:00Z");
        assert_eq!(super::text(Timestamp(u64::MAX)), format!("{} ms", u64::MAX));
    }
}
