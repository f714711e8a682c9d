//! Thread slots: registered at a thread's first event, retired at its exit, reused oldest first.

use super::Session;
use crate::layout::{
    BLOCK_BYTES, CLASSES, Counter, RINGS, RingKind, Section, head, pack, section, thread, words,
};
use crate::place::SMALLEST_RING_BYTES;
use crate::record::{kind, name_words};
use crate::ring::{RingSpec, RingWriter};
use crate::{clock, seq, sys};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a sample ring.
const SAMPLE_RING_BYTES: u64 = 16 << 10;
/// Bytes of a rings file, unless one thread needs more.
const RINGS_FILE_BYTES: u64 = 1 << 20;

/// What a thread says of itself.
#[derive(Clone, Debug)]
pub struct Registration<'a> {
    /// 1 main, 2 runtime worker, 3 blocking, 4 thread worker, 5 other.
    pub kind: u8,
    /// Its name.
    pub name: &'a str,
    /// Runtime number, 0 none.
    pub runtime: u32,
    /// Worker index in its runtime.
    pub worker: Option<u16>,
}

impl Registration<'_> {
    /// Kind of a runtime's worker: it gets the large rings, and so does main.
    pub const WORKER: u8 = 2;

    fn is_large(&self) -> bool {
        self.kind <= Registration::WORKER
    }
}

/// A registered thread: its slot, words and rings. Given back by [`Session::retire`].
pub struct ThreadHandle {
    /// Slot number.
    pub slot: u32,
    /// Registration ordinal, unique in the session.
    pub writer: u64,
    /// The slot.
    pub thread: &'static [AtomicU64; thread::WORDS],
    /// What it does now.
    pub words: &'static [AtomicU64; words::WORDS],
    /// Span ring.
    pub span: RingWriter<'static>,
    /// Poll ring.
    pub poll: RingWriter<'static>,
    /// Sample ring.
    pub sample: RingWriter<'static>,
}

#[derive(Clone, Copy)]
struct RingPlace {
    file: u32,
    offset: u64,
    words: &'static [AtomicU64],
    position: u64,
    totals: [u64; CLASSES],
}

struct Slot {
    large: bool,
    rings: [RingPlace; RINGS.len()],
}

#[derive(Default)]
pub(super) struct Threads {
    slots: Vec<Slot>,
    /// Oldest first.
    retired: VecDeque<u32>,
    registered: u64,
    /// The rings file with most room left: number, words, words used.
    file: Option<(u32, &'static [AtomicU64], usize)>,
    /// Bytes of the rings of other threads, and of workers.
    given: [u64; 2],
    /// Bytes of all rings files.
    bytes: u64,
}

impl Session {
    /// Registers the calling thread. `None`: no slot or no memory, which is counted.
    pub fn register(&self, registration: &Registration<'_>) -> Option<ThreadHandle> {
        let mut cold = self.cold();
        let Some(slot) = self.pick_slot(&mut cold, registration.is_large()) else {
            drop(cold);
            self.count(Counter::ThreadsRefused);
            return None;
        };
        cold.threads.registered += 1;
        let writer = cold.threads.registered;
        let rings = cold.threads.slots[slot as usize].rings;
        drop(cold);

        let at = slot as usize * thread::WORDS;
        let thread: &[AtomicU64; thread::WORDS] =
            self.control.section(Section::Threads)[at..at + thread::WORDS].try_into().ok()?;
        let at = slot as usize * words::WORDS;
        let own: &[AtomicU64; words::WORDS] =
            self.control.section(Section::Words)[at..at + words::WORDS].try_into().ok()?;
        let worker = registration.worker.map_or(0, |index| index as u64 + 1);
        let os_id = sys::thread_id() as u64 | (registration.kind as u64) << 32 | worker << 40;
        let name = name_words(registration.name);
        seq::write(&thread[thread::SEQ], || {
            let set = |word: usize, value: u64| thread[word].store(value, Ordering::Relaxed);
            set(thread::WRITER, writer);
            set(thread::STATE, 1);
            set(thread::OS_ID, os_id);
            set(thread::RUNTIME, registration.runtime as u64);
            set(thread::REGISTERED, sys::tick());
            set(thread::RETIRED, 0);
            for (i, word) in name.iter().enumerate() {
                set(thread::NAME + i, *word);
            }
            for (i, ring) in rings.iter().enumerate() {
                let at = thread::RINGS + i * thread::RING_WORDS;
                set(at, ring.file as u64);
                set(at + 1, ring.offset);
                set(at + 2, ring.words.len() as u64 * 8 / BLOCK_BYTES);
            }
        });
        seq::write(&own[words::SEQ], || {
            for word in &own[words::WRITER..] {
                word.store(0, Ordering::Relaxed);
            }
            own[words::WRITER].store(writer, Ordering::Relaxed);
        });
        let ring = |which: RingKind| {
            let at = thread::HEADS + which as usize * thread::HEAD_WORDS;
            let spec =
                RingSpec { words: rings[which as usize].words, heads: &thread[at..at + thread::HEAD_WORDS] };
            let place = &rings[which as usize];
            RingWriter::enter(spec, place.position, place.totals, writer, clock::block_pair)
        };
        let mut handle = ThreadHandle {
            slot,
            writer,
            thread,
            words: own,
            span: ring(RingKind::Span),
            poll: ring(RingKind::Poll),
            sample: ring(RingKind::Sample),
        };
        let told = [writer, os_id, registration.runtime as u64, name[0], name[1], name[2], name[3]];
        for ring in [&mut handle.span, &mut handle.poll] {
            ring.write(kind::THREAD, 0, sys::tick(), &told);
        }
        let used = &self.control.descriptor(Section::Threads)[section::USED];
        used.fetch_max(slot as u64 + 1, Ordering::Release);
        Some(handle)
    }

