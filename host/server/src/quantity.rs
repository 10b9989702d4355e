//! Durations and sizes as people write them: `30s`, `4MiB`.
//!
//! Both print in the largest unit that divides them, so that a printed config reads like a written one. Knows nothing of the
//! settings that use them.
//!
//! Invariant: `parse(print(x)) == x`.

use std::fmt;
use std::str::FromStr;

use bugle_core::time::Millis;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A span of time, at least a millisecond exact: `500ms`, `30s`, `5m`, `24h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub Millis);

/// A number of bytes: `64B`, `256KiB`, `4MiB`, `16GiB`. Only binary units, so that no one has to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Text that is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseQuantityError {
    /// Not a duration.
    #[error("`{0}` is not a duration; write a whole number and a unit: `500ms`, `30s`, `5m`, `24h`, `7d`")]
    Duration(String),
    /// Not a size.
    #[error("`{0}` is not a size; write a whole number and a unit: `64B`, `256KiB`, `4MiB`, `16GiB`")]
    Size(String),
}

/// Smallest unit first.
const TIME_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Smallest unit first.
const SIZE_UNITS: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text.get(..digits)?.parse().ok()?;
    let unit = text.get(digits..)?.trim_start();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

fn print(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let fits = |(_, factor): &&(&str, u64)| value == 0 || value.is_multiple_of(*factor);
    match units.iter().rev().find(fits) {
        Some((name, factor)) if value > 0 => write!(f, "{}{name}", value / factor),
        Some(_) | None => write!(f, "0{}", units.first().map_or("", |(name, _)| *name)),
    }
}

impl Duration {
    /// A number of whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Duration {
        Duration(Millis::from_secs(seconds))
    }

    /// As the standard library has it.
    #[must_use]
    pub fn std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.0)
    }
}

impl Size {
    /// A number of mebibytes.
    #[must_use]
    pub const fn mib(count: u64) -> Size {
        Size(count << 20)
    }

    /// As a length in memory.
    #[must_use]
    pub fn len(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Whether it is no byte at all.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromStr for Duration {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text, &TIME_UNITS)
            .map(|ms| Duration(Millis(ms)))
            .ok_or_else(|| ParseQuantityError::Duration(text.to_owned()))
    }
}

impl FromStr for Size {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text, &SIZE_UNITS).map(Size).ok_or_else(|| ParseQuantityError::Size(text.to_owned()))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0.0, &TIME_UNITS)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0, &SIZE_UNITS)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Size};

    fn check_duration(text: &str, ms: u64, printed: &str) {
        let duration: Duration = text.parse().unwrap();
        assert_eq!(duration.0.0, ms, "{text}");
        assert_eq!(duration.to_string(), printed, "{text}");
        assert_eq!(printed.parse::<Duration>().unwrap(), duration, "{text}");
    }

    #[test]
    fn a_duration_prints_as_it_was_meant() {
        check_duration("0s", 0, "0ms");
        check_duration("500ms", 500, "500ms");
        check_duration("1500ms", 1500, "1500ms");
        check_duration("90s", 90_000, "90s");
        check_duration("120s", 120_000, "2m");
        check_duration("24h", 86_400_000, "1d");
    }

    #[test]
    fn a_size_prints_as_it_was_meant() {
        for (text, bytes, printed) in
            [("64B", 64, "64B"), ("1024B", 1024, "1KiB"), ("4MiB", 4 << 20, "4MiB"), ("1536MiB", 1536 << 20, "1536MiB")]
        {
            let size: Size = text.parse().unwrap();
            assert_eq!(size.0, bytes);
            assert_eq!(size.to_string(), printed);
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_units() {
        for text in ["", "30", "s", "-1s", "1.5s", "30 parsecs", "99999999999999999999s"] {
            let error = text.parse::<Duration>().unwrap_err().to_string();
            assert!(error.contains("`500ms`"), "{text}: {error}");
        }
        for text in ["", "4", "4MB", "4M", "18446744073709551615KiB"] {
            let error = text.parse::<Size>().unwrap_err().to_string();
            assert!(error.contains("`4MiB`"), "{text}: {error}");
        }
    }
}
