//! The reading half: copies blocks out, throws away what was overtaken, decodes the rest, counts the loss.

use crate::layout::{BLOCK_BYTES, BLOCK_HEADER_WORDS, BLOCK_WORDS, CLASSES, block};
use crate::record::{Raw, class_of, kind};
use crate::sync::{Ordering, fence};
use std::io;

/// Records by class: polls, span ends, others.
pub type Totals = [u64; CLASSES];

/// Blocks copied by one call at most.
const CHUNK_BLOCKS: u64 = 32;

/// Blocks of a ring at most: 64 MiB.
pub const MAX_BLOCKS: u64 = (64 << 20) / 4096;

/// Looks at a moving word before it is taken as it stands.
const TRIES: usize = 8;

/// Positions end here: room is left so that no sum of a position and a block overflows.
const LAST_POSITION: u64 = u64::MAX - 4 * BLOCK_BYTES;

/// How a reader gets at a ring. An implementation copies; it promises neither order nor whole words.
pub trait RingSource {
    /// `head` and what stands beside it.
    fn head(&mut self) -> io::Result<(u64, u64)>;
    /// `resv` and what stands beside it.
    fn resv(&mut self) -> io::Result<(u64, u64)>;
    /// Copies `words.len()` words from the ring's storage, starting at word `offset`.
    fn copy(&mut self, offset: usize, words: &mut [u64]) -> io::Result<()>;
}

/// What one pass over a ring gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Records read, by class.
    pub read: Totals,
    /// Records overwritten before they were read, by class.
    pub lost: Totals,
    /// Bytes overwritten before they were read.
    pub lost_bytes: u64,
    /// Blocks that did not carry their own position: skipped.
    pub damaged: u64,
    /// More stands there to read.
    pub more: bool,
    /// The newest (tick, CLOCK_MONOTONIC) pair among the blocks read.
    pub pair: Option<(u64, u64)>,
}

/// Reads one ring from where it left off.
#[derive(Clone, Debug)]
pub struct RingReader {
    blocks: u64,
    /// Absolute position of the next byte to read.
    next: u64,
    /// Records read or counted lost up to `next`.
    seen: Totals,
    /// Tick of the last record read in the current block.
    tick: u64,
    last_head: u64,
    last_resv: u64,
    buffer: Vec<u64>,
    /// What the model leaves out.
    #[cfg(loom)]
    pub mutant: super::writer::Mutant,
}

impl RingReader {
    /// A reader of a ring of so many blocks, from its very beginning: what was overwritten counts as lost.
    pub fn new(blocks: u64) -> Self {
        RingReader::resume(blocks, 0, [0; CLASSES])
    }

    /// A reader that goes on where an earlier one stopped ([`RingReader::position`]).
    pub fn resume(blocks: u64, next: u64, seen: Totals) -> Self {
        RingReader {
            blocks: blocks.clamp(1, MAX_BLOCKS),
            next: next.min(LAST_POSITION),
            seen,
            tick: 0,
            last_head: next.min(LAST_POSITION),
            last_resv: 0,
            buffer: Vec::new(),
            #[cfg(loom)]
            mutant: Default::default(),
        }
    }

    /// Where it stands: absolute position, and the records read or counted lost before it.
    pub fn position(&self) -> (u64, Totals) {
        (self.next, self.seen)
    }

    fn size(&self) -> u64 {
        self.blocks * BLOCK_BYTES
    }

    /// A moving word, read again while its complement does not fit: `Err` has the last two looks then.
    fn pair(mut read: impl FnMut() -> io::Result<(u64, u64)>) -> io::Result<Result<u64, (u64, u64)>> {
        let mut told = (0, 0);
        for _ in 0..TRIES {
            let (value, complement) = read()?;
            if value == !complement {
                return Ok(Ok(value));
            }
            told = (value, !complement);
        }
        // A writer that was killed between the two stores leaves them apart for ever, but close together.
        let close = told.0.abs_diff(told.1) <= BLOCK_BYTES;
        Ok(if close { Err(told) } else { Err((0, u64::MAX)) })
    }

