//! Where every byte stands: offsets, strides and limits, in 8-byte words unless said otherwise. SPEC.md says
//! the same in prose; the two are read side by side.

use crate::hist::BUCKETS;

/// First word of `control`: `PLSCOPE1` in ASCII, read as little-endian.
pub const MAGIC: u64 = u64::from_le_bytes(*b"PLSCOPE1");
/// Reads as itself only where the byte order fits.
pub const ENDIAN_TAG: u32 = 0x0102_0304;
/// A reader refuses a newer major.
pub const ABI_MAJOR: u16 = 1;
/// Additions only.
pub const ABI_MINOR: u16 = 0;

/// Bytes of a ring block.
#[cfg(not(loom))]
pub const BLOCK_BYTES: u64 = 4096;
/// Bytes of a ring block, shrunk so that a model overruns a ring in few steps: header and two words.
#[cfg(loom)]
pub const BLOCK_BYTES: u64 = (BLOCK_HEADER_WORDS as u64 + 2) * 8;
/// Words of a ring block.
pub const BLOCK_WORDS: usize = (BLOCK_BYTES / 8) as usize;

/// A block's header.
pub mod block {
    /// Absolute position of the block in its ring, in bytes.
    pub const POSITION: usize = 0;
    /// A tick ..
    pub const TICK: usize = 1;
    /// .. and CLOCK_MONOTONIC in nanoseconds at that tick (0 in a block whose pair could not be taken).
    pub const MONOTONIC: usize = 2;
    /// The writer id of the thread that filled the block.
    pub const WRITER: usize = 3;
    /// The tick from which the first record's `dtick` counts (that record's own, taken before the pair).
    pub const BASE: usize = 4;
    /// Records written to this ring before this block, by class: polls, span ends, others.
    pub const TOTALS: usize = 5;
}
/// Words of a block's header.
#[cfg(not(loom))]
pub const BLOCK_HEADER_WORDS: usize = 8;
/// Under the model the header is its position alone.
#[cfg(loom)]
pub const BLOCK_HEADER_WORDS: usize = 1;

/// Number of record classes: polls, span ends, others.
pub const CLASSES: usize = 3;

/// Bytes of `control`'s header.
pub const HEADER_BYTES: usize = 4096;

/// `control`'s header.
pub mod header {
    /// [`super::MAGIC`].
    pub const MAGIC: usize = 0;
    /// `endian tag:32 | major:16 | minor:16`, the tag lowest.
    pub const VERSION: usize = 1;
    /// 16 random bytes, two words: low, high.
    pub const SESSION_ID: usize = 2;
    /// [`super::State`] in the low 32 bits, [`super::ClockKind`] in the high.
    pub const STATE: usize = 4;
    /// Tick at the session's start; all other clocks were read with it.
    pub const START_TICK: usize = 5;
    /// CLOCK_MONOTONIC, ns.
    pub const START_MONOTONIC: usize = 6;
    /// CLOCK_REALTIME, ns.
    pub const START_REALTIME: usize = 7;
    /// CLOCK_BOOTTIME, ns.
    pub const START_BOOTTIME: usize = 8;
    /// `pid:32 | uid:32`, pid lowest.
    pub const PID: usize = 9;
    /// Start time of the process, field 22 of `/proc/PID/stat`.
    pub const PROCESS_START: usize = 10;
    /// Tick at the end of the session, 0 while it runs.
    pub const END_TICK: usize = 11;
    /// Poll time above which a poll counts as slow, in ns.
    pub const SLOW_POLL_NS: usize = 12;
    /// Bytes of rings for a worker, at most.
    pub const WORKER_RING_BYTES: usize = 13;
    /// Section descriptors that follow.
    pub const SECTIONS: usize = 14;
    /// Seed of the ids that the service makes.
    pub const SEED: usize = 15;
    /// First section descriptor.
    pub const FIRST_SECTION: usize = 16;
}

