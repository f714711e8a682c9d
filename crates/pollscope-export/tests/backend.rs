//! The client against a real local backend: what goes over the wire, and what each answer becomes.

mod support;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use pollscope_export::Signal;
use pollscope_export::answer::{Answer, SendError};
use pollscope_export::client::{Client, Transport};
use pollscope_export::config::{Config, Options};
use pollscope_export::health::probe;
use prost::Message;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use support::{Port, Receiver, Reply, config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::Sleep;

const BOTH: [&str; 2] = ["grpc", "http/protobuf"];

/// A request with one span; long enough that packing it pays.
fn payload() -> Bytes {
    let span = Span { name: "checkout ".repeat(100), ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
}

async fn send(config: &Config) -> Answer {
    Client::new(config).unwrap().send(payload()).await
}

/// The hint and the error of an answer that allows another try.
async fn retried(config: &Config) -> (Option<Duration>, SendError) {
    match send(config).await {
        Answer::Retry { after, error } => (after, error),
        other => panic!("expected another try, got {other:?}"),
    }
}

#[tokio::test]
async fn http_carries_headers_path_and_protobuf() {
    let backend = Receiver::start([]).await;
    let config =
        backend.config("http/protobuf", &[("HEADERS", "authorization=Basic%20abc,content-type=mine")]);
    assert_eq!(send(&config).await, Answer::Accepted);
    let seen = &backend.seen()[0];
    assert_eq!((seen.path.as_str(), seen.version), ("/v1/traces", Version::HTTP_11));
    assert_eq!(seen.header("content-type"), "application/x-protobuf");
    assert_eq!(seen.header("authorization"), "Basic abc");
    assert!(seen.header("user-agent").starts_with("pollscope/"));
    assert_eq!(seen.header("content-encoding"), "");
    assert_eq!(seen.span_names(), ["checkout ".repeat(100)]);
}

#[tokio::test]
async fn grpc_carries_metadata_and_calls_the_trace_service() {
    let backend = Receiver::start([]).await;
    let config = backend.config("grpc", &[("HEADERS", "X-Tenant=shop")]);
    assert_eq!(send(&config).await, Answer::Accepted);
    let seen = &backend.seen()[0];
    assert_eq!(seen.path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    assert_eq!((seen.header("x-tenant"), seen.header("grpc-encoding")), ("shop", ""));
    assert!(seen.header("user-agent").starts_with("pollscope/"));
    assert!(seen.headers.contains_key("grpc-timeout"));
    assert_eq!(seen.span_names(), ["checkout ".repeat(100)]);
}

#[tokio::test]
async fn gzip_is_used_and_said() {
    for (protocol, header) in [("grpc", "grpc-encoding"), ("http/protobuf", "content-encoding")] {
        let backend = Receiver::start([]).await;
        assert_eq!(send(&backend.config(protocol, &[("COMPRESSION", "gzip")])).await, Answer::Accepted);
        let seen = &backend.seen()[0];
        assert_eq!(seen.header(header), "gzip");
        assert_eq!(seen.span_names(), ["checkout ".repeat(100)]);
        if protocol == "http/protobuf" {
            let length: usize = seen.header("content-length").parse().unwrap();
            assert!(length < payload().len() / 4, "{length} of {}", payload().len());
        }
    }
}

#[tokio::test]
async fn connections_are_kept() {
    for protocol in BOTH {
        let backend = Receiver::start([]).await;
        let client = Client::new(&backend.config(protocol, &[])).unwrap();
        for _ in 0..5 {
            assert_eq!(client.send(payload()).await, Answer::Accepted);
        }
        assert_eq!(backend.seen().len(), 5);
        // A connection by HTTP/1 may come back to the pool after the next request has asked for one.
        assert!(backend.connections() < 5, "{protocol}");
    }
}

#[tokio::test]
async fn partial_success_is_told_by_both_protocols() {
    for protocol in BOTH {
        let backend = Receiver::start([Reply::Partial(1, "span is too old".into())]).await;
        let answer = send(&backend.config(protocol, &[])).await;
        assert_eq!(answer, Answer::Partial { rejected: 1, message: "span is too old".into() }, "{protocol}");
    }
}

/// Text that hardly shrinks, the same in every run.
fn noise(length: usize) -> String {
    let mut dice = 1u64;
    let letter = |_| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        char::from(b' ' + (dice % 95) as u8)
    };
    (0..length).map(letter).collect()
}

#[tokio::test]
async fn a_long_answer_is_read_and_one_that_is_too_long_is_taken_for_success() {
    for protocol in BOTH {
        let words = [noise(400_000), noise(6_000_000), "x".repeat(6_000_000)];
        let backend = Receiver::start(words.map(|words| Reply::Partial(1, words))).await;
        let config = backend.config(protocol, &[("TIMEOUT", "60000")]);
        let answer = send(&config).await;
        assert!(matches!(answer, Answer::Partial { rejected: 1, .. }), "{protocol}: {answer:.300?}");
        for _ in 0..2 {
            assert_eq!(send(&config).await, Answer::Accepted, "{protocol}");
        }
    }
}

#[tokio::test]
async fn a_2xx_whose_body_never_comes_is_success() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_ne!(stream.read(&mut [0; 4096]).await.unwrap(), 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    assert_eq!(send(&config(&[("ENDPOINT", &endpoint), ("TIMEOUT", "2000")])).await, Answer::Accepted);
    server.abort();
}

#[tokio::test]
async fn http_retry_after_is_read() {
    let overloaded = Reply::Http(503, &[("retry-after", "7")], "busy");
    let backend = Receiver::start([overloaded, Reply::Http(400, &[], "no span id")]).await;
    let config = backend.config("http/protobuf", &[]);
    let (after, error) = retried(&config).await;
    assert_eq!(after, Some(Duration::from_secs(7)));
    assert_eq!(error.why, "the server answered 503 Service Unavailable: busy");
    let Answer::Refused(error) = send(&config).await else { panic!("400 is final") };
    assert_eq!(error.why, "the server answered 400 Bad Request: no span id");
}

#[tokio::test]
async fn grpc_retry_info_is_read() {
    // google.rpc.Status { details: [Any { "type.googleapis.com/google.rpc.RetryInfo", RetryInfo { 7 s } }] },
    // written by hand from the field numbers, as another implementation would send it.
    let info = [0x0a, 0x02, 0x08, 0x07];
    let url = b"type.googleapis.com/google.rpc.RetryInfo";
    let any = [&[0x0a, url.len() as u8], &url[..], &[0x12, info.len() as u8], &info[..]].concat();
    let details = Bytes::from([&[0x1a, any.len() as u8], &any[..]].concat());
    let status = |code| Reply::Grpc(tonic::Status::with_details(code, "busy", details.clone()));
    let backend = Receiver::start([
        status(tonic::Code::Unavailable),
        status(tonic::Code::ResourceExhausted),
        Reply::Grpc(tonic::Status::resource_exhausted("message too large")),
        Reply::Grpc(tonic::Status::unauthenticated("who are you")),
    ])
    .await;
    let config = backend.config("grpc", &[]);
    for _ in 0..2 {
        let (after, error) = retried(&config).await;
        assert_eq!(after, Some(Duration::from_secs(7)));
        assert!(error.why.ends_with(": busy"), "{}", error.why);
    }
    let Answer::Refused(error) = send(&config).await else { panic!("exhausted without a hint is final") };
    assert!(error.fix.starts_with("send smaller batches"));
    let Answer::Refused(error) = send(&config).await else { panic!("unauthenticated is final") };
    assert_eq!(
        error.to_string(),
        format!(
            "cannot send spans to http://{}/: the server answered Unauthenticated: who are you; check the \
             credentials in OTEL_EXPORTER_OTLP_HEADERS",
            backend.address
        )
    );
}

/// A gRPC server whose answer is made by hand, and whose connection may be lost a while after it began.
async fn answering<B>(answer: fn() -> Response<B>, lost_after: Option<Duration>) -> Config
where
    B: Body<Data = Bytes, Error = std::io::Error> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let answered = Arc::new(Notify::new());
        let told = answered.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let told = told.clone();
            async move {
                let _ = request.into_body().collect().await;
                told.notify_one();
                Ok::<_, std::convert::Infallible>(answer())
            }
        });
        let lost = async {
            answered.notified().await;
            match lost_after {
                Some(after) => tokio::time::sleep(after).await,
                None => std::future::pending().await,
            }
        };
        let server = http2::Builder::new(TokioExecutor::new());
        tokio::select! {
            _ = server.serve_connection(TokioIo::new(stream), service) => {}
            () = lost => {}
        }
    });
    config(&[("ENDPOINT", &endpoint), ("PROTOCOL", "grpc"), ("TIMEOUT", "10000")])
}

