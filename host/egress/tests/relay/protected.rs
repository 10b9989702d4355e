//! The relay of others: what is sent, over what, and what it takes to be refused.

use bugle_core::import::Sent;
use bugle_egress::{Egress, Options, Relay, RelayPassword, RelayTls};
use serde_json::json;

use crate::python::{Authority, PythonRelay};
use crate::{PASSWORD, USER, egress, not_sent, relay, send};

const LOGIN: (&str, &str) = (USER, PASSWORD);

/// Relay and settings that fit each other.
fn matching(tls: RelayTls, authority: &Authority) -> (PythonRelay, Relay) {
    let mode = match tls {
        RelayTls::None => "none",
        RelayTls::StartTls => "starttls",
        RelayTls::Tls => "tls",
    };
    let python = PythonRelay::start(mode, Some((authority, "localhost")), LOGIN);
    let settings = Relay { ca_pem: authority.pem(), ..relay("localhost", python.port, tls) };
    (python, settings)
}

const PROTECTED: [RelayTls; 2] = [RelayTls::StartTls, RelayTls::Tls];

#[tokio::test]
async fn a_mail_goes_over_tls_after_a_login() {
    let authority = Authority::new("ours");
    for tls in PROTECTED {
        let (python, settings) = matching(tls, &authority);
        let egress = egress(settings);
        for _ in 0..2 {
            let (result, sent) = send(&egress).await;
            assert_eq!((result.unwrap().reply.as_str(), sent), ("250 taken", Sent::Answered), "{tls:?}");
        }
        let mail = json!({ "mail": "bus@b.example", "to": ["you@c.example"], "tls": true, "login": true });
        let login = json!({ "attempt": "PLAIN", "tls": true, "known": true });
        assert_eq!(python.said(), [login, mail.clone(), mail], "{tls:?}: one login on one connection");
    }
}

#[tokio::test]
async fn the_trust_of_all_calls_counts_for_the_relay_too() {
    let authority = Authority::new("ours");
    for tls in PROTECTED {
        let (_python, settings) = matching(tls, &authority);
        let relay = Some(Relay { ca_pem: Vec::new(), ..settings });
        let egress = Egress::new(Options { extra_roots_pem: authority.pem(), relay }).unwrap();
        assert!(send(&egress).await.0.is_ok(), "{tls:?}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_and_nothing_is_sent() {
    let authority = Authority::new("ours");
    for tls in PROTECTED {
        let (python, settings) = matching(tls, &authority);
        let login = Some((USER.to_owned(), RelayPassword(format!("{PASSWORD}!"))));
        let text = not_sent(&egress(Relay { login, ..settings })).await;
        assert!(text.contains("535") && text.contains("`password_file`"), "{text}");
        let said = python.said();
        assert!(said.iter().all(|line| line["known"] == json!(false) && line["tls"] == json!(true)), "{said:?}");
    }
}

#[tokio::test]
async fn a_relay_that_wants_a_login_and_gets_none_refuses_the_mail() {
    let authority = Authority::new("ours");
    for tls in PROTECTED {
        let (python, settings) = matching(tls, &authority);
        let (result, sent) = send(&egress(Relay { login: None, ..settings })).await;
        assert!(result.is_err_and(|error| error.to_string().contains("530")) && sent == Sent::Nothing, "{tls:?}");
        assert!(python.said().is_empty());
    }
}

#[tokio::test]
async fn a_certificate_of_a_stranger_gets_neither_mail_nor_password() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("theirs"));
    for tls in PROTECTED {
        let (python, settings) = matching(tls, &authority);
        let text = not_sent(&egress(Relay { ca_pem: stranger.pem(), ..settings.clone() })).await;
        assert!(text.contains("UnknownIssuer") && text.contains("`ca_file`"), "{text}");
        not_sent(&egress(Relay { ca_pem: Vec::new(), ..settings })).await;
        assert!(python.said().is_empty(), "{tls:?}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_gets_neither_mail_nor_password() {
    let authority = Authority::new("ours");
    for (mode, tls) in [("starttls", RelayTls::StartTls), ("tls", RelayTls::Tls)] {
        let python = PythonRelay::start(mode, Some((&authority, "other.example")), LOGIN);
        let settings = Relay { ca_pem: authority.pem(), ..relay("localhost", python.port, tls) };
        let text = not_sent(&egress(settings)).await;
        assert!(text.contains("certificate"), "{text}");
        assert!(python.said().is_empty(), "{tls:?}");
    }
}

#[tokio::test]
async fn a_relay_without_the_starttls_that_is_required_gets_neither_mail_nor_password() {
    let python = PythonRelay::start("none", None, LOGIN);
    let text = not_sent(&egress(relay("localhost", python.port, RelayTls::StartTls))).await;
    assert!(text.contains("offers no STARTTLS") && text.contains("[mail]"), "{text}");
    assert!(python.said().is_empty());
}

#[tokio::test]
async fn a_relay_that_speaks_no_tls_is_no_tls_relay() {
    let python = PythonRelay::start("none", None, LOGIN);
    not_sent(&egress(relay("localhost", python.port, RelayTls::Tls))).await;
    assert!(python.said().is_empty());
}

#[test]
fn a_trust_file_that_holds_no_certificate_is_refused() {
    let settings =
        Relay { ca_pem: b"-----BEGIN CERTIFICATE-----\nx".to_vec(), ..relay("localhost", 25, RelayTls::Tls) };
    assert!(Egress::new(Options { extra_roots_pem: Vec::new(), relay: Some(settings) }).is_err());
}
