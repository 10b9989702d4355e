//! Mail through a protected relay: aiosmtpd with STARTTLS, TLS and logins, and relays of our own that are not what they seem.
//!
//! Invariant of every case, looked at in its end: the password is in no error, no reply and no log line.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod hostile;
mod protected;
mod python;

use std::io;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bugle_core::import::Sent;
use bugle_egress::{Accepted, Egress, EgressError, Evidence, Mail, Options, Relay, RelayPassword, RelayTls};

const USER: &str = "bugle";
const PASSWORD: &str = "correct horse battery staple";
/// Longest wait for a relay on this machine.
const SOON: Duration = Duration::from_secs(30);

/// Everything this process logs, whatever the level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

static LOG: LazyLock<Log> = LazyLock::new(|| {
    let log = Log::default();
    let writer = log.clone();
    let filter = tracing_subscriber::EnvFilter::new("trace");
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || writer.clone()).init();
    log
});

/// A relay's settings; tests change what they are about.
fn relay(host: &str, port: u16, tls: RelayTls) -> Relay {
    Relay {
        host: host.to_owned(),
        port,
        tls,
        login: Some((USER.to_owned(), RelayPassword(PASSWORD.to_owned()))),
        ca_pem: Vec::new(),
        sender: "bus@b.example".to_owned(),
        senders: Vec::new(),
        domain: None,
    }
}

fn egress(relay: Relay) -> Egress {
    LazyLock::force(&LOG);
    Egress::new(Options { extra_roots_pem: Vec::new(), relay: Some(relay) }).unwrap()
}

/// Sends one mail and checks that the password stayed where it belongs.
async fn send(egress: &Egress) -> (Result<Accepted, EgressError>, Sent) {
    let mail = Mail {
        to: vec!["you@c.example".to_owned()],
        subject: "hello".to_owned(),
        text: Some("text".to_owned()),
        message_id: "key-1".to_owned(),
        ..Mail::default()
    };
    let evidence = Evidence::default();
    let result = egress.mailer().unwrap().send(mail, SOON, &evidence).await;
    let log = String::from_utf8_lossy(&LOG.0.lock().unwrap()).into_owned();
    for text in [log, format!("{result:?} {egress:?}")] {
        for form in
            [PASSWORD, "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQ==", "AGJ1Z2xlAGNvcnJlY3QgaG9yc2UgYmF0dGVyeSBzdGFwbGU="]
        {
            assert!(!text.contains(form), "{text}");
        }
    }
    (result, evidence.sent())
}

/// The text of a refusal before anything left.
async fn not_sent(egress: &Egress) -> String {
    match send(egress).await {
        (Err(error @ EgressError::NotSent { .. }), Sent::Nothing) => error.to_string(),
        other => panic!("{other:?}"),
    }
}
