//! Patterns of topic names, such as `orders.*`: which topics a subscription covers that nobody has named one by one.
//!
//! A name is made of segments with dots between them. In a pattern, `*` stands for any characters of one segment, none included,
//! and `**` as the last segment for one or more whole segments; everything else stands for itself, and the whole name must match.
//! Compiled once, when a definition is applied or read.
//!
//! Invariant: a name that begins with `bugle.` matches no pattern: the host's own topics are covered by name or not at all.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::origin::RESERVED_PREFIX;

/// Longest pattern: a name of the largest size and some stars.
const PATTERN_BYTES_MAX: usize = 96;

/// Stars of one pattern: more would make a match slow and are a mistake.
const STARS_MAX: usize = 8;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPattern {
    text: String,
    segments: Vec<Segment>,
    /// It ends in `**`.
    takes_rest: bool,
}

/// One segment: the texts between its stars. A single text has no star and must be equal.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment(Vec<String>);

/// Text that is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParsePatternError {
    /// No star: it is a name.
    #[error("`{0}` has no `*`; it is a name")]
    Name(String),
    /// A character that no topic name has.
    #[error("`{0}` can match no topic: names have a-z, 0-9, `-`, `_` and `.`")]
    Character(String),
    /// `**` at a place where it means nothing.
    #[error("`{0}` has `**` that is not the whole last segment; write such as `orders.**`, or `*` for one segment")]
    Rest(String),
    /// Too long or too many stars.
    #[error("`{0}` is too long or has too many `*`; at most {PATTERN_BYTES_MAX} bytes and {STARS_MAX} stars")]
    TooLarge(String),
    /// Topics of the host.
    #[error("`{0}` asks for topics of the host, which match no pattern; name them one by one")]
    Reserved(String),
}

impl TopicPattern {
    /// Whether a text is meant as a pattern and not as a name.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.contains('*')
    }

    /// Whether the topic of this name is covered.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        if name.starts_with(RESERVED_PREFIX) {
            return false;
        }
        let mut rest = name.split('.');
        for segment in &self.segments {
            match rest.next() {
                Some(part) if segment.matches(part) => {}
                Some(_) | None => return false,
            }
        }
        self.takes_rest == rest.next().is_some()
    }
}

impl FromStr for TopicPattern {
    type Err = ParsePatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |error: fn(String) -> ParsePatternError| Err(error(text.to_string()));
        if !TopicPattern::is_meant(text) {
            return fail(ParsePatternError::Name);
        }
        if text.len() > PATTERN_BYTES_MAX || text.matches('*').count() > STARS_MAX {
            return fail(ParsePatternError::TooLarge);
        }
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.*".contains(&byte);
        if !text.bytes().all(is_plain) {
            return fail(ParsePatternError::Character);
        }
        if text.starts_with(RESERVED_PREFIX) {
            return fail(ParsePatternError::Reserved);
        }
        let head = text.strip_suffix(".**").or_else(|| (text == "**").then_some(""));
        let fixed = head.unwrap_or(text);
        if fixed.contains("**") {
            return fail(ParsePatternError::Rest);
        }
        let segments = match (head, fixed) {
            (Some(_), "") => Vec::new(),
            _ => fixed.split('.').map(|part| Segment(part.split('*').map(String::from).collect())).collect(),
        };
        Ok(TopicPattern { text: text.to_string(), segments, takes_rest: head.is_some() })
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Segment {
    fn matches(&self, part: &str) -> bool {
        let Some((first, others)) = self.0.split_first() else { return false };
        let Some((last, middle)) = others.split_last() else { return first == part };
        let Some(mut rest) = part.strip_prefix(first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str())) else {
            return false;
        };
        for text in middle {
            // The earliest place leaves the most for the others.
            let Some(at) = rest.find(text.as_str()) else { return false };
            rest = rest.get(at + text.len()..).unwrap_or_default();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        let compiled: TopicPattern = pattern.parse().unwrap();
        assert_eq!(compiled.to_string(), pattern);
        for name in yes {
            assert!(compiled.matches(name), "{pattern} should match {name}");
        }
        for name in no {
            assert!(!compiled.matches(name), "{pattern} should not match {name}");
        }
    }

    #[test]
    fn a_star_stands_for_one_segment_or_a_part_of_one() {
        check("orders.*", &["orders.eu", "orders.a-b_c"], &["orders", "orders.eu.west", "refunds.eu", "xorders.eu"]);
        check("*", &["orders", "a"], &["orders.eu", "a.b"]);
        check("*.eu", &["orders.eu", "refunds.eu"], &["eu", "orders.us", "a.b.eu"]);
        check("orders.*.paid", &["orders.eu.paid"], &["orders.paid", "orders.eu.west.paid", "orders.eu.sent"]);
        check("ord*", &["ord", "orders", "ord-9"], &["or", "orders.eu", "border"]);
        check("a*b*c", &["abc", "a-b-c", "aXbYc".to_lowercase().as_str(), "abbcc"], &["ab", "acb", "ab.c", "cab"]);
        check("*x*x", &["xx", "axbx"], &["x", "xa", "ax"]);
    }

    #[test]
    fn two_stars_stand_for_one_or_more_segments_at_the_end() {
        check("orders.**", &["orders.eu", "orders.eu.west"], &["orders", "refunds.eu"]);
        check("**", &["orders", "orders.eu.west"], &[]);
        check("*.eu.**", &["orders.eu.west", "orders.eu.a.b"], &["orders.eu", "eu.west", "a.b.eu.west"]);
    }

    #[test]
    fn topics_of_the_host_match_nothing() {
        for pattern in ["**", "*", "*.*", "*.settled", "b*.settled", "b*.**"] {
            let compiled: TopicPattern = pattern.parse().unwrap();
            for name in ["bugle.settled", "bugle.to.mail", "bugle."] {
                assert!(!compiled.matches(name), "{pattern} must not match {name}");
            }
        }
        check("bugle*", &["bugle", "bugler", "bugle-x"], &["bugle.x"]);
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_reason() {
        let refused = |text: &str| text.parse::<TopicPattern>().unwrap_err();
        assert!(matches!(refused("orders"), ParsePatternError::Name(_)));
        assert!(matches!(refused("Orders.*"), ParsePatternError::Character(_)));
        assert!(matches!(refused("orders.?*"), ParsePatternError::Character(_)));
        for text in ["orders.**.paid", "**.eu", "orders**", "orders.a**", "***", "orders.***"] {
            assert!(matches!(refused(text), ParsePatternError::Rest(_)), "{text}");
        }
        assert!(matches!(refused("bugle.*"), ParsePatternError::Reserved(_)));
        assert!(matches!(refused(&"*.".repeat(20)), ParsePatternError::TooLarge(_)));
        assert!(matches!(refused(&format!("{}*", "x".repeat(200))), ParsePatternError::TooLarge(_)));
        assert!(refused("orders.**.x").to_string().contains("whole last segment"));
    }
}
