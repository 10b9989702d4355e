//! The only place that knows wasmtime: verifies, compiles, links and runs plugins, and decides nothing.
//!
//! What a guest asks becomes a [`bugle_core::import::Import`] and goes to whoever implements [`HostCalls`]; how a call ended
//! becomes a [`bugle_core::delivery::CallEnd`]. What leaves the machine goes through `bugle-egress`.
//!
//! Invariant: nothing a guest does ends anything but its own call.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a panic is how a test fails"))]

mod apart;
mod binding;
mod bindings;
mod cache;
mod calls;
mod compile;
mod cpu;
mod deadline;
mod engine;
mod error;
mod hand_over;
mod imports;
pub mod inbound;
mod instance;
pub mod manifest;
mod memory;
mod options;
mod output;
mod packed;
mod pool;
mod quantity;
mod reconcile;
mod revision;
mod rights;
mod runner;
mod sandbox;
mod secret;
mod settings;
mod slots;
mod state;
mod topic_pattern;
mod verify;

pub use binding::{Binding, Grants};
pub use calls::HostCalls;
pub use compile::{COMPILE_SUBCOMMAND, CompileError, Compiler, compile_child_main};
pub use error::{CheckError, LoadPluginError, NewSandboxError};
pub use hand_over::business_key;
pub use manifest::{Manifest, ManifestError};
pub use options::{Limits, Options, Tighter};
pub use pool::PoolStatus;
pub use quantity::{Size, Time};
pub use revision::{Bound, Plugin};
pub use rights::BindError;
pub use sandbox::{Sandbox, Status};
pub use secret::Secret;
pub use topic_pattern::TopicPattern;
pub use verify::{VerifyError, World};
