//! Places in the log as people write them: `latest`, `earliest`, a position, a time, a while ago.
//!
//! Which offset a time means is looked up when it is used, not when it is written. Invariant: `parse(print(x)) == x`.

use std::fmt;
use std::str::FromStr;

use bugle_core::ids::Position;
use bugle_core::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::moment;
use crate::quantity::Duration;

/// Where a new subscription starts, or an existing one goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// Only events published from now on.
    #[default]
    Latest,
    /// Everything that is kept.
    Earliest,
    /// From this position on.
    At(Position),
    /// From the first event that was accepted at this time or later.
    Since(Timestamp),
    /// From the first event that was accepted this long ago or later.
    Ago(Duration),
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Start::Latest => f.write_str("latest"),
            Start::Earliest => f.write_str("earliest"),
            Start::At(position) => position.fmt(f),
            Start::Since(time) => f.write_str(&moment::text(*time)),
            Start::Ago(span) => write!(f, "{span} ago"),
        }
    }
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "latest" => return Ok(Start::Latest),
            "earliest" => return Ok(Start::Earliest),
            _ => {}
        }
        let position = text.parse().ok().map(Start::At);
        let ago = || text.strip_suffix("ago").and_then(|span| span.trim_end().parse().ok()).map(Start::Ago);
        let time = || moment::parse(text).map(Start::Since);
        position.or_else(ago).or_else(time).ok_or_else(|| {
            format!(
                "`{text}` is not a place in the log; write `latest`, `earliest`, a position such as `0-1234`, a time such as \
                 `2026-11-21T10:15:00Z`, or such as `2h ago`"
            )
        })
    }
}

impl Serialize for Start {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_printed_as_it_was_meant() {
        let check = |text: &str, wanted: Start, printed: &str| {
            assert_eq!(text.parse::<Start>(), Ok(wanted), "{text}");
            assert_eq!(wanted.to_string(), printed);
            assert_eq!(printed.parse::<Start>(), Ok(wanted));
        };
        check("latest", Start::Latest, "latest");
        check("earliest", Start::Earliest, "earliest");
        check("0-17", Start::At("0-17".parse().unwrap()), "0-17");
        check("2h ago", Start::Ago(Duration::from_secs(7200)), "2h ago");
        check("90s ago", Start::Ago(Duration::from_secs(90)), "90s ago");
        check("2023-11-14T22:13:20Z", Start::Since(Timestamp(1_700_000_000_000)), "2023-11-14T22:13:20Z");
        check("2023-11-14T23:13:20.5+01:00", Start::Since(Timestamp(1_700_000_000_500)), "2023-11-14T22:13:20.500Z");
    }

    #[test]
    fn anything_else_is_refused_with_every_form() {
        for text in [
            "",
            "now",
            "yesterday",
            "2h",
            "ago",
            "-1s ago",
            "2 parsecs ago",
            "2023-11-14",
            "0-",
            "1969-12-31T00:00:00Z",
        ] {
            let told = text.parse::<Start>().unwrap_err();
            assert!(
                told.contains("`2h ago`") && told.contains("`earliest`") && told.contains("0-1234"),
                "{text}: {told}"
            );
        }
    }
}
