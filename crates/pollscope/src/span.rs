//! Spans: opened, entered, left and closed, in private memory, in a slot and in records.
//!
//! One type serves all: spans of `tracing`, of `#[pollscope::instrument]`, of tasks, jobs and requests.

pub(crate) mod attribute;
#[cfg(feature = "tracing")]
mod bridged;
mod context;
pub mod direct;
mod limits;
mod refer;
pub(crate) mod roots;
mod sampler;

pub(crate) use context::Context;
pub use context::{Current, current};
pub(crate) use limits::SpanLimits;
#[cfg(feature = "tracing")]
pub(crate) use refer::TracingSpan;
pub use refer::{Parent, SpanRef};
pub(crate) use sampler::Sampler;

use crate::recorder::{KeyPlace, Recorder, add};
use crate::task::Generations;
use pollscope_wire::ids::{self, ID_MASK};
use pollscope_wire::layout::{Counter, RowKind, pack, row, span, unpack};
use pollscope_wire::record::{self, Totals, kind, span as flags};
use pollscope_wire::session::SpanSlot;
use pollscope_wire::table::KeyDef;
use pollscope_wire::{seq, sys};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// What the environment says of traces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traces {
    pub sampler: Sampler,
    pub limits: SpanLimits,
    /// Whether `traceparent` is read and written.
    #[cfg_attr(not(feature = "tower"), allow(dead_code, reason = "there are no headers"))]
    pub propagated: bool,
}

/// A parent in another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteParent {
    pub(crate) trace: u128,
    pub(crate) span: u64,
    pub(crate) sampled: bool,
}

/// An open span. It is ended explicitly, by [`OpenSpan::close`] or one of its kin.
pub(crate) struct OpenSpan {
    open: record::SpanOpen,
    /// Only its owner enters it, leaves it and records on it, never two threads at once: its words need no locked
    /// instructions.
    sole: bool,
    /// The first span of its trace in this process: itself, if it is that one.
    root: u64,
    opened: u64,
    slot: Option<(u32, SpanSlot)>,
    trace_high: AtomicU64,
    trace_low: AtomicU64,
    span_id: AtomicU64,
    parent_id: AtomicU64,
    flags: AtomicU32,
    /// Tracing's id, as long as its ids are not known; else 0.
    later: AtomicU64,
    /// What goes with that.
    #[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "none but spans of tracing wait"))]
    waits: Option<Box<Waits>>,
    /// The task that it runs in: where it was opened, or, if that is another, where it was first entered.
    task: AtomicU64,
    /// The task whose scheduled time counts for it now: that one, but another's while a response's body is sent.
    clock: AtomicU64,
    /// What its scheduled total is counted from, so that what the tasks before have waited goes on.
    clock_base: AtomicU64,
    scheduled_at_open: AtomicU64,
    depth: AtomicU64,
    busy: AtomicU64,
    entered: AtomicU64,
    last_exit: AtomicU64,
    scheduled_at_exit: AtomicU64,
    /// `records of attributes:32 | attributes:32`.
    attributes: AtomicU64,
    /// The keys of the first: what replaces one of these needs no room.
    keys: [AtomicU32; KNOWN_KEYS],
    dropped: AtomicU32,
    links: AtomicU32,
    dropped_links: AtomicU32,
}

/// What a span knows that waits for its ids.
#[derive(Default)]
#[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "none but spans of tracing wait"))]
struct Waits {
    parent: Option<Context>,
    remote: OnceLock<RemoteParent>,
    /// It has no parent among tracing's spans, but was opened within one of ours: that one is linked to it.
    linked: bool,
}

/// Whether any span may wait for its ids.
#[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "none but spans of tracing wait"))]
static MAY_WAIT: AtomicBool = AtomicBool::new(false);

/// From now on spans may wait for their ids.
#[cfg(feature = "tracing")]
pub(crate) fn may_wait() {
    MAY_WAIT.store(true, Ordering::Relaxed);
}

/// Whether a layer may join another exporter's spans.
#[cfg(feature = "tracing")]
#[inline]
pub(crate) fn may_join() -> bool {
    MAY_WAIT.load(Ordering::Relaxed)
}

