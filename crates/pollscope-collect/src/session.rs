//! One session being followed: its rings, slots and words, and where in them we are.

use crate::clock::{ClockLine, Piece};
use crate::collector::Rings;
use crate::convert::{Converter, ids_of, kind_of_thread, waker};
use crate::exported::Exported;
use crate::names::Names;
use crate::text::Open;
use crate::watch::{ThreadNow, is_mapped, thread_words};
use pollscope_model::event::{
    Class, Event, LocalSpanId, SessionEnd, SessionId, SessionInfo, SpanState, TaskId, TaskState, ThreadId,
    Value,
};
use pollscope_model::{Nanos, UnixNanos};
use pollscope_wire::ids::{self, ID_MASK, Who};
use pollscope_wire::layout::{
    BLOCK_BYTES, ChunkKind, Counter, RingKind, Section, State as WireState, runtime, span, task, unpack,
    words,
};
use pollscope_wire::reader::{
    ChunkPlace, Header, Life, OpenError, RingPlace, SessionFiles, ThreadSlot, life,
};
use pollscope_wire::record::{self, SpanIds};
use pollscope_wire::ring::{RingReader, Totals};
use pollscope_wire::seq::TRIES;
use pollscope_wire::session::{InfoValue, Registration};
use pollscope_wire::sys;
use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{Ordering, fence};

/// Chunks of a ring read in one round: 32 blocks each.
const CHUNKS_PER_ROUND: usize = 32;
/// Chunks of all rings of a session read in one round: 256 MiB, more than the rings of any service hold.
const CHUNKS_PER_SESSION: usize = 2048;
/// How long nothing may move before a silent session counts as dead, ns.
const STILL_NS: u64 = 10_000_000_000;

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its process lives.
    Live,
    /// It is over, in this way.
    Over(SessionEnd),
}

/// Where the reader of a session stands: plain data, for a journal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionPositions {
    /// By thread slot and ring (0 span, 1 poll): absolute position, and records accounted for by class.
    pub rings: Vec<(u32, u8, u64, Totals)>,
    /// The clock line: tick, nanoseconds, slope.
    pub line: Vec<(u64, u64, f64)>,
    /// Newest tick converted.
    pub newest: u64,
    /// Length over which the slope was measured.
    pub measured: u64,
}

/// Where a collector stands, by session.
pub type Positions = HashMap<u128, SessionPositions>;

#[derive(Default)]
struct Thread {
    writer: u64,
    /// The owner that its slot showed before this one.
    before: u64,
    ended: bool,
    rings: HashMap<u8, Ring>,
}

struct Ring {
    place: RingPlace,
    reader: RingReader,
    open: Open,
    /// Span ends before this position have been exported by an earlier reader.
    exported: u64,
    /// The owner whose records are being read, if its slot never showed it to us.
    passed_by: Option<u64>,
    /// Number of the block that the last record stood in.
    block: u64,
}

/// Records copied out of a ring, and their bodies.
#[derive(Default)]
struct Copied {
    records: Vec<(u64, u8, u16, u64, u64, Range<usize>)>,
    words: Vec<u64>,
}

pub(crate) struct Followed {
    pub files: SessionFiles,
    pub header: Header,
    pub info: SessionInfo,
    pub state: State,
    pub read: Totals,
    pub lost: Totals,
    names: Names,
    line: ClockLine,
    threads: HashMap<u64, Thread>,
    resume: SessionPositions,
    /// What stands before the positions is left, not read again.
    skip: bool,
    /// Records left there, which the next round tells as lost.
    left: Totals,
    /// The slot that the next round begins with.
    first: u64,
    refused: [u64; Counter::NAMES.len()],
    /// When it last moved, and what moved then: for a process that cannot be seen.
    moved: (u64, u64),
    since_clock: u64,
    copied: Copied,
    exported: Exported,
}

/// What one reading of all slots found.
#[derive(Default)]
struct Found {
    tasks: Vec<TaskId>,
    spans: Vec<LocalSpanId>,
}

/// What one round over a session gave.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passed {
    pub records: u64,
    pub lost: u64,
    pub more: bool,
}

const FOLLOWED: [RingKind; 2] = [RingKind::Span, RingKind::Poll];

