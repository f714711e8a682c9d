//! Span ends and events that an earlier reader has exported. All that still stands is read again after a restart, so that
//! open spans have their attributes; a span that has left is shown, but leaves no second time: as if not sampled.
//! An event says itself that it was told.

use pollscope_model::event::{Event, LocalSpanId, SpanIds};
use std::collections::HashSet;

/// Spans kept at most: more ends than the rings of any service hold.
const KEPT: usize = 1 << 20;

#[derive(Default)]
pub(crate) struct Exported {
    spans: HashSet<LocalSpanId>,
}

impl Exported {
    /// Tells an event; `before`: it stands before the position up to which ends were exported.
    pub fn tell(&mut self, event: Event, before: bool, sink: &mut dyn FnMut(Event)) {
        match event {
            Event::SpanEnded(mut end) if before => {
                if self.spans.len() < KEPT {
                    self.spans.insert(end.open.span);
                }
                end.open.ids = end.open.ids.map(unsampled);
                let (span, ids) = (end.open.span, end.open.ids);
                sink(Event::SpanEnded(end));
                // Ids that came by themselves count for more than those of the end.
                if let Some(ids) = ids {
                    sink(Event::SpanIds(span, ids));
                }
            }
            Event::SpanIds(span, ids) if self.spans.contains(&span) => {
                sink(Event::SpanIds(span, unsampled(ids)));
            }
            Event::SpanEvent { span, at, callsite, attributes, dropped_attributes, beyond, exported: _ } => {
                sink(Event::SpanEvent {
                    span,
                    at,
                    callsite,
                    attributes,
                    dropped_attributes,
                    beyond,
                    exported: before,
                });
            }
            other => sink(other),
        }
    }
}

fn unsampled(ids: SpanIds) -> SpanIds {
    SpanIds { sampled: false, ..ids }
}
