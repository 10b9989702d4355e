//! The three channels of the demo: their subscriptions, how their receivers fail, and the config that they need.
//!
//! Texts as a person would write them. Invariant: names here are those in the logs.

use std::net::SocketAddr;
use std::time::Duration;

use bugle_checker::record::{Position, Subscription};
use bugle_receivers::{Dice, Script};

use crate::traffic::TOPIC;

pub(crate) const WEBHOOK: &str = "webhook";
pub(crate) const EMAIL: &str = "email";
pub(crate) const INBOX: &str = "inbox";

/// Deliveries in flight at once, per channel: what a kill may repeat at most.
pub(crate) const CONCURRENCY: u64 = 32;

/// How long the webhook plugin waits for an answer.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// The webhook receiver: now and then 500, 429 with Retry-After, no answer, half an answer; rarely a refusal for good.
pub(crate) fn webhook_faults(dice: Dice) -> Script {
    Script { dice, fail: 20, busy: 5, hang: 3, broken: 3, reject: 2, ..Script::default() }
}

/// The mail relay: now and then 451; rarely it hangs up after the content.
pub(crate) fn mail_faults(dice: Dice) -> Script {
    Script { dice, fail: 15, broken: 2, ..Script::default() }
}

pub(crate) fn host_config(smtp: SocketAddr) -> String {
    format!(
        "[log]\nfilter = \"warn\"\n[mail]\nhost = \"{}\"\nport = {}\nsecurity = \"none\"\n\
         sender = \"Bugle demo <bugle@demo.example>\"\n",
        smtp.ip(),
        smtp.port()
    )
}

const RETRY: &str = r#"{ first_backoff = "200ms", backoff_max = "1s" }"#;

pub(crate) fn webhook(http: SocketAddr) -> String {
    let timeout = WEBHOOK_TIMEOUT.as_secs();
    format!(
        r#"name = "{WEBHOOK}"
topics = ["{TOPIC}"]
plugin = "webhook"
concurrency = {CONCURRENCY}
retry = {RETRY}
config = {{ url = "http://{http}/hook", timeout = "{timeout}s" }}

[grants]
egress = ["http://{http}"]
pause = true
secrets = {{ signing = {{ value = "whsec_YnVnbGUtZGVtby1zaWduaW5nLWtleS0wMQ==" }} }}
"#
    )
}

pub(crate) fn inbox() -> String {
    format!(
        r#"name = "{INBOX}"
topics = ["{TOPIC}"]
plugin = "inbox"
concurrency = {CONCURRENCY}
retry = {RETRY}
grants = {{ kv = true }}

[config]
user = "{{{{data.sender.login | default: \"nobody\"}}}}"
title = "{{{{type}}}}"
body = "{{{{subject}}}}"
"#
    )
}

pub(crate) fn email() -> String {
    format!(
        r#"name = "{EMAIL}"
topics = ["{TOPIC}"]
plugin = "email"
concurrency = {CONCURRENCY}
retry = {RETRY}
grants = {{ mail = true }}

[config]
to = "ops@demo.example"
subject = "[{{{{subject}}}}] {{{{type}}}}"
text = "{{{{data.sender.login | default: \"someone\"}}}} in {{{{subject}}}} at {{{{time}}}}\n"
"#
    )
}

/// What the checker has to know of a channel.
pub(crate) fn promise(name: &str, from: Position) -> Subscription {
    let timeout = u64::try_from(WEBHOOK_TIMEOUT.as_micros()).ok();
    Subscription {
        subscription: name.to_owned(),
        topics: vec![TOPIC.to_owned()],
        types: Vec::new(),
        from: Some(from),
        ordered: true,
        // The inbox is written by the host itself; the demo counts its messages instead.
        calls_out: name != INBOX,
        timeout_us: timeout.filter(|_| name == WEBHOOK),
        repeats_per_kill_max: Some(CONCURRENCY),
    }
}
