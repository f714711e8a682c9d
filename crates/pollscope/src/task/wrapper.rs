//! The future around a recorded task: times each poll, hands out the task's waker, and writes the poll and,
//! at last, the end.
//!
//! Times are exact by construction. With b the end of the poll before (or the birth), w the first wake since
//! that poll began, clamped into [b, start]: idle += w - b, scheduled += start - w, busy += end - start. So
//! busy + scheduled + idle is the time from birth to end, to the tick. The drop of a future that was not done is busy
//! time, too, but no poll.

use super::core::{Birth, Task, Within};
use super::waker::{self, Half};
use crate::recorder::{self, Frame, Recorder, add};
use crate::span::OpenSpan;
use pin_project_lite::pin_project;
use pollscope_wire::ids::Who;
use pollscope_wire::layout::{row, task};
use pollscope_wire::record::{self, Totals, kind, outcome, poll, span as span_flags};
use pollscope_wire::{seq, sys};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as PollContext, Poll};

pin_project! {
    /// A future that is recorded as a task, or just passed through where nothing is recorded.
    pub(crate) struct Recorded<F> {
        #[pin]
        inner: Option<F>,
        life: Option<Life>,
        // A wrapped future is born at its first poll: until then its birth waits here.
        unborn: Option<Box<Unborn>>,
    }

    impl<F> PinnedDrop for Recorded<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.life.is_none() || this.inner.is_none() {
                return;
            }
            let inner = this.inner.as_mut();
            drop_future(this.life, inner);
        }
    }
}

/// A birth that is still to come.
struct Unborn {
    kind: u8,
    name: Box<str>,
    location: &'static std::panic::Location<'static>,
    span: Option<OpenSpan>,
}

/// A recorded task's private sums.
pub(super) struct Life {
    task: Arc<Task>,
    half: Option<Arc<Half>>,
    totals: Totals,
    /// b: the end of the poll before, or the birth.
    last_end: u64,
    /// When the last poll began: an older wake is no wake since then.
    last_start: u64,
    /// The wake count at that end.
    wakes_seen: u64,
    /// The last poll woke its own task.
    self_woken: bool,
    ended: bool,
}

/// What one poll began with.
pub(super) struct Entered {
    start: u64,
    scheduled: u64,
    idle: u64,
    who: Who,
    last_who: Option<Who>,
    wakes: u8,
    unwoken: bool,
    /// The thread was told of it.
    told: bool,
}

impl<F> Recorded<F> {
    /// Wraps a future: it is born now, or, if it was not spawned, at its first poll.
    pub fn new(future: F, birth: Birth<'_>) -> Recorded<F> {
        if birth.kind == record::task_kind::WRAPPED {
            return Recorded::unborn(future, birth, None);
        }
        let life = Task::begin::<F>(&birth).map(Life::new);
        Recorded { inner: Some(future), life, unborn: None }
    }

    /// Wraps a future that is born at its first poll, perhaps with a span of its own: a request.
    pub fn unborn(future: F, birth: Birth<'_>, span: Option<OpenSpan>) -> Recorded<F> {
        let unborn = crate::state::recording().map(|_| {
            Box::new(Unborn { kind: birth.kind, name: birth.name.into(), location: birth.location, span })
        });
        Recorded { inner: Some(future), life: None, unborn }
    }

    /// The task's id, 0 if it is not recorded.
    pub fn id(&self) -> u64 {
        self.life.as_ref().map_or(0, |life| life.task.id)
    }
}

impl<F: Future> Future for Recorded<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        if let Some(unborn) = this.unborn.take() {
            let Unborn { kind, name, location, span } = *unborn;
            let birth = Birth { kind, name: &name, location, within: Within::Child, on: None };
            *this.life = Task::begin_with::<F>(&birth, span).map(Life::new);
        }
        let inner = this.inner.as_mut().as_pin_mut();
        let Some(inner) = inner else { panic!("a task is not polled after it ended") };
        let Some(life) = this.life.as_mut() else { return inner.poll(cx) };
        let waker = waker::for_poll(&life.task, &mut life.half, cx.waker());
        let entered = life.enter();
        // Ends the poll, and the task, if the future unwinds.
        let unwinding = Unwinding { life, entered: &entered };
        let polled = inner.poll(&mut PollContext::from_waker(&waker));
        if polled.is_pending() {
            std::mem::forget(unwinding);
            life.leave(&entered, poll::PENDING);
        } else {
            // Its destructors are busy time, and run while it is still the current task.
            this.inner.set(None);
            std::mem::forget(unwinding);
            life.leave(&entered, poll::READY);
            life.end(outcome::FINISHED);
        }
        polled
    }
}

