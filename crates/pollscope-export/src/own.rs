//! The agent's own spans and metrics, through the OpenTelemetry SDK: as any program's, to the backend that takes the
//! services' traces.

use crate::client::{ANSWER_LIMIT, Client};
use crate::config::{Compression, Config, Protocol};
use crate::signal::Signal;
use crate::tls::{self, TlsError};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{Span, SpanBuilder, TraceContextExt, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use thiserror::Error;
use tokio::sync::oneshot;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// What both signals say that they come from.
const SCOPE: &str = "pollscope";

/// Labels of a value: keys, and what they say.
pub type Labels = Vec<(&'static str, Arc<str>)>;

/// A counter or gauge, as it stands.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Dotted, as OpenTelemetry names metrics.
    pub name: &'static str,
    /// In UCUM: `By`, `{record}`.
    pub unit: &'static str,
    /// Whether it only grows.
    pub counter: bool,
    /// What it counts.
    pub help: &'static str,
    /// Its values, each with the labels that tell it from the others.
    pub values: Vec<(Labels, u64)>,
}

/// One step of the agent's work.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What was done.
    pub name: &'static str,
    /// When it began.
    pub begin: SystemTime,
    /// When it ended.
    pub end: SystemTime,
}

/// The SDK cannot be set up.
#[derive(Debug, Error)]
pub enum OwnError {
    /// Its exporter refuses the settings.
    #[error("cannot export the agent's own telemetry: {0}")]
    Exporter(#[from] ExporterBuildError),
    /// A certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The SDK's two providers.
pub struct Own {
    traces: SdkTracerProvider,
    metrics: SdkMeterProvider,
    tracer: SdkTracer,
}

impl Own {
    /// Begins to export; `readings` is asked for all metrics, always the same ones. Needs the runtime that the client
    /// is to run on.
    pub fn start(
        config: &Config,
        readings: impl Fn() -> Vec<Reading> + Send + Sync + 'static,
    ) -> Result<Own, OwnError> {
        let (spans, metrics) = exporters(config)?;
        let resource = Resource::builder()
            .with_service_name("pollscope-agent")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())))
            .build();
        let traces =
            SdkTracerProvider::builder().with_resource(resource.clone()).with_batch_exporter(spans).build();
        let metrics =
            SdkMeterProvider::builder().with_resource(resource).with_periodic_exporter(metrics).build();
        observe(&metrics, Arc::new(readings));
        let tracer = traces.tracer(SCOPE);
        Ok(Own { traces, metrics, tracer })
    }

    /// Tells of one turn of the agent's loop, as a span with its steps below it.
    pub fn turn(&self, whole: Step, steps: &[Step], counts: [(&'static str, u64); 2]) {
        let counts = counts.map(|(key, count)| KeyValue::new(key, count as i64));
        let span = SpanBuilder::from_name(whole.name)
            .with_start_time(whole.begin)
            .with_attributes(counts)
            .start(&self.tracer);
        let context = Context::new().with_span(span);
        for step in steps {
            let mut span = SpanBuilder::from_name(step.name)
                .with_start_time(step.begin)
                .start_with_context(&self.tracer, &context);
            span.end_with_timestamp(step.end);
        }
        context.span().end_with_timestamp(whole.end);
    }

    /// Sends what is left, for at most `grace`.
    pub async fn shutdown(self, grace: Duration) {
        // The SDK waits for its threads, which send on the runtime that this is called from. For the metrics it
        // waits five seconds, whatever it is told.
        let spans = apart(move || drop(self.traces.shutdown_with_timeout(grace)));
        let metrics = apart(move || drop(self.metrics.shutdown_with_timeout(grace)));
        let _ = tokio::time::timeout(grace, async { tokio::join!(spans, metrics) }).await;
    }
}

/// Ready when the work is done, by a thread that keeps no runtime from ending.
fn apart(work: impl FnOnce() + Send + 'static) -> oneshot::Receiver<()> {
    let (done, ready) = oneshot::channel();
    std::thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    ready
}

fn observe(metrics: &SdkMeterProvider, readings: Arc<dyn Fn() -> Vec<Reading> + Send + Sync>) {
    let meter = metrics.meter(SCOPE);
    for reading in readings() {
        let Reading { name, unit, counter, help, .. } = reading;
        let readings = readings.clone();
        let callback = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
            for reading in readings().into_iter().filter(|reading| reading.name == name) {
                for (labels, value) in reading.values {
                    let labels: Vec<KeyValue> =
                        labels.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect();
                    observer.observe(value, &labels);
                }
            }
        };
        if counter {
            let builder = meter.u64_observable_counter(name).with_unit(unit).with_description(help);
            builder.with_callback(callback).build();
        } else {
            let builder = meter.u64_observable_gauge(name).with_unit(unit).with_description(help);
            builder.with_callback(callback).build();
        }
    }
}

