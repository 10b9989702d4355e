//! The receiver tells what became of an event, in a request signed as Standard Webhooks with a secret of its own.
//!
//! That is another secret than the one for the way out, so that what was sent can't be sent back as a callback. Invariant: nothing of
//! the body is believed before its signature and its time were checked.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bugle_plugin::prelude::*;
use std::time::UNIX_EPOCH;

/// How far the time of a callback may be from ours: the tolerance of Standard Webhooks.
const TOLERANCE: Duration = Duration::from_secs(300);

/// One line of a callback.
#[derive(Debug, Deserialize)]
struct Told {
    /// The `webhook-id` of the event.
    id: String,
    /// `delivered`, `bounced` or another word for a send record.
    status: String,
    #[serde(default)]
    detail: Option<String>,
}

/// One of them, or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Body {
    One(Told),
    Many(Vec<Told>),
}

pub(crate) fn told(callback: &Callback) -> Result<Vec<Status>, String> {
    verify(callback)?;
    let told = match callback.json()? {
        Body::One(told) => vec![told],
        Body::Many(told) => told,
    };
    let status = |told: Told| {
        let status = Status::new(told.id, &told.status);
        told.detail.map_or(status.clone(), |detail| status.detail(detail))
    };
    Ok(told.into_iter().map(status).collect())
}

fn verify(callback: &Callback) -> Result<(), String> {
    let header = |name: &str| callback.header(name).ok_or_else(|| format!("the header `{name}` is missing"));
    let (id, timestamp, signatures) =
        (header("webhook-id")?, header("webhook-timestamp")?, header("webhook-signature")?);
    let seconds: u64 = timestamp.parse().map_err(|_| "`webhook-timestamp` is not a number of seconds".to_owned())?;
    let now = callback.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if now.abs_diff(seconds) > TOLERANCE.as_secs() {
        return Err("`webhook-timestamp` is more than five minutes away".to_owned());
    }
    let mut content = format!("{id}.{timestamp}.").into_bytes();
    content.extend_from_slice(callback.body());
    for signature in signatures.split(' ').filter_map(|signature| signature.strip_prefix("v1,")) {
        let Ok(bytes) = STANDARD.decode(signature) else { continue };
        if callback.is_signed("callback", Mac::HmacSha256, &content, &bytes).map_err(|error| error.message)? {
            return Ok(());
        }
    }
    Err("no signature of it is right".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bugle_plugin::mock::{self, CallbackBuilder, Host};

    const SECRET: &str = "whsec_Y2FsbGJhY2stc2VjcmV0LWZvci10ZXN0cw==";

    /// Signed at the start of the mock's time.
    fn signed(host: &Host, at: u64, body: &str) -> CallbackBuilder {
        let content = format!("c-1.{at}.{body}");
        let mac = host.within(|| bugle_plugin::sign("callback", Mac::HmacSha256, content.as_bytes()).unwrap());
        mock::callback("POST", "/inbound/hook")
            .header("webhook-id", "c-1")
            .header("webhook-timestamp", at.to_string())
            .header("webhook-signature", format!("v1,AAAA v1,{}", STANDARD.encode(mac)))
            .body(body)
    }

    const NOW: u64 = 1_793_491_200;

    #[test]
    fn what_the_receiver_signed_is_told() {
        let host = Host::new().secret("callback", SECRET);
        let one = signed(&host, NOW, r#"{"id":"m-1","status":"delivered"}"#);
        assert_eq!(host.receive(told, one), Ok(vec![Status::delivered("m-1")]));
        let body = r#"[{"id":"m-1","status":"bounced","detail":"no such user"},{"id":"m-2","status":"delivered"}]"#;
        let several = vec![Status::bounced("m-1").detail("no such user"), Status::delivered("m-2")];
        assert_eq!(host.receive(told, signed(&host, NOW - 299, body)), Ok(several));
    }

    #[test]
    fn everything_else_is_refused() {
        let host = Host::new().secret("callback", SECRET);
        let body = r#"{"id":"m-1","status":"delivered"}"#;
        let refused = |callback: CallbackBuilder| host.receive(told, callback).unwrap_err();
        assert!(refused(mock::callback("POST", "/inbound/hook").body(body)).contains("`webhook-id` is missing"));
        assert!(refused(signed(&host, NOW + 301, body)).contains("five minutes"));
        assert!(refused(signed(&host, NOW, body).body(body.replace("m-1", "m-2"))).contains("no signature"));
        let other = Host::new().secret("callback", "whsec_b3RoZXI=");
        assert!(refused(signed(&other, NOW, body)).contains("no signature"));
        assert!(refused(signed(&host, NOW, "{}")).contains("not what was expected"));
        let without = Host::new();
        assert!(without.receive(told, signed(&host, NOW, body)).is_err(), "no secret, no callback");
    }
}
