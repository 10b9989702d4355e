//! The contract as generated from `wit/`: for a plugin that needs what the SDK does not wrap.
//!
//! Works on `wasm32` only; elsewhere a call panics (the wrapped API goes to the mock instead).
//! It holds no code of ours, so nothing here can differ from the published WIT. Each export has its own macro, since the worlds share
//! `lifecycle` and a component exports it once.

#![allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    reason = "generated code"
)]

/// The bindings of one world; what the host provides is taken from those of `lifecycle`, so that its types are the same everywhere.
macro_rules! bindings {
    ($inline:tt, $world:tt, $export:tt, $module:tt, { $($with:tt)* }) => {
        wit_bindgen::generate!({
            inline: $inline,
            path: "../../wit",
            world: $world,
            pub_export_macro: true,
            export_macro_name: $export,
            default_bindings_module: $module,
            additional_derives: [PartialEq],
            $($with)*
        });
    };
    ($inline:tt, $world:tt, $export:tt, $module:tt) => {
        bindings!($inline, $world, $export, $module, {
            with: {
                "bugle:plugin/types@0.1.0": crate::raw::bugle::plugin::types,
                "bugle:plugin/ack@0.1.0": crate::raw::bugle::plugin::ack,
                "bugle:plugin/dedup@0.1.0": crate::raw::bugle::plugin::dedup,
                "bugle:plugin/ordering@0.1.0": crate::raw::bugle::plugin::ordering,
                "bugle:plugin/records@0.1.0": crate::raw::bugle::plugin::records,
                "bugle:plugin/kv@0.1.0": crate::raw::bugle::plugin::kv,
                "bugle:plugin/publish@0.1.0": crate::raw::bugle::plugin::publish,
                "bugle:plugin/timers@0.1.0": crate::raw::bugle::plugin::timers,
                "bugle:plugin/http@0.1.0": crate::raw::bugle::plugin::http,
                "bugle:plugin/mail@0.1.0": crate::raw::bugle::plugin::mail,
                "bugle:plugin/secrets@0.1.0": crate::raw::bugle::plugin::secrets,
                "bugle:plugin/config@0.1.0": crate::raw::bugle::plugin::config,
                "bugle:plugin/log@0.1.0": crate::raw::bugle::plugin::log,
            },
        });
    };
}

bindings!(
    "package bugle:sdk;
     world lifecycle-alone { include bugle:plugin/host@0.1.0; export bugle:plugin/lifecycle@0.1.0; }",
    "bugle:sdk/lifecycle-alone",
    "export_lifecycle",
    "bugle_plugin::raw",
    { generate_all, }
);

/// What a plugin of world `channel` exports beside `lifecycle`.
pub mod channel {
    bindings!(
        "package bugle:sdk;
         world handler-alone { include bugle:plugin/host@0.1.0; export bugle:plugin/handler@0.1.0; }",
        "bugle:sdk/handler-alone",
        "export_handler",
        "bugle_plugin::raw::channel"
    );
}

/// What a plugin of world `batch-channel` exports beside `lifecycle`.
pub mod batch {
    bindings!(
        "package bugle:sdk;
         world batch-handler-alone { include bugle:plugin/host@0.1.0; export bugle:plugin/batch-handler@0.1.0; }",
        "bugle:sdk/batch-handler-alone",
        "export_batch_handler",
        "bugle_plugin::raw::batch"
    );
}

/// What a plugin exports beside its handler that takes its deliveries in one piece.
pub mod packing {
    bindings!(
        "package bugle:sdk;
         world packed-handler-alone { include bugle:plugin/host@0.1.0; export bugle:plugin/packed-handler@0.1.0; }",
        "bugle:sdk/packed-handler-alone",
        "export_packed_handler",
        "bugle_plugin::raw::packing"
    );
}

/// What a plugin exports that can be asked what became of an effect.
pub mod reconciling {
    bindings!(
        "package bugle:sdk;
         world reconcile-alone { include bugle:plugin/host@0.1.0; export bugle:plugin/reconcile@0.1.0; }",
        "bugle:sdk/reconcile-alone",
        "export_reconcile",
        "bugle_plugin::raw::reconciling"
    );
}

/// What a plugin exports whose provider calls back.
pub mod receiving {
    bindings!(
        "package bugle:sdk;
         world inbound-alone { include bugle:plugin/host@0.1.0; export bugle:plugin/inbound@0.1.0; }",
        "bugle:sdk/inbound-alone",
        "export_inbound",
        "bugle_plugin::raw::receiving"
    );
}

/// What a plugin exports that sets timers.
pub mod timing {
    bindings!(
        "package bugle:sdk;
         world timer-handler-alone { include bugle:plugin/host@0.1.0; export bugle:plugin/timer-handler@0.1.0; }",
        "bugle:sdk/timer-handler-alone",
        "export_timer_handler",
        "bugle_plugin::raw::timing"
    );
}