/// These rings of all threads, each with a reader at its oldest record.
fn followed(files: &SessionFiles) -> Vec<(u64, RingKind, RingPlace, RingReader)> {
    let slots = 0..files.used(Section::Threads).unwrap_or(0);
    let threads = slots.filter_map(|slot| Some((slot, files.thread(slot).ok()?)));
    let rings =
        threads.flat_map(|(slot, thread)| FOLLOWED.map(|which| (slot, which, thread.rings[which as usize])));
    rings
        .map(|(slot, which, place)| (slot, which, place, RingReader::new(place.blocks.min(1 << 20))))
        .collect()
}
/// Words of slots that are copied at a time: little enough to stay in the heap from one reading to the next.
const PIECE_WORDS: usize = 1 << 11;
const CLASSES: [Class; 3] = [Class::Polls, Class::SpanEnds, Class::Others];

impl Followed {
    pub fn open(path: &Path, resume: Option<SessionPositions>) -> Result<Followed, OpenError> {
        let files = SessionFiles::open(path)?;
        let header = files.header()?;
        // A lock that is held, or a process that can be seen, is of this machine, whatever its wall clock says.
        let lives = life(files.dir(), header.pid, header.process_start).is_ok_and(|life| life != Life::Dead);
        let same_boot = lives || is_same_boot(&header);
        let resume = resume.unwrap_or_default();
        let pieces = resume.line.iter().map(|&(tick, nanos, slope)| Piece { tick, nanos, slope }).collect();
        let line = if resume.line.is_empty() {
            ClockLine::new(&header, same_boot)
        } else {
            ClockLine::restore(&header, same_boot, pieces, resume.newest, resume.measured)
        };
        let mut followed = Followed {
            info: info(&files, &header),
            files,
            header,
            state: State::Live,
            read: [0; 3],
            lost: [0; 3],
            names: Names::default(),
            line,
            threads: HashMap::new(),
            resume,
            skip: false,
            left: [0; 3],
            first: 0,
            refused: [0; Counter::NAMES.len()],
            moved: (0, sys::monotonic()),
            since_clock: sys::monotonic(),
            copied: Copied::default(),
            exported: Exported::default(),
        };
        if !same_boot && followed.line.measured() == 0 {
            followed.learn_clock();
        }
        Ok(followed)
    }

    /// Measures the slope from the pairs in the blocks of a session from another machine or boot.
    fn learn_clock(&mut self) {
        for (slot, which, place, mut reader) in followed(&self.files) {
            for _ in 0..CHUNKS_PER_ROUND {
                let Ok(mut source) = self.files.ring(slot, which, place) else { break };
                let Ok(batch) = reader.read(&mut source, |_, _| ()) else { break };
                if let Some((tick, monotonic)) = batch.pair {
                    self.line.observe(tick, monotonic);
                }
                if !batch.more {
                    break;
                }
            }
        }
    }

    pub fn positions(&self) -> SessionPositions {
        let mut rings: Vec<_> = self
            .threads
            .iter()
            .flat_map(|(slot, thread)| {
                thread.rings.iter().map(|(which, ring)| {
                    let (next, seen) = ring.reader.position();
                    // What was exported stays so, also while it is being read again.
                    (*slot as u32, *which, next.max(ring.exported), seen)
                })
            })
            .collect();
        // What has not been read yet stands where the earlier reader left it.
        let unread = self.resume.rings.iter().filter(|(slot, which, ..)| {
            self.threads.get(&(*slot as u64)).is_none_or(|thread| !thread.rings.contains_key(which))
        });
        rings.extend(unread.copied());
        rings.sort_unstable();
        let (pieces, newest, measured) = self.line.parts();
        let line = pieces.iter().map(|piece| (piece.tick, piece.nanos, piece.slope)).collect();
        SessionPositions { rings, line, newest, measured }
    }

    pub fn clock_measured(&self) -> u64 {
        self.line.measured()
    }

    /// Puts every reader at its ring's head: what stands there is left, and counted as lost.
    pub fn skip_to_heads(&mut self) {
        self.skip = true;
        for (slot, which, place, mut reader) in followed(&self.files) {
            for _ in 0..1 << 12 {
                let Ok(mut source) = self.files.ring(slot, which, place) else { break };
                if !reader.read(&mut source, |_, _| ()).is_ok_and(|batch| batch.more) {
                    break;
                }
            }
            let (next, seen) = reader.position();
            self.resume.rings.push((slot as u32, which as u8, next, seen));
            for (left, seen) in self.left.iter_mut().zip(seen) {
                *left = left.saturating_add(seen);
            }
        }
    }

