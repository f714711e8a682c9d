//! A task's identity: its slot in shared memory, and the private memory that goes with it.
//!
//! A [`Task`] lives as long as its future or any of its wakers; its slot is given back when both are gone.

use crate::recorder::{self, KeyPlace, Recorder};
use crate::span::{Context, OpenSpan, roots};
use crate::state::Global;
use pollscope_wire::ids::{self, ID_MASK};
use pollscope_wire::layout::{Counter, RowKind, pack, row, task};
use pollscope_wire::record::{self, kind, name_words, source, task_kind};
use pollscope_wire::session::TaskSlot;
use pollscope_wire::table::{CallsiteDef, KeyDef};
use pollscope_wire::{seq, sys};
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use tokio::runtime::Handle;

/// What a task is to the span that it is spawned in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Within {
    /// A child.
    #[default]
    Child,
    /// The root of a trace of its own, with a link.
    Apart,
    /// Nothing.
    Nothing,
}

/// What a task is born with.
#[derive(Clone, Copy)]
pub(crate) struct Birth<'a> {
    /// As in [`task_kind`].
    pub kind: u8,
    pub name: &'a str,
    pub location: &'static Location<'static>,
    pub within: Within,
    /// The runtime that it is spawned on, if not the current one.
    pub on: Option<&'a Handle>,
}

/// A task that is recorded.
pub(crate) struct Task {
    pub id: u64,
    pub key: u32,
    pub slot: TaskSlot,
    slot_number: u32,
    /// Polls begun; its low 8 bits tell the wakes of one idle period from those of another.
    pub ordinal: AtomicU64,
    /// The waker of the first poll. Never changed: a poll with another one gets a half of its own.
    pub first: OnceLock<Waker>,
    pub birth: record::Birth,
    /// The span that it is; apart, since most tasks are none.
    pub span: Option<Box<OpenSpan>>,
    /// The span that it belongs to without being one.
    pub under: Option<Box<Context>>,
}

impl Task {
    /// A task of this birth, with a slot, a birth record and, inside a trace, a span. `None`: not recorded.
    pub fn begin<F>(birth: &Birth<'_>) -> Option<Arc<Task>> {
        Task::begin_with::<F>(birth, None)
    }

    /// The same for a task whose span is already open: a request.
    pub fn begin_with<F>(birth: &Birth<'_>, span: Option<OpenSpan>) -> Option<Arc<Task>> {
        crate::span::settle_current();
        recorder::with(|r| {
            let Some(number) = r.take_task() else {
                r.global.session.count(Counter::TasksRefused);
                r.global.tell_refusals();
                return None;
            };
            let slot = r.global.session.task(number)?;
            Some(Arc::new(Task::fill::<F>(r, birth, slot, number, span)))
        })
        .flatten()
    }

    fn fill<F>(
        r: &mut Recorder,
        birth: &Birth<'_>,
        slot: TaskSlot,
        number: u32,
        span: Option<OpenSpan>,
    ) -> Task {
        let now = sys::tick();
        let id = ids::id(GENERATIONS.next(number), number);
        let runtime = match birth.on {
            Some(handle) => r.runtime_of(handle),
            None => r.runtime_here(),
        };
        let key = task_key::<F>(r, birth, runtime);
        let is_task_span = matches!(birth.kind, task_kind::SPAWNED | task_kind::LOCAL | task_kind::WRAPPED);
        let parent_span = r.entered.last().copied().filter(|_| birth.within != Within::Nothing);
        let mut under = None;
        let span = match (span, parent_span) {
            (None, Some(parent)) if is_task_span => {
                let most = r.global.traces.limits.tasks;
                if birth.within == Within::Apart || roots::admit_task(parent.root, most) {
                    Some(open_task_span(r, birth, id, parent, now))
                } else {
                    roots::count_unspanned(parent.local);
                    under = Some(Box::new(parent));
                    None
                }
            }
            (span, _) => span,
        };
        let told = record::Birth {
            task: id,
            kind: birth.kind,
            parent: r.frame.task,
            key,
            size: size_of::<F>().min(u32::MAX as usize) as u32,
            born: now,
            span: span.as_ref().map_or(0, |span| span.local()),
            tokio_id: 0,
            name: name_words(birth.name),
            runtime,
        };
        let spawner = parent_span.map_or(0, |context| context.local);
        seq::write(&slot[task::SEQ], || {
            let set = |word: usize, value: u64| slot[word].store(value, Ordering::Relaxed);
            for word in task::POLLS..task::WORDS {
                set(word, 0);
            }
            set(task::ID, id);
            set(task::LAST_END, now);
            set(task::PARENT, told.parent & ID_MASK | (told.kind as u64) << 56);
            set(task::KEY, pack(key, told.size));
            set(task::BORN, now);
            set(task::SPAN, told.span);
            for (i, word) in told.name.iter().enumerate() {
                set(task::NAME + i, *word);
            }
            set(task::STATE, 1);
            set(task::SPAWNER_SPAN, spawner);
            set(task::RUNTIME, told.runtime as u64);
        });
        r.count(key, row::SPAWNED);
        r.handle.poll.write(kind::TASK_BIRTH, 0, now, &told.encode());
        Task {
            id,
            key,
            slot,
            slot_number: number,
            ordinal: AtomicU64::new(0),
            first: OnceLock::new(),
            birth: told,
            span: span.map(Box::new),
            under,
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let slot = self.slot;
        let number = self.slot_number;
        // A forked child's slots are its parent's.
        let Some(global) = crate::state::recording() else { return };
        seq::write(&slot[task::SEQ], || slot[task::ID].store(0, Ordering::Relaxed));
        if recorder::with(|r| r.give_task(number)).is_none() {
            global.session.tasks().give(&[number]);
        }
    }
}

/// How often each slot has been used. Private: an id is never read back from shared memory.
pub(crate) struct Generations {
    chunks: [OnceLock<Box<[AtomicU64]>>; ids::MAX_SLOTS as usize / PER_CHUNK],
}

const PER_CHUNK: usize = 4096;

impl Generations {
    pub const fn new() -> Generations {
        Generations { chunks: [const { OnceLock::new() }; ids::MAX_SLOTS as usize / PER_CHUNK] }
    }

