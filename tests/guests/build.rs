//! Builds the guests that tests deploy: the plugins that ship and the zoo.
//!
//! They go into a `guests` folder of the target directory, so that they are built once per target directory and not
//! per profile or clone. Knows nothing of who uses them. Invariant: a guest is never older than its sources.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const TARGET: &str = "wasm32-wasip2";

/// What of each workspace ends up where: folder, members, libraries.
const WORKSPACES: [(&str, &[&str]); 2] = [
    ("plugins", &["email", "inbox", "webhook"]),
    ("tests/zoo", &["batch", "noop", "noop-batch", "probe", "start-trap", "unknown-import"]),
];

fn main() {
    // Asked for at run time: clones that share a target directory may share this program too.
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let root = here.join("../..").canonicalize().expect("the crate lies in the repository");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // OUT_DIR is <target directory>/<profile>/build/<package>/out.
    let target_directory = out.ancestors().nth(4).expect("cargo's layout of OUT_DIR").join("guests");
    require_target();
    for (folder, members) in WORKSPACES {
        watch(&root.join(folder), members);
        build(&root.join(folder), &target_directory);
        for member in members {
            let name = format!("{}.wasm", member.replace('-', "_"));
            let built = target_directory.join(TARGET).join("release").join(&name);
            fs::copy(&built, out.join(&name))
                .unwrap_or_else(|error| panic!("could not copy {}: {error}", built.display()));
        }
    }
    for shared in ["wit", "sdk/plugin", "sdk/plugin-macros"] {
        println!("cargo::rerun-if-changed={}", root.join(shared).display());
    }
    convert_bytes(&root.join("tests/zoo/bytes"), &out);
    println!("cargo::rustc-env=BUGLE_GUESTS={}", out.display());
}

fn require_target() {
    let rustc = env::var_os("RUSTC").expect("cargo sets RUSTC");
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    let directory = output.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    assert!(
        !directory.trim().is_empty() && Path::new(directory.trim()).is_dir(),
        "the Rust target `{TARGET}` is missing; run `rustup target add {TARGET}` and try again"
    );
}

fn watch(workspace: &Path, members: &[&str]) {
    for entry in ["Cargo.toml", "Cargo.lock"].iter().chain(members) {
        println!("cargo::rerun-if-changed={}", workspace.join(entry).display());
    }
}

fn build(workspace: &Path, target_directory: &Path) {
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"));
    cargo.current_dir(workspace).args(["build", "--locked", "--release", "--target", TARGET]);
    // What the outer cargo says about its own build (flags, wrappers of clippy, profile) is not meant for guests.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let of_user = ["CARGO_HOME", "CARGO_NET_OFFLINE", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"].contains(&text.as_ref());
        if (text.starts_with("CARGO") || text.starts_with("RUST")) && !of_user {
            cargo.env_remove(&name);
        }
    }
    cargo.env("CARGO_TARGET_DIR", target_directory);
    let output =
        cargo.output().unwrap_or_else(|error| panic!("could not start cargo in {}: {error}", workspace.display()));
    assert!(
        output.status.success(),
        "the guests in {} do not build:\n{}",
        workspace.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Text to bytes: `x.wat` becomes `x.wasm`, anything else stays.
fn convert_bytes(from: &Path, out: &Path) {
    println!("cargo::rerun-if-changed={}", from.display());
    for entry in fs::read_dir(from).expect("tests/zoo/bytes is there") {
        let path = entry.expect("tests/zoo/bytes can be listed").path();
        let name = path.file_name().expect("an entry of a folder has a name");
        if path.extension().is_some_and(|extension| extension == "wat") {
            let bytes = wat::parse_file(&path).unwrap_or_else(|error| panic!("{error}"));
            // Beside the guests there may be one of the same name, made from Rust.
            let name = format!("bytes-{}", name.to_string_lossy());
            fs::write(out.join(name).with_extension("wasm"), bytes).expect("OUT_DIR is writable");
        } else {
            fs::copy(&path, out.join(name)).expect("OUT_DIR is writable");
        }
    }
    let whole = fs::read(out.join("webhook.wasm")).expect("it was just copied");
    fs::write(out.join("bytes-truncated.wasm"), &whole[..whole.len() / 2]).expect("OUT_DIR is writable");
}
