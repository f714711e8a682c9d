//! Spans of `tracing`: fields, events, links and times, as they leave by OTLP.

mod common;

use common::{exported, finished, named, shown};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use pollscope_model::Nanos;
use pollscope_model::span::FinishedSpan;
use pollscope_testkit::{Place, Service};
use std::sync::OnceLock;

/// What the scenario `fields` left, read once.
fn spans() -> &'static [FinishedSpan] {
    static SPANS: OnceLock<Vec<FinishedSpan>> = OnceLock::new();
    SPANS.get_or_init(|| {
        let place = Place::new();
        // All of it stands in the rings until it is read.
        let environment = [("POLLSCOPE_RING_BYTES", "1048576")];
        let mut service =
            Service::start_with(env!("CARGO_BIN_EXE_traced"), &place, &["fields"], &environment);
        service.ready();
        let spans = finished(&place);
        assert!(service.finish().success());
        spans
    })
}

#[track_caller]
fn out(name: &str) -> Span {
    exported(named(spans(), name))
}

#[track_caller]
fn status(name: &str) -> (StatusCode, String) {
    out(name).status.map_or((StatusCode::Unset, String::new()), |status| (status.code(), status.message))
}

#[test]
fn names_and_kinds_are_what_the_special_fields_say_whenever_they_say_it() {
    assert_eq!(shown(&out("birth name").attributes, "otel.name"), None);
    assert_eq!(out("later name").kind(), SpanKind::Client);
    for (name, kind) in [
        ("server", SpanKind::Server),
        ("CLIENT", SpanKind::Client),
        ("Producer", SpanKind::Producer),
        ("consumer", SpanKind::Consumer),
        ("internal", SpanKind::Internal),
    ] {
        assert_eq!(out(name).kind(), kind, "{name}");
        assert_eq!(shown(&out(name).attributes, "otel.kind"), None, "{name}");
    }
}

#[test]
fn a_status_is_what_the_special_fields_say_whenever_they_say_it() {
    assert_eq!(status("birth name").0, StatusCode::Unset);
    assert_eq!(status("status ok").0, StatusCode::Ok);
    assert_eq!(status("status error"), (StatusCode::Error, String::new()));
    assert_eq!(status("status described"), (StatusCode::Error, "sold out".into()));
    assert_eq!(status("status late").0, StatusCode::Error);
    assert_eq!(shown(&out("status described").attributes, "otel.status_description"), None);
}

#[test]
fn values_keep_their_types() {
    let values = out("values").attributes;
    for (key, expected) in [
        ("truth", "true"),
        ("signed", "-9223372036854775808"),
        // Beyond what OTLP's numbers hold: told as texts.
        ("unsigned", "18446744073709551615"),
        ("wide", "170141183460469231731687303715884105727"),
        ("share", "0.25"),
        ("text", "words"),
        ("shown", "displayed"),
        ("debugged", "Some(1)"),
        ("problem", "no number"),
        ("exception.message", "no number"),
        ("exception.stacktrace", "invalid digit found in string"),
        ("twice", "2"),
    ] {
        assert_eq!(shown(&values, key).as_deref(), Some(expected), "{key}");
    }
    assert_eq!(shown(&values, "never"), None);
    assert_eq!(values.iter().filter(|attribute| attribute.key == "twice").count(), 1);
}

#[test]
fn what_is_too_long_or_too_much_is_cut_and_told() {
    let whole = out("whole");
    let text = |attributes: &[_]| shown(attributes, "text").map(|text| (text.len(), text.ends_with('é')));
    assert_eq!((text(&whole.attributes), whole.dropped_attributes_count), (Some((16 * 1024, true)), 0));
    let cut = out("cut");
    assert_eq!((text(&cut.attributes), cut.dropped_attributes_count), (Some((16 * 1024, true)), 1));
    // Cut between letters: the last one would have been halved.
    let event = &cut.events[0];
    assert_eq!((text(&event.attributes), event.dropped_attributes_count), (Some((16 * 1024 - 1, true)), 1));
    // Two hundred values of one key are one attribute.
    let many = out("many values");
    assert_eq!((shown(&many.attributes, "n").as_deref(), many.dropped_attributes_count), (Some("199"), 0));
}