    /// Gives a thread's slot back; its rings stay readable and are gone on with by the next owner.
    pub fn retire(&self, handle: ThreadHandle) {
        let ThreadHandle { slot, thread, words: own, span, poll, sample, .. } = handle;
        seq::write(&own[words::SEQ], || {
            for word in &own[words::TASK..] {
                word.store(0, Ordering::Relaxed);
            }
        });
        seq::write(&thread[thread::SEQ], || {
            thread[thread::STATE].store(2, Ordering::Relaxed);
            thread[thread::RETIRED].store(sys::tick(), Ordering::Relaxed);
        });
        let mut cold = self.cold();
        for (place, ring) in cold.threads.slots[slot as usize].rings.iter_mut().zip([&span, &poll, &sample]) {
            (place.position, place.totals) = ring.leave();
        }
        cold.threads.retired.push_back(slot);
    }

    fn pick_slot(&self, cold: &mut super::Cold, large: bool) -> Option<u32> {
        let fits = |threads: &Threads, slot: u32| threads.slots[slot as usize].large == large;
        let threads = &mut cold.threads;
        if let Some(at) = threads.retired.iter().position(|slot| fits(threads, *slot)) {
            return threads.retired.remove(at);
        }
        if threads.slots.len() < self.max_threads as usize
            && let Some(rings) = self.make_rings(cold, large)
        {
            cold.threads.slots.push(Slot { large, rings });
            return Some(cold.threads.slots.len() as u32 - 1);
        }
        cold.threads.retired.pop_front()
    }

    fn make_rings(&self, cold: &mut super::Cold, large: bool) -> Option<[RingPlace; RINGS.len()]> {
        let budget = self.rings.budget;
        let left = budget.saturating_sub(cold.threads.given[large as usize]);
        let left_of_files = budget.saturating_mul(2).saturating_sub(cold.threads.bytes);
        let room = cold.threads.file.map_or(0, |(_, all, used)| (all.len() - used) as u64 * 8);
        let first = if large { self.rings.next_worker(left) } else { self.rings.next_other(left) };
        let (sizes, need) = [first, SMALLEST_RING_BYTES].into_iter().find_map(|bytes| {
            let half = (bytes / 2) & !(BLOCK_BYTES - 1);
            let need = 2 * half + SAMPLE_RING_BYTES;
            (need <= left && need <= left_of_files.max(room))
                .then_some(([half, half, SAMPLE_RING_BYTES], need))
        })?;
        let (file, all, mut used) = match cold.threads.file {
            Some(place) if need <= room => place,
            _ => {
                let number = cold.ring_files;
                let bytes = need.max(RINGS_FILE_BYTES.min(left_of_files & !(BLOCK_BYTES - 1)));
                let path = self.dir.join(format!("rings-{number:03}"));
                // A full file system may still have room for these rings alone.
                let words = self.make_file(cold, &path, &[bytes as usize, need as usize])?;
                cold.ring_files += 1;
                cold.threads.bytes += words.len() as u64 * 8;
                (number, words, 0)
            }
        };
        let rings = sizes.map(|bytes| {
            let words = &all[used..used + bytes as usize / 8];
            let offset = used as u64 * 8;
            used += words.len();
            RingPlace { file, offset, words, position: 0, totals: [0; CLASSES] }
        });
        if cold.threads.file.is_none_or(|(old, ..)| old == file) || (all.len() - used) as u64 * 8 > room {
            cold.threads.file = Some((file, all, used));
        }
        cold.threads.given[large as usize] += need;
        Some(rings)
    }
}

/// `head`, `resv` and totals must fit where the slot has room for them.
const _: () = assert!(head::TOTALS + CLASSES <= thread::HEAD_WORDS && pack(1, 0) == 1);
