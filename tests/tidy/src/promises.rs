//! The page of promises names only tests that exist, and every deliberate bug.
//!
//! A promise whose test was renamed would otherwise look proven for ever. Knows nothing of whether a test proves what it should.
//!
//! Invariant: a name counts as a test's if it is written like one: lower case words joined by at least two underscores.

use std::path::Path;

use crate::Finding;

/// Everything wrong with the page of promises; `has_test` answers for the name of a test function.
pub fn problems(path: &Path, text: &str, has_test: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        // Every second piece between backticks is code.
        for name in line.split('`').skip(1).step_by(2).filter(|name| is_test_name(name)) {
            if !has_test(name) {
                found.push(Finding::new(path, number + 1, format!("there is no test `{name}`; name the one that is")));
            }
        }
    }
    found
}

/// Words of deliberate bugs that the page does not list.
pub fn unlisted_bugs(path: &Path, text: &str, seeded: &str) -> Vec<Finding> {
    let quoted = seeded.lines().filter_map(|line| line.split_once(" = \"")?.1.strip_suffix("\","));
    let is_missing = |word: &&str| !text.contains(&format!("| `{word}` |"));
    quoted.filter(is_missing).map(|word| Finding::new(path, 0, format!("the table lacks the bug `{word}`"))).collect()
}

fn is_test_name(name: &str) -> bool {
    name.matches('_').count() >= 2
        && name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: usize) {
        let found = problems(Path::new("docs/guarantees.md"), text, |name| name == "an_event_is_kept");
        assert_eq!(found.len(), expected, "{text}: {found:?}");
    }

    #[test]
    fn a_test_that_is_not_there_is_found_and_other_code_is_no_test() {
        check("proven by `an_event_is_kept` in `host/core`, see `make test` and `is_planted`", 0);
        check("proven by `an_event_is_lost`\nand by `no_event_is_lost`, `an_event_is_kept`", 2);
    }

    #[test]
    fn a_bug_without_its_line_is_found() {
        let seeded = "    /// An ack.\n    CumulativeAck = \"cumulative-ack\",\n    Other = \"other-bug\",\n";
        let found = unlisted_bugs(Path::new("docs/guarantees.md"), "| `cumulative-ack` | core |", seeded);
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
