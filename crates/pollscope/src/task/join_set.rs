//! A set of tasks that are joined together.

use super::join::joined;
use super::{Builder as TaskBuilder, Recorded, wrapped};
use crate::thread::RunJob;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::task::{Context, Poll};
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, Id, JoinError, LocalSet};

/// A set of tasks: tokio's, each task recorded.
pub struct JoinSet<T> {
    inner: tokio::task::JoinSet<T>,
    /// Recorded tasks by tokio's id.
    tasks: HashMap<Id, u64>,
}

/// Options for a task of a set: what [`JoinSet::build_task`] returns. As with tokio's, which is unstable, spawning
/// gives a `Result`; it is always `Ok`.
#[must_use = "a builder does nothing until it spawns"]
pub struct Builder<'a, T> {
    set: &'a mut JoinSet<T>,
    task: TaskBuilder<'a>,
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
    /// Options for the next task.
    pub fn build_task(&mut self) -> Builder<'_, T> {
        Builder { set: self, task: TaskBuilder::new() }
    }

    /// Aborts all.
    pub fn abort_all(&mut self) {
        self.inner.abort_all();
    }

    /// Lets go of all; they run on.
    pub fn detach_all(&mut self) {
        self.inner.detach_all();
        self.tasks.clear();
    }

    fn put<F>(
        &mut self,
        future: Recorded<F>,
        spawn: impl FnOnce(&mut tokio::task::JoinSet<T>, Recorded<F>) -> AbortHandle,
    ) -> AbortHandle
    where
        F: Future<Output = T>,
    {
        let task = future.id();
        let handle = wrapped(|| spawn(&mut self.inner, future));
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
        self.put(TaskBuilder::new().recorded(future), |set, future| set.spawn(future))
    }

    /// Spawns on the runtime of a handle.
    #[track_caller]
    pub fn spawn_on<F>(&mut self, future: F, handle: &Handle) -> AbortHandle
    where
        F: Future<Output = T> + Send + 'static,
        T: Send,
    {
        self.put(TaskBuilder::new().recorded_on(future, handle), |set, future| set.spawn_on(future, handle))
    }

    /// Spawns on the current `LocalSet`.
    #[track_caller]
    pub fn spawn_local<F>(&mut self, future: F) -> AbortHandle
    where
        F: Future<Output = T> + 'static,
    {
        self.put(TaskBuilder::new().recorded_local(future), |set, future| set.spawn_local(future))
    }

    /// Spawns on a `LocalSet`.
    #[track_caller]
    pub fn spawn_local_on<F>(&mut self, future: F, local: &LocalSet) -> AbortHandle
    where
        F: Future<Output = T> + 'static,
    {
        self.put(TaskBuilder::new().recorded_local(future), |set, future| set.spawn_local_on(future, local))
    }

    /// Runs a closure on the blocking pool.
    #[track_caller]
    pub fn spawn_blocking<F>(&mut self, run: F) -> AbortHandle
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send,
    {
        let job = TaskBuilder::new().job();
        wrapped(|| self.inner.spawn_blocking(move || job.run(run)))
    }

    /// Runs a closure on the blocking pool of a handle's runtime.
    #[track_caller]
    pub fn spawn_blocking_on<F>(&mut self, run: F, handle: &Handle) -> AbortHandle
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send,
    {
        let job = TaskBuilder::new().job();
        wrapped(|| self.inner.spawn_blocking_on(move || job.run(run), handle))
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
        self.poll_join_next_with_id(cx).map(|result| result.map(|result| result.map(|(_, value)| value)))
    }

    /// The same with tokio's id.
    pub fn poll_join_next_with_id(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(Id, T), JoinError>>> {
        self.inner.poll_join_next_with_id(cx).map(|result| self.seen(result))
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

impl<'a, T: 'static> Builder<'a, T> {
    /// The task's name.
    pub fn name(mut self, name: &'a str) -> Self {
        self.task = self.task.name(name);
        self
    }

    /// Spawns on the current runtime.
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> io::Result<AbortHandle>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send,
    {
        Ok(self.set.put(self.task.recorded(future), |set, future| set.spawn(future)))
    }

    /// Spawns on the runtime of a handle.
    #[track_caller]
    pub fn spawn_on<F>(self, future: F, handle: &Handle) -> io::Result<AbortHandle>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send,
    {
        Ok(self.set.put(self.task.recorded_on(future, handle), |set, future| set.spawn_on(future, handle)))
    }

    /// Spawns on the current `LocalSet`.
    #[track_caller]
    pub fn spawn_local<F>(self, future: F) -> io::Result<AbortHandle>
    where
        F: Future<Output = T> + 'static,
    {
        Ok(self.set.put(self.task.recorded_local(future), |set, future| set.spawn_local(future)))
    }

    /// Spawns on a `LocalSet`.
    #[track_caller]
    pub fn spawn_local_on<F>(self, future: F, local: &LocalSet) -> io::Result<AbortHandle>
    where
        F: Future<Output = T> + 'static,
    {
        Ok(self.set.put(self.task.recorded_local(future), |set, future| set.spawn_local_on(future, local)))
    }

    /// Runs a closure on the blocking pool.
    #[track_caller]
    pub fn spawn_blocking<F>(self, run: F) -> io::Result<AbortHandle>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send,
    {
        let job = self.task.job();
        Ok(wrapped(|| self.set.inner.spawn_blocking(move || job.run(run))))
    }

    /// Runs a closure on the blocking pool of a handle's runtime.
    #[track_caller]
    pub fn spawn_blocking_on<F>(self, run: F, handle: &Handle) -> io::Result<AbortHandle>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send,
    {
        let job = self.task.job();
        Ok(wrapped(|| self.set.inner.spawn_blocking_on(move || job.run(run), handle)))
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

impl<T> fmt::Debug for Builder<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("join_set::Builder").field("joinset", &self.set).field("builder", &self.task).finish()
    }
}

/// For what takes only tokio's own. By it no join is noted.
impl<T> From<JoinSet<T>> for tokio::task::JoinSet<T> {
    fn from(set: JoinSet<T>) -> Self {
        set.inner
    }
}

impl<T, F> FromIterator<F> for JoinSet<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    #[track_caller]
    fn from_iter<I: IntoIterator<Item = F>>(futures: I) -> Self {
        let mut set = JoinSet::new();
        set.extend(futures);
        set
    }
}

impl<T, F> Extend<F> for JoinSet<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    #[track_caller]
    fn extend<I: IntoIterator<Item = F>>(&mut self, futures: I) {
        for future in futures {
            self.spawn(future);
        }
    }
}
