//! The admin API as a test uses it: JSON in, JSON out, and refusals as values.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::Agent;
use ureq::http::Response;

/// A refusal of the host.
#[derive(Debug)]
pub struct AdminError {
    /// HTTP status.
    pub status: u16,
    /// Stable code.
    pub code: String,
    /// For people.
    pub message: String,
}

/// A client of one host's admin API.
#[derive(Clone, Debug)]
pub struct Admin {
    agent: Agent,
    base: String,
    token: String,
}

/// Deploying compiles a component; everything else is quick.
const CALL_WITHIN: Duration = Duration::from_secs(120);

impl Admin {
    pub(crate) fn new(address: &str, token: &str) -> Admin {
        let config = Agent::config_builder().timeout_global(Some(CALL_WITHIN)).http_status_as_error(false).build();
        Admin { agent: config.into(), base: format!("http://{address}"), token: token.to_owned() }
    }

    /// GET; the outer error is a broken call, the inner one a refusal.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Result<T, AdminError>> {
        let request = self.agent.get(format!("{}{path}", self.base));
        let answer = request.header("authorization", format!("Bearer {}", self.token)).call();
        read(path, answer.with_context(|| format!("GET {path}"))?)
    }

    /// POST of a JSON body.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<Result<T, AdminError>> {
        let request = self.agent.post(format!("{}{path}", self.base));
        let answer = request.header("authorization", format!("Bearer {}", self.token)).send_json(body);
        read(path, answer.with_context(|| format!("POST {path}"))?)
    }

    /// PUT of raw bytes.
    pub fn put_bytes<T: DeserializeOwned>(&self, path: &str, body: &[u8]) -> Result<Result<T, AdminError>> {
        let request = self.agent.put(format!("{}{path}", self.base));
        let answer = request.header("authorization", format!("Bearer {}", self.token)).send(body);
        read(path, answer.with_context(|| format!("PUT {path}"))?)
    }

    /// A page as text, such as `/metrics`.
    pub fn text(&self, path: &str) -> Result<String> {
        let request = self.agent.get(format!("{}{path}", self.base));
        let mut answer = request.header("authorization", format!("Bearer {}", self.token)).call()?;
        Ok(answer.body_mut().with_config().limit(PAGE_BYTES_MAX).read_to_string()?)
    }
}

/// The dump of a long run has a line for each event.
const PAGE_BYTES_MAX: u64 = 1 << 30;

fn read<T: DeserializeOwned>(path: &str, mut answer: Response<ureq::Body>) -> Result<Result<T, AdminError>> {
    let status = answer.status().as_u16();
    let text = answer
        .body_mut()
        .with_config()
        .limit(PAGE_BYTES_MAX)
        .read_to_string()
        .with_context(|| format!("reading {path}"))?;
    if (200..300).contains(&status) {
        let text = if text.is_empty() { "null" } else { &text };
        return Ok(Ok(serde_json::from_str(text).with_context(|| format!("{path} answered {text:.500}"))?));
    }
    let failure: Value = serde_json::from_str(&text).unwrap_or_default();
    let word = |name: &str| failure.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Err(AdminError { status, code: word("code"), message: word("message") }))
}
