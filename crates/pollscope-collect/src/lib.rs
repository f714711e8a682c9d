//! From shared memory to model events: finds sessions, reads their rings, and converts ticks to time.
//!
//! All bytes come from another process and are taken as hostile: `pollscope-wire` copies them with every bound
//! checked; what does not make sense here is left out.
#![forbid(unsafe_code)]

mod clock;
mod collector;
mod convert;
mod exported;
mod names;
mod session;
mod summary;
mod text;
mod watch;

pub use clock::ClockLine;
pub use collector::{Claim, Collector, Notice, Options, Rings, Round, SessionStatus, Start};
pub use session::{Positions, SessionPositions, State};
pub use summary::{Summary, read_everything};
pub use watch::ThreadNow;
