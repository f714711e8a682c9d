//! The waker that a recorded task hands out: it notes who woke the task, then wakes the waker within.
//!
//! There are two kinds behind one pointer: the task itself, for the waker of its first poll (nearly all tasks
//! have but that one), and a half of its own for each later waker that differs. The inner waker of either is
//! never changed. Both are `Arc`s: a waker is a strong reference, so it outlives future, task and session
//! safely.

use super::core::Task;
use crate::recorder;
use pollscope_wire::layout::task;
use pollscope_wire::sys;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{RawWaker, RawWakerVTable, Waker};

/// A later waker of a task.
pub(super) struct Half {
    pub task: Arc<Task>,
    pub inner: Waker,
}

/// What a waker's pointer can be.
trait Target: Sized + 'static {
    fn task(&self) -> &Task;
    fn inner(&self) -> Option<&Waker>;
    const VTABLE: &'static RawWakerVTable;
}

impl Target for Task {
    fn task(&self) -> &Task {
        self
    }
    fn inner(&self) -> Option<&Waker> {
        self.first.get()
    }
    const VTABLE: &'static RawWakerVTable =
        &RawWakerVTable::new(clone::<Task>, wake::<Task>, wake_by_ref::<Task>, drop_waker::<Task>);
}

impl Target for Half {
    fn task(&self) -> &Task {
        &self.task
    }
    fn inner(&self) -> Option<&Waker> {
        Some(&self.inner)
    }
    const VTABLE: &'static RawWakerVTable =
        &RawWakerVTable::new(clone::<Half>, wake::<Half>, wake_by_ref::<Half>, drop_waker::<Half>);
}

/// The waker for a poll of `task`: borrowed from the task or from `half`, which is renewed if `inner` is
/// neither's.
pub(super) fn for_poll(task: &Arc<Task>, half: &mut Option<Arc<Half>>, inner: &Waker) -> ManuallyDrop<Waker> {
    let first = task.first.get_or_init(|| inner.clone());
    if first.will_wake(inner) {
        return borrowed(task);
    }
    match half {
        Some(half) if half.inner.will_wake(inner) => borrowed(half),
        _ => borrowed(half.insert(Arc::new(Half { task: task.clone(), inner: inner.clone() }))),
    }
}

fn borrowed<T: Target>(target: &Arc<T>) -> ManuallyDrop<Waker> {
    let raw = RawWaker::new(Arc::as_ptr(target).cast(), T::VTABLE);
    // SAFETY: the vtable is `T`'s and the pointer an `Arc<T>`'s, which the caller keeps alive over the poll in
    // which this waker is used; it is not dropped, so that the count stays right.
    ManuallyDrop::new(unsafe { Waker::from_raw(raw) })
}

unsafe fn clone<T: Target>(pointer: *const ()) -> RawWaker {
    // SAFETY: `pointer` came from an `Arc<T>` of which the waker being cloned holds a strong count, or borrows
    // one over a poll.
    let target = unsafe {
        Arc::increment_strong_count(pointer.cast::<T>());
        &*pointer.cast::<T>()
    };
    let of = target.task();
    let own = recorder::with(|r| {
        let own = r.frame.task == of.id;
        r.frame.clones += own as u32;
        own
    });
    if own != Some(true) {
        count(of, task::CLONES);
    }
    RawWaker::new(pointer, T::VTABLE)
}

unsafe fn wake<T: Target>(pointer: *const ()) {
    // SAFETY: as in `wake_by_ref`; then the waker's own count is given up, as `wake` consumes it.
    unsafe {
        wake_by_ref::<T>(pointer);
        drop_waker::<T>(pointer);
    }
}

unsafe fn wake_by_ref<T: Target>(pointer: *const ()) {
    // SAFETY: the waker holds a strong count, or borrows one over a poll.
    let target = unsafe { &*pointer.cast::<T>() };
    note(target.task());
    if let Some(inner) = target.inner() {
        inner.wake_by_ref();
    }
}

unsafe fn drop_waker<T: Target>(pointer: *const ()) {
    // SAFETY: this gives up the strong count that the waker holds; it is alive until then.
    let of = unsafe { &*pointer.cast::<T>() }.task();
    let own = recorder::with(|r| {
        let own = r.frame.task == of.id;
        r.frame.drops += own as u32;
        own
    });
    if own != Some(true) {
        count(of, task::DROPS);
    }
    // SAFETY: as above. The last one drops the task, which touches the recorder: no borrow of it is held.
    unsafe { Arc::decrement_strong_count(pointer.cast::<T>()) };
}

/// Notes a wake of `task` from this thread.
fn note(of: &Task) {
    let noted = recorder::with(|r| {
        if r.frame.task == of.id {
            r.frame.self_wakes += 1;
            return;
        }
        let who = r.who();
        let slot = of.slot;
        let ordinal = of.ordinal.load(Ordering::Relaxed) & 0xff;
        let seen = slot[task::WAKE_TICK].load(Ordering::Relaxed);
        if seen == 0 || seen & 0xff != ordinal {
            let now = sys::tick().saturating_sub(r.origin).max(1);
            slot[task::WAKE_WHO].store(who.0 << 8 | ordinal, Ordering::Relaxed);
            slot[task::WAKE_TICK].store(now << 8 | ordinal, Ordering::Release);
        } else {
            slot[task::LAST_WHO].store(who.0 << 8 | ordinal, Ordering::Relaxed);
        }
        slot[task::WAKES].fetch_add(1, Ordering::Relaxed);
        r.count(of.key, pollscope_wire::layout::row::WAKES);
    });
    if noted.is_none() {
        count(of, task::WAKES);
    }
}

/// Counts in a word that many threads write; not in a forked child, whose slots are its parent's.
fn count(of: &Task, word: usize) {
    if crate::state::recording().is_some() {
        of.slot[word].fetch_add(1, Ordering::Relaxed);
    }
}
