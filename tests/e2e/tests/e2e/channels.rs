//! The channels against receivers that judge by the standard: signatures by `standardwebhooks`, mail by `aiosmtpd`.

use std::collections::BTreeSet;

use bugle_harness::Settings;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;

use crate::independent::Program;
use crate::scene::{SECRET, Scene, event, github_events};

fn definition(port: u16, secret: &str, config: &str) -> String {
    format!(
        "topics = [\"github\"]\nplugin = \"webhook\"\nconfig = {{ url = \"http://127.0.0.1:{port}/\"{config} }}\n\
         grants = {{ egress = [\"http://127.0.0.1:{port}\"], secrets = {{ signing = {{ value = \"{secret}\" }} }} }}"
    )
}

#[test]
fn webhook_signatures_satisfy_the_official_library() {
    let scene = Scene::new();
    let receiver = Program::start("webhook.py", &[SECRET]);
    scene.topic("github");
    scene.deploy("webhook", &bugle_guests::webhook());
    scene.apply("structured", &definition(receiver.port, SECRET, ""));
    scene.apply("binary", &definition(receiver.port, SECRET, ", format = \"binary\""));
    let events = github_events();
    let count = events.len();
    scene.store("github", events);
    let seen = receiver.said(2 * count);
    for request in &seen {
        assert_eq!(request["verified"], true, "{request}");
    }
    let ids: BTreeSet<&str> = seen.iter().map(|request| request["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 2 * count, "each delivery has an id of its own");
    scene.settled("structured");
    scene.settled("binary");
    assert_eq!(receiver.said(0).len(), 2 * count, "nothing is sent twice");
}

#[test]
fn a_wrong_signature_is_noticed_and_ends_as_a_dead_letter() {
    let scene = Scene::new();
    let receiver = Program::start("webhook.py", &[SECRET]);
    scene.topic("github");
    scene.deploy("webhook", &bugle_guests::webhook());
    let other = "whsec_c29tZWJvZHktZWxzZXMtc2lnbmluZy1rZXk=";
    scene.apply("foreign", &definition(receiver.port, other, ""));
    scene.store("github", github_events().into_iter().take(1));
    let seen = receiver.said(1);
    assert_eq!(seen[0]["verified"], false, "{}", seen[0]);
    let dead = scene.dead("foreign", 1);
    assert_eq!(dead[0]["cause"], "rejected");
    assert!(dead[0]["reason"].as_str().unwrap().contains("401"), "{}", dead[0]);
}

#[test]
fn mail_arrives_at_an_independent_server() {
    let receiver = Program::start("mail.py", &[]);
    let config = format!(
        "[mail]\nhost = \"127.0.0.1\"\nport = {}\nsecurity = \"none\"\nsender = \"Bugle <bugle@sender.example>\"\n",
        receiver.port
    );
    let scene = Scene::with(Settings { config, ..Settings::default() });
    scene.topic("github");
    scene.deploy("email", &bugle_guests::email());
    scene.apply(
        "mail",
        "topics = [\"github\"]\nplugin = \"email\"\ngrants = { mail = true }\n\
         config = { to = \"a@receiver.example, B <b@receiver.example>\", subject = \"[{{subject}}] {{type}} ä\", text = \"{{id}}\\n\" }",
    );
    let events = github_events();
    let subjects: BTreeSet<String> = events
        .iter()
        .map(|event| format!("[{}] {} ä", event.view().subject.unwrap_or(""), event.view().kind))
        .collect();
    let ids: BTreeSet<String> = events.iter().map(|event| event.view().id.to_owned()).collect();
    let count = events.len();
    scene.store("github", events);
    let seen = receiver.said(count);
    scene.settled("mail");
    assert_eq!(receiver.said(0).len(), count, "nothing is sent twice");
    let of = |name: &str| -> BTreeSet<String> {
        seen.iter().map(|mail: &Value| mail[name].as_str().unwrap().trim().to_owned()).collect()
    };
    assert_eq!(of("subject"), subjects);
    assert_eq!(of("text"), ids);
    assert_eq!(of("message_id").len(), count);
    assert!(of("message_id").iter().all(|id| id.starts_with('<') && id.ends_with("@sender.example>")));
    assert_eq!(of("from"), BTreeSet::from(["bugle@sender.example".to_owned()]));
    assert_eq!(seen[0]["to"], serde_json::json!(["a@receiver.example", "b@receiver.example"]));
}

/// A certificate of its own authority for `localhost`: what to trust, and certificate with key.
fn issue() -> (String, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    (authority.pem(), certificate.pem() + &key.serialize_pem())
}

#[test]
fn mail_goes_over_starttls_with_a_login_and_a_wrong_password_is_told_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (authority, certificate) = issue();
    let receiver = Program::start("mail.py", &[&file("relay.pem", &certificate), "bugle", "open sesame"]);
    let (ca, password) = (file("ca.pem", &authority), file("password", "wrong sesame\n"));
    let config = format!(
        "[mail]\nhost = \"localhost\"\nport = {}\nca_file = \"{ca}\"\nusername = \"bugle\"\npassword_file = \"{password}\"\n\
         sender = \"bugle@sender.example\"\n",
        receiver.port
    );
    let mut scene = Scene::with(Settings { config, ..Settings::default() });
    scene.topic("orders");
    scene.deploy("email", &bugle_guests::email());
    scene.apply(
        "mail",
        "topics = [\"orders\"]\nplugin = \"email\"\ngrants = { mail = true }\n\
         retry = { attempts_max = 2, first_backoff = \"100ms\" }\n\
         config = { to = \"a@receiver.example\", subject = \"{{type}}\", text = \"{{id}}\\n\" }",
    );
    scene.store("orders", [event("1", "order.paid", &Value::Null)]);
    let dead = scene.dead("mail", 1).remove(0);
    let reason = dead["reason"].as_str().unwrap();
    assert!(reason.contains("535") && reason.contains("`password_file`"), "{dead}");
    assert!(!dead.to_string().contains("sesame"), "{dead}");
    file("password", "open sesame\n");
    scene.host.stop().unwrap();
    scene.host.restart().unwrap();
    scene.store("orders", [event("2", "order.paid", &Value::Null)]);
    assert_eq!(receiver.said(1)[0]["text"].as_str().unwrap().trim(), "2");
    scene.settled("mail");
    let log = scene.host.log_text();
    assert!(!log.contains("sesame"), "{log}");
}