struct Unwinding<'a> {
    life: &'a mut Life,
    entered: &'a Entered,
}

impl Drop for Unwinding<'_> {
    #[cold]
    fn drop(&mut self) {
        self.life.leave(self.entered, poll::PANICKED);
        self.life.end(outcome::PANICKED);
    }
}

/// Drops a future before it was done: its destructors are busy time, within the task, and their wakes are named as its
/// doing; then it ends as cancelled.
fn drop_future<F>(life: &mut Option<Life>, mut inner: Pin<&mut Option<F>>) {
    let Some(life) = life else { return };
    if life.ended {
        inner.set(None);
        return;
    }
    /// Ends the task also when a destructor panics.
    struct Ending<'a>(&'a mut Life, Dropping, u16);
    impl Drop for Ending<'_> {
        fn drop(&mut self) {
            self.0.leave_drop(&self.1);
            self.0.end(self.2);
        }
    }
    let dropping = life.enter_drop();
    let mut ending = Ending(life, dropping, outcome::PANICKED);
    inner.set(None);
    ending.2 = outcome::CANCELLED;
}

/// What the drop of a future began with.
struct Dropping {
    /// The thread was told of it.
    told: bool,
    start: u64,
    idle: u64,
}

impl Life {
    pub(super) fn new(task: Arc<Task>) -> Life {
        let last_end = task.birth.born;
        Life {
            task,
            half: None,
            totals: Totals::default(),
            last_end,
            last_start: last_end,
            wakes_seen: 0,
            self_woken: false,
            ended: false,
        }
    }

    /// Begins a poll: settles the time since the last one, and makes this task the thread's current one.
    #[inline]
    pub(super) fn enter(&mut self) -> Entered {
        let entered = recorder::with(|r| {
            let entered = self.settle(r.origin, true);
            self.step_in(r, entered.start, false);
            entered
        });
        entered.unwrap_or_else(|| self.enter_unrecorded())
    }

    #[cold]
    #[inline(never)]
    fn enter_unrecorded(&mut self) -> Entered {
        self.settle(crate::state::global().map_or(0, |global| global.session.start_tick()), false)
    }

    /// What passed since the last poll, told apart by the wake; wake words count from tick `origin`.
    #[inline]
    fn settle(&mut self, origin: u64, told: bool) -> Entered {
        let slot = self.task.slot;
        let begun = self.task.ordinal.load(Ordering::Relaxed);
        let tick_word = slot[task::WAKE_TICK].load(Ordering::Acquire);
        let start = sys::tick().max(self.last_end);
        self.task.ordinal.store(begun + 1, Ordering::Relaxed);
        if (begun + 1) & 0xff == 0 {
            // The ordinals begin anew: a wake of the round before must not look like one of this.
            slot[task::WAKE_TICK].store(0, Ordering::Relaxed);
        }
        let wakes = slot[task::WAKES].load(Ordering::Relaxed);
        let count = wakes.wrapping_sub(self.wakes_seen);
        let b = self.last_end;
        let last_start = std::mem::replace(&mut self.last_start, start);
        let woken = origin + (tick_word >> 8);
        let (mut w, mut who, mut unwoken, mut last_who) = (start, Who::UNKNOWN, false, None);
        if begun == 0 {
            (w, unwoken) = (b, true);
        } else if std::mem::take(&mut self.self_woken) {
            (w, who) = (b, Who::new(Who::ITSELF, self.task.id));
        } else if tick_word != 0 && tick_word & 0xff == begun & 0xff && woken >= last_start {
            let word = slot[task::WAKE_WHO].load(Ordering::Relaxed);
            w = woken.clamp(b, start);
            if word & 0xff == begun & 0xff {
                who = Who(word >> 8);
            }
        } else {
            unwoken = true;
        }
        if count > 0 {
            self.wakes_seen = wakes;
        }
        if count > 1 {
            let last = slot[task::LAST_WHO].load(Ordering::Relaxed);
            last_who = (last & 0xff == begun & 0xff).then_some(Who(last >> 8));
        }
        self.totals.idle += w - b;
        self.totals.scheduled += start - w;
        let wakes = count.min(255) as u8;
        Entered { start, scheduled: start - w, idle: w - b, who, last_who, wakes, unwoken, told }
    }

