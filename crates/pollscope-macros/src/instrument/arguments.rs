//! The arguments of `#[instrument]`, as `tracing` takes them.

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{
    Error, Expr, Ident, LitInt, LitStr, Path, Result, ReturnType, Signature, Token, braced, parenthesized,
};

const KNOWN: &str = "`name`, `target`, `level`, `parent`, `follows_from`, `skip`, `skip_all`, `fields`, `err` and `ret` are known";

#[derive(Default)]
pub(super) struct Arguments {
    pub name: Option<Expr>,
    pub target: Option<Expr>,
    pub level: Option<Level>,
    pub parent: Option<Expr>,
    pub follows_from: Option<Expr>,
    pub skip: Vec<Ident>,
    pub skip_all: bool,
    pub fields: Vec<FieldArgument>,
    pub err: Option<Shown>,
    pub ret: Option<Shown>,
}

pub(super) enum Level {
    /// OpenTelemetry's severity number.
    Number(u8),
    /// A constant of type `tracing::Level`.
    Path(Path),
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Show {
    Display,
    Debug,
    /// A value as it is.
    Value,
}

/// How `err` and `ret` show their value.
pub(super) struct Shown {
    pub show: Show,
    pub level: Option<Level>,
    pub span: Span,
}

pub(super) enum Name {
    Text(String),
    /// `{CONSTANT}`.
    Expr(Box<Expr>),
}

pub(super) struct FieldArgument {
    pub name: Name,
    pub show: Show,
    /// Without one the field is announced only, and may be recorded later.
    pub value: Option<Expr>,
}

impl FieldArgument {
    /// The name by which a parameter of the same name gives way.
    pub fn simple_name(&self) -> Option<String> {
        match &self.name {
            Name::Text(text) => Some(text.clone()),
            Name::Expr(_) => None,
        }
    }
}

impl Parse for FieldArgument {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let sigil = show(input)?;
        let name = if input.peek(LitStr) {
            Name::Text(input.parse::<LitStr>()?.value())
        } else if input.peek(syn::token::Brace) {
            let inner;
            braced!(inner in input);
            Name::Expr(Box::new(inner.parse()?))
        } else {
            let parts =
                Punctuated::<Ident, Token![.]>::parse_separated_nonempty_with(input, Ident::parse_any)?;
            Name::Text(parts.iter().map(|part| part.unraw().to_string()).collect::<Vec<_>>().join("."))
        };
        if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            let show = match show(input)? {
                Show::Value => sigil,
                said => said,
            };
            return Ok(FieldArgument { name, show, value: Some(input.parse()?) });
        }
        let value = match (&name, sigil) {
            (_, Show::Value) => None,
            (Name::Text(text), _) => Some(syn::parse_str(text)?),
            (Name::Expr(expr), _) => Some((**expr).clone()),
        };
        Ok(FieldArgument { name, show: sigil, value })
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
        let mut seen = Vec::new();
        while !input.is_empty() {
            let (key, span) = if input.peek(LitStr) {
                let name: LitStr = input.parse()?;
                let span = name.span();
                arguments.name = Some(syn::parse_quote!(#name));
                ("name".to_owned(), span)
            } else {
                let key: Ident = input.parse().map_err(|error| {
                    Error::new(error.span(), format!("an argument is expected here: {KNOWN}"))
                })?;
                arguments.argument(&key, input)?;
                (key.to_string(), key.span())
            };
            if seen.contains(&key) {
                return Err(Error::new(span, format!("`{key}` is given twice: leave one of the two")));
            }
            seen.push(key);
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        if arguments.skip_all && !arguments.skip.is_empty() {
            return Err(Error::new_spanned(
                &arguments.skip[0],
                "`skip_all` skips this already: remove `skip`",
            ));
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
            "parent" => self.parent = Some(value(input)?),
            "follows_from" => self.follows_from = Some(value(input)?),
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
            "err" => self.err = Some(shown(key, input, Show::Display)?),
            "ret" => self.ret = Some(shown(key, input, Show::Debug)?),
            other => return Err(Error::new_spanned(key, format!("unknown argument `{other}`: {KNOWN}"))),
        }
        Ok(())
    }

    /// Holds the arguments against the function that they are for.
    pub fn check(&self, sig: &Signature) -> Result<()> {
        let names = super::parameters(&sig.inputs);
        for (n, skipped) in self.skip.iter().enumerate() {
            if !names.iter().any(|(name, _)| name == skipped) {
                let message = format!("there is no parameter `{skipped}` to skip");
                return Err(Error::new_spanned(skipped, message));
            }
            if self.skip[..n].contains(skipped) {
                return Err(Error::new_spanned(skipped, format!("`{skipped}` is skipped twice")));
            }
        }
        if let (Some(err), ReturnType::Default) = (&self.err, &sig.output) {
            let message = "`err` needs a function that returns a `Result`: this one returns nothing";
            return Err(Error::new(err.span, message));
        }
        Ok(())
    }
}

/// `err`, `err(Debug)`, `ret(Display)`, `err(level = "warn", Debug)`.
fn shown(key: &Ident, input: ParseStream<'_>, default: Show) -> Result<Shown> {
    let mut shown = Shown { show: default, level: None, span: key.span() };
    if !input.peek(syn::token::Paren) {
        return Ok(shown);
    }
    let list;
    parenthesized!(list in input);
    while !list.is_empty() {
        let word: Ident = list.parse()?;
        match word.to_string().as_str() {
            "Debug" => shown.show = Show::Debug,
            "Display" => shown.show = Show::Display,
            "level" => {
                list.parse::<Token![=]>()?;
                shown.level = Some(level(&list)?);
            }
            _ => return Err(Error::new_spanned(word, "`Debug`, `Display` or `level = ..` is expected here")),
        }
        if !list.is_empty() {
            list.parse::<Token![,]>()?;
        }
    }
    Ok(shown)
}

/// A level as tracing takes it: `"info"`, `3`, `Level::INFO`, `A_CONSTANT`.
fn level(input: ParseStream<'_>) -> Result<Level> {
    let (word, span) = if input.peek(LitStr) {
        let text: LitStr = input.parse()?;
        (text.value(), text.span())
    } else if input.peek(LitInt) {
        let number: LitInt = input.parse()?;
        (number.base10_digits().to_owned(), number.span())
    } else {
        let path: Path = input.parse()?;
        let last = path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        return Ok(number(&last).map_or(Level::Path(path), Level::Number));
    };
    number(&word).map(Level::Number).ok_or_else(|| {
        Error::new(span, "a level is expected here: trace, debug, info, warn, error, or 1 to 5")
    })
}

fn number(word: &str) -> Option<u8> {
    match word.to_ascii_lowercase().as_str() {
        "trace" | "1" => Some(1),
        "debug" | "2" => Some(5),
        "info" | "3" => Some(9),
        "warn" | "4" => Some(13),
        "error" | "5" => Some(17),
        _ => None,
    }
}