/// Gives the current span the ids that it may wait for, since somebody is about to need them. Not to be called
/// inside of a subscriber's call.
#[inline]
pub(crate) fn settle_current() {
    #[cfg(feature = "tracing")]
    if MAY_WAIT.load(Ordering::Relaxed)
        && let Some(Some(current)) = crate::recorder::with(|r| r.entered.last().copied())
        && current.later != 0
    {
        crate::layer::settle_current(current);
    }
}
const KNOWN_KEYS: usize = 8;

/// Marks of its own in the flags, above those that are written: it is a server's, and a request's task has it.
#[cfg(feature = "tracing")]
const SERVER: u32 = 1 << 16;
const ADOPTED: u32 = 1 << 17;

static GENERATIONS: Generations = Generations::new();
/// Generation of spans that found no slot: they share its number.
static WITHOUT_SLOT: AtomicU64 = AtomicU64::new(0);

impl OpenSpan {
    /// Opens a child of a span of this process.
    pub fn open(
        r: &mut Recorder,
        parent: Context,
        callsite: u32,
        name: u32,
        source: u8,
        task: u64,
        now: u64,
    ) -> OpenSpan {
        OpenSpan::open_under(r, Some(parent), None, callsite, name, source, task, now)
    }

    /// Opens a span under a local parent, else a remote one, else as a root.
    #[allow(clippy::too_many_arguments, reason = "what a span is made of, in one place")]
    pub fn open_under(
        r: &mut Recorder,
        parent: Option<Context>,
        remote: Option<RemoteParent>,
        callsite: u32,
        name: u32,
        source: u8,
        task: u64,
        now: u64,
    ) -> OpenSpan {
        OpenSpan::open_with(r, parent, remote, None, callsite, name, source, task, now)
    }

    /// Opens a span of `tracing` whose ids another exporter may have. `linked`: that one sees no parent of it.
    #[cfg(feature = "tracing")]
    pub fn open_waiting(
        r: &mut Recorder,
        parent: Option<Context>,
        (id, linked): (u64, bool),
        callsite: u32,
        task: u64,
        now: u64,
    ) -> OpenSpan {
        let waits = Some((id, Waits { parent, linked, ..Waits::default() }));
        OpenSpan::open_with(r, parent, None, waits, callsite, 0, record::source::CODE, task, now)
    }

