//! The subscription's settings, typed.
//!
//! Values come as text that the host has checked against the manifest. A setting that does not parse
//! is an error that names it; it is never replaced by a default.

use crate::error::HostError;
use crate::host;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

/// Access to the settings. Get one with [`Cx::config`](crate::Cx::config), or as argument of a check.
#[derive(Debug, Clone, Copy, Default)]
pub struct Config(());

impl Config {
    /// The setting, if there is one.
    ///
    /// # Errors
    /// It does not parse.
    pub fn get<T>(&self, name: &str) -> Result<Option<T>, HostError>
    where
        T: FromStr<Err: Display>,
    {
        let Some(text) = host::config::get(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|error| bad(name, &error))
    }

    /// The setting, which must be there.
    ///
    /// # Errors
    /// It is missing or does not parse.
    pub fn require<T>(&self, name: &str) -> Result<T, HostError>
    where
        T: FromStr<Err: Display>,
    {
        self.get(name)?.ok_or_else(|| HostError::invalid(format!("config `{name}` is not set")))
    }

    /// The setting, or this value.
    ///
    /// # Errors
    /// It does not parse.
    pub fn get_or<T>(&self, name: &str, default: T) -> Result<T, HostError>
    where
        T: FromStr<Err: Display>,
    {
        Ok(self.get(name)?.unwrap_or(default))
    }

    /// A length of time: a number and `ms`, `s`, `m`, `h` or `d`.
    ///
    /// # Errors
    /// It is something else.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>, HostError> {
        let Some(text) = host::config::get(name) else {
            return Ok(None);
        };
        parse_duration(&text)
            .map(Some)
            .ok_or_else(|| bad(name, &format_args!("`{text}` is not a duration like 500ms, 30s, 5m, 12h or 30d")))
    }

    /// A list or table, decoded from JSON.
    ///
    /// # Errors
    /// It has another shape.
    pub fn structured<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, HostError> {
        let Some(text) = host::config::get(name) else {
            return Ok(None);
        };
        serde_json::from_str(&text).map(Some).map_err(|error| bad(name, &error))
    }
}

fn bad(name: &str, error: &dyn Display) -> HostError {
    HostError::invalid(format!("config `{name}`: {error}"))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::Host;

    #[test]
    fn settings_are_typed_and_errors_name_them() {
        let host = Host::new().config("limit", "7").config("wait", "30s").config("tags", r#"["a","b"]"#);
        host.within(|| {
            let config = Config::default();
            assert_eq!(config.require::<u32>("limit"), Ok(7));
            assert_eq!(config.get::<u32>("other"), Ok(None));
            assert_eq!(config.get_or("other", 3), Ok(3));
            assert_eq!(config.duration("wait"), Ok(Some(Duration::from_secs(30))));
            assert_eq!(config.structured::<Vec<String>>("tags"), Ok(Some(vec!["a".into(), "b".into()])));
            assert_eq!(config.require::<String>("url").unwrap_err().message, "config `url` is not set");
            assert!(config.get::<u32>("wait").unwrap_err().message.starts_with("config `wait`: "));
            assert!(config.duration("limit").unwrap_err().message.contains("is not a duration"));
        });
    }

    #[test]
    fn durations_need_a_known_unit_and_no_overflow() {
        for text in ["", "s", "5", "5 s", "-5s", "5w", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("30d"), Some(Duration::from_secs(30 * 86_400)));
    }
}
