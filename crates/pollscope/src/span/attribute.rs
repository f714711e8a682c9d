//! Attributes on their way into the span ring: values are formatted before, so that no user code runs while a
//! record is written.

use super::{OpenSpan, limits};
use crate::recorder::Recorder;
use pollscope_wire::layout::{Counter, pack};
use pollscope_wire::record::{VALUE_MAX, VALUE_PART, kind, value};
use pollscope_wire::sys;
use std::borrow::Cow;

/// A value, formatted.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldValue<'a> {
    /// Text.
    Str(Cow<'a, str>),
    /// Signed.
    I64(i64),
    /// Unsigned.
    U64(u64),
    /// Double.
    F64(f64),
    /// Truth value.
    Bool(bool),
    /// Nothing: no attribute.
    Empty,
}

macro_rules! from_number {
    ($($ty:ty => $variant:ident as $wide:ty),* $(,)?) => {$(
        impl From<$ty> for FieldValue<'_> {
            fn from(value: $ty) -> Self {
                FieldValue::$variant(value as $wide)
            }
        }
    )*};
}
from_number!(
    i8 => I64 as i64, i16 => I64 as i64, i32 => I64 as i64, i64 => I64 as i64, isize => I64 as i64,
    u8 => U64 as u64, u16 => U64 as u64, u32 => U64 as u64, u64 => U64 as u64, usize => U64 as u64,
    f32 => F64 as f64, f64 => F64 as f64,
);

impl From<bool> for FieldValue<'_> {
    fn from(value: bool) -> Self {
        FieldValue::Bool(value)
    }
}

impl<'a> From<&'a str> for FieldValue<'a> {
    fn from(value: &'a str) -> Self {
        FieldValue::Str(Cow::Borrowed(value))
    }
}

impl From<String> for FieldValue<'_> {
    fn from(value: String) -> Self {
        FieldValue::Str(Cow::Owned(value))
    }
}

/// What can be recorded as it is: numbers, truth values, texts, errors, and references and options of these.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be recorded as it is",
    label = "this field's value has no plain form",
    note = "record it by its `Debug` (`field = ?value`) or its `Display` (`field = %value`), or skip it"
)]
pub trait Value {
    /// The value, formatted.
    fn value(&self) -> FieldValue<'_>;
}

macro_rules! value_of_number {
    ($($ty:ty),* $(,)?) => {$(
        impl Value for $ty {
            fn value(&self) -> FieldValue<'_> {
                FieldValue::from(*self)
            }
        }
    )*};
}
value_of_number!(i8, i16, i32, i64, isize, u8, u16, u32, u64, usize, f32, f64, bool);

macro_rules! value_of_nonzero {
    ($($ty:ident),* $(,)?) => {$(
        impl Value for std::num::$ty {
            fn value(&self) -> FieldValue<'_> {
                FieldValue::from(self.get())
            }
        }
    )*};
}
value_of_nonzero!(
    NonZeroI8,
    NonZeroI16,
    NonZeroI32,
    NonZeroI64,
    NonZeroIsize,
    NonZeroU8,
    NonZeroU16,
    NonZeroU32,
    NonZeroU64,
    NonZeroUsize
);

macro_rules! value_by_text {
    ($($ty:ty),* $(,)?) => {$(
        impl Value for $ty {
            fn value(&self) -> FieldValue<'_> {
                FieldValue::from(self.to_string())
            }
        }
    )*};
}
// OpenTelemetry has no wider numbers than 64 bits.
value_by_text!(
    i128,
    u128,
    std::num::NonZeroI128,
    std::num::NonZeroU128,
    std::fmt::Arguments<'_>,
    dyn std::error::Error + 'static,
    dyn std::error::Error + Send + 'static,
    dyn std::error::Error + Sync + 'static,
    dyn std::error::Error + Send + Sync + 'static,
);

impl Value for str {
    fn value(&self) -> FieldValue<'_> {
        FieldValue::from(self)
    }
}

impl Value for String {
    fn value(&self) -> FieldValue<'_> {
        FieldValue::from(self.as_str())
    }
}

impl Value for Cow<'_, str> {
    fn value(&self) -> FieldValue<'_> {
        FieldValue::Str(Cow::Borrowed(self))
    }
}

impl<T: Value> Value for std::num::Wrapping<T> {
    fn value(&self) -> FieldValue<'_> {
        self.0.value()
    }
}

impl<T: Value> Value for Option<T> {
    fn value(&self) -> FieldValue<'_> {
        self.as_ref().map_or(FieldValue::Empty, Value::value)
    }
}

macro_rules! value_behind {
    ($($ty:ty),* $(,)?) => {$(
        impl<T: Value + ?Sized> Value for $ty {
            fn value(&self) -> FieldValue<'_> {
                (**self).value()
            }
        }
    )*};
}
value_behind!(&T, &mut T, Box<T>, std::sync::Arc<T>, std::rc::Rc<T>);

#[cfg(feature = "tracing")]
impl Value for tracing::field::Empty {
    fn value(&self) -> FieldValue<'_> {
        FieldValue::Empty
    }
}

#[cfg(feature = "tracing")]
impl<T: std::fmt::Debug> Value for tracing::field::DebugValue<T> {
    fn value(&self) -> FieldValue<'_> {
        FieldValue::from(format!("{self:?}"))
    }
}