/// A section descriptor: `kind:32 | stride:32`, offset in bytes, count, used.
pub mod section {
    /// Words of a descriptor.
    pub const WORDS: usize = 4;
    /// `kind:32 | stride in bytes:32`, kind lowest.
    pub const KIND: usize = 0;
    /// Offset in `control`, bytes.
    pub const OFFSET: usize = 1;
    /// Entries there is room for.
    pub const COUNT: usize = 2;
    /// Entries in use: published after their bytes.
    pub const USED: usize = 3;
}

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Section {
    /// Thread slots.
    Threads = 1,
    /// Thread words, side by side.
    Words = 2,
    /// Loaded modules.
    Modules = 3,
    /// Callsites and spawn locations.
    Callsites = 4,
    /// Interned strings: an arena of words.
    Strings = 5,
    /// Row keys.
    Keys = 6,
    /// Session counters.
    Counters = 7,
    /// Where slots and rows lie.
    Chunks = 8,
    /// What the service sees of itself: an arena of words.
    Info = 9,
    /// Runtimes.
    Runtimes = 10,
}

/// Sections in their order in `control`: kind, stride in bytes, entries.
pub const SECTIONS: [(Section, usize, usize); 10] = [
    (Section::Threads, thread::WORDS * 8, MAX_THREADS),
    (Section::Words, words::WORDS * 8, MAX_THREADS),
    (Section::Modules, module::WORDS * 8, 128),
    (Section::Callsites, callsite::WORDS * 8, 4096),
    (Section::Strings, 8, 64 * 1024),
    (Section::Keys, key::WORDS * 8, MAX_KEYS),
    (Section::Counters, 8, 64),
    (Section::Chunks, chunk::WORDS * 8, 512),
    (Section::Info, 8, 2048),
    (Section::Runtimes, runtime::WORDS * 8, 64),
];

/// Threads recorded at one time.
pub const MAX_THREADS: usize = 1024;
/// Row keys; key 0 is `other`.
pub const MAX_KEYS: usize = 2000;
/// Bytes of a text in an arena; what is longer is cut.
pub const LONGEST_TEXT: usize = 4096;
/// Bytes by which slots and rows grow.
pub const CHUNK_BYTES: usize = 1 << 20;

/// Session state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// Being written; with its process dead: it died.
    Running = 1,
    /// Closed by its guard.
    Closed = 2,
    /// Its process called `exit`.
    Exited = 3,
    /// Closed by its guard while a panic unwound the thread that holds it.
    Panicked = 4,
}

/// What a tick is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ClockKind {
    /// CLOCK_MONOTONIC nanoseconds.
    Monotonic = 1,
    /// The x86 time stamp counter.
    Tsc = 2,
    /// aarch64 `cntvct_el0`.
    Cntvct = 3,
}

/// A thread slot.
pub mod thread {
    /// Words.
    pub const WORDS: usize = 64;
    /// Odd while the slot's description is written.
    pub const SEQ: usize = 0;
    /// Registration ordinal, from 1; 0: never used.
    pub const WRITER: usize = 1;
    /// 1 live, 2 retired.
    pub const STATE: usize = 2;
    /// `os thread id:32 | kind:8 | worker index + 1:16`, id lowest.
    pub const OS_ID: usize = 3;
    /// Runtime number, 0 none.
    pub const RUNTIME: usize = 4;
    /// Tick of registration.
    pub const REGISTERED: usize = 5;
    /// Tick of retirement, 0 while live.
    pub const RETIRED: usize = 6;
    /// Name, up to 32 bytes of UTF-8, zero-filled.
    pub const NAME: usize = 8;
    /// Events after retirement, which were not recorded.
    pub const LATE: usize = 12;
    /// Captures that the budget refused.
    pub const REFUSED_CAPTURES: usize = 13;
    /// The newest request that this thread has seen.
    pub const LAST_REQUEST: usize = 14;
    /// Ring descriptors, 4 words each: rings file, offset in bytes, blocks, spare.
    pub const RINGS: usize = 16;
    /// Words of a ring descriptor.
    pub const RING_WORDS: usize = 4;
    /// The moving words of each ring, one cache line each.
    pub const HEADS: usize = 32;
    /// Words of a ring's moving words.
    pub const HEAD_WORDS: usize = 8;
}

/// The moving words of a ring.
pub mod head {
    /// End of the last whole record, absolute bytes ..
    pub const HEAD: usize = 0;
    /// .. and its complement.
    pub const HEAD_NOT: usize = 1;
    /// End of the block being written, stored before it is ..
    pub const RESV: usize = 2;
    /// .. and its complement.
    pub const RESV_NOT: usize = 3;
    /// Records written by class.
    pub const TOTALS: usize = 4;
}

/// Which ring of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RingKind {
    /// Span ends, attributes, events, stacks.
    Span = 0,
    /// Polls, births and ends of tasks, jobs, parks.
    Poll = 1,
    /// CPU samples; only signal handlers write here.
    Sample = 2,
}

