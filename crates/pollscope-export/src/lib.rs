//! Out of the model: OTLP by gRPC and HTTP.
//!
//! Finished spans and events go in, requests to a backend come out. The way is: [`to_otlp`] makes messages, [`pipeline`]
//! keeps them in a bounded queue until they are acknowledged, [`client`] sends them, [`config`] says where and
//! how, [`health`] tries it out for `doctor`, [`own`] sends what the agent says of itself. Only this crate knows OTLP's message types; nothing here reads a
//! session, decides what is a span, or writes to disk.
#![forbid(unsafe_code)]

pub mod answer;
pub mod backoff;
pub mod client;
pub mod config;
pub mod health;
pub mod names;
pub mod own;
pub mod pipeline;
mod queue;
pub mod signal;
pub mod stats;
pub mod tls;
pub mod to_otlp;

#[cfg(test)]
#[path = "../tests/support/span.rs"]
mod test_span;

pub use client::Client;
pub use config::{Config, Options};
pub use pipeline::{Batch, Limits, Pipeline, Settled, Settlement};
pub use signal::Signal;
pub use stats::Stats;
