//! Why the sandbox could not start, load or try a plugin: one error per operation, sorted by who must act.

use bugle_core::delivery::CallEnd;
use std::io;
use std::path::PathBuf;

use crate::compile::CompileError;
use crate::output::printable;
use crate::verify::VerifyError;

/// Why the sandbox did not start. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum NewSandboxError {
    /// An impossible number.
    #[error("cannot have {slots} plugin instances at once; choose 1 to {slots_max}")]
    Slots {
        /// As configured.
        slots: u32,
        /// The most.
        slots_max: u32,
    },
    /// A kernel setting.
    #[error(
        "{slots} plugin instances at once need {maps} memory maps; run `sysctl vm.max_map_count={maps}` or use fewer"
    )]
    Maps {
        /// As configured.
        slots: u32,
        /// What is needed.
        maps: u64,
    },
    /// Address space, mostly.
    #[error(
        "could not reserve {slots} plugin instances ({error:#}); is address space limited (`ulimit -v`)? use fewer"
    )]
    Engine {
        /// As configured.
        slots: u32,
        /// What wasmtime says.
        error: wasmtime::Error,
    },
    /// No thread.
    #[error("could not start the epoch clock")]
    Clock(#[source] io::Error),
    /// No folder.
    #[error("could not open the folder `{folder}` for compiled plugins")]
    Cache {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A bug of ours.
    #[error("could not link the host's functions: {0:#}")]
    Linker(wasmtime::Error),
}

/// Why a component was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadPluginError {
    /// The author must change it.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The author must change it, or it took too much.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The author must change it.
    #[error("the component does not fit this host's contract: {0}")]
    Link(String),
    /// The author must change it, or the operator raise a limit.
    #[error("the component cannot be started here: {0}")]
    Needs(String),
    /// The operator must look at the disk.
    #[error("could not keep the compiled component")]
    Cache(#[source] io::Error),
    /// A bug of ours.
    #[error("the compiled component was not accepted: {0}")]
    Code(String),
    /// A bug of ours.
    #[error("loading the component failed inside the host; please report it")]
    Panicked,
}

/// Why a bound plugin is not fit to run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// The plugin itself says that its settings are not usable.
    #[error("the plugin does not accept its settings: {0}")]
    Refused(String),
    /// Its start code fails.
    #[error("the plugin does not start: {0}")]
    Start(String),
    /// Its `check` traps, or does not end.
    #[error("the plugin's check failed: {0}")]
    Check(String),
    /// All slots are taken.
    #[error("no slot for a trial instance became free; raise the number of slots or try again")]
    NoSlot,
    /// A bug of ours.
    #[error("the trial failed inside the host; please report it")]
    Panicked,
}

/// Longest text of a plugin shown to the person who deploys.
const TEXT_CHARS_MAX: usize = 2000;

impl CheckError {
    pub(crate) fn refused(text: &str) -> CheckError {
        CheckError::Refused(printable(text).chars().take(TEXT_CHARS_MAX).collect())
    }

    pub(crate) fn start(end: CallEnd) -> CheckError {
        CheckError::Start(text_of(end))
    }

    pub(crate) fn check(end: CallEnd) -> CheckError {
        CheckError::Check(text_of(end))
    }
}

fn text_of(end: CallEnd) -> String {
    match end {
        CallEnd::Trapped(text) | CallEnd::TimedOut(text) | CallEnd::LimitExceeded(text) | CallEnd::NotStarted(text) => {
            text
        }
        CallEnd::Returned(result) => format!("{result:?}"),
    }
}