/// A body that never comes, or breaks after a while.
struct Never(Option<Pin<Box<Sleep>>>);

impl Body for Never {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let Some(sleep) = &mut self.0 else { return Poll::Pending };
        sleep.as_mut().poll(context).map(|()| Some(Err(std::io::Error::other("broken"))))
    }
}

fn grpc_head<B>(body: B) -> Response<B> {
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

#[tokio::test]
async fn a_grpc_answer_without_a_status_of_the_server_is_tried_again() {
    const WHILE: Duration = Duration::from_millis(300);
    let broken = || grpc_head(Never(Some(Box::pin(tokio::time::sleep(WHILE)))));
    let (_, error) = retried(&answering(broken, None).await).await;
    assert!(error.why.starts_with("no status came: "), "{error}");

    let (_, error) = retried(&answering(|| grpc_head(Never(None)), Some(WHILE)).await).await;
    assert!(error.why.starts_with("no status came: "), "{error}");

    let ended = || grpc_head(Empty::new().map_err(|never| match never {}));
    let (_, error) = retried(&answering(ended, None).await).await;
    assert_eq!(error.why, "no status came: the answer ended");
}

#[tokio::test]
async fn grpc_details_that_are_no_base64_are_left_out() {
    let answer = || {
        let mut response = grpc_head(Empty::new().map_err(|never| match never {}));
        response.headers_mut().insert("grpc-status", "14".parse().unwrap());
        response.headers_mut().insert("grpc-status-details-bin", "?".parse().unwrap());
        response
    };
    let (_, error) = retried(&answering(answer, None).await).await;
    assert_eq!(error.why, "the server answered Unavailable");
}

#[tokio::test]
async fn a_slow_backend_is_given_up_in_time() {
    for protocol in BOTH {
        let backend = Receiver::start([Reply::Slow(Duration::from_secs(60))]).await;
        let (after, error) = retried(&backend.config(protocol, &[("TIMEOUT", "500")])).await;
        assert_eq!(after, None);
        assert_eq!(error.why, "no answer within 500ms");
    }
}

#[tokio::test]
async fn where_nobody_listens_the_error_says_what_to_do() {
    let port = Port::new();
    let endpoint = format!("http://{}", port.address);
    for protocol in BOTH {
        let config = config(&[("ENDPOINT", &endpoint), ("PROTOCOL", protocol)]);
        let error = probe(&config).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot send spans to {endpoint}/")), "{error}");
        assert!(error.contains("refused"), "{error}");
        assert!(error.contains("start a backend there, or name another one"), "{error}");
    }
}

#[tokio::test]
async fn the_wrong_protocol_is_suspected() {
    // A server that speaks neither: it answers nonsense and closes.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"220 mail ready\r\n").await;
        }
    });
    let endpoint = format!("http://{address}");
    for (protocol, other) in [("grpc", "PROTOCOL=http/protobuf"), ("http/protobuf", "PROTOCOL=grpc")] {
        let (_, error) = retried(&config(&[("ENDPOINT", &endpoint), ("PROTOCOL", protocol)])).await;
        assert!(error.fix.contains(other), "{error}");
    }
    server.abort();
}

