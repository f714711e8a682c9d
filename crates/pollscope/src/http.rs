//! HTTP: W3C trace context in and out, and layers that make a task and a span of each request.
//!
//! With tower, [`ServerLayer`] and [`ClientLayer`] do all of it. By hand, [`extract`] reads what a caller sent,
//! and [`inject`] writes the current span into a request that goes out:
//!
//! ```
//! # #[cfg(feature = "tracing")] {
//! use tracing::{Instrument, info_span};
//!
//! async fn handle(request: http::Request<()>) {
//!     let span = info_span!("handle", otel.kind = "server");
//!     if let Some(caller) = pollscope::http::extract(request.headers()) {
//!         caller.attach(&span);
//!     }
//!     let work = async {
//!         let mut onward = http::Request::get("http://127.0.0.1:3000/").body(()).unwrap();
//!         pollscope::http::inject(onward.headers_mut());
//!         // .. and sends it.
//!     };
//!     work.instrument(span).await
//! }
//! # }
//! ```

#[cfg(feature = "tracing")]
mod around;
#[cfg(not(feature = "tracing"))]
#[path = "http/no_around.rs"]
mod around;
mod body;
mod client;
mod context;
mod grpc;
#[cfg(feature = "tower-http")]
mod make_span;
mod names;
mod server;
mod span;
mod state;

#[cfg(feature = "tracing")]
pub(crate) use state::Carried;

pub use body::ResponseBody;
pub use client::{ClientLayer, ClientService};
pub use context::{Remote, extract, inject};
#[cfg(feature = "tower-http")]
pub use make_span::MakeSpan;
pub use server::{ServerLayer, ServerService};
