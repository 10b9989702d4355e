//! Rules for every text file: no path of one person's machine, no trailing mess.
//!
//! It does not look into data: files under `tests/data` are real input and stay as they came.
//!
//! Invariant: nothing here names a machine path in full, so that this file passes its own rule.

use std::path::Path;

use crate::Finding;

/// Folders that exist on the machine of one person only.
const MACHINE_PATHS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/me/")];

/// Everything wrong with the words of the text file `path`.
pub fn problems(path: &Path, text: &str) -> Vec<Finding> {
    if path.starts_with("tests/data") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for machine_path in MACHINE_PATHS {
            // Behind a name it is a folder of the project, not one of a machine.
            let starts_a_path =
                |at: usize| !line[..at].ends_with(|before: char| before.is_alphanumeric() || "._-}".contains(before));
            if line.match_indices(machine_path).any(|(at, _)| starts_a_path(at)) {
                let what = format!("`{machine_path}` is a path of one machine: use a relative or a temporary one");
                found.push(Finding::new(path, number + 1, what));
            }
        }
    }
    if text.contains("\n<<<<<<< ") || text.starts_with("<<<<<<< ") {
        found.push(Finding::new(path, 0, "a merge conflict was left"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, lines: &[usize]) {
        let found = problems(Path::new(path), text);
        let at: Vec<usize> = found.iter().map(|finding| finding.line).collect();
        assert_eq!(at, lines, "{found:?}");
    }

    #[test]
    fn machine_paths_are_caught_where_they_stand() {
        let text = format!("fine\nsee {}x and \"{}y\"\n", MACHINE_PATHS[0], MACHINE_PATHS[1]);
        check("docs/a.md", &text, &[2, 2]);
        check("tests/data/a.jsonl", &text, &[]);
    }

    #[test]
    fn folders_of_the_same_name_are_fine() {
        check("a.md", &format!("our{}x", MACHINE_PATHS[0]), &[]);
    }

    #[test]
    fn conflict_marks_are_caught() {
        check("a.rs", "a\n<<<<<<< ours\n", &[0]);
    }
}
