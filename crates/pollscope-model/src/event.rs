//! The facts that the model is made of: one closed enum.
//!
//! Rings of different threads are read and overwritten independently, so facts **commute**: an end may come
//! before its birth, an attribute before the span's open. A fact that ends something therefore stands alone
//! and repeats all that cannot be done without.

use crate::time::{Nanos, UnixNanos};
use std::fmt;
use std::sync::Arc;

/// Names one session: one run of one instrumented process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u128);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A task, unique within its session (53 bits: generation and slot; never 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A span, unique within its session (pollscope's own number, not OpenTelemetry's; never 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalSpanId(pub u64);

/// A registered thread: its registration ordinal, unique within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadId(pub u64);

/// A W3C trace id; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A W3C span id; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub u64);

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A place in the source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// As the compiler gives it: relative to the crate, or below the registry folder.
    pub file: Arc<str>,
    /// From 1; 0 if unknown.
    pub line: u32,
    /// From 1; 0 if unknown.
    pub column: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A typed attribute value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// UTF-8 text, perhaps cut (see [`Attribute::cut`]).
    Str(Arc<str>),
    /// A signed integer.
    I64(i64),
    /// An unsigned integer.
    U64(u64),
    /// A double.
    F64(f64),
    /// A truth value.
    Bool(bool),
}

/// One key and value.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// The field's name.
    pub key: Arc<str>,
    /// Its value.
    pub value: Value,
    /// The length in bytes before the value was cut, if it was.
    pub cut: Option<u64>,
}

/// What kind of thing a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TaskKind {
    /// Spawned on a runtime.
    Spawned,
    /// Spawned on a `LocalSet`.
    Local,
    /// The future under `block_on` in `main`.
    Main,
    /// Wrapped by `.in_task(..)`, on any runtime.
    Wrapped,
    /// A request inside its connection's task.
    Request,
    /// Seen through tokio's hooks only (`tokio_unstable`).
    Hooked,
}

/// How a poll ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PollOutcome {
    /// Not done.
    Pending,
    /// Done.
    Ready,
    /// It unwound.
    Panicked,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskOutcome {
    /// Its future was ready.
    Finished,
    /// Its future was dropped before that (cancelled, aborted, runtime shut down).
    Cancelled,
    /// A poll unwound.
    Panicked,
}

/// Who woke a task, as far as it can be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Waker {
    /// Not known.
    Unknown,
    /// A task, from within its poll.
    Task(TaskId),
    /// The task itself, within its own poll.
    Itself,
    /// The io or timer driver, on this thread, inside its park.
    Driver(ThreadId),
    /// A task that had just finished on the waking thread (a JoinHandle woken after the last poll).
    Completing(TaskId),
    /// A task whose future was being dropped.
    Dropping(TaskId),
    /// A thread outside any task.
    Thread(ThreadId),
    /// Inside a park without the driver's turn: a coop yield or `yield_now`.
    Yield(ThreadId),
}

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ThreadKind {
    /// The thread of `main`.
    Main,
    /// A runtime worker.
    Worker,
    /// A thread of the runtime's blocking pool.
    Blocking,
    /// A thread worker of the user's own.
    ThreadWorker,
    /// Any other.
    Other,
}

/// What the service sees of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionInfo {
    /// `service.name` and all other resource attributes, in the service's order.
    pub resource: Vec<(Arc<str>, Value)>,
    /// The process id, in the service's own pid namespace.
    pub pid: u32,
    /// When the session began.
    pub started: UnixNanos,
    /// The executable's path.
    pub exe: Arc<str>,
    /// Whether the service made pollscope's `tracing` layer.
    pub tracing_layer: bool,
    /// Whether its global `tracing` subscriber lacks our layer.
    pub foreign_subscriber: bool,
    /// Whether it wants spans apart from those of an OpenTelemetry layer.
    pub apart: bool,
    /// Whether the service wants none of its spans exported.
    pub withheld: bool,
    /// Whether it wants none of its events exported as log records.
    pub withheld_logs: bool,
    /// Poll time above which a poll counts as slow.
    pub slow_poll: Nanos,
}