    #[allow(clippy::too_many_arguments, reason = "what a span is made of, in one place")]
    fn open_with(
        r: &mut Recorder,
        parent: Option<Context>,
        remote: Option<RemoteParent>,
        waits: Option<(u64, Waits)>,
        callsite: u32,
        name: u32,
        source: u8,
        task: u64,
        now: u64,
    ) -> OpenSpan {
        // What begins after its local root has ended is no part of that trace.
        let before = parent.filter(|parent| !roots::is_open(parent.root));
        let parent = if before.is_some() { None } else { parent };
        let session = r.global.session;
        let slot = r.take_span().and_then(|number| Some((number, session.span(number)?)));
        let local = match slot {
            Some((number, _)) => ids::id(GENERATIONS.next(number), number),
            None => {
                session.count(Counter::SpansWithoutSlot);
                r.global.tell_refusals();
                ids::id(WITHOUT_SLOT.fetch_add(1, Ordering::Relaxed) + 1, ids::NO_SLOT)
            }
        };
        let root = parent.map_or(local, |parent| parent.root);
        if root == local {
            roots::open(local);
        }
        let seed = session.seed();
        let (trace, parent_id, sampled, is_remote) = match (parent, remote) {
            (Some(parent), _) => (parent.trace, parent.span, parent.sampled, false),
            (None, Some(remote)) => (
                remote.trace,
                remote.span,
                r.global.traces.sampler.with_parent(remote.sampled, remote.trace),
                true,
            ),
            (None, None) => {
                let trace = ids::otel_trace_id(seed, local);
                (trace, 0, r.global.traces.sampler.root(trace), false)
            }
        };
        let mut bits = flags::IDS;
        bits |= if sampled { flags::SAMPLED } else { 0 };
        bits |= if is_remote { flags::REMOTE_PARENT } else { 0 };
        let (trace, parent_id, bits) =
            if waits.is_some() { (0, 0, flags::IDS_LATER) } else { (trace, parent_id, bits) };
        let open = record::SpanOpen {
            span: local,
            parent: parent.map_or(0, |parent| parent.local),
            callsite,
            name,
            task,
            source,
        };
        let span_id = if waits.is_some() { 0 } else { ids::otel_span_id(seed, local) };
        let scheduled_at_open = r.frame.scheduled;
        if let Some((_, slot)) = slot {
            seq::write(&slot[span::SEQ], || {
                let set = |word: usize, value: u64| slot[word].store(value, Ordering::Relaxed);
                set(span::ID, local);
                set(span::PARENT, open.parent);
                set(span::CALLSITE, pack(callsite, name));
                set(span::OPENED, now);
                set(span::TASK, task & ID_MASK | (source as u64) << 56);
                set(span::TRACE, trace as u64);
                set(span::TRACE + 1, (trace >> 64) as u64);
                set(span::SPAN_ID, span_id);
                set(span::PARENT_ID, parent_id);
                set(span::FLAGS, bits as u64);
                set(span::BUSY, 0);
                set(span::ENTERED, 0);
                set(span::LAST_EXIT, 0);
                set(span::SCHEDULED_AT_OPEN, scheduled_at_open);
                set(span::SCHEDULED_AT_EXIT, scheduled_at_open);
            });
        }
        r.handle.span.write(kind::SPAN_OPEN, 0, now, &open.encode());
        let span = OpenSpan {
            open,
            sole: false,
            root,
            opened: now,
            slot,
            trace_high: AtomicU64::new((trace >> 64) as u64),
            trace_low: AtomicU64::new(trace as u64),
            span_id: AtomicU64::new(span_id),
            parent_id: AtomicU64::new(parent_id),
            flags: AtomicU32::new(bits as u32),
            later: AtomicU64::new(waits.as_ref().map_or(0, |(id, _)| *id)),
            waits: waits.map(|(_, waits)| Box::new(waits)),
            task: AtomicU64::new(task),
            clock: AtomicU64::new(task),
            clock_base: AtomicU64::new(0),
            scheduled_at_open: AtomicU64::new(scheduled_at_open),
            depth: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            entered: AtomicU64::new(0),
            last_exit: AtomicU64::new(0),
            scheduled_at_exit: AtomicU64::new(scheduled_at_open),
            attributes: AtomicU64::new(0),
            keys: [const { AtomicU32::new(0) }; KNOWN_KEYS],
            dropped: AtomicU32::new(0),
            links: AtomicU32::new(0),
            dropped_links: AtomicU32::new(0),
        };
        if let Some(before) = before {
            span.link(r, before);
        }
        span
    }

    /// Opens the span of a task that begins a trace of its own, and links the span that it was spawned in.
    pub fn open_apart(
        r: &mut Recorder,
        from: Context,
        callsite: u32,
        name: u32,
        source: u8,
        task: u64,
        now: u64,
    ) -> OpenSpan {
        let span = OpenSpan::open_under(r, None, None, callsite, name, source, task, now);
        span.link(r, from);
        span
    }

    /// Its local id.
    pub fn local(&self) -> u64 {
        self.open.span
    }

    fn trace(&self) -> u128 {
        (self.trace_high.load(Ordering::Relaxed) as u128) << 64
            | self.trace_low.load(Ordering::Relaxed) as u128
    }

    /// Whether it is marked so.
    pub fn has(&self, bit: u16) -> bool {
        self.flags.load(Ordering::Relaxed) & bit as u32 != 0
    }

    /// Its owner alone will have to do with it.
    pub fn owned(self) -> OpenSpan {
        OpenSpan { sole: true, ..self }
    }

    /// Adds to one of its words; gives what that was.
    #[inline]
    fn add(&self, word: &AtomicU64, n: u64) -> u64 {
        if !self.sole {
            return word.fetch_add(n, Ordering::Relaxed);
        }
        let before = word.load(Ordering::Relaxed);
        word.store(before.wrapping_add(n), Ordering::Relaxed);
        before
    }

    /// Marks its status or fate: bits of [`record::span`].
    #[inline]
    pub fn mark(&self, bits: u16) {
        if bits != 0 {
            self.flags.fetch_or(bits as u32, Ordering::Relaxed);
        }
    }

    /// Marks it as dropped before its end, unless a panic tells more.
    pub fn cancelled(&self) {
        if !self.has(flags::PANICKED) {
            self.mark(flags::CANCELLED);
        }
    }

    /// What its children need of it.
    pub fn context(&self) -> Context {
        Context {
            local: self.open.span,
            trace: self.trace(),
            span: self.span_id.load(Ordering::Relaxed),
            sampled: self.has(flags::SAMPLED),
            later: self.later.load(Ordering::Relaxed),
            root: self.root,
        }
    }

