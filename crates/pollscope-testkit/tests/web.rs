//! Traces over HTTP: what comes in, what goes out, and where the spans of requests stand.

mod common;

use common::{exported, model, named, shown, text, value};
use opentelemetry_semantic_conventions::attribute as semconv;
use pollscope_model::Model;
use pollscope_model::event::{SpanSource, Status, Value};
use pollscope_model::span::{FinishedSpan, SpanKind};
use pollscope_testkit::{Place, Service};
use std::collections::HashMap;
use std::sync::OnceLock;

const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
const CALLER: u64 = 0xb7ad_6b71_6920_3331;

struct Seen {
    model: Model,
    spans: Vec<FinishedSpan>,
    /// What the service saw at the far end, by request.
    answers: HashMap<String, String>,
}

/// What the scenario `web` left and said, under a sampler.
fn run(environment: &[(&str, &str)]) -> Seen {
    let place = Place::new();
    let mut service = Service::start_with(env!("CARGO_BIN_EXE_traced"), &place, &["web"], environment);
    let mut answers = HashMap::new();
    loop {
        let line = service.line();
        match line.split_once(' ') {
            Some((request, answer)) => answers.insert(request.to_owned(), answer.to_owned()),
            None => {
                assert_eq!(line, "ready");
                break;
            }
        };
    }
    let mut model = model(&place);
    let spans = model.take_finished(usize::MAX);
    assert!(service.finish().success());
    Seen { model, spans, answers }
}

fn seen() -> &'static Seen {
    static SEEN: OnceLock<Seen> = OnceLock::new();
    SEEN.get_or_init(|| run(&[]))
}

/// The server span of a path, where it is one alone.
#[track_caller]
fn server<'a>(spans: &'a [FinishedSpan], path: &str) -> &'a FinishedSpan {
    let path_of = |span: &&FinishedSpan| {
        span.source == SpanSource::Server && value(span, "url.path") == Some(&text(path))
    };
    let mut found = spans.iter().filter(path_of);
    let span = found.next().unwrap_or_else(|| panic!("no server span of {path}"));
    assert!(found.next().is_none(), "one server span of {path}");
    span
}

fn parts(traceparent: &str) -> (u128, u64, &str) {
    let mut parts = traceparent.split('-').skip(1);
    let trace = u128::from_str_radix(parts.next().expect("a trace id"), 16).expect("hexadecimal");
    let span = u64::from_str_radix(parts.next().expect("a span id"), 16).expect("hexadecimal");
    (trace, span, parts.next().expect("flags"))
}

#[test]
fn a_callers_trace_goes_on_here() {
    let known = server(&seen().spans, "/known");
    assert_eq!((known.ids.trace.0, known.ids.parent.map(|id| id.0)), (TRACE, Some(CALLER)));
    assert!(known.ids.parent_remote && known.ids.sampled);
    assert_eq!(exported(known).flags & 0x301, 0x301, "sampled, and its parent is known to be remote");
    let later = server(&seen().spans, "/later");
    assert_eq!(later.ids.trace.0, TRACE + 1, "a later version is read as far as this one goes");
}

#[test]
fn what_a_callers_trace_does_not_sample_is_not_exported() {
    let unsampled = server(&seen().spans, "/unsampled");
    assert_eq!((unsampled.ids.trace.0, unsampled.ids.sampled), (TRACE, false));
    assert_eq!(pollscope_export::to_otlp::span(unsampled), None);
    let handler = seen().spans.iter().find(|span| span.ids.parent == Some(unsampled.ids.span));
    assert!(handler.is_some_and(|handler| !handler.ids.sampled), "nor what is below it");
}

#[test]
fn a_malformed_header_or_none_begins_a_trace() {
    for path in ["/malformed", "/zero", "/absent"] {
        let span = server(&seen().spans, path);
        assert_eq!((span.ids.parent, span.ids.parent_remote), (None, false), "{path}");
        assert_ne!(span.ids.trace.0, TRACE, "{path}");
        assert_ne!(span.ids.trace.0, 0, "{path}");
    }
}

#[test]
fn server_spans_say_what_was_asked_and_how_it_went() {
    let known = server(&seen().spans, "/known");
    assert_eq!((&*known.name, known.kind, known.status), ("GET", SpanKind::Server, Status::Unset));
    assert_eq!(value(known, "http.request.method"), Some(&text("GET")));
    assert_eq!(value(known, "http.response.status_code"), Some(&Value::U64(200)));
    let broken = server(&seen().spans, "/broken");
    assert_eq!(
        (broken.status, value(broken, "http.response.status_code")),
        (Status::Error, Some(&Value::U64(500)))
    );
    let handler = seen().spans.iter().find(|span| span.ids.parent == Some(known.ids.span));
    assert_eq!(handler.map(|span| &*span.name), Some("handler"), "what the handler opens is below");
    assert!(known.task.is_some() && known.polls >= 1, "a request is a task");
}

