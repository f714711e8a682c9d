//! The attribute macros of pollscope. Use them through the crate `pollscope`.
#![forbid(unsafe_code)]

mod instrument;
mod main_fn;

use proc_macro::TokenStream;

/// Runs an async `main` on a runtime whose tasks are recorded.
///
/// Takes all that `#[tokio::main]` takes (`flavor`, `worker_threads`, `start_paused`, `unhandled_panic`,
/// `name`, ..), and `service = "name"`.
///
/// ```ignore
/// #[pollscope::main(service = "orders", worker_threads = 4)]
/// async fn main() { /* .. */ }
/// ```
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    main_fn::expand(arguments.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Records each call of a function as a span.
///
/// Takes the arguments of `#[tracing::instrument]`: `name`, `target`, `level`, `skip(..)`, `skip_all`,
/// `fields(..)`, `err`, `err(Debug)`, `ret`, `ret(Debug)`. It needs no subscriber.
///
/// ```ignore
/// #[pollscope::instrument(skip(db), fields(order = id), err)]
/// async fn load(id: u64, db: &Db) -> Result<Order, Error> { /* .. */ }
/// ```
#[proc_macro_attribute]
pub fn instrument(arguments: TokenStream, item: TokenStream) -> TokenStream {
    instrument::expand(arguments.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
