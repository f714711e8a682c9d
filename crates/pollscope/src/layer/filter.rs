//! `POLLSCOPE_FILTER`: which spans and events are recorded.
//!
//! It is `EnvFilter`'s syntax without what stands in brackets: `target=level`, `target`, `level`. All of it comes with
//! the feature `env-filter`, which is none by default. Cargo would turn on that feature of `tracing-subscriber` for the
//! whole service, and `fmt::init()` then heeds `RUST_LOG`: where that is not set, it shows errors alone.

use crate::state::say;
use std::sync::Once;

#[cfg(feature = "env-filter")]
pub(super) type Filter = tracing_subscriber::EnvFilter;
#[cfg(not(feature = "env-filter"))]
pub(super) type Filter = tracing_subscriber::filter::Targets;

/// What is recorded where `POLLSCOPE_FILTER` says nothing: the spans of the service, not of the libraries
/// below it.
const DEFAULT: &str = "info,tower_http=debug,h2=off,hyper=off,hyper_util=off,tonic=off,tower=off,rustls=off,tokio=off,runtime=off";

/// The filter that the environment asks for.
pub(super) fn from_env() -> Filter {
    let said = std::env::var("POLLSCOPE_FILTER").ok();
    let text = said.as_deref().map(str::trim).filter(|text| !text.is_empty()).unwrap_or(DEFAULT);
    parse(text).unwrap_or_else(|error| {
        static SAID: Once = Once::new();
        SAID.call_once(|| {
            let wrong = directives(text).find(|one| parse(one).is_err()).unwrap_or(text);
            say(format_args!(
                "POLLSCOPE_FILTER has {wrong:?}, which is no directive ({error}): {DEFAULT:?} is used"
            ));
        });
        parse(DEFAULT).unwrap_or_default()
    })
}

#[cfg(feature = "env-filter")]
fn parse(text: &str) -> Result<Filter, String> {
    Filter::try_new(text).map_err(|error| error.to_string())
}

#[cfg(not(feature = "env-filter"))]
fn parse(text: &str) -> Result<Filter, String> {
    if text.contains(['[', '{']) {
        // It would be taken for a part of the target's name.
        return Err("spans and fields need pollscope's feature `env-filter`".to_owned());
    }
    text.parse().map_err(|error: tracing_subscriber::filter::ParseError| error.to_string())
}

/// The directives of a filter: what stands between commas that are in no brackets.
fn directives(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    text.split(move |c| {
        depth += match c {
            '[' | '{' => 1,
            ']' | '}' => -1,
            _ => 0,
        };
        depth == 0 && c == ','
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_a_filter() {
        assert!(parse(DEFAULT).is_ok());
        assert!(directives(DEFAULT).all(|one| parse(one).is_ok()));
    }

    #[test]
    fn brackets_are_told_from_what_is_wrong() {
        assert_eq!(parse("shop[order]=debug").is_ok(), cfg!(feature = "env-filter"));
        assert!(parse("shop=loud").is_err());
        assert_eq!(directives("a[b{c,d}]=info,e").collect::<Vec<_>>(), ["a[b{c,d}]=info", "e"]);
    }
}
