//! One span while it is put together.

use crate::event::{Attribute, LocalSpanId, SpanEnd, SpanId, SpanIds, SpanOpen, ThreadId, TraceId, Value};
use crate::span::SpanEvent;
use crate::special;
use crate::time::UnixNanos;

/// An attribute and when its key was first and last recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct TimedAttribute {
    /// When the key came first: attributes are shown in this order.
    pub first: UnixNanos,
    /// When this value was recorded.
    pub last: UnixNanos,
    /// The newest value.
    pub attribute: Attribute,
}

/// Where a link leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LinkTo {
    /// A span of the same session, by its local id.
    Local(LocalSpanId),
    /// A span by its OpenTelemetry ids.
    Remote(TraceId, SpanId),
}

/// Everything known of a span that has not left: plain data, for a journal.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenSpan {
    /// Which.
    pub span: LocalSpanId,
    /// Its open, if it was read.
    pub open: Option<SpanOpen>,
    /// Ids that came by themselves.
    pub ids: Option<SpanIds>,
    /// Attributes.
    pub attributes: Vec<TimedAttribute>,
    /// How many attribute records were seen, replaced ones included.
    pub seen_attributes: u32,
    /// Attributes dropped here, beyond the limit.
    pub dropped_attributes: u32,
    /// Events.
    pub events: Vec<SpanEvent>,
    /// Events dropped here, beyond the limit.
    pub dropped_events: u32,
    /// Links.
    pub links: Vec<LinkTo>,
    /// Links dropped here, beyond the limit.
    pub dropped_links: u32,
    /// The thread of the job that it is.
    pub thread: Option<ThreadId>,
    /// Its end, if it was read.
    pub end: Option<SpanEnd>,
    /// It has left before its end: what comes of it is no news.
    pub left: bool,
}

impl OpenSpan {
    /// One that has left before its end: all that is kept of it.
    pub fn gone(span: LocalSpanId) -> OpenSpan {
        OpenSpan { left: true, ..OpenSpan::new(span) }
    }

    pub(super) fn new(span: LocalSpanId) -> OpenSpan {
        OpenSpan {
            span,
            open: None,
            ids: None,
            attributes: Vec::new(),
            seen_attributes: 0,
            dropped_attributes: 0,
            events: Vec::new(),
            dropped_events: 0,
            links: Vec::new(),
            dropped_links: 0,
            thread: None,
            end: None,
            left: false,
        }
    }

    /// Its open, from wherever it is known.
    pub fn opened(&self) -> Option<&SpanOpen> {
        self.end.as_ref().map(|end| &end.open).or(self.open.as_ref())
    }

    /// Its ids: those that came by themselves are the newest.
    pub fn known_ids(&self) -> Option<SpanIds> {
        let end = self.end.as_ref().and_then(|end| end.open.ids);
        self.ids.or(end).or(self.open.as_ref().and_then(|open| open.ids))
    }

    /// Whether nothing but pieces of it were seen.
    pub(super) fn headless(&self) -> bool {
        self.open.is_none() && self.end.is_none()
    }

    /// Bytes of its attributes and events, about.
    pub(super) fn bytes(&self) -> usize {
        let attributes: usize = self.attributes.iter().map(|timed| bytes_of(&timed.attribute)).sum();
        let events = self.events.iter().flat_map(|event| &event.attributes).map(bytes_of).sum::<usize>();
        attributes + events + self.events.len() * size_of::<SpanEvent>()
    }

    /// `most` does not bound what says something about the span instead of being an attribute.
    pub(super) fn attribute(&mut self, at: UnixNanos, attribute: Attribute, most: usize) {
        self.seen_attributes = self.seen_attributes.saturating_add(1);
        if let Some(known) = self.attributes.iter_mut().find(|known| known.attribute.key == attribute.key) {
            known.first = known.first.min(at);
            if at >= known.last {
                known.last = at;
                known.attribute = attribute;
            }
            return;
        }
        self.attributes.push(TimedAttribute { first: at, last: at, attribute });
        let counted = |n: &usize| !special::is_special(&self.attributes[*n].attribute.key);
        if self.attributes.len() > most && (0..self.attributes.len()).filter(counted).count() > most {
            // The latest goes, whichever way they came in.
            let latest = (0..self.attributes.len()).filter(counted).max_by_key(|n| self.attributes[*n].first);
            self.attributes.remove(latest.unwrap_or(0));
            self.dropped_attributes = self.dropped_attributes.saturating_add(1);
        }
    }
}

fn bytes_of(attribute: &Attribute) -> usize {
    let text = match &attribute.value {
        Value::Str(text) => text.len(),
        _ => 0,
    };
    size_of::<TimedAttribute>() + text
}
