//! Who gets in: the token of the data directory, only under names of this machine, and with a body of a fair size.
//!
//! The `Host` check stops web pages that rebind a name of theirs to 127.0.0.1. Knows nothing of routes.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bugle_core::code::Code;
use http_body_util::BodyExt as _;

use super::failure::Failure;
use super::routes::BODY_BYTES_MAX;
use crate::host::Host;

/// Lets a request pass whose `Host` header names this machine or is configured.
pub(super) async fn known_host(State(host): State<Arc<Host>>, request: Request, next: Next) -> Response {
    let named = request.headers().get(HOST).and_then(|name| name.to_str().ok());
    if named.is_some_and(|name| is_known(name, host.allowed_hosts())) {
        return next.run(request).await;
    }
    let named = named.unwrap_or("none").chars().take(100).collect::<String>();
    let message = format!(
        "the `Host` header names `{named}`; use 127.0.0.1 or localhost, or add the name to `admin.allowed_hosts`"
    );
    Failure::new(Code::Denied, message).into_response()
}

/// Lets a request pass that carries the token.
pub(super) async fn token(State(host): State<Arc<Host>>, request: Request, next: Next) -> Response {
    let offered = request.headers().get(AUTHORIZATION);
    let offered = offered.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if offered.is_some_and(|offered| host.token().matches(offered)) {
        return next.run(request).await;
    }
    let message = "the admin token is missing or wrong; send `Authorization: Bearer TOKEN` with the text of the file `admin-token` in the data directory";
    Failure::new(Code::Unauthenticated, message).into_response()
}

/// Of a body that is too large anyway, at most this much is read and dropped before the answer.
const DRAINED_BYTES_MAX: usize = 64 << 20;

/// Refuses a body that says it is over the bound, once it was read: a connection closed under a client that still writes would
/// hide the answer from it.
pub(super) async fn fair_size(request: Request, next: Next) -> Response {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let Some(length) = length.filter(|length| *length > BODY_BYTES_MAX) else {
        return next.run(request).await;
    };
    let (mut body, mut drained) = (request.into_body(), 0);
    while let Some(Ok(frame)) = body.frame().await {
        drained += frame.data_ref().map_or(0, bytes::Bytes::len);
        if drained > DRAINED_BYTES_MAX {
            break;
        }
    }
    let message = format!("the body has {length} bytes, at most {BODY_BYTES_MAX} are taken here");
    Failure::new(Code::TooLarge, message).into_response()
}

fn is_known(named: &str, allowed: &[String]) -> bool {
    let bare = match named.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        Some(_) | None => named,
    };
    let address = bare.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    is_loopback || bare.eq_ignore_ascii_case("localhost") || allowed.iter().any(|name| bare.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::is_known;

    #[test]
    fn only_names_of_this_machine_or_of_the_config_pass() {
        let allowed = ["bus.example".to_owned()];
        for good in
            ["127.0.0.1", "127.0.0.1:4749", "localhost:1", "LOCALHOST", "[::1]:4749", "[::1]", "bus.example:443"]
        {
            assert!(is_known(good, &allowed), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "127.0.0.1.evil.example",
            "evil.example:4749",
            "localhost.evil.example",
            "10.0.0.1",
            "0.0.0.0:4749",
            "localhost:x",
        ] {
            assert!(!is_known(bad, &allowed), "{bad}");
        }
    }
}