    /// Reads what is there, one chunk at most, and hands each record to `take` with its block's writer id.
    pub fn read(
        &mut self,
        source: &mut impl RingSource,
        mut take: impl FnMut(u64, Raw<'_>),
    ) -> io::Result<Batch> {
        let mut batch = Batch::default();
        // The smaller of two that differ is a head that was published; of two that are no pair it is 0.
        let head = Self::pair(|| source.head())?.unwrap_or_else(|(a, b)| a.min(b));
        // A head that goes backwards, or of which the block's end is no number, is no ring's: keep the last
        // good one.
        if head <= LAST_POSITION {
            self.last_head = self.last_head.max(head);
        }
        fence(Ordering::Acquire);
        let head = self.last_head;
        if head <= self.next {
            return Ok(batch);
        }
        let end_block = (head - 1) / BLOCK_BYTES;
        let oldest = (end_block + 1).saturating_sub(self.blocks);
        let first = (self.next / BLOCK_BYTES).max(oldest);
        let count = (end_block + 1 - first).min(CHUNK_BLOCKS);
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(count as usize * BLOCK_WORDS, 0);
        for (i, words) in buffer.chunks_exact_mut(BLOCK_WORDS).enumerate() {
            let index = (first + i as u64) % self.blocks;
            source.copy(index as usize * BLOCK_WORDS, words)?;
        }
        #[cfg(loom)]
        let fenced = self.mutant != super::writer::Mutant::ReaderFence;
        #[cfg(not(loom))]
        let fenced = true;
        if fenced {
            fence(Ordering::Acquire);
        }
        let least = self.last_resv.max(end_block.saturating_mul(BLOCK_BYTES) + BLOCK_BYTES);
        let resv = match Self::pair(|| source.resv())? {
            Ok(resv) => {
                self.last_resv = self.last_resv.max(resv);
                self.last_resv
            }
            // The larger of two that are close was published; else all up to two blocks on counts as begun.
            Err((_, u64::MAX)) => least.saturating_add(2 * BLOCK_BYTES),
            Err((a, b)) => least.max(a).max(b),
        };
        let overtaken = resv.saturating_sub(self.size());
        for (i, words) in buffer.chunks_exact(BLOCK_WORDS).enumerate() {
            let position = (first + i as u64) * BLOCK_BYTES;
            if position < overtaken {
                continue;
            }
            self.block(position, words, head, &mut batch, &mut take);
        }
        self.buffer = buffer;
        // Whole chunk overtaken: go on at the oldest block that may still stand.
        let reached = ((first + count) * BLOCK_BYTES).min(head);
        batch.lost_bytes += reached.saturating_sub(self.next);
        self.next = self.next.max(reached);
        batch.more = self.next < head;
        Ok(batch)
    }

    fn block(
        &mut self,
        position: u64,
        words: &[u64],
        head: u64,
        batch: &mut Batch,
        take: &mut impl FnMut(u64, Raw<'_>),
    ) {
        let resumed = self.next > position;
        if words[block::POSITION] != position {
            batch.damaged += 1;
            return;
        }
        let (mut tick, writer) = if BLOCK_HEADER_WORDS > 1 {
            if !resumed {
                batch.lost_bytes += position.saturating_sub(self.next);
                self.catch_up(&words[block::TOTALS..block::TOTALS + CLASSES], batch);
            }
            if words[block::MONOTONIC] != 0 {
                batch.pair = Some((words[block::TICK], words[block::MONOTONIC]));
            }
            (words[block::BASE], words[block::WRITER])
        } else {
            (0, 0)
        };
        let from = if resumed { ((self.next - position) / 8) as usize } else { BLOCK_HEADER_WORDS };
        let end = (((head - position) / 8) as usize).min(BLOCK_WORDS);
        let mut cursor = BLOCK_HEADER_WORDS;
        while cursor < end {
            let first = words[cursor];
            let (kind, len) = (first as u8, (first >> 8) as u8 as usize);
            if kind == kind::PAD || len == 0 || cursor + len > end {
                break;
            }
            let body = &words[cursor + 1..cursor + len];
            tick = tick.wrapping_add(first >> 32);
            if kind == kind::TICK && !body.is_empty() {
                tick = body[0];
            }
            if cursor >= from {
                let class = class_of(kind);
                batch.read[class] += 1;
                self.seen[class] = self.seen[class].saturating_add(1);
                if kind != kind::TICK {
                    let at = position + (cursor * 8) as u64;
                    take(writer, Raw { kind, flags: (first >> 16) as u16, tick, position: at, body });
                }
            }
            cursor += len;
        }
        self.tick = tick;
        self.next = if head >= position + BLOCK_BYTES { position + BLOCK_BYTES } else { head };
    }

    /// What a block's header says was written before it, and was neither read nor counted, is lost.
    fn catch_up(&mut self, totals: &[u64], batch: &mut Batch) {
        for (class, total) in totals.iter().enumerate() {
            let lost = total.saturating_sub(self.seen[class]);
            // A hostile total may be anything: loss is a count to show, never a length to trust.
            batch.lost[class] = batch.lost[class].saturating_add(lost);
            self.seen[class] = self.seen[class].max(*total);
        }
    }
}
