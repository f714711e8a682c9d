//! `#[pollscope::instrument]`: the direct path, a static callsite and a span around the body.

mod arguments;
mod body;

use arguments::{Arguments, FieldArgument, Level, Name, Show};
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, FieldPat, FnArg, Ident, ItemFn, Pat, Result, Token, Type};

pub fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let arguments: Arguments = syn::parse2(arguments)?;
    let function: ItemFn = syn::parse2(item).map_err(|error| {
        Error::new(
            error.span(),
            format!(
                "`#[pollscope::instrument]` needs a function with a body: put it on each function ({error})"
            ),
        )
    })?;
    if let Some(constness) = &function.sig.constness {
        let message = "a `const fn` cannot be recorded: remove `const` or `#[pollscope::instrument]`";
        return Err(Error::new_spanned(constness, message));
    }
    arguments.check(&function.sig)?;
    Ok(body::expand(&arguments, &function))
}

/// Opens the span as `__pollscope_span`.
fn open(arguments: &Arguments, function: &Ident, inputs: &Punctuated<FnArg, Token![,]>) -> TokenStream {
    let own = function.to_string();
    let name = arguments.name.as_ref().map_or_else(|| quote!(#own), |name| quote!(#name));
    let severity = severity(arguments.level.as_ref(), 9);
    let callsite = callsite(arguments, function, &name, &severity);
    let fields = fields(arguments, inputs);
    let parent = match &arguments.parent {
        None => quote!(::pollscope::__private::Parent::Current),
        Some(Expr::Path(path)) if path.path.is_ident("None") => quote!(::pollscope::__private::Parent::Root),
        Some(parent) => quote_spanned!(parent.span()=> ::pollscope::__private::Parent::of(&(#parent))),
    };
    let follows_from = arguments
        .follows_from
        .as_ref()
        .map(|causes| quote_spanned!(causes.span()=> __pollscope_span.follows_from(#causes);));
    quote! {
        #[allow(unused_mut)]
        let mut __pollscope_span;
        if ::pollscope::__private::is_recording() {
            static CALLSITE: ::pollscope::__private::CallsiteStatic = #callsite;
            __pollscope_span =
                ::pollscope::__private::DirectSpan::open(&CALLSITE, #parent, &[#(#fields),*]);
            #follows_from
        } else {
            __pollscope_span = ::pollscope::__private::DirectSpan::NONE;
        }
    }
}

fn callsite(
    arguments: &Arguments,
    function: &Ident,
    name: &TokenStream,
    severity: &TokenStream,
) -> TokenStream {
    let target =
        arguments.target.as_ref().map_or_else(|| quote!(::core::module_path!()), |target| quote!(#target));
    // The function's own line, not the attribute's.
    let line = quote_spanned!(function.span()=> ::core::line!());
    quote! {
        ::pollscope::__private::CallsiteStatic {
            name: #name,
            target: #target,
            file: ::core::file!(),
            line: #line,
            severity: #severity,
        }
    }
}

/// OpenTelemetry's severity number.
fn severity(level: Option<&Level>, default: u8) -> TokenStream {
    match level {
        None => quote!(#default),
        Some(Level::Number(number)) => quote!(#number),
        Some(Level::Path(path)) => {
            quote_spanned!(path.span()=> ::pollscope::__private::severity(#path))
        }
    }
}

/// The fields: parameters that are not skipped, then those that the arguments name.
fn fields(arguments: &Arguments, inputs: &Punctuated<FnArg, Token![,]>) -> Vec<TokenStream> {
    let named: Vec<String> = arguments.fields.iter().filter_map(FieldArgument::simple_name).collect();
    let mut fields = Vec::new();
    for (name, is_value) in parameters(inputs) {
        let text = name.to_string();
        let text = text.trim_start_matches("r#");
        if arguments.skip_all || arguments.skip.contains(&name) || named.iter().any(|named| named == text) {
            continue;
        }
        let value = if is_value {
            quote!(::pollscope::__private::Value::value(&#name))
        } else {
            quote_spanned!(name.span()=> ::pollscope::__private::debug(&#name))
        };
        fields.push(quote!((#text, #value)));
    }
    for FieldArgument { name, show, value } in &arguments.fields {
        let Some(value) = value else { continue };
        let name = match name {
            Name::Text(text) => quote!(#text),
            Name::Expr(expr) => quote!(#expr),
        };
        let value = match show {
            Show::Debug => quote_spanned!(value.span()=> ::pollscope::__private::debug(&(#value))),
            Show::Display => quote_spanned!(value.span()=> ::pollscope::__private::display(&(#value))),
            Show::Value => quote_spanned!(value.span()=> ::pollscope::__private::Value::value(&(#value))),
        };
        fields.push(quote!((#name, #value)));
    }
    fields
}

/// The names that the parameters bind, and whether each is recorded as it is instead of by its `Debug`.
fn parameters(inputs: &Punctuated<FnArg, Token![,]>) -> Vec<(Ident, bool)> {
    let mut names = Vec::new();
    for input in inputs {
        match input {
            FnArg::Receiver(receiver) => names.push((Ident::new("self", receiver.self_token.span), false)),
            FnArg::Typed(typed) => bound(&typed.pat, is_value(&typed.ty), &mut names),
        }
    }
    names
}

fn bound(pattern: &Pat, is_value: bool, names: &mut Vec<(Ident, bool)>) {
    match pattern {
        Pat::Ident(pattern) => names.push((pattern.ident.clone(), is_value)),
        Pat::Reference(pattern) => bound(&pattern.pat, is_value, names),
        // Of what stands inside a pattern the type is not known here.
        Pat::Struct(pattern) => {
            pattern.fields.iter().for_each(|FieldPat { pat, .. }| bound(pat, false, names));
        }
        Pat::Slice(pattern) => pattern.elems.iter().for_each(|inner| bound(inner, false, names)),
        Pat::Tuple(pattern) => pattern.elems.iter().for_each(|inner| bound(inner, false, names)),
        Pat::TupleStruct(pattern) => pattern.elems.iter().for_each(|inner| bound(inner, false, names)),
        _ => {}
    }
}

/// Types that are recorded as a number, truth value or text, as tracing does.
const VALUES: [&str; 31] = [
    "bool",
    "str",
    "String",
    "u8",
    "i8",
    "u16",
    "i16",
    "u32",
    "i32",
    "u64",
    "i64",
    "u128",
    "i128",
    "usize",
    "isize",
    "f32",
    "f64",
    "NonZeroU8",
    "NonZeroI8",
    "NonZeroU16",
    "NonZeroI16",
    "NonZeroU32",
    "NonZeroI32",
    "NonZeroU64",
    "NonZeroI64",
    "NonZeroU128",
    "NonZeroI128",
    "NonZeroUsize",
    "NonZeroIsize",
    "Wrapping",
    "Empty",
];

fn is_value(ty: &Type) -> bool {
    match ty {
        Type::Reference(reference) => is_value(&reference.elem),
        Type::Path(path) => {
            path.path.segments.last().is_some_and(|last| VALUES.iter().any(|name| last.ident == name))
        }
        _ => false,
    }
}