fn exporters(config: &Config) -> Result<(SpanExporter, MetricExporter), OwnError> {
    match config.protocol {
        Protocol::Grpc => {
            let spans = by_grpc(SpanExporter::builder().with_tonic(), config)?.build()?;
            Ok((spans, by_grpc(MetricExporter::builder().with_tonic(), config)?.build()?))
        }
        Protocol::HttpProtobuf => {
            let client: Arc<dyn HttpClient> = Arc::new(OnRuntime {
                client: Client::new(config)?,
                timeout: config.timeout,
                runtime: tokio::runtime::Handle::current(),
            });
            let spans = by_http(SpanExporter::builder().with_http(), config, client.clone());
            let spans = spans.with_endpoint(config.endpoint.to_string()).build()?;
            let mut metrics = by_http(MetricExporter::builder().with_http(), config, client);
            // An endpoint for traces alone says nothing of metrics: there the SDK's variables do.
            if let Some(base) = config.endpoint.to_string().strip_suffix(Signal::Traces.path()) {
                metrics = metrics.with_endpoint(format!("{base}/v1/metrics"));
            }
            Ok((spans, metrics.build()?))
        }
    }
}

fn by_grpc<B: WithExportConfig + WithTonicConfig>(builder: B, config: &Config) -> Result<B, TlsError> {
    let mut builder = builder
        .with_endpoint(config.endpoint.to_string())
        .with_timeout(config.timeout)
        .with_metadata(MetadataMap::from_headers(config.headers.clone()));
    if config.compression == Compression::Gzip {
        builder = WithTonicConfig::with_compression(builder, opentelemetry_otlp::Compression::Gzip);
    }
    if config.tls() {
        let mut tls = ClientTlsConfig::new();
        tls = match &config.authority {
            Some(path) => {
                tls.ca_certificate(Certificate::from_pem(tls::pem_file("the CA certificate", path)?))
            }
            None => tls.with_enabled_roots(),
        };
        if let Some(identity) = &config.identity {
            let certificate = tls::pem_file("the client certificate", &identity.certificate)?;
            let key = tls::pem_file("the client key", &identity.key)?;
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        builder = builder.with_tls_config(tls);
    }
    Ok(builder)
}

fn by_http<B: WithExportConfig + WithHttpConfig>(
    builder: B,
    config: &Config,
    client: Arc<dyn HttpClient>,
) -> B {
    let builder = builder
        .with_timeout(config.timeout)
        .with_headers(headers(&config.headers))
        .with_shared_http_client(client);
    match config.compression {
        Compression::Gzip => WithHttpConfig::with_compression(builder, opentelemetry_otlp::Compression::Gzip),
        Compression::None => builder,
    }
}

fn headers(of: &HeaderMap) -> HashMap<String, String> {
    of.iter().filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned()))).collect()
}

/// Our client for the SDK's threads: they have no runtime, so requests run on the agent's.
#[derive(Debug)]
struct OnRuntime {
    client: Client,
    timeout: Duration,
    runtime: tokio::runtime::Handle,
}

#[async_trait::async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let response = self.client.request(request.map(|bytes| Body::new(Full::new(bytes))));
        let timeout = self.timeout;
        let sent = self.runtime.spawn(async move {
            tokio::time::timeout(timeout, async {
                let (head, body) = response.await?.into_parts();
                let body = Limited::new(body, ANSWER_LIMIT).collect().await?.to_bytes();
                Ok(Response::from_parts(head, body))
            })
            .await?
        });
        sent.await?
    }
}
