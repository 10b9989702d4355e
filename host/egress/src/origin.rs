//! Origins (scheme, host, port) and the patterns that allow them.
//!
//! One parser for both: what is checked here is the same value that is later connected to. It knows nothing of addresses.
//!
//! Invariant: host names are lower case; a port is always known.

use hyper::Uri;
use hyper::http::uri::Scheme;
use std::fmt;
use std::str::FromStr;

use crate::address::Network;

/// Where a request goes: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    pub(crate) tls: bool,
    /// Lower case; an IPv6 literal keeps its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Text that is no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an origin: {reason}; write it like `https://api.example.com` or `http://10.0.0.7:8080`")]
pub struct ParseOriginError {
    /// What was given, cut short.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Longest text repeated in an error; a URL may hold secrets after its origin.
const QUOTED_CHARS_MAX: usize = 80;

impl Origin {
    /// The origin of an absolute URL.
    pub fn of(uri: &Uri) -> Result<Origin, ParseOriginError> {
        let refuse = |reason| ParseOriginError { text: quoted(uri), reason };
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(_) => return Err(refuse("only http and https are served")),
            None => return Err(refuse("it has no scheme")),
        };
        let authority = uri.authority().ok_or_else(|| refuse("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("user info is not allowed"));
        }
        let host = authority.host().to_ascii_lowercase();
        if host.is_empty() {
            return Err(refuse("it has no host"));
        }
        // `example.com:` parses as a host without port; a port that does not fit in 16 bits as none at all.
        let port = match (authority.port_u16(), authority.as_str().len() > host.len()) {
            (Some(0), _) | (None, true) => return Err(refuse("the port is not valid")),
            (Some(port), _) => port,
            (None, false) => default_port(tls),
        };
        Ok(Origin { tls, host, port })
    }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// Scheme and host only: never the path or the query.
fn quoted(uri: &Uri) -> String {
    let text = match (uri.scheme_str(), uri.authority()) {
        (Some(scheme), Some(authority)) => {
            let after_user = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host);
            format!("{scheme}://{after_user}")
        }
        _ => "(relative)".to_owned(),
    };
    text.chars().take(QUOTED_CHARS_MAX).collect()
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port != default_port(self.tls) {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

impl FromStr for Origin {
    type Err = ParseOriginError;

    fn from_str(text: &str) -> Result<Origin, ParseOriginError> {
        let refuse = |reason| ParseOriginError { text: text.chars().take(QUOTED_CHARS_MAX).collect(), reason };
        let uri: Uri = text.parse().map_err(|_| refuse("it does not parse"))?;
        Origin::of(&uri)
    }
}

/// An allowed origin, or all origins whose host differs in the first label only (`https://*.example.com`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern {
    tls: bool,
    host: HostPattern,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    Exactly(String),
    /// The part after `*`, with its leading dot.
    AnyLabelBefore(String),
}

impl OriginPattern {
    /// Whether the pattern allows this origin.
    #[must_use]
    pub fn allows(&self, origin: &Origin) -> bool {
        let host = match &self.host {
            HostPattern::Exactly(host) => *host == origin.host,
            HostPattern::AnyLabelBefore(rest) => {
                origin.host.strip_suffix(rest.as_str()).is_some_and(|label| !label.is_empty() && !label.contains('.'))
            }
        };
        host && self.tls == origin.tls && self.port == origin.port
    }
}

impl OriginPattern {
    /// Networks that an operator grants by writing this origin: its address, or this machine for `localhost`. A name grants
    /// none, since whoever runs its name server chooses the address.
    pub fn networks(&self) -> impl Iterator<Item = Network> {
        let host = match &self.host {
            HostPattern::Exactly(host) => host.as_str(),
            HostPattern::AnyLabelBefore(_) => "",
        };
        let texts = match host {
            "localhost" => vec!["127.0.0.0/8", "::1"],
            host => vec![host.trim_start_matches('[').trim_end_matches(']')],
        };
        let networks: Vec<Network> = texts.into_iter().filter_map(|text| text.parse().ok()).collect();
        networks.into_iter()
    }
}

impl From<Origin> for OriginPattern {
    fn from(origin: Origin) -> OriginPattern {
        OriginPattern { tls: origin.tls, host: HostPattern::Exactly(origin.host), port: origin.port }
    }
}

impl FromStr for OriginPattern {
    type Err = ParseOriginError;

    /// An origin without path; the host may begin with `*.`.
    fn from_str(text: &str) -> Result<OriginPattern, ParseOriginError> {
        let refuse = |reason| ParseOriginError { text: text.chars().take(QUOTED_CHARS_MAX).collect(), reason };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| refuse("it has no scheme"))?;
        if rest.contains(['/', '?', '#']) {
            return Err(refuse("a path is not part of an origin"));
        }
        let (host, has_star) = rest.strip_prefix("*.").map_or((rest, false), |after| (after, true));
        if host.contains('*') {
            return Err(refuse("a `*` stands for the first label only"));
        }
        if !has_star {
            return text.parse::<Origin>().map(OriginPattern::from);
        }
        let origin: Origin = format!("{scheme}://{host}").parse()?;
        Ok(OriginPattern {
            tls: origin.tls,
            host: HostPattern::AnyLabelBefore(format!(".{}", origin.host)),
            port: origin.port,
        })
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match &self.host {
            HostPattern::Exactly(host) => host.clone(),
            HostPattern::AnyLabelBefore(rest) => format!("*{rest}"),
        };
        Origin { tls: self.tls, host, port: self.port }.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(pattern: &str, origin: &str) -> bool {
        let pattern: OriginPattern = pattern.parse().unwrap();
        pattern.allows(&origin.parse().unwrap())
    }

    #[test]
    fn a_pattern_allows_its_origin_and_nothing_near_it() {
        assert!(allows("https://api.example.com", "https://API.example.com/path?x"));
        assert!(allows("https://api.example.com:443", "https://api.example.com"));
        for other in [
            "http://api.example.com",
            "https://api.example.com:444",
            "https://api.example.com.evil.test",
            "https://example.com",
            "https://x.api.example.com",
            "https://api.example.com.",
        ] {
            assert!(!allows("https://api.example.com", other), "{other}");
        }
    }

    #[test]
    fn a_star_is_one_label() {
        assert!(allows("https://*.example.com", "https://a.example.com"));
        for other in [
            "https://example.com",
            "https://a.b.example.com",
            "https://.example.com",
            "https://evilexample.com",
            "http://a.example.com",
        ] {
            assert!(!allows("https://*.example.com", other), "{other}");
        }
    }

    #[test]
    fn odd_urls_are_refused() {
        for text in [
            "ftp://a.example",
            "https://user@a.example/",
            "https://user:secret@a.example/",
            "/relative",
            "https://",
            "https://a.example:0",
            "https://a.example:99999",
            "https://a.example:",
            "",
        ] {
            let refused = text.parse::<Origin>();
            assert!(refused.is_err(), "{text}: {refused:?}");
            assert!(!refused.unwrap_err().to_string().contains("secret@x"));
        }
        for text in ["https://a.example/path", "https://*.*.example", "a.example", "https://*"] {
            assert!(text.parse::<OriginPattern>().is_err(), "{text}");
        }
    }
}
