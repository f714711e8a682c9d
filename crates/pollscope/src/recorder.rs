//! The thread's half of recording: its rings, words, rows and free slots, all reached through [`with`].
//!
//! A thread registers at its first event and retires at its exit. After that it records nothing more, and
//! never registers again: another thread-local's destructor may still wake or drop tasks, and must find
//! nothing here that panics. No user code runs inside [`with`], and nothing in it calls [`with`] again.

use crate::span::Context;
use crate::state::{self, Global};
use pollscope_wire::ids::Who;
use pollscope_wire::layout::{Counter, row, words};
use pollscope_wire::session::{Registration, Row, ThreadHandle};
use pollscope_wire::{seq, sys};
use std::cell::Cell;
use std::collections::HashMap;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::runtime::Handle;

/// Free slot numbers that a thread keeps for itself at most; beyond it half go back.
const KEPT_SLOTS: usize = 256;
/// Slot numbers fetched at a time.
const FETCHED_SLOTS: usize = 64;
/// Static strings whose ids are looked up without hashing.
const RECENT: usize = 128;
/// How long after a final poll a wake is still taken as caused by it.
const COMPLETING_NS: u64 = 20_000;

/// What a thread is, told by hooks and thread workers before its first event.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub kind: u8,
    pub runtime: u32,
}

impl Kind {
    pub const MAIN: u8 = 1;
    pub const WORKER: u8 = Registration::WORKER;
    pub const BLOCKING: u8 = 3;
    pub const THREAD_WORKER: u8 = 4;
    pub const OTHER: u8 = 5;
}

/// The thread's recorder.
pub(crate) struct Recorder {
    /// 1 while this process records.
    enabled: &'static AtomicU64,
    /// The session's first tick: wake words count from it.
    pub origin: u64,
    pub slow_poll_ticks: u64,
    pub global: &'static Global,
    pub handle: ThreadHandle,
    /// The runtime of which it is a worker; 0: of none.
    worker_of: u32,
    /// Another runtime that was asked for last, and its number.
    known: Option<(tokio::runtime::Id, u32)>,
    /// The innermost task being polled, and the ticks of its frame.
    pub frame: Frame,
    /// Entered spans and, below them, what the polls made current: the last is the current one.
    pub entered: Vec<Context>,
    /// The frames around it, the innermost last; the empty one of a thread that does nothing is not among them.
    around: Vec<Frame>,
    /// What is above the span that tracing is about to open, if that has no parent there.
    #[cfg(feature = "tracing")]
    pub under: Option<Context>,
    /// A span of tracing that is made current here without being entered; 0: none.
    #[cfg(all(feature = "tracing", feature = "tower"))]
    pub shown: u64,
    /// A task that just ended here.
    pub completing: (Who, u64),
    pub parked_since: u64,
    /// Since when, and of which runtime.
    pub unparked_since: (u64, u32),
    /// By key: not asked for yet, refused for good, or there.
    rows: Vec<Option<Option<Row>>>,
    keys: HashMap<KeyPlace, u32, Mix>,
    callsites: HashMap<usize, u32, Mix>,
    strings: HashMap<(usize, usize), u32, Mix>,
    /// Those that were asked for last, by the low bits of their address: `(address, length, id)`.
    recent: [(usize, usize, u32); RECENT],
    /// Call sites of tracing that were made while the service runs, by what they are of.
    #[cfg(feature = "tracing")]
    pub made: HashMap<usize, &'static tracing::Metadata<'static>, Mix>,
    free_tasks: Vec<u32>,
    free_spans: Vec<u32>,
}

/// What the poll or job under way knows; an inner one has its own.
#[derive(Clone, Copy, Default)]
pub(crate) struct Frame {
    /// 0: no task.
    pub task: u64,
    /// When that task was born.
    pub born: u64,
    pub start: u64,
    pub outer_start: u64,
    /// The task's scheduled total, this poll's included.
    pub scheduled: u64,
    /// Ticks of inner polls.
    pub inner: u64,
    /// How many spans were entered when it began.
    pub base: usize,
    pub self_wakes: u32,
    pub clones: u32,
    pub drops: u32,
    /// It is no poll: the task's future is being dropped.
    pub dropping: bool,
}

/// What a row key is found by: addresses of the location and of the type's name, the name's hash, and more.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KeyPlace {
    pub location: usize,
    pub future: usize,
    pub name: u64,
    pub what: u32,
    pub runtime: u32,
}

/// A hasher for keys that are addresses: mixes words.
#[derive(Clone, Copy, Default)]
pub(crate) struct Mix(u64);

impl std::hash::BuildHasher for Mix {
    type Hasher = Mix;
    fn build_hasher(&self) -> Mix {
        Mix(0x9e37_79b9_7f4a_7c15)
    }
}

