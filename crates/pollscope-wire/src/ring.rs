//! A ring: overwrite-oldest, made of blocks, one writer, readers in other processes.
//!
//! The writer stores words Relaxed, then `head` with Release; when it enters a block it first publishes
//! `resv`, the end of that block, followed by a Release fence. The reader loads `head`, Acquire fence, copies,
//! Acquire fence, loads `resv`, and throws away the blocks that `resv - size` has overtaken. A model of exactly
//! this is among the tests (`tests/loom.rs`), and removing any one of the three orderings fails it.

mod reader;
mod writer;

pub use reader::{Batch, MAX_BLOCKS, RingReader, RingSource, Totals};
#[cfg(loom)]
pub use writer::Mutant;
pub use writer::{RingSpec, RingWriter};
