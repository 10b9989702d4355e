//! An instant as CloudEvents writes it: seconds and nanoseconds since 1970, and its RFC 3339 text.
//!
//! Reads no clock and knows no time zone but the offset written in a text. Leap seconds (`:60`) are taken as the
//! second before, since the number line has no place for them.
//!
//! The invariant: a `Timestamp` lies in the years 1 to 9999, so it always has a text, and that text parses back to it.

use core::fmt;
use core::str::FromStr;

/// Seconds of 0001-01-01T00:00:00Z.
const SECONDS_MIN: i64 = -62_135_596_800;
/// Seconds of 9999-12-31T23:59:59Z.
const SECONDS_MAX: i64 = 253_402_300_799;
const SECONDS_PER_DAY: i64 = 86_400;

/// An instant with nanoseconds, in the years 1 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
}

impl Timestamp {
    /// The last second there is.
    pub const MAX: Self = Self { seconds: SECONDS_MAX, nanos: 0 };

    /// An instant from its parts, if it is in range.
    #[must_use]
    pub fn new(seconds: i64, nanos: u32) -> Option<Self> {
        let in_range = (SECONDS_MIN..=SECONDS_MAX).contains(&seconds) && nanos < 1_000_000_000;
        in_range.then_some(Self { seconds, nanos })
    }

    /// An instant from milliseconds since 1970, if it is in range.
    #[must_use]
    pub fn from_unix_ms(unix_ms: i64) -> Option<Self> {
        let nanos = u32::try_from(unix_ms.rem_euclid(1000)).ok()? * 1_000_000;
        Self::new(unix_ms.div_euclid(1000), nanos)
    }

    /// Whole milliseconds since 1970, rounded towards the past.
    #[must_use]
    pub fn unix_ms(self) -> i64 {
        self.seconds * 1000 + i64::from(self.nanos / 1_000_000)
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds within the second.
    #[must_use]
    pub fn nanos(self) -> u32 {
        self.nanos
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of(self.seconds.div_euclid(SECONDS_PER_DAY));
        let second_of_day = self.seconds.rem_euclid(SECONDS_PER_DAY);
        let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match self.nanos {
            0 => {}
            nanos if nanos % 1_000_000 == 0 => write!(f, ".{:03}", nanos / 1_000_000)?,
            nanos if nanos % 1000 == 0 => write!(f, ".{:06}", nanos / 1000)?,
            nanos => write!(f, ".{nanos:09}")?,
        }
        f.write_str("Z")
    }
}

/// A text that is not an RFC 3339 instant of the years 1 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time; expected a form like `2026-11-21T10:15:00Z`")]
pub struct ParseTimestampError;

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text.as_bytes()).ok_or(ParseTimestampError)
    }
}

fn parse(text: &[u8]) -> Option<Timestamp> {
    let mut reader = Reader { rest: text };
    let year = reader.number(4)?;
    reader.one_of(b"-")?;
    let month = reader.number(2)?;
    reader.one_of(b"-")?;
    let day = reader.number(2)?;
    reader.one_of(b"Tt ")?;
    let hour = reader.number(2)?;
    reader.one_of(b":")?;
    let minute = reader.number(2)?;
    reader.one_of(b":")?;
    let second = reader.number(2)?;
    let valid = year >= 1 && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !valid || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let nanos = reader.fraction()?;
    let offset_seconds = reader.offset()?;
    let second_of_day = hour * 3600 + minute * 60 + second.min(59);
    let seconds = day_number(year, month, day) * SECONDS_PER_DAY + second_of_day - offset_seconds;
    reader.rest.is_empty().then(|| Timestamp::new(seconds, nanos))?
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn number(&mut self, digits: usize) -> Option<i64> {
        let (taken, rest) = self.rest.split_at_checked(digits)?;
        self.rest = rest;
        taken.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
    }

    fn one_of(&mut self, allowed: &[u8]) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        allowed.contains(&first).then_some(first)
    }

    /// An optional fraction of a second; digits beyond nanoseconds are dropped.
    fn fraction(&mut self) -> Option<u32> {
        let Some(mut digits) = self.rest.strip_prefix(b".") else {
            return Some(0);
        };
        let (mut nanos, mut unit, mut count) = (0_u32, 100_000_000_u32, 0_usize);
        while let Some((byte, rest)) = digits.split_first().filter(|(byte, _)| byte.is_ascii_digit()) {
            nanos += u32::from(byte - b'0') * unit;
            unit /= 10;
            count += 1;
            digits = rest;
        }
        self.rest = digits;
        (count > 0).then_some(nanos)
    }

    fn offset(&mut self) -> Option<i64> {
        let sign = match self.one_of(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Some(0),
        };
        let hours = self.number(2)?;
        self.one_of(b":")?;
        let minutes = self.number(2)?;
        (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date. Years are counted from March, so that the leap day comes last.
fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01; the inverse of [`day_number`].
fn date_of(day_number: i64) -> (i64, i64, i64) {
    let days = day_number + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::{ParseTimestampError, SECONDS_MAX, SECONDS_MIN, Timestamp};
    use proptest::prelude::*;

    #[test]
    fn parses_rfc_3339() {
        let check = |text: &str, unix_ms: i64| {
            assert_eq!(text.parse::<Timestamp>().map(Timestamp::unix_ms), Ok(unix_ms), "{text}");
        };
        check("1970-01-01T00:00:00Z", 0);
        check("2026-11-21T10:15:00Z", 1_795_256_100_000);
        check("2026-11-21T12:15:00+02:00", 1_795_256_100_000);
        check("2026-11-21t05:45:00.25-04:30", 1_795_256_100_250);
        check("2000-02-29T23:59:60Z", 951_868_799_000);
        check("1969-12-31T23:59:59.999Z", -1);
        check("2026-11-21 10:15:00.1234567891Z", 1_795_256_100_123);
    }

    #[test]
    fn refuses_other_texts() {
        for text in [
            "",
            "2026-11-21",
            "2026-11-21T10:15:00",
            "2026-13-21T10:15:00Z",
            "2026-02-29T10:15:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T10:15:00.Z",
            "2026-11-21T10:15:00Z ",
            "2026-11-21T10:15:00+2:00",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59-01:00",
            "+026-11-21T10:15:00Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(ParseTimestampError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_instant_prints_and_parses_back(seconds in SECONDS_MIN..=SECONDS_MAX, nanos in 0_u32..1_000_000_000) {
            let instant = Timestamp::new(seconds, nanos).unwrap();
            prop_assert_eq!(instant.to_string().parse(), Ok(instant));
        }

        #[test]
        fn no_text_panics(text in "[0-9TZ:.+-]{0,40}") {
            let _ = text.parse::<Timestamp>();
        }
    }
}
