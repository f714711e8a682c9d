//! A backend that takes every span at once and counts it.

use anyhow::Context;
use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::{Router, routing::post};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An OTLP/HTTP receiver on a free port, to the end of the process.
pub struct Sink {
    pub endpoint: String,
    spans: Arc<AtomicU64>,
}

impl Sink {
    /// Starts one on a thread of its own.
    pub fn start() -> anyhow::Result<Sink> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("no port for the receiver")?;
        listener.set_nonblocking(true)?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let spans = Arc::new(AtomicU64::new(0));
        let counted = spans.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || {
            runtime.block_on(async move {
                let take = move |body: Bytes| async move {
                    match ExportTraceServiceRequest::decode(body) {
                        Ok(request) => {
                            counted.fetch_add(count(&request), Ordering::Relaxed);
                            ([(header::CONTENT_TYPE, "application/x-protobuf")], Bytes::new()).into_response()
                        }
                        Err(_) => StatusCode::BAD_REQUEST.into_response(),
                    }
                };
                let app = Router::new()
                    .route("/v1/traces", post(take))
                    .layer(axum::extract::DefaultBodyLimit::max(64 << 20));
                let listener = tokio::net::TcpListener::from_std(listener)?;
                axum::serve(listener, app).await
            })
        });
        Ok(Sink { endpoint, spans })
    }

    /// Spans taken so far.
    pub fn spans(&self) -> u64 {
        self.spans.load(Ordering::Relaxed)
    }
}

fn count(request: &ExportTraceServiceRequest) -> u64 {
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    scopes.map(|scope| scope.spans.len() as u64).sum()
}
