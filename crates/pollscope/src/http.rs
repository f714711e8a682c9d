//! HTTP: W3C trace context in and out, and layers that make a task and a span of each request.

mod client;
mod context;
mod server;
mod state;

#[cfg(feature = "tracing")]
pub(crate) use state::Carried;

pub use client::{ClientLayer, ClientService};
pub use context::{Remote, extract, inject};
pub use server::{ServerLayer, ServerService};
