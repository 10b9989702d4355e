//! The provider calls back: what became of what was sent to it.
//!
//! The author's function checks who speaks and says which send moved where; this turns its answer into the contract's. There is no delivery,
//! so there is no `Cx`. Invariant: a signature is compared in a time that does not tell how much of it is right.

use crate::error::HostError;
use crate::host::{self, millis};
use crate::raw::receiving::exports::bugle::plugin::inbound as wit;
use crate::{Config, Mac};
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A request of the provider. Anybody may have made it: check its signature first.
#[derive(Debug)]
pub struct Callback {
    inner: wit::Callback,
}

impl From<wit::Callback> for Callback {
    fn from(inner: wit::Callback) -> Callback {
        Callback { inner }
    }
}

impl Callback {
    /// `GET`, `POST` or `PUT`.
    pub fn method(&self) -> &str {
        &self.inner.method
    }

    /// As it was sent: `/inbound/SUBSCRIPTION` and what follows.
    pub fn path(&self) -> &str {
        &self.inner.path
    }

    /// What follows the question mark, as it was sent.
    pub fn query(&self) -> Option<&str> {
        self.inner.query.as_deref()
    }

    /// A header, by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.inner.headers.iter();
        headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body, at most 1 MiB.
    pub fn body(&self) -> &[u8] {
        &self.inner.body
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.inner.body).map_err(|error| format!("the body is not what was expected: {error}"))
    }

    /// Whether `signature` is the MAC of `data` with a secret of the subscription; `false` for any other length.
    ///
    /// # Errors
    /// `denied`, `not-found`, or `invalid` if a `whsec_` secret does not decode.
    pub fn is_signed(&self, secret: &str, algorithm: Mac, data: &[u8], signature: &[u8]) -> Result<bool, HostError> {
        let expected = crate::sign(secret, algorithm, data)?;
        let differs = expected.iter().zip(signature).fold(0, |differs, (one, other)| differs | (one ^ other));
        Ok(expected.len() == signature.len() && differs == 0)
    }

    /// A secret itself, for providers that send a token instead of a signature.
    ///
    /// # Errors
    /// `denied` without `uses = ["reveal"]`, `not-found`.
    pub fn reveal(&self, secret: &str) -> Result<Vec<u8>, HostError> {
        Ok(host::secrets::reveal(secret)?)
    }

    /// Wall time now; virtual in the mock.
    pub fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(host::now())
    }

    /// The subscription's settings.
    pub fn config(&self) -> Config {
        Config::default()
    }
}

/// What became of one send.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    inner: wit::StatusChange,
}

impl Status {
    /// `status` is a word of [`Cx::note`](crate::Cx::note), `reference` what was noted with [`Note::reference`](crate::Note::reference).
    pub fn new(reference: impl Into<String>, status: &str) -> Self {
        let (recipient, at, detail) = (None, None, None);
        let provider_ref = reference.into();
        Self { inner: wit::StatusChange { provider_ref, recipient, status: status.to_owned(), at, detail } }
    }

    /// It arrived.
    pub fn delivered(reference: impl Into<String>) -> Self {
        Self::new(reference, "delivered")
    }

    /// It came back.
    pub fn bounced(reference: impl Into<String>) -> Self {
        Self::new(reference, "bounced")
    }

    /// Of this recipient only; else of each one that was noted with the reference.
    #[must_use]
    pub fn recipient(mut self, recipient: impl Into<String>) -> Self {
        self.inner.recipient = Some(recipient.into());
        self
    }

    /// When it happened, as the provider says.
    #[must_use]
    pub fn at(mut self, at: SystemTime) -> Self {
        self.inner.at = Some(millis(at.duration_since(UNIX_EPOCH).unwrap_or_default()));
        self
    }

    /// Free text.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.inner.detail = Some(detail.into());
        self
    }
}

/// Run the author's function.
///
/// # Errors
/// The text of whatever it says: the callback is refused.
pub fn receive<E: Display>(
    callback: wit::Callback,
    receive: impl FnOnce(&Callback) -> Result<Vec<Status>, E>,
) -> Result<Vec<wit::StatusChange>, String> {
    let told = receive(&Callback::from(callback)).map_err(|error| error.to_string())?;
    Ok(told.into_iter().map(|status| status.inner).collect())
}

#[cfg(test)]
mod tests {
    use crate::mock::{self, Host};
    use crate::prelude::*;

    #[derive(Deserialize)]
    struct Told {
        id: String,
        state: String,
    }

    fn told(callback: &Callback) -> Result<Vec<Status>, String> {
        let signature = callback.header("X-Signature").unwrap_or_default();
        let bytes: Vec<u8> = signature.split(',').filter_map(|byte| byte.parse().ok()).collect();
        let is_good = callback.is_signed("key", Mac::HmacSha256, callback.body(), &bytes);
        if !is_good.map_err(|error| error.message)? {
            return Err("the signature is wrong".to_owned());
        }
        let Told { id, state } = callback.json()?;
        Ok(vec![Status::new(id, &state).recipient("+49")])
    }

    fn signed(host: &Host, body: &str) -> String {
        let mac = host.within(|| crate::sign("key", Mac::HmacSha256, body.as_bytes()).unwrap());
        mac.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn only_what_is_signed_with_the_secret_is_taken() {
        let host = Host::new().secret("key", "s3cret");
        let body = r#"{"id":"m-1","state":"delivered"}"#;
        let good = signed(&host, body);
        let call = |signature: &str, body: &str| {
            host.receive(told, mock::callback("POST", "/inbound/sms").header("x-signature", signature).body(body))
        };
        assert_eq!(call(&good, body), Ok(vec![Status::delivered("m-1").recipient("+49")]));
        for (signature, body) in [("", body), (&good[..good.len() - 3], body), (&good, "{}")] {
            assert_eq!(call(signature, body), Err("the signature is wrong".to_owned()), "{signature}");
        }
        let broken = call(&signed(&host, "{"), "{").unwrap_err();
        assert!(broken.starts_with("the body is not what was expected"), "{broken}");
    }

    #[test]
    fn there_is_no_delivery_and_a_secret_needs_its_grant() {
        let host = Host::new().deny("secrets");
        let refused = host.receive(told, mock::callback("POST", "/inbound/sms?x=1").header("x-signature", "1"));
        assert!(refused.unwrap_err().contains("secrets"));
        let path = |callback: &Callback| {
            let (path, query) = (callback.path().to_owned(), callback.query().map(str::to_owned));
            assert_eq!((path.as_str(), query.as_deref(), callback.method()), ("/inbound/sms", Some("x=1"), "GET"));
            Ok::<_, String>(vec![])
        };
        assert_eq!(host.receive(path, mock::callback("GET", "/inbound/sms?x=1")), Ok(vec![]));
    }
}