/// All rings of a thread.
pub const RINGS: [RingKind; 3] = [RingKind::Span, RingKind::Poll, RingKind::Sample];

/// A thread's words: what it does now.
pub mod words {
    /// Words.
    pub const WORDS: usize = 8;
    /// Odd while the others are written.
    pub const SEQ: usize = 0;
    /// The thread's writer id.
    pub const WRITER: usize = 1;
    /// The innermost task being polled, 0 none.
    pub const TASK: usize = 2;
    /// When its poll began.
    pub const POLL_START: usize = 3;
    /// When the outermost poll began, 0 none.
    pub const OUTER_START: usize = 4;
    /// The current span's local id, 0 none.
    pub const SPAN: usize = 5;
    /// `1 if parked:8 | tick of the last park or unpark, from the session's start:56`.
    pub const PARK: usize = 6;
    /// `a task that just finished or is being dropped:53 | kind:3`, as who woke a task.
    pub const COMPLETING: usize = 7;
}

/// A task slot.
pub mod task {
    /// Words.
    pub const WORDS: usize = 32;
    /// Odd while the poller writes.
    pub const SEQ: usize = 0;
    /// Task id, 0: free.
    pub const ID: usize = 1;
    /// Polls so far; the low 8 bits are the poll ordinal.
    pub const POLLS: usize = 2;
    /// Ticks.
    pub const BUSY: usize = 3;
    /// Ticks of busy that inner tasks account for.
    pub const NESTED: usize = 4;
    /// Ticks.
    pub const SCHEDULED: usize = 5;
    /// Ticks.
    pub const IDLE: usize = 6;
    /// Tick of the last poll's end, or birth.
    pub const LAST_END: usize = 7;
    /// `poll ordinal:8 | tick of the first wake, from the session's start:56`; outside the sequence.
    pub const WAKE_TICK: usize = 8;
    /// `poll ordinal:8 | who:56`.
    pub const WAKE_WHO: usize = 9;
    /// Wakes by others.
    pub const WAKES: usize = 10;
    /// Waker clones by other threads.
    pub const CLONES: usize = 11;
    /// Waker drops by other threads.
    pub const DROPS: usize = 12;
    /// `poll ordinal:8 | the last who:56`, if there was more than one wake.
    pub const LAST_WHO: usize = 13;
    /// `parent task id:53 | spare:3 | task kind:8`, id lowest.
    pub const PARENT: usize = 16;
    /// `row key:32 | future size in bytes:32`, key lowest.
    pub const KEY: usize = 17;
    /// Tick of birth.
    pub const BORN: usize = 18;
    /// Local id of the span that the task is, 0 none.
    pub const SPAN: usize = 19;
    /// Wakes by itself.
    pub const SELF_WAKES: usize = 20;
    /// Waker clones by the polling thread.
    pub const OWN_CLONES: usize = 21;
    /// Waker drops by the polling thread.
    pub const OWN_DROPS: usize = 22;
    /// tokio's id, 0 unknown.
    pub const TOKIO_ID: usize = 23;
    /// Name, up to 32 bytes of UTF-8, zero-filled.
    pub const NAME: usize = 24;
    /// 1 live, 2 ended (its wakers still live).
    pub const STATE: usize = 28;
    /// Tick of the end, 0 while live.
    pub const ENDED: usize = 29;
    /// Local id of the span in which it was spawned, 0 none.
    pub const SPAWNER_SPAN: usize = 30;
    /// Runtime number, 0 none.
    pub const RUNTIME: usize = 31;
}

/// A span slot: an open span.
pub mod span {
    /// Words.
    pub const WORDS: usize = 16;
    /// Odd while the opener writes.
    pub const SEQ: usize = 0;
    /// Local id, 0: free.
    pub const ID: usize = 1;
    /// Parent's local id, 0 none.
    pub const PARENT: usize = 2;
    /// `callsite:32 | name string:32`, callsite lowest; name 0: the callsite's.
    pub const CALLSITE: usize = 3;
    /// Tick of the open.
    pub const OPENED: usize = 4;
    /// `task id:53 | spare:3 | source:8`, id lowest.
    pub const TASK: usize = 5;
    /// Trace id, low and high word.
    pub const TRACE: usize = 6;
    /// OpenTelemetry span id, 0 not yet known.
    pub const SPAN_ID: usize = 8;
    /// OpenTelemetry id of the parent, 0 none.
    pub const PARENT_ID: usize = 9;
    /// Flags as in a span end record.
    pub const FLAGS: usize = 10;
    /// Busy: each enter subtracts its tick, each exit adds its own (wrapping).
    pub const BUSY: usize = 11;
    /// Times entered.
    pub const ENTERED: usize = 12;
    /// Tick of the last exit, 0 never entered.
    pub const LAST_EXIT: usize = 13;
    /// The task's scheduled total at open.
    pub const SCHEDULED_AT_OPEN: usize = 14;
    /// The task's scheduled total at the last exit.
    pub const SCHEDULED_AT_EXIT: usize = 15;
}

