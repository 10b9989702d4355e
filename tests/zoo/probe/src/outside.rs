//! What leaves the host: HTTP, mail, and secrets.

use crate::{Given, Tried, tell};
use bugle_plugin::prelude::*;
use bugle_plugin::{Response, send_all};

pub(crate) fn run(kind: &str, cx: &Cx, event: &Event<Value>, given: &Given<'_>) -> Tried {
    let url = given.text("url", "/");
    let in_time = |request| given.optional_time("timeout").into_iter().fold(request, bugle_plugin::Request::timeout);
    let get = || in_time(cx.get(url));
    let post = || in_time(cx.post(url)).idempotency_header("idempotency-key").json(&letter(cx, event));
    Some(match kind {
        "http-get" | "http-wait" => get().send().map_err(Failure::from).and_then(|reply| by_status(&reply)),
        "http-post" => post().send().map_err(Failure::from).and_then(|reply| by_status(&reply)),
        "http-error" | "deny-http" => tell(get().send().map(|reply| reply.status())),
        "http-body" => match get().send() {
            Ok(reply) => reject(format!("{} {}", reply.status(), reply.text())),
            Err(error) => tell::<()>(Err(error)),
        },
        "http-header" => tell(
            cx.get(url).header(given.text("name", "x"), given.text("value", "y")).send().map(|reply| reply.status()),
        ),
        "http-all" => {
            let count = given.number("count", 4);
            let answers = send_all((0..count).map(|_| cx.get(url)));
            reject(answers.iter().map(shown).collect::<Vec<_>>().join(" "))
        }
        "http-then-trap" => {
            info!("sent {:?}", post().send().map(|reply| reply.status()));
            panic!("after the request");
        }
        "once-post" => cx.once(given.text("key", cx.idempotency_key()), || by_status(&post().send()?)),
        "once-post-noted" => cx.once(given.text("key", cx.idempotency_key()), || {
            by_status(&post().send()?)?;
            cx.note("someone", "sent").provider("probe").reference(given.text("reference", event.id())).save()?;
            Ok(())
        }),
        "once-post-resend" => {
            let claim = cx.claim(given.text("key", cx.idempotency_key())).resend_uncertain();
            claim.run(|| by_status(&post().send()?))
        }
        "once-post-then-trap" => cx.once::<()>(given.text("key", cx.idempotency_key()), || {
            info!("sent {:?}", post().send().map(|reply| reply.status()));
            panic!("after the request");
        }),
        "once-post-careless" => cx.once(given.text("key", cx.idempotency_key()), || match post().send() {
            Ok(reply) => by_status(&reply),
            Err(_) => retry(None, "called a retry, whatever was sent"),
        }),
        "mail" => {
            let mail = cx.mail().to(given.text("to", "someone@b.example")).subject(given.text("subject", "probe"));
            tell(mail.text(event.id()).send())
        }
        "sign" => match cx.sign(given.text("name", "signing"), Mac::HmacSha256, given.text("data", "").as_bytes()) {
            Ok(mac) => reject(mac.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
            Err(error) => tell::<()>(Err(error)),
        },
        "reveal" => match cx.reveal(given.text("name", "open")) {
            Ok(secret) => reject(String::from_utf8_lossy(&secret)),
            Err(error) => tell::<()>(Err(error)),
        },
        "config" => reject(format!("{:?}", cx.config().get::<String>(given.text("name", "url")).ok().flatten())),
        _ => return None,
    })
}

/// What a receiver needs to judge order and repeats.
fn letter(cx: &Cx, event: &Event<Value>) -> Value {
    json!({ "id": event.id(), "key": event.key(), "attempt": cx.attempt(), "idempotencyKey": cx.idempotency_key() })
}

fn by_status(reply: &Response) -> Outcome {
    match reply.status() {
        200..=299 => Ok(()),
        429 | 500.. => retry(reply.retry_after(), format!("status {}", reply.status())),
        status => reject(format!("status {status}")),
    }
}

fn shown(answer: &Result<Response, HostError>) -> String {
    match answer {
        Ok(reply) => reply.status().to_string(),
        Err(error) => error.code.as_str().to_owned(),
    }
}
