//! The attribute macros of pollscope. Use them through the crate `pollscope`.
#![forbid(unsafe_code)]

mod instrument;
mod main_fn;
#[cfg(test)]
mod refusals;

use proc_macro::TokenStream;

/// Runs an async `main` on a runtime whose tasks are recorded.
///
/// Takes all that `#[tokio::main]` takes, with the same meaning (`flavor`, `worker_threads`, `start_paused`,
/// `unhandled_panic`, `name`, `crate`), and `service = ".."`, the service's name unless `OTEL_SERVICE_NAME` gives
/// one. Main is a task, and need not be `Send`.
///
/// ```ignore
/// #[pollscope::main(service = "orders", worker_threads = 4)]
/// async fn main() { /* .. */ }
/// ```
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    main_fn::expand(arguments.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Records each call of a function as a span, on functions and methods of every kind, async or not, also where
/// `async_trait` has changed them. It needs no subscriber.
///
/// Takes the arguments of `#[tracing::instrument]`:
///
/// | argument | meaning |
/// | --- | --- |
/// | `name = ".."`, `target = ".."` | instead of the function's name and module |
/// | `level = ..` | the span's level; nothing is filtered by it |
/// | `parent = ..` | a `tracing::Span`, its `Id`, `pollscope::current()`, a caller from `pollscope::http::extract`, `None` for a root; else the current span |
/// | `follows_from = ..` | spans to link, named in the same ways |
/// | `skip(..)`, `skip_all` | parameters that are no fields |
/// | `fields(a, b = value, ?c, %d.e, "f" = 1, {KEY} = 2, ..)` | more fields, and what a parameter of that name gives way to |
/// | `err`, `err(Debug)`, `err(level = ..)` | an `Err` is an event with `exception.message`, and the span's status |
/// | `ret`, `ret(Display)` | what is returned is the attribute `return`; with `err`, what an `Ok` holds |
///
/// ```ignore
/// #[pollscope::instrument(skip(db), fields(order = id), err)]
/// async fn load(id: u64, db: &Db) -> Result<Order, Error> { /* .. */ }
/// ```
#[proc_macro_attribute]
pub fn instrument(arguments: TokenStream, item: TokenStream) -> TokenStream {
    instrument::expand(arguments.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