#[tokio::test]
async fn a_web_server_behind_a_grpc_endpoint_is_told_from_an_overloaded_proxy() {
    let backend = Receiver::start_web([
        Reply::Http(404, &[], "no such page"),
        Reply::Http(503, &[("retry-after", "3")], "overloaded"),
        Reply::Http(200, &[], "welcome"),
    ])
    .await;
    let config = backend.config("grpc", &[]);
    let Answer::Refused(error) = send(&config).await else { panic!("a page that is not there is final") };
    assert_eq!(error.why, "the server answered 404 Not Found by plain HTTP, not by gRPC");
    assert!(error.fix.ends_with("OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"));
    assert_eq!(retried(&config).await.0, Some(Duration::from_secs(3)));
    assert!(matches!(send(&config).await, Answer::Refused(_)), "200 by a web server is no success");
}

#[tokio::test]
async fn a_backend_that_may_not_take_gzip_is_suspected() {
    for (compression, suspected) in [("gzip", true), ("none", false)] {
        let backend = Receiver::start([Reply::Http(400, &[], "")]).await;
        let config = backend.config("http/protobuf", &[("COMPRESSION", compression)]);
        let Answer::Refused(error) = send(&config).await else { panic!("400 is final") };
        assert_eq!(error.fix.contains("OTEL_EXPORTER_OTLP_COMPRESSION=none"), suspected);
    }
}

