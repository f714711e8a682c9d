//! `#[pollscope::instrument]`: the direct path, a static callsite and a span around the body.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, FnArg, Ident, ItemFn, LitInt, LitStr, Pat, Path, Result, Token, Type, parenthesized};

#[derive(Default)]
struct Arguments {
    name: Option<Expr>,
    target: Option<Expr>,
    level: Option<u8>,
    skip: Vec<Ident>,
    skip_all: bool,
    fields: Vec<FieldArgument>,
    err: Option<Show>,
    ret: Option<Show>,
}

#[derive(Clone, Copy, PartialEq)]
enum Show {
    Display,
    Debug,
    /// A value as it is.
    Value,
}

struct FieldArgument {
    name: String,
    show: Show,
    value: Option<Expr>,
}

impl Parse for FieldArgument {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let sigil = show(input)?;
        let name = if input.peek(LitStr) {
            input.parse::<LitStr>()?.value()
        } else {
            let parts =
                Punctuated::<Ident, Token![.]>::parse_separated_nonempty_with(input, Ident::parse_any)?;
            parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(".")
        };
        if !input.peek(Token![=]) {
            let value = Some(syn::parse_str(&name)?);
            return Ok(FieldArgument { name, show: sigil, value });
        }
        input.parse::<Token![=]>()?;
        let sigil = show(input)?;
        let value: Expr = input.parse()?;
        // `tracing::field::Empty` announces a field that is recorded later: there is nothing to announce here.
        let empty = matches!(&value, Expr::Path(path) if path.path.segments.last().is_some_and(|s| s.ident == "Empty"));
        Ok(FieldArgument { name, show: sigil, value: (!empty).then_some(value) })
    }
}

