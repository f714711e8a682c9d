//! tracing, tracing-opentelemetry and the SDK's batch processor. Spans go to `BENCH_OTLP` by gRPC, or into nothing.

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use std::future::Future;
use tracing::Instrument;
use tracing_subscriber::prelude::*;
use workloads::Kit;

struct Otel;

impl Kit for Otel {
    const SPANS: bool = true;
    const OPEN_SPANS: bool = true;

    fn spawn<F>(&self, future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = tokio::spawn(future.instrument(tracing::info_span!("task")));
        async move { task.await.expect("a task does not panic") }
    }

    #[inline(never)]
    fn span(&self, order: u64, customer: &'static str, amount: f64) {
        let _entered = tracing::info_span!("charge", order, customer, amount).entered();
    }

    fn in_span<F>(&self, future: F) -> impl Future<Output = F::Output> + Send
    where
        F: Future + Send,
        F::Output: Send,
    {
        future.instrument(tracing::info_span!("request"))
    }
}

/// A backend that takes everything at once.
#[derive(Debug)]
struct Nothing;

impl SpanExporter for Nothing {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        std::hint::black_box(batch);
        Ok(())
    }
}

fn main() {
    let provider = match std::env::var("BENCH_OTLP") {
        Ok(endpoint) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            let runtime = Box::leak(Box::new(runtime.expect("a runtime can be built")));
            let _inside = runtime.enter();
            let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint);
            SdkTracerProvider::builder().with_batch_exporter(exporter.build().expect("an exporter")).build()
        }
        Err(_) => SdkTracerProvider::builder().with_batch_exporter(Nothing).build(),
    };
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("bench"));
    tracing_subscriber::registry().with(layer).init();
    workloads::run(Otel);
    let _ = provider.shutdown();
}
