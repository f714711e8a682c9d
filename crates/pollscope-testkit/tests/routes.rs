//! Requests to a server of axum: named by their routes.

mod common;

use common::{model, text, value};
use opentelemetry_semantic_conventions::attribute as semconv;
use pollscope_model::Model;
use pollscope_model::event::SpanSource;
use pollscope_model::span::FinishedSpan;
use pollscope_testkit::{Place, Service};
use std::sync::OnceLock;

struct Seen {
    model: Model,
    spans: Vec<FinishedSpan>,
}

/// What the scenario `routes` left.
fn seen() -> &'static Seen {
    static SEEN: OnceLock<Seen> = OnceLock::new();
    SEEN.get_or_init(|| {
        let place = Place::new();
        let mut service = Service::start(env!("CARGO_BIN_EXE_traced"), &place, &["routes"]);
        assert_eq!(service.line(), "ready");
        let mut model = model(&place);
        let spans = model.take_finished(usize::MAX);
        assert!(service.finish().success());
        Seen { model, spans }
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
    assert_eq!(names, ["GET", "GET /shop/orders/{id}", "GET /users/{id}", "HTTP /users/{id}"]);
}
