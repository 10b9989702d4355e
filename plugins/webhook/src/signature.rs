//! The three headers of Standard Webhooks.
//!
//! The secret stays with the host. What is signed is `id.timestamp.body`, byte for byte as sent.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bugle_plugin::prelude::*;
use std::time::UNIX_EPOCH;

/// `webhook-id` and `webhook-timestamp`, and `webhook-signature` if it is wanted.
pub(crate) fn headers(cx: &Cx, sign: bool, body: &[u8]) -> Result<Vec<(String, String)>, HostError> {
    let id = cx.idempotency_key();
    let seconds = cx.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut headers =
        vec![("webhook-id".to_owned(), id.to_owned()), ("webhook-timestamp".to_owned(), seconds.to_string())];
    if sign {
        let mut content = format!("{id}.{seconds}.").into_bytes();
        content.extend_from_slice(body);
        let mac = STANDARD.encode(cx.sign("signing", Mac::HmacSha256, &content)?);
        headers.push(("webhook-signature".to_owned(), format!("v1,{mac}")));
    }
    Ok(headers)
}
