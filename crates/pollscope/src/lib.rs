//! What a service links: its tasks, polls, wakes, spans and thread workers are recorded into shared memory,
//! where the agent `pollscope` reads them from outside.
//!
//! ```no_run
//! #[pollscope::main(service = "hello")]
//! async fn main() {
//!     pollscope::spawn(async { println!("recorded") }).await.unwrap();
//! }
//! ```
//!
//! Nothing here can make the service fail: without a place to record, every function is its plain `tokio`
//! counterpart; so it is on all systems but Linux and macOS. The environment variables are listed at [`Config`].
#![cfg_attr(docsrs, feature(doc_cfg))]

mod config;
mod recorder;
mod runtime;
mod span;
mod state;
pub mod task;
pub mod thread;

#[cfg(feature = "hyper")]
mod executor;
#[cfg(feature = "tower")]
pub mod http;
#[cfg(feature = "tracing")]
mod layer;
#[cfg(feature = "tracing")]
mod otel;
#[cfg(feature = "tracing")]
mod scoped;

pub use config::{Config, Spans};
#[cfg(feature = "hyper")]
pub use executor::Executor;
#[cfg(feature = "tracing")]
pub use layer::{Layer, layer};
#[cfg(feature = "tracing")]
pub use otel::{SpanContext, SpanHandle};
#[cfg(feature = "macros")]
pub use pollscope_macros::{instrument, main};
pub use runtime::{RuntimeBuilder, runtime};
pub use span::{Current, current};
pub use state::Guard;
pub use task::{FutureExt, JoinSet, spawn, spawn_blocking, spawn_local, spawn_named};
pub use thread::job;

/// Opens the session with what the environment says. It is closed when the guard is dropped.
pub fn init() -> Guard {
    Config::from_env().init()
}

/// What the macros expand to; not for use by hand.
#[doc(hidden)]
pub mod __private {
    #[cfg(feature = "tracing")]
    pub use crate::layer::severity;
    pub use crate::runtime::{run_main, run_main_local};
    pub use crate::span::attribute::{FieldValue, Value};
    pub use crate::span::direct::{
        CallsiteStatic, DirectSpan, Fallible, Instrumented, Observed, debug, display, result_error,
        text_by_debug, text_by_display,
    };
    pub use crate::span::{Parent, SpanRef};
    pub use crate::state::is_recording;
    pub use tokio;
}
