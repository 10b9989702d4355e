//! The Rust side of `wit/`, generated at build time.
//!
//! Nothing here is written by hand and nothing outside this crate sees these types: `imports` turns them into the core's
//! vocabulary and back. Imports that may wait are async; those that only read what the store holds are not.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    clippy::large_futures,
    reason = "generated code; its documentation is in wit/"
)]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "channel",
    imports: {
        "bugle:plugin/ack": async,
        "bugle:plugin/dedup": async,
        "bugle:plugin/ordering": async,
        "bugle:plugin/records": async,
        "bugle:plugin/kv": async,
        "bugle:plugin/publish": async,
        "bugle:plugin/http": async,
        "bugle:plugin/mail": async,
    },
    exports: { default: async },
});