impl std::hash::Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29);
    }
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
    fn write_u32(&mut self, word: u32) {
        self.write_u64(word as u64);
    }
}

struct Local {
    kind: Cell<Option<Kind>>,
    tried: Cell<bool>,
    /// The recorder that this thread owns, once it has one; it is reached by [`HERE`].
    recorder: Cell<*mut Recorder>,
}

thread_local! {
    /// This thread's recorder while nobody uses it. Null: there is none yet, it is in use, or the thread is past
    /// its end. Apart from its owner, since a word without a destructor is one load away.
    static HERE: Cell<*mut Recorder> = const { Cell::new(ptr::null_mut()) };
    static LOCAL: Local = const {
        Local { kind: Cell::new(None), tried: Cell::new(false), recorder: Cell::new(ptr::null_mut()) }
    };
}

impl Drop for Local {
    fn drop(&mut self) {
        HERE.set(ptr::null_mut());
        let recorder = self.recorder.get();
        if recorder.is_null() {
            return;
        }
        // SAFETY: it came from `Box::into_raw` in `register` and is freed here alone. Nobody uses it: a thread's
        // destructors run outside `with`, and `HERE`, the only other copy, has just been cleared.
        let recorder = unsafe { Box::from_raw(recorder) };
        if recorder.global.is_on() {
            let Recorder { global, handle, free_tasks, free_spans, .. } = *recorder;
            global.session.tasks().give(&free_tasks);
            global.session.spans().give(&free_spans);
            global.session.retire(handle);
        } else {
            // A forked child: what it has is a copy of its parent's.
            std::mem::forget(recorder);
        }
    }
}

/// Says what this thread is, before its first event.
pub(crate) fn set_kind(kind: Kind) {
    let _ = LOCAL.try_with(|local| local.kind.set(Some(kind)));
}

/// Runs `f` with this thread's recorder. `None`: nothing is recorded here (no session, off, a forked child, no
/// room for the thread, or the thread is past its end).
#[inline]
pub(crate) fn with<R>(f: impl FnOnce(&mut Recorder) -> R) -> Option<R> {
    // Nothing in `f` calls user code but the allocator, which may be the user's and may wake or trace: it finds
    // null. So does all that comes later, if `f` unwinds: nobody sees what was left half done.
    let mut here = HERE.replace(ptr::null_mut());
    if here.is_null() {
        here = claim()?.as_ptr();
    }
    // SAFETY: the recorder is this thread's alone, lives until the thread's destructors run, and was taken out of
    // `HERE` (or just made), so that this is the only reference.
    let recorder = unsafe { &mut *here };
    let done = if recorder.enabled.load(Ordering::Relaxed) == 1 { Some(f(recorder)) } else { None };
    HERE.set(here);
    done
}

/// The recorder of a thread that has none yet.
#[cold]
#[inline(never)]
fn claim() -> Option<NonNull<Recorder>> {
    let global = state::recording()?;
    let claimed = LOCAL.try_with(|local| {
        if local.recorder.get().is_null() {
            register(global, local);
            NonNull::new(local.recorder.get())
        } else {
            // It is in use.
            None
        }
    });
    claimed.unwrap_or_else(|_| {
        global.session.count(Counter::LateEvents);
        None
    })
}

#[cold]
#[inline(never)]
fn register(global: &'static Global, local: &Local) {
    if local.tried.replace(true) {
        return;
    }
    let worker = tokio::runtime::worker_index();
    let kind = match local.kind.get() {
        // The pool's threads all begin alike; only now is it known which of them are workers.
        Some(kind) if kind.kind == Kind::BLOCKING && worker.is_some() => Kind { kind: Kind::WORKER, ..kind },
        Some(kind) => kind,
        None => {
            // The first thread has the process's own number, where threads are numbered so.
            let is_main = cfg!(target_os = "linux") && sys::thread_id() == std::process::id();
            let kind = match (worker.is_some(), is_main) {
                (true, _) => Kind::WORKER,
                (false, true) => Kind::MAIN,
                (false, false) => Kind::OTHER,
            };
            let runtime = Handle::try_current().map_or(0, |handle| crate::runtime::number(global, &handle));
            Kind { kind, runtime }
        }
    };
    let thread = std::thread::current();
    let registration = Registration {
        kind: kind.kind,
        name: thread.name().unwrap_or(""),
        runtime: kind.runtime,
        worker: worker.map(|index| index as u16),
    };
    let Some(handle) = global.session.register(&registration) else { return global.tell_refusals() };
    local.recorder.set(Box::into_raw(Box::new(Recorder {
        enabled: global.enabled,
        origin: global.session.start_tick(),
        slow_poll_ticks: global.slow_poll_ticks,
        global,
        handle,
        worker_of: if kind.kind == Kind::WORKER { kind.runtime } else { 0 },
        known: None,
        frame: Frame::default(),
        entered: Vec::with_capacity(16),
        around: Vec::with_capacity(16),
        #[cfg(feature = "tracing")]
        under: None,
        #[cfg(all(feature = "tracing", feature = "tower"))]
        shown: 0,
        completing: (Who::UNKNOWN, 0),
        parked_since: 0,
        unparked_since: (0, 0),
        rows: Vec::new(),
        keys: HashMap::with_hasher(Mix::default()),
        callsites: HashMap::with_hasher(Mix::default()),
        strings: HashMap::with_hasher(Mix::default()),
        recent: [(0, 0, 0); RECENT],
        #[cfg(feature = "tracing")]
        made: HashMap::with_hasher(Mix::default()),
        free_tasks: Vec::new(),
        free_spans: Vec::new(),
    })));
}