#[test]
fn events_from_warn_up_belong_to_their_spans() {
    let events = out("events").events;
    assert_eq!(events.iter().map(|event| &*event.name).collect::<Vec<_>>(), ["a warning"]);
    assert_eq!(shown(&events[0].attributes, "stock").as_deref(), Some("3"));
    assert_eq!(shown(&events[0].attributes, "low").as_deref(), Some("true"));
    assert_eq!(shown(&events[0].attributes, "level").as_deref(), Some("WARN"));
    let (begin, end) = (out("events").start_time_unix_nano, out("events").end_time_unix_nano);
    assert!((begin..=end).contains(&events[0].time_unix_nano));
    assert_eq!(out("elsewhere").events[0].name, "not of the current span");
}

#[test]
fn an_error_event_makes_its_span_an_error_and_an_error_field_an_exception() {
    assert_eq!(status("failed by an event"), (StatusCode::Error, String::new()));
    assert_eq!(status("an exception"), (StatusCode::Error, "sold out".into()));
    assert_eq!(status("right in spite of it").0, StatusCode::Ok);
    assert_eq!(status("events").0, StatusCode::Unset, "a warning is no error");
    let exception = &out("an exception").events[0];
    assert_eq!(exception.name, "exception");
    assert_eq!(shown(&exception.attributes, "exception.message").as_deref(), Some("sold out"));
}

#[test]
fn parents_are_the_current_span_unless_another_is_named() {
    let root = named(spans(), "events");
    assert_eq!(named(spans(), "an exception").ids.parent, Some(root.ids.span));
    let alone = named(spans(), "a root of its own");
    assert_eq!(alone.ids.parent, None);
    assert_ne!(alone.ids.trace, root.ids.trace);
}

#[test]
fn what_a_span_follows_from_are_its_links() {
    let links: Vec<Vec<u8>> = out("effect").links.into_iter().map(|link| link.span_id).collect();
    assert_eq!(links.len(), 2);
    for cause in ["first cause", "second cause"] {
        assert!(links.contains(&out(cause).span_id), "{cause}");
    }
}

#[test]
fn time_of_two_threads_at_once_counts_once() {
    let together = named(spans(), "together");
    let duration = together.end.since(together.start);
    // Each thread stays in it for at least 30 ms, both at the same time; then nobody is in it for at least 50 ms.
    assert!(together.busy >= Nanos(30_000_000), "{together:?}");
    assert!(together.idle >= Nanos(50_000_000), "{together:?}");
    assert_eq!(together.busy + together.scheduled + together.idle, duration);
    assert!(!together.estimated, "{together:?}");
    assert_eq!(together.polls, 2, "times in which anybody was in it");
}

#[test]
fn a_span_entered_within_itself_is_busy_once_and_idle_while_nobody_is_in_it() {
    let again = named(spans(), "again");
    let duration = again.end.since(again.start);
    assert!(again.busy >= Nanos(20_000_000), "{again:?}");
    assert!(again.idle >= Nanos(40_000_000), "{again:?}");
    assert_eq!(again.busy + again.scheduled + again.idle, duration);
    assert_eq!(again.polls, 2, "the inner entry is no other time");
}

#[test]
fn every_span_stands_at_its_line() {
    for span in spans() {
        let out = exported(span);
        let file = shown(&out.attributes, "code.file.path").unwrap_or_default();
        assert!(file.ends_with("testkit/src/bin/traced/fields.rs"), "{}: {file}", span.name);
        assert!(shown(&out.attributes, "code.line.number").is_some(), "{}", span.name);
    }
}