    /// Makes this task the thread's current one.
    #[inline]
    fn step_in(&self, r: &mut Recorder, start: u64, dropping: bool) {
        r.begin_poll(Frame {
            task: self.task.id,
            born: self.task.birth.born,
            start,
            scheduled: self.totals.scheduled,
            dropping,
            ..Frame::default()
        });
        if let Some(span) = &self.task.span {
            r.entered.push(span.context());
        } else if let Some(under) = &self.task.under {
            r.entered.push(**under);
        }
        r.show();
    }

    /// Counts what was busy since; the frame is still this one's. Gives the end.
    #[inline]
    fn count(&mut self, r: &Recorder, start: u64) -> u64 {
        let end = sys::tick().max(start);
        let (frame, totals) = (&r.frame, &mut self.totals);
        totals.busy += end - start;
        self.last_end = end;
        self.self_woken = frame.self_wakes > 0;
        let slot = self.task.slot;
        seq::write(&slot[task::SEQ], || {
            slot[task::POLLS].store(self.task.ordinal.load(Ordering::Relaxed), Ordering::Relaxed);
            slot[task::BUSY].store(totals.busy, Ordering::Relaxed);
            slot[task::SCHEDULED].store(totals.scheduled, Ordering::Relaxed);
            slot[task::IDLE].store(totals.idle, Ordering::Relaxed);
            slot[task::LAST_END].store(end, Ordering::Relaxed);
            if frame.self_wakes > 0 {
                totals.self_wakes += frame.self_wakes as u64;
                slot[task::SELF_WAKES].store(totals.self_wakes, Ordering::Relaxed);
            }
            if frame.inner > 0 {
                totals.nested += frame.inner;
                slot[task::NESTED].store(totals.nested, Ordering::Relaxed);
            }
            if frame.clones | frame.drops > 0 {
                totals.clones += frame.clones as u64;
                totals.drops += frame.drops as u64;
                slot[task::OWN_CLONES].store(totals.clones, Ordering::Relaxed);
                slot[task::OWN_DROPS].store(totals.drops, Ordering::Relaxed);
            }
        });
        end
    }

    /// The future begins to be dropped: what passed since the last poll was idle.
    #[cold]
    fn enter_drop(&mut self) -> Dropping {
        let start = sys::tick().max(self.last_end);
        let idle = start - self.last_end;
        self.totals.idle += idle;
        self.last_end = start;
        Dropping { told: recorder::with(|r| self.step_in(r, start, true)).is_some(), start, idle }
    }

    /// It is dropped: this was busy time, and no poll.
    #[cold]
    fn leave_drop(&mut self, dropping: &Dropping) {
        let counted = dropping.told.then(|| {
            recorder::with(|r| {
                let busy = self.count(r, dropping.start) - dropping.start;
                if let Some(row) = r.row(self.task.key) {
                    add(&row[row::BUSY], busy);
                    add(&row[row::IDLE], dropping.idle);
                    add(&row[row::NESTED], r.frame.inner);
                    add(&row[row::SELF_WAKES], r.frame.self_wakes as u64);
                }
                r.end_poll(busy);
            })
        });
        if counted.flatten().is_none() {
            self.leave_unrecorded(dropping.start);
        }
    }