/// Adds to a word that only this thread writes.
#[inline]
pub(crate) fn add(word: &AtomicU64, n: u64) {
    word.store(word.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

impl Recorder {
    /// Makes a span the current one.
    #[inline]
    pub fn enter(&mut self, span: Context) {
        self.entered.push(span);
        self.show();
    }

    /// Takes a span out again, wherever it stands: spans are not always left in order.
    #[inline]
    pub fn leave(&mut self, local: u64) {
        if let Some(at) = self.entered.iter().rposition(|context| context.local == local) {
            self.entered.remove(at);
            // One from before: polls and jobs under way must not take another for theirs.
            let bases = std::iter::once(&mut self.frame).chain(self.around.iter_mut().rev());
            bases.map(|frame| &mut frame.base).take_while(|base| **base > at).for_each(|base| *base -= 1);
            self.show();
        }
    }

    /// A poll of a task begins.
    #[inline]
    pub fn begin_poll(&mut self, frame: Frame) {
        let outer_start = if self.frame.outer_start == 0 { frame.start } else { self.frame.outer_start };
        if self.frame.task != 0 || !self.around.is_empty() {
            self.around.push(self.frame);
        }
        self.frame = Frame { outer_start, base: self.entered.len(), ..frame };
    }

    /// It ends after so many ticks: what it entered and did not leave is current no more.
    #[inline]
    pub fn end_poll(&mut self, busy: u64) {
        self.entered.truncate(self.frame.base);
        self.frame = match self.around.pop() {
            Some(around) => Frame { inner: around.inner + busy, ..around },
            None => Frame::default(),
        };
        self.show();
    }

    /// A job begins, in this span. It belongs to the task that runs it, if one does.
    pub fn begin_job(&mut self, span: Option<Context>) {
        self.around.push(self.frame);
        self.frame.base = self.entered.len();
        self.entered.extend(span);
        self.show();
    }

    /// It ends: what it entered and did not leave is current no more.
    pub fn end_job(&mut self) {
        self.entered.truncate(self.frame.base);
        // What it counted for its task is the task's.
        self.frame.base = self.around.pop().map_or(0, |around| around.base);
        self.show();
    }

    /// Shows what is being polled, and the current span, in the thread's words.
    #[inline]
    pub fn show(&self) {
        let own = self.handle.words;
        let span = self.entered.last().map_or(0, |context| context.local);
        seq::write(&own[words::SEQ], || {
            own[words::TASK].store(self.frame.task, Ordering::Relaxed);
            own[words::POLL_START].store(self.frame.start, Ordering::Relaxed);
            own[words::OUTER_START].store(self.frame.outer_start, Ordering::Relaxed);
            own[words::SPAN].store(span, Ordering::Relaxed);
        });
    }

    /// Who this thread is to a task that it wakes.
    #[inline]
    pub fn who(&self) -> Who {
        if self.frame.task != 0 {
            let kind = if self.frame.dropping { Who::DROPPING } else { Who::TASK };
            return Who::new(kind, self.frame.task);
        }
        if self.parked_since != 0 {
            return Who::new(Who::DRIVER, self.handle.writer);
        }
        let (completing, at) = self.completing;
        if completing != Who::UNKNOWN && sys::tick().saturating_sub(at) < self.global.ticks(COMPLETING_NS) {
            return completing;
        }
        // Between polls a worker wakes those that yielded, turns the driver, or polls a task that nobody records:
        // these cannot be told apart.
        if self.worker_of != 0 {
            return Who::UNKNOWN;
        }
        Who::new(Who::THREAD, self.handle.writer)
    }

    /// The number of the runtime that this thread is in: a worker's own, else the current one; 0: none.
    pub fn runtime_here(&mut self) -> u32 {
        if self.worker_of != 0 {
            return self.worker_of;
        }
        Handle::try_current().map_or(0, |handle| self.runtime_of(&handle))
    }

    /// The number of a runtime.
    pub fn runtime_of(&mut self, handle: &Handle) -> u32 {
        let id = handle.id();
        match self.known {
            Some((known, number)) if known == id => number,
            _ => {
                let number = crate::runtime::number(self.global, handle);
                self.known = Some((id, number));
                number
            }
        }
    }

    /// The row of a key, on this thread.
    #[inline]
    pub fn row(&mut self, key: u32) -> Option<Row> {
        match self.rows.get(key as usize) {
            Some(Some(row)) => *row,
            _ => self.make_row(key),
        }
    }

    #[cold]
    fn make_row(&mut self, key: u32) -> Option<Row> {
        let at = key as usize;
        if self.rows.len() <= at {
            self.rows.resize(at + 1, None);
        }
        let row = self.global.session.row(self.handle.slot, key);
        if row.is_none() {
            self.global.tell_refusals();
        }
        self.rows[at] = Some(row);
        row
    }

    /// Counts one in a row's word.
    #[inline]
    pub fn count(&mut self, key: u32, word: usize) {
        if let Some(row) = self.row(key) {
            add(&row[word], 1);
        }
    }

    /// Counts a length in a row's histogram.
    #[inline]
    pub fn measure(row: Row, histogram: usize, ticks: u64) {
        debug_assert!(histogram == row::FIRST_HISTOGRAM || histogram == row::SECOND_HISTOGRAM);
        add(&row[histogram + pollscope_wire::hist::bucket(ticks)], 1);
    }

    /// A key by its place, made once by `make`.
    #[inline]
    pub fn key(&mut self, place: KeyPlace, make: impl FnOnce(&Global) -> u32) -> u32 {
        if let Some(key) = self.keys.get(&place) {
            return *key;
        }
        let key = make(self.global);
        if key == 0 {
            self.global.tell_refusals();
        }
        // Names may come without end: what is cached is bounded, the session's own table is too.
        if self.keys.len() < 4096 {
            self.keys.insert(place, key);
        }
        key
    }

    /// A callsite by its address, made once by `make`.
    pub fn callsite(&mut self, address: usize, make: impl FnOnce(&Global) -> u32) -> u32 {
        if let Some(id) = self.callsites.get(&address) {
            return *id;
        }
        let id = make(self.global);
        if id == 0 {
            self.global.tell_refusals();
        }
        self.callsites.insert(address, id);
        id
    }

    /// A static string's id, by its address.
    #[inline]
    pub fn static_string(&mut self, text: &'static str) -> u32 {
        let (address, length) = (text.as_ptr() as usize, text.len());
        let (known, long, id) = self.recent[address % RECENT];
        if (known, long) == (address, length) { id } else { self.string_at(text) }
    }

    #[inline(never)]
    fn string_at(&mut self, text: &'static str) -> u32 {
        let place = (text.as_ptr() as usize, text.len());
        let id = *self.strings.entry(place).or_insert_with(|| self.global.session.string(text));
        self.recent[place.0 % RECENT] = (place.0, place.1, id);
        id
    }

    /// A free task slot's number.
    #[inline]
    pub fn take_task(&mut self) -> Option<u32> {
        if self.free_tasks.is_empty() {
            self.global.session.take_slots(self.global.session.tasks(), FETCHED_SLOTS, &mut self.free_tasks);
        }
        self.free_tasks.pop()
    }

    /// Gives a task slot back.
    #[inline]
    pub fn give_task(&mut self, slot: u32) {
        self.free_tasks.push(slot);
        if self.free_tasks.len() > KEPT_SLOTS {
            let half = self.free_tasks.split_off(KEPT_SLOTS / 2);
            self.global.session.tasks().give(&half);
        }
    }

    /// A free span slot's number.
    #[inline]
    pub fn take_span(&mut self) -> Option<u32> {
        if self.free_spans.is_empty() {
            self.global.session.take_slots(self.global.session.spans(), FETCHED_SLOTS, &mut self.free_spans);
        }
        self.free_spans.pop()
    }

    /// Gives a span slot back.
    #[inline]
    pub fn give_span(&mut self, slot: u32) {
        self.free_spans.push(slot);
        if self.free_spans.len() > KEPT_SLOTS {
            let half = self.free_spans.split_off(KEPT_SLOTS / 2);
            self.global.session.spans().give(&half);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{BuildHasher, Hash};

    #[test]
    fn addresses_close_to_one_another_hash_apart() {
        let hash = |location: usize| {
            let place = KeyPlace { location, future: 0, name: 0, what: 0, runtime: 0 };
            let mut hasher = Mix::default().build_hasher();
            place.hash(&mut hasher);
            std::hash::Hasher::finish(&hasher)
        };
        let hashes: std::collections::HashSet<u64> =
            (0..1000).map(|n| hash(0x5555_0000 + n * 24) & 0xffff).collect();
        assert!(hashes.len() > 900, "{} of 1000 in 65536 places", hashes.len());
    }
}