    /// One pass over all rings.
    pub fn round(&mut self, sink: &mut dyn FnMut(Event)) -> Passed {
        let now = sys::monotonic();
        if self.state == State::Live && now - self.since_clock >= 1_000_000_000 {
            self.since_clock = now;
            self.line.observe_own();
        }
        let mut passed = Passed::default();
        self.tell_left(&mut passed, sink);
        let used = self.files.used(Section::Threads).unwrap_or(0);
        let mut budget = CHUNKS_PER_SESSION;
        let first = if self.first < used { self.first } else { 0 };
        for slot in (first..used).chain(0..first) {
            if budget == 0 {
                // The others' turn comes first in the next round.
                self.first = slot;
                passed.more = true;
                break;
            }
            let Ok(thread) = self.files.thread(slot) else { continue };
            if thread.writer == 0 {
                continue;
            }
            self.meet(slot, &thread, sink);
            for which in FOLLOWED {
                self.ring(slot, &thread, which, &mut budget, &mut passed, sink);
            }
        }
        self.counters(sink);
        passed
    }

    /// Bytes of its rings.
    pub fn rings(&self) -> Rings {
        let mut rings = Rings::default();
        for slot in 0..self.files.used(Section::Threads).unwrap_or(0) {
            let Ok(thread) = self.files.thread(slot) else { continue };
            let blocks = FOLLOWED.map(|which| thread.rings[which as usize].blocks);
            let bytes = blocks.into_iter().fold(0, u64::saturating_add).saturating_mul(BLOCK_BYTES);
            rings.all = rings.all.saturating_add(bytes);
            if thread.live && thread.kind == Registration::WORKER {
                rings.least = if rings.least == 0 { bytes } else { rings.least.min(bytes) };
                rings.most = rings.most.max(bytes);
            }
        }
        rings
    }

    /// Tells once what was left at the start. It is nobody's in particular: thread 0.
    fn tell_left(&mut self, passed: &mut Passed, sink: &mut dyn FnMut(Event)) {
        for (class, left) in std::mem::take(&mut self.left).into_iter().enumerate() {
            if left > 0 {
                self.lost[class] = self.lost[class].saturating_add(left);
                passed.lost = passed.lost.saturating_add(left);
                sink(Event::Lost { thread: ThreadId(0), class: CLASSES[class], records: left });
            }
        }
    }

    /// Tells of a thread that is new, or has ended.
    fn meet(&mut self, slot: u64, thread: &ThreadSlot, sink: &mut dyn FnMut(Event)) {
        let known = self.threads.entry(slot).or_default();
        if known.writer != thread.writer {
            if known.writer != 0 && !known.ended {
                // It went between two looks, at the latest when the next one came.
                sink(Event::ThreadEnded(ThreadId(known.writer), self.line.time(thread.registered)));
            }
            known.before = known.writer;
            known.writer = thread.writer;
            known.ended = false;
            let runtime = self.names.runtime(&self.files, thread.runtime);
            sink(Event::Thread {
                thread: ThreadId(thread.writer),
                os_id: thread.os_id,
                kind: kind_of_thread(thread.kind),
                name: thread.name.as_str().into(),
                runtime: (thread.runtime != 0).then_some(runtime),
            });
        }
        if !thread.live && !known.ended {
            known.ended = true;
            sink(Event::ThreadEnded(ThreadId(thread.writer), self.line.time(thread.retired)));
        }
    }

