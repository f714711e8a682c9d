//! The writing half: a few stores a record, all of its own state private.

use crate::layout::{BLOCK_BYTES, BLOCK_HEADER_WORDS, BLOCK_WORDS, CLASSES, block, head};
use crate::record::{class_of, header, kind};
use crate::sync::{AtomicU64, Ordering, fence};

/// Where a ring's words are.
#[derive(Clone, Copy)]
pub struct RingSpec<'a> {
    /// Its storage: whole blocks.
    pub words: &'a [AtomicU64],
    /// Its moving words: [`head`].
    pub heads: &'a [AtomicU64],
}

/// The moving words of a ring.
type Heads = [AtomicU64; head::TOTALS + CLASSES];

/// Writes records to one ring. Only one exists for a ring at a time.
pub struct RingWriter<'a> {
    words: &'a [AtomicU64],
    heads: &'a Heads,
    blocks: u64,
    /// The block being written: its words, and the cursor in it.
    block: &'a [AtomicU64],
    cursor: usize,
    /// Absolute position of that block, in bytes.
    position: u64,
    tick: u64,
    writer: u64,
    totals: [u64; CLASSES],
    /// Gives (tick, CLOCK_MONOTONIC) for a block's header.
    pair: fn() -> (u64, u64),
    /// What the model leaves out.
    #[cfg(loom)]
    pub mutant: Mutant,
}

/// What a model leaves out, to see that it is missed.
#[cfg(loom)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutant {
    /// Nothing.
    #[default]
    None,
    /// The fence after `resv`.
    WriterFence,
    /// The reader's second fence.
    ReaderFence,
    /// The Release of `head`.
    ReleaseStore,
}

impl<'a> RingWriter<'a> {
    /// Takes a ring over at the position where its last owner left it (0 for a new one) and begins a new
    /// block. `position` and `totals` are what the last owner's [`RingWriter::leave`] gave: shared memory is
    /// never asked.
    pub fn enter(
        spec: RingSpec<'a>,
        position: u64,
        totals: [u64; CLASSES],
        writer: u64,
        pair: fn() -> (u64, u64),
    ) -> Self {
        let blocks = (spec.words.len() / BLOCK_WORDS) as u64;
        assert!(blocks >= 2, "a ring has at least two blocks");
        let heads: Option<&Heads> = spec.heads.first_chunk();
        let heads = heads.expect("a ring has all its moving words");
        // The last owner's block is closed like any other: behind its last record stand words of an older lap.
        let last = position.next_multiple_of(BLOCK_BYTES).wrapping_sub(BLOCK_BYTES);
        let start = (last / BLOCK_BYTES % blocks) as usize * BLOCK_WORDS;
        let mut ring = RingWriter {
            words: spec.words,
            heads,
            blocks,
            block: &spec.words[start..start + BLOCK_WORDS],
            cursor: (position.wrapping_sub(last) / 8) as usize,
            position: last,
            tick: 0,
            writer,
            totals,
            pair,
            #[cfg(loom)]
            mutant: Mutant::None,
        };
        ring.enter_block(None);
        ring
    }

    /// Where the next owner goes on.
    pub fn leave(&self) -> (u64, [u64; CLASSES]) {
        (self.head(), self.totals)
    }

    /// Absolute end of the last record.
    pub fn head(&self) -> u64 {
        self.position.wrapping_add((self.cursor * 8) as u64)
    }

    /// Records written so far, by class.
    pub fn totals(&self) -> [u64; CLASSES] {
        self.totals
    }

    /// Writes a record of a fixed size: the way of the hot path, all of it inlined.
    #[inline(always)]
    pub fn write<const N: usize>(&mut self, kind: u8, flags: u16, tick: u64, body: &[u64; N]) {
        const { assert!(N < u8::MAX as usize) };
        let dtick = tick.saturating_sub(self.tick);
        let Some(room) =
            self.block.get(self.cursor..self.cursor + N + 1).filter(|_| dtick <= u32::MAX as u64)
        else {
            return self.write_slice(kind, flags, tick, body);
        };
        room[0].store(header(kind, N as u8 + 1, flags, dtick as u32), Ordering::Relaxed);
        for (cell, word) in room[1..].iter().zip(body) {
            cell.store(*word, Ordering::Relaxed);
        }
        self.written(kind, dtick, N + 1);
    }

