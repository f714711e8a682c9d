//! The agent's half of a session: its files, opened carefully and read by `pread`.
//!
//! Nothing here trusts what it reads. Every number is checked against the file it points into before it is
//! used; what does not fit is an error or is left out, never a panic, an endless loop or a huge allocation.

mod files;
mod life;
mod rows;
mod swallow;
mod tables;

pub use files::{Header, OpenError, RingPlace, SectionPlace, SessionFiles};
pub use life::{Life, life, looks_dead, remove};
pub use rows::RowSum;
pub use swallow::{Swallowed, swallow};
pub use tables::{Callsite, ChunkPlace, Info, Key, ThreadSlot};
