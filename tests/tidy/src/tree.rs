//! Which files the rules look at: what git tracks or would track, and without git every file outside of build output.
//!
//! It does not know any rule. New files that are not yet added count, so that a rule speaks before the commit and not
//! after it.
//!
//! Invariant: paths are relative to the repository, sorted, and name files that exist.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// The folder of this repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// All files under `root` that are or could be part of the repository.
///
/// # Errors
///
/// When a folder cannot be listed.
pub fn files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = match from_git(root) {
        Some(found) => found,
        None => {
            let mut found = Vec::new();
            walk(root, Path::new(""), &mut found)?;
            found
        }
    };
    found.retain(|path| root.join(path).is_file());
    found.sort();
    Ok(found)
}

/// The text of `path`, or nothing when it is not text.
pub fn text(root: &Path, path: &Path) -> Option<String> {
    fs::read_to_string(root.join(path)).ok()
}

/// Nothing when git is not installed, or `root` is an unpacked archive.
fn from_git(root: &Path) -> Option<Vec<PathBuf>> {
    let list = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others"])
        .arg("--exclude-standard")
        .current_dir(root)
        .output()
        .ok()?;
    let names = String::from_utf8(list.stdout).ok()?;
    let found: Vec<PathBuf> = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect();
    (list.status.success() && !found.is_empty()).then_some(found)
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let name = entry.file_name();
        let path = folder.join(&name);
        if entry.file_type()?.is_dir() {
            if name != "target" && name != ".git" && name != "node_modules" {
                walk(root, &path, found)?;
            }
        } else {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walking_without_git_finds_the_same_sources() {
        let root = root();
        let sources = |mut paths: Vec<PathBuf>| {
            paths.retain(|path| path.starts_with("tests/tidy"));
            paths.sort();
            paths
        };
        let mut walked = Vec::new();
        walk(&root, Path::new(""), &mut walked).unwrap();
        assert_eq!(sources(walked), sources(files(&root).unwrap()));
    }
}
