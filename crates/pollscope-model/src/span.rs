//! A span that is ready to leave: what exporters and trace views take.

use crate::event::{Attribute, Callsite, SessionId, SpanId, SpanIds, SpanSource, Status, TaskId, TraceId};
use crate::time::{Nanos, UnixNanos};
use std::sync::Arc;

/// Something that happened within a span.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanEvent {
    /// When.
    pub at: UnixNanos,
    /// Static facts.
    pub callsite: Arc<Callsite>,
    /// Its fields, `message` among them.
    pub attributes: Vec<Attribute>,
    /// Fields beyond the limit.
    pub dropped_attributes: u32,
}

/// An event that leaves by itself, as a log record.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// Whose.
    pub session: SessionId,
    /// The ids of its span, if it has one and they are known.
    pub ids: Option<SpanIds>,
    /// What happened.
    pub event: SpanEvent,
}

/// Kind, as in OpenTelemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// The default.
    #[default]
    Internal,
    /// Serves a request.
    Server,
    /// Sends a request.
    Client,
    /// Puts a message.
    Producer,
    /// Takes a message.
    Consumer,
}

/// A finished (or, after a death, unfinished) span, complete.
#[derive(Clone, Debug, PartialEq)]
pub struct FinishedSpan {
    /// Whose.
    pub session: SessionId,
    /// Trace, span, parent, sampled.
    pub ids: SpanIds,
    /// The final name (`otel.name` if it was given).
    pub name: Arc<str>,
    /// Kind (`otel.kind` if it was given).
    pub kind: SpanKind,
    /// Why it exists.
    pub source: SpanSource,
    /// Static facts.
    pub callsite: Arc<Callsite>,
    /// Start.
    pub start: UnixNanos,
    /// End.
    pub end: UnixNanos,
    /// Status.
    pub status: Status,
    /// Status message (`otel.status_message`, or why it is unfinished).
    pub status_message: Option<Arc<str>>,
    /// Time running.
    pub busy: Nanos,
    /// Time ready and waiting for a worker.
    pub scheduled: Nanos,
    /// Time waiting for something: the rest.
    pub idle: Nanos,
    /// Polls.
    pub polls: u64,
    /// `scheduled` is cut or not known.
    pub estimated: bool,
    /// The task it ran in, or which it is.
    pub task: Option<TaskId>,
    /// How long a clone held it open after its end.
    pub held: Nanos,
    /// It was dropped before it completed.
    pub cancelled: bool,
    /// It is a task that went on after its local root had ended.
    pub detached: bool,
    /// It was still open when its process died.
    pub unfinished: bool,
    /// Some of its attributes were lost.
    pub incomplete: bool,
    /// The thread on which it ended, for `thread.id` and `thread.name`; 0 and empty if unknown.
    pub thread: (u32, Arc<str>),
    /// Attributes, the last of each key; `otel.*` special fields taken out.
    pub attributes: Vec<Attribute>,
    /// Attributes beyond the limit.
    pub dropped_attributes: u32,
    /// Events in order of time.
    pub events: Vec<SpanEvent>,
    /// Events beyond the limit.
    pub dropped_events: u32,
    /// Links.
    pub links: Vec<(TraceId, SpanId)>,
    /// Links beyond the limit.
    pub dropped_links: u32,
}
