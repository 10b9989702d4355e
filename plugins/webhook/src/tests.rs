//! The channel against scripted answers: what is sent, and what each answer means.

use super::*;
use bugle_plugin::mock::{self, Host, Reply, Verdict};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn host() -> Host {
    Host::new().config("url", "https://x.example/hook?token=1").secret("signing", SECRET)
}

fn event() -> mock::EventBuilder {
    mock::event("e-1").kind("order.paid").subject("a b").data(br#"{"total":1.50}"#)
}

fn answer(status: u16) -> (Host, Outcome) {
    let host = host();
    host.reply(Reply::status(status).header("retry-after", "7").body("because\nof this"));
    let outcome = host.deliver(webhook, event()).settled();
    (host, outcome)
}

fn header(host: &Host, name: &str) -> Option<String> {
    let request = host.requests().pop().unwrap();
    request.headers.into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

#[test]
fn the_event_goes_out_structured_and_signed() {
    let (host, outcome) = answer(200);
    assert_eq!(outcome, Ok(()));
    let request = host.requests().pop().unwrap();
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "https://x.example/hook?token=1"));
    assert_eq!(
        String::from_utf8(request.body).unwrap(),
        r#"{"specversion":"1.0","id":"e-1","source":"/mock","type":"order.paid","time":"2026-11-01T00:00:00Z","subject":"a b","datacontenttype":"application/json","data":{"total":1.50}}"#
    );
    assert_eq!(header(&host, "content-type").as_deref(), Some("application/cloudevents+json"));
    assert_eq!(header(&host, "webhook-id").as_deref(), Some("mock-e-1"));
    assert_eq!(header(&host, "webhook-timestamp").as_deref(), Some("1793491200"));
    // Computed with Python's hmac over id.timestamp.body.
    let expected = "v1,EqjJ9Jn1WLEnU2QiKaWiqO6f4xdY/PfsV3ODMenTDew=";
    assert_eq!(header(&host, "webhook-signature").as_deref(), Some(expected));
    let note = host.notes().pop().unwrap();
    assert_eq!((note.recipient.as_str(), note.status.as_str()), ("https://x.example/hook", "sent"));
    assert_eq!(note.provider_ref.as_deref(), Some("mock-e-1"), "what the receiver calls it in a callback");
}

#[test]
fn each_status_has_its_verdict() {
    for status in [200, 201, 204] {
        assert_eq!(answer(status).1, Ok(()), "{status}");
    }
    for status in [408, 425, 429, 500, 502, 503, 599] {
        let expected = retry(Duration::from_secs(7), format!("receiver said {status}: because of this"));
        assert_eq!(answer(status).1, expected, "{status}");
    }
    for status in [400, 401, 403, 404, 409, 410, 418, 422] {
        assert_eq!(answer(status).1, reject(format!("receiver said {status}: because of this")), "{status}");
    }
    let Err(Failure::Retry { reason, .. }) = answer(302).1 else { panic!("a redirect is no refusal") };
    assert!(reason.contains("redirects are not followed"), "{reason}");
}

#[test]
fn gone_pauses_the_subscription_and_nothing_else_does() {
    assert_eq!(answer(410).0.paused().as_deref(), Some("receiver said 410 gone"));
    assert_eq!(answer(404).0.paused(), None);

    let host = self::host().config("pause_on_gone", "false");
    host.reply(Reply::status(410));
    assert_eq!(host.deliver(webhook, event()).settled(), reject("receiver said 410"));
    assert_eq!(host.paused(), None);

    let host = self::host().deny("pause");
    host.reply(Reply::status(410));
    assert_eq!(host.deliver(webhook, event()).settled(), reject("receiver said 410"));
    assert!(host.logs()[0].starts_with("warn not paused: denied"), "{:?}", host.logs());
}

#[test]
fn a_delivered_event_is_not_sent_twice() {
    let host = host();
    host.reply(Reply::status(200));
    host.deliver(webhook, event()).expect_ack();
    host.deliver(webhook, event()).expect_ack();
    assert_eq!(host.requests().len(), 1);
}

#[test]
fn after_a_crash_it_is_sent_again_under_the_same_id() {
    let host = host();
    host.reply(Reply::crash()).reply(Reply::status(200));
    assert_eq!(host.deliver(webhook, event()), Verdict::Crashed);
    let first = header(&host, "webhook-id");
    host.advance(Duration::from_secs(60));
    host.deliver(webhook, event()).expect_ack();
    assert_eq!(host.requests().len(), 2);
    assert_eq!(header(&host, "webhook-id"), first);
    assert_eq!(header(&host, "webhook-timestamp").as_deref(), Some("1793491260"));
}

#[test]
fn a_time_out_is_unknown_and_a_refused_connection_a_retry() {
    let host = host();
    host.reply(Reply::maybe_sent()).reply(Reply::not_sent());
    assert_eq!(host.deliver(webhook, event()).settled(), unknown(""));
    assert!(matches!(host.deliver(webhook, event()).settled(), Err(Failure::Retry { .. })));
}

#[test]
fn binary_mode_sends_the_data_as_it_is() {
    let host = host().config("format", "binary").config("sign", "false").config("headers", r#"{"x-tenant":"acme"}"#);
    host.reply(Reply::status(200));
    let event = mock::event("e-1").subject("ü \"").content_type("image/png").data(b"\x89P").attribute("tenant", "a");
    host.deliver(webhook, event).expect_ack();
    assert_eq!(host.requests()[0].body, b"\x89P");
    let expected = [
        ("content-type", "image/png"),
        ("ce-id", "e-1"),
        ("ce-subject", "%C3%BC%20%22"),
        ("ce-tenant", "a"),
        ("x-tenant", "acme"),
    ];
    for (name, value) in expected {
        assert_eq!(header(&host, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(header(&host, "webhook-signature"), None);
}

#[test]
fn a_bad_config_is_told_at_deploy() {
    let error = |host: Host| host.within(|| settings::check(&Config::default()).unwrap_err());
    assert_eq!(error(Host::new()), "config `url` is not set");
    assert!(error(host().config("url", "x.example")).contains("does not start with https://"));
    assert!(error(host().config("format", "xml")).contains("there are structured and binary"));
    assert!(error(host().config("timeout", "15")).contains("is not a duration"));
    assert!(error(host().config("headers", r#"{"Webhook-Id":"1"}"#)).contains("set by the channel itself"));
    assert!(error(host().secret("signing", "whsec_!")).contains("is not base64"));
    assert!(error(Host::new().config("url", "https://x.example")).contains("or set `sign = false`"));
    host().within(|| settings::check(&Config::default()).unwrap());
    Host::new().config("url", "http://x.example").config("sign", "false").within(|| {
        settings::check(&Config::default()).unwrap();
    });
}
