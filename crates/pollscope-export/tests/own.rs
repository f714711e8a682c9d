//! The agent's own telemetry, by each way that the services' traces can go.

mod support;

use pollscope_export::own::{Own, Reading, Step};
use std::time::{Duration, Instant, SystemTime};
use support::Receiver;

fn readings() -> Vec<Reading> {
    vec![Reading {
        name: "pollscope.agent.rounds",
        unit: "{round}",
        counter: true,
        help: "Rounds.",
        values: vec![(Vec::new(), 7)],
    }]
}

fn step(name: &'static str, begin: SystemTime) -> Step {
    Step { name, begin, end: begin + Duration::from_millis(3) }
}

#[tokio::test]
async fn a_turn_is_a_span_with_its_steps_below_it() {
    for protocol in ["grpc", "http/protobuf"] {
        let receiver = Receiver::start([]).await;
        let config = receiver.config(protocol, &[("HEADERS", "x-one=1"), ("COMPRESSION", "gzip")]);
        let own = Own::start(&config, readings).expect("the SDK takes the settings");
        let begin = SystemTime::now();
        own.turn(step("turn", begin), &[step("read", begin)], [("pollscope.records.read", 5), ("other", 0)]);
        own.shutdown(Duration::from_secs(10)).await;

        let seen = receiver.seen();
        let sent = seen.iter().find(|one| !one.span_names().is_empty()).expect("spans came");
        assert_eq!((sent.header("x-one"), sent.span_names().len()), ("1", 2), "{protocol}");
        let spans = &sent.request.resource_spans[0].scope_spans[0].spans;
        let named = |name: &str| spans.iter().find(|span| span.name == name).expect("it is there");
        let (turn, read) = (named("turn"), named("read"));
        assert_eq!((&read.parent_span_id, &read.trace_id), (&turn.span_id, &turn.trace_id));
        assert_eq!(turn.end_time_unix_nano - turn.start_time_unix_nano, 3_000_000);
        assert!(turn.attributes.iter().any(|attribute| attribute.key == "pollscope.records.read"));
    }
}

#[tokio::test]
async fn a_shutdown_takes_no_longer_than_its_grace() {
    for protocol in ["grpc", "http/protobuf"] {
        // It accepts, and never answers.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", silent.local_addr().unwrap());
        let variables = [("ENDPOINT", endpoint.as_str()), ("PROTOCOL", protocol), ("TIMEOUT", "600000")];
        let config = support::config(&variables);
        let own = Own::start(&config, readings).expect("the SDK takes the settings");
        own.turn(step("turn", SystemTime::now()), &[], [("one", 1), ("other", 0)]);
        let begin = Instant::now();
        own.shutdown(Duration::from_millis(100)).await;
        // The SDK alone takes five seconds for the metrics.
        assert!(begin.elapsed() < Duration::from_secs(3), "{protocol}: {:?}", begin.elapsed());
    }
}
