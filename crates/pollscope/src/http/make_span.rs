//! Spans for tower-http's `TraceLayer`.

use super::context::extract;
use super::server::Served;
use super::{grpc, names};
use crate::span::direct::FieldValue;
use http::Request;
use std::borrow::Cow;
use tracing::Span;
use tracing::field::Empty;

pub(super) const TARGET: &str = "pollscope::http";

/// Makes the spans of tower-http's `TraceLayer` as [`ServerLayer`](super::ServerLayer) would: named, with the same
/// attributes, below the caller's span.
///
/// `ServerLayer` inside the `TraceLayer` takes that span as the request's and tells it how the request went: without
/// it nobody does. With `ServerLayer` outside, the request has its span, and the `TraceLayer` gets none: what it
/// logs are events of the request's.
///
/// ```
/// use tower_http::trace::TraceLayer;
/// let layers = tower::ServiceBuilder::new()
///     .layer(TraceLayer::new_for_http().make_span_with(pollscope::http::MakeSpan::new()))
///     .layer(pollscope::http::ServerLayer::new());
/// # drop(layers);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MakeSpan {
    _private: (),
}

impl MakeSpan {
    /// The maker of spans.
    pub fn new() -> MakeSpan {
        MakeSpan::default()
    }

    /// The span of a request, none if it has one. For a tower-http that this crate was not built with, give its
    /// layer a closure that calls this.
    pub fn span<B>(&self, request: &Request<B>) -> Span {
        if request.extensions().get::<Served>().is_some() {
            return Span::none();
        }
        let span = tracing::info_span!(
            target: TARGET,
            "HTTP request",
            otel.name = Empty,
            otel.kind = "server",
            http.request.method = Empty,
            http.request.method_original = Empty,
            http.route = Empty,
            http.response.status_code = Empty,
            error.type = Empty,
            network.protocol.version = Empty,
            rpc.system.name = Empty,
            rpc.method = Empty,
            rpc.method_original = Empty,
            rpc.response.status_code = Empty,
            server.address = Empty,
            server.port = Empty,
            url.path = Empty,
            url.query = Empty,
            url.scheme = Empty,
            user_agent.original = Empty,
        );
        if span.is_disabled() {
            return span;
        }
        let grpc = grpc::method(request);
        let name = grpc.map_or_else(|| names::name(request), |method| Cow::from(grpc::name(method)));
        let fields = match grpc {
            Some(_) => grpc::of_server(request, &name),
            None => names::of_server(request, &name),
        };
        for (key, value) in fields {
            match value {
                _ if key == "otel.kind" => {}
                FieldValue::Str(text) => drop(span.record(key, &*text)),
                FieldValue::U64(number) => drop(span.record(key, number)),
                _ => {}
            }
        }
        if let Some(method) = grpc {
            for (key, value) in grpc::untold(method).into_iter().filter(|(_, value)| !value.is_empty()) {
                span.record(key, value);
            }
        }
        if let Some(caller) = extract(request.headers()) {
            caller.attach(&span);
        }
        span
    }
}

impl<B> tower_http::trace::MakeSpan<B> for MakeSpan {
    fn make_span(&mut self, request: &Request<B>) -> Span {
        self.span(request)
    }
}
