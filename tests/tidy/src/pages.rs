//! Rules for documentation: relative links lead somewhere, and a decision page says what was given up.
//!
//! Links to the web are not followed: a test must not depend on other people's servers.
//!
//! Invariant: text in code blocks and in code spans is never taken for a link.

use std::path::{Component, Path, PathBuf};

use crate::Finding;

/// What every page under `docs/decisions/` must tell, as a heading.
const DECISION_PARTS: [&str; 3] = ["context", "choice", "what we gave up"];

/// Everything wrong with the Markdown page `path`; `exists` answers for paths relative to the repository.
pub fn problems(path: &Path, text: &str, exists: impl Fn(&Path) -> bool) -> Vec<Finding> {
    let mut found = Vec::new();
    for (line, target) in links(text) {
        let file = target.split('#').next().unwrap_or_default();
        if file.is_empty() || target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let resolved = resolve(path.parent().unwrap_or(Path::new("")), file);
        if !resolved.as_deref().is_some_and(&exists) {
            let what = format!("the link `{target}` leads nowhere");
            found.push(Finding::new(path, line, what));
        }
    }
    if path.starts_with("docs/decisions") && !path.ends_with("README.md") {
        found.extend(missing_parts(path, text));
    }
    found
}

fn missing_parts(path: &Path, text: &str) -> Vec<Finding> {
    let headings: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .collect();
    DECISION_PARTS
        .iter()
        .filter(|part| !headings.iter().any(|heading| heading == *part))
        .map(|part| Finding::new(path, 0, format!("a decision page needs the heading `{part}`")))
        .collect()
}

/// The targets of `[text](target)`, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_block = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        if in_block {
            continue;
        }
        // Every second piece between backticks is code.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for (at, _) in prose.match_indices("](") {
            if let Some((target, _)) = prose[at + 2..].split_once(')') {
                let target = target.split_whitespace().next().unwrap_or_default();
                found.push((number + 1, target.to_owned()));
            }
        }
    }
    found
}

/// `file` as seen from `folder`; nothing when it leaves the repository.
fn resolve(folder: &Path, file: &str) -> Option<PathBuf> {
    let mut resolved = PathBuf::new();
    for part in folder.join(file).components() {
        match part {
            Component::Normal(name) => resolved.push(name),
            Component::ParentDir => {
                if !resolved.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, expected: &[&str]) {
        let exists = |path: &Path| path == Path::new("docs/a.md") || path == Path::new("README.md");
        let found = problems(Path::new(path), text, exists);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (finding, part) in found.iter().zip(expected) {
            assert!(finding.to_string().contains(part), "{finding} / {part}");
        }
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        check("docs/b.md", "[a](a.md) [r](../README.md#top) [w](https://x.y/z) [t](#top)", &[]);
        check("docs/b.md", "`[x](none.md)`\n```\n[x](none.md)\n```\n", &[]);
    }

    #[test]
    fn dead_links_are_caught() {
        check("docs/b.md", "x\n[a](none.md) [b](a.md)", &["b.md:2: the link `none.md`"]);
        check("b.md", "[a](../README.md)", &["leads nowhere"]);
        check("b.md", "[a](/README.md)", &["leads nowhere"]);
    }

    #[test]
    fn decision_page_must_say_what_was_given_up() {
        let page = "# One log\n## Context\n## Choice\n";
        check("docs/decisions/one-log.md", page, &["what we gave up"]);
        let whole = format!("{page}## What we gave up\n");
        check("docs/decisions/one-log.md", &whole, &[]);
        check("docs/decisions/README.md", "# Decisions\n", &[]);
    }
}
