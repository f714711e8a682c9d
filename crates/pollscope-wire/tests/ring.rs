//! A ring keeps its promises in many shapes: `read + lost == written` in each class, records whole and in
//! order, whatever the reader's pace, the gaps in time, the lengths and the owners.
#![cfg(not(loom))]

use pollscope_wire::layout::{BLOCK_BYTES, BLOCK_WORDS, CLASSES, RingKind, head};
use pollscope_wire::record::{class_of, kind};
use pollscope_wire::ring::{Batch, RingReader, RingSource, RingSpec, RingWriter, Totals};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// A ring in plain memory.
struct Memory {
    words: Vec<AtomicU64>,
    heads: Vec<AtomicU64>,
}

impl Memory {
    fn new(blocks: usize) -> Memory {
        let zeros = |n: usize| (0..n).map(|_| AtomicU64::new(0)).collect();
        Memory { words: zeros(blocks * BLOCK_WORDS), heads: zeros(8) }
    }

    fn blocks(&self) -> u64 {
        (self.words.len() / BLOCK_WORDS) as u64
    }

    fn spec(&self) -> RingSpec<'_> {
        RingSpec { words: &self.words, heads: &self.heads }
    }

    fn word(&self, at: usize) -> u64 {
        self.heads[at].load(Ordering::Relaxed)
    }

    fn set(&self, at: usize, value: u64) {
        self.heads[at].store(value, Ordering::Relaxed);
    }
}

impl RingSource for &Memory {
    fn head(&mut self) -> io::Result<(u64, u64)> {
        Ok((self.word(head::HEAD), self.word(head::HEAD_NOT)))
    }

    fn resv(&mut self) -> io::Result<(u64, u64)> {
        Ok((self.word(head::RESV), self.word(head::RESV_NOT)))
    }

    fn copy(&mut self, offset: usize, words: &mut [u64]) -> io::Result<()> {
        for (i, word) in words.iter_mut().enumerate() {
            *word = self.words[offset + i].load(Ordering::Relaxed);
        }
        Ok(())
    }
}

/// xorshift: the same shapes at every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Each record carries its number and a body that follows from it.
fn write(ring: &mut RingWriter<'_>, n: u64, tick: u64, dice: &mut Dice) {
    let kind = [kind::POLL, kind::SPAN_END, kind::PARK, kind::ATTRIBUTE][dice.below(4) as usize];
    let len = if dice.below(50) == 0 { 254 } else { 2 + dice.below(9) };
    let body: Vec<u64> = (0..len).map(|i| if i == 0 { n } else { n.wrapping_mul(i) }).collect();
    ring.write_slice(kind, n as u16, tick, &body);
}

/// What a reader has got in all, and that it was right.
#[derive(Default)]
struct Told {
    read: Totals,
    lost: Totals,
    lost_bytes: u64,
    last: u64,
    tick: u64,
    pairs: Vec<(u64, u64)>,
}

impl Told {
    fn pass(&mut self, reader: &mut RingReader, memory: &Memory) -> Batch {
        let mut source = memory;
        let batch = reader
            .read(&mut source, |_, raw| {
                let n = raw.body[0];
                assert!(n > self.last, "{n} after {}", self.last);
                assert_eq!(raw.flags, n as u16);
                for (i, word) in raw.body.iter().enumerate().skip(1) {
                    assert_eq!(*word, n.wrapping_mul(i as u64));
                }
                assert!(raw.tick >= self.tick, "time goes on");
                (self.last, self.tick) = (n, raw.tick);
            })
            .unwrap();
        for class in 0..CLASSES {
            self.read[class] += batch.read[class];
            self.lost[class] += batch.lost[class];
        }
        self.lost_bytes += batch.lost_bytes;
        self.pairs.extend(batch.pair);
        assert_eq!(batch.damaged, 0);
        batch
    }

    /// Reads until nothing more is there.
    fn drain(&mut self, reader: &mut RingReader, memory: &Memory) {
        for _ in 0..10_000 {
            if !self.pass(reader, memory).more {
                return;
            }
        }
        panic!("a reader that never comes to the end");
    }

    #[track_caller]
    fn is_all_of(&self, written: Totals) {
        for (class, written) in written.into_iter().enumerate() {
            assert_eq!(self.read[class] + self.lost[class], written, "class {class}");
        }
    }
}

