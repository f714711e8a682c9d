//! What the macros refuse: what they say, and at which tokens.

use proc_macro2::TokenStream;
use syn::Result;

type Expand = fn(TokenStream, TokenStream) -> Result<TokenStream>;

/// Expands `macro(arguments)` on `item`, which must fail with `message` at the source text `place`.
#[track_caller]
fn refused(expand: Expand, arguments: &str, item: &str, place: &str, message: &str) {
    let parse = |text: &str| -> TokenStream { text.parse().expect("tokens") };
    let Err(error) = expand(parse(arguments), parse(item)) else { panic!("{arguments:?} is taken") };
    assert_eq!(error.to_string(), message);
    assert_eq!(error.span().source_text().as_deref().unwrap_or_default(), place);
}

#[track_caller]
fn instrument(arguments: &str, item: &str, place: &str, message: &str) {
    refused(crate::instrument::expand, arguments, item, place, message);
}

#[track_caller]
fn main_fn(arguments: &str, place: &str, message: &str) {
    refused(crate::main_fn::expand, arguments, "async fn main() {}", place, message);
}

const FUNCTION: &str = "fn f(a: u8, b: u8) -> Result<u8, u8> { Ok(a + b) }";

#[test]
fn unknown_and_repeated_arguments_of_instrument() {
    let known = "`name`, `target`, `level`, `parent`, `follows_from`, `skip`, `skip_all`, `fields`, `err` and `ret` are known";
    instrument("nmae = \"x\"", FUNCTION, "nmae", &format!("unknown argument `nmae`: {known}"));
    instrument("5", FUNCTION, "5", &format!("an argument is expected here: {known}"));
    instrument("err, ret, err(Debug)", FUNCTION, "err", "`err` is given twice: leave one of the two");
    instrument("\"a\", name = \"b\"", FUNCTION, "name", "`name` is given twice: leave one of the two");
    instrument("skip(a), skip_all", FUNCTION, "a", "`skip_all` skips this already: remove `skip`");
}

#[test]
fn arguments_of_instrument_that_do_not_fit_the_function() {
    instrument("skip(c)", FUNCTION, "c", "there is no parameter `c` to skip");
    instrument("skip(a, a)", FUNCTION, "a", "`a` is skipped twice");
    let message = "`err` needs a function that returns a `Result`: this one returns nothing";
    instrument("err", "fn f() {}", "err", message);
    instrument("err", "async fn f() {}", "err", message);
}

#[test]
fn values_of_instrument_that_are_none() {
    let message = "a level is expected here: trace, debug, info, warn, error, or 1 to 5";
    instrument("level = \"loud\"", FUNCTION, "\"loud\"", message);
    instrument("level = 6", FUNCTION, "6", message);
    instrument("err(level = 0)", FUNCTION, "0", message);
    instrument("ret(Binary)", FUNCTION, "Binary", "`Debug`, `Display` or `level = ..` is expected here");
}

#[test]
fn items_that_are_no_functions_to_record() {
    let message = "a `const fn` cannot be recorded: remove `const` or `#[pollscope::instrument]`";
    instrument("", "const fn f() {}", "const", message);
    let needs = "`#[pollscope::instrument]` needs a function with a body: put it on each function";
    instrument("", "struct S;", "struct", &format!("{needs} (expected `fn`)"));
    instrument("", "fn f();", ";", &format!("{needs} (expected curly braces)"));
}

#[test]
fn unknown_and_repeated_arguments_of_main() {
    let known = "`flavor`, `worker_threads`, `start_paused`, `unhandled_panic`, `name`, `crate` and `service` are known";
    main_fn("threads = 4", "threads", &format!("unknown argument `threads`: {known}"));
    main_fn("service", "", &format!("`argument = value` is expected here: {known}"));
    main_fn("service = \"a\", service = \"b\"", "service", "`service` is given twice: leave one of the two");
}

#[test]
fn values_of_main_that_do_not_go_together() {
    let needs = |what: &str, flavor: &str| {
        format!("`{what}` needs the `{flavor}` runtime: add `flavor = \"{flavor}\"`")
    };
    main_fn("flavor = \"current_thread\", worker_threads = 2", "2", &needs("worker_threads", "multi_thread"));
    main_fn("flavor = \"local\", worker_threads = 2", "2", &needs("worker_threads", "multi_thread"));
    main_fn("start_paused = true", "true", &needs("start_paused", "current_thread"));
    main_fn("unhandled_panic = \"ignore\"", "unhandled_panic", &needs("unhandled_panic", "current_thread"));
    main_fn("worker_threads = 0", "0", "`worker_threads` cannot be 0");
    main_fn(
        "flavor = \"single\"",
        "\"single\"",
        "no such runtime flavor `single`: the flavors are `multi_thread`, `current_thread` and `local`",
    );
    main_fn("flavor = 1", "1", "a string literal is expected here");
    main_fn("crate = \"1\"", "\"1\"", "the path of tokio is expected here");
    main_fn(
        "flavor = \"local\", unhandled_panic = \"cry\"",
        "\"cry\"",
        "no such `unhandled_panic`: `cry`; it is `ignore` or `shutdown_runtime`",
    );
}

#[test]
fn functions_that_cannot_be_main() {
    let main =
        |item: &str, place: &str, message: &str| refused(crate::main_fn::expand, "", item, place, message);
    let message = "the `async` keyword is missing: `#[pollscope::main]` runs an `async fn`";
    main("fn main() {}", "fn", message);
    main("async fn main(n: u8) {}", "n: u8", "the main function cannot take arguments");
    main("struct Main;", "struct", "`#[pollscope::main]` needs an `async fn` with a body (expected `fn`)");
}

#[test]
fn attributes_within_mains_body_stay_there() {
    let item = "#[outer] async fn main() { #![inner] }".parse().expect("tokens");
    let tokens = crate::main_fn::expand(TokenStream::new(), item).expect("it is taken");
    let text = tokens.to_string().replace(' ', "");
    assert!(text.starts_with("#[outer]fnmain(){#![inner]letbody="), "{text}");
}

#[test]
fn arguments_of_tokios_main_become_calls_of_its_builder() {
    let expand = |arguments: &str| {
        let item = "async fn main() {}".parse().expect("tokens");
        let tokens = crate::main_fn::expand(arguments.parse().expect("tokens"), item).expect("it is taken");
        tokens.to_string().replace(' ', "")
    };
    let text = expand("worker_threads = 3, name = \"workers\", service = \"till\"");
    assert!(
        text.contains(
            "tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(3).name(\"workers\")"
        ),
        "{text}"
    );
    assert!(text.contains("run_main(") && text.contains("Option::Some(\"till\")"), "{text}");
    let text =
        expand("flavor = \"current_thread\", start_paused = true, unhandled_panic = \"shutdown_runtime\"");
    assert!(text.contains("new_current_thread().enable_all().start_paused(true).unhandled_panic("), "{text}");
    assert!(text.contains("UnhandledPanic::ShutdownRuntime") && text.contains("Option::None"), "{text}");
    let text = expand("flavor = \"local\", crate = \"other::tokio\"");
    assert!(text.contains("run_main_local(other::tokio::runtime::Builder::new_current_thread()"), "{text}");
}