#[cfg(feature = "tracing")]
impl<T: std::fmt::Display> Value for tracing::field::DisplayValue<T> {
    fn value(&self) -> FieldValue<'_> {
        FieldValue::from(self.to_string())
    }
}

/// Records an attribute of a span, within its limit.
pub(crate) fn of_span(
    r: &mut Recorder,
    span: &OpenSpan,
    key: &'static str,
    value: &FieldValue<'_>,
    now: u64,
) {
    if *value == FieldValue::Empty {
        return;
    }
    // What says something about the span instead of being an attribute has no limit.
    let limits = (!is_special(key)).then_some(r.global.traces.limits);
    let id = r.static_string(key);
    if span.admit_attribute(id, limits.map(|limits| limits.attributes)) {
        let length = limits.map_or(usize::MAX, |limits| limits.length);
        write(r, span.local(), id, value, length, 0, now);
    } else {
        r.global.session.count(Counter::AttributesDropped);
    }
}

fn is_special(key: &str) -> bool {
    // Most are told by a byte.
    key.as_bytes().first() == Some(&b'o')
        && matches!(
            key,
            "otel.name"
                | "otel.kind"
                | "otel.status_code"
                | "otel.status_message"
                | "otel.status_description"
        )
}

/// Records an event of a span, or of none, within the span's limits. Its message is its name: not counted. One beyond
/// the limit of events is recorded, too, and marked so: it may leave as a log record, which has no such limit.
pub(crate) fn event(r: &mut Recorder, span: u64, callsite: u32, fields: &[(&'static str, FieldValue<'_>)]) {
    let limits = r.global.traces.limits;
    let flags = if limits::admit_event(span, limits.events) { 0 } else { value::BEYOND };
    let now = sys::tick();
    let recorded = fields.iter().filter(|(_, value)| *value != FieldValue::Empty);
    let counts = |key: &str| key != "message";
    let mut room = limits.event_attributes as usize;
    let dropped = recorded.clone().filter(|(key, _)| counts(key)).count().saturating_sub(room);
    let count = recorded.clone().count() - dropped;
    let body = [span, pack(callsite, count as u32), dropped as u64];
    r.handle.span.write_slice(kind::EVENT, flags, now, &body[..if dropped > 0 { 3 } else { 2 }]);
    for (key, value) in recorded {
        if counts(key) {
            if room == 0 {
                continue;
            }
            room -= 1;
        }
        let key = r.static_string(key);
        write(r, span, key, value, limits.length, value::OF_EVENT, now);
    }
}

fn write(r: &mut Recorder, span: u64, key: u32, field: &FieldValue<'_>, length: usize, flags: u16, now: u64) {
    let (ty, bits) = match field {
        FieldValue::Empty => return,
        FieldValue::Str(text) => return write_text(r, span, key, text, length, flags, now),
        FieldValue::I64(n) => (value::I64, *n as u64),
        FieldValue::U64(n) => (value::U64, *n),
        FieldValue::F64(n) => (value::F64, n.to_bits()),
        FieldValue::Bool(b) => (value::BOOL, *b as u64),
    };
    r.handle.span.write(kind::ATTRIBUTE, flags, now, &[span, pack(key, ty as u32), bits]);
}

/// Bytes of a short text.
const SHORT: usize = 64;

/// `length`: characters at most.
fn write_text(r: &mut Recorder, span: u64, key: u32, text: &str, length: usize, flags: u16, now: u64) {
    let end = text.floor_char_boundary(VALUE_MAX);
    let end =
        if length < end { text[..end].char_indices().nth(length).map_or(end, |(at, _)| at) } else { end };
    if end < text.len() {
        r.global.session.count(Counter::ValuesCut);
    }
    let bytes = &text.as_bytes()[..end];
    let (of, length) =
        (pack(key, value::STR as u32), pack(text.len().min(u32::MAX as usize) as u32, end as u32));
    if bytes.len() <= SHORT {
        // What nearly all are: with room for more, more would have to be cleared.
        let mut body = [0u64; 3 + SHORT / 8];
        [body[0], body[1], body[2]] = [span, of, length];
        let words = 3 + words_of(bytes, &mut body[3..]);
        return r.handle.span.write_slice(kind::ATTRIBUTE, flags, now, &body[..words]);
    }
    let first = &bytes[..bytes.len().min(VALUE_PART)];
    let mut body = [0u64; 3 + VALUE_PART / 8];
    [body[0], body[1], body[2]] = [span, of, length];
    let words = 3 + words_of(first, &mut body[3..]);
    r.handle.span.write_slice(kind::ATTRIBUTE, flags, now, &body[..words]);
    for part in bytes[first.len()..].chunks(VALUE_PART) {
        let words = words_of(part, &mut body);
        r.handle.span.write_slice(kind::MORE, flags, now, &body[..words]);
    }
}

fn words_of(bytes: &[u8], words: &mut [u64]) -> usize {
    let (whole, rest) = bytes.as_chunks::<8>();
    for (word, chunk) in words.iter_mut().zip(whole) {
        *word = u64::from_le_bytes(*chunk);
    }
    if !rest.is_empty() {
        let mut last = [0u8; 8];
        last[..rest.len()].copy_from_slice(rest);
        words[whole.len()] = u64::from_le_bytes(last);
    }
    whole.len() + !rest.is_empty() as usize
}
