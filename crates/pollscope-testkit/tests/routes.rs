//! Requests to a server of axum: named by their routes, and open until their response is sent.

mod common;

use common::{model, text, value};
use opentelemetry_semantic_conventions::attribute as semconv;
use pollscope_model::Model;
use pollscope_model::event::{SpanSource, Status, Value};
use pollscope_model::span::FinishedSpan;
use pollscope_testkit::{Place, Service};
use std::sync::OnceLock;

struct Seen {
    model: Model,
    spans: Vec<FinishedSpan>,
    answers: Vec<String>,
}

/// What the scenario `routes` left.
fn seen() -> &'static Seen {
    static SEEN: OnceLock<Seen> = OnceLock::new();
    SEEN.get_or_init(|| {
        let place = Place::new();
        let mut service = Service::start(env!("CARGO_BIN_EXE_traced"), &place, &["routes"]);
        let answers = vec![service.line(), service.line()];
        assert_eq!(service.line(), "ready");
        let mut model = model(&place);
        let spans = model.take_finished(usize::MAX);
        assert!(service.finish().success());
        Seen { model, spans, answers }
    })
}

/// The server span of a path, which is one alone.
#[track_caller]
fn of_path(path: &str) -> &'static FinishedSpan {
    let is_it = |span: &&FinishedSpan| {
        span.source == SpanSource::Server && value(span, semconv::URL_PATH) == Some(&text(path))
    };
    let mut found = seen().spans.iter().filter(is_it);
    let span = found.next().unwrap_or_else(|| panic!("no server span of {path}"));
    assert!(found.next().is_none(), "one server span of {path}");
    span
}

#[test]
fn requests_are_named_by_their_routes() {
    for (path, name, route) in [
        ("/users/7", "GET /users/{id}", Some("/users/{id}")),
        ("/users/9", "HTTP /users/{id}", Some("/users/{id}")),
        ("/shop/orders/8", "GET /shop/orders/{id}", Some("/shop/orders/{id}")),
        ("/files/a/b", "GET", None),
        ("/nowhere", "GET", None),
    ] {
        let span = of_path(path);
        let told = value(span, semconv::HTTP_ROUTE).cloned();
        assert_eq!((&*span.name, told), (name, route.map(text)), "{path}");
    }
}

#[test]
fn tasks_of_requests_are_named_by_them_too() {
    let session = seen().model.sessions().next().expect("a session");
    let mut names: Vec<String> = session
        .groups()
        .iter()
        .filter(|group| group.key.named && group.key.location.file.ends_with("traced/routes.rs"))
        .map(|group| group.key.label.to_string())
        .filter(|name| !["server", "connection", "hyper"].contains(&name.as_str()))
        .collect();
    names.sort();
    for name in ["GET", "GET /shop/orders/{id}", "GET /users/{id}", "HTTP /users/{id}"] {
        assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
    }
    assert!(names.iter().all(|name| !name.contains('7')), "{names:?}");
}

/// Milliseconds that a span was open.
fn lasted(span: &FinishedSpan) -> u64 {
    (span.end.0 - span.start.0) / 1_000_000
}

#[test]
fn a_span_ends_with_the_body_of_its_response() {
    for (path, parts) in [("/stream", 3), ("/exact", 3), ("/trailers", 2)] {
        let span = of_path(path);
        assert!(lasted(span) >= parts * 10 - 1, "{path}: {} ms", lasted(span));
        assert!(!span.cancelled && span.status == Status::Unset && !span.estimated, "{path}: {span:?}");
        assert_eq!(span.busy + span.scheduled + span.idle, span.end.since(span.start), "{path}");
        let below = seen().spans.iter().filter(|part| part.ids.parent == Some(span.ids.span));
        assert!(below.filter(|part| &*part.name == "part").count() as u64 >= parts, "{path}");
    }
    for path in ["/head", "/empty", "/users/7"] {
        assert!(!of_path(path).cancelled, "{path}: no body need be sent");
    }
    let head = of_path("/head").ids.span;
    assert!(
        seen().spans.iter().all(|part| part.ids.parent != Some(head)),
        "the body of `HEAD` is not asked for"
    );
}

#[test]
fn a_body_that_fails_or_is_dropped_tells_of_its_span() {
    let fails = of_path("/fails");
    assert_eq!((fails.status, fails.cancelled), (Status::Error, false));
    assert!(value(fails, semconv::ERROR_TYPE).is_some());
    let endless = of_path("/endless");
    assert!(endless.cancelled && lasted(endless) >= 10);
    assert_eq!(value(endless, semconv::HTTP_RESPONSE_STATUS_CODE), Some(&Value::U64(200)));
    let slow = of_path("/slow");
    assert!(slow.cancelled && value(slow, semconv::HTTP_RESPONSE_STATUS_CODE).is_none());
}

#[test]
fn a_body_is_sent_as_it_was_given() {
    assert_eq!(seen().answers, ["trailers Some(\"4\")", "hint 3 Some(7)"]);
}
