//! The channel against a scripted relay: what is written to whom, and what each answer means.

use super::*;
use bugle_plugin::mock::{self, Host, MailReply, Verdict};

fn host() -> Host {
    Host::new()
        .config("to", "{{data.owner.email}}, ops@b.example")
        .config("subject", "[{{data.repo}}] {{data.action | default: \"changed\"}}")
        .config("text", "{{data.repo}} by {{data.owner.email}}")
        .config("html", "<p>{{data.repo}}</p>")
}

fn event() -> mock::EventBuilder {
    mock::event("e-1").json(&json!({ "repo": "a<b", "owner": { "email": "o@a.example" } }))
}

#[test]
fn the_templates_make_the_mail() {
    let host = host().config("from", "Bugle <bugle@b.example>").config("reply_to", "{{data.owner.email}}");
    host.mail_reply(MailReply::accepted("250 queued as 7"));
    host.deliver(email, event()).expect_ack();
    let mail = host.mails().pop().unwrap();
    assert_eq!(mail.to, ["o@a.example", "ops@b.example"]);
    assert_eq!(mail.subject, "[a<b] changed");
    assert_eq!(mail.text.as_deref(), Some("a<b by o@a.example"));
    assert_eq!(mail.html.as_deref(), Some("<p>a&lt;b</p>"));
    assert_eq!(mail.sender.as_deref(), Some("Bugle <bugle@b.example>"));
    assert_eq!(mail.reply_to.as_deref(), Some("o@a.example"));
    assert_eq!(mail.message_id.as_deref(), Some("mock-e-1"));
    let headers = [("X-Event-Source", "/mock"), ("X-Event-Id", "e-1")];
    assert_eq!(mail.headers, headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let notes: Vec<_> = host.notes().into_iter().map(|note| (note.recipient, note.detail.unwrap())).collect();
    let expected = ["o@a.example", "ops@b.example"].map(|to| (to.to_owned(), "250 queued as 7".to_owned()));
    assert_eq!(notes, expected);
}

#[test]
fn only_to_is_needed() {
    let host = Host::new().config("to", "a@b.example").config("html", "").config("from", "");
    host.deliver(email, mock::event("1").kind("push").data(b"[1]")).expect_ack();
    let mail = host.mails().pop().unwrap();
    assert_eq!(mail.subject, "push");
    assert_eq!(mail.text.as_deref(), Some("push from /mock at 2026-11-01T00:00:00Z\n\n[1]\n"));
    assert_eq!((mail.html, mail.sender, mail.reply_to), (None, None, None));
}

#[test]
fn a_mail_is_sent_once() {
    let host = host();
    host.deliver(email, event()).expect_ack();
    host.deliver(email, event()).expect_ack();
    assert_eq!(host.mails().len(), 1);
}

#[test]
fn each_answer_of_the_relay_has_its_verdict() {
    let verdict = |code: &str| {
        let host = host();
        host.mail_reply(MailReply::error(code, "relay"));
        host.deliver(email, event()).settled()
    };
    assert!(matches!(verdict("not-sent"), Err(Failure::Retry { fault: Fault::Channel, .. })));
    assert!(matches!(verdict("denied"), Err(Failure::Retry { fault: Fault::Channel, .. })));
    assert_eq!(verdict("refused"), reject("refused: relay"));
    assert_eq!(verdict("maybe-sent"), unknown(""));
}

#[test]
fn after_a_crash_the_repeat_has_the_same_message_id_unless_parked() {
    let host = host();
    host.mail_reply(MailReply::crash());
    assert_eq!(host.deliver(email, event()), Verdict::Crashed);
    host.deliver(email, event()).expect_ack();
    let ids: Vec<_> = host.mails().into_iter().map(|mail| mail.message_id.unwrap()).collect();
    assert_eq!(ids, ["mock-e-1", "mock-e-1"]);

    let host = self::host().attribute("uncertain", "park");
    host.mail_reply(MailReply::crash());
    assert_eq!(host.deliver(email, event()), Verdict::Crashed);
    assert_eq!(host.deliver(email, event()).settled(), unknown(""));
    assert_eq!(host.mails().len(), 1);
}

#[test]
fn an_event_that_gives_no_good_recipient_is_rejected() {
    let verdict = |to: Value| {
        let host = Host::new().config("to", "{{data.to}}");
        host.deliver(email, mock::event("1").json(&json!({ "to": to }))).settled()
    };
    let reason = |outcome: Outcome| match outcome {
        Err(Failure::Reject(reason)) => reason,
        other => panic!("{other:?}"),
    };
    assert!(reason(verdict(json!(null))).starts_with("no recipient"));
    assert!(reason(verdict(json!(" , "))).starts_with("no recipient"));
    assert!(reason(verdict(json!("someone"))).contains("is not a mail address"));
    assert!(reason(verdict(json!("a@b.example\r\nBcc: c@d.example"))).contains("line break"));
    assert!(reason(verdict(json!({ "x": 1 }))).contains("is not a mail address"));
}

#[test]
fn a_bad_template_is_told_at_deploy() {
    let error = |host: Host| host.within(|| letter::check(&Config::default()).unwrap_err());
    assert_eq!(error(Host::new()), "config `to` is not set");
    assert!(error(host().config("subject", "{{data.x")).starts_with("config `subject`: `{{` without"));
    assert!(error(host().config("html", "{{x | shout}}")).starts_with("config `html`: unknown filter"));
    host().within(|| letter::check(&Config::default()).unwrap());
}

#[test]
fn the_manifests_defaults_are_those_of_the_code() {
    let manifest = include_str!("../plugin.toml");
    for default in [r#"default = "{{type}} {{subject}}""#, r#"at {{time}}\n\n{{data | truncate: \"20000\"}}\n""#] {
        assert!(manifest.contains(default), "{default}");
    }
}