impl SessionInfo {
    /// `service.name`, or `unknown_service`.
    pub fn service(&self) -> &str {
        self.resource
            .iter()
            .find_map(|(key, value)| match value {
                Value::Str(name) if &**key == "service.name" => Some(&**name),
                _ => None,
            })
            .unwrap_or("unknown_service")
    }
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionEnd {
    /// By its guard.
    Closed,
    /// By its guard while a panic unwound main.
    Panicked,
    /// By `exit`, without the guard.
    Exited,
    /// Killed or crashed: it never said that it ends.
    Died,
    /// It is the reader that let go of a live session.
    Detached,
}

/// The birth of a task, from its slot or its record: whichever comes first.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskBirth {
    /// The task.
    pub task: TaskId,
    /// Kind.
    pub kind: TaskKind,
    /// The name given, if any.
    pub name: Option<Arc<str>>,
    /// Where it was spawned.
    pub location: Location,
    /// The future's type.
    pub future: Arc<str>,
    /// The future's size in bytes.
    pub size: u64,
    /// The task that spawned it; for a request its connection's task.
    pub parent: Option<TaskId>,
    /// The span that it is, when it is one.
    pub span: Option<LocalSpanId>,
    /// The runtime's name or number.
    pub runtime: Arc<str>,
    /// tokio's own id, 0 if unknown.
    pub tokio_id: u64,
    /// When.
    pub born: UnixNanos,
}

/// Sums over a task's life so far. `busy + scheduled + idle` is the time from birth to the last poll's end
/// (or to the end of the task), exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskTotals {
    /// Polls.
    pub polls: u64,
    /// Time inside polls, inner polls included.
    pub busy: Nanos,
    /// The part of `busy` that inner tasks account for themselves.
    pub nested: Nanos,
    /// From wake to poll.
    pub scheduled: Nanos,
    /// From poll to wake.
    pub idle: Nanos,
    /// Wakes by others.
    pub wakes: u64,
    /// Wakes by itself, within its poll.
    pub self_wakes: u64,
    /// Clones of its waker.
    pub waker_clones: u64,
    /// Drops of its waker.
    pub waker_drops: u64,
}

/// A live task as its slot shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskState {
    /// Totals up to `last_end`.
    pub totals: TaskTotals,
    /// End of the last poll, or birth.
    pub last_end: UnixNanos,
    /// Start of the poll under way, if any.
    pub polling_since: Option<UnixNanos>,
    /// The first wake since the last poll began, if any.
    pub woken: Option<(UnixNanos, Waker)>,
    /// The writer kept moving while it was read: numbers are right, but of slightly different moments.
    pub moving: bool,
}

/// One poll.
#[derive(Clone, Debug, PartialEq)]
pub struct Poll {
    /// The task.
    pub task: TaskId,
    /// Where it ran.
    pub thread: ThreadId,
    /// Start.
    pub start: UnixNanos,
    /// Length.
    pub busy: Nanos,
    /// The part of `busy` spent in inner tasks.
    pub nested: Nanos,
    /// From wake to start.
    pub scheduled: Nanos,
    /// Who woke it; `None` when no wake was seen.
    pub woken_by: Option<Waker>,
    /// Wakes in the idle period before it (saturating).
    pub wakes: u8,
    /// How it ended.
    pub outcome: PollOutcome,
    /// The low bits of the task's poll ordinal.
    pub ordinal: u8,
}

/// The end of a task. Stands alone.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskEnd {
    /// All of the birth.
    pub birth: TaskBirth,
    /// How.
    pub outcome: TaskOutcome,
    /// Final totals.
    pub totals: TaskTotals,
    /// When.
    pub ended: UnixNanos,
}

/// OpenTelemetry's ids of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpanIds {
    /// Trace.
    pub trace: TraceId,
    /// Span.
    pub span: SpanId,
    /// Parent span, local or remote.
    pub parent: Option<SpanId>,
    /// Whether the parent is in another process.
    pub parent_remote: bool,
    /// Whether the trace is sampled (exported).
    pub sampled: bool,
    /// Whether another exporter has it: it is only shown.
    pub foreign: bool,
}

