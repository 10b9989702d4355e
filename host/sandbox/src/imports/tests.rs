//! Every import with hostile values, called as wasmtime would call it, before a core that takes everything.
//!
//! What the core refuses is its own tests' matter; here it is what must never reach it.

use super::*;
use crate::binding::{Binding, Grants};
use crate::bindings::bugle::plugin::{
    ack, dedup, http, kv, log as log_import, mail, ordering, publish, records, secrets, timers,
};
use crate::manifest::Manifest;
use crate::options::{Bounds, Limits, Tighter};
use crate::rights::Rights;
use bugle_core::delivery::{CallEnd, Delivery};
use bugle_core::event::{Event, Index, Span, StoredEvent};
use bugle_core::ids::{Attempt, Name, Ticket};
use bugle_core::import::{ClaimOutcome, Import, ImportResult};
use bugle_core::time::Timestamp;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LIVE: u64 = 42;

const MANIFEST: &str = r#"
name = "probe"
version = "1"
contract = "0.1"
[egress]
allow = ["https://api.example.com"]
[grants]
kv = true
pause = true
mail = true
publish = ["*"]
[secrets.signing]
uses = ["sign", "reveal"]
"#;

/// A core that agrees to everything and remembers what it was asked.
struct Agreeable {
    delivery: Delivery,
    asked: Arc<Mutex<Vec<Import>>>,
}

impl HostCalls for Agreeable {
    fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    fn topic(&self) -> Name {
        "t".into()
    }

    fn now(&self) -> Timestamp {
        Timestamp(1_000_000)
    }

    async fn import(&mut self, import: Import) -> ImportResult {
        let reply = match &import {
            Import::Extend(_) => Reply::Granted(Millis(u64::MAX)),
            Import::Claim { .. } => Reply::Claim(ClaimOutcome::Busy(Millis(1))),
            Import::Publish(events) => Reply::Ids(vec![String::new(); events.len()]),
            _ => Reply::Done,
        };
        self.asked.lock().unwrap().push(import);
        Ok(reply)
    }

    fn finish(self, _: CallEnd) {}
}

struct Rig {
    state: State<Agreeable>,
    asked: Arc<Mutex<Vec<Import>>>,
}

