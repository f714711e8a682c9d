//! Requests of gRPC, by a service and a client of tonic under the layers.

mod common;

use common::{finished, text, value};
use opentelemetry_semantic_conventions::attribute as semconv;
use pollscope_model::event::{SpanSource, Status};
use pollscope_model::span::FinishedSpan;
use pollscope_testkit::{Place, Service};
use std::sync::OnceLock;

const METHOD: &str = "opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// What the scenario `grpc` left.
fn seen() -> &'static [FinishedSpan] {
    static SEEN: OnceLock<Vec<FinishedSpan>> = OnceLock::new();
    SEEN.get_or_init(|| {
        let place = Place::new();
        let mut service = Service::start(env!("CARGO_BIN_EXE_traced"), &place, &["grpc"]);
        assert_eq!(service.line(), "ready");
        let spans = finished(&place);
        assert!(service.finish().success());
        spans
    })
}

/// The span of one side with this status.
#[track_caller]
fn of(source: SpanSource, code: &str) -> &'static FinishedSpan {
    let is_it = |span: &&FinishedSpan| {
        span.source == source && value(span, semconv::RPC_RESPONSE_STATUS_CODE) == Some(&text(code))
    };
    let mut found = seen().iter().filter(is_it);
    let span = found.next().unwrap_or_else(|| panic!("no span with {code}"));
    assert!(found.next().is_none(), "one span with {code}");
    span
}

fn keys(span: &FinishedSpan) -> Vec<&str> {
    let mut keys: Vec<&str> = span.attributes.iter().map(|attribute| &*attribute.key).collect();
    keys.sort();
    keys
}

#[test]
fn spans_of_grpc_speak_as_the_conventions_want() {
    for source in [SpanSource::Server, SpanSource::Client] {
        let span = of(source, "OK");
        assert_eq!((&*span.name, span.status, span.cancelled), (METHOD, Status::Unset, false));
        assert_eq!(value(span, semconv::RPC_SYSTEM_NAME), Some(&text("grpc")));
        assert_eq!(value(span, semconv::RPC_METHOD), Some(&text(METHOD)));
        assert_eq!(value(span, semconv::SERVER_ADDRESS), Some(&text("127.0.0.1")));
        let expected = [
            semconv::RPC_METHOD,
            semconv::RPC_RESPONSE_STATUS_CODE,
            semconv::RPC_SYSTEM_NAME,
            semconv::SERVER_ADDRESS,
            semconv::SERVER_PORT,
        ];
        assert_eq!(keys(span), expected);
    }
    assert_eq!(of(SpanSource::Server, "OK").ids.parent, Some(of(SpanSource::Client, "OK").ids.span));
}

#[test]
fn a_status_is_an_error_to_whom_it_concerns() {
    let told = |source, code| {
        let span = of(source, code);
        (span.status, value(span, semconv::ERROR_TYPE).cloned())
    };
    assert_eq!(told(SpanSource::Server, "NOT_FOUND"), (Status::Unset, None), "the client's own fault");
    assert_eq!(told(SpanSource::Client, "NOT_FOUND"), (Status::Error, Some(text("NOT_FOUND"))));
    assert_eq!(told(SpanSource::Server, "INTERNAL"), (Status::Error, Some(text("INTERNAL"))));
    assert_eq!(told(SpanSource::Client, "INTERNAL"), (Status::Error, Some(text("INTERNAL"))));
}

#[test]
fn a_method_that_a_client_made_up_names_nothing() {
    let span = of(SpanSource::Server, "UNIMPLEMENTED");
    assert_eq!((&*span.name, value(span, semconv::RPC_METHOD)), ("grpc", Some(&text("_OTHER"))));
    assert_eq!(value(span, semconv::RPC_METHOD_ORIGINAL), Some(&text("made.Up/Method")));
    assert_eq!(&*of(SpanSource::Client, "UNIMPLEMENTED").name, "made.Up/Method");
}
