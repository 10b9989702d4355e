//! What leaves: HTTP to a local receiver of every temper, mail to a local relay, and the evidence told to the core.

use bugle_core::delivery::{CallEnd, Failure};
use bugle_core::import::{Import, Sent};
use bugle_egress::{Options as EgressOptions, Relay, RelayTls};
use bugle_sandbox::Grants;
use std::net::SocketAddr;
use std::time::Duration;

use crate::harness::{Bench, PATIENCE, limits};
use crate::outside::receivers::{http, smtp};

pub(crate) mod receivers;

fn granted(address: SocketAddr) -> Grants {
    Grants { egress: vec![format!("http://{address}").parse().unwrap()], mail: true, ..Grants::default() }
}

fn bench(address: SocketAddr) -> Bench {
    Bench::probe(granted(address), &[("url", &format!("http://{address}"))])
}

fn sent(imports: &[Import]) -> Vec<Sent> {
    imports
        .iter()
        .filter_map(|import| match import {
            Import::EgressEnd(sent) => Some(*sent),
            _ => None,
        })
        .collect()
}

fn url(address: SocketAddr, path: &str) -> String {
    format!(r#"{{"url": "http://{address}{path}", "timeout": 400}}"#)
}

#[test]
fn answers_of_any_status_are_answers() {
    let receiver = http();
    let bench = bench(receiver);
    let ended = bench.run("http-body", &url(receiver, "/ok"));
    assert_eq!(ended.told(), "200 fine");
    assert_eq!(sent(&ended.imports), [Sent::Answered]);
    assert!(matches!(ended.imports.first(), Some(Import::EgressStart)));
    let ended = bench.run("http-post", &url(receiver, "/500"));
    assert!(matches!(&ended.end, CallEnd::Returned(Err(Failure::Retry(_)))), "{:?}", ended.end);
    assert_eq!(sent(&ended.imports), [Sent::Answered]);
}

#[test]
fn the_idempotency_key_is_put_into_the_header_asked_for() {
    let receiver = http();
    let bench = bench(receiver);
    let ended = bench.run("http-post", &url(receiver, "/needs-idempotency-key"));
    assert_eq!(ended.end, CallEnd::Returned(Ok(())));
}

#[test]
fn no_answer_in_time_is_maybe_sent() {
    let receiver = http();
    let bench = bench(receiver);
    for path in ["/hang", "/half", "/close", "/big"] {
        let ended = bench.run("http-error", &url(receiver, path));
        assert!(ended.told().contains("maybe-sent"), "{path}: {}", ended.told());
        assert_eq!(sent(&ended.imports), [Sent::Maybe], "{path}");
    }
}

#[test]
fn nothing_listening_is_not_sent() {
    let nobody = receivers::closed_port();
    let ended = bench(nobody).run("http-error", &url(nobody, "/"));
    assert!(ended.told().contains("not-sent"), "{}", ended.told());
    assert_eq!(sent(&ended.imports), [Sent::Nothing]);
}

#[test]
fn a_receiver_that_hangs_up_between_requests_gives_answers_or_honest_doubts() {
    let receiver = http();
    let bench = bench(receiver);
    for _ in 0..20 {
        let ended = bench.run("http-body", &url(receiver, "/then-close"));
        // A request can be on its way while the receiver closes; nobody can know then whether it arrived.
        match sent(&ended.imports).as_slice() {
            [Sent::Answered] => assert_eq!(ended.told(), "200 bye"),
            [Sent::Maybe] => assert!(ended.told().contains("maybe-sent"), "{}", ended.told()),
            other => panic!("{other:?}: {}", ended.told()),
        }
    }
}

#[test]
fn a_call_cut_off_while_it_waits_tells_that_something_left() {
    let receiver = http();
    let bench = bench(receiver);
    let data = format!(r#"{{"url": "http://{receiver}/hang"}}"#);
    let ended = bench.run_with("http-wait", &data, Duration::from_millis(300), |_| None);
    // Whichever limit came first, the host's or that of the request, the evidence is the same.
    assert!(!matches!(ended.end, CallEnd::Returned(Ok(()))), "{:?}", ended.end);
    assert_eq!(sent(&ended.imports), [Sent::Maybe]);
    assert!(bench.drained());
}

#[test]
fn several_requests_at_once_are_each_told() {
    let receiver = http();
    let bench = bench(receiver);
    let ended = bench.run("http-all", &format!(r#"{{"url": "http://{receiver}/ok", "count": 16}}"#));
    assert_eq!(ended.told(), ["200"; 16].join(" "));
    assert_eq!(sent(&ended.imports), [Sent::Answered; 16]);
    let ended = bench.run("http-all", &format!(r#"{{"url": "http://{receiver}/ok", "count": 17}}"#));
    assert_eq!(ended.told(), ["quota"; 17].join(" "));
    assert!(ended.imports.is_empty());
}

#[test]
fn headers_that_are_the_hosts_are_refused() {
    let receiver = http();
    let bench = bench(receiver);
    for name in ["Host", "content-length", "transfer-encoding", "Connection", "bad name", "x\\ny"] {
        let data = format!(r#"{{"url": "http://{receiver}/ok", "name": "{name}"}}"#);
        let ended = bench.run("http-header", &data);
        assert!(ended.told().contains("invalid"), "{name}: {}", ended.told());
        assert_eq!(sent(&ended.imports), [Sent::Nothing], "{name}");
    }
}

#[test]
fn a_private_address_needs_its_own_grant() {
    // The name is granted on both sides, its address is not.
    let receiver = http();
    let origin = format!("http://localhost.localdomain:{}", receiver.port());
    let grants = Grants { egress: vec![origin.parse().unwrap()], ..Grants::default() };
    let bench = Bench::probe(grants, &[("url", &origin)]);
    let ended = bench.run("http-error", &format!(r#"{{"url": "{origin}/ok"}}"#));
    // Where the name does not resolve at all, that is what is told.
    assert!(ended.told().contains("denied") || ended.told().contains("resolve"), "{}", ended.told());
    assert_eq!(sent(&ended.imports), [Sent::Nothing]);
}

fn mail_bench(relay: SocketAddr) -> Bench {
    let egress = EgressOptions {
        relay: Some(Relay {
            host: relay.ip().to_string(),
            port: relay.port(),
            tls: RelayTls::None,
            login: None,
            ca_pem: Vec::new(),
            sender: "Bugle <bugle@b.example>".to_owned(),
            senders: Vec::new(),
            domain: None,
        }),
        ..EgressOptions::default()
    };
    Bench::with(limits(), egress, granted(relay), &[])
}

#[test]
fn mail_is_handed_over_with_the_idempotency_key_as_its_id() {
    let (relay, messages) = smtp(&["250 queued"]);
    let bench = mail_bench(relay);
    let ended = bench.run("mail", r#"{"to": "you@b.example", "subject": "Grüße"}"#);
    assert_eq!(ended.end, CallEnd::Returned(Ok(())));
    assert_eq!(sent(&ended.imports), [Sent::Answered]);
    let message = messages.recv_timeout(PATIENCE).unwrap();
    assert!(message.contains("To: you@b.example"), "{message}");
    assert!(message.contains("From: Bugle <bugle@b.example>") || message.contains("From: \"Bugle\""), "{message}");
    assert!(message.contains("Message-ID: <idem-") && message.contains("@b.example>"), "{message}");
    assert!(message.contains("Subject: =?utf-8?"), "{message}");
}

#[test]
fn a_relays_last_word_decides() {
    for (reply, code, expected) in [
        ("451 later", "not-sent", Sent::Answered),
        ("554 never", "refused", Sent::Answered),
        ("hang up", "maybe-sent", Sent::Maybe),
    ] {
        let (relay, _messages) = smtp(&[reply]);
        let ended = mail_bench(relay).run("mail", "{}");
        assert!(ended.told().contains(code), "{reply}: {}", ended.told());
        assert_eq!(sent(&ended.imports), [expected], "{reply}");
    }
}

#[test]
fn refusals_before_the_content_send_nothing() {
    let (relay, _messages) = smtp(&["refuse recipient"]);
    let ended = mail_bench(relay).run("mail", "{}");
    assert!(ended.told().contains("refused"), "{}", ended.told());
    assert_eq!(sent(&ended.imports), [Sent::Nothing]);
    let ended = mail_bench(receivers::closed_port()).run("mail", "{}");
    assert!(ended.told().contains("not-sent"), "{}", ended.told());
    assert_eq!(sent(&ended.imports), [Sent::Nothing]);
}

#[test]
fn hostile_addresses_are_invalid() {
    let (relay, _messages) = smtp(&[]);
    let bench = mail_bench(relay);
    for data in [r#"{"to": "a@b.example\r\nBcc: c@d.example"}"#, r#"{"to": "nobody"}"#, r#"{"to": ""}"#] {
        let ended = bench.run("mail", data);
        assert!(ended.told().contains("invalid"), "{data}: {}", ended.told());
        assert_eq!(sent(&ended.imports), [Sent::Nothing], "{data}");
    }
}
