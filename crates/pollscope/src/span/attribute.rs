//! Attributes on their way into the span ring: values are formatted before, so that no user code runs while a
//! record is written.

use super::OpenSpan;
use crate::recorder::Recorder;
use pollscope_wire::layout::{Counter, pack};
use pollscope_wire::record::{VALUE_MAX, VALUE_PART, kind, value};
use std::borrow::Cow;

/// Attributes of one span at most, as OpenTelemetry's default has it.
const LIMIT: u32 = 128;

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

impl<'a> From<&'a String> for FieldValue<'a> {
    fn from(value: &'a String) -> Self {
        FieldValue::Str(Cow::Borrowed(value))
    }
}

impl From<String> for FieldValue<'_> {
    fn from(value: String) -> Self {
        FieldValue::Str(Cow::Owned(value))
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
    if span.admit_attribute(LIMIT) {
        write(r, span.local(), key, value, 0, now);
    } else {
        r.global.session.count(Counter::AttributesDropped);
    }
}

/// Records an attribute of the event before it.
#[cfg(feature = "tracing")]
pub(crate) fn of_event(r: &mut Recorder, span: u64, key: &'static str, value: &FieldValue<'_>, now: u64) {
    write(r, span, key, value, value::OF_EVENT, now);
}

fn write(r: &mut Recorder, span: u64, key: &'static str, field: &FieldValue<'_>, flags: u16, now: u64) {
    let key = r.static_string(key);
    let (ty, bits) = match field {
        FieldValue::Str(text) => return write_text(r, span, key, text, flags, now),
        FieldValue::I64(n) => (value::I64, *n as u64),
        FieldValue::U64(n) => (value::U64, *n),
        FieldValue::F64(n) => (value::F64, n.to_bits()),
        FieldValue::Bool(b) => (value::BOOL, *b as u64),
    };
    r.handle.span.write(kind::ATTRIBUTE, flags, now, &[span, pack(key, ty as u32), bits]);
}

fn write_text(r: &mut Recorder, span: u64, key: u32, text: &str, flags: u16, now: u64) {
    let end = text.floor_char_boundary(VALUE_MAX);
    if end < text.len() {
        r.global.session.count(Counter::ValuesCut);
    }
    let bytes = &text.as_bytes()[..end];
    let first = &bytes[..bytes.len().min(VALUE_PART)];
    let mut body = [0u64; 3 + VALUE_PART / 8];
    body[0] = span;
    body[1] = pack(key, value::STR as u32);
    body[2] = pack(text.len().min(u32::MAX as usize) as u32, end as u32);
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
