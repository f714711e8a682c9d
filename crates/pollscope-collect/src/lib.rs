//! From shared memory to model events: finds sessions, reads their rings, and converts ticks to time.
//!
//! All bytes come from another process and are taken as hostile: `pollscope-wire` copies them with every bound
//! checked; what does not make sense here is left out.
#![forbid(unsafe_code)]

mod clock;
mod collector;
mod convert;
mod names;
mod session;
mod text;

pub use clock::ClockLine;
pub use collector::{Claim, Collector, Notice, Options, Round, SessionStatus, Start};
pub use session::{Positions, SessionPositions, State};