    /// Whether it waits for its ids.
    #[cfg(feature = "tracing")]
    pub fn waits(&self) -> bool {
        self.later.load(Ordering::Acquire) != 0
    }

    /// The parent that it was opened under, while it waits for its ids.
    #[cfg(feature = "tracing")]
    pub fn waiting_under(&self) -> Option<Context> {
        self.waits.as_ref().filter(|_| self.later.load(Ordering::Relaxed) != 0)?.parent
    }

    /// Gives it the ids that it waits for: those of its exporter, or our own if that has none for it.
    #[cfg(feature = "tracing")]
    pub fn settle(&self, r: &mut Recorder, found: Option<crate::otel::SpanContext>, parent: Option<Context>) {
        let (Some(waits), false) = (&self.waits, self.later.load(Ordering::Relaxed) == 0) else { return };
        let local = self.open.span;
        let seed = r.global.session.seed();
        let sampler = r.global.traces.sampler;
        let own = ids::otel_span_id(seed, local);
        let (trace, span, parent_id, bits, sampled) = match (found, parent, waits.remote.get()) {
            (Some(found), _, remote) => {
                // What the exporter made its parent is known only where it was told by us.
                let told = remote.filter(|remote| remote.trace == found.trace_id);
                let bits = flags::FOREIGN | if told.is_some() { flags::REMOTE_PARENT } else { 0 };
                let parent = told.map_or(0, |remote| remote.span);
                (found.trace_id, found.span_id, parent, bits, found.flags & 1 == 1)
            }
            (None, _, Some(remote)) => {
                let sampled = sampler.with_parent(remote.sampled, remote.trace);
                (remote.trace, own, remote.span, flags::REMOTE_PARENT, sampled)
            }
            (None, Some(parent), None) if parent.trace != 0 => {
                (parent.trace, own, parent.span, 0, parent.sampled)
            }
            _ => {
                let trace = ids::otel_trace_id(seed, local);
                (trace, own, 0, 0, sampler.root(trace))
            }
        };
        let bits = bits | flags::IDS | if sampled { flags::SAMPLED } else { 0 };
        self.trace_high.store((trace >> 64) as u64, Ordering::Relaxed);
        self.trace_low.store(trace as u64, Ordering::Relaxed);
        self.span_id.store(span, Ordering::Relaxed);
        self.parent_id.store(parent_id, Ordering::Relaxed);
        self.flags.fetch_and(!(flags::IDS_LATER as u32), Ordering::Relaxed);
        self.mark(bits);
        // Whoever finds that it waits no more finds its ids.
        self.later.store(0, Ordering::Release);
        self.tell_ids(r, trace, parent_id);
        if found.is_some() && waits.linked && parent.is_some_and(|parent| parent.trace != trace) {
            let of = parent.map_or(0, |parent| parent.local);
            let body = [of, local, trace as u64, (trace >> 64) as u64, span];
            r.handle.span.write(kind::LINK, 0, sys::tick(), &body);
        }
        let context = self.context();
        r.entered.iter_mut().filter(|entered| entered.local == local).for_each(|entered| *entered = context);
    }

    /// Shows ids that came after it was opened, in its slot and by a record.
    #[cfg(feature = "tracing")]
    fn tell_ids(&self, r: &mut Recorder, trace: u128, parent: u64) {
        let (bits, span) = (self.flags.load(Ordering::Relaxed), self.span_id.load(Ordering::Relaxed));
        if let Some((_, slot)) = self.slot {
            seq::write(&slot[span::SEQ], || {
                slot[span::TRACE].store(trace as u64, Ordering::Relaxed);
                slot[span::TRACE + 1].store((trace >> 64) as u64, Ordering::Relaxed);
                slot[span::SPAN_ID].store(span, Ordering::Relaxed);
                slot[span::PARENT_ID].store(parent, Ordering::Relaxed);
                slot[span::FLAGS].store(bits as u16 as u64, Ordering::Relaxed);
            });
        }
        let body = [self.open.span, trace as u64, (trace >> 64) as u64, span, parent];
        r.handle.span.write(kind::SPAN_IDS, bits as u16, sys::tick(), &body);
    }

