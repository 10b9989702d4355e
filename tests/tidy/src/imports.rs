//! The borders between our crates, as a table: who may import whom, and which heavy crates live where (docs/architecture.md).
//!
//! It reads manifests only: a crate cannot use what its manifest does not name. It does not know what an import is used for.
//!
//! Invariant: a crate that is not in the table may not exist; a new one needs a line here, and so a decision.

use std::path::Path;

use toml::{Table, Value};

use crate::Finding;

/// One crate of ours and what it may import of ours.
struct Border {
    /// Its folder.
    folder: &'static str,
    imports: &'static [&'static str],
    /// In its tests it may import these too.
    test_imports: &'static [&'static str],
}

const fn border(folder: &'static str, imports: &'static [&'static str]) -> Border {
    Border { folder, imports, test_imports: &[] }
}

const BORDERS: [Border; 22] = [
    Border { folder: "host/core", imports: &[], test_imports: &["bugle-random"] },
    border("host/store", &["bugle-core"]),
    border("host/egress", &["bugle-core"]),
    Border { folder: "host/sandbox", imports: &["bugle-core", "bugle-egress"], test_imports: &["bugle-guests"] },
    Border { folder: "host/ingress", imports: &["bugle-core", "bugle-wire"], test_imports: &["bugle-client"] },
    border("host/broker", &["bugle-core", "bugle-store"]),
    Border {
        folder: "host/server",
        imports: &[
            "bugle-broker",
            "bugle-client",
            "bugle-core",
            "bugle-egress",
            "bugle-ingress",
            "bugle-outbox",
            "bugle-sandbox",
            "bugle-store",
            // It encodes follow-up events, which the core and the broker give as plain fields.
            "bugle-wire",
        ],
        test_imports: &["bugle-guests"],
    },
    border("sdk/wire", &[]),
    border("sdk/client", &["bugle-wire"]),
    border("sdk/outbox", &["bugle-client"]),
    border("sdk/plugin", &["bugle-plugin-macros"]),
    Border { folder: "sdk/plugin-macros", imports: &[], test_imports: &["bugle-plugin"] },
    border("tests/checker", &[]),
    border("tests/tidy", &[]),
    border("tests/guests", &[]),
    border("tests/harness", &["bugle", "bugle-checker", "bugle-client"]),
    border("tests/receivers", &["bugle-checker", "bugle-client"]),
    border("tests/random", &[]),
    border("tests/sim", &["bugle-core", "bugle-random"]),
    border("tests/e2e", &WHOLE_HOST_WITH_BUGS),
    border("tests/bench", &WHOLE_HOST_AND_SANDBOX),
    border("tests/demo", &WHOLE_HOST),
];

/// Programs that run the real host and look at it from the outside.
const WHOLE_HOST: [&str; 7] =
    ["bugle", "bugle-checker", "bugle-client", "bugle-guests", "bugle-harness", "bugle-receivers", "bugle-wire"];

/// And the core, for the switches of its seeded bugs.
const WHOLE_HOST_WITH_BUGS: [&str; 8] = [
    "bugle",
    "bugle-checker",
    "bugle-client",
    "bugle-core",
    "bugle-guests",
    "bugle-harness",
    "bugle-receivers",
    "bugle-wire",
];

/// And the sandbox and the bus without a host around them, to measure what each costs alone.
const WHOLE_HOST_AND_SANDBOX: [&str; 12] = [
    "bugle",
    "bugle-broker",
    "bugle-checker",
    "bugle-client",
    "bugle-core",
    "bugle-egress",
    "bugle-guests",
    "bugle-harness",
    "bugle-receivers",
    "bugle-sandbox",
    "bugle-store",
    "bugle-wire",
];

/// Heavy crates and the folders that may name them. Each costs minutes of build time or a wide door, so it has one home.
const HOMES: [(&str, &[&str]); 14] = [
    ("rocksdb", &["host/store"]),
    ("wasmtime", &["host/sandbox"]),
    ("wasmtime-wasi", &["host/sandbox"]),
    ("quinn", &["host/ingress", "sdk/client", "tests/"]),
    ("h3", &["host/ingress"]),
    ("hyper", &["host/egress", "host/server"]),
    ("hyper-rustls", &["host/egress"]),
    ("lettre", &["host/egress"]),
    ("rustls", &["host/egress", "host/ingress", "host/server", "sdk/client", "tests/"]),
    ("axum", &["host/server", "tests/"]),
    ("clap", &["host/server", "tests/"]),
    ("sqlx", &["sdk/outbox"]),
    ("wit-bindgen", &["sdk/plugin", "tests/zoo/"]),
    (
        "tokio",
        &[
            "host/broker",
            "host/egress",
            "host/ingress",
            "host/sandbox",
            "host/server",
            "sdk/client",
            "sdk/outbox",
            "tests/",
        ],
    ),
];

/// `anyhow` hides who must act, so libraries do without it.
const ANYHOW_HOMES: [&str; 2] = ["host/server", "tests/"];

/// Everything wrong with the manifest `path`.
pub fn problems(path: &Path, manifest: &str) -> Vec<Finding> {
    let manifest: Table = match manifest.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![Finding::new(path, 0, format!("is not valid TOML: {error}"))],
    };
    if !manifest.contains_key("package") {
        return Vec::new();
    }
    let folder = path.parent().unwrap_or(Path::new("")).to_string_lossy();
    let folder = folder.replace('\\', "/");
    let mut found = third_party(path, &folder, &manifest);
    found.extend(our_own(path, &folder, &manifest));
    found
}