fn pair() -> (u64, u64) {
    (0, 1)
}

#[test]
fn read_and_lost_are_what_was_written_at_any_pace() {
    for seed in 1..60u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let memory = Memory::new(2 + dice.below(40) as usize);
        let mut ring = RingWriter::enter(memory.spec(), 0, [0; 3], 1, pair);
        let mut reader = RingReader::new(memory.blocks());
        let mut told = Told::default();
        let (mut n, mut tick) = (0, 0);
        for _ in 0..40 {
            for _ in 0..dice.below(1 + dice.0 % 4000) {
                n += 1;
                tick += dice.below(1000);
                write(&mut ring, n, tick, &mut dice);
            }
            match dice.below(4) {
                0 => {}
                1 => {
                    // The agent restarts and goes on from its journal.
                    let (next, seen) = reader.position();
                    reader = RingReader::resume(memory.blocks(), next, seen);
                    told.drain(&mut reader, &memory);
                }
                2 => {
                    told.pass(&mut reader, &memory);
                }
                _ => told.drain(&mut reader, &memory),
            }
        }
        told.drain(&mut reader, &memory);
        told.is_all_of(ring.totals());
        assert_eq!(told.last, n, "the newest is read");
        assert_eq!(reader.position().0, ring.head());
    }
}

#[test]
fn a_reader_that_keeps_up_loses_nothing() {
    let memory = Memory::new(3);
    let mut ring = RingWriter::enter(memory.spec(), 0, [0; 3], 1, pair);
    let mut reader = RingReader::new(3);
    let (mut told, mut dice) = (Told::default(), Dice(5));
    for n in 1..=20_000 {
        write(&mut ring, n, n, &mut dice);
        told.drain(&mut reader, &memory);
        assert_eq!(told.last, n);
    }
    assert_eq!((told.lost, told.lost_bytes, told.read), ([0; 3], 0, ring.totals()));
}

#[test]
fn lost_bytes_are_those_before_the_oldest_block() {
    let memory = Memory::new(4);
    let mut ring = RingWriter::enter(memory.spec(), 0, [0; 3], 1, pair);
    for n in 0..10_000u64 {
        ring.write(kind::POLL, 0, n, &[n, 0, 0]);
    }
    let (mut reader, mut told) = (RingReader::new(4), Totals::default());
    let mut source = &memory;
    let batch = reader.read(&mut source, |_, raw| told[class_of(raw.kind)] += 1).unwrap();
    let block = (ring.head() - 1) / BLOCK_BYTES;
    assert_eq!(batch.lost_bytes, (block - 3) * BLOCK_BYTES);
    assert_eq!(told[0] + batch.lost[0], 10_000);
}

/// A writer that goes on while the reader copies: so many records between the copy and the look at `resv`.
struct Meanwhile<'a, 'b> {
    memory: &'a Memory,
    ring: &'a mut RingWriter<'b>,
    records: u64,
}

impl RingSource for Meanwhile<'_, '_> {
    fn head(&mut self) -> io::Result<(u64, u64)> {
        self.memory.head()
    }

    fn resv(&mut self) -> io::Result<(u64, u64)> {
        for _ in 0..self.records {
            self.ring.write(kind::POLL, 0, 0, &[0, 0, 0]);
        }
        self.memory.resv()
    }

    fn copy(&mut self, offset: usize, words: &mut [u64]) -> io::Result<()> {
        self.memory.copy(offset, words)
    }
}

#[test]
fn what_is_overwritten_while_it_is_copied_is_lost_to_the_byte() {
    for records in [0, 1, 200, 400, 700, 5_000] {
        let memory = Memory::new(4);
        let mut ring = RingWriter::enter(memory.spec(), 0, [0; 3], 1, pair);
        for _ in 0..400 {
            ring.write(kind::POLL, 0, 0, &[0, 0, 0]);
        }
        let head = ring.head();
        let mut reader = RingReader::new(4);
        let mut source = Meanwhile { memory: &memory, ring: &mut ring, records };
        let batch = reader.read(&mut source, |_, _| {}).unwrap();
        // Whole blocks below this one were begun anew.
        let overtaken = memory.word(head::RESV).saturating_sub(4 * BLOCK_BYTES).min(head);
        assert_eq!(batch.lost_bytes, overtaken, "{records} records meanwhile");
        assert_eq!(reader.position().0, head);
        let mut told = Told { read: batch.read, lost: batch.lost, ..Told::default() };
        for _ in 0..100 {
            let mut source = &memory;
            let batch = reader.read(&mut source, |_, _| {}).unwrap();
            told.read[0] += batch.read[0];
            told.lost[0] += batch.lost[0];
        }
        told.is_all_of(ring.totals());
    }
}

