//! `once` under every kind of failure, in the mock.

use crate::mock::{self, Host, Reply};
use crate::prelude::*;

fn send(cx: &Cx, _: Event<()>) -> Outcome {
    cx.once(cx.idempotency_key(), || {
        let reply = cx.post("https://x.example/").send()?;
        match reply.status() {
            200..=299 => Ok(reply.text().into_owned()),
            429 | 500.. => retry(reply.retry_after(), "busy"),
            status => reject(format!("said {status}")),
        }
    })
}

fn resend(cx: &Cx, _: Event<()>) -> Outcome {
    cx.claim("k").resend_uncertain().run(|| Ok(cx.post("https://x.example/").send()?.status())).map(drop)
}

#[test]
fn a_confirmed_effect_is_not_done_again() {
    let host = Host::new();
    host.reply(Reply::status(200).body("ref-1"));
    host.deliver(send, mock::event("1")).expect_ack();
    host.deliver(send, mock::event("1")).expect_ack();
    assert_eq!(host.requests().len(), 1);
}

#[test]
fn a_done_claim_gives_back_the_stored_receipt() {
    fn receipt(cx: &Cx, _: Event<()>) -> Outcome {
        let reference: String = cx.claim("k").run(|| Ok(cx.get("https://x.example/").send()?.text().into_owned()))?;
        cx.note("someone", "sent").reference(reference).save()?;
        Ok(())
    }
    let host = Host::new();
    host.reply(Reply::status(200).body("ref-1"));
    host.deliver(receipt, mock::event("1")).expect_ack();
    host.deliver(receipt, mock::event("2")).expect_ack();
    let references: Vec<_> = host.notes().into_iter().map(|note| note.provider_ref).collect();
    assert_eq!(references, [Some("ref-1".to_owned()), Some("ref-1".to_owned())]);
    assert_eq!(host.requests().len(), 1);
}

#[test]
fn a_complete_refusal_frees_the_claim() {
    let host = Host::new();
    host.reply(Reply::status(503).header("retry-after", "7")).reply(Reply::not_sent()).reply(Reply::status(200));
    assert_eq!(host.deliver(send, mock::event("1")).settled(), retry(Duration::from_secs(7), "busy"));
    assert!(matches!(host.deliver(send, mock::event("1")).settled(), Err(Failure::Retry { .. })));
    host.deliver(send, mock::event("1")).expect_ack();
    assert_eq!(host.requests().len(), 2, "the one that was not sent left nothing");
}

#[test]
fn what_may_have_been_sent_is_unknown_and_stays_unknown() {
    let host = Host::new();
    host.reply(Reply::maybe_sent());
    assert_eq!(host.deliver(send, mock::event("1")).settled(), unknown(""));
    assert_eq!(host.deliver(send, mock::event("1")).settled(), unknown(""));
    assert_eq!(host.requests().len(), 1);
}

#[test]
fn a_guest_that_calls_maybe_sent_a_retry_is_overruled() {
    fn careless(cx: &Cx, _: Event<()>) -> Outcome {
        cx.once("k", || match cx.post("https://x.example/").send() {
            Ok(_) => Ok(()),
            Err(_) => retry(None, "let us just try again"),
        })
    }
    let host = Host::new();
    host.reply(Reply::maybe_sent());
    assert_eq!(host.deliver(careless, mock::event("1")).settled(), unknown(""));
    assert_eq!(host.deliver(careless, mock::event("1")).settled(), unknown(""));
}

#[test]
fn a_crash_leaves_the_claim_uncertain() {
    let host = Host::new();
    host.reply(Reply::crash());
    assert_eq!(host.deliver(send, mock::event("1")), mock::Verdict::Crashed);
    assert_eq!(host.deliver(send, mock::event("1")).settled(), unknown(""));

    let host = Host::new();
    host.reply(Reply::crash()).reply(Reply::status(200));
    assert_eq!(host.deliver(resend, mock::event("1")), mock::Verdict::Crashed);
    host.deliver(resend, mock::event("1")).expect_ack();
    assert_eq!(host.requests().len(), 2);
}

#[test]
fn the_operators_policy_goes_before_the_plugins() {
    let host = Host::new().attribute("uncertain", "park");
    host.reply(Reply::crash());
    assert_eq!(host.deliver(resend, mock::event("1")), mock::Verdict::Crashed);
    assert_eq!(host.deliver(resend, mock::event("1")).settled(), unknown(""));

    let host = Host::new().attribute("uncertain", "resend");
    host.reply(Reply::crash()).reply(Reply::status(200));
    assert_eq!(host.deliver(send, mock::event("1")), mock::Verdict::Crashed);
    host.deliver(send, mock::event("1")).expect_ack();
}

