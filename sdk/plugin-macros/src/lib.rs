//! `#[channel]`: turns one function into a Bugle plugin.
//!
//! It only reads tokens and checks shapes; what happens at run time is in `bugle_plugin::handle`. Invariant: a
//! function used wrongly gets one error that says what to write instead.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

mod expand;

use proc_macro::TokenStream;

/// Make this function the channel of the plugin: `#[channel] fn sms(cx: &Cx, event: Event<Sms>) -> Outcome`.
///
/// `#[channel(check = config_ok)]` names a `fn config_ok(config: &Config) -> Result<(), impl Display>` that is
/// called at deploy. `plugin.toml` beside `Cargo.toml` is put into the component. One channel per plugin.
#[proc_macro_attribute]
pub fn channel(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let manifest = expand::find_manifest();
    expand::channel(arguments.into(), item.into(), manifest).unwrap_or_else(syn::Error::into_compile_error).into()
}
