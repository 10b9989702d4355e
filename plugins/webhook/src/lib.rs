//! The webhook channel: POSTs each event to one URL, signed as Standard Webhooks.
//!
//! It does not know retries, rates or back-off; it says what an answer means. Invariant: every attempt of one
//! delivery carries the same `webhook-id`, so a receiver can drop a repeat.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

mod callback;
mod settings;
mod signature;

use bugle_plugin::prelude::*;
use bugle_plugin::{Request, Response};
use settings::{Format, Settings};

#[channel(check = settings::check, inbound = callback::told)]
fn webhook(cx: &Cx, event: Event<()>) -> Outcome {
    let settings = Settings::read(&cx.config())?;
    // The receiver drops equal ids, so sending again what may have arrived does no harm.
    let claim = cx.claim(cx.idempotency_key()).resend_uncertain();
    let status: u16 = claim.run(|| judge(cx, &settings, &request(cx, &settings, &event)?.send()?))?;
    // Under the id that the receiver got, so that it can tell what became of the event.
    let note = cx.note(settings.recipient(), "sent").provider("webhook").reference(cx.idempotency_key());
    note.detail(format!("status {status}")).save()?;
    Ok(())
}

fn request<'a>(cx: &'a Cx, settings: &Settings, event: &Event<()>) -> Result<Request<'a>, HostError> {
    let (body, content_type, attributes) = match settings.format {
        Format::Structured => (event.to_structured_json(), "application/cloudevents+json".to_owned(), Vec::new()),
        Format::Binary => {
            let content_type = event.content_type().unwrap_or("application/json").to_owned();
            (event.data().to_vec(), content_type, binary_attributes(event))
        }
    };
    let extra = settings.headers.iter().map(|(name, value)| (name.clone(), value.clone()));
    let signed = signature::headers(cx, settings.sign, &body)?;
    let request = cx.post(&settings.url).timeout(settings.timeout).header("content-type", content_type).body(body);
    let headers = attributes.into_iter().chain(signed).chain(extra);
    Ok(headers.fold(request, |request, (name, value)| request.header(&name, value)))
}

/// Attributes as headers, percent-encoded as the CloudEvents HTTP binding says (section 3.1.3.2).
fn binary_attributes(event: &Event<()>) -> Vec<(String, String)> {
    let own = ["specversion", "id", "source", "type", "subject", "time", "partitionkey"];
    let own = own.into_iter().filter_map(|name| Some((name.to_owned(), event.attribute(name)?)));
    let extensions =
        event.extensions().filter(|(name, _)| *name != "time").map(|(name, value)| (name.to_owned(), value.to_owned()));
    own.chain(extensions).map(|(name, value)| (format!("ce-{name}"), percent_encode(&value))).collect()
}

fn percent_encode(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b' ' | b'"' | b'%' => text.push_str(&format!("%{byte:02X}")),
            0x21..=0x7e => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// What an answer means for the delivery.
fn judge(cx: &Cx, settings: &Settings, reply: &Response) -> Result<u16, Failure> {
    let said = || format!("receiver said {}{}", reply.status(), excerpt(reply));
    match reply.status() {
        status @ 200..=299 => Ok(status),
        408 | 425 | 429 | 500.. => retry(reply.retry_after(), said()),
        410 => {
            if settings.pause_on_gone
                && let Err(error) = cx.pause_subscription("receiver said 410 gone")
            {
                warn!("not paused: {error}");
            }
            reject(said())
        }
        // Not followed: the signature is for this receiver, and a redirect could lead anywhere.
        300..=399 => retry(
            None,
            format!(
                "{}; redirects are not followed, set `url` to {}",
                said(),
                reply.header("location").unwrap_or("the new place")
            ),
        ),
        _ => reject(said()),
    }
}

/// The start of the answer's text, for the person who looks at the dead letter.
fn excerpt(reply: &Response) -> String {
    /// Enough for one sentence of an API's error.
    const LENGTH: usize = 200;
    let text: String = reply.text().chars().take(LENGTH).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.trim().is_empty() { String::new() } else { format!(": {}", text.trim()) }
}

#[cfg(test)]
mod tests;
