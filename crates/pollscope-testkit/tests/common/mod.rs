//! Spans of a scripted service, read from outside, and as they leave by OTLP.
#![allow(dead_code, reason = "each test uses its part")]

pub mod facts;

use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as proto;
use pollscope_collect::{Collector, Options};
use pollscope_export::to_otlp;
use pollscope_model::event::Value;
use pollscope_model::span::FinishedSpan;
use pollscope_model::{Limits, Model};
use pollscope_testkit::Place;

/// Model of all sessions in a place, with what can be read of them now.
pub fn model(place: &Place) -> Model {
    model_of(place, Limits::default())
}

/// The same with limits of the test's own.
pub fn model_of(place: &Place, limits: Limits) -> Model {
    let mut collector = Collector::new(Options { dirs: vec![place.path().to_owned()], ..Options::default() });
    collector.discover();
    let mut model = Model::new(limits);
    for _ in 0..4 {
        collector.round(&mut |session, event| model.apply(session, event));
        model.end_round();
    }
    collector.slots(&mut |session, event| model.apply(session, event));
    model
}

/// All finished spans of the services in a place.
pub fn finished(place: &Place) -> Vec<FinishedSpan> {
    model(place).take_finished(usize::MAX)
}

#[track_caller]
pub fn named<'a>(spans: &'a [FinishedSpan], name: &str) -> &'a FinishedSpan {
    let mut found = spans.iter().filter(|span| &*span.name == name);
    let span = found.next().unwrap_or_else(|| panic!("no span {name}"));
    assert!(found.next().is_none(), "one span {name}");
    span
}

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
