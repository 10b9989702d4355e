//! HTTP calls: a request builder and a whole response, no streams.
//!
//! Where a plugin may call is the host's matter. An error says whether something may have been
//! sent; with `?` it becomes the right verdict.

use crate::cx::Cx;
use crate::date;
use crate::error::HostError;
use crate::host::{self, millis, wit};
use crate::verdict::{Failure, Fault};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::time::Duration;

/// A request being built. Mistakes (an unset base URL, JSON that does not serialise) surface at `send`.
#[derive(Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct Request<'a> {
    cx: &'a Cx,
    parts: Result<wit::http::Request, HostError>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(cx: &'a Cx, method: &str, url: &str) -> Self {
        let parts = absolute(cx, url).map(|url| wit::http::Request {
            method: method.to_owned(),
            url,
            headers: Vec::new(),
            body: Vec::new(),
            timeout: None,
            idempotency_header: None,
        });
        Self { cx, parts }
    }

    fn set(mut self, change: impl FnOnce(&mut wit::http::Request)) -> Self {
        if let Ok(parts) = &mut self.parts {
            change(parts);
        }
        self
    }

    /// Add a header.
    pub fn header(self, name: &str, value: impl Into<String>) -> Self {
        self.set(|parts| parts.headers.push((name.to_owned(), value.into())))
    }

    /// A JSON body, with its content type unless a header has set one.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.body(body).content_type("application/json"),
            Err(error) => {
                self.parts = Err(HostError::invalid(format!("body is not JSON: {error}")));
                self
            }
        }
    }

    /// A text body.
    pub fn text(self, text: impl Into<String>) -> Self {
        self.body(text.into().into_bytes()).content_type("text/plain; charset=utf-8")
    }

    /// Any body.
    pub fn body(self, body: Vec<u8>) -> Self {
        self.set(|parts| parts.body = body)
    }

    fn content_type(self, value: &str) -> Self {
        self.set(|parts| {
            if !parts.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                parts.headers.push(("content-type".to_owned(), value.to_owned()));
            }
        })
    }

    /// Limit for the whole exchange; by default until the delivery's deadline.
    pub fn timeout(self, time: Duration) -> Self {
        self.set(|parts| parts.timeout = Some(millis(time)))
    }

    /// Let the host put the delivery's idempotency key into this header.
    pub fn idempotency_header(self, name: &str) -> Self {
        self.set(|parts| parts.idempotency_header = Some(name.to_owned()))
    }

    /// Send and wait for the whole answer. Any status is `Ok`.
    ///
    /// # Errors
    /// `not-sent`, `maybe-sent`, `denied` and the like.
    pub fn send(self) -> Result<Response, HostError> {
        Ok(Response(host::http::send(self.cx.ticket(), &self.parts?)?))
    }
}

/// Send up to 16 requests at once; one answer each, in the same order.
pub fn send_all<'a>(requests: impl IntoIterator<Item = Request<'a>>) -> Vec<Result<Response, HostError>> {
    let requests: Vec<_> = requests.into_iter().collect();
    let Some(ticket) = requests.first().map(|request| request.cx.ticket()) else {
        return Vec::new();
    };
    let ready: Vec<_> = requests.iter().filter_map(|request| request.parts.clone().ok()).collect();
    let mut answers = host::http::send_all(ticket, &ready).into_iter();
    let next = |request: Request<'a>| {
        request.parts?;
        let missing = || {
            Err(wit::types::Error {
                code: "unavailable".into(),
                message: "the host gave fewer answers than requests".into(),
                retry_after: None,
            })
        };
        Ok(Response(answers.next().unwrap_or_else(missing)?))
    };
    requests.into_iter().map(next).collect()
}

fn absolute(cx: &Cx, url: &str) -> Result<String, HostError> {
    if !url.starts_with('/') {
        return Ok(url.to_owned());
    }
    let base: String = cx.config().require("url")?;
    Ok(format!("{}{url}", base.trim_end_matches('/')))
}

/// A whole response.
#[derive(Debug, Clone, PartialEq)]
pub struct Response(wit::http::Response);

/// A response whose body is not what was expected. With `?`: after a 2xx status the effect most likely
/// happened, so `unknown`; after any other, a retry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyError {
    status: u16,
    message: String,
}

impl Response {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.0.status
    }

    /// Status 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.0.status)
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All headers, names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.0.body
    }

    /// The body as text; bytes that are not UTF-8 become `U+FFFD`.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0.body)
    }

    /// The body decoded from JSON.
    ///
    /// # Errors
    /// It is not JSON or not a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ReplyError> {
        serde_json::from_slice(&self.0.body)
            .map_err(|error| ReplyError { status: self.0.status, message: error.to_string() })
    }

    /// `Retry-After` as a time from now, from seconds or an HTTP date (a past one is zero); at most 30 days.
    pub fn retry_after(&self) -> Option<Duration> {
        /// Further ahead than any sane receiver asks; the host's own limit of `defer`.
        const LONGEST: Duration = Duration::from_secs(30 * 86_400);
        let value = self.header("retry-after")?.trim();
        let wait = if value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() {
            Duration::from_secs(value.parse().unwrap_or(u64::MAX))
        } else {
            // The receiver's own clock, if it says so, makes its date right even when our clocks differ.
            let now = self.header("date").and_then(date::parse_http).unwrap_or_else(host::now);
            Duration::from_millis(date::parse_http(value)?.saturating_sub(now))
        };
        Some(wait.min(LONGEST))
    }
}

impl std::fmt::Display for ReplyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "answer with status {} has an unexpected body: {}", self.status, self.message)
    }
}

impl std::error::Error for ReplyError {}

impl From<ReplyError> for Failure {
    fn from(error: ReplyError) -> Self {
        if (200..300).contains(&error.status) {
            crate::warn!("{error}");
            return Self::Unknown(String::new());
        }
        Self::Retry { after: None, reason: error.to_string(), fault: Fault::Channel }
    }
}

#[cfg(test)]
mod tests;