    /// The next generation of a slot. Its number came from a free list, so it has one owner.
    #[inline]
    pub fn next(&self, slot: u32) -> u64 {
        let cell = self.cell(slot);
        let generation = cell.load(Ordering::Relaxed) + 1;
        cell.store(generation, Ordering::Relaxed);
        generation
    }

    /// The word of a slot.
    #[inline]
    pub fn cell(&self, slot: u32) -> &AtomicU64 {
        let chunk = self.chunks[slot as usize / PER_CHUNK]
            .get_or_init(|| (0..PER_CHUNK).map(|_| AtomicU64::new(0)).collect());
        &chunk[slot as usize % PER_CHUNK]
    }
}

static GENERATIONS: Generations = Generations::new();

fn location_callsite(global: &Global, location: &Location<'_>) -> u32 {
    global.session.callsite(&CallsiteDef {
        kind: 1,
        name: "",
        target: "",
        file: location.file(),
        line: location.line(),
        column: location.column(),
        severity: 0,
    })
}

fn name_hash(name: &str) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    if name.is_empty() {
        return 0;
    }
    let mut hasher = recorder::Mix::default().build_hasher();
    hasher.write(name.as_bytes());
    hasher.finish() | 1
}

fn task_key<F>(r: &mut Recorder, birth: &Birth<'_>, runtime: u32) -> u32 {
    let future = std::any::type_name::<F>();
    let place = KeyPlace {
        location: birth.location as *const _ as usize,
        future: future.as_ptr() as usize,
        name: name_hash(birth.name),
        what: birth.kind as u32,
        runtime,
    };
    r.key(place, |global| {
        let session = global.session;
        let callsite = location_callsite(global, birth.location);
        session.key(KeyDef {
            kind: RowKind::Task as u8,
            runtime,
            callsite,
            name: session.string(birth.name),
            future: session.string(future),
            what: birth.kind as u32,
        })
    })
}

/// The row key of a job.
pub(crate) fn job_key(r: &mut Recorder, name: &str, location: &'static Location<'static>) -> u32 {
    let place = KeyPlace {
        location: location as *const _ as usize,
        future: 0,
        name: name_hash(name),
        what: u32::MAX,
        runtime: 0,
    };
    r.key(place, |global| {
        let session = global.session;
        let callsite = location_callsite(global, location);
        let name = session.string(name);
        session.key(KeyDef { kind: RowKind::Job as u8, runtime: 0, callsite, name, future: 0, what: 0 })
    })
}

/// The span of a task or job: a child of the span in which it was started, named as it is.
fn open_named_span(
    r: &mut Recorder,
    name: &str,
    location: &'static Location<'static>,
    task: u64,
    source: u8,
    (parent, within): (Context, Within),
    now: u64,
) -> OpenSpan {
    let callsite = r.callsite(location as *const _ as usize, |global| location_callsite(global, location));
    let name = if name.is_empty() { default_name(source) } else { name };
    let name = r.global.session.string(name);
    match within {
        Within::Apart => OpenSpan::open_apart(r, parent, callsite, name, source, task, now),
        _ => OpenSpan::open(r, parent, callsite, name, source, task, now),
    }
}

fn default_name(span_source: u8) -> &'static str {
    if span_source == source::JOB { "job" } else { "task" }
}

fn open_task_span(r: &mut Recorder, birth: &Birth<'_>, id: u64, parent: Context, now: u64) -> OpenSpan {
    open_named_span(r, birth.name, birth.location, id, source::TASK, (parent, birth.within), now)
}

/// The span of a job started inside a trace.
pub(crate) fn open_job_span(
    r: &mut Recorder,
    name: &str,
    location: &'static Location<'static>,
    task: u64,
    (parent, within): (Context, Within),
    now: u64,
) -> OpenSpan {
    open_named_span(r, name, location, task, source::JOB, (parent, within), now)
}
