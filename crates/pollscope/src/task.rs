//! Tasks: spawned, named, joined, each poll of theirs recorded.

mod core;
#[cfg(tokio_unstable)]
pub(crate) mod hooked;
mod join;
pub mod join_set;
mod waker;
mod wrapper;

pub(crate) use self::core::{Birth, Generations, Within, job_key, open_job_span};
pub use join::{AbortHandle, JoinHandle};
pub use join_set::JoinSet;
/// The rest of tokio's, that an import of this module serves as one of `tokio::task` does.
pub use tokio::task::{
    Id, JoinError, LocalEnterGuard, LocalKey, LocalSet, block_in_place, consume_budget, coop, futures, id,
    try_id, unconstrained, yield_now,
};
pub(crate) use wrapper::Recorded;

use crate::thread::{Job, RunJob};
#[cfg(tokio_unstable)]
use hooked::wrapped;
use pollscope_wire::record::task_kind;
use std::future::Future;
use std::panic::Location;
use tokio::runtime::Handle;

/// Spawns a future on the current runtime, as [`tokio::spawn`] does.
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Builder::new().spawn(future)
}

/// Spawns a future under a name, by which it is shown and counted.
#[track_caller]
pub fn spawn_named<F>(name: &str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Builder::new().name(name).spawn(future)
}

/// Spawns a future on the current `LocalSet`, as [`tokio::task::spawn_local`] does.
#[track_caller]
pub fn spawn_local<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    Builder::new().spawn_local(future)
}

/// Runs a closure on the runtime's blocking pool, recorded as a job.
#[track_caller]
pub fn spawn_blocking<F, R>(run: F) -> JoinHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    Builder::new().spawn_blocking(run)
}

/// Spawns by `spawn` a task that is wrapped: without the runtime's hooks nobody else would see it anyway.
#[cfg(not(tokio_unstable))]
fn wrapped<R>(spawn: impl FnOnce() -> R) -> R {
    spawn()
}

/// Options for a task.
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "a builder does nothing until it spawns"]
pub struct Builder<'a> {
    name: &'a str,
    within: Within,
}

impl<'a> Builder<'a> {
    /// A task without a name.
    pub fn new() -> Builder<'a> {
        Builder::default()
    }

    /// Its name.
    pub fn name(mut self, name: &'a str) -> Self {
        self.name = name;
        self
    }

    /// It begins a trace of its own, with a link to the span in which it is spawned: for work that goes on when
    /// the request that asked for it is over.
    pub fn detached(self) -> Self {
        self.within(Within::Apart)
    }

    pub(crate) fn within(mut self, within: Within) -> Self {
        self.within = within;
        self
    }

    fn birth(&self, kind: u8, location: &'static Location<'static>) -> Birth<'a> {
        Birth { kind, name: self.name, location, within: self.within, on: None }
    }

    #[track_caller]
    pub(crate) fn recorded<F: Future>(self, future: F) -> Recorded<F> {
        Recorded::new(future, self.birth(task_kind::SPAWNED, Location::caller()))
    }

    #[track_caller]
    fn recorded_on<F: Future>(self, future: F, handle: &Handle) -> Recorded<F> {
        let birth = Birth { on: Some(handle), ..self.birth(task_kind::SPAWNED, Location::caller()) };
        Recorded::new(future, birth)
    }

    #[track_caller]
    fn job(self) -> Option<Job> {
        Job::queue(self.name, Location::caller(), self.within)
    }

    #[track_caller]
    pub(crate) fn recorded_local<F: Future>(self, future: F) -> Recorded<F> {
        Recorded::new(future, self.birth(task_kind::LOCAL, Location::caller()))
    }

    /// Spawns on the current runtime.
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_at(future, Location::caller())
    }

    /// Spawns on the current runtime, as if at another place.
    pub(crate) fn spawn_at<F>(self, future: F, location: &'static Location<'static>) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let future = Recorded::new(future, self.birth(task_kind::SPAWNED, location));
        let task = future.id();
        JoinHandle::new(wrapped(|| tokio::spawn(future)), task)
    }

    /// Spawns on the runtime of a handle.
    #[track_caller]
    pub fn spawn_on<F>(self, future: F, handle: &Handle) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let future = self.recorded_on(future, handle);
        let task = future.id();
        JoinHandle::new(wrapped(|| handle.spawn(future)), task)
    }

    /// Spawns on the current `LocalSet`.
    #[track_caller]
    pub fn spawn_local<F>(self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let future = self.recorded_local(future);
        let task = future.id();
        JoinHandle::new(wrapped(|| tokio::task::spawn_local(future)), task)
    }

    /// Spawns on a `LocalSet`.
    #[track_caller]
    pub fn spawn_local_on<F>(self, future: F, local: &LocalSet) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let future = self.recorded_local(future);
        let task = future.id();
        JoinHandle::new(wrapped(|| local.spawn_local(future)), task)
    }

    /// Runs a closure on the blocking pool.
    #[track_caller]
    pub fn spawn_blocking<F, R>(self, run: F) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let job = self.job();
        JoinHandle::new(wrapped(|| tokio::task::spawn_blocking(move || job.run(run))), 0)
    }

    /// Runs a closure on the blocking pool of a handle's runtime.
    #[track_caller]
    pub fn spawn_blocking_on<F, R>(self, run: F, handle: &Handle) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let job = self.job();
        JoinHandle::new(wrapped(|| handle.spawn_blocking(move || job.run(run))), 0)
    }
}

/// Adds [`FutureExt::in_task`] to every future.
pub trait FutureExt: Future + Sized {
    /// Records a future as a task of its own, on any runtime or none: it is born at its first poll.
    ///
    /// The waker of that poll is kept until the future ends: an executor that drops a future as soon as nobody
    /// holds its waker keeps this one.
    #[track_caller]
    fn in_task(self, name: &str) -> InTask<Self> {
        let birth = Birth {
            kind: task_kind::WRAPPED,
            name,
            location: Location::caller(),
            within: Within::Child,
            on: None,
        };
        InTask { inner: Recorded::new(self, birth) }
    }
}

impl<F: Future> FutureExt for F {}

pin_project_lite::pin_project! {
    /// A future recorded as a task: what [`FutureExt::in_task`] returns.
    #[must_use = "futures do nothing unless polled"]
    pub struct InTask<F> {
        #[pin]
        inner: Recorded<F>,
    }
}

impl<F: Future> Future for InTask<F> {
    type Output = F::Output;

    fn poll(self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<F::Output> {
        self.project().inner.poll(cx)
    }
}
