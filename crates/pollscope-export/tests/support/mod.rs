//! A backend on a free local port that answers by script and remembers what came: OTLP by gRPC (the generated
//! server of opentelemetry-proto) and by HTTP, plain or with TLS.
#![allow(dead_code, reason = "each test file uses its own part")]

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use pollscope_export::Signal;
use pollscope_export::config::{Config, Options};
use prost::Message;
use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tonic::codec::CompressionEncoding;

/// How the backend answers one request.
#[derive(Clone)]
pub enum Reply {
    /// It takes all.
    Ok,
    /// It takes all but some.
    Partial(i64, String),
    /// An HTTP status with headers and a text.
    Http(u16, &'static [(&'static str, &'static str)], &'static str),
    /// A gRPC status.
    Grpc(tonic::Status),
    /// It does not answer for this long, then takes all.
    Slow(Duration),
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub version: Version,
    pub headers: HeaderMap,
    pub request: ExportTraceServiceRequest,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn span_names(&self) -> Vec<&str> {
        let scopes = self.request.resource_spans.iter().flat_map(|each| &each.scope_spans);
        scopes.flat_map(|scope| &scope.spans).map(|span| span.name.as_str()).collect()
    }
}

#[derive(Default)]
struct Script {
    replies: Mutex<VecDeque<Reply>>,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    /// A web server: it knows no gRPC.
    web: bool,
}

/// A local port that nobody else gets while this lives. Nobody listens there but a receiver that is started there.
pub struct Port {
    pub address: String,
    _bound: TcpSocket,
}

impl Port {
    pub fn new() -> Port {
        let bound = TcpSocket::new_v4().unwrap();
        // As the listener's: two such sockets may have one port while at most one of them listens.
        bound.set_reuseaddr(true).unwrap();
        bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Port { address: bound.local_addr().unwrap().to_string(), _bound: bound }
    }
}

/// Stops with all its connections when it is dropped.
pub struct Receiver {
    pub address: SocketAddr,
    script: Arc<Script>,
    accepting: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Receiver {
    pub async fn start(replies: impl IntoIterator<Item = Reply>) -> Receiver {
        Receiver::start_at("127.0.0.1:0", None, replies).await
    }

    pub async fn start_at(
        address: &str,
        tls: Option<rustls::ServerConfig>,
        replies: impl IntoIterator<Item = Reply>,
    ) -> Receiver {
        let replies = Mutex::new(replies.into_iter().collect());
        Receiver::serve(address, tls, Script { replies, ..Script::default() }).await
    }

    async fn serve(address: &str, tls: Option<rustls::ServerConfig>, script: Script) -> Receiver {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(script);
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let accepting = tokio::spawn(accept(listener, tls, Arc::clone(&script)));
        Receiver { address, script, accepting }
    }

    /// A web server that knows no gRPC and answers every request as it would a page.
    pub async fn start_web(replies: impl IntoIterator<Item = Reply>) -> Receiver {
        let replies = Mutex::new(replies.into_iter().collect());
        Receiver::serve("127.0.0.1:0", None, Script { replies, web: true, ..Script::default() }).await
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.script.seen.lock().unwrap().clone()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.script.connections.load(Ordering::Relaxed)
    }

    /// Stops, and waits until nobody listens any more.
    pub async fn stop(mut self) -> Vec<Seen> {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
        self.seen()
    }

    /// Our configuration as the variables would give it; `OTEL_EXPORTER_OTLP_` is put before each name.
    pub fn config(&self, protocol: &str, more: &[(&str, &str)]) -> Config {
        let endpoint = format!("http://{}", self.address);
        let mut variables =
            vec![("ENDPOINT", endpoint.as_str()), ("PROTOCOL", protocol), ("TIMEOUT", "5000")];
        variables.extend_from_slice(more);
        config(&variables)
    }
}

/// The configuration that these variables give; `OTEL_EXPORTER_OTLP_` is put before each name.
pub fn config(variables: &[(&str, &str)]) -> Config {
    let known: BTreeMap<String, &str> =
        variables.iter().map(|(key, value)| (format!("OTEL_EXPORTER_OTLP_{key}"), *value)).collect();
    let options =
        Options::from_env(Signal::Traces, |name| known.get(name).map(|value| (*value).to_owned())).unwrap();
    options.resolve(Signal::Traces).unwrap().expect("export is on")
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, script: Arc<Script>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        script.connections.fetch_add(1, Ordering::Relaxed);
        connections.spawn(connection(stream, tls.clone(), Arc::clone(&script)));
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, script: Arc<Script>) {
    let grpc = TraceServiceServer::new(Grpc(Arc::clone(&script)))
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    let logs = LogsServiceServer::new(Grpc(Arc::clone(&script)));
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (script, grpc, logs) = (Arc::clone(&script), grpc.clone(), logs.clone());
        async move {
            let kind = request.headers().get("content-type");
            if kind.is_some_and(|kind| kind == "application/grpc") && !script.web {
                let (head, body) = request.into_parts();
                let seen = Seen {
                    path: head.uri.path().into(),
                    version: head.version,
                    headers: head.headers.clone(),
                    request: ExportTraceServiceRequest::default(),
                };
                let of_logs = seen.path.contains("LogsService");
                script.seen.lock().unwrap().push(seen);
                let request = Request::from_parts(head, body);
                let response = if of_logs {
                    hyper::service::Service::call(&TowerToHyperService::new(logs), request).await
                } else {
                    hyper::service::Service::call(&TowerToHyperService::new(grpc), request).await
                };
                Ok::<_, std::convert::Infallible>(response.unwrap())
            } else {
                Ok(by_http(&script, request).await.map(tonic::body::Body::new))
            }
        }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    // A broken connection is the test's subject, not its failure.
    let _ = match tls {
        None => server.serve_connection(TokioIo::new(stream), service).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => server.serve_connection(TokioIo::new(stream), service).await,
            Err(_) => return,
        },
    };
}

