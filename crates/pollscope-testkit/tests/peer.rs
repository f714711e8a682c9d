//! The same spans through pollscope and through `tracing-opentelemetry`, side by side in one process: they are
//! the same traces, but for what is named here.

mod common;
#[allow(dead_code, reason = "the script is shared with the scripted service")]
#[path = "../src/bin/traced/fields.rs"]
mod fields;

use common::{exported, finished};
use opentelemetry::trace::{Status, TracerProvider};
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as proto;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use pollscope_testkit::Place;
use std::collections::BTreeMap;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::prelude::*;

/// A span or event in words: name and fields.
type Told = (String, BTreeMap<String, String>);

/// What is compared of a span.
#[derive(Debug, PartialEq)]
struct Span {
    kind: String,
    status: String,
    attributes: BTreeMap<String, String>,
    events: Vec<Told>,
    links: usize,
    parent: Option<String>,
}

/// Attributes that only one of the two has, or that it says in another way.
fn is_compared(key: &str) -> bool {
    // The place and thread are told by both, under names and by rules of their own. OTLP has no whole number for
    // `unsigned`. The chain of an error's sources is a list there and a text here. `busy_ns` is `pollscope.busy_ns`.
    let own = ["pollscope.", "code.", "thread."].iter().any(|prefix| key.starts_with(prefix));
    let other = ["unsigned", "exception.stacktrace", "problem.chain", "busy_ns", "idle_ns"];
    !own && !other.contains(&key)
}

fn shown(value: &AnyValue) -> String {
    match value.value.as_ref() {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::BoolValue(value)) => value.to_string(),
        Some(any_value::Value::IntValue(value)) => value.to_string(),
        Some(any_value::Value::DoubleValue(value)) => value.to_string(),
        other => format!("{other:?}"),
    }
}

fn ours(span: &proto::Span, all: &[proto::Span]) -> Span {
    let fields = |all: &[opentelemetry_proto::tonic::common::v1::KeyValue]| {
        let compared = all.iter().filter(|each| is_compared(&each.key));
        compared.map(|each| (each.key.clone(), each.value.as_ref().map(shown).unwrap_or_default())).collect()
    };
    let status = span.status.clone().unwrap_or_default();
    Span {
        kind: span.kind().as_str_name().trim_start_matches("SPAN_KIND_").to_lowercase(),
        status: match status.code {
            1 => "ok".to_owned(),
            2 => format!("error {:?}", status.message),
            _ => "unset".to_owned(),
        },
        attributes: fields(&span.attributes),
        events: span.events.iter().map(|event| (event.name.clone(), fields(&event.attributes))).collect(),
        links: span.links.len(),
        parent: all.iter().find(|other| other.span_id == span.parent_span_id).map(|other| other.name.clone()),
    }
}

fn theirs(span: &SpanData, all: &[SpanData]) -> Span {
    let fields = |all: &[opentelemetry::KeyValue]| {
        let compared = all.iter().filter(|each| is_compared(each.key.as_str()));
        // The last of a key counts.
        compared.map(|each| (each.key.to_string(), each.value.as_str().into_owned())).collect()
    };
    Span {
        kind: format!("{:?}", span.span_kind).to_lowercase(),
        status: match &span.status {
            Status::Ok => "ok".to_owned(),
            Status::Error { description } => format!("error {description:?}"),
            Status::Unset => "unset".to_owned(),
        },
        attributes: fields(&span.attributes),
        events: span.events.iter().map(|event| (event.name.to_string(), fields(&event.attributes))).collect(),
        links: span.links.len(),
        parent: all
            .iter()
            .find(|other| other.span_context.span_id() == span.parent_span_id)
            .map(|other| other.name.to_string()),
    }
}

#[test]
fn the_spans_are_those_that_tracing_opentelemetry_makes() {
    let place = Place::new();
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    // What pollscope records by default: spans from info up, events from warn up.
    let by_default = filter_fn(|metadata| {
        let least = if metadata.is_event() { LevelFilter::WARN } else { LevelFilter::INFO };
        *metadata.level() <= least
    });
    let peer = tracing_opentelemetry::layer().with_tracer(provider.tracer("peer")).with_filter(by_default);
    let subscriber = tracing_subscriber::registry().with(pollscope::layer()).with(peer);

    let guard = pollscope::Config::from_env().dir(place.path()).service("peer").init();
    assert!(guard.is_recording());
    tracing::subscriber::with_default(subscriber, || {
        fields::special();
        fields::values();
        fields::events();
        fields::links();
    });
    drop(guard);

    let ours_all: Vec<proto::Span> = finished(&place).iter().map(exported).collect();
    let theirs_all = exporter.get_finished_spans().expect("they are kept");
    assert!(theirs_all.len() >= 18, "{}", theirs_all.len());
    let mut names: [Vec<String>; 2] = [
        ours_all.iter().map(|span| span.name.clone()).collect(),
        theirs_all.iter().map(|span| span.name.to_string()).collect(),
    ];
    names.iter_mut().for_each(|names| names.sort());
    assert_eq!(names[0], names[1]);
    for span in &ours_all {
        let name = &span.name;
        let twin = theirs_all.iter().find(|twin| twin.name == *name).expect("it is there");
        assert_eq!(ours(span, &ours_all), theirs(twin, &theirs_all), "{name}");
    }
}
