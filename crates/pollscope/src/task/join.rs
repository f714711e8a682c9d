//! Handles that wait for tasks, and note in which task the result was seen: the edge that a join is.

use crate::recorder;
use pollscope_wire::record::kind;
use pollscope_wire::sys;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::task::{Id, JoinError};

pub use tokio::task::AbortHandle;

/// Notes that the current task has seen `joined`'s result.
pub(super) fn joined(joined: u64) {
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

/// For what takes only tokio's own. By it the join is not noted.
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
