//! Compiling a component, in a child process with little memory, little time and low priority.
//!
//! Compilers are not hardened against hostile input in time and memory; the child bounds both and takes a crash with it. The
//! child is this program again, with a hidden subcommand.
//!
//! Invariant: in the host's own process nothing uploaded is compiled, except in tests.

use rustix::process::{Resource, Rlimit, nice, setrlimit};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::engine;

/// The hidden subcommand: `<program> compile-component IN OUT`.
pub const COMPILE_SUBCOMMAND: &str = "compile-component";

/// Address space of the child; Python guests need about 400 MB.
const CHILD_MEMORY_BYTES_MAX: u64 = 2 << 30;
/// CPU time of the child.
const CHILD_CPU_SECONDS_MAX: u64 = 60;
/// Wall time of the child, on a machine that has other work.
const CHILD_WALL_MAX: Duration = Duration::from_secs(120);
/// Lowest priority: a deploy must not slow deliveries down.
const CHILD_NICE: i32 = 19;
/// Longest error text taken from the child.
const TEXT_CHARS_MAX: usize = 2000;

/// How components are compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// In a child: this program, whose `main` passes [`COMPILE_SUBCOMMAND`] to [`compile_child_main`]. `None` is the program
    /// that runs now.
    Child(Option<PathBuf>),
    /// In this process, without bounds. For tests only.
    InProcess,
}

/// Why a component did not compile.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The component is not valid, or uses a feature that is off.
    #[error("the component does not compile: {0}")]
    Invalid(String),
    /// It took more than its bounds.
    #[error("compiling the component was stopped: {0}")]
    Stopped(String),
    /// The child could not be run or talked to.
    #[error("could not compile the component: {action}")]
    Io {
        /// What was attempted.
        action: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> CompileError {
    let action = action.into();
    move |source| CompileError::Io { action, source }
}

/// The child's whole job: bound itself, compile `input`, write native code to `output`.
pub fn compile_child_main(input: &Path, output: &Path) -> Result<(), CompileError> {
    let bound = |resource, most: u64| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    bound(Resource::As, CHILD_MEMORY_BYTES_MAX)
        .and_then(|()| bound(Resource::Cpu, CHILD_CPU_SECONDS_MAX))
        .and_then(|()| bound(Resource::Core, 0))
        .and_then(|()| nice(CHILD_NICE).map(drop))
        .map_err(|error| io("set the limits of the child")(error.into()))?;
    let bytes = fs::read(input).map_err(io(format!("read `{}`", input.display())))?;
    let code = in_process(&bytes)?;
    let mut file = fs::File::create(output).map_err(io(format!("write `{}`", output.display())))?;
    file.write_all(&code).map_err(io(format!("write `{}`", output.display())))
}

fn in_process(bytes: &[u8]) -> Result<Vec<u8>, CompileError> {
    let invalid = |error: wasmtime::Error| CompileError::Invalid(format!("{error:#}"));
    engine::compiling().map_err(invalid)?.precompile_component(bytes).map_err(invalid)
}

impl Compiler {
    /// Native code of the component. Blocks.
    pub(crate) fn compile(&self, bytes: &[u8], folder: &Path) -> Result<Vec<u8>, CompileError> {
        let program = match self {
            Compiler::InProcess => return in_process(bytes),
            Compiler::Child(Some(program)) => program.clone(),
            Compiler::Child(None) => std::env::current_exe().map_err(io("find this program"))?,
        };
        let work = tempfile::Builder::new().prefix("compile-").tempdir_in(folder).map_err(io("make a work folder"))?;
        let (input, output) = (work.path().join("in"), work.path().join("out"));
        fs::write(&input, bytes).map_err(io("write the child's input"))?;
        in_child(&program, &input, &output)?;
        fs::read(&output).map_err(io("read the child's output"))
    }
}

fn in_child(program: &Path, input: &Path, output: &Path) -> Result<(), CompileError> {
    let messages = input.with_file_name("messages");
    let stderr = fs::File::create(&messages).map_err(io("write the child's messages"))?;
    let mut child = Command::new(program)
        .arg(COMPILE_SUBCOMMAND)
        .args([input, output])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .map_err(io(format!("start `{}`", program.display())))?;
    let latest = Instant::now() + CHILD_WALL_MAX;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(io("wait for the child"))? {
            break status;
        }
        if Instant::now() > latest {
            // It may have ended just now; then there is nothing to kill.
            drop(child.kill());
            drop(child.wait());
            return Err(CompileError::Stopped(format!("it took longer than {CHILD_WALL_MAX:?}")));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    if status.success() {
        return Ok(());
    }
    let said = fs::read(&messages).unwrap_or_default();
    let said: String = crate::output::printable(&String::from_utf8_lossy(&said)).chars().take(TEXT_CHARS_MAX).collect();
    match status.code() {
        Some(_) => Err(CompileError::Invalid(said)),
        None => Err(CompileError::Stopped(format!(
            "the child ended by a signal ({status}); its bounds are {CHILD_CPU_SECONDS_MAX} s of CPU and \
             {CHILD_MEMORY_BYTES_MAX} bytes of memory; {said}"
        ))),
    }
}
