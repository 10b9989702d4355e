//! Sets up what the host says of itself, on standard error.
//!
//! RUST_LOG wins over the config, as every Rust program's user expects.

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// A filter that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("`{filter}` is not a log filter ({problem}); write such as `info` or `info,bugle_broker=debug`")]
pub struct LogFilterError {
    filter: String,
    problem: String,
}

/// Parses a filter.
pub fn filter(text: &str) -> Result<EnvFilter, LogFilterError> {
    EnvFilter::try_new(text).map_err(|error| LogFilterError { filter: text.to_owned(), problem: error.to_string() })
}

/// Starts logging; a second call in one process changes nothing.
pub fn start(config: &Log) -> Result<(), LogFilterError> {
    let wanted = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let filter = filter(wanted.as_deref().unwrap_or(&config.filter))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // The error of both says only that logging has started already, as in a test with several hosts.
    let _ = match config.format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(())
}
