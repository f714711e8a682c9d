//! Sends encoded requests: one hyper client for gRPC and for HTTP, one TLS setup for both.
//!
//! A payload is an encoded `ExportTraceServiceRequest`. It goes out as it is, so a retry or a batch that was
//! restored from the journal costs no decoding. gRPC framing, status and compression are tonic's; the
//! connection is hyper's, because tonic's own channel would bring a second TLS setup and a load balancer.
//! Nothing is retried here: one call, one request, one [`Answer`].

use crate::answer::{Answer, SendError, accepted, grpc_failure, http_failure, no_grpc};
use crate::config::{Compression, Config, Protocol};
use crate::tls::{self, TlsError};
use bytes::{Buf, BufMut, Bytes};
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Connections, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use std::error::Error;
use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use tonic::body::Body;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::Service;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

/// The method of OTLP's trace service.
const GRPC_METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// Longest answer that is read: it holds a count and a message.
const ANSWER_LIMIT: usize = 64 * 1024;
/// An idle connection closes after this.
const IDLE_CONNECTION: Duration = Duration::from_secs(60);
/// A gRPC connection that carries a request is asked this often whether it still lives.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Sends payloads. The pipeline's tests put a script in the network's place.
pub trait Transport: Send + Sync + 'static {
    /// Sends one encoded `ExportTraceServiceRequest` once.
    fn send(&self, payload: Bytes) -> impl Future<Output = Answer> + Send;
}

/// A client of one backend. Connects at the first request, and again when a connection is lost.
#[derive(Clone, Debug)]
pub struct Client {
    config: Config,
    headers: HeaderMap,
    connections: Connections<HttpsConnector<HttpConnector>, Body>,
}

impl Client {
    /// Reads the certificates that `config` names; connects to nothing yet.
    pub fn new(config: &Config) -> Result<Client, TlsError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(config.timeout));
        let tls = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls::client_config(config)?)
            .https_or_http();
        let connector = match config.protocol {
            Protocol::Grpc => tls.enable_http2().wrap_connector(tcp),
            Protocol::HttpProtobuf => tls.enable_all_versions().wrap_connector(tcp),
        };
        let connections = Connections::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_only(config.protocol == Protocol::Grpc)
            .build(connector);
        let mut headers = config.headers.clone();
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!("pollscope/", env!("CARGO_PKG_VERSION"))));
        Ok(Client { config: config.clone(), headers, connections })
    }

    /// Where requests go.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Sends a request as it is, on the same connections.
    pub(crate) fn request(&self, request: Request<Body>) -> ResponseFuture {
        self.connections.request(request)
    }

    async fn by_http(&self, payload: Bytes) -> Answer {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.config.endpoint.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let payload = match self.config.compression {
            Compression::None => payload,
            Compression::Gzip => {
                request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                gzipped(&payload)
            }
        };
        *request.body_mut() = Body::new(Full::new(payload));
        let response = match self.connections.request(request).await {
            Ok(response) => response,
            Err(error) => return self.unsent(&error),
        };
        let (head, body) = response.into_parts();
        // A 2xx stands even when its body is unreadable: the spans were taken.
        let body =
            Limited::new(body, ANSWER_LIMIT).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        if !head.status.is_success() {
            let packed = self.config.compression != Compression::None;
            let endpoint = self.config.endpoint.to_string();
            return http_failure(endpoint, head.status, &head.headers, &body, packed, SystemTime::now());
        }
        let protobuf = head
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-protobuf"));
        match ExportTraceServiceResponse::decode(body) {
            Ok(response) if protobuf => accepted(response),
            _ => Answer::Accepted,
        }
    }

    async fn by_grpc(&self, payload: Bytes) -> Answer {
        let connections = GrpcConnections(self.connections.clone());
        let mut grpc = tonic::client::Grpc::with_origin(connections, self.config.endpoint.clone())
            .max_decoding_message_size(ANSWER_LIMIT)
            .accept_compressed(CompressionEncoding::Gzip);
        if self.config.compression == Compression::Gzip {
            grpc = grpc.send_compressed(CompressionEncoding::Gzip);
        }
        let metadata = MetadataMap::from_headers(self.headers.clone());
        let mut request = tonic::Request::from_parts(metadata, Default::default(), payload);
        request.set_timeout(self.config.timeout);
        match grpc.unary(request, PathAndQuery::from_static(GRPC_METHOD), Encoded).await {
            Ok(response) => accepted(response.into_inner()),
            Err(status) => match status.source().and_then(|error| error.downcast_ref()) {
                Some(NoGrpc::Unsent(error)) => self.unsent(error),
                Some(NoGrpc::Answered(status, headers)) => {
                    no_grpc(self.config.endpoint.to_string(), *status, headers, SystemTime::now())
                }
                None => grpc_failure(self.config.endpoint.to_string(), &status),
            },
        }
    }

    /// No answer came: the way is broken, which may pass.
    fn unsent(&self, error: &(dyn Error + 'static)) -> Answer {
        let port_speaks = match self.config.protocol {
            Protocol::Grpc => {
                "check that this port takes gRPC; for HTTP set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
            }
            Protocol::HttpProtobuf => {
                "check that this port takes HTTP; for gRPC (usually 4317) set OTEL_EXPORTER_OTLP_PROTOCOL=grpc"
            }
        };
        let connecting = error
            .downcast_ref::<hyper_util::client::legacy::Error>()
            .is_some_and(hyper_util::client::legacy::Error::is_connect);
        let fix = match chain(error).find_map(|error| error.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(_)) => {
                "name the CA that signed the server's certificate by OTEL_EXPORTER_OTLP_CERTIFICATE"
            }
            Some(_) => "check that this port takes TLS; if not, write http:// in the endpoint",
            None if connecting => {
                "start a backend there, or name another one by OTEL_EXPORTER_OTLP_ENDPOINT or in pollscope.toml"
            }
            None => port_speaks,
        };
        let mut why = String::new();
        for text in chain(error).map(ToString::to_string) {
            // Many errors repeat their source in their own text.
            if !why.contains(&text) {
                why = if why.is_empty() { text } else { format!("{why}: {text}") };
            }
        }
        Answer::Retry {
            after: None,
            error: SendError { endpoint: self.config.endpoint.to_string(), why, fix },
        }
    }
}