/// A counter row: totals of one key on one thread slot; one writer.
pub mod row {
    use super::BUCKETS;
    /// Words.
    pub const WORDS: usize = 16 + 2 * BUCKETS;
    /// `key + 1:32 | thread slot:32`, key lowest; 0: unused.
    pub const KEY: usize = 0;
    /// Tasks spawned; spans ended; jobs started.
    pub const SPAWNED: usize = 2;
    /// Tasks or jobs finished.
    pub const FINISHED: usize = 3;
    /// Tasks cancelled.
    pub const CANCELLED: usize = 4;
    /// Tasks or jobs panicked; spans ended with an error.
    pub const PANICKED: usize = 5;
    /// Polls; of spans: those sampled; of runtimes: parks.
    pub const POLLS: usize = 6;
    /// Polls over the threshold.
    pub const SLOW_POLLS: usize = 7;
    /// Wakes by others, counted where the waker ran.
    pub const WAKES: usize = 8;
    /// Wakes by themselves.
    pub const SELF_WAKES: usize = 9;
    /// Ticks busy; of runtimes: not parked.
    pub const BUSY: usize = 10;
    /// Ticks of busy that inner tasks account for.
    pub const NESTED: usize = 11;
    /// Ticks scheduled; of jobs: queued.
    pub const SCHEDULED: usize = 12;
    /// Ticks idle; of runtimes: parked.
    pub const IDLE: usize = 13;
    /// Poll time (tasks), duration (spans), run time (jobs), time between two parks (runtimes).
    pub const FIRST_HISTOGRAM: usize = 16;
    /// Scheduled time (tasks), queue time (jobs), time parked (runtimes).
    pub const SECOND_HISTOGRAM: usize = 16 + BUCKETS;
}

/// A row key.
pub mod key {
    /// Words.
    pub const WORDS: usize = 8;
    /// `kind:8 | partial:8 | spare:16 | runtime:32`, kind lowest.
    pub const KIND: usize = 0;
    /// `callsite:32 | name string:32`, callsite lowest; name 0: none.
    pub const CALLSITE: usize = 1;
    /// `future type string:32 | kind of span or task:32`, string lowest.
    pub const TYPE: usize = 2;
}

/// What a row counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RowKind {
    /// Whatever found no key of its own.
    Other = 0,
    /// Tasks.
    Task = 1,
    /// Spans.
    Span = 2,
    /// Jobs.
    Job = 3,
    /// What a runtime's threads do between two parks.
    Runtime = 4,
}

/// A callsite: of a span, an event, a spawn or a job.
pub mod callsite {
    /// Words.
    pub const WORDS: usize = 8;
    /// `line:32 | column:32`, line lowest.
    pub const LINE: usize = 0;
    /// `file string:32 | name string:32`, file lowest.
    pub const FILE: usize = 1;
    /// `target string:32 | severity:8 | kind:8`, target lowest; kind 1 location, 2 span, 3 event.
    pub const TARGET: usize = 2;
}

/// A loaded module.
pub mod module {
    /// Words.
    pub const WORDS: usize = 32;
    /// First mapped address.
    pub const BASE: usize = 0;
    /// End of its executable part.
    pub const END: usize = 1;
    /// `bytes of the build id:32 | path string:32`, length lowest.
    pub const BUILD_ID_LEN: usize = 2;
    /// Build id, up to 32 bytes.
    pub const BUILD_ID: usize = 4;
}

/// A runtime.
pub mod runtime {
    /// Words.
    pub const WORDS: usize = 16;
    /// `flavour:32 (1 current thread, 2 multi thread) | workers:32`, flavour lowest.
    pub const FLAVOUR: usize = 0;
    /// Name string.
    pub const NAME: usize = 1;
    /// Tasks alive, as the runtime says.
    pub const ALIVE: usize = 2;
    /// Tick of that reading, 0 never.
    pub const READ: usize = 3;
    /// 1 live, 2 shut down.
    pub const STATE: usize = 4;
}

