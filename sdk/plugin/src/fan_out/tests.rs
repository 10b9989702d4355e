//! Fan-outs that are interrupted at every place, in the mock.

use crate::mock::{self, Host, Reply};
use crate::prelude::*;
use std::collections::BTreeSet;

const RECIPIENTS: u64 = 1_000;

fn from(page: &crate::Page<'_>) -> u64 {
    page.cursor().and_then(|cursor| cursor.parse().ok()).unwrap_or(0)
}

fn welcome(cx: &Cx, _: Event<()>) -> Outcome {
    cx.fan_out("welcome").pages_per_round(3).run(|page| {
        let (first, last) = (from(page), (from(page) + 100).min(RECIPIENTS));
        for user in first..last {
            page.publish("mail", "welcome").key(format!("user:{user}")).send()?;
        }
        Ok((last < RECIPIENTS).then(|| last.to_string()))
    })
}

fn keys(host: &Host) -> BTreeSet<String> {
    host.published().into_iter().filter_map(|event| event.key).collect()
}

#[test]
fn each_recipient_gets_one_event_over_many_rounds() {
    let host = Host::new();
    for round in 1..=3 {
        assert_eq!(host.deliver(welcome, mock::event("1")).settled(), defer(Duration::ZERO), "round {round}");
        assert_eq!(host.published().len(), 300 * round);
    }
    host.deliver(welcome, mock::event("1")).expect_ack();
    host.deliver(welcome, mock::event("1")).expect_ack();
    let ids: BTreeSet<String> = host.published().into_iter().filter_map(|event| event.id).collect();
    assert_eq!((host.published().len(), keys(&host).len(), ids.len()), (1_000, 1_000, 1_000));
}

#[test]
fn a_page_that_fails_leaves_nothing_and_is_made_again() {
    /// The list of recipients comes from somewhere else.
    fn listed(cx: &Cx, _: Event<()>) -> Outcome {
        cx.fan_out("listed").run(|page| {
            page.publish("mail", "welcome").key(format!("user:{}", page.sent())).send()?;
            let list = cx.get("https://list.example/").send()?;
            match list.status() {
                200 => Ok((page.sent() < 3).then(|| page.sent().to_string())),
                _ => retry(None, "no list"),
            }
        })
    }
    let host = Host::new();
    host.reply(Reply::status(200)).reply(Reply::status(503));
    assert!(matches!(host.deliver(listed, mock::event("1")).settled(), Err(Failure::Retry { .. })));
    assert_eq!(host.published().len(), 1);
    host.reply(Reply::maybe_sent());
    assert!(
        matches!(host.deliver(listed, mock::event("1")).settled(), Err(Failure::Retry { .. })),
        "a list whose answer was lost is asked for again"
    );
    host.reply(Reply::status(200)).reply(Reply::crash());
    assert_eq!(host.deliver(listed, mock::event("1")), mock::Verdict::Crashed);
    assert_eq!(host.published().len(), 2);
    host.reply(Reply::status(200));
    host.deliver(listed, mock::event("1")).expect_ack();
    assert_eq!(keys(&host).into_iter().collect::<Vec<_>>(), ["user:1", "user:2", "user:3"]);
    assert_eq!(host.published().len(), 3);
}

#[test]
fn two_fan_outs_of_one_event_and_one_of_another_do_not_mix() {
    fn two(cx: &Cx, _: Event<()>) -> Outcome {
        for name in ["a", "b"] {
            cx.fan_out(name).run(|page| {
                page.publish("mail", name).send()?;
                Ok(None)
            })?;
        }
        Ok(())
    }
    let host = Host::new();
    host.deliver(two, mock::event("1")).expect_ack();
    host.deliver(two, mock::event("2")).expect_ack();
    assert_eq!(host.published().len(), 4);
}

#[test]
fn a_page_of_more_than_a_call_may_publish_is_refused_with_nothing_done() {
    fn large(cx: &Cx, _: Event<()>) -> Outcome {
        cx.fan_out("large").run(|page| {
            for _ in 0..300 {
                page.publish("mail", "welcome").send()?;
            }
            Ok(None)
        })
    }
    let host = Host::new();
    assert!(host.deliver(large, mock::event("1")).settled().is_err());
    assert_eq!(host.published().len(), 0);
}
