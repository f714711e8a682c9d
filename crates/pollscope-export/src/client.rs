//! Sends encoded requests: one hyper client for gRPC and for HTTP, one TLS setup for both.
//!
//! A payload is an encoded `ExportTraceServiceRequest` or `ExportLogsServiceRequest`. It goes out as it is, so a retry or a batch that was
//! restored from the journal costs no decoding. gRPC is framed here: tonic's client would bring a second TLS
//! setup and a load balancer, and its errors do not tell the server's status from a lost connection or from an
//! answer of OK that it cannot read. Nothing is retried here: one call, one request, one [`Answer`].

use crate::answer::{Answer, SendError, accepted, grpc_failure, grpc_status, http_failure, no_grpc};
use crate::config::{Compression, Config, Protocol};
use crate::tls::{self, TlsError};
use bytes::{BufMut, Bytes, BytesMut};
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT};
use http::uri::{PathAndQuery, Uri};
use http::{Method, Request, Response, StatusCode, Version};
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
use std::io::{Read, Write};
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, timeout_at};
use tonic::Code;
use tonic::body::Body;

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GZIP: HeaderValue = HeaderValue::from_static("gzip");
/// Flag and length before a gRPC message.
const GRPC_PREFIX: usize = 5;
/// Longest answer that is kept, which is what gRPC clients take.
pub(crate) const ANSWER_LIMIT: usize = 4 * 1024 * 1024;
/// An idle connection closes after this.
const IDLE_CONNECTION: Duration = Duration::from_secs(60);
/// A gRPC connection that carries a request is asked this often whether it still lives.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Sends payloads. The pipeline's tests put a script in the network's place.
pub trait Transport: Send + Sync + 'static {
    /// Sends one encoded request once.
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

    fn post(&self, uri: Uri, kind: &'static str, encoding: HeaderName, body: Bytes) -> Request<Body> {
        let mut request = Request::new(Body::new(Full::new(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if self.packs() {
            request.headers_mut().insert(encoding, GZIP);
        }
        request
    }

    fn packs(&self) -> bool {
        self.config.compression != Compression::None
    }

    fn endpoint(&self) -> String {
        self.config.endpoint.to_string()
    }

    /// The head of the answer, if it comes in time.
    async fn answer(&self, request: Request<Body>, by: Instant) -> Result<Response<Incoming>, Answer> {
        match timeout_at(by, self.connections.request(request)).await {
            Ok(answer) => answer.map_err(|error| self.unsent(&error)),
            Err(_) => Err(self.late()),
        }
    }

    async fn by_http(&self, payload: Bytes, by: Instant) -> Result<Answer, Answer> {
        let payload = if self.packs() { gzipped(&payload) } else { payload };
        let uri = self.config.endpoint.clone();
        let request = self.post(uri, "application/x-protobuf", CONTENT_ENCODING, payload);
        let (head, body) = self.answer(request, by).await?.into_parts();
        // The status stands even when the body is unreadable: of a 2xx, all was taken.
        let body = match timeout_at(by, Limited::new(body, ANSWER_LIMIT).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            _ => Bytes::new(),
        };
        if !head.status.is_success() {
            let (signal, packed, now) = (self.config.signal, self.packs(), SystemTime::now());
            return Ok(http_failure(signal, self.endpoint(), head.status, &head.headers, &body, packed, now));
        }
        match ExportTraceServiceResponse::decode(body) {
            Ok(response) if is_kind(&head.headers, "application/x-protobuf") => Ok(accepted(response)),
            _ => Ok(Answer::Accepted),
        }
    }

    async fn by_grpc(&self, payload: Bytes, by: Instant) -> Result<Answer, Answer> {
        let mut uri = self.config.endpoint.clone().into_parts();
        uri.path_and_query = Some(PathAndQuery::from_static(self.config.signal.method()));
        let uri = Uri::from_parts(uri).expect("an endpoint has a scheme and an authority");
        let body = framed(&if self.packs() { gzipped(&payload) } else { payload }, self.packs());
        let mut request = self.post(uri, "application/grpc", GRPC_ENCODING, body);
        *request.version_mut() = Version::HTTP_2;
        let headers = request.headers_mut();
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert("grpc-accept-encoding", GZIP);
        let timeout = format!("{}m", self.config.timeout.as_millis());
        headers.insert("grpc-timeout", timeout.try_into().expect("it is a number"));

        let (head, body) = self.answer(request, by).await?.into_parts();
        let no_grpc =
            || no_grpc(self.config.signal, self.endpoint(), head.status, &head.headers, SystemTime::now());
        if !is_kind(&head.headers, "application/grpc") {
            return Err(no_grpc());
        }
        // The status is in the head when there is no message.
        let (message, status) = match grpc_status(&head.headers) {
            Some(status) => (Bytes::new(), Some(status)),
            None => match timeout_at(by, message_and_trailers(body)).await {
                Ok(Ok((message, trailers))) => (message, grpc_status(&trailers)),
                Ok(Err(error)) => return Err(self.lost(&told(&error))),
                Err(_) => return Err(self.late()),
            },
        };
        match status {
            Some(status) if status.code() == Code::Ok => {
                let gzip = head.headers.get(GRPC_ENCODING) == Some(&GZIP);
                Ok(unframed(&message, gzip).map_or(Answer::Accepted, accepted))
            }
            Some(status) => Ok(grpc_failure(self.config.signal, self.endpoint(), &status)),
            None if head.status != StatusCode::OK => Err(no_grpc()),
            None => Err(self.lost("the answer ended")),
        }
    }

    /// Whether the server took it is not known.
    fn lost(&self, why: &str) -> Answer {
        Answer::Retry {
            after: None,
            error: SendError {
                signal: self.config.signal,
                endpoint: self.endpoint(),
                why: format!("no status came: {why}"),
                fix: "it is tried again; look at the backend and the proxies before it if this stays",
            },
        }
    }

    fn late(&self) -> Answer {
        Answer::Retry {
            after: None,
            error: SendError {
                signal: self.config.signal,
                endpoint: self.endpoint(),
                why: format!("no answer within {:?}", self.config.timeout),
                fix: "look at the backend's load, or raise OTEL_EXPORTER_OTLP_TIMEOUT (milliseconds)",
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
        let (signal, endpoint) = (self.config.signal, self.endpoint());
        Answer::Retry { after: None, error: SendError { signal, endpoint, why: told(error), fix } }
    }
}

impl Transport for Client {
    async fn send(&self, payload: Bytes) -> Answer {
        let by = Instant::now() + self.config.timeout;
        let answer = match self.config.protocol {
            Protocol::Grpc => self.by_grpc(payload, by).await,
            Protocol::HttpProtobuf => self.by_http(payload, by).await,
        };
        answer.unwrap_or_else(|failure| failure)
    }
}

fn is_kind(headers: &HeaderMap, kind: &str) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(kind.as_bytes()))
}

/// An error and what it came from, in one line.
fn told(error: &(dyn Error + 'static)) -> String {
    let mut why = String::new();
    for text in chain(error).map(ToString::to_string) {
        // Many errors repeat their source in their own text.
        if !why.contains(&text) {
            why = if why.is_empty() { text } else { format!("{why}: {text}") };
        }
    }
    why
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

/// A gRPC message: flag, length, bytes.
fn framed(message: &[u8], packed: bool) -> Bytes {
    let mut frame = BytesMut::with_capacity(GRPC_PREFIX + message.len());
    frame.put_u8(packed.into());
    frame.put_u32(u32::try_from(message.len()).expect("batches are smaller than 4 GiB"));
    frame.put_slice(message);
    frame.freeze()
}

/// The message of an answer of OK, which stands even when this is unreadable.
fn unframed(frame: &[u8], gzip: bool) -> Option<ExportTraceServiceResponse> {
    let ([flag, length @ ..], message) = frame.split_first_chunk::<GRPC_PREFIX>()?;
    let message = message.get(..u32::from_be_bytes(*length) as usize)?;
    match flag {
        0 => ExportTraceServiceResponse::decode(message).ok(),
        1 if gzip => {
            let mut unpacked = Vec::new();
            GzDecoder::new(message).take(ANSWER_LIMIT as u64).read_to_end(&mut unpacked).ok()?;
            ExportTraceServiceResponse::decode(&*unpacked).ok()
        }
        _ => None,
    }
}

/// All of an answer, because the status comes last; of a message that is too long, the beginning.
async fn message_and_trailers(mut body: Incoming) -> Result<(Bytes, HeaderMap), hyper::Error> {
    let mut message = BytesMut::new();
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => {
                let room = (GRPC_PREFIX + ANSWER_LIMIT).saturating_sub(message.len());
                message.put_slice(&data[..data.len().min(room)]);
            }
            Err(frame) => return Ok((message.freeze(), frame.into_trailers().unwrap_or_default())),
        }
    }
    Ok((message.freeze(), HeaderMap::new()))
}