/// The names of a span's attributes, in order.
fn keys(span: &FinishedSpan) -> Vec<&str> {
    let mut keys: Vec<&str> = span.attributes.iter().map(|attribute| &*attribute.key).collect();
    keys.sort();
    keys
}

#[test]
fn spans_of_requests_speak_as_the_conventions_want() {
    assert_eq!(
        pollscope_export::to_otlp::SCHEMA_URL,
        "https://opentelemetry.io/schemas/1.42.0",
        "as http::names says"
    );
    let asked = server(&seen().spans, "/asked");
    assert_eq!(&*asked.name, "HTTP");
    let expected = [
        (semconv::HTTP_REQUEST_METHOD, text("_OTHER")),
        (semconv::HTTP_REQUEST_METHOD_ORIGINAL, text("BREW")),
        (semconv::HTTP_RESPONSE_STATUS_CODE, Value::U64(200)),
        (semconv::NETWORK_PROTOCOL_VERSION, text("1.1")),
        (semconv::SERVER_ADDRESS, text("127.0.0.1")),
        (semconv::SERVER_PORT, value(asked, "server.port").expect("a port").clone()),
        (semconv::URL_PATH, text("/asked")),
        (semconv::URL_QUERY, text("color=blue&sig=REDACTED")),
        (semconv::URL_SCHEME, text("http")),
        (semconv::USER_AGENT_ORIGINAL, text("curl/8")),
    ];
    assert_eq!(keys(asked), expected.each_ref().map(|(key, _)| *key));
    for (key, expected) in &expected {
        assert_eq!(value(asked, key), Some(expected), "{key}");
    }
    let broken = server(&seen().spans, "/broken");
    assert_eq!(value(broken, semconv::ERROR_TYPE), Some(&text("500")));

    let client =
        seen().spans.iter().find(|span| span.source == SpanSource::Client && span.status == Status::Unset);
    let client = client.expect("a client span");
    let expected = [
        semconv::HTTP_REQUEST_METHOD,
        semconv::HTTP_RESPONSE_STATUS_CODE,
        semconv::NETWORK_PROTOCOL_VERSION,
        semconv::SERVER_ADDRESS,
        semconv::SERVER_PORT,
        semconv::URL_FULL,
    ];
    assert_eq!(keys(client), expected);
}

#[test]
fn a_client_under_the_layer_carries_its_span_to_the_server() {
    let client = seen()
        .spans
        .iter()
        .find(|span| {
            span.source == SpanSource::Client
                && span.ids.parent == Some(named(&seen().spans, "caller").ids.span)
        })
        .expect("a client span below the caller");
    let (trace, span, flags) = parts(&seen().answers["within"]);
    assert_eq!((trace, span, flags), (client.ids.trace.0, client.ids.span.0, "01 none"));
    let served = seen().spans.iter().find(|span| span.ids.parent == Some(client.ids.span));
    assert!(served.is_some_and(|served| served.source == SpanSource::Server && served.ids.parent_remote));
    assert_eq!(
        (client.kind, value(client, "http.response.status_code")),
        (SpanKind::Client, Some(&Value::U64(200)))
    );
    assert_eq!(value(client, "server.address"), Some(&text("127.0.0.1")));
    assert!(matches!(value(client, "url.full"), Some(Value::Str(url)) if url.ends_with("/echo")));

    let (trace, span, _) = parts(&seen().answers["alone"]);
    let alone = seen().spans.iter().find(|other| other.ids.span.0 == span).expect("a client span");
    assert_eq!((alone.ids.parent, alone.ids.trace.0), (None, trace), "outside of any span it begins a trace");
}

#[test]
fn a_request_that_fails_is_a_client_span_in_error() {
    assert_eq!(seen().answers["refused"], "true");
    let refused = seen()
        .spans
        .iter()
        .find(|span| matches!(value(span, "url.full"), Some(Value::Str(url)) if url.ends_with("/nobody")));
    let refused = refused.expect("a client span");
    assert_eq!(refused.status, Status::Error);
    assert!(value(refused, "error.type").is_some());
}

