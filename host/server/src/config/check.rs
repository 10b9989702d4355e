//! Checks of a config that need no start: what cannot work is told at once, all of it, with what to write instead.
//!
//! Knows nothing of parsing or of the running host.

use std::fmt::Write as _;

use bugle_core::audit::{AUDIT_AGE_MIN, AUDIT_ROWS_MIN};

use super::Config;
use crate::quantity::{Duration, Size};

/// One value that cannot work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which field, as `section.field`.
    pub field: &'static str,
    /// What is wrong and what to write.
    pub message: String,
}

/// The problems as lines under a heading.
pub(super) fn list(problems: &[Problem]) -> String {
    let mut text = String::new();
    for Problem { field, message } in problems {
        let _ = write!(text, "\n  {field}: {message}");
    }
    text
}

/// Below this an epoch would end several times a second at full rate.
const EPOCH_MIN: Size = Size::mib(16);

/// The store's own bound.
const EPOCH_MAX: Size = Size::mib(4096);

/// The ring must hold a few commits of the largest batches, or it is empty again before anybody reads it.
const TAIL_RING_MIN: Size = Size::mib(4);

/// Records are for people.
const RECORDS_MIN: Duration = Duration::from_secs(3600);

/// More guest threads than this are surely a typing mistake.
const GUEST_THREADS_MAX: u32 = 1024;

/// Callbacks are for records; deliveries need the instances.
const CALLBACKS_MAX: u32 = 1024;

/// Collects problems.
struct Check(Vec<Problem>);

impl Check {
    fn that(&mut self, ok: bool, field: &'static str, message: impl FnOnce() -> String) {
        if !ok {
            let message = message();
            self.0.push(Problem { field, message });
        }
    }

    fn at_least(&mut self, size: Size, least: Size, field: &'static str) {
        self.that(size >= least, field, || format!("{size} is too small; use at least {least}"));
    }
}

impl Config {
    /// Every value that cannot work.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut check = Check(Vec::new());
        let is_named = !self.data_dir.as_os_str().is_empty();
        check.that(is_named, "data_dir", || "name a directory".to_owned());
        self.check_listeners(&mut check);
        let window = self.publish.id_window_ids > 0 && self.publish.id_window.0.0 > 0;
        check.that(window, "publish.id_window", || {
            "an empty id window would take every repeated publish for a new event; use at least 1 id and 1s".to_owned()
        });
        check.at_least(self.storage.tail_ring, TAIL_RING_MIN, "storage.tail_ring");
        check.that(self.storage.records >= RECORDS_MIN, "storage.records", || {
            format!("{} is too short for anybody to look at a record; use at least {RECORDS_MIN}", self.storage.records)
        });
        check.that(self.storage.audit.0 >= AUDIT_AGE_MIN, "storage.audit", || {
            let least = Duration(AUDIT_AGE_MIN);
            format!("{} is too short to find out who did what; use at least {least}", self.storage.audit)
        });
        check.that(self.storage.audit_rows >= AUDIT_ROWS_MIN, "storage.audit_rows", || {
            format!("{} are too few to find out who did what; use at least {AUDIT_ROWS_MIN}", self.storage.audit_rows)
        });
        check.at_least(self.storage.epoch, EPOCH_MIN, "storage.epoch");
        check.that(self.storage.epoch <= EPOCH_MAX, "storage.epoch", || {
            format!("{} is too large; use at most {EPOCH_MAX}", self.storage.epoch)
        });
        self.check_inbound(&mut check);
        self.check_sandbox(&mut check);
        self.check_mail(&mut check);
        if let Err(error) = crate::logs::filter(&self.log.filter) {
            check.that(false, "log.filter", || error.to_string());
        }
        check.0
    }

    fn check_listeners(&self, check: &mut Check) {
        let quic = &self.quic;
        let pair = quic.certificate.is_some() == quic.key.is_some();
        check
            .that(pair, "quic.certificate", || "`certificate` and `key` belong together; give both or none".to_owned());
        let is_secured = quic.certificate.is_some() && !quic.tokens.is_empty();
        check.that(quic.listen.ip().is_loopback() || is_secured, "quic.listen", || {
            format!("`{}` is not loopback; give `certificate`, `key` and `tokens`, or listen on 127.0.0.1", quic.listen)
        });
        check.that(quic.sessions > 0, "quic.sessions", || "0 would turn every producer away".to_owned());
        for token in &quic.tokens {
            check.that(crate::catalog::from_digits(token).is_some(), "quic.tokens", || {
                "a token's SHA-256 has 64 hexadecimal digits; make it with `printf %s TOKEN | sha256sum`".to_owned()
            });
        }
        check.that(self.admin.listen.ip().is_loopback(), "admin.listen", || {
            format!(
                "`{}` is not loopback; the admin API is served on this machine only, use an ssh tunnel or a proxy",
                self.admin.listen
            )
        });
    }

    fn check_inbound(&self, check: &mut Check) {
        let inbound = &self.inbound;
        let listen = inbound.listen.filter(|listen| !listen.ip().is_loopback());
        check.that(listen.is_none(), "inbound.listen", || {
            let listen = listen.map(|listen| listen.to_string()).unwrap_or_default();
            format!(
                "`{listen}` is not loopback; callbacks come in plain HTTP from a proxy on this machine that ends TLS"
            )
        });
        check.that((1..=CALLBACKS_MAX).contains(&inbound.concurrency), "inbound.concurrency", || {
            format!("{} is not from 1 to {CALLBACKS_MAX}", inbound.concurrency)
        });
    }

    fn check_sandbox(&self, check: &mut Check) {
        let sandbox = &self.sandbox;
        check.that(sandbox.guest_threads <= GUEST_THREADS_MAX, "sandbox.guest_threads", || {
            format!("{} is more than {GUEST_THREADS_MAX}; 0 means one per core", sandbox.guest_threads)
        });
        check.that(sandbox.instances > 0 && sandbox.reuse > 0, "sandbox.instances", || {
            "`instances` and `reuse` must be at least 1".to_owned()
        });
        check.at_least(sandbox.memory, Size::mib(1), "sandbox.memory");
        check.at_least(sandbox.component, Size(1 << 10), "sandbox.component");
        let timed = sandbox.cpu.0.0 > 0 && sandbox.wall.0.0 > 0;
        check.that(timed, "sandbox.cpu", || "`cpu` and `wall` must be more than 0".to_owned());
    }

    fn check_mail(&self, check: &mut Check) {
        let mail = &self.mail;
        let has_sender = mail.host.is_none() || mail.sender.is_some();
        check.that(has_sender, "mail.sender", || "a relay needs a sender, such as `bus@shop.example`".to_owned());
        let login = mail.username.is_some() == mail.password_file.is_some();
        check.that(login, "mail.username", || {
            "`username` and `password_file` belong together; give both or none".to_owned()
        });
    }
}