/// A chunk: one `slots-NNN` file.
pub mod chunk {
    /// Words.
    pub const WORDS: usize = 4;
    /// `kind:32 | file number:32`, kind lowest: 1 task slots, 2 span slots, 3 rows.
    pub const KIND: usize = 0;
    /// Number of its first slot or row.
    pub const FIRST: usize = 1;
    /// `count:32 | stride in bytes:32`, count lowest.
    pub const COUNT: usize = 2;
}

/// What a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ChunkKind {
    /// Task slots.
    Tasks = 1,
    /// Span slots.
    Spans = 2,
    /// Counter rows.
    Rows = 3,
}

impl ChunkKind {
    /// Words of one entry.
    pub const fn words(self) -> usize {
        match self {
            ChunkKind::Tasks => task::WORDS,
            ChunkKind::Spans => span::WORDS,
            ChunkKind::Rows => row::WORDS,
        }
    }

    /// Entries in one file.
    pub const fn per_chunk(self) -> usize {
        CHUNK_BYTES / (self.words() * 8)
    }
}

/// Session counters: what was refused or cut, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// Threads that found no slot or no room for rings.
    ThreadsRefused = 0,
    /// Tasks beyond the limit, or for which memory could not be had.
    TasksRefused = 1,
    /// Spans recorded without a slot: not known after a crash.
    SpansWithoutSlot = 2,
    /// Keys counted as `other`.
    KeysRefused = 3,
    /// Rows that found no room: their key is partial.
    RowsRefused = 4,
    /// Strings and callsites that found no room.
    StringsRefused = 5,
    /// Files that could not be made.
    FilesRefused = 6,
    /// Events on threads that had retired.
    LateEvents = 7,
    /// Values cut at 16 KiB.
    ValuesCut = 8,
    /// Attributes beyond the limit.
    AttributesDropped = 9,
    /// Spans that ended on threads that are not recorded.
    SpansLost = 10,
}

impl Counter {
    /// All, in the order of their words.
    pub const NAMES: [&'static str; 11] = [
        "threads_refused",
        "tasks_refused",
        "spans_without_slot",
        "keys_refused",
        "rows_refused",
        "strings_refused",
        "files_refused",
        "late_events",
        "values_cut",
        "attributes_dropped",
        "spans_lost",
    ];
}

/// Two 32-bit halves in one word, `low` lowest.
#[inline]
pub const fn pack(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// The halves of a word.
#[inline]
pub const fn unpack(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// Bytes of `control`, whole pages.
pub const CONTROL_BYTES: usize = {
    let mut bytes = HEADER_BYTES;
    let mut i = 0;
    while i < SECTIONS.len() {
        bytes += SECTIONS[i].1 * SECTIONS[i].2;
        bytes = bytes.next_multiple_of(64);
        i += 1;
    }
    bytes.next_multiple_of(4096)
};

const _: () = {
    assert!(header::FIRST_SECTION * 8 + SECTIONS.len() * section::WORDS * 8 <= HEADER_BYTES);
    assert!(CONTROL_BYTES <= 2 << 20, "control must stay within the fixed part of the memory budget");
    assert!(thread::RINGS + 3 * thread::RING_WORDS <= thread::HEADS);
    assert!(thread::HEADS + 3 * thread::HEAD_WORDS <= thread::WORDS);
    assert!(
        (thread::HEADS * 8).is_multiple_of(64) && thread::HEAD_WORDS * 8 == 64,
        "heads lie in cache lines of their own"
    );
    assert!(words::WORDS * 8 == 64, "a thread's words are one cache line");
    assert!(task::WAKE_TICK * 8 == 64 && task::PARENT * 8 == 128, "pollers and wakers write different lines");
    assert!(task::WORDS * 8 == 256 && span::WORDS * 8 == 128);
    assert!((row::WORDS * 8).is_multiple_of(64));
    assert!(head::TOTALS + CLASSES <= thread::HEAD_WORDS);
    assert!(Counter::NAMES.len() <= 64);
};
#[cfg(not(loom))]
const _: () = assert!(block::TOTALS + CLASSES == BLOCK_HEADER_WORDS && BLOCK_BYTES == 4096);