#[test]
fn the_callers_tracestate_goes_on_with_its_trace() {
    let (trace, _, flags) = parts(&seen().answers["/relay"]);
    assert_eq!((trace, flags), (TRACE, "01 vendor=3"));
    let (trace, _, flags) = parts(&seen().answers["/spawned"]);
    assert_eq!((trace, flags), (TRACE, "01 vendor=5"), "from a task of its own, too");
    // A tracestate belongs to its traceparent: without a valid one it says nothing.
    assert_eq!(
        seen().answers["/malformed"].split(' ').nth(1),
        Some("vendor=2"),
        "what the service itself reads"
    );
}

#[test]
fn by_hand_the_trace_goes_on_too() {
    let by_hand = named(&seen().spans, "by hand");
    assert_eq!((by_hand.ids.trace.0, by_hand.ids.parent.map(|id| id.0)), (TRACE, Some(CALLER)));
    assert!(by_hand.ids.parent_remote);
    let (trace, span, flags) = parts(&seen().answers["/by-hand"]);
    assert_eq!((trace, span, flags), (TRACE, by_hand.ids.span.0, "01 vendor=4"));
}

#[test]
fn a_recorded_function_may_be_a_callers_child() {
    let function = named(&seen().spans, "by_function");
    assert_eq!((function.ids.trace.0, function.ids.parent.map(|id| id.0)), (TRACE, Some(CALLER)));
    assert!(function.ids.parent_remote && function.kind == SpanKind::Server);
    let links: Vec<(u128, u64)> = function.links.iter().map(|(trace, span)| (trace.0, span.0)).collect();
    assert_eq!(links, [(TRACE, CALLER)], "and may follow from it");
}

#[test]
fn spans_of_requests_stand_where_their_layer_was_made() {
    for span in &seen().spans {
        let out = exported_or_skip(span);
        let file = shown(&out, "code.file.path").unwrap_or_default();
        assert!(file.ends_with("testkit/src/bin/traced/web.rs"), "{} ({:?}): {file}", span.name, span.source);
        assert!(!file.contains("crates/pollscope/src"), "{}", span.name);
    }
}

#[test]
fn what_hyper_spawns_stands_where_its_executor_was_made() {
    let session = seen().model.sessions().next().expect("a session");
    let hyper: Vec<_> =
        session.groups().iter().filter(|group| group.key.named && &*group.key.label == "hyper").collect();
    assert!(!hyper.is_empty());
    for group in hyper {
        assert!(group.key.location.file.ends_with("traced/web.rs"), "{}", group.key.location);
        assert!(group.spawned > 0);
    }
}

fn exported_or_skip(span: &FinishedSpan) -> Vec<opentelemetry_proto::tonic::common::v1::KeyValue> {
    let sampled =
        FinishedSpan { ids: pollscope_model::event::SpanIds { sampled: true, ..span.ids }, ..span.clone() };
    exported(&sampled).attributes
}

#[test]
fn a_sampler_decides_for_roots_and_heeds_parents_as_its_name_says() {
    let off = run(&[("OTEL_TRACES_SAMPLER", "parentbased_always_off")]);
    assert!(!server(&off.spans, "/absent").ids.sampled);
    assert!(server(&off.spans, "/known").ids.sampled, "its parent is sampled");
    assert!(off.answers["within"].contains("-00 "), "the decision goes on: {}", off.answers["within"]);

    let on = run(&[("OTEL_TRACES_SAMPLER", "always_on")]);
    assert!(server(&on.spans, "/unsampled").ids.sampled, "whatever the parent says");

    let none = run(&[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0")]);
    assert!(none.spans.iter().all(|span| !span.ids.sampled));
    let all = run(&[("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "1.0")]);
    assert!(server(&all.spans, "/absent").ids.sampled && !server(&all.spans, "/unsampled").ids.sampled);
}

#[test]
fn without_trace_context_among_the_propagators_none_is_read_or_written() {
    assert_eq!(seen().answers["baggage"], "a=1;p=2 b=%20 0");
    for list in ["none", "baggage", "b3"] {
        let off = run(&[("OTEL_PROPAGATORS", list)]);
        assert_eq!(off.answers["within"], "none none", "{list}");
        assert_eq!(off.answers["/by-hand"], "none none", "{list}");
        assert_eq!(off.answers["baggage"], "a=1;p=2 b=%20 0", "{list}");
        let known = server(&off.spans, "/known").ids;
        assert!(known.trace.0 != TRACE && known.parent.is_none() && !known.parent_remote, "{list}");
    }
    let on = run(&[("OTEL_PROPAGATORS", "b3, tracecontext")]);
    assert_eq!(server(&on.spans, "/known").ids.trace.0, TRACE);
}
