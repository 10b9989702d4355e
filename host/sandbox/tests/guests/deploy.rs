//! What is refused at deploy, in which words; how a revision replaces another; where compiled code comes from.

use bugle_core::delivery::CallEnd;
use bugle_sandbox::{
    CheckError, Compiler, Grants, Limits, LoadPluginError, NewSandboxError, Options, Sandbox, VerifyError,
};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::harness::{Bench, Scripted, binding, compile_child, limits};

fn empty() -> Bench {
    Bench::empty(limits(), bugle_egress::Options::default())
}

/// Options on a runtime that is dropped at once: nothing runs there.
fn options(limits: Limits, egress: bugle_egress::Options) -> Options {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    Options {
        guest: runtime.handle().clone(),
        guest_threads: 1,
        cache: std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"),
        compiler: Compiler::Child(Some(compile_child())),
        egress: bugle_egress::Egress::new(egress).unwrap(),
        limits,
    }
}

fn refused(bench: &Bench, path: PathBuf) -> LoadPluginError {
    bench.runtime.block_on(bench.sandbox.load(std::fs::read(path).unwrap(), None)).unwrap_err()
}

#[test]
fn what_is_no_channel_is_refused_with_the_reason() {
    let bench = empty();
    for (path, part) in [
        (bugle_guests::not_wasm(), "not a WebAssembly component"),
        (bugle_guests::truncated(), "not a WebAssembly component"),
        (bugle_guests::core_module(), "is a core module"),
        (bugle_guests::no_exports(), "does not export `bugle:plugin/handler@0.1.0`"),
        (bugle_guests::unknown_import(), "imports `evil:thing/door@1.0.0`"),
        (bugle_guests::small_unknown_import(), "imports"),
    ] {
        let error = refused(&bench, path.clone());
        assert!(error.to_string().contains(part), "{}: {error}", path.display());
    }
    let error = refused(&bench, bugle_guests::wrong_handler()).to_string();
    assert!(error.contains("handler") || error.contains("manifest"), "{error}");
    let many = refused(&bench, bugle_guests::many_memories());
    assert!(matches!(many, LoadPluginError::Verify(_) | LoadPluginError::Needs(_)), "{many}");
}

#[test]
fn bytes_over_the_bound_are_not_looked_at() {
    let bench = Bench::empty(Limits { component_bytes: 1000, ..limits() }, bugle_egress::Options::default());
    let error = refused(&bench, bugle_guests::probe());
    assert!(matches!(error, LoadPluginError::Verify(VerifyError::TooLarge { bytes_max: 1000, .. })), "{error}");
}

#[test]
fn impossible_numbers_of_slots_are_refused_at_start() {
    for (slots, part) in [(0, "choose 1 to"), (1_000_000, "choose 1 to"), (20_000, "vm.max_map_count")] {
        let options = options(Limits { slots, ..limits() }, bugle_egress::Options::default());
        // Where the kernel allows more maps, the larger number is fine too.
        let refused = Sandbox::<Scripted>::new(options).err().map(|error| error.to_string());
        assert!(refused.is_none_or(|text| text.contains(part)), "{slots}");
    }
}

#[test]
fn a_component_that_is_broken_inside_is_refused_by_the_compiler() {
    let bench = empty();
    let mut bytes = std::fs::read(bugle_guests::probe()).unwrap();
    // The end of the first function body after the header: structure stays, code does not.
    let middle = bytes.len() / 3;
    bytes[middle..middle + 64].fill(0xff);
    let error = bench.runtime.block_on(bench.sandbox.load(bytes, None)).unwrap_err();
    assert!(matches!(error, LoadPluginError::Compile(_) | LoadPluginError::Verify(_)), "{error}");
}

