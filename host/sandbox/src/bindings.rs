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
        "bugle:plugin/timers": async,
        "bugle:plugin/http": async,
        "bugle:plugin/mail": async,
    },
    exports: { default: async },
});

/// The exports of another world; every import is one of those above.
macro_rules! exports_of {
    ($world:tt) => {
        wasmtime::component::bindgen!({
            path: "../../wit",
            world: $world,
            with: {
                "bugle:plugin/types": crate::bindings::bugle::plugin::types,
                "bugle:plugin/ack": crate::bindings::bugle::plugin::ack,
                "bugle:plugin/dedup": crate::bindings::bugle::plugin::dedup,
                "bugle:plugin/ordering": crate::bindings::bugle::plugin::ordering,
                "bugle:plugin/records": crate::bindings::bugle::plugin::records,
                "bugle:plugin/kv": crate::bindings::bugle::plugin::kv,
                "bugle:plugin/publish": crate::bindings::bugle::plugin::publish,
                "bugle:plugin/timers": crate::bindings::bugle::plugin::timers,
                "bugle:plugin/http": crate::bindings::bugle::plugin::http,
                "bugle:plugin/mail": crate::bindings::bugle::plugin::mail,
                "bugle:plugin/secrets": crate::bindings::bugle::plugin::secrets,
                "bugle:plugin/config": crate::bindings::bugle::plugin::config,
                "bugle:plugin/log": crate::bindings::bugle::plugin::log,
            },
            exports: { default: async },
        });
    };
}

/// The optional export `reconcile`.
pub(crate) mod reconciling {
    exports_of!("reconciling");
}

/// The optional export `inbound`.
pub(crate) mod receiving {
    exports_of!("receiving");
}

/// The optional export `timer-handler`.
pub(crate) mod timing {
    exports_of!("timing");
}

/// The optional export `packed-handler`.
pub(crate) mod packing {
    exports_of!("packing");
}

/// A plugin that takes several deliveries per call.
pub(crate) mod batch {
    exports_of!("batch-channel");
}
