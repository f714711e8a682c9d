//! A pool of numbered slots (tasks or spans) that grows a chunk at a time. Threads keep free numbers of their
//! own and come here in batches.

use crate::ids::MAX_SLOTS;
use crate::layout::ChunkKind;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, OnceLock, PoisonError};

struct Free {
    numbers: Vec<u32>,
    /// Slots handed out or free: all numbers below it.
    made: u32,
}

/// Slots of one kind.
pub struct Pool {
    kind: ChunkKind,
    limit: u32,
    chunks: Box<[OnceLock<&'static [AtomicU64]>]>,
    free: Mutex<Free>,
}

impl Pool {
    pub(super) fn new(kind: ChunkKind, limit: u32) -> Pool {
        // The last number stands for "no slot".
        let limit = limit.min(MAX_SLOTS - 1);
        let chunks = (limit as usize).div_ceil(kind.per_chunk());
        Pool {
            kind,
            limit,
            chunks: (0..chunks).map(|_| OnceLock::new()).collect(),
            free: Mutex::new(Free { numbers: Vec::new(), made: 0 }),
        }
    }

    /// Slots at most.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// The words of a slot, if its chunk has been made.
    #[inline]
    pub fn words(&self, slot: u32) -> Option<&'static [AtomicU64]> {
        let per = self.kind.per_chunk();
        let words = self.kind.words();
        let chunk = *self.chunks.get(slot as usize / per)?.get()?;
        let at = slot as usize % per * words;
        chunk.get(at..at + words)
    }

    pub(super) fn take(
        &self,
        want: usize,
        out: &mut Vec<u32>,
        grow: impl Fn(ChunkKind, u32) -> Option<&'static [AtomicU64]>,
    ) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let from = free.numbers.len().saturating_sub(want);
        out.extend(free.numbers.drain(from..));
        let per = self.kind.per_chunk() as u32;
        while out.len() < want && free.made < self.limit {
            let chunk = &self.chunks[(free.made / per) as usize];
            if chunk.get().is_none() {
                let Some(words) = grow(self.kind, free.made / per * per) else { return };
                let _ = chunk.set(words);
            }
            out.push(free.made);
            free.made += 1;
        }
    }

    /// Gives numbers back.
    pub fn give(&self, slots: &[u32]) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).numbers.extend_from_slice(slots);
    }
}