fn show(input: ParseStream<'_>) -> Result<Show> {
    if input.peek(Token![?]) {
        input.parse::<Token![?]>()?;
        Ok(Show::Debug)
    } else if input.peek(Token![%]) {
        input.parse::<Token![%]>()?;
        Ok(Show::Display)
    } else {
        Ok(Show::Value)
    }
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut arguments = Arguments::default();
        while !input.is_empty() {
            if input.peek(LitStr) {
                let name: LitStr = input.parse()?;
                arguments.name = Some(syn::parse_quote!(#name));
            } else {
                let key: Ident = input.parse()?;
                arguments.argument(&key, input)?;
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(arguments)
    }
}

impl Arguments {
    fn argument(&mut self, key: &Ident, input: ParseStream<'_>) -> Result<()> {
        let value = |input: ParseStream<'_>| -> Result<Expr> {
            input.parse::<Token![=]>()?;
            input.parse()
        };
        match key.to_string().as_str() {
            "name" => self.name = Some(value(input)?),
            "target" => self.target = Some(value(input)?),
            "level" => {
                input.parse::<Token![=]>()?;
                self.level = Some(level(input)?);
            }
            "skip" => {
                let list;
                parenthesized!(list in input);
                // `self` may be skipped, though it is a keyword.
                let names = Punctuated::<Ident, Token![,]>::parse_terminated_with(&list, Ident::parse_any)?;
                self.skip = names.into_iter().collect();
            }
            "skip_all" => self.skip_all = true,
            "fields" => {
                let list;
                parenthesized!(list in input);
                let fields = Punctuated::<FieldArgument, Token![,]>::parse_terminated(&list)?;
                self.fields = fields.into_iter().collect();
            }
            "err" => self.err = Some(shown(input, Show::Display)?),
            "ret" => self.ret = Some(shown(input, Show::Debug)?),
            _ => {
                let message = "unknown argument: `name`, `target`, `level`, `skip`, `skip_all`, `fields`, `err` and `ret` are known";
                return Err(Error::new_spanned(key, message));
            }
        }
        Ok(())
    }
}

/// `err` or `err(Debug)`, `ret` or `ret(Display)`.
fn shown(input: ParseStream<'_>, default: Show) -> Result<Show> {
    if !input.peek(syn::token::Paren) {
        return Ok(default);
    }
    let list;
    parenthesized!(list in input);
    let mut show = default;
    while !list.is_empty() {
        let word: Ident = list.parse()?;
        match word.to_string().as_str() {
            "Debug" => show = Show::Debug,
            "Display" => show = Show::Display,
            "level" => {
                list.parse::<Token![=]>()?;
                level(&list)?;
            }
            _ => return Err(Error::new_spanned(word, "`Debug` or `Display` is expected here")),
        }
        if !list.is_empty() {
            list.parse::<Token![,]>()?;
        }
    }
    Ok(show)
}

/// A level as tracing takes it (`"info"`, `3`, `Level::INFO`), as OpenTelemetry's severity number.
fn level(input: ParseStream<'_>) -> Result<u8> {
    let (word, span) = if input.peek(LitStr) {
        let text: LitStr = input.parse()?;
        (text.value(), text.span())
    } else if input.peek(LitInt) {
        let number: LitInt = input.parse()?;
        (number.base10_digits().to_owned(), number.span())
    } else {
        let path: Path = input.parse()?;
        let last = path.segments.last().map(|segment| segment.ident.to_string());
        (last.unwrap_or_default(), path.span())
    };
    match word.to_ascii_lowercase().as_str() {
        "trace" | "1" => Ok(1),
        "debug" | "2" => Ok(5),
        "info" | "3" => Ok(9),
        "warn" | "4" => Ok(13),
        "error" | "5" => Ok(17),
        _ => Err(Error::new(span, "a level is expected here: trace, debug, info, warn or error")),
    }
}

/// Whether a parameter's type is recorded as a number, truth value or text, as tracing does.
fn is_value(ty: &Type) -> bool {
    match ty {
        Type::Reference(reference) => is_value(&reference.elem),
        Type::Path(path) => path.path.segments.last().is_some_and(|last| {
            matches!(
                last.ident.to_string().as_str(),
                "bool"
                    | "str"
                    | "u8"
                    | "i8"
                    | "u16"
                    | "i16"
                    | "u32"
                    | "i32"
                    | "u64"
                    | "i64"
                    | "f32"
                    | "f64"
                    | "usize"
                    | "isize"
            )
        }),
        _ => false,
    }
}

/// How a reference of this depth reads as a value: numbers are copied out.
fn value_of(name: &Ident, ty: &Type) -> TokenStream {
    let mut depth = 0;
    let mut inner = ty;
    while let Type::Reference(reference) = inner {
        inner = &reference.elem;
        depth += 1;
    }
    let is_str = matches!(inner, Type::Path(path) if path.path.is_ident("str"));
    let stars = vec![quote!(*); if is_str { depth.max(1) - 1 } else { depth }];
    quote!(::core::convert::From::from(#(#stars)* #name))
}

fn field(name: &str, value: TokenStream) -> TokenStream {
    quote!((#name, #value))
}

pub fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let arguments: Arguments = syn::parse2(arguments)?;
    let ItemFn { attrs, vis, sig, block } = syn::parse2(item)?;
    let function = sig.ident.to_string();
    let name = arguments.name.as_ref().map_or_else(|| quote!(#function), |name| quote!(#name));
    let target =
        arguments.target.as_ref().map_or_else(|| quote!(::core::module_path!()), |target| quote!(#target));
    let severity = arguments.level.unwrap_or(9);

    let mut fields = Vec::new();
    let named: Vec<&str> = arguments.fields.iter().map(|field| field.name.as_str()).collect();
    for input in &sig.inputs {
        let (name, ty) = match input {
            FnArg::Receiver(receiver) => (Ident::new("self", receiver.self_token.span), None),
            FnArg::Typed(typed) => match &*typed.pat {
                Pat::Ident(pattern) => (pattern.ident.clone(), Some(&*typed.ty)),
                _ => continue,
            },
        };
        let text = name.to_string();
        if arguments.skip_all || arguments.skip.contains(&name) || named.contains(&text.as_str()) {
            continue;
        }
        let value = match ty {
            Some(ty) if is_value(ty) => value_of(&name, ty),
            _ => quote!(::pollscope::__private::debug(&#name)),
        };
        fields.push(field(text.trim_start_matches("r#"), value));
    }
    for FieldArgument { name, show, value } in &arguments.fields {
        let Some(value) = value else { continue };
        let value = match show {
            Show::Debug => quote_spanned!(value.span()=> ::pollscope::__private::debug(&#value)),
            Show::Display => quote_spanned!(value.span()=> ::pollscope::__private::display(&#value)),
            Show::Value => quote_spanned!(value.span()=> ::core::convert::From::from(#value)),
        };
        fields.push(field(name, value));
    }

    let open = quote! {
        static __POLLSCOPE_CALLSITE: ::pollscope::__private::CallsiteStatic = ::pollscope::__private::CallsiteStatic {
            name: #name,
            target: #target,
            file: ::core::file!(),
            line: ::core::line!(),
            severity: #severity,
        };
        let __pollscope_span = ::pollscope::__private::DirectSpan::open(&__POLLSCOPE_CALLSITE, &[#(#fields),*]);
    };
    let text = |show: Show| match show {
        Show::Debug => quote!(|value| ::std::format!("{value:?}")),
        _ => quote!(|value| ::std::format!("{value}")),
    };
    let output = match &sig.output {
        syn::ReturnType::Default => quote!(()),
        syn::ReturnType::Type(_, ty) => quote!(#ty),
    };
    let observe = {
        let error = arguments.err.map(|show| {
            let text = text(show);
            quote!(let __pollscope_result = ::pollscope::__private::result_error(__pollscope_result, &__pollscope_span, #text);)
        });
        let returned = arguments.ret.map(|show| {
            let how = if show == Show::Debug { quote!(debug) } else { quote!(display) };
            let record =
                quote!(__pollscope_span.record("return", ::pollscope::__private::#how(__pollscope_value)););
            if arguments.err.is_some() {
                quote!(if let ::core::result::Result::Ok(__pollscope_value) = &__pollscope_result { #record })
            } else {
                quote!({ let __pollscope_value = &__pollscope_result; #record })
            }
        });
        quote!(#error #returned)
    };
    let watched = arguments.err.is_some() || arguments.ret.is_some();
    let body = match (sig.asyncness.is_some(), watched) {
        (true, false) => quote! {
            #open
            ::pollscope::__private::Instrumented::new(async move #block, __pollscope_span).await
        },
        (true, true) => quote! {
            #open
            let (__pollscope_result, __pollscope_span): (#output, _) =
                ::pollscope::__private::Instrumented::new(async move #block, __pollscope_span).observed().await;
            #observe
            __pollscope_result
        },
        (false, false) => quote! {
            #open
            let __pollscope_entered = __pollscope_span.enter();
            #block
        },
        (false, true) => quote! {
            #open
            let __pollscope_result: #output = __pollscope_span.in_scope(move || #block);
            #observe
            __pollscope_result
        },
    };
    Ok(quote! {
        #(#attrs)*
        #[allow(clippy::suspicious_else_formatting)]
        #vis #sig {
            #body
        }
    })
}