async fn by_http(script: &Script, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Response::default() };
    let mut body = body.to_bytes().to_vec();
    if head.headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
        let packed = std::mem::take(&mut body);
        flate2::read::GzDecoder::new(&*packed).read_to_end(&mut body).unwrap();
    }
    if script.web {
        body.clear();
    }
    let seen = Seen {
        path: head.uri.path_and_query().unwrap().to_string(),
        version: head.version,
        headers: head.headers,
        request: match head.uri.path() {
            "/v1/logs" => ExportTraceServiceRequest::default(),
            _ => ExportTraceServiceRequest::decode(&*body).unwrap(),
        },
    };
    script.seen.lock().unwrap().push(seen);
    let protobuf = |response: ExportTraceServiceResponse| {
        Response::builder()
            .header("content-type", "application/x-protobuf")
            .body(Full::new(response.encode_to_vec().into()))
            .unwrap()
    };
    match next(script) {
        Reply::Ok | Reply::Grpc(_) => protobuf(taken(0, "")),
        Reply::Partial(rejected, message) => protobuf(taken(rejected, &message)),
        Reply::Slow(time) => {
            tokio::time::sleep(time).await;
            protobuf(taken(0, ""))
        }
        Reply::Http(status, headers, text) => {
            let mut response = Response::builder().status(status).header("content-type", "text/plain");
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            response.body(Full::new(text.into())).unwrap()
        }
    }
}

#[derive(Clone)]
struct Grpc(Arc<Script>);

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        // The request's head was noted before; requests of one test come one after another.
        if let Some(seen) = self.0.seen.lock().unwrap().last_mut() {
            seen.request = request.into_inner();
        }
        let response = match next(&self.0) {
            Reply::Ok | Reply::Http(..) => taken(0, ""),
            Reply::Partial(rejected, message) => taken(rejected, &message),
            Reply::Grpc(status) => return Err(status),
            Reply::Slow(time) => {
                tokio::time::sleep(time).await;
                taken(0, "")
            }
        };
        Ok(tonic::Response::new(response))
    }
}

#[tonic::async_trait]
impl LogsService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, tonic::Status> {
        let records = request.into_inner().resource_logs.iter().flat_map(|each| &each.scope_logs).count();
        let partial = match next(&self.0) {
            Reply::Partial(rejected_log_records, words) => {
                let error_message = format!("{words} of {records}");
                Some(ExportLogsPartialSuccess { rejected_log_records, error_message })
            }
            Reply::Grpc(status) => return Err(status),
            _ => None,
        };
        Ok(tonic::Response::new(ExportLogsServiceResponse { partial_success: partial }))
    }
}

fn next(script: &Script) -> Reply {
    script.replies.lock().unwrap().pop_front().unwrap_or(Reply::Ok)
}

fn taken(rejected_spans: i64, message: &str) -> ExportTraceServiceResponse {
    let partial = ExportTracePartialSuccess { rejected_spans, error_message: message.into() };
    ExportTraceServiceResponse {
        partial_success: (rejected_spans != 0 || !message.is_empty()).then_some(partial),
    }
}