    /// Ends a poll: sums, slot, row, and the one record.
    #[inline(never)]
    pub(super) fn leave(&mut self, entered: &Entered, how: u16) {
        if !entered.told {
            return self.leave_unrecorded(entered.start);
        }
        let recorded = recorder::with(|r| {
            let end = self.count(r, entered.start);
            let busy = end - entered.start;
            write_row(r, self.task.key, busy, entered);
            let mut flags = how;
            if entered.unwoken {
                flags |= poll::UNWOKEN;
            }
            if r.frame.clones > 0 {
                flags |= poll::CLONED;
            }
            let told = record::Poll {
                task: self.task.id,
                flags,
                ordinal: self.task.ordinal.load(Ordering::Relaxed) as u8,
                busy,
                scheduled: entered.scheduled,
                nested: r.frame.inner,
                who: entered.who,
                wakes: entered.wakes,
                last_who: entered.last_who,
            };
            r.end_poll(busy);
            if told.is_short() {
                let (flags, body) = told.encode_short();
                r.handle.poll.write(kind::POLL, flags, end, &body);
            } else {
                write_long(r, &told, end);
            }
            if how != poll::PENDING {
                r.completing = (Who::new(Who::COMPLETING, self.task.id), end);
            }
        });
        if recorded.is_none() {
            self.leave_unrecorded(entered.start);
        }
    }

    /// Recording ended meanwhile, or the thread is past its end: the private sums stay right.
    #[cold]
    #[inline(never)]
    fn leave_unrecorded(&mut self, start: u64) {
        let end = sys::tick().max(start);
        self.totals.busy += end - start;
        self.last_end = end;
    }

    /// Ends the task with its last poll, or when its future was dropped.
    pub(super) fn end(&mut self, how: u16) {
        self.end_at(how, self.last_end);
    }

    /// Ends the task: what passed since its last poll is idle, and its end is written.
    #[cold]
    pub(super) fn end_at(&mut self, how: u16, at: u64) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let slot = self.task.slot;
        let task = &self.task;
        let totals = &mut self.totals;
        let last_end = self.last_end;
        let told = recorder::with(|r| {
            let now = at.max(last_end);
            totals.idle += now - last_end;
            totals.polls = task.ordinal.load(Ordering::Relaxed);
            totals.wakes = slot[task::WAKES].load(Ordering::Relaxed);
            let mut shown = *totals;
            shown.clones += slot[task::CLONES].load(Ordering::Relaxed);
            shown.drops += slot[task::DROPS].load(Ordering::Relaxed);
            seq::write(&slot[task::SEQ], || {
                slot[task::IDLE].store(totals.idle, Ordering::Relaxed);
                slot[task::STATE].store(2 | (how as u64) << 8, Ordering::Relaxed);
                slot[task::ENDED].store(now, Ordering::Relaxed);
            });
            let word = match how {
                outcome::FINISHED => row::FINISHED,
                outcome::CANCELLED => row::CANCELLED,
                _ => row::PANICKED,
            };
            if let Some(row) = r.row(task.key) {
                add(&row[word], 1);
                add(&row[row::IDLE], now - last_end);
            }
            let (flags, body) = record::TaskEnd { birth: task.birth, outcome: how, totals: shown }.encode();
            match &task.span {
                None => r.handle.poll.write(kind::TASK_END, flags, now, &body),
                Some(span) => {
                    r.handle.span.write(kind::TASK_END, flags, now, &body);
                    let status = match how {
                        outcome::FINISHED => 0,
                        outcome::CANCELLED => span_flags::CANCELLED,
                        _ => span_flags::PANICKED | span_flags::ERROR,
                    };
                    span.end_as_task(r, totals, now, status);
                }
            }
        });
        if told.is_none()
            && let Some(span) = &task.span
        {
            span.abandon();
        }
    }
}

#[inline]
fn write_row(r: &mut Recorder, key: u32, busy: u64, entered: &Entered) {
    let Some(row) = r.row(key) else { return };
    add(&row[row::POLLS], 1);
    add(&row[row::BUSY], busy);
    add(&row[row::SCHEDULED], entered.scheduled);
    add(&row[row::IDLE], entered.idle);
    if r.frame.inner > 0 {
        add(&row[row::NESTED], r.frame.inner);
    }
    if r.frame.self_wakes > 0 {
        add(&row[row::SELF_WAKES], r.frame.self_wakes as u64);
    }
    if busy > r.slow_poll_ticks {
        add(&row[row::SLOW_POLLS], 1);
    }
    Recorder::measure(row, row::FIRST_HISTOGRAM, busy);
    Recorder::measure(row, row::SECOND_HISTOGRAM, entered.scheduled);
}

#[cold]
#[inline(never)]
fn write_long(r: &mut Recorder, told: &record::Poll, end: u64) {
    let (flags, body, words) = told.encode();
    r.handle.poll.write_slice(kind::POLL, flags, end, &body[..words]);
}
