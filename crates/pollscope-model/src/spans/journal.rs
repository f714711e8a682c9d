//! What a journal keeps of spans that have not ended, and how it is put back.

use super::{OpenSpan, Spans, TimedAttribute};
use crate::event::LocalSpanId;

impl Spans {
    /// Spans that have not left, and those that left before their end, by local id.
    pub(crate) fn open(&self) -> Vec<OpenSpan> {
        let left = self.detached.iter().copied().map(OpenSpan::gone);
        let mut open: Vec<OpenSpan> = self.open.values().cloned().chain(left).collect();
        open.sort_by_key(|span| span.span);
        for span in &mut open {
            span.attributes.sort_by_key(|timed| timed.first);
            span.links.sort_unstable();
        }
        open
    }

    /// Spans that left before their end, which may still come, in no order.
    pub(crate) fn gone(&self) -> impl Iterator<Item = LocalSpanId> {
        self.detached.iter().copied()
    }

    /// Puts a span back as [`Spans::open`] gave it.
    pub(crate) fn restore(&mut self, saved: OpenSpan, round: u64) {
        if saved.left {
            self.take(saved.span);
            if self.detached.len() < self.limits.open_spans {
                self.detached.insert(saved.span);
            }
            return;
        }
        let most = self.limits.attributes;
        let Some(span) = self.piece(saved.span, round) else { return };
        let bytes = span.bytes();
        let fresh = span.end.is_none() && saved.end.is_some();
        span.open = span.open.take().or(saved.open);
        span.ids = span.ids.or(saved.ids);
        span.thread = span.thread.or(saved.thread);
        span.end = span.end.take().or(saved.end);
        let seen = span.seen_attributes.saturating_add(saved.seen_attributes);
        span.dropped_attributes = span.dropped_attributes.saturating_add(saved.dropped_attributes);
        for TimedAttribute { first, last, attribute } in saved.attributes {
            span.attribute(last, attribute.clone(), most);
            if let Some(known) = span.attributes.iter_mut().find(|known| known.attribute.key == attribute.key)
            {
                known.first = known.first.min(first);
            }
        }
        span.seen_attributes = seen;
        span.events.extend(saved.events);
        span.events.sort_by_key(|event| event.at);
        span.dropped_events = span.dropped_events.saturating_add(saved.dropped_events);
        span.dropped_links = span.dropped_links.saturating_add(saved.dropped_links);
        for link in saved.links {
            if !span.links.contains(&link) {
                span.links.push(link);
            }
        }
        let grown = span.bytes();
        self.bytes = (self.bytes + grown).saturating_sub(bytes);
        if fresh {
            self.ending.push((round, saved.span));
        }
    }
}