#[tokio::test]
async fn a_probe_sends_nothing_but_an_empty_request() {
    for protocol in BOTH {
        let backend = Receiver::start([]).await;
        probe(&backend.config(protocol, &[])).await.unwrap();
        assert_eq!(backend.seen().len(), 1);
        assert!(backend.seen()[0].request.resource_spans.is_empty());
    }
}

/// A configuration for log records.
fn for_logs(backend: &Receiver, protocol: &str) -> Config {
    let known = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", backend.address)),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
    ];
    let lookup = |name: &str| known.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
    Options::from_env(Signal::Logs, lookup).unwrap().resolve(Signal::Logs).unwrap().unwrap()
}

fn one_log() -> Bytes {
    let scope_logs = vec![ScopeLogs { log_records: vec![LogRecord::default()], ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec().into()
}

#[tokio::test]
async fn log_records_go_to_the_logs_service() {
    for (protocol, path) in
        [("grpc", "/opentelemetry.proto.collector.logs.v1.LogsService/Export"), ("http/protobuf", "/v1/logs")]
    {
        let backend = Receiver::start([]).await;
        let config = for_logs(&backend, protocol);
        assert_eq!(Client::new(&config).unwrap().send(one_log()).await, Answer::Accepted, "{protocol}");
        assert_eq!(backend.seen()[0].path, path);
        assert!(probe(&config).await.is_ok(), "{protocol}");
    }
}

#[tokio::test]
async fn a_logs_service_rejects_some_or_is_not_there() {
    let missing = tonic::Status::unimplemented("");
    let backend = Receiver::start([Reply::Partial(1, "one".into()), Reply::Grpc(missing)]).await;
    let client = Client::new(&for_logs(&backend, "grpc")).unwrap();
    let answer = client.send(one_log()).await;
    assert_eq!(answer, Answer::Partial { rejected: 1, message: "one of 1".into() });
    let Answer::Refused(error) = client.send(one_log()).await else { panic!("it is final") };
    assert!(error.to_string().starts_with("cannot send log records to "), "{error}");
    assert!(error.fix.contains("--events span"), "{error}");
}