#[test]
fn a_pair_taken_after_a_blocks_first_record_does_not_delay_it() {
    static NOW: AtomicU64 = AtomicU64::new(0);
    let memory = Memory::new(3);
    let mut ring = RingWriter::enter(memory.spec(), 0, [0; 3], 1, || (NOW.load(Ordering::Relaxed), 1));
    NOW.store(1_000_000, Ordering::Relaxed);
    for _ in 0..400 {
        ring.write(kind::PARK, 0, 50, &[1]);
    }
    let (mut ticks, mut source) = (Vec::new(), &memory);
    RingReader::new(3).read(&mut source, |_, raw| ticks.push(raw.tick)).unwrap();
    assert_eq!(ticks, [50; 400]);
}

#[test]
fn a_quiet_thread_fills_no_blocks_and_its_ticks_are_exact() {
    let memory = Memory::new(2);
    let mut ring = RingWriter::enter(memory.spec(), 0, [0; 3], 1, pair);
    let mut reader = RingReader::new(2);
    let mut expected = Vec::new();
    let mut got = Vec::new();
    let mut tick = 0;
    for (n, gap) in
        [1u64, 1 << 32, (1 << 32) - 1, 1 << 40, 5, 1 << 50, 0, u32::MAX as u64 + 1].iter().enumerate()
    {
        tick += gap;
        ring.write(kind::PARK, 0, tick, &[n as u64]);
        expected.push((n as u64, tick));
    }
    assert!(ring.head() < BLOCK_BYTES, "all in one block");
    let mut source = &memory;
    let batch = reader.read(&mut source, |_, raw| got.push((raw.body[0], raw.tick))).unwrap();
    assert_eq!(got, expected);
    assert_eq!(batch.read, ring.totals());
}

#[test]
fn a_gap_at_a_blocks_end_is_exact_too() {
    // Every fill of the block before a long gap: the tick record, and the record, may find no room.
    for filled in 480..BLOCK_WORDS as u64 {
        let memory = Memory::new(3);
        let mut ring = RingWriter::enter(memory.spec(), 0, [0; 3], 1, pair);
        while ring.head() / 8 < filled {
            ring.write(kind::PARK, 0, 7, &[]);
        }
        let far = 7 + (1 << 33);
        ring.write(kind::PARK, 1, far, &[9, 9]);
        ring.write(kind::PARK, 2, far + 3, &[9]);
        let mut got = Vec::new();
        let mut source = &memory;
        let batch = RingReader::new(3).read(&mut source, |_, raw| got.push((raw.flags, raw.tick))).unwrap();
        assert_eq!(got[got.len() - 2..], [(1, far), (2, far + 3)], "block filled to {filled}");
        assert!(got[..got.len() - 2].iter().all(|at| *at == (0, 7)));
        assert_eq!(batch.read, ring.totals());
    }
}

#[test]
fn a_tick_before_the_last_counts_as_the_last() {
    let memory = Memory::new(2);
    let mut ring = RingWriter::enter(memory.spec(), 0, [0; 3], 1, pair);
    for tick in [100, 50, 120] {
        ring.write(kind::PARK, 0, tick, &[0]);
    }
    let (mut ticks, mut source) = (Vec::new(), &memory);
    RingReader::new(2).read(&mut source, |_, raw| ticks.push(raw.tick)).unwrap();
    assert_eq!(ticks, [100, 100, 120]);
}

#[test]
fn a_body_beyond_254_words_is_cut_and_what_follows_still_reads() {
    let memory = Memory::new(4);
    let mut ring = RingWriter::enter(memory.spec(), 0, [0; 3], 1, pair);
    ring.write_slice(kind::STACK, 0, 1, &[7; 400]);
    ring.write(kind::PARK, 0, 2, &[8]);
    let (mut lengths, mut source) = (Vec::new(), &memory);
    RingReader::new(4).read(&mut source, |_, raw| lengths.push(raw.body.len())).unwrap();
    assert_eq!(lengths, [254, 1]);
}