    /// Writes a record: of the body the first 254 words, which its length can tell.
    #[inline(never)]
    pub fn write_slice(&mut self, kind: u8, flags: u16, tick: u64, body: &[u64]) {
        let body = &body[..body.len().min(u8::MAX as usize - 1)];
        let words = body.len() + 1;
        let mut dtick = tick.saturating_sub(self.tick);
        if self.cursor + words > BLOCK_WORDS || dtick > u32::MAX as u64 {
            self.make_room(tick, words);
            dtick = tick.saturating_sub(self.tick).min(u32::MAX as u64);
        }
        let block = self.block;
        let Some(room) = block.get(self.cursor..self.cursor + words) else { return };
        room[0].store(header(kind, words as u8, flags, dtick as u32), Ordering::Relaxed);
        for (cell, word) in room[1..].iter().zip(body) {
            cell.store(*word, Ordering::Relaxed);
        }
        self.written(kind, dtick, words);
    }

    #[inline(always)]
    fn written(&mut self, kind: u8, dtick: u64, words: usize) {
        self.tick = self.tick.wrapping_add(dtick);
        self.cursor += words;
        let class = class_of(kind);
        self.totals[class] += 1;
        self.heads[head::TOTALS + class].store(self.totals[class], Ordering::Relaxed);
        self.publish();
    }

    #[inline]
    fn publish(&self) {
        let end = self.head();
        #[cfg(loom)]
        if self.mutant == Mutant::ReleaseStore {
            self.heads[head::HEAD].store(end, Ordering::Relaxed);
            self.heads[head::HEAD_NOT].store(!end, Ordering::Relaxed);
            return;
        }
        self.heads[head::HEAD].store(end, Ordering::Release);
        self.heads[head::HEAD_NOT].store(!end, Ordering::Relaxed);
    }

    #[cold]
    #[inline(never)]
    fn make_room(&mut self, tick: u64, words: usize) {
        if self.cursor + words > BLOCK_WORDS {
            self.enter_block(Some(tick));
        }
        if tick.saturating_sub(self.tick) <= u32::MAX as u64 {
            return;
        }
        if self.cursor + 2 + words > BLOCK_WORDS {
            self.enter_block(Some(tick));
            if tick.saturating_sub(self.tick) <= u32::MAX as u64 {
                return;
            }
        }
        self.block[self.cursor].store(header(kind::TICK, 2, 0, 0), Ordering::Relaxed);
        self.block[self.cursor + 1].store(tick, Ordering::Relaxed);
        self.cursor += 2;
        self.tick = tick;
        let class = class_of(kind::TICK);
        self.totals[class] += 1;
        self.heads[head::TOTALS + class].store(self.totals[class], Ordering::Relaxed);
        self.publish();
    }

    /// Closes the block with a PAD and begins the next one, whose first record is of tick `base`.
    fn enter_block(&mut self, base: Option<u64>) {
        if self.cursor < BLOCK_WORDS {
            self.block[self.cursor].store(0, Ordering::Relaxed);
        }
        self.position = self.position.wrapping_add(BLOCK_BYTES);
        let resv = self.position.wrapping_add(BLOCK_BYTES);
        self.heads[head::RESV].store(resv, Ordering::Relaxed);
        self.heads[head::RESV_NOT].store(!resv, Ordering::Relaxed);
        #[cfg(loom)]
        let fenced = self.mutant != Mutant::WriterFence;
        #[cfg(not(loom))]
        let fenced = true;
        if fenced {
            fence(Ordering::Release);
        }
        let start = (self.position / BLOCK_BYTES % self.blocks) as usize * BLOCK_WORDS;
        let words = self.words;
        self.block = &words[start..start + BLOCK_WORDS];
        let (tick, monotonic) = (self.pair)();
        let base = base.unwrap_or(tick);
        self.block[block::POSITION].store(self.position, Ordering::Relaxed);
        if BLOCK_HEADER_WORDS > 1 {
            self.block[block::TICK].store(tick, Ordering::Relaxed);
            self.block[block::MONOTONIC].store(monotonic, Ordering::Relaxed);
            self.block[block::WRITER].store(self.writer, Ordering::Relaxed);
            self.block[block::BASE].store(base, Ordering::Relaxed);
            for (i, total) in self.totals.iter().enumerate() {
                self.block[block::TOTALS + i].store(*total, Ordering::Relaxed);
            }
        }
        self.tick = base;
        self.cursor = BLOCK_HEADER_WORDS;
        self.publish();
    }
}
