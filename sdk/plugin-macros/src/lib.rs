//! `#[channel]` and `#[batch_channel]`: turn one function into a Bugle plugin.
//!
//! They only read tokens and check shapes; what happens at run time is in `bugle_plugin::handle` and `handle_batch`. Invariant: a
//! function used wrongly gets one error that says what to write instead.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

mod expand;

use expand::World;
use proc_macro::TokenStream;

/// Make this function the channel of the plugin: `#[channel] fn sms(cx: &Cx, event: Event<Sms>) -> Outcome`.
///
/// `#[channel(check = config_ok)]` names a `fn config_ok(config: &Config) -> Result<(), impl Display>` that is
/// called at deploy. `reconcile = asked` names a `fn asked(cx: &Cx, event: &Event<T>, doubt: &Doubt) -> Result<Found<R>, Failure>`
/// that is called before an effect that may have happened is done again, where the subscription says `uncertain = "ask"`. `inbound = told` names a
/// `fn told(callback: &Callback) -> Result<Vec<Status>, impl Display>` that is called when the provider calls back. `timer = fired` names a
/// `fn fired(cx: &Cx, timer: Timer) -> Outcome` that is called when a timer fires. `plugin.toml` beside `Cargo.toml` is put into the component. One channel per plugin.
#[proc_macro_attribute]
pub fn channel(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let manifest = expand::find_manifest();
    expand::channel(World::Channel, arguments.into(), item.into(), manifest)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Make this function the channel of the plugin for several deliveries per call:
/// `#[batch_channel] fn push(batch: &[Delivery<Push>]) -> Vec<Outcome>`.
///
/// It returns one verdict per delivery, in their order. `check` and `plugin.toml` as with [`macro@channel`].
#[proc_macro_attribute]
pub fn batch_channel(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let manifest = expand::find_manifest();
    expand::channel(World::BatchChannel, arguments.into(), item.into(), manifest)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