#[test]
fn a_compiler_that_cannot_run_or_fails_is_told() {
    let bench = empty();
    for (program, part) in [("/nonexistent/bugle", "could not compile"), ("/bin/false", "does not compile")] {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(limits(), bugle_egress::Options::default());
        options.cache = folder.path().join("compiled");
        options.compiler = Compiler::Child(Some(program.into()));
        let sandbox = bench.runtime.block_on(async { Sandbox::<Scripted>::new(options).unwrap() });
        let load = sandbox.load(std::fs::read(bugle_guests::inbox()).unwrap(), None);
        let error = bench.runtime.block_on(load).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn damaged_code_on_disk_is_compiled_again() {
    let bench = empty();
    drop(bench.load(&bugle_guests::inbox()));
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(limits(), bugle_egress::Options::default());
    options.cache = folder.path().join("compiled");
    let sandbox = bench.runtime.block_on(async { Sandbox::<Scripted>::new(options).unwrap() });
    let load = || bench.runtime.block_on(sandbox.load(std::fs::read(bugle_guests::inbox()).unwrap(), None));
    load().unwrap();
    let entry = std::fs::read_dir(folder.path().join("compiled")).unwrap().next().unwrap().unwrap();
    let mut code = std::fs::read(entry.path()).unwrap();
    let last = code.len() - 1;
    code[last] ^= 1;
    std::fs::write(entry.path(), &code).unwrap();
    load().unwrap();
    code[last] ^= 1;
    assert_eq!(std::fs::read(entry.path()).unwrap(), code);
    assert_eq!(std::fs::metadata(entry.path()).unwrap().permissions().mode() & 0o077, 0);
}

#[test]
fn a_folder_open_to_others_is_refused() {
    let bench = empty();
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut options = options(limits(), bugle_egress::Options::default());
    options.cache = folder.path().to_owned();
    let refused = bench.runtime.block_on(async { Sandbox::<Scripted>::new(options).err().unwrap() });
    assert!(matches!(refused, NewSandboxError::Cache { .. }), "{refused}");
}

#[test]
fn compiled_code_is_never_taken() {
    let bench = empty();
    drop(bench.load(&bugle_guests::probe()));
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    let mut ours = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let code = ours.find(|path| path.extension().is_some_and(|ending| ending == "code")).unwrap();
    let code = std::fs::read(code).unwrap().split_off(32);
    let error = bench.runtime.block_on(bench.sandbox.load(code, None)).unwrap_err();
    assert!(matches!(error, LoadPluginError::Verify(VerifyError::Precompiled)), "{error}");
}

#[test]
fn a_trap_in_start_is_found_by_the_trial() {
    let bench = empty();
    let plugin = bench.load(&bugle_guests::start_trap());
    let bound = bench.sandbox.bind(&plugin, &binding(Grants::default(), &[])).unwrap();
    let error = bench.runtime.block_on(bench.sandbox.check(&bound)).unwrap_err();
    assert!(matches!(error, CheckError::Start(_)), "{error}");
    assert!(bench.drained());
}

#[test]
fn the_plugins_own_check_decides() {
    let bench = empty();
    let plugin = bench.load(&bugle_guests::probe());
    let check = |word: &str| {
        let bound = bench.sandbox.bind(&plugin, &binding(Grants::default(), &[("check", word)])).unwrap();
        bench.runtime.block_on(bench.sandbox.check(&bound))
    };
    assert_eq!(check("ok"), Ok(()));
    assert_eq!(check("fail"), Err(CheckError::Refused("the config says fail".to_owned())));
    let Err(CheckError::Check(text)) = check("trap") else { panic!("no trap") };
    assert!(text.contains("the config says trap"), "{text}");
    let Err(CheckError::Check(text)) = check("spin") else { panic!("no end") };
    assert!(text.contains("CPU budget"), "{text}");
    assert!(bench.drained());
}

#[test]
fn settings_and_secrets_must_fit_the_manifest() {
    let bench = empty();
    let plugin = bench.load(&bugle_guests::probe());
    let error = bench.sandbox.bind(&plugin, &binding(Grants::default(), &[("ulr", "x")])).unwrap_err();
    assert!(error.to_string().contains("`config.ulr` is no setting"), "{error}");
    let grants = Grants { secrets: [("nope".to_owned(), "x".into())].into(), ..Grants::default() };
    let error = bench.sandbox.bind(&plugin, &binding(grants, &[])).unwrap_err();
    assert!(error.to_string().contains("`grants.secrets.nope`"), "{error}");
    let error = bench.sandbox.bind(&plugin, &binding(Grants::default(), &[("url", "no origin")])).unwrap_err();
    assert!(error.to_string().contains("`config.url`"), "{error}");
}

#[test]
fn a_swap_takes_effect_at_the_next_call() {
    let bench = empty();
    let plugin = bench.load(&bugle_guests::probe());
    drop(bench.activate(&plugin, &binding(Grants::default(), &[("url", "http://one.example")])));
    assert!(bench.run("config", r#"{"name": "url"}"#).told().contains("one.example"));
    drop(bench.activate(&plugin, &binding(Grants::default(), &[("url", "http://two.example")])));
    assert!(bench.run("config", r#"{"name": "url"}"#).told().contains("two.example"));
    bench.sandbox.remove(crate::harness::SUBSCRIPTION);
    assert!(matches!(bench.run("ok", "{}").end, CallEnd::NotStarted(_)));
    assert!(bench.drained());
}

#[test]
fn shipped_plugins_load() {
    let bench = empty();
    for path in [bugle_guests::webhook(), bugle_guests::email(), bugle_guests::inbox()] {
        let plugin = bench.load(&path);
        assert_eq!(plugin.manifest().contract, "0.1");
    }
}
