//! What happened in the observed services, as pure data and pure functions.
//!
//! Events (facts read from shared memory, already converted to nanoseconds) go in; snapshots, finished spans
//! and findings come out. There is no I/O here, no clock, no runtime, and no serialization of core types.
//! Facts of different threads may come in any order: see [`event`].
#![forbid(unsafe_code)]

pub mod event;
pub mod groups;
mod held;
pub mod hist;
mod limits;
mod model;
pub mod polls;
pub mod render;
pub mod session;
pub mod span;
pub mod spans;
mod special;
pub mod summary;
pub mod tasks;
pub mod text;
pub mod threads;
pub mod time;
mod top;
pub mod traces;
pub mod typename;
pub mod view;

pub use event::{Event, SessionId, TaskId};
pub use limits::Limits;
pub use model::Model;
pub use session::Session;
pub use time::{Nanos, UnixNanos};