    /// How its time was spent until now, in nanoseconds, for its own exporter.
    #[cfg(feature = "tracing")]
    pub fn told(&self, r: &Recorder) -> crate::otel::Told {
        let now = sys::tick();
        let (ended, busy, scheduled) = self.times(now);
        let duration = ended.saturating_sub(self.opened);
        let busy = busy.min(duration);
        let cut = scheduled.min(duration - busy);
        crate::otel::Told {
            busy: r.global.nanos(busy),
            scheduled: r.global.nanos(cut),
            idle: r.global.nanos(duration - busy - cut),
            polls: self.entered.load(Ordering::Relaxed),
            estimated: self.has(flags::ESTIMATED) || cut != scheduled,
            cancelled: self.has(flags::CANCELLED),
            task: self.task.load(Ordering::Relaxed) & ID_MASK,
            opened_in: self.opened_in(),
        }
    }

    /// The span of ours in which it was opened, where its exporter made it a root.
    #[cfg(feature = "tracing")]
    fn opened_in(&self) -> Option<crate::otel::SpanContext> {
        let waited = self.waits.as_ref().filter(|waited| waited.linked)?;
        let own = self.context();
        let parent = waited.parent.filter(|parent| parent.later == 0 && parent.trace != own.trace)?;
        let flags = u8::from(parent.sampled);
        Some(crate::otel::SpanContext { trace_id: parent.trace, span_id: parent.span, flags })
    }

    /// Marks it as a server's.
    #[cfg(feature = "tracing")]
    pub fn is_of_server(&self) {
        self.flags.fetch_or(SERVER, Ordering::Relaxed);
    }

    /// Whether it is a server's, and whether it has its request.
    #[cfg(all(feature = "tracing", feature = "tower"))]
    pub fn server(&self) -> Option<bool> {
        let flags = self.flags.load(Ordering::Relaxed);
        (flags & SERVER != 0).then_some(flags & ADOPTED != 0)
    }

    /// Marks it as the span of a request that goes on in several tasks: no other is to take it.
    #[cfg(all(feature = "tracing", feature = "tower"))]
    pub fn claim(&self) {
        self.flags.fetch_or(ADOPTED, Ordering::Relaxed);
    }

    /// Whether it is entered now.
    #[cfg(all(feature = "tracing", feature = "tower"))]
    pub fn is_entered(&self) -> bool {
        self.depth.load(Ordering::Relaxed) > 0
    }

    /// Its parent in another process.
    #[cfg(all(feature = "tracing", feature = "tower"))]
    pub fn remote_parent(&self) -> Option<u64> {
        self.has(flags::REMOTE_PARENT).then(|| self.parent_id.load(Ordering::Relaxed))
    }

    /// Gives it a parent in another process, before it has children.
    #[cfg(feature = "tracing")]
    pub fn attach(&self, r: &mut Recorder, remote: RemoteParent) {
        if self.later.load(Ordering::Relaxed) != 0 {
            // Its exporter may know better.
            if let Some(waits) = &self.waits {
                let _ = waits.remote.set(remote);
            }
            return;
        }
        let sampled = r.global.traces.sampler.with_parent(remote.sampled, remote.trace);
        self.trace_high.store((remote.trace >> 64) as u64, Ordering::Relaxed);
        self.trace_low.store(remote.trace as u64, Ordering::Relaxed);
        self.parent_id.store(remote.span, Ordering::Relaxed);
        let old = self.flags.load(Ordering::Relaxed) & !(flags::SAMPLED as u32);
        let bits = old | flags::REMOTE_PARENT as u32 | if sampled { flags::SAMPLED as u32 } else { 0 };
        self.flags.store(bits, Ordering::Relaxed);
        self.tell_ids(r, remote.trace, remote.span);
    }

