//! A model of the ring and of the sequences: the real writer and reader over loom's atomics, every
//! interleaving within a bound on preemptions (`LOOM_MAX_PREEMPTIONS`), and every value that a Relaxed load may return.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p pollscope-wire --release --test loom`
//!
//! Under `cfg(loom)` a block has a header of one word and room for one record of two words. The source copies
//! a block's words from the last to the first, one at a time. It reads `head` and `resv` as one word and makes
//! the complement itself: the complement only tells a torn word, and an atomic never tears.
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use pollscope_wire::layout::{BLOCK_WORDS, head};
use pollscope_wire::record::kind;
use pollscope_wire::ring::{Mutant, RingReader, RingSource, RingSpec, RingWriter};
use pollscope_wire::seq;
use std::io;

const BLOCKS: usize = 2;

struct Shared {
    words: Vec<AtomicU64>,
    heads: Vec<AtomicU64>,
}

impl Shared {
    fn new() -> Arc<Shared> {
        let zeros = |n: usize| (0..n).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Shared { words: zeros(BLOCKS * BLOCK_WORDS), heads: zeros(8) })
    }
}

struct Source<'a>(&'a Shared);

impl RingSource for Source<'_> {
    fn head(&mut self) -> io::Result<(u64, u64)> {
        let head = self.0.heads[head::HEAD].load(Ordering::Relaxed);
        Ok((head, !head))
    }

    fn resv(&mut self) -> io::Result<(u64, u64)> {
        let resv = self.0.heads[head::RESV].load(Ordering::Relaxed);
        Ok((resv, !resv))
    }

    fn copy(&mut self, offset: usize, words: &mut [u64]) -> io::Result<()> {
        for (i, word) in words.iter_mut().enumerate().rev() {
            *word = self.0.words[offset + i].load(Ordering::Relaxed);
        }
        Ok(())
    }
}

/// One pass; what it accepts must have been written as it is, after all that was accepted before.
fn pass(reader: &mut RingReader, shared: &Shared, last: &mut u64) {
    let _ = reader
        .read(&mut Source(shared), |_, raw| {
            assert_eq!(raw.kind, kind::PARK, "the ring: a kind that nobody wrote");
            assert_eq!(raw.body, [raw.flags as u64], "the ring: a record of two halves");
            assert!(raw.flags as u64 > *last, "the ring: a record twice, or out of order");
            *last = raw.flags as u64;
        })
        .unwrap();
}

fn ring(mutant: Mutant, records: u64) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound.get_or_insert(3);
    model.check(move || {
        let shared = Shared::new();
        let writing = shared.clone();
        let thread = loom::thread::spawn(move || {
            let spec = RingSpec { words: &writing.words, heads: &writing.heads };
            let mut ring = RingWriter::enter(spec, 0, [0; 3], 1, || (0, 0));
            ring.mutant = mutant;
            for n in 1..=records {
                ring.write(kind::PARK, n as u16, 0, &[n]);
            }
        });
        let mut reader = RingReader::new(BLOCKS as u64);
        reader.mutant = mutant;
        let mut last = 0;
        pass(&mut reader, &shared, &mut last);
        thread.join().unwrap();
        pass(&mut reader, &shared, &mut last);
        assert_eq!(last, records, "what nobody overwrites is read");
    });
}

#[test]
fn the_reader_accepts_only_what_was_written() {
    ring(Mutant::None, 4);
}

#[test]
#[should_panic(expected = "the ring:")]
fn without_the_writers_fence_it_fails() {
    ring(Mutant::WriterFence, 4);
}

#[test]
#[should_panic(expected = "the ring:")]
fn without_the_readers_fence_it_fails() {
    ring(Mutant::ReaderFence, 4);
}

#[test]
// The reader passes over what it cannot see yet.
#[should_panic(expected = "what nobody overwrites is read")]
fn without_the_release_of_head_it_fails() {
    ring(Mutant::ReleaseStore, 4);
}

/// What is left out of a sequence.
#[derive(Clone, Copy, PartialEq)]
enum Missing {
    Nothing,
    WriterFence,
    WriterRelease,
    ReaderFence,
}

/// Two words that are always equal when the sequence stands.
fn sequence(missing: Missing) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound.get_or_insert(2);
    model.check(move || {
        let words: Arc<[AtomicU64; 3]> = Arc::new(std::array::from_fn(|_| AtomicU64::new(0)));
        let writing = words.clone();
        let thread = loom::thread::spawn(move || {
            for n in 1..=2 {
                let odd = if missing == Missing::WriterFence {
                    let odd = writing[0].load(Ordering::Relaxed) | 1;
                    writing[0].store(odd, Ordering::Relaxed);
                    odd
                } else {
                    seq::begin(&writing[0])
                };
                writing[1].store(n, Ordering::Relaxed);
                writing[2].store(n, Ordering::Relaxed);
                if missing == Missing::WriterRelease {
                    writing[0].store(odd + 1, Ordering::Relaxed);
                } else {
                    seq::end(&writing[0], odd);
                }
            }
        });
        let mut copy = [0; 2];
        let whole = if missing == Missing::ReaderFence {
            let before = words[0].load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            copy = [words[1].load(Ordering::Relaxed), words[2].load(Ordering::Relaxed)];
            before & 1 == 0 && words[0].load(Ordering::Relaxed) == before
        } else {
            let copied = seq::read(
                || Ok(words[0].load(Ordering::Relaxed)),
                || {
                    copy[1] = words[2].load(Ordering::Relaxed);
                    copy[0] = words[1].load(Ordering::Relaxed);
                    Ok(())
                },
            );
            copied.unwrap() == seq::Copied::Whole
        };
        if whole {
            assert_eq!(copy[0], copy[1], "the sequence: words of two moments");
        }
        thread.join().unwrap();
    });
}

#[test]
fn a_whole_copy_is_of_one_moment() {
    sequence(Missing::Nothing);
}

#[test]
#[should_panic(expected = "the sequence:")]
fn without_the_fence_after_the_odd_sequence_it_fails() {
    sequence(Missing::WriterFence);
}

#[test]
#[should_panic(expected = "the sequence:")]
fn without_the_release_of_the_even_sequence_it_fails() {
    sequence(Missing::WriterRelease);
}

#[test]
#[should_panic(expected = "the sequence:")]
fn without_the_fence_after_the_copy_it_fails() {
    sequence(Missing::ReaderFence);
}