/// Where a span comes from: static facts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Callsite {
    /// The span's or event's static name.
    pub name: Arc<str>,
    /// Its target (module path).
    pub target: Arc<str>,
    /// Where it stands.
    pub location: Location,
    /// `TRACE`, `DEBUG`, `INFO`, `WARN`, `ERROR`, as OpenTelemetry's severity numbers (1, 5, 9, 13, 17).
    pub severity: u8,
}

/// Why a span exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpanSource {
    /// Opened by code: a `tracing` span or `#[pollscope::instrument]`.
    Code,
    /// A task spawned inside a trace.
    Task,
    /// A job.
    Job,
    /// A request served.
    Server,
    /// A request sent.
    Client,
}

/// Status as OpenTelemetry has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Status {
    /// Nothing was said.
    #[default]
    Unset,
    /// Said to be right.
    Ok,
    /// An error.
    Error,
}

/// The open of a span, from its record or its slot.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanOpen {
    /// The span.
    pub span: LocalSpanId,
    /// Its parent in this process.
    pub parent: Option<LocalSpanId>,
    /// Ids, when they were known at open.
    pub ids: Option<SpanIds>,
    /// Static facts.
    pub callsite: Arc<Callsite>,
    /// Why it exists.
    pub source: SpanSource,
    /// When.
    pub opened: UnixNanos,
    /// The task in which it was opened, or which it is.
    pub task: Option<TaskId>,
}

/// What the slot of an open span says of how it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanState {
    /// The task that it runs in.
    pub task: Option<TaskId>,
    /// A request goes on in it, also past its task.
    pub under_way: bool,
    /// Another exporter has it.
    pub foreign: bool,
    /// When it was last left, if it ever was.
    pub last_exit: Option<UnixNanos>,
    /// Time entered; 0 while it is.
    pub busy: Nanos,
    /// Time ready and waiting for a worker, up to its last exit.
    pub scheduled: Nanos,
    /// Polls during which it was entered.
    pub polls: u64,
}

/// The end of a span. Stands alone but for attributes, events and links.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanEnd {
    /// All of the open; ids are known here unless a [`Event::SpanIds`] is still to come.
    pub open: SpanOpen,
    /// Its last exit, or its close if it was never entered.
    pub ended: UnixNanos,
    /// When its last handle was dropped.
    pub closed: UnixNanos,
    /// Time entered.
    pub busy: Nanos,
    /// Time ready and waiting for a worker.
    pub scheduled: Nanos,
    /// Polls during which it was entered.
    pub polls: u64,
    /// Status by outcome (`err`, panic, cancelled); `otel.status_code` attributes come on top.
    pub status: Status,
    /// Dropped before it completed.
    pub cancelled: bool,
    /// It is a task that went on after its local root had ended.
    pub detached: bool,
    /// `scheduled` was cut or could not be known.
    pub estimated: bool,
    /// How many attributes were recorded over its life: fewer seen means that some were lost.
    pub attributes: u32,
    /// Attributes beyond the limit.
    pub dropped_attributes: u32,
    /// Events beyond the limit.
    pub dropped_events: u32,
    /// Links beyond the limit.
    pub dropped_links: u32,
}

/// A class of record, in which loss is counted exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Polls.
    Polls,
    /// Span ends.
    SpanEnds,
    /// All others.
    Others,
}