    fn ring(
        &mut self,
        slot: u64,
        thread: &ThreadSlot,
        which: RingKind,
        budget: &mut usize,
        passed: &mut Passed,
        sink: &mut dyn FnMut(Event),
    ) {
        let place = thread.rings[which as usize];
        let Thread { before, rings, .. } = self.threads.entry(slot).or_default();
        let (resume, skip) = (&self.resume, self.skip);
        let ring = rings.entry(which as u8).or_insert_with(|| {
            let at = resume.rings.iter().find(|(s, w, ..)| (*s as u64, *w) == (slot, which as u8));
            let exported = at.map_or(0, |&(_, _, next, _)| next);
            let reader = match at {
                Some(&(_, _, next, seen)) if skip => RingReader::resume(place.blocks, next, seen),
                _ => RingReader::new(place.blocks),
            };
            Ring { place, reader, open: Open::default(), exported, passed_by: None, block: 0 }
        });
        // A slot keeps its rings for good: another place is damage, or a hostile hand.
        if ring.place != place {
            return;
        }
        for chunk in 0..CHUNKS_PER_ROUND {
            if *budget == 0 {
                passed.more = true;
                return;
            }
            let mut source = match self.files.ring(slot, which, place) {
                Ok(source) => source,
                Err(_) => return,
            };
            *budget -= 1;
            // Copied once more, all bodies behind one another: converting needs the files that the source holds.
            let Copied { records, words } = &mut self.copied;
            records.clear();
            words.clear();
            let copied = ring.reader.read(&mut source, |writer, raw| {
                let start = words.len();
                words.extend_from_slice(raw.body);
                records.push((writer, raw.kind, raw.flags, raw.tick, raw.position, start..words.len()));
            });
            let Ok(batch) = copied else { return };
            let mut converter =
                Converter { files: &self.files, names: &mut self.names, line: &mut self.line };
            for (writer, kind, flags, tick, position, body) in records.drain(..) {
                let raw = record::Raw { kind, flags, tick, position, body: &words[body] };
                if kind == record::kind::THREAD && which == RingKind::Poll {
                    // Who came and went between two looks stands here only; the slot's owner has been told.
                    if let Some(former) = ring.passed_by.take() {
                        sink(Event::ThreadEnded(ThreadId(former), converter.line.time(tick)));
                    }
                    if writer != thread.writer && writer != *before {
                        converter.thread(&raw, sink);
                        ring.passed_by = Some(writer);
                    }
                }
                // Parts stand next to one another: over a gap they are not of the same value.
                let block = position / BLOCK_BYTES;
                let exported = position < ring.exported;
                if block > ring.block + 1 {
                    ring.open.finish(&mut |event| self.exported.tell(event, exported, sink));
                }
                ring.block = block;
                converter.record(writer, &raw, &mut ring.open, &mut |event| {
                    self.exported.tell(event, exported, sink);
                });
            }
            let id = ThreadId(thread.writer);
            for (class, name) in CLASSES.into_iter().enumerate() {
                self.read[class] += batch.read[class];
                self.lost[class] = self.lost[class].saturating_add(batch.lost[class]);
                passed.records += batch.read[class];
                passed.lost = passed.lost.saturating_add(batch.lost[class]);
                if batch.read[class] > 0 {
                    sink(Event::Read { thread: id, class: name, records: batch.read[class] });
                }
                if batch.lost[class] > 0 {
                    sink(Event::Lost { thread: id, class: name, records: batch.lost[class] });
                }
            }
            if !batch.more {
                break;
            }
            passed.more |= chunk + 1 == CHUNKS_PER_ROUND;
        }
    }

    fn counters(&mut self, sink: &mut dyn FnMut(Event)) {
        let Ok(now) = self.files.counters() else { return };
        for (i, name) in Counter::NAMES.into_iter().enumerate() {
            if now[i] > self.refused[i] {
                self.refused[i] = now[i];
                sink(Event::Refused(name, now[i]));
            }
        }
    }

