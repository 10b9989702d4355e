//! Rules for one Rust file: module doc, length of file and functions, names, and calls that must not be committed.
//!
//! Functions are found by counting brackets in masked text: it does not understand macros, and need not.
//!
//! Invariant: what stands in a comment or a literal is never taken for code.

use std::path::Path;

use crate::Finding;
use crate::mask::Mask;

/// A file this long does more than one thing (house style, Shape).
pub const FILE_LINES_MAX: usize = 500;
/// A file is meant to stay below this; longer ones are printed.
pub const FILE_LINES_AIM: usize = 300;
/// A function this long does not fit on a page.
pub const FUNCTION_LINES_MAX: usize = 70;

/// If it has no name, it has no purpose yet.
const NAMES_FORBIDDEN: [&str; 8] = ["utils", "util", "common", "helpers", "helper", "types", "manager", "misc"];

/// Macros and attributes that stand for work not done.
const UNFINISHED: [(&str, &str); 3] = [
    ("todo!", "unfinished code is not committed"),
    ("unimplemented!", "unfinished code is not committed"),
    ("#[ignore", "a test that is skipped proves nothing; fix or delete it"),
];

/// Everything wrong with the Rust file `path` whose text is `source`.
pub fn problems(path: &Path, source: &str) -> Vec<Finding> {
    let mask = Mask::new(source);
    let mut found = Vec::new();
    found.extend(name(path));
    if !source.starts_with("//!") {
        let what = "starts without a `//!` module doc: say what it is for, what it does not know, its invariant";
        found.push(Finding::new(path, 1, what));
    }
    let lines = source.lines().count();
    if lines > FILE_LINES_MAX {
        let what = format!("{lines} lines, the limit is {FILE_LINES_MAX}: split it by purpose");
        found.push(Finding::new(path, 0, what));
    }
    for function in functions(&mask.code) {
        if function.lines > FUNCTION_LINES_MAX {
            let what = format!(
                "function `{}` has {} lines, the limit is {FUNCTION_LINES_MAX}: split it",
                function.name, function.lines
            );
            found.push(Finding::new(path, function.line, what));
        }
    }
    for (needle, why) in UNFINISHED {
        for (at, _) in mask.code.match_indices(needle) {
            let what = format!("`{needle}`: {why}");
            found.push(Finding::new(path, line_of(&mask.code, at), what));
        }
    }
    for mark in [concat!("FIX", "ME"), concat!("XX", "X")] {
        for (at, _) in mask.comments.match_indices(mark) {
            let what = format!("`{mark}`: do it, or open an issue and say nothing here");
            found.push(Finding::new(path, line_of(&mask.comments, at), what));
        }
    }
    found
}

/// What is not wrong yet.
pub fn notes(path: &Path, source: &str) -> Option<Finding> {
    let lines = source.lines().count();
    (FILE_LINES_AIM + 1..=FILE_LINES_MAX)
        .contains(&lines)
        .then(|| Finding::new(path, 0, format!("{lines} lines, aim at {FILE_LINES_AIM}")))
}

/// A module is named by its file or its folder.
fn name(path: &Path) -> Option<Finding> {
    let stem = path.file_stem()?.to_str()?;
    let module = match stem {
        "mod" | "lib" | "main" => path.parent()?.file_name()?.to_str()?,
        _ => stem,
    };
    NAMES_FORBIDDEN.contains(&module).then(|| {
        let what = format!("a module called `{module}` has no purpose: name it for the one thing it does");
        Finding::new(path, 0, what)
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// Functions with a body, outer and inner ones.
fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
            continue;
        }
        let rest = code[at + 3..].trim_start();
        let name: String = rest.chars().take_while(|next| next.is_alphanumeric() || *next == '_').collect();
        if name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(&code[at..]) {
            found.push(Function { name, line: line_of(code, at), lines: code[at..at + end].matches('\n').count() + 1 });
        }
    }
    found
}

/// Where the body of the function at the start of `code` ends; nothing for a declaration without a body.
fn body_end(code: &str) -> Option<usize> {
    let (mut round, mut curly) = (0_i32, 0_i32);
    for (at, next) in code.char_indices() {
        match next {
            '(' | '[' => round += 1,
            ')' | ']' => round -= 1,
            '{' => curly += 1,
            '}' => {
                curly -= 1;
                if curly == 0 && round == 0 {
                    return Some(at + 1);
                }
            }
            ';' if curly == 0 && round == 0 => return None,
            _ => {}
        }
    }
    None
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, source: &str, expected: &[&str]) {
        let found = problems(Path::new(path), source);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (finding, part) in found.iter().zip(expected) {
            assert!(finding.to_string().contains(part), "{finding} / {part}");
        }
    }

    fn long_function(lines: usize) -> String {
        let body = "    f(\"{\");\n".repeat(lines - 2);
        format!("//! Doc.\nfn a(x: [u8; 4]) -> Result<(), E> {{\n{body}}}\n")
    }

    #[test]
    fn good_file_passes() {
        check("src/lane.rs", &long_function(70), &[]);
        check("src/main.rs", "//! A.\n// todo! fn ignore\nconst A: &str = \"todo!()\";\n", &[]);
    }

    #[test]
    fn missing_module_doc_is_caught() {
        check("src/lane.rs", "use a::b;\n", &["lane.rs:1: starts without"]);
        check("src/lane.rs", "", &["starts without"]);
    }

    #[test]
    fn long_function_is_caught_at_its_line() {
        check("a.rs", &long_function(71), &["a.rs:2: function `a` has 71 lines"]);
    }

    #[test]
    fn long_file_is_caught_and_a_longish_one_noted() {
        let source = |lines: usize| format!("//! A.\n{}", "\n".repeat(lines - 1));
        check("a.rs", &source(501), &["501 lines, the limit is 500"]);
        check("a.rs", &source(500), &[]);
        assert!(notes(Path::new("a.rs"), &source(301)).is_some());
        assert!(notes(Path::new("a.rs"), &source(300)).is_none());
    }

    #[test]
    fn unfinished_code_is_caught() {
        check("a.rs", "//! A.\nfn f() { todo!() }\n", &["a.rs:2: `todo!`"]);
        check("a.rs", "//! A.\n#[ignore = \"slow\"]\nfn f() {}\n", &["a.rs:2: `#[ignore`"]);
        let marked = format!("//! A.\n\n// {}ME: later\n", "FIX");
        check("a.rs", &marked, &["a.rs:3: `FIX"]);
    }

    #[test]
    fn names_without_purpose_are_caught() {
        check("src/utils.rs", "//! A.\n", &["a module called `utils`"]);
        check("src/types/mod.rs", "//! A.\n", &["a module called `types`"]);
        check("src/common/lane.rs", "//! A.\n", &[]);
    }

    #[test]
    fn functions_without_body_do_not_run_into_the_next() {
        let source = "trait A { fn a(x: [u8; 4]) -> u8; fn b() {\n}\n }\ntype F = fn (u8);\n";
        let found = functions(source);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].lines), ("b", 2));
    }
}