/// One fact.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "events are moved once, from the reader into the model")]
pub enum Event {
    /// A session was found.
    SessionBegan(SessionInfo),
    /// A session is over and all of it has been read.
    SessionEnded(SessionEnd, UnixNanos),
    /// A thread registered.
    Thread {
        /// Which.
        thread: ThreadId,
        /// The kernel's thread id.
        os_id: u32,
        /// What it does.
        kind: ThreadKind,
        /// Its name.
        name: Arc<str>,
        /// The runtime it belongs to, if any.
        runtime: Option<Arc<str>>,
    },
    /// A thread ended.
    ThreadEnded(ThreadId, UnixNanos),
    /// The task that a thread polls now, if any, and since when: the newest reading counts.
    Polling(ThreadId, Option<(TaskId, UnixNanos)>),
    /// A task was born.
    TaskBorn(TaskBirth),
    /// A live task's slot, as read now. Never undoes a [`Event::TaskEnded`].
    TaskState(TaskId, TaskState),
    /// A poll ended.
    Polled(Poll),
    /// A task ended.
    TaskEnded(TaskEnd),
    /// `joiner` saw `joined`'s result.
    Joined {
        /// Who waited.
        joiner: TaskId,
        /// Who was waited for.
        joined: TaskId,
        /// When.
        at: UnixNanos,
    },
    /// A thread was parked from `start` for `length`.
    Parked {
        /// Which.
        thread: ThreadId,
        /// Since when.
        start: UnixNanos,
        /// How long.
        length: Nanos,
    },
    /// A job ended.
    Job {
        /// Where it ran.
        thread: ThreadId,
        /// Its name, if it has one.
        name: Option<Arc<str>>,
        /// Where it was started.
        location: Location,
        /// The task that started it.
        parent: Option<TaskId>,
        /// The span that it is, if it is one.
        span: Option<LocalSpanId>,
        /// Start of the run.
        start: UnixNanos,
        /// Length of the run.
        busy: Nanos,
        /// Time in the queue before it.
        queued: Nanos,
        /// How it ended.
        outcome: TaskOutcome,
    },
    /// A span was opened.
    SpanOpened(SpanOpen),
    /// An open span's slot, as read now.
    SpanState(LocalSpanId, SpanState),
    /// A span's ids became known, or changed.
    SpanIds(LocalSpanId, SpanIds),
    /// A span got an attribute; a later one of the same key replaces it.
    SpanAttribute(LocalSpanId, UnixNanos, Attribute),
    /// Something happened in a span, or outside any.
    SpanEvent {
        /// The span it happened in.
        span: Option<LocalSpanId>,
        /// When.
        at: UnixNanos,
        /// Static facts; the text stands in the attribute `message`.
        callsite: Arc<Callsite>,
        /// Its fields.
        attributes: Vec<Attribute>,
        /// Fields beyond the limit.
        dropped_attributes: u32,
        /// Its span has as many as it may have, and counts it as dropped: it may leave by itself alone.
        beyond: bool,
        /// An earlier reader has exported it, if it exported events by themselves.
        exported: bool,
    },
    /// `span` follows from another, or is linked to it.
    SpanLink {
        /// Which.
        span: LocalSpanId,
        /// To a span of this session.
        to: Option<LocalSpanId>,
        /// To a span elsewhere.
        remote: Option<(TraceId, SpanId)>,
    },
    /// A span ended.
    SpanEnded(SpanEnd),
    /// Records were overwritten before they were read.
    Lost {
        /// Whose.
        thread: ThreadId,
        /// Of which class.
        class: Class,
        /// How many.
        records: u64,
    },
    /// Records were read.
    Read {
        /// Whose.
        thread: ThreadId,
        /// Of which class.
        class: Class,
        /// How many.
        records: u64,
    },
    /// Something was refused in the service (no memory, too many tasks, ..): the running total by name.
    Refused(&'static str, u64),
    /// All slots were read, each without an error: what is alive of what has a slot. The end of a task or span
    /// may have been overwritten before it was read; without this it would be taken for alive for ever.
    Alive {
        /// When the reading began: what was born later may be missing here.
        began: UnixNanos,
        /// The tasks that were found.
        tasks: Vec<TaskId>,
        /// The open spans that were found, also those that were just being written.
        spans: Vec<LocalSpanId>,
        /// Ids in which all of these bits are set name things that found no slot.
        slotless: u64,
    },
    /// Tasks alive on a runtime, as it says itself, for coverage.
    RuntimeAlive {
        /// The runtime's name or number.
        runtime: Arc<str>,
        /// Worker threads.
        workers: u32,
        /// Tasks alive, wrapped or not.
        alive: u64,
        /// How old this number is.
        age: Nanos,
    },
}
