//! One server span a request, whichever of tower-http's layer and pollscope's is outside.

mod common;

use common::{model, named, text, value};
use opentelemetry_semantic_conventions::attribute as semconv;
use pollscope_model::Model;
use pollscope_model::event::{SpanSource, TaskKind, Value};
use pollscope_model::span::{FinishedSpan, SpanKind};
use pollscope_testkit::{Place, Service};
use std::sync::OnceLock;

const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
const CALLER: u64 = 0xb7ad_6b71_6920_3331;

struct Seen {
    model: Model,
    spans: Vec<FinishedSpan>,
}

/// What the scenario `around` left.
fn seen() -> &'static [FinishedSpan] {
    &run().spans
}

fn run() -> &'static Seen {
    static SEEN: OnceLock<Seen> = OnceLock::new();
    SEEN.get_or_init(|| {
        let place = Place::new();
        let mut service = Service::start(env!("CARGO_BIN_EXE_traced"), &place, &["around"]);
        assert_eq!(service.line(), "ready");
        let mut model = model(&place);
        let spans = model.take_finished(usize::MAX);
        assert!(service.finish().success());
        Seen { model, spans }
    })
}

/// The one server span of a path, checked to be the caller's child with a handler and another request below.
#[track_caller]
fn server(path: &str) -> &'static FinishedSpan {
    let is_it = |span: &&FinishedSpan| {
        span.kind == SpanKind::Server && value(span, semconv::URL_PATH) == Some(&text(path))
    };
    let mut found = seen().iter().filter(is_it);
    let span = found.next().unwrap_or_else(|| panic!("no server span of {path}"));
    assert!(found.next().is_none(), "one server span of {path}");
    assert_eq!((span.ids.trace.0, span.ids.parent.map(|id| id.0)), (TRACE, Some(CALLER)), "{path}");
    assert!(span.ids.parent_remote);
    let below = |name: &str| seen().iter().any(|s| s.ids.parent == Some(span.ids.span) && &*s.name == name);
    assert!(below("handler") && below("GET"), "{path}");
    assert_eq!(seen().iter().filter(|s| s.ids.parent.map(|id| id.0) == Some(CALLER)).count(), 5, "{path}");
    span
}

/// Its times are those of the request's task: 5 ms busy, 20 ms idle.
#[track_caller]
fn has_times(span: &FinishedSpan) {
    assert!(!span.estimated && !span.cancelled, "{span:?}");
    assert!(span.busy.0 >= 5_000_000 && span.idle.0 >= 10_000_000, "{span:?}");
    assert_eq!(span.busy + span.scheduled + span.idle, span.end.since(span.start));
    assert_eq!(value(span, semconv::HTTP_RESPONSE_STATUS_CODE), Some(&Value::U64(200)));
    let handler = seen().iter().find(|s| s.ids.parent == Some(span.ids.span) && &*s.name == "handler");
    assert_eq!(handler.map(|handler| handler.task), Some(span.task), "it is of its request's task");
}

#[test]
fn a_span_made_outside_is_the_requests() {
    let span = server("/outside/1");
    assert_eq!((&*span.name, span.source), ("GET /outside/{id}", SpanSource::Code));
    assert_eq!(value(span, semconv::HTTP_ROUTE), Some(&text("/outside/{id}")));
    has_times(span);
    let mut keys: Vec<&str> = span.attributes.iter().map(|attribute| &*attribute.key).collect();
    keys.sort();
    assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "each once: {keys:?}");
}

#[test]
fn a_span_made_inside_is_none() {
    let span = server("/inside/1");
    assert_eq!((&*span.name, span.source), ("GET /inside/{id}", SpanSource::Server));
    has_times(span);
}

#[test]
fn a_span_made_without_the_layer_says_what_was_asked() {
    let span = server("/alone/1");
    assert_eq!((&*span.name, span.source), ("GET /alone/{id}", SpanSource::Code));
    assert_eq!(value(span, semconv::HTTP_REQUEST_METHOD), Some(&text("GET")));
}

#[test]
fn a_server_span_of_the_services_own_is_the_requests_too() {
    let span = server("/mine/1");
    assert_eq!(span.ids, named(seen(), "mine").ids, "it keeps its name");
    assert_eq!(value(span, semconv::HTTP_ROUTE), Some(&text("/mine/{id}")));
    has_times(span);
}

#[test]
fn of_two_layers_the_outer_has_the_request_and_the_inner_tells_the_route() {
    let span = server("/nested/1");
    assert_eq!((&*span.name, span.source), ("GET /nested/{id}", SpanSource::Server));
    assert_eq!(value(span, semconv::HTTP_ROUTE), Some(&text("/nested/{id}")));
    has_times(span);
    // All but `/alone` are a task each, and each of the five asks within.
    let session = run().model.sessions().next().expect("a session");
    let requests = session.groups().iter().filter(|group| group.key.kind == TaskKind::Request);
    assert_eq!(requests.map(|group| group.spawned).sum::<u64>(), 4 + 5);
}
