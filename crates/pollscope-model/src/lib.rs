//! What happened in the observed services, as pure data and pure functions.
//!
//! Events (facts read from shared memory, already converted to nanoseconds) go in; snapshots, finished spans
//! and findings come out. There is no I/O here, no clock, no runtime, and no serialization of core types.
//! Facts of different threads may come in any order: see [`event`].
#![forbid(unsafe_code)]

pub mod event;
pub mod hist;
mod limits;
pub mod span;
pub mod time;
#[allow(dead_code, reason = "the lists that use all of it follow")]
mod top;
pub mod typename;

pub use event::{Event, SessionId, TaskId};
pub use limits::Limits;
pub use time::{Nanos, UnixNanos};