fn our_own(path: &Path, folder: &str, manifest: &Table) -> Vec<Finding> {
    let guest = Border { folder: "plugins", imports: &["bugle-plugin"], test_imports: &[] };
    let is_guest =
        ["plugins", "tests/zoo", "sdk/plugin/examples"].iter().any(|guests| Path::new(folder).starts_with(guests));
    let known = BORDERS.iter().find(|border| border.folder == folder);
    let Some(border) = known.or(is_guest.then_some(&guest)) else {
        let what = "is not in the table of tests/tidy/src/imports.rs: add its line there and in docs/architecture.md";
        return vec![Finding::new(path, 0, what)];
    };
    let mut found = Vec::new();
    for (name, in_tests) in imports(manifest) {
        let is_ours = name == "bugle" || name.starts_with("bugle-");
        let is_allowed =
            border.imports.contains(&name.as_str()) || (in_tests && border.test_imports.contains(&name.as_str()));
        if is_ours && !is_allowed {
            let what = format!("`{folder}` may not import `{name}`: see the table in docs/architecture.md");
            found.push(Finding::new(path, 0, what));
        }
    }
    found
}

fn third_party(path: &Path, folder: &str, manifest: &Table) -> Vec<Finding> {
    let lives_in =
        |homes: &[&str]| homes.iter().any(|home| folder == *home || (home.ends_with('/') && folder.starts_with(home)));
    let mut found = Vec::new();
    for (name, in_tests) in imports(manifest) {
        let home = HOMES.iter().find(|(heavy, _)| *heavy == name);
        if let Some((_, homes)) = home
            && !lives_in(homes)
            && !(in_tests && name == "tokio")
        {
            let what = format!("`{folder}` may not import `{name}`, which lives in {}", homes.join(", "));
            found.push(Finding::new(path, 0, what));
        }
        if name == "anyhow" && !in_tests && !lives_in(&ANYHOW_HOMES) {
            let what = format!("`{folder}` may not import `anyhow`: a library names its errors");
            found.push(Finding::new(path, 0, what));
        }
    }
    found
}

/// The names of all dependencies, and whether each is one of the tests only.
fn imports(manifest: &Table) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    collect(manifest, &mut found);
    for per_target in manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values) {
        if let Some(table) = per_target.as_table() {
            collect(table, &mut found);
        }
    }
    found
}

fn collect(table: &Table, found: &mut Vec<(String, bool)>) {
    for (section, in_tests) in [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)] {
        for (key, value) in table.get(section).and_then(Value::as_table).into_iter().flatten() {
            // A renamed dependency counts under its real name.
            let renamed = value.get("package").and_then(Value::as_str);
            found.push((renamed.unwrap_or(key).to_owned(), in_tests));
        }
    }
}

/// The core must be `no_std`, or a clock could be named in it.
pub fn core_problems(path: &Path, code: &str) -> Option<Finding> {
    let is_fenced = code.contains("#![no_std]");
    (!is_fenced)
        .then(|| Finding::new(path, 0, "the core is `#![no_std]`: a clock, file or thread cannot be named in it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(folder: &str, sections: &str, expected: &[&str]) {
        let manifest = format!("[package]\nname = \"x\"\n{sections}");
        let found = problems(&Path::new(folder).join("Cargo.toml"), &manifest);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (finding, part) in found.iter().zip(expected) {
            assert!(finding.to_string().contains(part), "{finding} / {part}");
        }
    }

    #[test]
    fn imports_in_the_table_pass() {
        check("host/store", "[dependencies]\nbugle-core.workspace = true\nrocksdb.workspace = true", &[]);
        check("plugins/webhook", "[dependencies]\nbugle-plugin = { path = \"x\" }\nserde = \"1\"", &[]);
        check("host/ingress", "[dev-dependencies]\nbugle-client.workspace = true", &[]);
    }

    #[test]
    fn wrong_imports_of_ours_are_caught() {
        check("host/core", "[dependencies]\nbugle-store.workspace = true", &["may not import `bugle-store`"]);
        check("host/store", "[build-dependencies]\nbugle-wire.workspace = true", &["bugle-wire"]);
        check("sdk/plugin", "[dev-dependencies]\nbugle.workspace = true", &["`bugle`"]);
        check("tests/checker", "[dependencies]\nbugle-core.workspace = true", &["bugle-core"]);
        check("plugins/email", "[dependencies]\nbugle-core = { path = \"x\" }", &["bugle-core"]);
        check("host/ingress", "[dependencies]\nbugle-client.workspace = true", &["bugle-client"]);
    }

    #[test]
    fn heavy_crates_stay_at_home() {
        check("host/broker", "[dependencies]\nrocksdb.workspace = true", &["which lives in host/store"]);
        check("host/core", "[dev-dependencies]\nwasmtime = \"48\"", &["wasmtime"]);
        check("sdk/wire", "[dependencies]\ntokio.workspace = true", &["tokio"]);
        check("host/store", "[dependencies]\nanyhow.workspace = true", &["names its errors"]);
        check("tests/bench", "[dependencies]\nclap.workspace = true", &[]);
    }

    #[test]
    fn renamed_and_conditional_dependencies_do_not_escape() {
        check("host/core", "[dependencies]\ndisk = { package = \"rocksdb\", version = \"1\" }", &["rocksdb"]);
        check("host/core", "[target.'cfg(unix)'.dependencies]\nbugle-store = \"1\"", &["bugle-store"]);
    }

    #[test]
    fn unknown_crate_is_caught() {
        check("host/extra", "", &["is not in the table"]);
    }

    #[test]
    fn core_with_a_clock_is_caught() {
        assert!(core_problems(Path::new("lib.rs"), "extern crate alloc;").is_some());
        assert!(core_problems(Path::new("lib.rs"), "#![no_std]\n").is_none());
    }
}
