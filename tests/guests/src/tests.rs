//! What a component must have for a host to take it: manifest, exports, known imports, a sane size.

use super::*;
use std::collections::BTreeSet;
use wasmparser::{Encoding, Parser, Payload};

/// Names of a component's imports and exports, and the manifest in it, wherever it lies.
#[derive(Default)]
struct Found {
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
    manifest: Option<String>,
    is_component: bool,
}

fn read(path: &Path) -> Result<Found, wasmparser::BinaryReaderError> {
    let bytes = std::fs::read(path).unwrap();
    let mut found = Found::default();
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(&bytes) {
        match payload? {
            Payload::Version { encoding, .. } if depth == 0 => found.is_component = encoding == Encoding::Component,
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= i32::from(depth > 0),
            Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    found.imports.insert(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(exports) if depth == 0 => {
                for export in exports {
                    found.exports.insert(export?.name.name.to_owned());
                }
            }
            Payload::CustomSection(section) if section.name() == "bugle:plugin" => {
                assert!(found.manifest.is_none(), "two manifests in {}", path.display());
                found.manifest = Some(String::from_utf8(section.data().to_vec()).unwrap());
            }
            _ => {}
        }
    }
    Ok(found)
}

#[test]
fn every_guest_is_there() {
    for (name, path) in all() {
        assert!(path.is_file(), "{name}: {}", path.display());
    }
}

#[test]
fn each_plugin_carries_its_manifest_and_exports_the_contract() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let plugins = [
        (webhook(), "plugins/webhook", &["handler", "inbound", "lifecycle", "packed-handler"][..]),
        (email(), "plugins/email", &["handler", "lifecycle", "packed-handler"]),
        (inbox(), "plugins/inbox", &["handler", "lifecycle", "packed-handler"]),
        (batch(), "tests/zoo/batch", &["batch-handler", "lifecycle", "timer-handler"]),
        (noop(), "tests/zoo/noop", &["handler", "lifecycle", "packed-handler"]),
        (noop_batch(), "tests/zoo/noop-batch", &["batch-handler", "lifecycle", "packed-handler"]),
        (
            probe(),
            "tests/zoo/probe",
            &["handler", "inbound", "lifecycle", "packed-handler", "reconcile", "timer-handler"],
        ),
        (start_trap(), "tests/zoo/start-trap", &["handler", "lifecycle", "packed-handler"]),
        (unknown_import(), "tests/zoo/unknown-import", &["handler", "lifecycle", "packed-handler"]),
    ];
    for (wasm, source, exports) in plugins {
        let found = read(&wasm).unwrap();
        let manifest = std::fs::read_to_string(root.join(source).join("plugin.toml")).unwrap();
        assert_eq!(found.manifest.as_deref(), Some(manifest.as_str()), "{source}");
        let exports: BTreeSet<_> = exports.iter().map(|name| format!("bugle:plugin/{name}@0.1.0")).collect();
        assert_eq!(found.exports, exports, "{source}");
    }
}

#[test]
fn plugins_import_nothing_but_the_contract_and_plain_wasi() {
    let known = |name: &str| {
        ["bugle:plugin/", "wasi:cli/", "wasi:clocks/", "wasi:io/", "wasi:random/"]
            .iter()
            .any(|known| name.starts_with(known))
    };
    for wasm in [webhook(), email(), inbox(), noop(), batch(), probe(), start_trap()] {
        let unknown: Vec<_> = read(&wasm).unwrap().imports.into_iter().filter(|name| !known(name)).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", wasm.display());
    }
    assert!(read(&unknown_import()).unwrap().imports.contains("evil:thing/door@1.0.0"));
}

#[test]
fn plugins_that_ship_stay_small() {
    for wasm in [webhook(), email(), inbox()] {
        let bytes = std::fs::metadata(&wasm).unwrap().len();
        assert!(bytes < 256 * 1024, "{} has {bytes} bytes", wasm.display());
    }
}

/// The commands of the guide, as typed, in a folder beside a `bugle` that is this repository.
#[test]
fn the_first_plugin_of_the_guide_passes_its_test_and_builds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let guide = std::fs::read_to_string(root.join("docs/plugin-guide.md")).unwrap();
    let start = guide.find("mkdir -p sms/src").unwrap();
    let commands = guide[start..].split("\n```\n").next().unwrap();
    let desk = guest("guide");
    std::fs::create_dir_all(desk.join("sms")).unwrap();
    std::os::unix::fs::symlink(&root, desk.join("bugle")).ok();
    // The pinned versions of the other plugins, so that nothing needs to be looked up.
    std::fs::copy(root.join("plugins/Cargo.lock"), desk.join("sms/Cargo.lock")).unwrap();
    let target = guest("").ancestors().nth(4).unwrap().join("guests");
    let mut shell = std::process::Command::new("bash");
    shell.args(["-e", "-c", commands]).current_dir(&desk).env("CARGO_TARGET_DIR", &target);
    for name in ["CARGO", "RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET"] {
        shell.env_remove(name);
    }
    let output = shell.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
    let found = read(&target.join("wasm32-wasip2/release/sms.wasm")).unwrap();
    assert!(found.manifest.is_some_and(|manifest| manifest.starts_with("name = \"sms\"")));
}

#[test]
fn what_should_be_no_component_is_none() {
    assert!(!read(&core_module()).unwrap().is_component);
    assert!(read(&truncated()).is_err());
    assert!(read(&not_wasm()).is_err());
    for component in [no_exports(), wrong_handler(), small_start_trap(), small_unknown_import(), many_memories()] {
        assert!(read(&component).unwrap().is_component, "{}", component.display());
    }
}