    /// Links another span, within the limit.
    pub fn link(&self, r: &mut Recorder, to: Context) {
        if self.links.load(Ordering::Relaxed) >= r.global.traces.limits.links {
            self.dropped_links.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.links.fetch_add(1, Ordering::Relaxed);
        let body = [self.open.span, to.local, to.trace as u64, (to.trace >> 64) as u64, to.span];
        r.handle.span.write(kind::LINK, 0, sys::tick(), &body);
    }

    /// Enters it on this thread.
    pub fn enter(&self, r: &mut Recorder) {
        self.enter_from(r, sys::tick);
    }

    /// Enters it on this thread as soon as it was opened.
    pub fn enter_at_once(&self, r: &mut Recorder) {
        self.enter_from(r, || self.opened);
    }

    fn enter_from(&self, r: &mut Recorder, now: impl FnOnce() -> u64) {
        if self.is_shown(r) {
            return r.enter(self.context());
        }
        if self.add(&self.depth, 1) == 0 {
            let now = now();
            if self.entered.load(Ordering::Relaxed) == 0 && self.task.load(Ordering::Relaxed) != r.frame.task
            {
                self.move_to(r);
            }
            let busy = self.add(&self.busy, now.wrapping_neg()).wrapping_sub(now);
            let entered = self.add(&self.entered, 1) + 1;
            if let Some((_, slot)) = self.slot {
                slot[span::BUSY].store(busy, Ordering::Relaxed);
                slot[span::ENTERED].store(entered, Ordering::Relaxed);
            }
        }
        r.enter(self.context());
    }

    /// Whether it is the current span here without being entered: no time counts.
    #[inline]
    fn is_shown(&self, r: &Recorder) -> bool {
        #[cfg(all(feature = "tracing", feature = "tower"))]
        return r.shown == self.open.span;
        #[cfg(not(all(feature = "tracing", feature = "tower")))]
        {
            let _ = r;
            false
        }
    }

    /// Opened in one task and first entered in another, as a request is in its connection's: it is that one's.
    #[cold]
    fn move_to(&self, r: &Recorder) {
        self.task.store(r.frame.task, Ordering::Relaxed);
        self.clock.store(r.frame.task, Ordering::Relaxed);
        self.clock_base.store(0, Ordering::Relaxed);
        // What an older task had waited before is none of the span's.
        let scheduled = if r.frame.born >= self.opened { 0 } else { r.frame.scheduled };
        self.scheduled_at_open.store(scheduled, Ordering::Relaxed);
        self.scheduled_at_exit.store(scheduled, Ordering::Relaxed);
        if let Some((_, slot)) = self.slot {
            seq::write(&slot[span::SEQ], || {
                let word = r.frame.task & ID_MASK | (self.open.source as u64) << 56;
                slot[span::TASK].store(word, Ordering::Relaxed);
                slot[span::SCHEDULED_AT_OPEN].store(scheduled, Ordering::Relaxed);
                slot[span::SCHEDULED_AT_EXIT].store(scheduled, Ordering::Relaxed);
            });
        }
    }

    /// Goes on in this task, though it is another one's: a response's body is sent by its connection.
    #[cfg(feature = "tower")]
    pub fn follow(&self, r: &Recorder) {
        if self.clock.swap(r.frame.task, Ordering::Relaxed) == r.frame.task {
            return;
        }
        let grown = self.scheduled_so_far();
        self.clock_base.store(r.frame.scheduled.wrapping_sub(grown), Ordering::Relaxed);
        self.scheduled_at_open.store(0, Ordering::Relaxed);
        self.scheduled_at_exit.store(grown, Ordering::Relaxed);
        if let Some((_, slot)) = self.slot {
            seq::write(&slot[span::SEQ], || {
                slot[span::SCHEDULED_AT_OPEN].store(0, Ordering::Relaxed);
                slot[span::SCHEDULED_AT_EXIT].store(grown, Ordering::Relaxed);
            });
        }
    }

    fn scheduled_so_far(&self) -> u64 {
        let at_exit = self.scheduled_at_exit.load(Ordering::Relaxed);
        at_exit.saturating_sub(self.scheduled_at_open.load(Ordering::Relaxed))
    }

    /// The scheduled total, if this is the task whose time counts.
    fn scheduled_here(&self, r: &Recorder) -> Option<u64> {
        let counts = r.frame.task == self.clock.load(Ordering::Relaxed);
        counts.then(|| r.frame.scheduled.wrapping_sub(self.clock_base.load(Ordering::Relaxed)))
    }

    /// Makes it the span of this task, a request's, that it was opened around. It may be entered outside of it.
    #[cfg(all(feature = "tracing", feature = "tower"))]
    pub fn adopt(&self, r: &Recorder) {
        self.flags.fetch_or(ADOPTED | flags::UNDER_WAY as u32, Ordering::Relaxed);
        self.move_to(r);
        self.show_flags();
    }

    /// The request that adopted it is over.
    #[cfg(all(feature = "tracing", feature = "tower"))]
    pub fn request_over(&self) {
        self.flags.fetch_and(!(flags::UNDER_WAY as u32), Ordering::Relaxed);
        self.show_flags();
    }

    #[cfg(all(feature = "tracing", feature = "tower"))]
    fn show_flags(&self) {
        if let Some((_, slot)) = self.slot {
            let bits = self.flags.load(Ordering::Relaxed) as u16;
            slot[span::FLAGS].store(bits as u64, Ordering::Relaxed);
        }
    }

    /// Takes the time of an adopted span's task, as if it were left now.
    #[cfg(all(feature = "tracing", feature = "tower"))]
    pub fn take_time(&self, r: &Recorder) {
        if let Some(scheduled) = self.scheduled_here(r) {
            self.scheduled_at_exit.store(scheduled, Ordering::Relaxed);
        }
    }

    /// Makes it the current span for what is opened here, without being entered: no time is counted.
    #[cfg(feature = "tower")]
    pub fn show_as_current(&self, r: &mut Recorder) {
        r.enter(self.context());
    }

    /// Undoes [`OpenSpan::show_as_current`].
    #[cfg(feature = "tower")]
    pub fn hide(&self, r: &mut Recorder) {
        r.leave(self.open.span);
    }

    /// Leaves it on this thread.
    pub fn exit(&self, r: &mut Recorder) {
        // Taken before the count: who enters next begins after it, and no time counts twice.
        self.exit_at(r, sys::tick());
    }

    fn exit_at(&self, r: &mut Recorder, now: u64) {
        r.leave(self.open.span);
        if self.is_shown(r) {
            return;
        }
        match self.add(&self.depth, u64::MAX) {
            1 => {}
            0 => {
                // Nobody was told that it was entered here.
                self.add(&self.depth, 1);
                return;
            }
            _ => return,
        }
        let busy = self.add(&self.busy, now).wrapping_add(now);
        if self.sole {
            self.last_exit.store(now, Ordering::Relaxed);
        } else {
            self.last_exit.fetch_max(now, Ordering::Relaxed);
        }
        if let Some(scheduled) = self.scheduled_here(r) {
            self.scheduled_at_exit.store(scheduled, Ordering::Relaxed);
        } else if self.flags.load(Ordering::Relaxed) & ADOPTED == 0 {
            self.mark(flags::ESTIMATED);
        }
        if let Some((_, slot)) = self.slot {
            slot[span::BUSY].store(busy, Ordering::Relaxed);
            slot[span::LAST_EXIT].store(now, Ordering::Relaxed);
            slot[span::SCHEDULED_AT_EXIT]
                .store(self.scheduled_at_exit.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Takes room for an attribute of this key; `false`: it is over the limit, and counted. `None`: no limit.
    pub fn admit_attribute(&self, key: u32, limit: Option<u32>) -> bool {
        let mut grown = pack(1, 0);
        if let Some(limit) = limit {
            let (_, taken) = unpack(self.attributes.load(Ordering::Relaxed));
            let known =
                self.keys.iter().take(taken as usize).any(|known| known.load(Ordering::Relaxed) == key);
            if key == 0 || !known {
                if taken >= limit {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                    return false;
                }
                grown = pack(1, 1);
                if let Some(place) = self.keys.get(taken as usize) {
                    place.store(key, Ordering::Relaxed);
                }
            }
        }
        self.add(&self.attributes, grown);
        true
    }

    /// Closes it: it ended at its last exit, or now if it was never entered.
    pub fn close(&self, r: &mut Recorder, status: u16) {
        self.close_at(r, sys::tick(), status);
    }

    /// Leaves and closes it.
    pub fn exit_and_close(&self, r: &mut Recorder, status: u16) {
        let now = sys::tick();
        self.exit_at(r, now);
        self.close_at(r, now, status);
    }

    fn close_at(&self, r: &mut Recorder, now: u64, status: u16) {
        let (ended, busy, scheduled) = self.times(now);
        self.end(r, now, ended, busy, scheduled, self.entered.load(Ordering::Relaxed), status);
    }

    /// When it ended if it is closed now, and its busy and scheduled time.
    fn times(&self, now: u64) -> (u64, u64, u64) {
        let entered = self.entered.load(Ordering::Relaxed);
        let (ended, busy) = match (entered, self.depth.load(Ordering::Relaxed)) {
            (0, _) => (now, 0),
            (_, 0) => (self.last_exit.load(Ordering::Relaxed), self.busy.load(Ordering::Relaxed)),
            // Closed while entered: as if it were left now.
            _ => (now, self.busy.load(Ordering::Relaxed).wrapping_add(now)),
        };
        (ended, busy, if self.has(flags::ESTIMATED) { 0 } else { self.scheduled_so_far() })
    }

    /// Gives it up where its end cannot be written: on a thread that is not recorded, or past its end. Its slot is
    /// free again.
    #[cold]
    pub fn abandon(&self) {
        let Some(global) = crate::state::recording() else { return };
        global.session.count(Counter::SpansLost);
        if let Some((number, slot)) = self.slot {
            seq::write(&slot[span::SEQ], || slot[span::ID].store(0, Ordering::Relaxed));
            global.session.spans().give(&[number]);
        }
        self.close_root();
    }

    fn close_root(&self) {
        if self.root == self.open.span {
            roots::close(self.root);
        }
    }

    /// Ends it with its task.
    pub fn end_as_task(&self, r: &mut Recorder, totals: &Totals, now: u64, status: u16) {
        self.end(r, now, now, totals.busy, totals.scheduled, totals.polls, status);
    }

    /// Ends it with its job: the time in the queue is its scheduled time.
    pub fn end_as_job(&self, r: &mut Recorder, busy: u64, queued: u64, now: u64, status: u16) {
        self.end(r, now, now, busy, queued, 1, status);
    }

    #[allow(clippy::too_many_arguments, reason = "the one place where a span's end is written")]
    fn end(
        &self,
        r: &mut Recorder,
        now: u64,
        ended: u64,
        busy: u64,
        scheduled: u64,
        polls: u64,
        status: u16,
    ) {
        let ended = ended.max(self.opened);
        let duration = ended - self.opened;
        let busy = busy.min(duration);
        let mut bits = self.flags.load(Ordering::Relaxed) as u16 | status;
        if self.open.source == record::source::TASK && !roots::is_open(self.root) {
            bits |= flags::DETACHED;
        }
        let unspanned = roots::unspanned(self.open.span);
        if unspanned > 0 {
            attribute::of_span(r, self, "pollscope.tasks.unspanned", &unspanned.into(), now);
        }
        self.close_root();
        let scheduled = if scheduled > duration - busy {
            bits |= flags::ESTIMATED;
            duration - busy
        } else {
            scheduled
        };
        let told = record::SpanEnd {
            open: record::SpanOpen { task: self.task.load(Ordering::Relaxed), ..self.open },
            flags: bits,
            opened: self.opened,
            ended,
            busy,
            scheduled,
            polls,
            attributes: unpack(self.attributes.load(Ordering::Relaxed)).0,
            dropped: self.dropped.load(Ordering::Relaxed),
            dropped_events: limits::dropped_events(self.open.span),
            dropped_links: self.dropped_links.load(Ordering::Relaxed),
            ids: record::SpanIds {
                trace: self.trace(),
                span: self.span_id.load(Ordering::Relaxed),
                parent: self.parent_id.load(Ordering::Relaxed),
            },
        };
        let (bits, body, words) = told.encode();
        r.handle.span.write_slice(kind::SPAN_END, bits, now, &body[..words]);
        let place = KeyPlace {
            location: self.open.callsite as usize,
            future: 1,
            name: self.open.name as u64,
            what: 256 + self.open.source as u32,
            runtime: 0,
        };
        let (callsite, name, source) = (self.open.callsite, self.open.name, self.open.source);
        let key = r.key(place, |global| {
            let what = source as u32;
            global.session.key(KeyDef {
                kind: RowKind::Span as u8,
                runtime: 0,
                callsite,
                name,
                future: 0,
                what,
            })
        });
        if let Some(row) = r.row(key) {
            add(&row[row::SPAWNED], 1);
            add(&row[row::BUSY], busy);
            add(&row[row::SCHEDULED], scheduled);
            add(&row[row::PANICKED], (bits & flags::ERROR != 0) as u64);
            add(&row[row::POLLS], (bits & flags::SAMPLED != 0) as u64);
            Recorder::measure(row, row::FIRST_HISTOGRAM, duration);
        }
        if let Some((number, slot)) = self.slot {
            seq::write(&slot[span::SEQ], || slot[span::ID].store(0, Ordering::Relaxed));
            r.give_span(number);
        }
    }
}