/// A call under way, with an ordering key or without.
fn rig(key: Option<&str>) -> Rig {
    let manifest = Manifest::parse(MANIFEST).unwrap();
    let binding = Binding {
        subscription: "s".into(),
        is_ordered: true,
        concurrency: 1,
        settings: Default::default(),
        grants: Grants {
            egress: vec!["https://api.example.com".parse().unwrap()],
            publish: vec!["*".parse().unwrap()],
            kv: true,
            pause: true,
            mail: true,
            secrets: [("signing".to_owned(), "whsec_!".into())].into(),
            ..Grants::default()
        },
        limits: Tighter::default(),
        business_key: None,
        uncertain: None,
    };
    let egress = bugle_egress::Egress::new(bugle_egress::Options::default()).unwrap();
    let rights = Rights::new(&manifest, "r".to_owned(), &binding, &egress).unwrap();
    let bounds = Bounds::new(&Limits::default(), &manifest.limits, &Tighter::default());
    let mut state = State::new(Arc::new(rights), &bounds);
    let text = key.unwrap_or_default();
    let span = Span { start: 0, len: u32::try_from(text.len()).unwrap() };
    let index = Index { key: key.map(|_| span), ..Index::default() };
    let event = Event::new(text.to_owned().into(), index).unwrap();
    let asked = Arc::default();
    state.begin(&mut vec![Agreeable {
        delivery: Delivery {
            ticket: Ticket(LIVE),
            event: StoredEvent {
                position: Default::default(),
                topic: Default::default(),
                received: Timestamp(0),
                event,
            },
            attempt: Attempt(1),
            idempotency_key: "key".to_owned(),
            deadline: Timestamp(1_060_000),
            wants_fresh: false,
            may_resend: false,
            is_for_a_person: false,
            batch: None,
            asks: None,
        },
        asked: Arc::clone(&asked),
    }]);
    state.deadline.set(tokio::time::Instant::now() + Duration::from_secs(60));
    Rig { state, asked }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn code<T>(answer: Result<T, Error>) -> String {
    answer.err().map_or_else(|| "ok".to_owned(), |error| error.code)
}

fn request(url: &str) -> http::Request {
    http::Request {
        method: "GET".to_owned(),
        url: url.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout: None,
        idempotency_header: None,
    }
}

fn new_event() -> types::NewEvent {
    types::NewEvent {
        topic: "next".to_owned(),
        kind: "k".to_owned(),
        subject: None,
        key: None,
        id: None,
        deliver_at: None,
        expires: None,
        priority: None,
        content_type: None,
        attributes: Vec::new(),
        data: Vec::new(),
    }
}

fn message() -> mail::Message {
    mail::Message {
        sender: None,
        to: Vec::new(),
        cc: Vec::new(),
        bcc: Vec::new(),
        reply_to: None,
        subject: String::new(),
        text: None,
        html: None,
        headers: Vec::new(),
        message_id: None,
    }
}

fn note(status: &str) -> records::SendNote {
    records::SendNote {
        business_key: None,
        recipient: "r".to_owned(),
        status: status.to_owned(),
        provider: Some("p".repeat(10_000)),
        provider_ref: None,
        detail: Some("ä".repeat(10_000)),
    }
}

#[test]
fn a_ticket_that_is_not_live_is_stale_everywhere() {
    run(async {
        for ticket in [0, 1, LIVE - 1, LIVE + 1, u64::MAX] {
            let Rig { mut state, asked } = rig(Some("k"));
            let s = &mut state;
            let retry = types::Retry { after: None, reason: String::new(), fault: types::Fault::Event };
            let k = || "k".to_owned();
            for answer in [
                code(ack::Host::ack(s, ticket).await),
                code(ack::Host::nack(s, ticket, retry).await),
                code(ack::Host::reject(s, ticket, k()).await),
                code(ack::Host::defer(s, ticket, 0).await),
                code(ack::Host::extend(s, ticket, 1).await),
                code(ack::Host::attribute(s, ticket, k()).await),
                code(ack::Host::pause_subscription(s, ticket, k()).await),
                code(dedup::Host::claim(s, ticket, k(), dedup::Strength::Strong, None).await),
                code(ordering::Host::key(s, ticket).await),
                code(ordering::Host::waiting(s, ticket).await),
                code(ordering::Host::hold(s, ticket, 1).await),
                code(records::Host::note(s, ticket, note("sent")).await),
                code(kv::Host::get(s, ticket, k()).await),
                code(kv::Host::put(s, ticket, k(), Vec::new(), None).await),
                code(kv::Host::swap(s, ticket, k(), None, None, None).await),
                code(kv::Host::delete(s, ticket, k()).await),
                code(kv::Host::add(s, ticket, k(), 1, None).await),
                code(kv::Host::scan(s, ticket, k(), None, 1).await),
                code(publish::Host::publish(s, ticket, vec![new_event()]).await),
                code(timers::Host::set(s, ticket, k(), 0, Vec::new()).await),
                code(timers::Host::cancel(s, ticket, k()).await),
                code(http::Host::send(s, ticket, request("https://api.example.com")).await),
                code(mail::Host::send(s, ticket, message()).await),
            ] {
                assert_eq!(answer, "stale", "ticket {ticket}");
            }
            let all = http::Host::send_all(s, ticket, vec![request("https://api.example.com"); 2]).await;
            assert!(all.into_iter().all(|answer| code(answer) == "stale"));
            assert!(asked.lock().unwrap().is_empty());
        }
    });
}

#[test]
fn between_calls_nothing_is_live() {
    run(async {
        let Rig { mut state, .. } = rig(None);
        state.end_outgoing().await;
        drop(state.end());
        assert_eq!(code(ack::Host::ack(&mut state, LIVE).await), "stale");
        assert_eq!(code(dedup::Host::confirm(&mut state, 1, None).await), "stale");
        assert_eq!(code(dedup::Host::release(&mut state, 1).await), "stale");
        assert_eq!(code(records::Host::find(&mut state, "k".to_owned(), None).await), "stale");
        log_import::Host::emit(&mut state, log_import::Level::Info, "still here".to_owned(), Vec::new());
    });
}

#[test]
fn times_beyond_reason_are_refused_or_saturate() {
    run(async {
        let Rig { mut state, .. } = rig(None);
        assert_eq!(code(ack::Host::defer(&mut state, LIVE, u64::MAX).await), "invalid");
        assert_eq!(code(ack::Host::defer(&mut state, LIVE, 0).await), "ok");
        assert_eq!(code(ack::Host::extend(&mut state, LIVE, u64::MAX).await), "ok");
        assert!(state.time_left() > Duration::from_secs(59));
    });
}

#[test]
fn without_a_lane_there_is_nothing_to_hold() {
    run(async {
        let Rig { mut state, .. } = rig(None);
        assert_eq!(ordering::Host::key(&mut state, LIVE).await.unwrap(), None);
        assert_eq!(ordering::Host::waiting(&mut state, LIVE).await.unwrap(), 0);
        assert_eq!(code(ordering::Host::hold(&mut state, LIVE, 1).await), "invalid");
    });
}

#[test]
fn follow_ups_with_bad_parts_never_reach_the_core() {
    run(async {
        let Rig { mut state, asked } = rig(None);
        let long = "x".repeat(2000);
        let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        let twice = vec![("a".to_owned(), String::new()), ("a".to_owned(), String::new())];
        for (event, expected) in [
            (types::NewEvent { kind: String::new(), ..new_event() }, "invalid"),
            (types::NewEvent { kind: "a\nb".to_owned(), ..new_event() }, "invalid"),
            (types::NewEvent { key: Some(long.clone()), ..new_event() }, "invalid"),
            (types::NewEvent { subject: Some("\0".to_owned()), ..new_event() }, "invalid"),
            (types::NewEvent { priority: Some("urgent".to_owned()), ..new_event() }, "invalid"),
            (types::NewEvent { attributes: pair("Upper", ""), ..new_event() }, "invalid"),
            (types::NewEvent { attributes: pair("", ""), ..new_event() }, "invalid"),
            (types::NewEvent { attributes: pair("abcdefghijklmnopqrstu", ""), ..new_event() }, "invalid"),
            (types::NewEvent { attributes: pair("a", &long), ..new_event() }, "invalid"),
            (types::NewEvent { attributes: twice, ..new_event() }, "invalid"),
            (types::NewEvent { attributes: vec![(String::new(), String::new()); 1000], ..new_event() }, "too-large"),
        ] {
            let shown = format!("{event:?}").chars().take(200).collect::<String>();
            assert_eq!(code(publish::Host::publish(&mut state, LIVE, vec![event]).await), expected, "{shown}");
        }
        assert_eq!(code(publish::Host::publish(&mut state, LIVE, vec![new_event(); 257]).await), "quota");
        assert!(asked.lock().unwrap().is_empty());
    });
}

#[test]
fn notes_are_cut_and_their_words_checked() {
    run(async {
        let Rig { mut state, asked } = rig(None);
        for status in ["", "SENT", "lost", "sent\n"] {
            assert_eq!(code(records::Host::note(&mut state, LIVE, note(status)).await), "invalid");
        }
        assert_eq!(code(records::Host::note(&mut state, LIVE, note("sent")).await), "ok");
        let asked = asked.lock().unwrap();
        let [Import::Note(note)] = asked.as_slice() else { panic!("{asked:?}") };
        assert!(note.provider.len() == 1024 && note.detail.len() == 1024);
    });
}

#[test]
fn secrets_refuse_odd_algorithms_sizes_and_keys_without_a_word_of_the_secret() {
    let Rig { mut state, .. } = rig(None);
    let s = &mut state;
    let mut sign = |name: &str, algorithm: &str, bytes: usize| {
        let answer = secrets::Host::sign(s, name.to_owned(), algorithm.to_owned(), vec![0; bytes]);
        let error = answer.unwrap_err();
        assert!(!error.message.contains("whsec_!"), "{}", error.message);
        error.code
    };
    assert_eq!(sign("signing", "md5", 1), "invalid");
    assert_eq!(sign("signing", "hmac-sha256", (1 << 20) + 1), "too-large");
    assert_eq!(sign("signing", "hmac-sha256", 1), "invalid");
    assert_eq!(sign("../../etc", "hmac-sha256", 1), "denied");
    assert_eq!(sign(&"n".repeat(1 << 20), "hmac-sha256", 1), "denied");
}

#[test]
fn requests_that_cannot_be_sent_tell_the_core_that_nothing_left() {
    run(async {
        let Rig { mut state, asked } = rig(None);
        for (url, expected) in [
            ("", "invalid"),
            ("ftp://api.example.com", "invalid"),
            ("https://api.example.com:0", "invalid"),
            ("https://user@api.example.com", "invalid"),
            ("http://169.254.169.254/latest/meta-data", "denied"),
            ("https://api.example.com.evil.example", "denied"),
        ] {
            assert_eq!(code(http::Host::send(&mut state, LIVE, request(url)).await), expected, "{url}");
        }
        let both = http::Request {
            headers: vec![("X-Id".to_owned(), "mine".to_owned())],
            idempotency_header: Some("x-id".to_owned()),
            ..request("https://api.example.com")
        };
        assert_eq!(code(http::Host::send(&mut state, LIVE, both).await), "invalid");
        assert_eq!(code(mail::Host::send(&mut state, LIVE, message()).await), "denied");
        let asked = asked.lock().unwrap();
        let starts = asked.iter().filter(|import| matches!(import, Import::EgressStart)).count();
        let ends = asked
            .iter()
            .filter(|import| matches!(import, Import::EgressEnd(bugle_core::import::Sent::Nothing)))
            .count();
        assert_eq!((starts, ends), (6, 6));
        assert!(state.outgoing.is_empty());
    });
}
