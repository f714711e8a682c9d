//! A finished span to begin with, for tests within the crate and beside it.

use pollscope_model::SessionId;
use pollscope_model::event::{Callsite, SpanId, SpanIds, SpanSource, Status, TraceId};
use pollscope_model::span::{FinishedSpan, SpanKind};
use pollscope_model::time::{Nanos, UnixNanos};
use std::sync::Arc;

/// A sampled span with nothing in it.
pub fn finished(session: SessionId, id: u64, name: &str) -> FinishedSpan {
    FinishedSpan {
        session,
        ids: SpanIds {
            trace: TraceId(9),
            span: SpanId(id),
            parent: None,
            parent_remote: false,
            sampled: true,
            foreign: false,
        },
        name: name.into(),
        kind: SpanKind::Internal,
        source: SpanSource::Code,
        callsite: Arc::new(Callsite::default()),
        start: UnixNanos(1),
        end: UnixNanos(2),
        status: Status::Unset,
        status_message: None,
        busy: Nanos(1),
        scheduled: Nanos(0),
        idle: Nanos(0),
        polls: 1,
        estimated: false,
        task: None,
        held: Nanos(0),
        cancelled: false,
        detached: false,
        unfinished: false,
        incomplete: false,
        thread: (0, "".into()),
        attributes: vec![],
        dropped_attributes: 0,
        dropped_events: 0,
        dropped_links: 0,
        events: vec![],
        links: vec![],
    }
}
