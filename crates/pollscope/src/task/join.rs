//! Handles that wait for tasks, and note in which task the result was seen: the edge that a join is.

use super::{Builder, wrapped};
use crate::recorder;
use crate::thread::RunJob;
use pollscope_wire::record::kind;
use pollscope_wire::sys;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::runtime::Handle;
use tokio::task::{Id, JoinError, LocalSet};

pub use tokio::task::AbortHandle;

/// Notes that the current task has seen `joined`'s result.
fn joined(joined: u64) {
    if joined == 0 {
        return;
    }
    recorder::with(|r| {
        let joiner = r.frame.task;
        if joiner != 0 {
            r.handle.poll.write(kind::JOIN, 0, sys::tick(), &[joiner, joined]);
        }
    });
}

/// Waits for a task: tokio's handle, with the task that it waits for.
pub struct JoinHandle<T> {
    inner: tokio::task::JoinHandle<T>,
    task: u64,
}

impl<T> JoinHandle<T> {
    pub(crate) fn new(inner: tokio::task::JoinHandle<T>, task: u64) -> Self {
        JoinHandle { inner, task }
    }

    /// Aborts the task.
    pub fn abort(&self) {
        self.inner.abort();
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.inner.is_finished()
    }

    /// A handle that can abort the task from elsewhere.
    pub fn abort_handle(&self) -> AbortHandle {
        self.inner.abort_handle()
    }

    /// tokio's id of the task.
    pub fn id(&self) -> Id {
        self.inner.id()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut self.inner).poll(cx);
        if polled.is_ready() {
            joined(self.task);
        }
        polled
    }
}

impl<T> From<JoinHandle<T>> for tokio::task::JoinHandle<T> {
    fn from(handle: JoinHandle<T>) -> Self {
        handle.inner
    }
}

impl<T: fmt::Debug> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// A set of tasks: tokio's, each task recorded.
pub struct JoinSet<T> {
    inner: tokio::task::JoinSet<T>,
    /// Recorded tasks by tokio's id.
    tasks: HashMap<Id, u64>,
}

impl<T> JoinSet<T> {
    /// An empty set.
    pub fn new() -> Self {
        JoinSet { inner: tokio::task::JoinSet::new(), tasks: HashMap::new() }
    }

    /// Tasks in it.
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// Whether no task is in it.
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }
}

impl<T: 'static> JoinSet<T> {
    /// Aborts all.
    pub fn abort_all(&mut self) {
        self.inner.abort_all();
    }

    /// Lets go of all; they run on.
    pub fn detach_all(&mut self) {
        self.inner.detach_all();
        self.tasks.clear();
    }

    fn keep(&mut self, handle: AbortHandle, task: u64) -> AbortHandle {
        if task != 0 {
            self.tasks.insert(handle.id(), task);
        }
        handle
    }

    fn seen<R>(&mut self, result: Option<Result<(Id, R), JoinError>>) -> Option<Result<(Id, R), JoinError>> {
        let id = match result.as_ref()? {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        joined(self.tasks.remove(&id).unwrap_or(0));
        result
    }

    /// Spawns on the current runtime.
    #[track_caller]
    pub fn spawn<F>(&mut self, future: F) -> AbortHandle
    where
        F: Future<Output = T> + Send + 'static,
        T: Send,
    {
        let future = Builder::new().recorded(future);
        let task = future.id();
        let handle = wrapped(|| self.inner.spawn(future));
        self.keep(handle, task)
    }

    /// Spawns on the runtime of a handle.
    #[track_caller]
    pub fn spawn_on<F>(&mut self, future: F, handle: &Handle) -> AbortHandle
    where
        F: Future<Output = T> + Send + 'static,
        T: Send,
    {
        let future = Builder::new().recorded(future);
        let task = future.id();
        let handle = wrapped(|| self.inner.spawn_on(future, handle));
        self.keep(handle, task)
    }

    /// Spawns on the current `LocalSet`.
    #[track_caller]
    pub fn spawn_local<F>(&mut self, future: F) -> AbortHandle
    where
        F: Future<Output = T> + 'static,
    {
        let future = Builder::new().recorded_local(future);
        let task = future.id();
        let handle = wrapped(|| self.inner.spawn_local(future));
        self.keep(handle, task)
    }

    /// Spawns on a `LocalSet`.
    #[track_caller]
    pub fn spawn_local_on<F>(&mut self, future: F, set: &LocalSet) -> AbortHandle
    where
        F: Future<Output = T> + 'static,
    {
        let future = Builder::new().recorded_local(future);
        let task = future.id();
        let handle = wrapped(|| self.inner.spawn_local_on(future, set));
        self.keep(handle, task)
    }

    /// Runs a closure on the blocking pool.
    #[track_caller]
    pub fn spawn_blocking<F>(&mut self, run: F) -> AbortHandle
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send,
    {
        let job = crate::thread::Job::queue("", std::panic::Location::caller(), crate::task::Within::Child);
        wrapped(|| self.inner.spawn_blocking(move || job.run(run)))
    }

    /// The next task to end, with its result; `None` when the set is empty.
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        self.join_next_with_id().await.map(|result| result.map(|(_, value)| value))
    }

    /// The same with tokio's id.
    pub async fn join_next_with_id(&mut self) -> Option<Result<(Id, T), JoinError>> {
        let result = self.inner.join_next_with_id().await;
        self.seen(result)
    }

    /// A task that has ended already.
    pub fn try_join_next(&mut self) -> Option<Result<T, JoinError>> {
        self.try_join_next_with_id().map(|result| result.map(|(_, value)| value))
    }

    /// The same with tokio's id.
    pub fn try_join_next_with_id(&mut self) -> Option<Result<(Id, T), JoinError>> {
        let result = self.inner.try_join_next_with_id();
        self.seen(result)
    }

    /// Polls for the next task to end.
    pub fn poll_join_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, JoinError>>> {
        self.inner
            .poll_join_next_with_id(cx)
            .map(|result| self.seen(result).map(|result| result.map(|(_, value)| value)))
    }

    /// Aborts all and waits until they have ended.
    pub async fn shutdown(&mut self) {
        self.abort_all();
        while self.join_next().await.is_some() {}
    }

    /// Waits for all; panics if one panicked, as tokio's does.
    pub async fn join_all(mut self) -> Vec<T> {
        let mut all = Vec::with_capacity(self.len());
        while let Some(result) = self.join_next().await {
            match result {
                Ok(value) => all.push(value),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(error) => panic!("{error}"),
            }
        }
        all
    }
}

impl<T> Default for JoinSet<T> {
    fn default() -> Self {
        JoinSet::new()
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSet").field("len", &self.len()).finish()
    }
}
