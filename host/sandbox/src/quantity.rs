//! Sizes and times as people write them in a manifest: `16MiB`, `200ms`.
//!
//! Invariant: a value that parsed fits in 64 bits of bytes or milliseconds.

use serde::Deserialize;
use serde::de::Error as _;
use std::time::Duration;

/// Bytes: a number and `B`, `KiB`, `MiB` or `GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// A time: a number and `ms`, `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

/// A time from its text.
pub(crate) fn time(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let scale = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(scale).map(Duration::from_millis)
}

fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let scale = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(scale)
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        let text = String::deserialize(deserializer)?;
        size(&text).map(Size).ok_or_else(|| D::Error::custom(format!("`{text}` is not a size like 512KiB or 16MiB")))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        let text = String::deserialize(deserializer)?;
        time(&text)
            .map(Time)
            .ok_or_else(|| D::Error::custom(format!("`{text}` is not a time like 200ms, 30s, 5m, 12h or 30d")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_need_a_known_unit_and_no_overflow() {
        assert_eq!(size("16MiB"), Some(16 << 20));
        assert_eq!(time("200ms"), Some(Duration::from_millis(200)));
        for text in ["", "16", "MiB", "16MB", "-1MiB", "1.5MiB", "18446744073709551615GiB", "16 MiB"] {
            assert_eq!(size(text), None, "{text}");
        }
        for text in ["", "5", "5sec", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
