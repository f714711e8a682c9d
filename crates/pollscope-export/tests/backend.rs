//! The client against a real local backend: what goes over the wire, and what each answer becomes.

mod support;

use bytes::Bytes;
use http::Version;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use pollscope_export::answer::{Answer, SendError};
use pollscope_export::client::{Client, Transport};
use pollscope_export::config::Config;
use pollscope_export::health::probe;
use prost::Message;
use std::time::Duration;
use support::{Receiver, Reply, config};

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
        assert_eq!(backend.connections(), 1, "{protocol}");
    }
}

#[tokio::test]
async fn partial_success_is_told_by_both_protocols() {
    for protocol in BOTH {
        let backend = Receiver::start([Reply::Partial(1, "span is too old")]).await;
        let answer = send(&backend.config(protocol, &[])).await;
        assert_eq!(answer, Answer::Partial { rejected: 1, message: "span is too old".into() }, "{protocol}");
    }
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

#[tokio::test]
async fn a_slow_backend_is_given_up_in_time() {
    for protocol in BOTH {
        let backend = Receiver::start([Reply::Slow(Duration::from_secs(60))]).await;
        let (after, error) = retried(&backend.config(protocol, &[("TIMEOUT", "200")])).await;
        assert_eq!(after, None);
        assert!(error.why.contains("200ms") || error.why.contains("DeadlineExceeded"), "{}", error.why);
    }
}

#[tokio::test]
async fn where_nobody_listens_the_error_says_what_to_do() {
    let (address, _) = Receiver::start([]).await.stop().await;
    let endpoint = format!("http://{address}");
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
        use tokio::io::AsyncWriteExt;
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