impl Transport for Client {
    async fn send(&self, payload: Bytes) -> Answer {
        let sent = async {
            match self.config.protocol {
                Protocol::Grpc => self.by_grpc(payload).await,
                Protocol::HttpProtobuf => self.by_http(payload).await,
            }
        };
        tokio::time::timeout(self.config.timeout, sent).await.unwrap_or_else(|_| Answer::Retry {
            after: None,
            error: SendError {
                endpoint: self.config.endpoint.to_string(),
                why: format!("no answer within {:?}", self.config.timeout),
                fix: "look at the backend's load, or raise OTEL_EXPORTER_OTLP_TIMEOUT (milliseconds)",
            },
        })
    }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    // An io error hides the error that it carries from `source`.
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(carried) => Some(carried as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

fn gzipped(payload: &[u8]) -> Bytes {
    // The fast level: the agent lives on a few percent of a core, and span data shrinks well at any level.
    let mut packed = GzEncoder::new(Vec::with_capacity(payload.len() / 4), flate2::Compression::fast());
    packed.write_all(payload).and_then(|()| packed.finish()).expect("writing to memory cannot fail").into()
}

/// The connections as tonic wants them, with what is no gRPC kept apart from what a gRPC server answered.
struct GrpcConnections(Connections<HttpsConnector<HttpConnector>, Body>);

/// What came instead of a gRPC answer.
#[derive(Debug, thiserror::Error)]
enum NoGrpc {
    /// No answer came.
    #[error("request was not answered")]
    Unsent(#[source] hyper_util::client::legacy::Error),
    /// A web server's or a proxy's answer.
    #[error("the answer is no gRPC")]
    Answered(StatusCode, HeaderMap),
}

impl From<NoGrpc> for Status {
    fn from(what: NoGrpc) -> Status {
        let mut status = Status::new(Code::Unavailable, "no gRPC answer");
        status.set_source(Arc::new(what));
        status
    }
}

impl Service<Request<Body>> for GrpcConnections {
    type Response = Response<Incoming>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let response = self.0.request(request);
        Box::pin(async move {
            let response = response.await.map_err(NoGrpc::Unsent)?;
            let kind = response.headers().get(CONTENT_TYPE);
            if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
                Ok(response)
            } else {
                Err(NoGrpc::Answered(response.status(), response.headers().clone()).into())
            }
        })
    }
}

/// A codec for messages that are encoded already.
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = ExportTraceServiceResponse;
    type Encoder = Encoded;
    type Decoder = Encoded;

    fn encoder(&mut self) -> Encoded {
        Encoded
    }

    fn decoder(&mut self) -> Encoded {
        Encoded
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, payload: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(payload.len());
        out.put(payload);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        let bytes = bytes.copy_to_bytes(bytes.remaining());
        // As over HTTP: an answer of OK stands even when its message is unreadable.
        Ok(Some(ExportTraceServiceResponse::decode(bytes).unwrap_or_default()))
    }
}
