//! The contract as generated from `wit/`: for a plugin that needs what the SDK does not wrap.
//!
//! Works on `wasm32` only; elsewhere a call panics (the wrapped API goes to the mock instead).
//! It holds no code of ours, so nothing here can differ from the published WIT.

#![allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    reason = "generated code"
)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "channel",
    pub_export_macro: true,
    export_macro_name: "export_channel",
    default_bindings_module: "bugle_plugin::raw",
    additional_derives: [PartialEq],
    generate_all,
});
