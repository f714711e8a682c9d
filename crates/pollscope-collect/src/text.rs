//! Attributes put together from their records: texts over several parts, and the fields of an event.

use crate::names::Names;
use pollscope_model::UnixNanos;
use pollscope_model::event::{Attribute, Callsite, Event, LocalSpanId, Value};
use pollscope_wire::reader::SessionFiles;
use pollscope_wire::record::{VALUE_MAX, value};
use std::sync::Arc;

/// Fields of one event at most: a service records no more than 128 unless told so.
const FIELDS: usize = 1024;

/// What a ring's records were in the middle of. Parts stand next to one another in a ring: whatever comes
/// between ends what is open.
#[derive(Default)]
pub(crate) struct Open {
    text: Option<OpenText>,
    event: Option<OpenEvent>,
}

struct OpenText {
    span: u64,
    key: u32,
    length: u32,
    stored: usize,
    bytes: Vec<u8>,
    of_event: bool,
    at: UnixNanos,
}

struct OpenEvent {
    span: u64,
    at: UnixNanos,
    callsite: Arc<Callsite>,
    attributes: Vec<Attribute>,
    missing: u32,
    dropped: u32,
    beyond: bool,
}

fn local(span: u64) -> Option<LocalSpanId> {
    (span != 0).then_some(LocalSpanId(span))
}

impl Open {
    pub fn begin_event(
        &mut self,
        span: u64,
        at: UnixNanos,
        callsite: Arc<Callsite>,
        attributes: u32,
        (dropped, beyond): (u32, bool),
        sink: &mut dyn FnMut(Event),
    ) {
        self.finish(sink);
        self.event = Some(OpenEvent {
            span,
            at,
            callsite,
            attributes: Vec::new(),
            missing: attributes,
            dropped,
            beyond,
        });
        self.settle(sink);
    }

    #[allow(clippy::too_many_arguments, reason = "one record's words")]
    pub fn begin_text(
        &mut self,
        files: &SessionFiles,
        names: &mut Names,
        span: u64,
        key: u32,
        length: u32,
        stored: u32,
        part: &[u64],
        of_event: bool,
        at: UnixNanos,
        sink: &mut dyn FnMut(Event),
    ) {
        self.text = None;
        let stored = (stored as usize).min(VALUE_MAX);
        self.text = Some(OpenText { span, key, length, stored, bytes: Vec::new(), of_event, at });
        self.more(files, names, part, sink);
    }

    pub fn more(
        &mut self,
        files: &SessionFiles,
        names: &mut Names,
        part: &[u64],
        sink: &mut dyn FnMut(Event),
    ) {
        let Some(text) = &mut self.text else { return };
        let wanted = text.stored - text.bytes.len();
        text.bytes.extend(part.iter().flat_map(|word| word.to_le_bytes()).take(wanted));
        if text.bytes.len() < text.stored {
            return;
        }
        if let Some(text) = self.text.take() {
            let shown: Arc<str> = String::from_utf8_lossy(&text.bytes).into();
            let cut = (text.length as usize > text.stored).then_some(text.length as u64);
            let attribute = Attribute { key: names.string(files, text.key), value: Value::Str(shown), cut };
            self.put(text.span, attribute, text.of_event, text.at, sink);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one record's words")]
    pub fn number(
        &mut self,
        files: &SessionFiles,
        names: &mut Names,
        span: u64,
        key: u32,
        ty: u8,
        bits: u64,
        of_event: bool,
        at: UnixNanos,
        sink: &mut dyn FnMut(Event),
    ) {
        self.text = None;
        let value = match ty {
            value::I64 => Value::I64(bits as i64),
            value::U64 => Value::U64(bits),
            value::F64 => Value::F64(f64::from_bits(bits)),
            value::BOOL => Value::Bool(bits != 0),
            _ => return,
        };
        let attribute = Attribute { key: names.string(files, key), value, cut: None };
        self.put(span, attribute, of_event, at, sink);
    }

    fn put(
        &mut self,
        span: u64,
        attribute: Attribute,
        of_event: bool,
        at: UnixNanos,
        sink: &mut dyn FnMut(Event),
    ) {
        if !of_event {
            self.finish(sink);
            if span != 0 {
                sink(Event::SpanAttribute(LocalSpanId(span), at, attribute));
            }
            return;
        }
        if let Some(event) = &mut self.event {
            event.missing = event.missing.saturating_sub(1);
            if event.attributes.len() < FIELDS {
                event.attributes.push(attribute);
            } else {
                event.dropped = event.dropped.saturating_add(1);
            }
        }
        self.settle(sink);
    }

    fn settle(&mut self, sink: &mut dyn FnMut(Event)) {
        if self.event.as_ref().is_some_and(|event| event.missing == 0) {
            self.finish(sink);
        }
    }

    /// Ends what is open: a record of another kind came. An event goes out with the fields it has.
    pub fn finish(&mut self, sink: &mut dyn FnMut(Event)) {
        self.text = None;
        if let Some(event) = self.event.take() {
            let OpenEvent { span, at, callsite, attributes, dropped: dropped_attributes, beyond, .. } = event;
            sink(Event::SpanEvent {
                span: local(span),
                at,
                callsite,
                attributes,
                dropped_attributes,
                beyond,
                exported: false,
            });
        }
    }
}
