//! Requests and responses, in the mock.

use crate::mock::{self, Host, Reply};
use crate::prelude::*;

fn answer(reply: Reply, look: impl FnOnce(&crate::Response)) {
    let host = Host::new();
    host.reply(reply);
    let channel = |cx: &Cx, _: Event<()>| {
        look(&cx.get("https://x.example/").send()?);
        Ok(())
    };
    host.deliver(channel, mock::event("1")).expect_ack();
}

#[test]
fn retry_after_takes_seconds_and_dates() {
    let seconds = |text: &str| {
        let mut found = None;
        answer(Reply::status(503).header("Retry-After", text), |reply| found = reply.retry_after());
        found.map(|time| time.as_secs())
    };
    assert_eq!(seconds("120"), Some(120));
    assert_eq!(seconds(" 0 "), Some(0));
    assert_eq!(seconds("99999999999999999999999"), Some(30 * 86_400));
    assert_eq!(seconds("Sun, 01 Nov 2026 00:01:30 GMT"), Some(90), "virtual time starts at midnight");
    assert_eq!(seconds("Sat, 31 Oct 2026 00:00:00 GMT"), Some(0), "a past date means now");
    for text in ["", "soon", "-5", "1.5"] {
        assert_eq!(seconds(text), None, "{text}");
    }
}

#[test]
fn a_date_is_read_by_the_receivers_own_clock() {
    let reply = Reply::status(503)
        .header("date", "Tue, 15 Nov 1994 08:00:00 GMT")
        .header("retry-after", "Tue, 15 Nov 1994 08:00:30 GMT");
    answer(reply, |reply| assert_eq!(reply.retry_after(), Some(Duration::from_secs(30))));
}

#[test]
fn a_path_is_joined_to_the_setting_url() {
    fn post(cx: &Cx, _: Event<()>) -> Outcome {
        cx.post("/messages")
            .json(&json!({ "a": 1 }))
            .header("x-a", "b")
            .idempotency_header("idempotency-key")
            .send()?;
        Ok(())
    }
    let host = Host::new().config("url", "https://x.example/v1/");
    host.reply(Reply::status(200));
    host.deliver(post, mock::event("1")).expect_ack();
    let request = host.requests().remove(0);
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "https://x.example/v1/messages"));
    assert_eq!(request.body, br#"{"a":1}"#);
    let headers: Vec<_> = request.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(headers, ["content-type: application/json", "x-a: b", "idempotency-key: mock-1"]);

    let verdict = Host::new().deliver(post, mock::event("1")).settled();
    assert_eq!(verdict, reject("invalid: config `url` is not set"));
}

#[test]
fn an_unreadable_body_is_unknown_after_success_and_a_retry_otherwise() {
    fn read(cx: &Cx, _: Event<()>) -> Outcome {
        cx.get("https://x.example/").send()?.json::<u32>()?;
        Ok(())
    }
    let host = Host::new();
    host.reply(Reply::status(200).body("oops")).reply(Reply::status(502).body("<html>"));
    assert_eq!(host.deliver(read, mock::event("1")).settled(), unknown(""));
    assert!(matches!(host.deliver(read, mock::event("2")).settled(), Err(Failure::Retry { .. })));
}

#[test]
fn send_all_answers_each_request_in_its_place() {
    fn three(cx: &Cx, _: Event<()>) -> Outcome {
        let requests = [cx.get("https://a.example/"), cx.get("/no-base"), cx.get("https://b.example/")];
        let answers = crate::send_all(requests);
        let shown: Vec<_> = answers.iter().map(|answer| answer.as_ref().map(crate::Response::status).ok()).collect();
        assert_eq!(shown, [Some(200), None, Some(503)]);
        assert_eq!(crate::send_all([]).len(), 0);
        Ok(())
    }
    let host = Host::new();
    host.reply(Reply::status(200)).reply(Reply::status(503));
    host.deliver(three, mock::event("1")).expect_ack();
}

#[test]
fn a_denied_call_names_the_line_to_add_and_is_no_fault_of_the_event() {
    fn get(cx: &Cx, _: Event<()>) -> Outcome {
        cx.get("https://x.example/").send()?;
        Ok(())
    }
    let Err(Failure::Retry { reason, fault, .. }) = Host::new().deny("http").deliver(get, mock::event("1")).settled()
    else {
        panic!("a missing grant must not dead-letter events")
    };
    assert!(reason.contains("add the origin to [egress] allow"), "{reason}");
    assert_eq!(fault, Fault::Channel);
}
