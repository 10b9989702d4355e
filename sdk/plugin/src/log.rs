//! Lines for the operator.
//!
//! The host adds plugin, subscription, event and attempt. Never log payloads or secrets.

use crate::host::{self, wit};

pub use wit::log::Level;

/// Emit one line. The macros [`trace!`](macro@crate::trace), [`debug!`](macro@crate::debug), [`info!`](macro@crate::info),
/// [`warn!`](macro@crate::warn) and [`error!`](macro@crate::error) are shorter.
pub fn emit(level: Level, message: &str, fields: &[(String, String)]) {
    host::log::emit(level, message, fields);
}

/// A line of any level: `log_line!(Level::Info; status = 200; "sent {id}")`.
#[macro_export]
macro_rules! log_line {
    ($level:expr; $($name:ident = $value:expr),*; $($text:tt)+) => {
        $crate::emit($level, &::std::format!($($text)+), &[$((::std::string::String::from(::std::stringify!($name)), ::std::string::ToString::to_string(&$value))),*])
    };
}

/// The finest detail: `trace!("text {x}")` or `trace!(field = value; "text")`.
#[macro_export]
macro_rules! trace {
    ($($field:ident = $value:expr),+; $($text:tt)+) => {
        $crate::log_line!($crate::Level::Trace; $($field = $value),+; $($text)+)
    };
    ($($text:tt)+) => { $crate::log_line!($crate::Level::Trace; ; $($text)+) };
}

/// For debugging: `debug!("text {x}")` or `debug!(field = value; "text")`.
#[macro_export]
macro_rules! debug {
    ($($field:ident = $value:expr),+; $($text:tt)+) => {
        $crate::log_line!($crate::Level::Debug; $($field = $value),+; $($text)+)
    };
    ($($text:tt)+) => { $crate::log_line!($crate::Level::Debug; ; $($text)+) };
}

/// Worth knowing: `info!("text {x}")` or `info!(field = value; "text")`.
#[macro_export]
macro_rules! info {
    ($($field:ident = $value:expr),+; $($text:tt)+) => {
        $crate::log_line!($crate::Level::Info; $($field = $value),+; $($text)+)
    };
    ($($text:tt)+) => { $crate::log_line!($crate::Level::Info; ; $($text)+) };
}

/// Degraded: `warn!("text {x}")` or `warn!(field = value; "text")`.
#[macro_export]
macro_rules! warn {
    ($($field:ident = $value:expr),+; $($text:tt)+) => {
        $crate::log_line!($crate::Level::Warn; $($field = $value),+; $($text)+)
    };
    ($($text:tt)+) => { $crate::log_line!($crate::Level::Warn; ; $($text)+) };
}

/// Somebody must act: `error!("text {x}")` or `error!(field = value; "text")`.
#[macro_export]
macro_rules! error {
    ($($field:ident = $value:expr),+; $($text:tt)+) => {
        $crate::log_line!($crate::Level::Error; $($field = $value),+; $($text)+)
    };
    ($($text:tt)+) => { $crate::log_line!($crate::Level::Error; ; $($text)+) };
}

#[cfg(test)]
mod tests {
    use crate::mock::Host;

    #[test]
    fn macros_take_fields_and_text() {
        let host = Host::new();
        host.within(|| {
            let id = 7;
            crate::info!("sent {id}");
            crate::warn!(status = 503, to = "a@b"; "slow {}", id);
        });
        assert_eq!(host.logs(), ["info sent 7", "warn slow 7 status=503 to=a@b"]);
    }
}
