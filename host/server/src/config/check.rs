//! Checks of a config that need no start: what cannot work is told at once, all of it, with what to write instead.
//!
//! Knows nothing of parsing or of the running host.

use std::fmt::Write as _;

use super::Config;
use crate::quantity::Size;

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

/// Smaller caches make RocksDB thrash on its own index blocks.
const CACHE_MIN: Size = Size::mib(8);

/// The ring must hold a few commits of the largest batches, or it is empty again before anybody reads it.
const TAIL_RING_MIN: Size = Size::mib(4);

/// More guest threads than this are surely a typing mistake.
const GUEST_THREADS_MAX: u32 = 1024;

impl Config {
    /// Every value that cannot work.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut check = |ok: bool, field: &'static str, message: &dyn Fn() -> String| {
            if !ok {
                let message = message();
                problems.push(Problem { field, message });
            }
        };
        let empty = self.data_dir.as_os_str().is_empty();
        check(!empty, "data_dir", &|| "name a directory".to_owned());
        let pair = self.quic.certificate.is_some() == self.quic.key.is_some();
        check(pair, "quic.certificate", &|| "`certificate` and `key` belong together; give both or none".to_owned());
        let trusted = self.quic.listen.ip().is_loopback() || self.quic.certificate.is_some();
        check(trusted, "quic.listen", &|| {
            format!("`{}` is not loopback; give `certificate` and `key`, or listen on 127.0.0.1", self.quic.listen)
        });
        check(self.admin.listen.ip().is_loopback(), "admin.listen", &|| {
            format!(
                "`{}` is not loopback; the admin API is served on this machine only, use an ssh tunnel or a proxy",
                self.admin.listen
            )
        });
        let window = self.publish.id_window_ids > 0 && self.publish.id_window.0.0 > 0;
        check(window, "publish.id_window", &|| {
            "an empty id window would take every repeated publish for a new event; use at least 1 id and 1s".to_owned()
        });
        let small = |size: Size, least: Size| format!("{size} is too small; use at least {least}");
        check(self.storage.cache >= CACHE_MIN, "storage.cache", &|| small(self.storage.cache, CACHE_MIN));
        let ring = self.storage.tail_ring;
        check(ring >= TAIL_RING_MIN, "storage.tail_ring", &|| small(ring, TAIL_RING_MIN));
        let threads = self.sandbox.guest_threads;
        check(threads <= GUEST_THREADS_MAX, "sandbox.guest_threads", &|| {
            format!("{threads} is more than {GUEST_THREADS_MAX}; 0 means one per core")
        });
        problems
    }
}
