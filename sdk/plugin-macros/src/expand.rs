//! The expansion of `#[channel]` and `#[batch_channel]`, on plain token streams so that it can be tested.
//!
//! It makes nothing on targets other than `wasm32`: there the function stays what it is, and tests call it. Invariant: the shape of
//! the function is checked before anything is made of it.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use std::path::{Path, PathBuf};
use syn::{Error, FnArg, Ident, ItemFn, Result, ReturnType, Token, Type};

/// The world that the plugin is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum World {
    Channel,
    BatchChannel,
}

impl World {
    fn attribute(self) -> &'static str {
        match self {
            World::Channel => "channel",
            World::BatchChannel => "batch_channel",
        }
    }

    fn shape(self) -> &'static str {
        match self {
            World::Channel => "a channel is `fn name(cx: &Cx, event: Event<T>) -> Outcome`",
            World::BatchChannel => "a batch channel is `fn name(batch: &[Delivery<T>]) -> Vec<Outcome>`",
        }
    }
}

/// Path of the plugin's manifest, or what to do about its absence.
pub(crate) fn find_manifest() -> std::result::Result<String, String> {
    let directory =
        std::env::var("CARGO_MANIFEST_DIR").map_err(|_| "`#[channel]` needs to be built by cargo".to_owned())?;
    manifest_in(&PathBuf::from(directory))
}

pub(crate) fn manifest_in(directory: &Path) -> std::result::Result<String, String> {
    let path = directory.join("plugin.toml");
    if path.is_file() {
        return Ok(path.to_string_lossy().into_owned());
    }
    Err("there is no `plugin.toml` beside Cargo.toml; the least is three lines: name, version and contract = \"0.1\""
        .to_owned())
}