#[test]
fn reconcile_asks_before_it_sends_again() {
    fn asking(cx: &Cx, _: Event<()>) -> Outcome {
        cx.claim("k")
            .reconcile(|| match cx.get("https://x.example/status").send()?.status() {
                200 => Ok(Found::Done(1)),
                404 => Ok(Found::NotDone),
                _ => Ok(Found::Unclear),
            })
            .run(|| {
                cx.post("https://x.example/").send()?;
                Ok(2)
            })
            .map(drop)
    }
    let crashed = || {
        let host = Host::new();
        host.reply(Reply::crash());
        assert_eq!(host.deliver(asking, mock::event("1")), mock::Verdict::Crashed);
        host
    };
    let host = crashed();
    host.reply(Reply::status(200));
    host.deliver(asking, mock::event("1")).expect_ack();
    assert_eq!(host.requests().last().unwrap().method, "GET", "done: not sent again");

    let host = crashed();
    host.reply(Reply::status(404)).reply(Reply::status(200));
    host.deliver(asking, mock::event("1")).expect_ack();
    assert_eq!(host.requests().last().unwrap().method, "POST", "not done: sent");

    let host = crashed();
    host.reply(Reply::status(500)).reply(Reply::maybe_sent()).reply(Reply::status(200));
    assert_eq!(host.deliver(asking, mock::event("1")).settled(), unknown(""));
    assert!(matches!(host.deliver(asking, mock::event("1")).settled(), Err(Failure::Retry { .. })));
    host.deliver(asking, mock::event("1")).expect_ack();
    assert_eq!(host.requests().len(), 4, "a failed question is asked again; nothing was sent blindly");
}

#[test]
fn an_unclear_answer_falls_back_to_the_operators_policy() {
    fn unclear(cx: &Cx, _: Event<()>) -> Outcome {
        let claim = cx.claim("k").reconcile(|| Ok(Found::Unclear));
        claim.run(|| Ok(cx.post("https://x.example/").send()?.status())).map(drop)
    }
    for (policy, sent) in [("resend", 2), ("ask", 1), ("park", 1)] {
        let host = Host::new().attribute("uncertain", policy);
        host.reply(Reply::crash()).reply(Reply::status(200));
        assert_eq!(host.deliver(unclear, mock::event("1")), mock::Verdict::Crashed);
        assert_eq!(host.deliver(unclear, mock::event("1")).settled().is_ok(), sent == 2, "{policy}");
        assert_eq!(host.requests().len(), sent, "{policy}");
    }
}

#[test]
fn a_held_claim_waits_without_cost() {
    let host = Host::new();
    host.hold_claim("mock-1");
    assert_eq!(host.deliver(send, mock::event("1")).settled(), defer(Duration::from_secs(1)));
}

#[test]
fn a_claim_is_forgotten_after_its_time() {
    fn weak(cx: &Cx, _: Event<()>) -> Outcome {
        cx.claim("k").weak().keep(Duration::from_secs(60)).run(|| Ok(cx.get("https://x.example/").send()?.status()))?;
        Ok(())
    }
    let host = Host::new();
    host.reply(Reply::status(200)).reply(Reply::status(200));
    host.deliver(weak, mock::event("1")).expect_ack();
    host.advance(Duration::from_secs(59));
    host.deliver(weak, mock::event("1")).expect_ack();
    assert_eq!(host.requests().len(), 1);
    host.advance(Duration::from_secs(1));
    host.deliver(weak, mock::event("1")).expect_ack();
    assert_eq!(host.requests().len(), 2);
}

#[test]
fn confirm_commits_what_the_effect_buffered_whatever_the_verdict() {
    fn then_fails(cx: &Cx, _: Event<()>) -> Outcome {
        cx.kv().put("before", b"1", None)?;
        cx.once("k", || Ok(cx.kv().put("inside", b"1", None)?))?;
        cx.kv().put("after", b"1", None)?;
        retry(None, "later trouble")
    }
    let host = Host::new();
    assert!(host.deliver(then_fails, mock::event("1")).settled().is_err());
    assert_eq!(host.kv_all(), [("inside".to_owned(), "1".to_owned())]);
}

#[test]
fn release_discards_what_the_effect_buffered() {
    fn carries_on(cx: &Cx, _: Event<()>) -> Outcome {
        cx.kv().put("before", b"1", None)?;
        let failed = cx.once("k", || {
            cx.kv().put("inside", b"1", None)?;
            reject::<()>("no")
        });
        assert!(failed.is_err());
        Ok(())
    }
    let host = Host::new();
    host.deliver(carries_on, mock::event("1")).expect_ack();
    assert_eq!(host.kv_all(), [("before".to_owned(), "1".to_owned())]);
}

#[test]
fn a_receipt_that_is_too_large_is_dropped_but_the_effect_stays_done() {
    fn large(cx: &Cx, _: Event<()>) -> Outcome {
        cx.once("k", || Ok("x".repeat(5000)))
    }
    let host = Host::new();
    host.deliver(large, mock::event("1")).expect_ack();
    host.deliver(large, mock::event("1")).expect_ack();
    assert!(host.logs()[0].starts_with("warn receipt not kept"), "{:?}", host.logs());
    assert_eq!(host.logs().len(), 1, "the second time nothing ran");
}
