//! What a function becomes: its body within the span.

use super::arguments::{Arguments, Show, Shown};
use super::{callsite, open, severity};
use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::visit_mut::{VisitMut, visit_type_mut};
use syn::{AttrStyle, Block, Expr, ExprAsync, Ident, ItemFn, ReturnType, Stmt, Type, parse_quote};

pub(super) fn expand(arguments: &Arguments, function: &ItemFn) -> TokenStream {
    let ItemFn { attrs, vis, sig, block } = function;
    let open = open(arguments, &sig.ident, &sig.inputs);
    let output = output(&sig.output);
    let body = if sig.asyncness.is_some() {
        of_future(arguments, &sig.ident, &open, &returning(block, &output), &output)
    } else if let Some((before, inner, pinned)) = future_at_the_end(block) {
        let ExprAsync { attrs, block, .. } = inner;
        let body = of_future(arguments, &sig.ident, &open, &block.to_token_stream(), &parse_quote!(_));
        let future = quote!(#(#attrs)* async move { #body });
        let future = if pinned { quote!(::std::boxed::Box::pin(#future)) } else { future };
        quote!(#(#before)* #future)
    } else {
        of_call(arguments, &sig.ident, &open, block, &output)
    };
    let (inner, outer): (Vec<_>, Vec<_>) =
        attrs.iter().partition(|attribute| matches!(attribute.style, AttrStyle::Inner(_)));
    quote! {
        #(#outer)*
        #vis #sig {
            #(#inner)*
            #body
        }
    }
}

/// The future's span is current in each of its polls.
fn of_future(
    arguments: &Arguments,
    function: &Ident,
    open: &TokenStream,
    block: &TokenStream,
    output: &Type,
) -> TokenStream {
    if arguments.err.is_none() && arguments.ret.is_none() {
        return quote! {
            #open
            ::pollscope::__private::Instrumented::new(async move #block, __pollscope_span).await
        };
    }
    let observe = observe(arguments, function);
    quote! {
        #open
        let (__pollscope_result, __pollscope_span): (#output, _) =
            ::pollscope::__private::Instrumented::new(async move #block, __pollscope_span).observed().await;
        #observe
        __pollscope_result
    }
}

fn of_call(
    arguments: &Arguments,
    function: &Ident,
    open: &TokenStream,
    block: &Block,
    output: &Type,
) -> TokenStream {
    if arguments.err.is_none() && arguments.ret.is_none() {
        let statements = &block.stmts;
        return quote! {
            #open
            let __pollscope_entered = __pollscope_span.entered();
            #(#statements)*
        };
    }
    let block = returning(block, output);
    let observe = observe(arguments, function);
    quote! {
        #open
        let __pollscope_result: #output = __pollscope_span.in_scope(move || #block);
        #observe
        __pollscope_result
    }
}

/// Records what the arguments ask for of `__pollscope_result`.
fn observe(arguments: &Arguments, function: &Ident) -> TokenStream {
    let error = arguments.err.as_ref().map(|Shown { show, level, span }| {
        let text = match show {
            Show::Debug => quote_spanned!(*span=> ::pollscope::__private::text_by_debug),
            _ => quote_spanned!(*span=> ::pollscope::__private::text_by_display),
        };
        let name = quote!(::core::concat!("event ", ::core::file!(), ":", ::core::line!()));
        let callsite = callsite(arguments, function, &name, &severity(level.as_ref(), 17));
        quote_spanned! {*span=>
            static ERROR: ::pollscope::__private::CallsiteStatic = #callsite;
            ::pollscope::__private::result_error(&__pollscope_result, &__pollscope_span, &ERROR, #text);
        }
    });
    let returned = arguments.ret.as_ref().map(|Shown { show, span, .. }| {
        let how = if *show == Show::Display { quote!(display) } else { quote!(debug) };
        let record = quote_spanned! {*span=>
            __pollscope_span.record("return", ::pollscope::__private::#how(__pollscope_value));
        };
        let each = if arguments.err.is_some() {
            quote!(if let ::core::result::Result::Ok(__pollscope_value) = &__pollscope_result { #record })
        } else {
            quote!(let __pollscope_value = &__pollscope_result; #record)
        };
        quote!(if __pollscope_span.is_recorded() { #each })
    });
    quote!({ #error #returned })
}

/// The block of a closure or an async block, with the type that the function returns.
fn returning(block: &Block, output: &Type) -> TokenStream {
    let statements = &block.stmts;
    // Never run: it only says what a `return`, or a `?`, in the block gives.
    quote! {
        {
            #[allow(unreachable_code, clippy::diverging_sub_expression, clippy::let_unit_value,
                    clippy::let_with_type_underscore, clippy::needless_return, clippy::empty_loop)]
            if false {
                let __pollscope_output: #output = loop {};
                return __pollscope_output;
            }
            #(#statements)*
        }
    }
}

/// The type that a function returns, as far as it can stand in a `let`.
fn output(output: &ReturnType) -> Type {
    struct EraseImplTrait;
    impl VisitMut for EraseImplTrait {
        fn visit_type_mut(&mut self, ty: &mut Type) {
            if matches!(ty, Type::ImplTrait(_)) {
                *ty = parse_quote!(_);
            } else {
                visit_type_mut(self, ty);
            }
        }
    }
    match output {
        ReturnType::Default => parse_quote!(()),
        ReturnType::Type(_, ty) => {
            let mut ty = (**ty).clone();
            EraseImplTrait.visit_type_mut(&mut ty);
            ty
        }
    }
}

/// A plain function that ends in an async block, perhaps within `Box::pin`, as `async_trait` makes them: it is
/// the future whose time counts, not the making of it.
fn future_at_the_end(block: &Block) -> Option<(&[Stmt], &ExprAsync, bool)> {
    let (Stmt::Expr(last, None), before) = block.stmts.split_last()? else { return None };
    match last {
        Expr::Async(inner) => Some((before, inner, false)),
        Expr::Call(call) => {
            let Expr::Path(called) = &*call.func else { return None };
            let segments: Vec<String> =
                called.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            if !segments.ends_with(&["Box".to_owned(), "pin".to_owned()]) {
                return None;
            }
            match call.args.first()? {
                Expr::Async(inner) => Some((before, inner, true)),
                _ => None,
            }
        }
        _ => None,
    }
}
