//! Type names as people say them: paths cut to their last names, wrappers without meaning taken off.
//!
//! The compiler calls the future of `async fn shop::orders::reconcile` `shop::orders::reconcile::{{closure}}`, and
//! an async block within it `..::reconcile::{{closure}}::{{closure}}`. A block directly in a plain `fn` has the
//! first form too: nothing in the name tells the two apart, so both are called by the function.

/// The longest shortened name in characters; what is longer ends in `…`.
pub const LONGEST: usize = 60;

/// Wrappers that only say where the future is kept.
const TRANSPARENT: [&str; 4] = ["Pin", "Box", "Instrumented", "WithDispatch"];

/// Shortens a future's type.
///
/// ```
/// use pollscope_model::typename::shorten;
/// assert_eq!(shorten("shop::orders::reconcile::{{closure}}"), "orders::reconcile");
/// assert_eq!(shorten("shop::orders::reconcile::{{closure}}::{{closure}}"), "orders::reconcile::{async block}");
/// assert_eq!(shorten("core::pin::Pin<alloc::boxed::Box<shop::main::{{closure}}>>"), "shop::main");
/// ```
pub fn shorten(type_name: &str) -> String {
    // A hostile name may be long and deep; what is beyond this would be cut anyway.
    let cut = type_name.floor_char_boundary(4_096);
    let mut text = paths(&type_name[..cut]);
    while let Some(inner) = unwrapped(&text) {
        text = inner.to_owned();
    }
    if text.chars().count() > LONGEST {
        text = text.chars().take(LONGEST - 1).collect();
        text.push('…');
    }
    text
}

/// Each path within the name, shortened; all between them as it stands.
fn paths(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while !rest.is_empty() {
        let length = rest.find(|c: char| !in_path(c)).unwrap_or(rest.len());
        if length > 0 {
            out.push_str(&path(&rest[..length]));
            rest = &rest[length..];
        } else if let Some(c) = rest.chars().next() {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

fn in_path(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | ':' | '{' | '}' | '#')
}

/// One path: a closure by the function it stands in and that one's module, anything else by its last name.
fn path(path: &str) -> String {
    let mut names: Vec<&str> = path.split("::").collect();
    let mut closures = 0;
    while names.len() > 1 && names.last().is_some_and(|last| is_closure(last)) {
        names.pop();
        closures += 1;
    }
    // Closures further up belong to functions in functions; only names are worth the room.
    let trailing = path.ends_with("::");
    names.retain(|name| !name.is_empty() && !is_closure(name));
    let keep = if closures > 0 { 2 } else { 1 };
    let mut short = names[names.len().saturating_sub(keep)..].join("::");
    for _ in 1..closures {
        short.push_str("::{async block}");
    }
    if short.is_empty() {
        short = path.replace("{{closure}}", "{async block}");
    } else if trailing {
        short.push_str("::");
    }
    short
}

fn is_closure(name: &str) -> bool {
    name.starts_with("{{closure") || name.starts_with("{closure") || name.starts_with("{async")
}

/// The inside of a wrapper that encloses the whole name.
fn unwrapped(text: &str) -> Option<&str> {
    let (wrapper, rest) = text.split_once('<')?;
    let inner = rest.strip_suffix('>')?;
    let mut depth = 0i32;
    for c in inner.chars() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            ',' if depth == 0 => return None,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    TRANSPARENT.contains(&wrapper).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cases: &[(&str, &str)]) {
        for (long, short) in cases {
            assert_eq!(shorten(long), *short, "{long}");
        }
    }

    #[test]
    fn futures_are_called_by_their_function() {
        check(&[
            ("shop::main::{{closure}}", "shop::main"),
            ("shop::orders::reconcile::{{closure}}", "orders::reconcile"),
            ("shop::orders::reconcile::{{closure}}::{{closure}}", "orders::reconcile::{async block}"),
            ("main::{{closure}}", "main"),
            ("{{closure}}", "{async block}"),
        ]);
    }

    #[test]
    fn types_lose_their_paths_and_keep_their_arguments() {
        check(&[
            ("tokio::time::sleep::Sleep", "Sleep"),
            (
                "hyper_util::server::conn::auto::UpgradeableConnection<hyper_util::rt::tokio::TokioIo<tokio::net::tcp::stream::TcpStream>, axum::routing::Router>",
                "UpgradeableConnection<TokioIo<TcpStream>, Router>",
            ),
            ("tokio::future::maybe_done::MaybeDone<shop::run::{{closure}}>", "MaybeDone<shop::run>"),
            ("()", "()"),
            ("", ""),
        ]);
    }

    #[test]
    fn wrappers_without_meaning_are_taken_off() {
        check(&[
            (
                "core::pin::Pin<alloc::boxed::Box<dyn core::future::future::Future<Output = ()> + core::marker::Send>>",
                "dyn Future<Output = ()> + Send",
            ),
            ("tracing::instrument::Instrumented<shop::orders::place::{{closure}}>", "orders::place"),
            ("alloc::boxed::Box<a::B, a::C>", "Box<B, C>"),
        ]);
    }

    #[test]
    fn a_long_name_is_cut_and_says_so() {
        let short = shorten(&"x".repeat(10_000));
        assert_eq!(short.chars().count(), LONGEST);
        assert!(short.ends_with('…'));
        let deep = "Pin<".repeat(2_000) + &">".repeat(2_000);
        assert!(shorten(&deep).chars().count() <= LONGEST);
    }
}
