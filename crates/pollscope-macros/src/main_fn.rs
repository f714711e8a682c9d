//! `#[pollscope::main]`: tokio's arguments become calls of tokio's builder.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{AttrStyle, Error, Expr, ExprLit, ItemFn, Lit, MetaNameValue, Path, Result, Token};

const KNOWN: &str =
    "`flavor`, `worker_threads`, `start_paused`, `unhandled_panic`, `name`, `crate` and `service` are known";

#[derive(Clone, Copy, Default, PartialEq)]
enum Flavor {
    #[default]
    MultiThread,
    CurrentThread,
    Local,
}

/// What the arguments say.
#[derive(Default)]
struct Arguments {
    flavor: Flavor,
    service: Option<Expr>,
    tokio: Option<Path>,
    name: Option<Expr>,
    worker_threads: Option<Expr>,
    start_paused: Option<Expr>,
    unhandled_panic: Option<(TokenStream, Span)>,
}

pub fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let arguments = Arguments::parse(arguments)?;
    let function: ItemFn = syn::parse2(item).map_err(|error| {
        Error::new(error.span(), format!("`#[pollscope::main]` needs an `async fn` with a body ({error})"))
    })?;
    if function.sig.asyncness.is_none() {
        let message = "the `async` keyword is missing: `#[pollscope::main]` runs an `async fn`";
        return Err(Error::new_spanned(function.sig.fn_token, message));
    }
    if !function.sig.inputs.is_empty() && function.sig.ident == "main" {
        return Err(Error::new_spanned(&function.sig.inputs, "the main function cannot take arguments"));
    }
    let ItemFn { attrs, vis, mut sig, block } = function;
    sig.asyncness = None;
    let (inner, outer): (Vec<_>, Vec<_>) =
        attrs.into_iter().partition(|attribute| matches!(attribute.style, AttrStyle::Inner(_)));
    let (run, builder, service) = (arguments.run(), arguments.builder(), arguments.service());
    Ok(quote! {
        #(#outer)*
        #vis #sig {
            #(#inner)*
            let body = async #block;
            #[allow(clippy::expect_used, clippy::diverging_sub_expression, clippy::needless_return)]
            {
                return ::pollscope::__private::#run(#builder, #service, body);
            }
        }
    })
}

impl Arguments {
    fn parse(tokens: TokenStream) -> Result<Arguments> {
        let pairs =
            Punctuated::<MetaNameValue, Token![,]>::parse_terminated.parse2(tokens).map_err(|error| {
                Error::new(error.span(), format!("`argument = value` is expected here: {KNOWN}"))
            })?;
        let mut arguments = Arguments::default();
        for (n, MetaNameValue { path, value, .. }) in pairs.iter().enumerate() {
            if pairs.iter().take(n).any(|before| before.path.get_ident() == path.get_ident()) {
                let name = path.to_token_stream();
                return Err(Error::new_spanned(
                    path,
                    format!("`{name}` is given twice: leave one of the two"),
                ));
            }
            arguments.argument(path, value)?;
        }
        arguments.check()?;
        Ok(arguments)
    }

    fn argument(&mut self, path: &Path, value: &Expr) -> Result<()> {
        let name = path.get_ident().map(ToString::to_string).unwrap_or_default();
        match name.as_str() {
            "flavor" => self.flavor = flavor(value)?,
            "worker_threads" => {
                if matches!(value, Expr::Lit(ExprLit { lit: Lit::Int(n), .. }) if n.base10_digits() == "0") {
                    return Err(Error::new_spanned(value, "`worker_threads` cannot be 0"));
                }
                self.worker_threads = Some(value.clone());
            }
            "start_paused" => self.start_paused = Some(value.clone()),
            "name" => self.name = Some(value.clone()),
            "service" => self.service = Some(value.clone()),
            "crate" => {
                let path = syn::parse_str(&text(value)?);
                self.tokio =
                    Some(path.map_err(|_| Error::new_spanned(value, "the path of tokio is expected here"))?);
            }
            "unhandled_panic" => {
                let variant = match text(value)?.as_str() {
                    "ignore" => quote!(Ignore),
                    "shutdown_runtime" => quote!(ShutdownRuntime),
                    other => {
                        let message = format!(
                            "no such `unhandled_panic`: `{other}`; it is `ignore` or `shutdown_runtime`"
                        );
                        return Err(Error::new_spanned(value, message));
                    }
                };
                self.unhandled_panic = Some((variant, path.span()));
            }
            _ => {
                let name = path.to_token_stream();
                return Err(Error::new_spanned(path, format!("unknown argument `{name}`: {KNOWN}")));
            }
        }
        Ok(())
    }

    /// Which flavor each argument needs, as tokio has it.
    fn check(&self) -> Result<()> {
        let needs = |argument: &str, flavor: &str| {
            format!("`{argument}` needs the `{flavor}` runtime: add `flavor = \"{flavor}\"`")
        };
        if self.flavor != Flavor::MultiThread {
            if let Some(value) = &self.worker_threads {
                return Err(Error::new_spanned(value, needs("worker_threads", "multi_thread")));
            }
            return Ok(());
        }
        if let Some(value) = &self.start_paused {
            return Err(Error::new_spanned(value, needs("start_paused", "current_thread")));
        }
        if let Some((_, span)) = &self.unhandled_panic {
            return Err(Error::new(*span, needs("unhandled_panic", "current_thread")));
        }
        Ok(())
    }

    fn run(&self) -> TokenStream {
        if self.flavor == Flavor::Local { quote!(run_main_local) } else { quote!(run_main) }
    }

    fn builder(&self) -> TokenStream {
        let tokio = match &self.tokio {
            Some(path) => path.to_token_stream(),
            None => quote!(::pollscope::__private::tokio),
        };
        let new = match self.flavor {
            Flavor::MultiThread => quote!(new_multi_thread),
            Flavor::CurrentThread | Flavor::Local => quote!(new_current_thread),
        };
        let workers = self.worker_threads.as_ref().map(|value| quote!(.worker_threads(#value)));
        let paused = self.start_paused.as_ref().map(|value| quote!(.start_paused(#value)));
        let name = self.name.as_ref().map(|value| quote!(.name(#value)));
        let unhandled = self
            .unhandled_panic
            .as_ref()
            .map(|(variant, _)| quote!(.unhandled_panic(#tokio::runtime::UnhandledPanic::#variant)));
        quote!(#tokio::runtime::Builder::#new().enable_all()#workers #paused #name #unhandled)
    }

    fn service(&self) -> TokenStream {
        match &self.service {
            Some(name) => quote!(::core::option::Option::Some(#name)),
            None => quote!(::core::option::Option::None),
        }
    }
}

fn flavor(value: &Expr) -> Result<Flavor> {
    match text(value)?.as_str() {
        "multi_thread" => Ok(Flavor::MultiThread),
        "current_thread" => Ok(Flavor::CurrentThread),
        "local" => Ok(Flavor::Local),
        other => {
            let message = format!(
                "no such runtime flavor `{other}`: the flavors are `multi_thread`, `current_thread` and `local`"
            );
            Err(Error::new_spanned(value, message))
        }
    }
}

fn text(value: &Expr) -> Result<String> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text.value()),
        other => Err(Error::new_spanned(other, "a string literal is expected here")),
    }
}
