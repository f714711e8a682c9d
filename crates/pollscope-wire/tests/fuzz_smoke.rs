//! Any bytes are valid input: garbage and damaged sessions are read whole, for `POLLSCOPE_FUZZ_SECONDS`
//! (default 5), without a panic, an endless loop or much memory.
//! `POLLSCOPE_FUZZ_SEED` repeats a run.
#![cfg(not(loom))]

use pollscope_wire::ids::Who;
use pollscope_wire::layout::{HEADER_BYTES, SECTIONS, Section, head, header, pack, section, thread};
use pollscope_wire::reader::{SessionFiles, Swallowed, swallow};
use pollscope_wire::record::{self, Poll, kind};
use pollscope_wire::session::{InfoValue, Options, Registration, Session};
use pollscope_wire::table::{CallsiteDef, KeyDef};
use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Counts what is allocated, and remembers the most.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands every call to the system's allocator as it came; the counts beside it touch no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Memory that reading one session may take at most.
const BOUND: usize = 24 << 20;

struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// A word of the kinds that hurt: none, all, one bit, a small one, a near one, any.
    fn word(&mut self, old: u64) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => old ^ 1 << self.below(64),
            3 => self.below(5000),
            4 => u64::MAX - self.below(10_000),
            5 => old.wrapping_add(self.below(16)).wrapping_sub(8),
            6 => 1 << self.below(64),
            _ => self.next(),
        }
    }
}

fn base() -> PathBuf {
    let base = if cfg!(target_os = "linux") { "/dev/shm".into() } else { std::env::temp_dir() };
    let base = base.join(format!("pollscope-test-fuzz-{}", std::process::id()));
    fs::create_dir_all(&base).unwrap();
    base
}

/// A session with something in every table and ring.
fn real(place: &Path) -> PathBuf {
    let session = Session::create(&Options {
        place: place.to_owned(),
        group: None,
        max_tasks: 5_000,
        max_rows: 100,
        max_threads: 8,
        rings: pollscope_wire::place::RingSizes::fixed(64 << 10),
        slow_poll_ns: 10_000_000,
        resource: vec![
            ("service.name".into(), InfoValue::Str("till".into())),
            ("n".into(), InfoValue::I64(4)),
        ],
        facts: vec![("exe".into(), "/usr/bin/till".into())],
    })
    .unwrap();
    let runtime = session.runtime("main", true, 4);
    for line in 0..50 {
        let (name, file) = (format!("span {line}"), format!("src/{line}.rs"));
        let def =
            CallsiteDef { kind: 2, name: &name, target: "till", file: &file, line, column: 1, severity: 9 };
        let callsite = session.callsite(&def);
        let def = KeyDef { kind: 1, runtime, callsite, name: 0, future: session.string("Future"), what: 0 };
        session.row(0, session.key(def));
    }
    let mut slots = Vec::new();
    session.take_slots(session.tasks(), 100, &mut slots);
    slots.clear();
    session.take_slots(session.spans(), 100, &mut slots);
    for name in ["main", "worker-0", "blocking"] {
        let own =
            Registration { kind: if name == "blocking" { 3 } else { 2 }, name, runtime, worker: Some(0) };
        let mut thread = session.register(&own).unwrap();
        for n in 0..4_000u64 {
            let poll = Poll { task: n, busy: n, who: Who::new(Who::TASK, n), ..Poll::default() };
            let (flags, body) = poll.encode_short();
            thread.poll.write(kind::POLL, flags, n, &body);
            thread.span.write(kind::SPAN_END, 1, n, &[n; record::SPAN_END_WORDS]);
            thread.span.write(kind::ATTRIBUTE, 0, n, &[n, n << 32, 0x0000_0008_0000_0008, n]);
            thread.sample.write(kind::SAMPLE, 0, n, &[n, n, 1, n, n]);
        }
        session.retire(thread);
    }
    session.dir().to_owned()
}

/// A copy of a session that is damaged and mended.
struct Victim {
    dir: PathBuf,
    files: Vec<(String, Vec<u8>, File)>,
    /// Ranges of `control` that decide most: header, and the first bytes of each section.
    hot: Vec<(u64, u64)>,
}

impl Victim {
    fn copy(from: &Path, dir: PathBuf) -> Victim {
        fs::create_dir_all(&dir).unwrap();
        let mut files = Vec::new();
        for entry in fs::read_dir(from).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            // Opening and closing our own lock would drop it.
            let bytes = if name == "lock" { Vec::new() } else { fs::read(entry.path()).unwrap() };
            fs::write(dir.join(&name), &bytes).unwrap();
            let file = fs::OpenOptions::new().write(true).open(dir.join(&name)).unwrap();
            files.push((name, bytes, file));
        }
        files.sort_by(|a, b| a.0.cmp(&b.0));
        let place = SessionFiles::open(&dir).unwrap();
        let mut hot = vec![(0, (header::FIRST_SECTION + 10 * section::WORDS) as u64 * 8)];
        for kind in [Section::Threads, Section::Chunks, Section::Strings, Section::Info, Section::Callsites] {
            hot.push((place.section(kind).offset, 2048));
        }
        assert!(hot[0].1 <= HEADER_BYTES as u64);
        Victim { dir, files, hot }
    }

    fn damage(&self, dice: &mut Dice) -> usize {
        let control = self.files.iter().position(|(name, _, _)| name == "control").unwrap();
        let which = if dice.below(3) == 0 { dice.below(self.files.len() as u64) as usize } else { control };
        let (_, bytes, file) = &self.files[which];
        let len = bytes.len() as u64;
        match dice.below(20) {
            0 => file.set_len(dice.below(len + 1)).unwrap(),
            // Sparse: claims far more than is there.
            1 => file.set_len(len + (1 << (20 + dice.below(20)))).unwrap(),
            2 if len >= 8192 => {
                let (from, to) = (dice.below(len / 4096) * 4096, dice.below(len / 4096) * 4096);
                file.write_all_at(&bytes[from as usize..from as usize + 4096], to).unwrap();
            }
            _ if len >= 8 => {
                for _ in 0..=dice.below(6) {
                    let (start, size) = match which == control && dice.below(4) > 0 {
                        true => self.hot[dice.below(self.hot.len() as u64) as usize],
                        false => (0, len),
                    };
                    let at = (start + dice.below(size / 8) * 8) as usize;
                    // The first three words are right mostly, or nothing behind them is ever reached.
                    let at = if at < 24 && dice.below(20) > 0 { at + 32 } else { at };
                    let old = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
                    file.write_all_at(&dice.word(old).to_le_bytes(), at as u64).unwrap();
                }
            }
            _ => {}
        }
        which
    }

    fn mend(&self, which: usize) {
        let (_, bytes, file) = &self.files[which];
        file.set_len(bytes.len() as u64).unwrap();
        file.write_all_at(bytes, 0).unwrap();
    }
}

