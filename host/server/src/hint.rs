//! "Did you mean ...?" for names that a person mistyped, and where in a file the mistake is.
//!
//! Reads serde's wording of an unknown field, because neither toml nor serde_json give the name as data; if the wording ever
//! changes, the message merely loses its hint.

use std::fmt::Write as _;
use std::ops::Range;

/// Edits beyond which two names are not taken for one: a third of the word.
fn is_close(typed: &str, known: &str) -> Option<usize> {
    let edits = distance(typed, known);
    (edits <= known.chars().count().div_ceil(3)).then_some(edits)
}

/// Levenshtein distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut before = i;
        let mut last = i + 1;
        for (b, cell) in right.iter().zip(row.iter_mut().skip(1)) {
            let swapped = before + usize::from(a != *b);
            before = *cell;
            last = swapped.min(last + 1).min(*cell + 1);
            *cell = last;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// The known name that is closest to what was typed, if any is close.
#[must_use]
pub fn closest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known.into_iter().filter_map(|name| is_close(typed, name).map(|edits| (edits, name))).min().map(|(_, name)| name)
}

/// Shortens serde's "unknown field ..., expected one of ..." to the best guess, if there is one.
#[must_use]
pub fn explain(message: &str) -> String {
    let starts = ["unknown field", "unknown variant"];
    let Some(start) = starts.iter().filter_map(|word| message.find(word)).min() else {
        return message.to_owned();
    };
    let complaint = message.get(start..).unwrap_or(message);
    let mut quoted = complaint.split('`').skip(1).step_by(2);
    let typed = quoted.next().unwrap_or_default();
    match closest(typed, quoted) {
        Some(name) => {
            let head = complaint.split(", ").next().unwrap_or(complaint);
            format!("{head}, did you mean `{name}`?")
        }
        None => complaint.to_owned(),
    }
}

/// A TOML error as `FILE:LINE:COLUMN: message`, with a hint.
#[must_use]
pub fn toml_error(file: &str, text: &str, error: &toml::de::Error) -> String {
    let mut line = String::from(file);
    if let Some(Range { start, .. }) = error.span() {
        let before = text.get(..start).unwrap_or(text);
        let row = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        let _ = write!(line, ":{row}:{column}");
    }
    format!("{line}: {}", explain(error.message()))
}

/// A JSON error as `FILE:LINE:COLUMN: message`, with a hint.
#[must_use]
pub fn json_error(file: &str, error: &serde_json::Error) -> String {
    let message = error.to_string();
    let bare = message.split(" at line ").next().unwrap_or(&message);
    let (row, column) = (error.line(), error.column());
    format!("{file}:{row}:{column}: {}", explain(bare))
}

#[cfg(test)]
mod tests {
    use super::{closest, distance, explain};

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("concurency", "concurrency"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn only_a_close_name_is_suggested() {
        assert_eq!(closest("listne", ["listen", "lease"]), Some("listen"));
        assert_eq!(closest("colour", ["listen", "lease"]), None);
    }

    #[test]
    fn an_unknown_field_names_the_one_meant() {
        let said = explain("unknown field `concurency`, expected one of `lease`, `concurrency`");
        assert_eq!(said, "unknown field `concurency`, did you mean `concurrency`?");
        let kept = explain("unknown field `zebra`, expected `lease`");
        assert_eq!(kept, "unknown field `zebra`, expected `lease`");
        assert_eq!(explain("invalid type: `a`, `a`"), "invalid type: `a`, `a`");
        let inside = explain("could not read: nmae: unknown field `nmae`, expected `name`");
        assert_eq!(inside, "unknown field `nmae`, did you mean `name`?");
    }
}
