//! The mock keeps the contract's rules for buffering, kv, follow-ups, notes and secrets.

use super::{Host, MailReply, Verdict, event};
use crate::prelude::*;

#[test]
fn writes_are_seen_by_their_delivery_and_land_with_the_ack_only() {
    fn count(cx: &Cx, event: Event<bool>) -> Outcome {
        let seen: u32 = cx.kv().get_json("n")?.unwrap_or(0);
        cx.kv().put_json("n", &(seen + 1), None)?;
        assert_eq!(cx.kv().get_json::<u32>("n")?, Some(seen + 1));
        cx.kv().add("sum", 5, None)?;
        cx.publish("next", "counted").key("k").json(&seen).send()?;
        if *event.body() { Ok(()) } else { retry(None, "no") }
    }
    let host = Host::new();
    assert!(host.deliver(count, event("1").data(b"false")).settled().is_err());
    assert_eq!((host.kv("n"), host.published().len()), (None, 0));
    host.deliver(count, event("1").data(b"true")).expect_ack();
    host.deliver(count, event("2").data(b"true")).expect_ack();
    assert_eq!((host.kv("n").as_deref(), host.kv("sum").as_deref()), (Some("2"), Some("10")));
    let ids: Vec<_> = host.published().into_iter().filter_map(|event| event.id).collect();
    assert_eq!(ids, ["mock-1/0", "mock-2/0"]);
}

#[test]
fn swap_needs_the_version_that_was_read() {
    fn swap(cx: &Cx, _: Event<()>) -> Outcome {
        let kv = cx.kv();
        let Some(entry) = kv.get("a")? else {
            assert!(!kv.swap("a", Some(9), Some(b"x"), None)?);
            assert!(kv.swap("a", None, Some(b"x"), None)?);
            return Ok(());
        };
        assert!(!kv.swap("a", None, Some(b"y"), None)?);
        assert!(!kv.swap("a", Some(entry.version + 1), Some(b"y"), None)?);
        assert!(kv.swap("a", Some(entry.version), None, None)?);
        assert_eq!(kv.get("a")?, None);
        Ok(())
    }
    let host = Host::new();
    host.deliver(swap, event("1")).expect_ack();
    assert_eq!(host.kv("a").as_deref(), Some("x"));
    host.deliver(swap, event("2")).expect_ack();
    assert_eq!(host.kv("a"), None);
}

#[test]
fn scan_pages_in_key_order_and_time_to_live_ends() {
    fn fill(cx: &Cx, _: Event<()>) -> Outcome {
        for key in ["a/2", "a/1", "b/1", "a/3"] {
            cx.kv().put(key, b"", Duration::from_secs(10))?;
        }
        let keys = |after: Option<&str>| {
            let page = cx.kv().scan("a/", after, 2)?;
            Ok::<_, Failure>(page.into_iter().map(|item| item.key).collect::<Vec<_>>())
        };
        assert_eq!(keys(None)?, ["a/1", "a/2"]);
        assert_eq!(keys(Some("a/2"))?, ["a/3"]);
        assert!(keys(Some("a/3"))?.is_empty());
        assert!(cx.kv().scan("a/", None, 0).is_err());
        Ok(())
    }
    let host = Host::new();
    host.deliver(fill, event("1")).expect_ack();
    assert_eq!(host.kv_all().len(), 4);
    host.advance(Duration::from_secs(10));
    assert_eq!(host.kv_all().len(), 0);
}

#[test]
fn notes_are_kept_with_a_failure_and_found_by_business_key() {
    fn note(cx: &Cx, event: Event<()>) -> Outcome {
        cx.note("a@b.example", "attempted").provider("p").save()?;
        let rows = cx.find_records(event.business_key(), Some("a@b.example"))?;
        assert_eq!(rows.len(), usize::from(event.id() == "2"), "own notes are not shown before the commit");
        retry(None, "no")
    }
    let host = Host::new();
    for id in ["1", "1", "2"] {
        assert!(host.deliver(note, event(id).business_key("order 7")).settled().is_err());
    }
    assert_eq!(host.notes().len(), 2, "one row per event and recipient");
}

#[test]
fn pause_comes_with_the_verdict_and_needs_its_grant() {
    fn gone(cx: &Cx, _: Event<()>) -> Outcome {
        cx.pause_subscription("gone")?;
        reject("gone")
    }
    let host = Host::new();
    assert_eq!(host.deliver(gone, event("1")).settled(), reject("gone"));
    assert_eq!(host.paused().as_deref(), Some("gone"));
    let host = Host::new().deny("pause");
    assert!(matches!(host.deliver(gone, event("1")).settled(), Err(Failure::Retry { .. })));
    assert_eq!(host.paused(), None);
}

#[test]
fn standard_webhooks_secrets_are_decoded_before_signing() {
    // The vector of the Standard Webhooks reference libraries.
    let host = Host::new().secret("s", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").secret("bad", "whsec_!");
    let signed = "msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}";
    let channel = |cx: &Cx, _: Event<()>| {
        use base64::Engine;
        let mac = cx.sign("s", Mac::HmacSha256, signed.as_bytes())?;
        let text = base64::engine::general_purpose::STANDARD.encode(mac);
        assert_eq!(text, "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(cx.sign("bad", Mac::HmacSha256, b"").unwrap_err().code, crate::Code::Invalid);
        assert_eq!(cx.sign("none", Mac::HmacSha256, b"").unwrap_err().code, crate::Code::NotFound);
        Ok(())
    };
    host.deliver(channel, event("1")).expect_ack();
}

#[test]
fn mail_has_the_idempotency_key_as_its_id() {
    fn mail(cx: &Cx, _: Event<()>) -> Outcome {
        let accepted = cx.mail().to("a@b.example").subject("two\r\nlines").text("hi").send()?;
        assert_eq!(accepted.message_id, "mock-1@mock");
        Ok(())
    }
    let host = Host::new();
    host.deliver(mail, event("1")).expect_ack();
    assert_eq!(host.mails()[0].subject, "two lines");
    host.mail_reply(MailReply::error("refused", "550 no such user"));
    assert_eq!(host.deliver(mail, event("1")).settled(), reject("refused: 550 no such user"));
    host.mail_reply(MailReply::crash());
    assert_eq!(host.deliver(mail, event("1")), Verdict::Crashed);
}

#[test]
#[should_panic(expected = "no answer is scripted for `GET https://x.example/`")]
fn an_unscripted_call_says_what_is_missing() {
    let channel = |cx: &Cx, _: Event<()>| {
        cx.get("https://x.example/").send()?;
        Ok(())
    };
    let _ = Host::new().deliver(channel, event("1"));
}
