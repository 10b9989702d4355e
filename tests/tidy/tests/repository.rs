//! Runs every rule on this repository. A failure lists all places at once, each with what to do.
//!
//! It decides nothing: the rules and their own tests are in `src`.
//!
//! Invariant: it fails when it finds nothing to check, so that a wrong folder cannot pass for a tidy one.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use std::path::{Path, PathBuf};

use bugle_tidy::mask::Mask;
use bugle_tidy::{Finding, imports, pages, promises, source, tree, words};

/// The texts of all files that `wanted` selects.
fn texts(wanted: impl Fn(&Path) -> bool) -> Vec<(PathBuf, String)> {
    let root = tree::root();
    let files = tree::files(&root).unwrap();
    let found: Vec<_> = files
        .into_iter()
        .filter(|path| wanted(path))
        .filter_map(|path| Some((path.clone(), tree::text(&root, &path)?)))
        .collect();
    assert!(!found.is_empty(), "no files found in {}", root.display());
    found
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

#[track_caller]
fn none(problems: &[Finding]) {
    let list: Vec<String> = problems.iter().map(|problem| format!("  {problem}")).collect();
    assert!(problems.is_empty(), "{} problems:\n{}", list.len(), list.join("\n"));
}

#[test]
fn rust_files_keep_the_house_style() {
    let files = texts(|path| has_extension(path, "rs"));
    for note in files.iter().filter_map(|(path, text)| source::notes(path, text)) {
        println!("note: {note}");
    }
    let problems: Vec<_> = files.iter().flat_map(|(path, text)| source::problems(path, text)).collect();
    none(&problems);
}

#[test]
fn crates_import_only_what_they_may() {
    let manifests = texts(|path| path.ends_with("Cargo.toml"));
    let problems: Vec<_> = manifests.iter().flat_map(|(path, text)| imports::problems(path, text)).collect();
    none(&problems);
}

#[test]
fn core_cannot_name_a_clock() {
    let core = texts(|path| path == Path::new("host/core/src/lib.rs"));
    let problems: Vec<_> =
        core.iter().filter_map(|(path, text)| imports::core_problems(path, &Mask::new(text).code)).collect();
    none(&problems);
}

#[test]
fn pages_link_to_what_exists_and_decisions_tell_their_price() {
    let root = tree::root();
    let files = texts(|path| has_extension(path, "md"));
    let exists = |path: &Path| root.join(path).exists();
    let problems: Vec<_> = files.iter().flat_map(|(path, text)| pages::problems(path, text, exists)).collect();
    none(&problems);
}

#[test]
fn promises_name_tests_that_exist_and_every_deliberate_bug() {
    let page = texts(|path| path == Path::new("docs/guarantees.md"));
    let rust = texts(|path| has_extension(path, "rs"));
    let seeded = texts(|path| path == Path::new("host/core/src/seeded.rs"));
    // The tests of deliberate bugs are made by a macro, from lines that begin with the name.
    let has_test = |name: &str| {
        let (function, line) = (format!("fn {name}("), format!(" {name}: "));
        rust.iter().any(|(_, text)| text.contains(&function) || text.contains(&line))
    };
    for (path, text) in &page {
        let mut problems = promises::problems(path, text, has_test);
        problems.extend(seeded.iter().flat_map(|(_, seeded)| promises::unlisted_bugs(path, text, seeded)));
        none(&problems);
    }
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let problems: Vec<_> = texts(|_| true).iter().flat_map(|(path, text)| words::problems(path, text)).collect();
    none(&problems);
}
