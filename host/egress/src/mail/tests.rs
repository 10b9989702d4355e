//! Messages with hostile parts, and relay settings that make no sense. Conversations are tested with real plugins elsewhere.

use super::*;

fn relay() -> Relay {
    Relay {
        host: "127.0.0.1".to_owned(),
        port: 25,
        tls: RelayTls::None,
        login: None,
        ca_pem: Vec::new(),
        sender: "Bugle <bugle@b.example>".to_owned(),
        senders: vec!["other@b.example".to_owned(), "@team.example".to_owned()],
        domain: None,
    }
}

fn mail() -> Mail {
    Mail {
        to: vec!["you@c.example".to_owned()],
        subject: "hello".to_owned(),
        text: Some("text".to_owned()),
        message_id: "key-1".to_owned(),
        ..Mail::default()
    }
}

fn code(mail: Mail) -> &'static str {
    match Mailer::new(relay(), &[]).unwrap().build(mail) {
        Ok(_) => "ok",
        Err(error) => error.code(),
    }
}

#[test]
fn a_plain_message_is_built() {
    let ready = Mailer::new(relay(), &[]).unwrap().build(mail()).unwrap();
    let content = String::from_utf8(ready.content).unwrap();
    assert_eq!(ready.id, "key-1@b.example");
    assert!(content.contains("Message-ID: <key-1@b.example>\r\n"), "{content}");
    assert!(!content.contains("Bcc"), "{content}");
}

#[test]
fn hidden_copies_are_in_the_envelope_only() {
    let ready =
        Mailer::new(relay(), &[]).unwrap().build(Mail { bcc: vec!["hidden@c.example".to_owned()], ..mail() }).unwrap();
    let content = String::from_utf8(ready.content).unwrap();
    assert_eq!(ready.recipients.len(), 2);
    assert!(!content.contains("hidden"), "{content}");
}

#[test]
fn nothing_of_a_guest_starts_a_line_of_its_own() {
    let hostile = "x\r\nBcc: c@d.example";
    assert_eq!(code(Mail { subject: hostile.to_owned(), ..mail() }), "invalid");
    assert_eq!(code(Mail { to: vec![hostile.to_owned()], ..mail() }), "invalid");
    assert_eq!(code(Mail { reply_to: Some(hostile.to_owned()), ..mail() }), "invalid");
    assert_eq!(code(Mail { sender: Some(hostile.to_owned()), ..mail() }), "invalid");
    assert_eq!(code(Mail { message_id: hostile.to_owned(), ..mail() }), "invalid");
    for (name, value) in [("x-a", hostile), (hostile, "x"), ("x a", "x"), ("x:a", "x"), ("", "x"), ("x-ä", "x")] {
        assert_eq!(code(Mail { headers: vec![(name.to_owned(), value.to_owned())], ..mail() }), "invalid", "{name}");
    }
    assert_eq!(code(Mail { headers: vec![("X-Order".to_owned(), "7".to_owned())], ..mail() }), "ok");
    for name in ["Bcc", "FROM", "content-type", "Resent-To", "message-id"] {
        assert_eq!(code(Mail { headers: vec![(name.to_owned(), "x".to_owned())], ..mail() }), "invalid", "{name}");
    }
}

#[test]
fn sizes_and_numbers_are_bounded() {
    assert_eq!(code(Mail { to: Vec::new(), ..mail() }), "invalid");
    assert_eq!(code(Mail { to: vec!["a@b.example".to_owned(); 51], ..mail() }), "invalid");
    assert_eq!(code(Mail { text: Some("x".repeat(300_000)), ..mail() }), "too-large");
    assert_eq!(code(Mail { text: None, ..mail() }), "invalid");
    assert_eq!(code(Mail { subject: "x".repeat(2000), ..mail() }), "too-large");
}

#[test]
fn only_granted_senders_are_taken() {
    for (sender, expected) in [
        ("other@b.example", "ok"),
        ("Anyone <anyone@team.example>", "ok"),
        ("anyone@b.example", "denied"),
        ("x@team.example.evil.example", "denied"),
    ] {
        assert_eq!(code(Mail { sender: Some(sender.to_owned()), ..mail() }), expected, "{sender}");
    }
}

#[test]
fn relay_settings_must_make_sense() {
    let refused = |relay: Relay| Mailer::new(relay, &[]).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused(Relay { sender: "nobody".to_owned(), ..relay() }).contains("`nobody`"));
    assert!(refused(Relay { senders: vec!["@".to_owned()], ..relay() }).contains("`@`"));
    let login = Some(("user".to_owned(), RelayPassword("hunter2".to_owned())));
    let open = Relay { host: "mail.example".to_owned(), login: login.clone(), ..relay() };
    assert!(refused(open.clone()).contains("unprotected"));
    assert!(!format!("{open:?}").contains("hunter2"));
    assert_eq!(refused(Relay { login, ..relay() }), "");
}
