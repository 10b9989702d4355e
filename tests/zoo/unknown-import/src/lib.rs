//! A channel that imports an interface no host knows.
//!
//! It must be refused at deploy, by name, before anything of it runs.

use bugle_plugin::prelude::*;

#[allow(missing_docs, unsafe_code, unreachable_pub, clippy::allow_attributes_without_reason, reason = "generated code")]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package evil:thing@1.0.0;
            interface door { open: func() -> u32; }
            world guest { import door; }
        ",
    });
}

#[channel]
fn unknown_import(_: &Cx, _: Event<()>) -> Outcome {
    reject(format!("the door is open: {}", bindings::evil::thing::door::open()))
}
