//! Words that belong together: a sequence beside them is odd while they are written.
//!
//! The reader copies the sequence, then the words, then the sequence again, with fences between. (Two equal
//! whole copies would not do: a word that goes from a value to another and back can mix two states.)

use crate::sync::{AtomicU64, Ordering, fence};
use std::io;

/// Runs `store`, which writes the guarded words with Relaxed stores, with the sequence odd around it. There is
/// one writer.
#[inline]
pub fn write(seq: &AtomicU64, store: impl FnOnce()) {
    let odd = begin(seq);
    store();
    end(seq, odd);
}

/// The first half of [`write()`]: makes the sequence odd and returns it.
#[inline]
pub fn begin(seq: &AtomicU64) -> u64 {
    let odd = seq.load(Ordering::Relaxed) | 1;
    seq.store(odd, Ordering::Relaxed);
    fence(Ordering::Release);
    odd
}

/// The second half of [`write()`].
#[inline]
pub fn end(seq: &AtomicU64, odd: u64) {
    seq.store(odd.wrapping_add(1), Ordering::Release);
}

/// How a copy was got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Copied {
    /// All words are of one moment.
    Whole,
    /// The writer kept moving, or died while writing: each word is right, together they claim nothing.
    Moving,
}

/// Tries before a copy is called moving.
pub const TRIES: usize = 8;

/// Copies guarded words. `seq` and `copy` read the other process's memory; `copy` may go in any order.
pub fn read(
    mut seq: impl FnMut() -> io::Result<u64>,
    mut copy: impl FnMut() -> io::Result<()>,
) -> io::Result<Copied> {
    for _ in 0..TRIES {
        let before = seq()?;
        fence(Ordering::Acquire);
        copy()?;
        fence(Ordering::Acquire);
        if before & 1 == 0 && seq()? == before {
            return Ok(Copied::Whole);
        }
    }
    Ok(Copied::Moving)
}
