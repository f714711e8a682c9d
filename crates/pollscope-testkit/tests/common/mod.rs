//! Spans of a scripted service, read from outside, and as they leave by OTLP.
#![allow(dead_code, unused_imports, reason = "each test uses its part")]

pub mod facts;

use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as proto;
use pollscope_export::to_otlp;
use pollscope_model::event::Value;
use pollscope_model::span::FinishedSpan;
pub use pollscope_testkit::{finished, model, model_of, named};

/// A span's attribute.
pub fn value<'a>(span: &'a FinishedSpan, key: &str) -> Option<&'a Value> {
    span.attributes.iter().find(|attribute| &*attribute.key == key).map(|attribute| &attribute.value)
}

pub fn text(text: &str) -> Value {
    Value::Str(text.into())
}

/// A span as it leaves.
#[track_caller]
pub fn exported(span: &FinishedSpan) -> proto::Span {
    to_otlp::span(span).unwrap_or_else(|| panic!("{} is sampled", span.name))
}

/// A value as it leaves, in short: texts as they are, else as Rust writes them.
pub fn shown(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => text.clone(),
        any_value::Value::BoolValue(value) => value.to_string(),
        any_value::Value::IntValue(value) => value.to_string(),
        any_value::Value::DoubleValue(value) => value.to_string(),
        other => format!("{other:?}"),
    })
}
