//! Open spans as the journal keeps them: what came in records and stands nowhere else. Who opened a span, and
//! when, stands in its slot and comes again with its end.

use pollscope_model::event::{
    Attribute, Callsite, LocalSpanId, Location, SessionId, SpanId, SpanIds, ThreadId, TraceId, Value,
};
use pollscope_model::span::SpanEvent;
use pollscope_model::spans::{LinkTo, OpenSpan, TimedAttribute};
use pollscope_model::{Model, UnixNanos};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// Open spans by session.
pub type Open = HashMap<SessionId, Vec<OpenSpan>>;

/// One span of one session.
#[derive(Debug, Serialize, Deserialize)]
pub struct Entry {
    session: String,
    span: u64,
    /// Trace, span, parent (0: none); whether that is remote, the trace sampled, the span foreign.
    ids: Option<(String, u64, u64, bool, bool, bool)>,
    /// First and last time of each.
    attributes: Vec<(u64, u64, Field)>,
    seen: u32,
    events: Vec<Told>,
    links: Vec<(String, u64)>,
    dropped: [u32; 3],
    thread: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Field {
    key: String,
    value: Plain,
    cut: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Plain {
    Str(String),
    I64(i64),
    U64(u64),
    /// Its bits: not every double has a place in JSON.
    F64(u64),
    Bool(bool),
}

#[derive(Debug, Serialize, Deserialize)]
struct Told {
    at: u64,
    name: String,
    target: String,
    file: String,
    line: u32,
    column: u32,
    severity: u8,
    fields: Vec<Field>,
    #[serde(default)]
    dropped: u32,
}

impl Field {
    fn of(attribute: &Attribute) -> Field {
        let value = match &attribute.value {
            Value::Str(text) => Plain::Str(text.to_string()),
            Value::I64(n) => Plain::I64(*n),
            Value::U64(n) => Plain::U64(*n),
            Value::F64(n) => Plain::F64(n.to_bits()),
            Value::Bool(b) => Plain::Bool(*b),
        };
        Field { key: attribute.key.to_string(), value, cut: attribute.cut }
    }

    fn attribute(self) -> Attribute {
        let value = match self.value {
            Plain::Str(text) => Value::Str(text.into()),
            Plain::I64(n) => Value::I64(n),
            Plain::U64(n) => Value::U64(n),
            Plain::F64(bits) => Value::F64(f64::from_bits(bits)),
            Plain::Bool(b) => Value::Bool(b),
        };
        Attribute { key: self.key.into(), value, cut: self.cut }
    }
}

impl Told {
    fn of(event: &SpanEvent) -> Told {
        let Callsite { name, target, location, severity } = &*event.callsite;
        Told {
            at: event.at.0,
            name: name.to_string(),
            target: target.to_string(),
            file: location.file.to_string(),
            line: location.line,
            column: location.column,
            severity: *severity,
            fields: event.attributes.iter().map(Field::of).collect(),
            dropped: event.dropped_attributes,
        }
    }

    fn event(self) -> SpanEvent {
        let location = Location { file: self.file.into(), line: self.line, column: self.column };
        let callsite = Callsite {
            name: self.name.into(),
            target: self.target.into(),
            location,
            severity: self.severity,
        };
        SpanEvent {
            at: UnixNanos(self.at),
            callsite: Arc::new(callsite),
            attributes: self.fields.into_iter().map(Field::attribute).collect(),
            dropped_attributes: self.dropped,
        }
    }
}

/// A link to a span of the same session has no trace.
const LOCAL: &str = "";

impl Entry {
    fn of(session: SessionId, span: &OpenSpan) -> Entry {
        let ids = span.known_ids().map(|ids| {
            let parent = ids.parent.map_or(0, |parent| parent.0);
            (ids.trace.to_string(), ids.span.0, parent, ids.parent_remote, ids.sampled, ids.foreign)
        });
        let attributes = span.attributes.iter();
        let links = span.links.iter().map(|link| match link {
            LinkTo::Local(local) => (LOCAL.to_owned(), local.0),
            LinkTo::Remote(trace, span) => (trace.to_string(), span.0),
        });
        Entry {
            session: format!("{:032x}", session.0),
            span: span.span.0,
            ids,
            attributes: attributes
                .map(|timed| (timed.first.0, timed.last.0, Field::of(&timed.attribute)))
                .collect(),
            seen: span.seen_attributes,
            events: span.events.iter().map(Told::of).collect(),
            links: links.collect(),
            dropped: [span.dropped_attributes, span.dropped_events, span.dropped_links],
            thread: span.thread.map(|thread| thread.0),
        }
    }

    fn span(self) -> Option<(SessionId, OpenSpan)> {
        let number = |text: &str| u128::from_str_radix(text, 16).ok();
        let ids = self.ids.and_then(|(trace, span, parent, parent_remote, sampled, foreign)| {
            let parent = (parent != 0).then_some(SpanId(parent));
            Some(SpanIds {
                trace: TraceId(number(&trace)?),
                span: SpanId(span),
                parent,
                parent_remote,
                sampled,
                foreign,
            })
        });
        let timed = |(first, last, field): (u64, u64, Field)| TimedAttribute {
            first: UnixNanos(first),
            last: UnixNanos(last),
            attribute: field.attribute(),
        };
        let link = |(trace, span): (String, u64)| match trace.as_str() {
            LOCAL => Some(LinkTo::Local(LocalSpanId(span))),
            trace => Some(LinkTo::Remote(TraceId(number(trace)?), SpanId(span))),
        };
        let [dropped_attributes, dropped_events, dropped_links] = self.dropped;
        let span = OpenSpan {
            span: LocalSpanId(self.span),
            open: None,
            ids,
            attributes: self.attributes.into_iter().map(timed).collect(),
            seen_attributes: self.seen,
            dropped_attributes,
            events: self.events.into_iter().map(Told::event).collect(),
            dropped_events,
            links: self.links.into_iter().filter_map(link).collect(),
            dropped_links,
            thread: self.thread.map(ThreadId),
            end: None,
            left: false,
        };
        Some((SessionId(number(&self.session)?), span))
    }
}

/// What is to be kept of spans that an earlier agent left, of a session that is not followed.
pub fn kept(session: SessionId, spans: &[OpenSpan]) -> impl Iterator<Item = Entry> {
    spans.iter().filter(|span| !span.left).map(move |span| Entry::of(session, span))
}

/// What is to be kept of a model's open spans, for those sessions.
pub fn entries(model: &Model, sessions: impl IntoIterator<Item = SessionId>) -> Vec<Entry> {
    let mut all = Vec::new();
    for id in sessions {
        let spans = model.open_spans(id);
        let worth = |span: &&OpenSpan| {
            let pieces = span.seen_attributes > 0 || !span.events.is_empty() || !span.links.is_empty();
            !span.left && span.end.is_none() && (pieces || span.ids.is_some() || span.thread.is_some())
        };
        all.extend(spans.iter().filter(worth).map(|span| Entry::of(id, span)));
    }
    all
}

/// The spans that entries tell of.
pub fn spans(entries: Vec<Entry>) -> Open {
    let mut open = Open::new();
    for (session, span) in entries.into_iter().filter_map(Entry::span) {
        open.entry(session).or_default().push(span);
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;
    use pollscope_model::Event;
    use pollscope_model::event::{SessionInfo, SpanOpen, SpanSource};

    fn attribute(key: &str, value: Value) -> Attribute {
        Attribute { key: key.into(), value, cut: Some(9) }
    }

    #[test]
    fn open_spans_come_back_as_they_were() {
        let (id, span) = (SessionId(7), LocalSpanId(1));
        let callsite = Arc::new(Callsite { name: "told".into(), severity: 9, ..Callsite::default() });
        let mut model = Model::default();
        let values = [
            Value::Str("é\n".into()),
            Value::I64(-5),
            Value::U64(u64::MAX),
            Value::F64(f64::INFINITY),
            Value::Bool(true),
        ];
        let ids = SpanIds {
            trace: TraceId(u128::MAX),
            span: SpanId(3),
            parent: Some(SpanId(4)),
            parent_remote: true,
            sampled: true,
            foreign: true,
        };
        let mut facts = vec![
            Event::SessionBegan(SessionInfo::default()),
            Event::SpanIds(span, ids),
            Event::SpanEvent {
                span: Some(span),
                at: UnixNanos(5),
                callsite,
                attributes: vec![attribute("n", Value::I64(1))],
                dropped_attributes: 0,
                beyond: false,
                exported: false,
            },
            Event::SpanLink { span, to: None, remote: Some((TraceId(1), SpanId(2))) },
            Event::SpanLink { span, to: Some(LocalSpanId(9)), remote: None },
        ];
        for (n, value) in values.into_iter().enumerate() {
            facts.push(Event::SpanAttribute(span, UnixNanos(n as u64), attribute(&format!("k{n}"), value)));
        }
        facts.into_iter().for_each(|fact| model.apply(id, fact));
        let saved = model.open_spans(id);
        let text = serde_json::to_vec(&entries(&model, [id])).unwrap();
        let open = spans(serde_json::from_slice(&text).unwrap());
        assert_eq!(open, Open::from([(id, saved)]));
    }

    #[test]
    fn a_span_of_which_no_record_was_read_is_not_kept() {
        let mut model = Model::default();
        let open = SpanOpen {
            span: LocalSpanId(1),
            parent: None,
            callsite: Arc::default(),
            task: None,
            source: SpanSource::Code,
            opened: UnixNanos(1),
            ids: None,
        };
        model.apply(SessionId(7), Event::SpanOpened(open));
        assert!(entries(&model, [SessionId(7)]).is_empty());
    }
}
