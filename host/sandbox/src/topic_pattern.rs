//! Topics a plugin may publish to: a name, or a prefix before a final `*`.
//!
//! Knows nothing of which topics exist.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// A topic's name or the beginning of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicPattern {
    /// This topic.
    Exactly(String),
    /// Every topic whose name starts so.
    StartsWith(String),
}

impl TopicPattern {
    /// Whether the pattern covers the topic.
    #[must_use]
    pub fn allows(&self, topic: &str) -> bool {
        match self {
            TopicPattern::Exactly(name) => name == topic,
            TopicPattern::StartsWith(prefix) => topic.starts_with(prefix.as_str()),
        }
    }
}

impl FromStr for TopicPattern {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<TopicPattern, Infallible> {
        Ok(match text.strip_suffix('*') {
            Some(prefix) => TopicPattern::StartsWith(prefix.to_owned()),
            None => TopicPattern::Exactly(text.to_owned()),
        })
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TopicPattern::Exactly(name) => f.write_str(name),
            TopicPattern::StartsWith(prefix) => write!(f, "{prefix}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_final_star_is_special() {
        let pattern = |text: &str| text.parse::<TopicPattern>().unwrap();
        assert!(pattern("orders.*").allows("orders.paid"));
        assert!(!pattern("orders.*").allows("orders"));
        assert!(!pattern("o*s").allows("orders"));
        assert!(pattern("*").allows("anything"));
        assert!(!pattern("orders").allows("orders.paid"));
    }
}