pub(crate) fn channel(
    world: World,
    arguments: TokenStream,
    item: TokenStream,
    manifest: std::result::Result<String, String>,
) -> Result<TokenStream> {
    let Arguments { check, reconcile, inbound, timer } = parse_arguments(world, arguments)?;
    let function: ItemFn = syn::parse2(item).map_err(|error| {
        Error::new(error.span(), format!("`#[{}]` stands on a function: {}", world.attribute(), world.shape()))
    })?;
    check_shape(world, &function)?;
    let manifest = manifest.map_err(|text| Error::new(Span::call_site(), text))?;
    let name = &function.sig.ident;
    let check = check.map_or_else(|| quote!(::bugle_plugin::no_check), |check| quote!(#check));
    let handler = match world {
        World::Channel => one(name),
        World::BatchChannel => several(name),
    };
    let packing = in_one_piece(world, name);
    let reconciling = reconcile.as_ref().map(asked);
    let receiving = inbound.as_ref().map(called_back);
    let timing = timer.as_ref().map(woken);
    let fits = fits(reconcile.as_ref(), inbound.as_ref(), timer.as_ref());
    Ok(quote! {
        #function

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Exported;

            #handler

            #packing

            #reconciling

            #receiving

            #timing

            impl ::bugle_plugin::raw::exports::bugle::plugin::lifecycle::Guest for Exported {
                fn check() -> ::core::result::Result<(), ::std::string::String> {
                    ::bugle_plugin::check(#check)
                }
            }

            ::bugle_plugin::raw::export_lifecycle!(Exported with_types_in ::bugle_plugin::raw);

            #[unsafe(link_section = "bugle:plugin")]
            static MANIFEST: [u8; include_bytes!(#manifest).len()] = *include_bytes!(#manifest);
        };

        // Nothing calls the check where there is no host; it still has to fit.
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() -> ::core::result::Result<(), ::std::string::String> = || ::bugle_plugin::check(#check);
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(&::bugle_plugin::Cx) = |_| { let _ = #name; };
        #fits
    })
}

/// Nothing calls what is exported where there is no host; it still has to fit.
fn fits(reconcile: Option<&syn::Path>, inbound: Option<&syn::Path>, timer: Option<&syn::Path>) -> TokenStream {
    let asks = reconcile.map(|ask| {
        quote! {
            #[cfg(not(target_arch = "wasm32"))]
            const _: fn(
                ::bugle_plugin::raw::bugle::plugin::types::Delivery,
                ::bugle_plugin::raw::reconciling::exports::bugle::plugin::reconcile::Doubt,
            ) = |delivery, about| { let _ = ::bugle_plugin::reconcile(delivery, about, #ask); };
        }
    });
    let receives = inbound.map(|receive| {
        quote! {
            #[cfg(not(target_arch = "wasm32"))]
            const _: fn(::bugle_plugin::raw::receiving::exports::bugle::plugin::inbound::Callback) =
                |callback| { let _ = ::bugle_plugin::receive(callback, #receive); };
        }
    });
    let wakes = timer.map(|fired| {
        quote! {
            #[cfg(not(target_arch = "wasm32"))]
            const _: fn(u64, ::std::string::String, ::std::vec::Vec<u8>) =
                |ticket, name, data| { let _ = ::bugle_plugin::fire(ticket, name, data, #fired); };
        }
    });
    quote! { #asks #receives #wakes }
}

/// The optional export `timer-handler`.
fn woken(fired: &syn::Path) -> TokenStream {
    quote! {
        ::bugle_plugin::raw::timing::export_timer_handler!(Exported with_types_in ::bugle_plugin::raw::timing);

        impl ::bugle_plugin::raw::timing::exports::bugle::plugin::timer_handler::Guest for Exported {
            fn fire(
                ticket: u64,
                name: ::std::string::String,
                data: ::std::vec::Vec<u8>,
            ) -> ::core::result::Result<(), ::bugle_plugin::raw::bugle::plugin::types::Failure> {
                ::bugle_plugin::fire(ticket, name, data, #fired)
            }
        }
    }
}

/// The optional export `inbound`.
fn called_back(receive: &syn::Path) -> TokenStream {
    quote! {
        ::bugle_plugin::raw::receiving::export_inbound!(Exported with_types_in ::bugle_plugin::raw::receiving);

        impl ::bugle_plugin::raw::receiving::exports::bugle::plugin::inbound::Guest for Exported {
            fn receive(
                callback: ::bugle_plugin::raw::receiving::exports::bugle::plugin::inbound::Callback,
            ) -> ::core::result::Result<
                ::std::vec::Vec<::bugle_plugin::raw::receiving::exports::bugle::plugin::inbound::StatusChange>,
                ::std::string::String,
            > {
                ::bugle_plugin::receive(callback, #receive)
            }
        }
    }
}

/// The optional export `reconcile`.
fn asked(ask: &syn::Path) -> TokenStream {
    quote! {
        ::bugle_plugin::raw::reconciling::export_reconcile!(Exported with_types_in ::bugle_plugin::raw::reconciling);

        impl ::bugle_plugin::raw::reconciling::exports::bugle::plugin::reconcile::Guest for Exported {
            fn check_sent(
                delivery: ::bugle_plugin::raw::bugle::plugin::types::Delivery,
                about: ::bugle_plugin::raw::reconciling::exports::bugle::plugin::reconcile::Doubt,
            ) -> ::bugle_plugin::raw::reconciling::exports::bugle::plugin::reconcile::Answer {
                ::bugle_plugin::reconcile(delivery, about, #ask)
            }
        }
    }
}

/// The export of world `channel`.
fn one(name: &Ident) -> TokenStream {
    quote! {
        ::bugle_plugin::raw::channel::export_handler!(Exported with_types_in ::bugle_plugin::raw::channel);

        impl ::bugle_plugin::raw::channel::exports::bugle::plugin::handler::Guest for Exported {
            fn handle(
                delivery: ::bugle_plugin::raw::bugle::plugin::types::Delivery,
            ) -> ::core::result::Result<(), ::bugle_plugin::raw::bugle::plugin::types::Failure> {
                ::bugle_plugin::handle(delivery, #name)
            }
        }
    }
}

/// The optional export `packed-handler`, which every plugin of this SDK has.
fn in_one_piece(world: World, name: &Ident) -> TokenStream {
    let run = match world {
        World::Channel => quote!(handle_packed),
        World::BatchChannel => quote!(handle_packed_batch),
    };
    quote! {
        ::bugle_plugin::raw::packing::export_packed_handler!(Exported with_types_in ::bugle_plugin::raw::packing);

        impl ::bugle_plugin::raw::packing::exports::bugle::plugin::packed_handler::Guest for Exported {
            fn handle_packed(
                deliveries: ::std::vec::Vec<u8>,
            ) -> ::std::vec::Vec<
                ::core::result::Result<(), ::bugle_plugin::raw::bugle::plugin::types::Failure>,
            > {
                ::bugle_plugin::#run(deliveries, #name)
            }
        }
    }
}

/// The export of world `batch-channel`.
fn several(name: &Ident) -> TokenStream {
    quote! {
        ::bugle_plugin::raw::batch::export_batch_handler!(Exported with_types_in ::bugle_plugin::raw::batch);

        impl ::bugle_plugin::raw::batch::exports::bugle::plugin::batch_handler::Guest for Exported {
            fn handle_batch(
                deliveries: ::std::vec::Vec<::bugle_plugin::raw::bugle::plugin::types::Delivery>,
            ) -> ::std::vec::Vec<
                ::core::result::Result<(), ::bugle_plugin::raw::bugle::plugin::types::Failure>,
            > {
                ::bugle_plugin::handle_batch(deliveries, #name)
            }
        }
    }
}

/// What stands in the brackets.
#[derive(Default)]
struct Arguments {
    check: Option<syn::Path>,
    reconcile: Option<syn::Path>,
    inbound: Option<syn::Path>,
    timer: Option<syn::Path>,
}

/// `check`, `reconcile`, `inbound` and `timer`, each at most once: `name = path`.
fn parse_arguments(world: World, arguments: TokenStream) -> Result<Arguments> {
    let parse = |input: syn::parse::ParseStream<'_>| {
        let mut given = Arguments::default();
        while !input.is_empty() {
            let name: Ident = input.parse()?;
            let place = match name.to_string().as_str() {
                "check" => &mut given.check,
                "reconcile" => &mut given.reconcile,
                "inbound" => &mut given.inbound,
                "timer" => &mut given.timer,
                _ => return Err(Error::new(name.span(), "unknown")),
            };
            input.parse::<Token![=]>()?;
            if place.replace(input.parse()?).is_some() {
                return Err(Error::new(name.span(), "twice"));
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(given)
    };
    let only = format!(
        "the arguments are `#[{}(check = function, reconcile = function, inbound = function, timer = function)]`",
        world.attribute()
    );
    syn::parse::Parser::parse2(parse, arguments).map_err(|error| Error::new(error.span(), only))
}

fn check_shape(world: World, function: &ItemFn) -> Result<()> {
    let signature = &function.sig;
    let name = signature.ident.span();
    let wrong = |what: &str| Err(Error::new(name, format!("{what}; {}", world.shape())));
    if signature.asyncness.is_some() {
        return wrong("a channel is not `async`: the host runs many calls at once by itself");
    }
    if !signature.generics.params.is_empty() {
        return wrong("a channel has no generic parameters");
    }
    if signature.unsafety.is_some() || signature.constness.is_some() || signature.abi.is_some() {
        return wrong("a channel is a plain function");
    }
    if let Err(what) = match world {
        World::Channel => check_one(function),
        World::BatchChannel => check_several(function),
    } {
        return wrong(what);
    }
    match &signature.output {
        ReturnType::Default => wrong("a channel returns its verdict"),
        ReturnType::Type(..) => Ok(()),
    }
}

fn check_one(function: &ItemFn) -> std::result::Result<(), &'static str> {
    let mut inputs = function.sig.inputs.iter();
    match (inputs.next(), inputs.next(), inputs.next()) {
        (Some(FnArg::Typed(cx)), Some(FnArg::Typed(event)), None) => {
            if !is_reference_to_cx(&cx.ty) {
                return Err("the first argument is not `&Cx`");
            }
            if !is_named(&event.ty, "Event") {
                return Err("the second argument is not `Event<T>`");
            }
            Ok(())
        }
        _ => Err("a channel has exactly two arguments"),
    }
}

fn check_several(function: &ItemFn) -> std::result::Result<(), &'static str> {
    let mut inputs = function.sig.inputs.iter();
    match (inputs.next(), inputs.next()) {
        (Some(FnArg::Typed(batch)), None) if is_slice_of_deliveries(&batch.ty) => Ok(()),
        (Some(FnArg::Typed(_)), None) => Err("the argument is not `&[Delivery<T>]`"),
        _ => Err("a batch channel has exactly one argument"),
    }
}

fn is_slice_of_deliveries(ty: &Type) -> bool {
    let Type::Reference(reference) = ty else { return false };
    let is_slice = matches!(&*reference.elem, Type::Slice(slice) if is_named(&slice.elem, "Delivery"));
    reference.mutability.is_none() && is_slice
}

fn is_reference_to_cx(ty: &Type) -> bool {
    matches!(ty, Type::Reference(reference) if reference.mutability.is_none() && is_named(&reference.elem, "Cx"))
}

fn is_named(ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(arguments: TokenStream, item: TokenStream) -> String {
        channel(World::Channel, arguments, item, Ok("plugin.toml".into())).unwrap_err().to_string()
    }

    #[test]
    fn a_good_channel_keeps_its_function_and_embeds_the_manifest() {
        let item = quote! { fn sms(cx: &Cx, event: bugle_plugin::Event<Sms>) -> Outcome { Ok(()) } };
        let text = channel(World::Channel, quote!(check = crate::ok), item.clone(), Ok("/x/plugin.toml".into()));
        let text = text.unwrap().to_string();
        assert!(text.starts_with(&item.to_string()), "{text}");
        assert!(text.contains("link_section = \"bugle:plugin\"") && text.contains("/x/plugin.toml"), "{text}");
        assert!(text.contains("check (crate :: ok)"), "{text}");
    }

    #[test]
    fn each_wrong_shape_is_told_what_to_write() {
        let cases = [
            (quote! { struct Sms; }, "stands on a function"),
            (quote! { async fn f(cx: &Cx, e: Event<T>) -> Outcome {} }, "not `async`"),
            (quote! { fn f<T>(cx: &Cx, e: Event<T>) -> Outcome {} }, "no generic parameters"),
            (quote! { unsafe fn f(cx: &Cx, e: Event<T>) -> Outcome {} }, "plain function"),
            (quote! { fn f(e: Event<T>) -> Outcome {} }, "exactly two arguments"),
            (quote! { fn f(&self, e: Event<T>) -> Outcome {} }, "exactly two arguments"),
            (quote! { fn f(cx: Cx, e: Event<T>) -> Outcome {} }, "first argument is not `&Cx`"),
            (quote! { fn f(cx: &mut Cx, e: Event<T>) -> Outcome {} }, "first argument is not `&Cx`"),
            (quote! { fn f(cx: &Cx, e: Sms) -> Outcome {} }, "second argument is not `Event<T>`"),
            (quote! { fn f(cx: &Cx, e: Event<T>) {} }, "returns its verdict"),
        ];
        for (item, expected) in cases {
            let text = error(TokenStream::new(), item.clone());
            assert!(text.contains(expected) && text.contains(World::Channel.shape()), "{item}: {text}");
        }
    }

    #[test]
    fn a_batch_channel_exports_the_batch_handler_and_nothing_else_does() {
        let item = quote! { fn push(batch: &[Delivery<Push>]) -> Vec<Outcome> { vec![] } };
        let made = channel(World::BatchChannel, TokenStream::new(), item.clone(), Ok("/x/plugin.toml".into()));
        let text = made.unwrap().to_string();
        assert!(text.starts_with(&item.to_string()), "{text}");
        assert!(text.contains("batch_handler :: Guest") && text.contains("export_batch_handler"), "{text}");
        assert!(!text.contains(":: handler ::"), "{text}");
        let cases = [
            (quote! { fn f(cx: &Cx, e: Event<T>) -> Outcome {} }, "exactly one argument"),
            (quote! { fn f(batch: Vec<Delivery<T>>) -> Vec<Outcome> {} }, "argument is not `&[Delivery<T>]`"),
            (quote! { fn f(batch: &mut [Delivery<T>]) -> Vec<Outcome> {} }, "argument is not `&[Delivery<T>]`"),
            (quote! { fn f(batch: &[Delivery<T>]) {} }, "returns its verdict"),
            (quote! { struct Push; }, "`#[batch_channel]` stands on a function"),
        ];
        for (item, expected) in cases {
            let made = channel(World::BatchChannel, TokenStream::new(), item.clone(), Ok("plugin.toml".into()));
            let text = made.unwrap_err().to_string();
            assert!(text.contains(expected) && text.contains(World::BatchChannel.shape()), "{item}: {text}");
        }
    }

    #[test]
    fn a_channel_that_can_be_asked_exports_reconcile() {
        let item = quote! { fn f(cx: &Cx, e: Event<T>) -> Outcome {} };
        let made = |arguments| channel(World::Channel, arguments, item.clone(), Ok("/x/plugin.toml".into()));
        let text = made(quote!(reconcile = crate::asked, check = ok)).unwrap().to_string();
        assert!(text.contains("export_reconcile") && text.contains("about , crate :: asked"), "{text}");
        let text = made(quote!(check = ok)).unwrap().to_string();
        assert!(!text.contains("reconcil"), "{text}");
    }

    #[test]
    fn a_channel_with_timers_exports_their_handler() {
        let item = quote! { fn f(cx: &Cx, e: Event<T>) -> Outcome {} };
        let made = |arguments| channel(World::Channel, arguments, item.clone(), Ok("/x/plugin.toml".into()));
        let text = made(quote!(timer = crate::fired)).unwrap().to_string();
        assert!(text.contains("export_timer_handler") && text.contains("data , crate :: fired"), "{text}");
        let text = made(quote!(check = ok)).unwrap().to_string();
        assert!(!text.contains("timer"), "{text}");
    }

    #[test]
    fn a_channel_whose_provider_calls_back_exports_inbound() {
        let item = quote! { fn f(cx: &Cx, e: Event<T>) -> Outcome {} };
        let made = |arguments| channel(World::Channel, arguments, item.clone(), Ok("/x/plugin.toml".into()));
        let text = made(quote!(inbound = crate::told)).unwrap().to_string();
        assert!(text.contains("export_inbound") && text.contains("callback , crate :: told"), "{text}");
        let text = made(quote!(check = ok)).unwrap().to_string();
        assert!(!text.contains("inbound"), "{text}");
    }

    #[test]
    fn only_functions_that_are_exported_are_taken_as_arguments() {
        let item = quote! { fn f(cx: &Cx, e: Event<T>) -> Outcome {} };
        for arguments in
            [quote!(chek = f), quote!(check), quote!(check = 7), quote!(check = f, more), quote!(check = f, check = f)]
        {
            let text = error(arguments, item.clone());
            assert_eq!(
                text,
                "the arguments are `#[channel(check = function, reconcile = function, inbound = function, timer = function)]`"
            );
        }
    }

    #[test]
    fn a_missing_manifest_says_what_to_write() {
        let nowhere = manifest_in(Path::new("/nowhere"));
        assert!(nowhere.clone().unwrap_err().contains("no `plugin.toml` beside Cargo.toml"));
        let item = quote! { fn f(cx: &Cx, e: Event<T>) -> Outcome {} };
        let text = channel(World::Channel, TokenStream::new(), item, nowhere).unwrap_err().to_string();
        assert!(text.contains("contract = \"0.1\""));
    }
}