#[test]
fn owners_follow_each_other_without_a_gap_or_a_double() {
    for seed in 1..40u64 {
        let mut dice = Dice(seed << 20 | 77);
        let memory = Memory::new(2 + dice.below(6) as usize);
        let mut reader = RingReader::new(memory.blocks());
        let mut told = Told::default();
        let (mut place, mut n) = ((0, [0; CLASSES]), 0);
        for owner in 1..60 {
            let mut ring = RingWriter::enter(memory.spec(), place.0, place.1, owner, pair);
            for _ in 0..dice.below(600) {
                n += 1;
                write(&mut ring, n, n, &mut dice);
            }
            place = ring.leave();
            if dice.below(3) == 0 {
                told.drain(&mut reader, &memory);
                told.is_all_of(place.1);
            }
        }
        told.drain(&mut reader, &memory);
        told.is_all_of(place.1);
        assert_eq!(told.last, n);
    }
}

#[test]
fn each_block_tells_its_owner() {
    let memory = Memory::new(8);
    let mut place = (0, [0; CLASSES]);
    for owner in 1..=4u64 {
        let mut ring = RingWriter::enter(memory.spec(), place.0, place.1, owner, pair);
        ring.write(kind::PARK, 0, owner, &[owner]);
        place = ring.leave();
    }
    let mut source = &memory;
    let mut owners = Vec::new();
    RingReader::new(8)
        .read(&mut source, |writer, raw| {
            assert_eq!(raw.body, [writer]);
            owners.push(writer);
        })
        .unwrap();
    assert_eq!(owners, [1, 2, 3, 4]);
}

#[test]
fn after_a_kill_at_any_head_every_record_below_it_is_there() {
    let memory = Memory::new(64);
    let mut ring = RingWriter::enter(memory.spec(), 0, [0; 3], 1, pair);
    let mut dice = Dice(9);
    let mut heads = Vec::new();
    for n in 1..=1_500 {
        write(&mut ring, n, n, &mut dice);
        heads.push(ring.head());
    }
    assert!(ring.head() < memory.blocks() * BLOCK_BYTES, "nothing is overwritten here");
    for (i, head) in heads.iter().enumerate() {
        memory.set(head::HEAD, *head);
        memory.set(head::HEAD_NOT, !*head);
        let mut told = Told::default();
        told.drain(&mut RingReader::new(memory.blocks()), &memory);
        assert_eq!(told.last, i as u64 + 1);
        assert_eq!(told.read.iter().sum::<u64>(), i as u64 + 1);
    }
}

#[test]
fn a_kill_between_head_and_its_complement_hides_nothing() {
    let memory = Memory::new(8);
    let mut ring = RingWriter::enter(memory.spec(), 0, [0; 3], 1, pair);
    ring.write(kind::PARK, 1, 1, &[1, 1]);
    let before = memory.word(head::HEAD_NOT);
    ring.write(kind::PARK, 2, 2, &[2, 2]);
    memory.set(head::HEAD_NOT, before);
    let mut told = Told::default();
    told.drain(&mut RingReader::new(8), &memory);
    assert_eq!(told.last, 1, "what both words cover");
}

#[test]
fn a_kill_between_resv_and_its_complement_loses_no_more_than_the_block_begun() {
    let memory = Memory::new(4);
    let mut ring = RingWriter::enter(memory.spec(), 0, [0; 3], 1, pair);
    let mut dice = Dice(3);
    let mut n = 0;
    while ring.head() < 20 * BLOCK_BYTES {
        n += 1;
        write(&mut ring, n, n, &mut dice);
    }
    // As if it had died on the way into the next block.
    let resv = memory.word(head::RESV) + BLOCK_BYTES;
    memory.set(head::RESV, resv);
    let mut reader = RingReader::new(4);
    let mut told = Told::default();
    told.drain(&mut reader, &memory);
    assert_eq!(told.last, n);
    assert_eq!(told.lost_bytes, resv - 4 * BLOCK_BYTES);
    told.is_all_of(ring.totals());
    // It stays so, however often one looks.
    for _ in 0..100 {
        told.drain(&mut reader, &memory);
    }
    told.is_all_of(ring.totals());
}

