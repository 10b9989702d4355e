//! Output of the command line: JSON, lines and tables.
//!
//! A reader that goes away (`| head`) is no failure; [`is_reader_gone`] tells it to `main`.

use std::io::{self, Write as _};

use serde::Serialize;

/// Writes text as it is.
pub(super) fn text(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes a line.
pub(super) fn line(line: &str) -> anyhow::Result<()> {
    text(&format!("{line}\n"))
}

/// Writes a value as indented JSON.
pub(super) fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(value)?)
}

/// Writes a value as one line of JSON.
pub(super) fn json_line<T: Serialize>(value: &T) -> anyhow::Result<()> {
    line(&serde_json::to_string(value)?)
}

/// Writes rows under headings, in columns; or what to say if there are none.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>], none: &str) -> anyhow::Result<()> {
    if rows.is_empty() {
        return line(none);
    }
    let headings: Vec<String> = headings.iter().map(|text| (*text).to_owned()).collect();
    let all = || std::iter::once(&headings).chain(rows);
    let width = |column: usize| {
        all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut out = String::new();
    for row in all() {
        let mut shown = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            shown.push_str(&format!("{cell:width$}  "));
        }
        out.push_str(shown.trim_end());
        out.push('\n');
    }
    text(&out)
}

/// Writes names and values, one pair a line.
pub(super) fn pairs(pairs: &[(&str, String)]) -> anyhow::Result<()> {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (name, value) in pairs {
        out.push_str(&format!("{name:width$}  {value}\n"));
    }
    text(&out)
}

/// An error with its causes on one line; a cause that its effect repeats is left out.
#[must_use]
pub(super) fn causes(error: &anyhow::Error) -> String {
    let mut told = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

/// Whether an error only says that nobody reads the output any more.
#[must_use]
pub(super) fn is_reader_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
