//! Thread workers and their jobs: to threads what tasks and polls are to a runtime.

use crate::recorder::{self, Kind, Recorder, add};
use crate::span::OpenSpan;
use crate::task::{Within, job_key, open_job_span};
use pollscope_wire::layout::row;
use pollscope_wire::record::{self, kind, outcome, span as span_flags};
use pollscope_wire::sys;
use std::io;
use std::panic::Location;
use std::thread::{JoinHandle, Scope, ScopedJoinHandle};

/// Builds a thread worker: std's builder, the thread recorded.
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it spawns"]
pub struct Builder {
    name: Option<String>,
    stack_size: Option<usize>,
}

impl Builder {
    /// A thread without a name.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Its name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Its stack's size in bytes.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The operating system's, when it gives no thread.
    pub fn spawn<F, R>(self, run: F) -> io::Result<JoinHandle<R>>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        self.plain().spawn(worker(run))
    }

    /// Starts the thread within a scope, as [`std::thread::Builder::spawn_scoped`] does.
    ///
    /// # Errors
    ///
    /// The operating system's, when it gives no thread.
    pub fn spawn_scoped<'scope, 'env, F, R>(
        self,
        scope: &'scope Scope<'scope, 'env>,
        run: F,
    ) -> io::Result<ScopedJoinHandle<'scope, R>>
    where
        F: FnOnce() -> R + Send + 'scope,
        R: Send + 'scope,
    {
        self.plain().spawn_scoped(scope, worker(run))
    }

    fn plain(self) -> std::thread::Builder {
        let mut builder = std::thread::Builder::new();
        if let Some(name) = self.name {
            builder = builder.name(name);
        }
        if let Some(bytes) = self.stack_size {
            builder = builder.stack_size(bytes);
        }
        builder
    }
}

/// What a thread worker runs: it says what it is before its first event.
fn worker<R>(run: impl FnOnce() -> R) -> impl FnOnce() -> R {
    move || {
        recorder::set_kind(Kind { kind: Kind::THREAD_WORKER, runtime: 0 });
        run()
    }
}

/// Starts a thread of a rayon pool as a thread worker: give it to the pool's builder.
///
/// ```
/// # fn pool() -> Result<(), rayon_core::ThreadPoolBuildError> {
/// let pool = rayon_core::ThreadPoolBuilder::new().spawn_handler(pollscope::thread::spawn_rayon).build()?;
/// pool.spawn(|| pollscope::job("resize", || ()));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// The operating system's, when it gives no thread.
#[cfg(feature = "rayon")]
pub fn spawn_rayon(thread: rayon_core::ThreadBuilder) -> io::Result<()> {
    let mut builder = Builder::new();
    if let Some(name) = thread.name() {
        builder = builder.name(name);
    }
    if let Some(bytes) = thread.stack_size() {
        builder = builder.stack_size(bytes);
    }
    builder.spawn(move || thread.run()).map(drop)
}

/// Starts a thread worker.
///
/// # Panics
///
/// If the operating system gives no thread, as [`std::thread::spawn`] does.
pub fn spawn<F, R>(run: F) -> JoinHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    Builder::new().spawn(run).expect("failed to spawn thread")
}

/// Runs `run` as a job under a name: its time is recorded, and inside a trace it is a span.
#[track_caller]
pub fn job<R>(name: &str, run: impl FnOnce() -> R) -> R {
    Job::queue(name, Location::caller(), Within::Child).run(run)
}

/// A job: it waits, is run, and is recorded when it is dropped. One that is dropped unrun was cancelled.
pub(crate) struct Job {
    key: u32,
    parent: u64,
    queued: u64,
    span: Option<OpenSpan>,
    run: Option<Run>,
    outcome: u16,
}

/// What a job's run began with.
struct Run {
    start: u64,
    /// The thread was told of it.
    begun: bool,
}

impl Job {
    /// A job started here and now.
    pub fn queue(name: &str, location: &'static Location<'static>, within: Within) -> Option<Job> {
        crate::span::settle_current();
        recorder::with(|r| {
            let now = sys::tick();
            let key = job_key(r, name, location);
            let parent = r.frame.task;
            let context = r.entered.last().copied().filter(|_| within != Within::Nothing);
            let span =
                context.map(|context| open_job_span(r, name, location, parent, (context, within), now));
            Job { key, parent, queued: now, span, run: None, outcome: outcome::CANCELLED }
        })
    }

    fn begin(&mut self) {
        let start = sys::tick().max(self.queued);
        let span = self.span.as_ref().map(OpenSpan::context);
        let begun = recorder::with(|r| r.begin_job(span)).is_some();
        self.run = Some(Run { start, begun });
        self.outcome = outcome::PANICKED;
    }

    fn write(&self, r: &mut Recorder) {
        let end = sys::tick().max(self.queued);
        let start = self.run.as_ref().map_or(end, |run| run.start);
        let end = end.max(start);
        let (busy, queued) = (end - start, start - self.queued);
        if self.run.as_ref().is_some_and(|run| run.begun) {
            r.end_job();
        }
        if let Some(row) = r.row(self.key) {
            let how = match self.outcome {
                outcome::FINISHED => row::FINISHED,
                outcome::CANCELLED => row::CANCELLED,
                _ => row::PANICKED,
            };
            add(&row[row::SPAWNED], 1);
            add(&row[how], 1);
            add(&row[row::BUSY], busy);
            add(&row[row::SCHEDULED], queued);
            Recorder::measure(row, row::FIRST_HISTOGRAM, busy);
            Recorder::measure(row, row::SECOND_HISTOGRAM, queued);
        }
        let span = self.span.as_ref().map_or(0, OpenSpan::local);
        let told =
            record::Job { key: self.key, outcome: self.outcome, busy, queued, parent: self.parent, span };
        let (flags, body) = told.encode();
        r.handle.poll.write(kind::JOB, flags, end, &body);
        if let Some(span) = &self.span {
            let status = match self.outcome {
                outcome::FINISHED => 0,
                outcome::CANCELLED => span_flags::CANCELLED,
                _ => span_flags::PANICKED | span_flags::ERROR,
            };
            span.end_as_job(r, busy, queued, end, status);
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if recorder::with(|r| self.write(r)).is_none()
            && let Some(span) = &self.span
        {
            span.abandon();
        }
    }
}

/// Runs a job that may not be recorded.
pub(crate) trait RunJob {
    /// Runs it and writes its record, also when it unwinds.
    fn run<R>(self, run: impl FnOnce() -> R) -> R;
}

impl RunJob for Option<Job> {
    fn run<R>(self, run: impl FnOnce() -> R) -> R {
        let Some(mut job) = self else { return run() };
        job.begin();
        let result = run();
        job.outcome = outcome::FINISHED;
        result
    }
}