#[test]
fn words_that_nobody_wrote_do_no_harm() {
    let mut dice = Dice(11);
    for round in 0..2_000 {
        let memory = Memory::new(2 + dice.below(6) as usize);
        for word in &memory.words {
            word.store(dice.below(u64::MAX), Ordering::Relaxed);
        }
        // Now and then a block that claims its place, and totals at the end of all numbers.
        let head = match round % 4 {
            0 => u64::MAX - dice.below(5000),
            1 => dice.below(u64::MAX),
            _ => dice.below(1 << 20),
        };
        let last = head.saturating_sub(1) / BLOCK_BYTES;
        for back in 0..memory.blocks().min(last) {
            let block = last - back;
            let at = (block % memory.blocks()) as usize * BLOCK_WORDS;
            memory.words[at].store(block * BLOCK_BYTES, Ordering::Relaxed);
            memory.words[at + 5].store(u64::MAX, Ordering::Relaxed);
        }
        memory.set(head::HEAD, head);
        memory.set(head::HEAD_NOT, !head);
        let resv = if round % 3 == 0 { dice.below(u64::MAX) } else { head };
        memory.set(head::RESV, resv);
        memory.set(head::RESV_NOT, if round % 5 == 0 { 0 } else { !resv });
        let mut reader = RingReader::new(memory.blocks());
        let mut source = &memory;
        for _ in 0..4 {
            let batch = reader.read(&mut source, |_, raw| assert!(raw.body.len() < 255)).unwrap();
            assert!(!batch.more, "one pass reads so small a ring");
        }
    }
}

#[test]
fn a_thread_writes_a_million_records_while_another_reads_the_file() {
    use pollscope_wire::reader::SessionFiles;
    use pollscope_wire::session::{InfoValue, Options, Registration, Session};
    let base = if cfg!(target_os = "linux") { "/dev/shm".into() } else { std::env::temp_dir() };
    let place = base.join(format!("pollscope-test-race-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    let session = Session::create(&Options {
        place: place.clone(),
        group: None,
        max_tasks: 16,
        max_rows: 1,
        max_threads: 4,
        rings: pollscope_wire::place::RingSizes::fixed(128 << 10),
        slow_poll_ns: 1,
        resource: vec![("service.name".into(), InfoValue::Str("race".into()))],
        facts: Vec::new(),
    })
    .unwrap();
    let own = Registration { kind: 2, name: "race", runtime: 0, worker: None };
    let handle = session.register(&own).unwrap();
    let slot = handle.slot as u64;
    const RECORDS: u64 = 1_000_000;
    let writer = std::thread::spawn(move || {
        let mut handle = handle;
        for n in 1..=RECORDS {
            let body = [n, n.wrapping_mul(3), !n];
            handle.poll.write(if n % 100 == 0 { kind::SPAN_END } else { kind::POLL }, n as u16, 0, &body);
        }
        handle
    });
    let mut files = SessionFiles::open(session.dir()).unwrap();
    let ring = files.thread(slot).unwrap().rings[RingKind::Poll as usize];
    let mut reader = RingReader::new(ring.blocks);
    let (mut read, mut lost, mut last) = ([0; CLASSES], [0; CLASSES], 0);
    loop {
        let done = writer.is_finished();
        let mut source = files.ring(slot, RingKind::Poll, ring).unwrap();
        let batch = reader
            .read(&mut source, |_, raw| {
                if raw.kind == kind::THREAD {
                    return;
                }
                let n = raw.body[0];
                assert_eq!(raw.body, [n, n.wrapping_mul(3), !n], "a record of two moments");
                assert_eq!(raw.flags, n as u16);
                assert!(n > last);
                last = n;
            })
            .unwrap();
        assert_eq!(batch.damaged, 0);
        for class in 0..CLASSES {
            read[class] += batch.read[class];
            lost[class] += batch.lost[class];
        }
        if done && !batch.more {
            break;
        }
    }
    let handle = writer.join().unwrap();
    assert_eq!(last, RECORDS);
    for class in 0..CLASSES {
        assert_eq!(read[class] + lost[class], handle.poll.totals()[class], "class {class}");
    }
    std::fs::remove_dir_all(&place).unwrap();
}
