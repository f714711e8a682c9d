//! Tasks that libraries spawn, seen through the runtime's task hooks (`--cfg tokio_unstable`).
//!
//! A hook knows that a poll begins and ends, and no more: who woke the task and when is unknown, so all the time
//! between two polls counts as idle. A task that is wrapped marks itself while it is spawned and is left alone
//! here, so that none is counted twice. What terminates without having been spawned (the blocking pool's
//! closures) is not known here, and ignored.

use super::core::{Birth, Task, Within};
use super::wrapper::{Entered, Life};
use pollscope_wire::record::{outcome, poll, task_kind};
use pollscope_wire::sys;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::runtime::{Builder, TaskMeta};
use tokio::task::Id;

/// Shards of the table of hooked tasks: each poll looks a task up twice.
const SHARDS: usize = 16;

/// Stands for the type of a future that is not known.
struct UnknownFuture;

struct Hooked {
    life: Life,
    entered: Option<Entered>,
}

thread_local! {
    static WRAPPED: Cell<bool> = const { Cell::new(false) };
}

type Shard = Mutex<HashMap<Id, Hooked>>;

fn shard(id: Id) -> MutexGuard<'static, HashMap<Id, Hooked>> {
    use std::hash::BuildHasher;
    static SHARD: OnceLock<(Vec<Shard>, std::hash::RandomState)> = OnceLock::new();
    let (shards, hasher) =
        SHARD.get_or_init(|| ((0..SHARDS).map(|_| Shard::default()).collect(), Default::default()));
    let at = hasher.hash_one(id) as usize % SHARDS;
    shards[at].lock().unwrap_or_else(PoisonError::into_inner)
}

/// Spawns by `spawn` a task that is wrapped: the hooks leave it alone.
pub(super) fn wrapped<R>(spawn: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            let before = self.0;
            let _ = WRAPPED.try_with(|wrapped| wrapped.set(before));
        }
    }
    let before = WRAPPED.try_with(|wrapped| wrapped.replace(true)).unwrap_or(false);
    let _restore = Restore(before);
    spawn()
}

type Callback = Option<Box<dyn Fn(&TaskMeta<'_>) + Send + Sync>>;

/// The service's own callbacks.
#[derive(Default)]
pub(crate) struct Own {
    pub spawned: Callback,
    pub before: Callback,
    pub after: Callback,
    pub ended: Callback,
}

/// Adds the hooks to a runtime. The service's own callbacks run outside the polls that are measured.
pub(crate) fn install(builder: &mut Builder, own: Own) {
    let run = |own: &Callback, meta: &TaskMeta<'_>| {
        if let Some(own) = own {
            own(meta);
        }
    };
    builder
        .on_task_spawn(move |meta| {
            spawned(meta);
            run(&own.spawned, meta);
        })
        .on_before_task_poll(move |meta| {
            run(&own.before, meta);
            before(meta);
        })
        .on_after_task_poll(move |meta| {
            after(meta);
            run(&own.after, meta);
        })
        .on_task_terminate(move |meta| {
            ended(meta);
            run(&own.ended, meta);
        });
}

fn spawned(meta: &TaskMeta<'_>) {
    if WRAPPED.try_with(Cell::get).unwrap_or(false) {
        return;
    }
    let birth = Birth {
        kind: task_kind::HOOKED,
        name: "",
        location: meta.spawned_at(),
        within: Within::Nothing,
        on: None,
    };
    if let Some(task) = Task::begin::<UnknownFuture>(&birth) {
        shard(meta.id()).insert(meta.id(), Hooked { life: Life::new(task), entered: None });
    }
}

fn before(meta: &TaskMeta<'_>) {
    if crate::state::recording().is_none() {
        return;
    }
    if let Some(hooked) = shard(meta.id()).get_mut(&meta.id()) {
        hooked.entered = Some(hooked.life.enter());
    }
}

fn after(meta: &TaskMeta<'_>) {
    if crate::state::recording().is_none() {
        return;
    }
    if let Some(hooked) = shard(meta.id()).get_mut(&meta.id())
        && let Some(entered) = hooked.entered.take()
    {
        hooked.life.leave(&entered, poll::PENDING);
    }
}

fn ended(meta: &TaskMeta<'_>) {
    let hooked = shard(meta.id()).remove(&meta.id());
    let Some(mut hooked) = hooked else { return };
    // The last poll is still under way: its own hook comes later. That it panicked cannot be told: the runtime has
    // caught it by now.
    match hooked.entered.take() {
        Some(entered) => {
            hooked.life.leave(&entered, poll::READY);
            hooked.life.end(outcome::FINISHED);
        }
        None => hooked.life.end_at(outcome::CANCELLED, sys::tick()),
    }
}
