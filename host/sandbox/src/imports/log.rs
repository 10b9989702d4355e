//! `log`: lines for the operator, bounded per delivery.
//!
//! Invariant: what a guest logs cannot break out of its line, and costs at most the budget of its delivery.

use crate::bindings::bugle::plugin::log;
use crate::calls::HostCalls;
use crate::output::printable;
use crate::state::State;

/// One message.
const MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Fields of one line.
const FIELDS_MAX: usize = 16;
/// One field, name and value each.
const FIELD_BYTES_MAX: usize = 256;
/// Lines of one delivery.
const LINES_MAX: u32 = 100;
/// Bytes of one delivery.
const BYTES_MAX: usize = 16 << 10;

/// What is left for one delivery, and how much was dropped.
#[derive(Debug)]
pub(crate) struct LogBudget {
    lines: u32,
    bytes: usize,
    pub(crate) dropped: u64,
}

impl Default for LogBudget {
    fn default() -> LogBudget {
        LogBudget { lines: LINES_MAX, bytes: BYTES_MAX, dropped: 0 }
    }
}

impl LogBudget {
    /// Whether a line of that length still fits.
    fn take(&mut self, bytes: usize) -> bool {
        match (self.lines.checked_sub(1), self.bytes.checked_sub(bytes)) {
            (Some(lines), Some(left)) => {
                self.lines = lines;
                self.bytes = left;
                true
            }
            _ => {
                // Once over, always over: no later short line should look as if it followed the last one shown.
                self.lines = 0;
                self.dropped += 1;
                false
            }
        }
    }
}

impl<C: HostCalls> log::Host for State<C> {
    fn emit(&mut self, level: log::Level, message: String, fields: Vec<(String, String)>) {
        let text = line(message, fields);
        if !self.log.take(text.len()) {
            return;
        }
        let (plugin, subscription) = (self.rights.plugin.as_str(), &*self.rights.subscription);
        let delivery = self.current().map(HostCalls::delivery);
        let position = delivery.map(|delivery| tracing::field::display(delivery.event.position));
        let attempt = delivery.map(|delivery| delivery.attempt.0);
        match level {
            log::Level::Trace => tracing::trace!(target: "plugin", plugin, subscription, position, attempt, "{text}"),
            log::Level::Debug => tracing::debug!(target: "plugin", plugin, subscription, position, attempt, "{text}"),
            log::Level::Info => tracing::info!(target: "plugin", plugin, subscription, position, attempt, "{text}"),
            log::Level::Warn => tracing::warn!(target: "plugin", plugin, subscription, position, attempt, "{text}"),
            log::Level::Error => tracing::error!(target: "plugin", plugin, subscription, position, attempt, "{text}"),
        }
    }
}

/// One line: the message and its fields, each bounded and printable.
fn line(message: String, fields: Vec<(String, String)>) -> String {
    let mut text = printable(&super::cut(message, MESSAGE_BYTES_MAX));
    for (name, value) in fields.into_iter().take(FIELDS_MAX) {
        let name = printable(&super::cut(name, FIELD_BYTES_MAX));
        let value = printable(&super::cut(value, FIELD_BYTES_MAX));
        text.extend([" ", &name, "=", &value]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_bounded_and_stays_one_line() {
        let fields = vec![("n".repeat(1000), "v\n".repeat(1000)); 100];
        let text = line("m\r\n\x1b[0m".repeat(10_000), fields);
        assert!(text.len() <= 4 * MESSAGE_BYTES_MAX + FIELDS_MAX * 5 * FIELD_BYTES_MAX, "{}", text.len());
        assert!(!text.contains(['\n', '\x1b']));
    }

    #[test]
    fn the_budget_ends_by_lines_or_bytes() {
        let mut budget = LogBudget::default();
        assert_eq!((0..1000).filter(|_| budget.take(1)).count(), LINES_MAX as usize);
        assert_eq!(budget.dropped, 900);
        let mut budget = LogBudget::default();
        assert!(budget.take(BYTES_MAX));
        assert!(!budget.take(1) && !budget.take(0));
    }
}
