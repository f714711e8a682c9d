//! `#[pollscope::main]`: tokio's arguments become calls of tokio's builder.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Error, Expr, ExprLit, ItemFn, Lit, MetaNameValue, Result, Token};

pub fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let arguments = Punctuated::<MetaNameValue, Token![,]>::parse_terminated.parse2(arguments)?;
    let function: ItemFn = syn::parse2(item)?;
    if function.sig.asyncness.is_none() {
        return Err(Error::new_spanned(function.sig.fn_token, "the `async` keyword is missing"));
    }
    if !function.sig.inputs.is_empty() && function.sig.ident == "main" {
        return Err(Error::new_spanned(&function.sig.inputs, "the main function cannot accept arguments"));
    }
    let mut new = quote!(new_multi_thread);
    let mut calls = Vec::new();
    let mut service = quote!(::core::option::Option::None);
    let mut current_thread = false;
    let mut workers = None;
    for argument in &arguments {
        let name = argument.path.get_ident().map(ToString::to_string).unwrap_or_default();
        let value = &argument.value;
        match name.as_str() {
            "flavor" => match text(value)?.as_str() {
                "multi_thread" => {}
                "current_thread" => {
                    current_thread = true;
                    new = quote!(new_current_thread);
                }
                other => {
                    let message = format!(
                        "no such runtime flavor `{other}`: the flavors are `current_thread` and `multi_thread`"
                    );
                    return Err(Error::new_spanned(value, message));
                }
            },
            "worker_threads" => {
                workers = Some(value);
                calls.push(quote!(.worker_threads(#value)));
            }
            "start_paused" => calls.push(quote!(.start_paused(#value))),
            "name" => calls.push(quote!(.name(#value))),
            "service" => service = quote!(::core::option::Option::Some(#value)),
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
                calls.push(quote!(
                    .unhandled_panic(::pollscope::__private::tokio::runtime::UnhandledPanic::#variant)
                ));
            }
            _ => {
                let message = "unknown argument: `flavor`, `worker_threads`, `start_paused`, `unhandled_panic`, `name` and `service` are known";
                return Err(Error::new_spanned(&argument.path, message));
            }
        }
    }
    if let (true, Some(value)) = (current_thread, workers) {
        let message = "the `worker_threads` option requires the `multi_thread` runtime flavor";
        return Err(Error::new_spanned(value, message));
    }
    let ItemFn { attrs, vis, mut sig, block } = function;
    sig.asyncness = None;
    let output = match &sig.output {
        syn::ReturnType::Default => quote!(()),
        syn::ReturnType::Type(_, ty) => quote!(#ty),
    };
    Ok(quote! {
        #(#attrs)*
        #vis #sig {
            let body = async #block;
            #[allow(clippy::expect_used, clippy::diverging_sub_expression, clippy::needless_return)]
            {
                let result: #output = ::pollscope::__private::run_main(
                    ::pollscope::__private::tokio::runtime::Builder::#new().enable_all()#(#calls)*,
                    #service,
                    body,
                );
                return result;
            }
        }
    })
}

fn text(value: &Expr) -> Result<String> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text.value()),
        other => Err(Error::new_spanned(other, "a string literal is expected here")),
    }
}
