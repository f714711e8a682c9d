//! Our reading of the standard variables held against opentelemetry-otlp's: with the same variables both must
//! send to the same place in the same way.
//!
//! The peer reads its process environment, so it runs in a child: this test binary again, marked by [`CHILD`].

mod support;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry_otlp::SpanExporter as Peer;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter, SpanLinks};
use pollscope_export::answer::Answer;
use pollscope_export::client::{Client, Transport};
use std::process::Stdio;
use std::time::{Duration, SystemTime};
use support::{Receiver, Seen, config};

/// Set in the child.
const CHILD: &str = "POLLSCOPE_TEST_PEER";
/// Headers that the cases set.
const HEADERS: [&str; 4] = ["authorization", "x-one", "x-two", "broken"];

/// What both must do alike.
#[derive(Debug, PartialEq)]
struct Way {
    path: String,
    content_type: String,
    content_encoding: String,
    grpc_encoding: String,
    headers: Vec<String>,
}

impl Way {
    fn of(seen: &Seen) -> Way {
        Way {
            path: seen.path.clone(),
            content_type: seen.header("content-type").into(),
            content_encoding: seen.header("content-encoding").into(),
            grpc_encoding: seen.header("grpc-encoding").into(),
            headers: HEADERS.iter().map(|name| format!("{name}: {}", seen.header(name))).collect(),
        }
    }
}

/// `{}` stands for the receiver's address. The names go without `OTEL_EXPORTER_OTLP_`.
const CASES: &[&[(&str, &str)]] = &[
    &[("ENDPOINT", "http://{}")],
    &[("ENDPOINT", "http://{}/")],
    &[("ENDPOINT", "http://{}/otlp"), ("PROTOCOL", "http/protobuf")],
    &[("ENDPOINT", "http://127.0.0.1:9"), ("TRACES_ENDPOINT", "http://{}/mine")],
    &[("TRACES_ENDPOINT", "http://{}")],
    &[("TRACES_ENDPOINT", "http://{}/mine/"), ("ENDPOINT", "")],
    &[("ENDPOINT", "http://{}"), ("HEADERS", " Authorization = Basic%20abc%3D ,x-one=a%2Cb,,x-two=a=b")],
    &[("ENDPOINT", "http://{}"), ("HEADERS", "x-one=,broken=50%,x-two=%C3")],
    &[("ENDPOINT", "http://{}"), ("HEADERS", "x-one=1,x-two=2"), ("TRACES_HEADERS", "x-one=3")],
    &[("ENDPOINT", "http://{}"), ("COMPRESSION", "gzip")],
    &[("ENDPOINT", "http://{}"), ("COMPRESSION", "GZIP"), ("TRACES_COMPRESSION", "none")],
    &[("ENDPOINT", "http://{}"), ("COMPRESSION", "none"), ("TRACES_COMPRESSION", "gzip")],
    &[("ENDPOINT", "http://{}"), ("PROTOCOL", "grpc")],
    &[("ENDPOINT", "http://{}/ignored"), ("PROTOCOL", "grpc"), ("COMPRESSION", "gzip")],
    &[("ENDPOINT", "{}"), ("PROTOCOL", "grpc"), ("INSECURE", "True")],
    &[("ENDPOINT", "{}"), ("PROTOCOL", "grpc"), ("INSECURE", "false"), ("TRACES_INSECURE", "true")],
    &[("ENDPOINT", "http://{}"), ("PROTOCOL", "http/protobuf"), ("TRACES_PROTOCOL", "grpc")],
    &[("ENDPOINT", "http://{}"), ("PROTOCOL", "grpc"), ("TRACES_PROTOCOL", "http/protobuf")],
    &[("ENDPOINT", "http://{}"), ("PROTOCOL", "grpc"), ("HEADERS", "X-One=a%20b,x-two=2")],
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_read_the_variables_alike() {
    if std::env::var_os(CHILD).is_some() {
        return export_as_peer().await;
    }
    for case in CASES {
        let backend = Receiver::start([]).await;
        let address = backend.address.to_string();
        let filled: Vec<(&str, String)> =
            case.iter().map(|(name, value)| (*name, value.replace("{}", &address))).collect();

        let variables: Vec<(&str, &str)> =
            filled.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let ours = Client::new(&config(&variables)).unwrap().send(Default::default()).await;
        assert_eq!(ours, Answer::Accepted, "{case:?}");
        run_peer(&filled).await;

        let seen = backend.seen();
        assert_eq!(seen.len(), 2, "one request from each: {case:?}");
        assert_eq!(seen[1].span_names(), ["peer"], "the second is the peer's");
        assert_eq!(Way::of(&seen[0]), Way::of(&seen[1]), "ours, then the peer's: {case:?}");
    }
}

async fn run_peer(variables: &[(&str, String)]) {
    let child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "both_read_the_variables_alike", "--nocapture"])
        .env_clear()
        .env(CHILD, "1")
        .envs(variables.iter().map(|(name, value)| (format!("OTEL_EXPORTER_OTLP_{name}"), value)))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(60), child).await.expect("the peer ends").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn export_as_peer() {
    let context = SpanContext::new(
        TraceId::from(1u128),
        SpanId::from(2u64),
        TraceFlags::SAMPLED,
        false,
        TraceState::default(),
    );
    let span = SpanData {
        span_context: context,
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "peer".into(),
        start_time: SystemTime::now(),
        end_time: SystemTime::now(),
        attributes: vec![],
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: Default::default(),
    };
    Peer::builder().build().unwrap().export(vec![span]).await.unwrap();
}
