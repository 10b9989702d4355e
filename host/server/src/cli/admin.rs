//! The admin API as the command line calls it: finds the host, shows the token, turns failures into words.
//!
//! Knows nothing of particular commands.

use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use crate::api::Failure;
use crate::data_dir::{DataDir, Endpoints};
use crate::token::Token;

/// Compiling a large plugin takes the longest; a hung host must not hang its operator for ever.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// Largest answer read: a page of events at their largest.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// A connection to the admin API of one host.
#[derive(Debug)]
pub struct AdminClient {
    agent: Agent,
    endpoints: Endpoints,
    authorization: String,
}

impl AdminClient {
    /// Finds the host that serves the data directory.
    pub fn find(data: &DataDir) -> anyhow::Result<AdminClient> {
        let endpoints = data.find()?;
        let token = Token::load(&data.token())?;
        let config =
            Agent::config_builder().http_status_as_error(false).proxy(None).timeout_global(Some(ANSWER_WITHIN)).build();
        Ok(AdminClient { agent: config.into(), authorization: format!("Bearer {}", token.reveal()), endpoints })
    }

    /// Where the host listens.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.endpoints.admin)
    }

    /// Asks for something.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let request = self.agent.get(self.url(path));
        self.read(request.header("authorization", &self.authorization).call())
    }

    /// Deletes something.
    pub fn delete<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let request = self.agent.delete(self.url(path));
        self.read(request.header("authorization", &self.authorization).call())
    }

    /// Sends JSON to be acted on.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        let request = self.agent.post(self.url(path));
        let request = request.header("authorization", &self.authorization);
        self.read(request.send_json(body))
    }

    /// Sends JSON to be acted on for as long as it takes.
    pub fn post_patiently<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        let request = self.agent.post(self.url(path)).config().timeout_global(None).build();
        self.read(request.header("authorization", &self.authorization).send_json(body))
    }

    /// Sends JSON to be acted on for as long as it takes, and hands each line of the answer to `each`.
    pub fn post_lines<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        mut each: impl FnMut(T),
    ) -> anyhow::Result<()> {
        let request = self.agent.post(self.url(path)).config().timeout_global(None).build();
        let request = request.header("authorization", &self.authorization);
        let answer = self.received(request.send_json(body))?;
        if !answer.status().is_success() {
            return self.read(Ok(answer));
        }
        for line in BufReader::new(answer.into_body().into_reader()).lines() {
            let line = line.context("the answer broke off; the host may have ended")?;
            each(serde_json::from_str(&line).context("the answer is not of this version; use the host's own `bugle`")?);
        }
        Ok(())
    }

    /// Sends JSON to be kept under a name.
    pub fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        let request = self.agent.put(self.url(path));
        let request = request.header("authorization", &self.authorization);
        self.read(request.send_json(body))
    }

    /// Sends bytes to be kept under a name.
    pub fn put_bytes<T: DeserializeOwned>(&self, path: &str, body: &[u8]) -> anyhow::Result<T> {
        let request = self.agent.put(self.url(path));
        let request = request.header("authorization", &self.authorization);
        self.read(request.content_type("application/octet-stream").send(body))
    }

    fn received(&self, answer: Result<Response<Body>, ureq::Error>) -> anyhow::Result<Response<Body>> {
        let address = &self.endpoints.admin;
        answer.map_err(|error| match error {
            ureq::Error::Io(_) | ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => {
                anyhow!("no host answers at {address} ({error}); start it with `bugle serve`")
            }
            other => anyhow!(other).context(format!("the host at {address} did not answer")),
        })
    }

    fn read<T: DeserializeOwned>(&self, answer: Result<Response<Body>, ureq::Error>) -> anyhow::Result<T> {
        let mut answer = self.received(answer)?;
        let status = answer.status();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let text = body.read_to_string().context("the answer broke off")?;
        if status.is_success() {
            let text = if text.is_empty() { "null" } else { &text };
            return serde_json::from_str(text).context("the answer is not of this version; use the host's own `bugle`");
        }
        match serde_json::from_str::<Failure>(&text) {
            Ok(Failure { code, message }) => bail!("{message} [{code}]"),
            Err(_) if status == StatusCode::UNAUTHORIZED => bail!("the host refused the admin token"),
            Err(_) => bail!("the host answered {status}"),
        }
    }
}

/// Escapes a part of a path or query.
#[must_use]
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A query string of the parameters that are set.
#[must_use]
pub(super) fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let set: Vec<String> =
        parameters.iter().filter_map(|(name, value)| value.map(|value| format!("{name}={}", escape(value)))).collect();
    if set.is_empty() { String::new() } else { format!("?{}", set.join("&")) }
}