    /// Refused counters as last read.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Counter::NAMES.into_iter().zip(self.refused)
    }

    /// Live tasks, open spans and runtimes, as their slots show them.
    pub fn slots(&mut self, sink: &mut dyn FnMut(Event)) {
        // Nothing is born any more where all is over.
        let began = if self.state == State::Live { self.line.about_now() } else { Some(UnixNanos(u64::MAX)) };
        let mut found = Found::default();
        if self.all_slots(&mut found, sink).is_ok()
            && let Some(began) = began
        {
            let Found { tasks, spans } = found;
            sink(Event::Alive { began, tasks, spans, slotless: ids::id(0, ids::NO_SLOT) });
        }
        self.runtimes(sink);
    }

    fn all_slots(&mut self, found: &mut Found, sink: &mut dyn FnMut(Event)) -> io::Result<()> {
        let polling = self.polling(sink);
        for place in self.files.chunks()? {
            match place.kind {
                ChunkKind::Tasks => self.task_slots(&place, &polling, found, sink)?,
                ChunkKind::Spans => self.span_slots(&place, found, sink)?,
                ChunkKind::Rows => {}
            }
        }
        Ok(())
    }

    /// Copies a chunk's entries in use with the sequences before and after: those whose sequence stood still are whole.
    fn chunk(&mut self, place: &ChunkPlace, seq: usize) -> io::Result<Vec<(bool, Vec<u64>)>> {
        let stride = place.stride as usize / 8;
        let step = (PIECE_WORDS / stride).max(1);
        let mut copies = [(); 3].map(|()| vec![0; stride * step.min(place.count as usize)]);
        let mut entries = Vec::new();
        for first in (0..place.count).step_by(step) {
            let words = stride * step.min((place.count - first) as usize);
            let [before, data, after] = &mut copies;
            let (before, data, after) = (&mut before[..words], &mut data[..words], &mut after[..words]);
            self.files.slots(place, first, before)?;
            // Most stand empty most of the time. One that is taken from now on is told of the next time.
            if before.chunks_exact(stride).all(|entry| entry[1] == 0) {
                continue;
            }
            for copy in [&mut *data, &mut *after] {
                fence(Ordering::Acquire);
                self.files.slots(place, first, copy)?;
            }
            for (i, entry) in data.chunks_exact(stride).enumerate().filter(|(_, entry)| entry[1] != 0) {
                let at = i * stride + seq;
                let mut entry = entry.to_vec();
                let mut whole = before[at] == after[at] && before[at] & 1 == 0;
                if !whole && self.state == State::Live {
                    whole = self.whole_entry(place, first + i as u32, seq, &mut entry)?;
                }
                entries.push((whole, entry));
            }
        }
        Ok(entries)
    }

    /// Copies an entry that moved while its chunk was copied, alone and thus faster, a few times.
    fn whole_entry(
        &mut self,
        place: &ChunkPlace,
        index: u32,
        seq: usize,
        entry: &mut [u64],
    ) -> io::Result<bool> {
        let mut first = vec![0; seq + 1];
        for _ in 0..TRIES {
            self.files.slot(place, index, &mut first)?;
            let before = first[seq];
            fence(Ordering::Acquire);
            self.files.slot(place, index, entry)?;
            fence(Ordering::Acquire);
            self.files.slot(place, index, &mut first)?;
            if before == first[seq] && before & 1 == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn task_slots(
        &mut self,
        place: &ChunkPlace,
        polling: &HashMap<u64, u64>,
        found: &mut Found,
        sink: &mut dyn FnMut(Event),
    ) -> io::Result<()> {
        for (whole, w) in self.chunk(place, task::SEQ)? {
            if w.len() < task::WORDS || w[task::STATE] != 1 {
                continue;
            }
            found.tasks.push(TaskId(w[task::ID]));
            let (key, size) = unpack(w[task::KEY]);
            let birth = record::Birth {
                task: w[task::ID],
                kind: (w[task::PARENT] >> 56) as u8,
                parent: w[task::PARENT] & ID_MASK,
                key,
                size,
                born: w[task::BORN],
                span: w[task::SPAN],
                tokio_id: w[task::TOKIO_ID],
                name: std::array::from_fn(|i| w[task::NAME + i]),
                runtime: w[task::RUNTIME] as u32,
            };
            let totals = record::Totals {
                polls: w[task::POLLS],
                busy: w[task::BUSY],
                nested: w[task::NESTED],
                scheduled: w[task::SCHEDULED],
                idle: w[task::IDLE],
                wakes: w[task::WAKES],
                self_wakes: w[task::SELF_WAKES],
                clones: w[task::OWN_CLONES].wrapping_add(w[task::CLONES]),
                drops: w[task::OWN_DROPS].wrapping_add(w[task::DROPS]),
            };
            let start = self.header.start_tick;
            let mut converter =
                Converter { files: &self.files, names: &mut self.names, line: &mut self.line };
            let Some(birth) = converter.birth(&birth) else { continue };
            let last_end = converter.line.time(w[task::LAST_END]);
            let totals = converter.totals(&totals, birth.born, last_end);
            let polling_since = polling.get(&w[task::ID]).map(|tick| converter.line.time(*tick));
            // A wake belongs to this idle period if it carries the ordinal of the polls begun.
            let fits = w[task::WAKE_TICK] != 0 && w[task::WAKE_TICK] & 0xff == w[task::POLLS] & 0xff;
            let woken = fits.then(|| {
                let at = converter.line.time(start.saturating_add(w[task::WAKE_TICK] >> 8));
                (at, waker(Who(w[task::WAKE_WHO] >> 8)))
            });
            let id = TaskId(birth.task.0);
            sink(Event::TaskBorn(birth));
            sink(Event::TaskState(id, TaskState { totals, last_end, polling_since, woken, moving: !whole }));
        }
        Ok(())
    }

    fn span_slots(
        &mut self,
        place: &ChunkPlace,
        found: &mut Found,
        sink: &mut dyn FnMut(Event),
    ) -> io::Result<()> {
        for (whole, w) in self.chunk(place, span::SEQ)? {
            if w.len() < span::WORDS {
                continue;
            }
            found.spans.push(LocalSpanId(w[span::ID]));
            if !whole {
                continue;
            }
            let (callsite, name) = unpack(w[span::CALLSITE]);
            let open = record::SpanOpen {
                span: w[span::ID],
                parent: w[span::PARENT],
                callsite,
                name,
                task: w[span::TASK] & ID_MASK,
                source: (w[span::TASK] >> 56) as u8,
            };
            let ids = SpanIds {
                trace: (w[span::TRACE + 1] as u128) << 64 | w[span::TRACE] as u128,
                span: w[span::SPAN_ID],
                parent: w[span::PARENT_ID],
            };
            let bits = w[span::FLAGS] as u16;
            let ids = ids_of(bits, &ids);
            let mut converter =
                Converter { files: &self.files, names: &mut self.names, line: &mut self.line };
            let open = converter.span_open(&open, w[span::OPENED], ids);
            let state = SpanState {
                task: open.task,
                under_way: bits & record::span::UNDER_WAY != 0,
                foreign: bits & record::span::FOREIGN != 0,
                last_exit: (w[span::LAST_EXIT] != 0).then(|| converter.line.time(w[span::LAST_EXIT])),
                // While it is entered, the tick of that is taken off.
                busy: converter.line.ticks(u64::try_from(w[span::BUSY] as i64).unwrap_or(0)),
                scheduled: converter
                    .line
                    .ticks(w[span::SCHEDULED_AT_EXIT].saturating_sub(w[span::SCHEDULED_AT_OPEN])),
                polls: w[span::ENTERED],
            };
            let id = open.span;
            sink(Event::SpanOpened(open));
            sink(Event::SpanState(id, state));
        }
        Ok(())
    }

    fn runtimes(&mut self, sink: &mut dyn FnMut(Event)) {
        let used = self.files.used(Section::Runtimes).unwrap_or(0);
        for number in 1..used {
            let mut w = [0; runtime::WORDS];
            if self.files.entry(Section::Runtimes, number, &mut w).is_err() || w[runtime::READ] == 0 {
                continue;
            }
            // The age is known by its own clock only.
            let read = w[runtime::READ];
            let now = if self.state == State::Live { self.line.now().max(read) } else { read };
            sink(Event::RuntimeAlive {
                runtime: self.names.runtime(&self.files, number as u32),
                workers: unpack(w[runtime::FLAVOUR]).1,
                alive: w[runtime::ALIVE],
                age: self.line.ticks(now - read),
            });
        }
    }

    /// Tasks being polled now, with the tick at which that poll began; tells each thread's.
    fn polling(&mut self, sink: &mut dyn FnMut(Event)) -> HashMap<u64, u64> {
        let live = self.state == State::Live;
        let mut polling = HashMap::new();
        for (whole, w) in thread_words(&self.files) {
            // Torn words name no task; those of a dead process stand as they are.
            if w[words::WRITER] == 0 || live && !whole {
                continue;
            }
            if !live && w[words::PARK] != 0 {
                // Its last sign of life may be that it went to sleep.
                self.line.time(self.header.start_tick.saturating_add(w[words::PARK] >> 8));
            }
            let (task, start) = (w[words::TASK] & ID_MASK, w[words::POLL_START]);
            let now = (task != 0 && start != 0).then(|| (TaskId(task), self.line.time(start)));
            sink(Event::Polling(ThreadId(w[words::WRITER]), now));
            if now.is_some() {
                polling.insert(task, start);
            }
        }
        polling
    }

    /// What each thread does now.
    pub fn watch(&mut self, session: SessionId) -> Vec<ThreadNow> {
        let now = thread_words(&self.files).into_iter().filter(|(_, w)| w[words::WRITER] != 0);
        now.map(|(whole, w)| ThreadNow::new(session, whole, &w, self.header.start_tick, &mut self.line))
            .collect()
    }

    /// Looks whether it is over; when it is, the end is told once, by the caller, after a last round.
    pub fn look(&mut self) -> io::Result<State> {
        if let Ok(header) = self.files.header() {
            self.header = header;
        }
        let over = |state: u32| match state {
            s if s == WireState::Closed as u32 => SessionEnd::Closed,
            s if s == WireState::Panicked as u32 => SessionEnd::Panicked,
            s if s == WireState::Exited as u32 => SessionEnd::Exited,
            _ => SessionEnd::Died,
        };
        // A guard or `exit` says it before the process is gone: what comes after is not recorded.
        if self.header.state != WireState::Running as u32 {
            return Ok(State::Over(over(self.header.state)));
        }
        Ok(match life(self.files.dir(), self.header.pid, self.header.process_start)? {
            Life::Live => State::Live,
            Life::Dead => State::Over(SessionEnd::Died),
            Life::Silent => match is_mapped(&self.files, self.header.pid) {
                Some(true) => State::Live,
                // It runs something else now, or this is a copy.
                Some(false) => State::Over(SessionEnd::Died),
                None => self.moves(),
            },
        })
    }

    /// Whether anything has moved in it lately: all that can be told where nothing is said of its process.
    fn moves(&mut self) -> State {
        let now = sys::monotonic();
        let words = thread_words(&self.files);
        let heads = words
            .iter()
            .flat_map(|(_, w)| w)
            .fold(self.read.iter().sum(), |sum: u64, word| ids::mix(sum ^ word));
        if heads != self.moved.0 {
            self.moved = (heads, now);
        }
        if now - self.moved.1 > STILL_NS { State::Over(SessionEnd::Died) } else { State::Live }
    }

    /// When it ended: as it says itself, else at the last thing that was read of it.
    pub fn end_time(&mut self) -> UnixNanos {
        let at = match self.header.end_tick {
            0 => self.line.newest(),
            tick => self.line.time(tick),
        };
        // A tick from the future is nonsense, not an end.
        at.min(UnixNanos(sys::realtime()))
    }
}

/// Whether the session was made on this machine since it was started: both clocks then run on here.
fn is_same_boot(header: &Header) -> bool {
    let theirs = header.start_realtime as i128 - header.start_boottime as i128;
    let ours = sys::realtime() as i128 - sys::boottime() as i128;
    (theirs - ours).unsigned_abs() < 5_000_000_000
}

fn info(files: &SessionFiles, header: &Header) -> SessionInfo {
    let mut resource = Vec::new();
    let mut exe = String::new();
    let (mut tracing_layer, mut foreign_subscriber, mut apart) = (false, false, false);
    let (mut withheld, mut withheld_logs) = (false, false);
    for item in files.info().unwrap_or_default() {
        if !item.resource {
            match (item.key.as_str(), item.value) {
                ("exe", InfoValue::Str(path)) => exe = path,
                ("tracing.layer", InfoValue::Bool(made)) => tracing_layer = made,
                ("tracing.foreign", InfoValue::Bool(found)) => foreign_subscriber = found,
                ("tracing.apart", InfoValue::Bool(wanted)) => apart = wanted,
                ("export.traces", InfoValue::Str(said)) => withheld = said == "false",
                ("export.logs", InfoValue::Str(said)) => withheld_logs = said == "false",
                _ => {}
            }
            continue;
        }
        let value = match item.value {
            InfoValue::Str(text) => Value::Str(text.into()),
            InfoValue::I64(n) => Value::I64(n),
            InfoValue::F64(n) => Value::F64(n),
            InfoValue::Bool(b) => Value::Bool(b),
        };
        resource.push((item.key.into(), value));
    }
    SessionInfo {
        resource,
        pid: header.pid,
        started: UnixNanos(header.start_realtime),
        exe: exe.into(),
        tracing_layer,
        foreign_subscriber,
        apart,
        withheld,
        withheld_logs,
        slow_poll: Nanos(header.slow_poll_ns),
    }
}