/// Reads a directory and holds it to its bounds; whether it was a session at all.
fn hold(dir: &Path) -> Option<Swallowed> {
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let start = Instant::now();
    let told = swallow(dir);
    let grown = MOST.load(Ordering::Relaxed).saturating_sub(before);
    assert!(grown <= BOUND, "reading took {grown} bytes");
    assert!(start.elapsed() < Duration::from_secs(60), "reading took {:?}", start.elapsed());
    told.ok()
}

/// Every section claims all of a sparse file of a terabyte, and every thread's rings a file of another.
fn boast(victim: &Victim) {
    const TERABYTE: u64 = 1 << 40;
    let control = &victim.files.iter().find(|(name, _, _)| name == "control").unwrap().2;
    let rings = &victim.files.iter().find(|(name, _, _)| name == "rings-000").unwrap().2;
    control.set_len(TERABYTE).unwrap();
    rings.set_len(TERABYTE).unwrap();
    let put = |word: usize, value: u64| control.write_all_at(&value.to_le_bytes(), word as u64 * 8).unwrap();
    for (index, (kind, stride, _)) in SECTIONS.into_iter().enumerate() {
        let offset = if kind == Section::Threads { 1 << 30 } else { 1 << 31 };
        let at = header::FIRST_SECTION + index * section::WORDS;
        // The longest entries, of which all are read at once.
        let stride = if kind == Section::Counters { !7 } else { stride as u32 };
        put(at + section::KIND, pack(kind as u32, stride));
        put(at + section::OFFSET, offset);
        put(at + section::COUNT, (TERABYTE - offset) / stride as u64);
        put(at + section::USED, u64::MAX);
    }
    // Where the thread slots are now: one whose rings are as large as a reader takes them.
    let slot = (1 << 30) / 8;
    put(slot + thread::WRITER, 1);
    for ring in 0..3 {
        put(slot + thread::RINGS + ring * thread::RING_WORDS + 2, 16_384);
        let heads = slot + thread::HEADS + ring * thread::HEAD_WORDS;
        put(heads + head::HEAD, 1 << 50);
        put(heads + head::HEAD_NOT, !(1 << 50));
    }
}

#[test]
fn any_bytes_are_read_within_bounds() {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seconds = number("POLLSCOPE_FUZZ_SECONDS").unwrap_or(5);
    let seed = number("POLLSCOPE_FUZZ_SEED").unwrap_or(0x5eed);
    println!("POLLSCOPE_FUZZ_SEED={seed}");
    let base = base();
    let whole = real(&base);
    let told = hold(&whole).expect("a real session");
    assert_eq!((told.threads, told.unknown, told.damaged, told.refused, told.cut), (2, 0, 0, 0, false));
    assert!(told.records > 3_000 && told.interned > 100 && told.entries > 10_000, "{told:?}");

    let victim = Victim::copy(&whole, base.join("victim"));
    assert_eq!(hold(&victim.dir), Some(told));
    boast(&victim);
    let boasted = hold(&victim.dir).expect("a header that fits");
    assert!(boasted.damaged > 0 && boasted.interned > 0, "{boasted:?}");
    (0..victim.files.len()).for_each(|which| victim.mend(which));
    let garbage = base.join("garbage");
    fs::create_dir_all(&garbage).unwrap();
    let mut dice = Dice(seed | 1);
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut rounds, mut opened) = (0u64, 0u64);
    while Instant::now() < end {
        rounds += 1;
        if rounds.is_multiple_of(50) {
            for (name, _, _) in &victim.files {
                let bytes: Vec<u8> = (0..dice.below(20_000)).map(|_| dice.next() as u8).collect();
                fs::write(garbage.join(name), bytes).unwrap();
            }
            assert_eq!(hold(&garbage), None, "garbage is no session");
        }
        let mut damaged: Vec<usize> = (0..=dice.below(3)).map(|_| victim.damage(&mut dice)).collect();
        opened += hold(&victim.dir).is_some() as u64;
        damaged.sort();
        damaged.dedup();
        damaged.into_iter().for_each(|which| victim.mend(which));
    }
    println!("{rounds} rounds, {opened} of them opened");
    assert!(rounds < 20 || opened * 5 > rounds, "damage that is never read tests nothing");
    assert_eq!(hold(&victim.dir), Some(told), "mended");
    fs::remove_dir_all(&base).unwrap();
}
