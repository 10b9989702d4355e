//! The channel in the mock: what lies where, and that generic kv operations are enough for a reader.

use super::*;
use bugle_plugin::mock::{self, Host};

fn host() -> Host {
    Host::new()
        .config("user", "{{data.sender.login}}")
        .config("title", "{{data.action}} in {{data.repo}}")
        .config("link", "{{data.url}}")
}

fn event(id: &str, user: &str) -> mock::EventBuilder {
    mock::event(id)
        .kind("issues.opened")
        .subject("hello")
        .json(&json!({ "sender": { "login": user }, "action": "opened", "repo": "r" }))
}

#[test]
fn a_message_lies_where_the_readme_says() {
    let host = host();
    host.deliver(inbox, event("1", "mona")).expect_ack();
    let keys: Vec<_> = host.kv_all().into_iter().map(|(key, _)| key).collect();
    let place = "1793491200000-mock-1";
    assert_eq!(
        keys,
        [format!("user/mona/msg/{place}"), "user/mona/received".into(), format!("user/mona/unread/{place}")]
    );
    let message: Message = serde_json::from_str(&host.kv(&keys[0]).unwrap()).unwrap();
    let expected = Message {
        title: "opened in r".into(),
        body: "hello".into(),
        link: None,
        time: "2026-11-01T00:00:00Z".into(),
        kind: "issues.opened".into(),
        source: "/mock".into(),
        event: "1".into(),
    };
    assert_eq!(message, expected);
    assert_eq!(host.notes()[0].recipient, "mona");
}

#[test]
fn messages_sort_by_time_and_are_counted_and_marked_read_by_generic_operations() {
    let host = host();
    for id in ["2", "1"] {
        host.deliver(inbox, event(id, "mona")).expect_ack();
    }
    host.deliver(inbox, event("3", "monalisa")).expect_ack();
    let reader = |cx: &Cx, _: Event<()>| {
        let unread = cx.kv().scan("user/mona/unread/", None, 100)?;
        assert_eq!(unread.len(), 2, "the unread count is the number of markers");
        let first = cx.kv().scan("user/mona/msg/", None, 1)?.remove(0);
        assert!(first.key.ends_with("mock-1"), "{}", first.key);
        let marker = first.key.replace("/msg/", "/unread/");
        cx.kv().delete(&marker)?;
        cx.kv().delete(&marker)?;
        Ok(())
    };
    host.deliver(reader, mock::event("reader")).expect_ack();
    let left = host.kv_all().into_iter().filter(|(key, _)| key.starts_with("user/mona/unread/")).count();
    assert_eq!(left, 1, "marking twice is marking once");
    assert_eq!(host.kv("user/mona/received").as_deref(), Some("2"));
}

#[test]
fn message_and_marker_go_together_when_their_time_is_up() {
    let host = host().config("ttl", "1h");
    host.deliver(inbox, event("1", "mona")).expect_ack();
    host.advance(Duration::from_secs(3600));
    assert_eq!(host.kv_all(), [("user/mona/received".to_owned(), "1".to_owned())]);

    let host = self::host().config("ttl", "0s");
    host.deliver(inbox, event("1", "mona")).expect_ack();
    host.advance(Duration::from_secs(400 * 86_400));
    assert_eq!(host.kv_all().len(), 3);
}

#[test]
fn no_user_id_reaches_into_another_inbox() {
    let host = host();
    for (id, user) in [("1", "a/msg/x"), ("2", "ü %"), ("3", "..")] {
        host.deliver(inbox, event(id, user)).expect_ack();
    }
    let keys: Vec<_> = host.kv_all().into_iter().map(|(key, _)| key).filter(|key| key.ends_with("received")).collect();
    assert_eq!(keys, ["user/%2E%2E/received", "user/%C3%BC%20%25/received", "user/a%2Fmsg%2Fx/received"]);
}

#[test]
fn an_event_without_a_user_is_rejected_and_leaves_nothing() {
    let long = "x".repeat(141);
    for user in ["", "  ", &long] {
        let host = host();
        let Err(Failure::Reject(reason)) = host.deliver(inbox, event("1", user)).settled() else {
            panic!("{user:?} was accepted")
        };
        assert!(reason.starts_with("no user"), "{reason}");
        assert!(host.kv_all().is_empty());
    }
}

#[test]
fn a_bad_config_is_told_at_deploy() {
    let error = |host: Host| host.within(|| check(&Config::default()).unwrap_err());
    assert_eq!(error(Host::new()), "config `user` is not set");
    assert!(error(host().config("title", "{{")).starts_with("config `title`"));
    assert!(error(host().config("ttl", "90")).starts_with("config `ttl`"));
    host().within(|| check(&Config::default()).unwrap());
}
