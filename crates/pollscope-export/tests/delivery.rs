//! The whole way over the network: a pipeline, a real client, and a backend that stops and starts again.

#[path = "support/span.rs"]
mod span;
mod support;

use pollscope_export::pipeline::{Limits, Pipeline};
use pollscope_export::{Client, Signal, backoff::Backoff};
use pollscope_model::SessionId;
use pollscope_model::event::{SessionInfo, Value};
use pollscope_model::span::FinishedSpan;
use std::collections::BTreeSet;
use std::time::Duration;
use support::{Port, Receiver};

const SHOP: SessionId = SessionId(7);

fn batch_of(prefix: &str) -> Vec<FinishedSpan> {
    (0..20).map(|n| span::finished(SHOP, 1, &format!("{prefix}-{n}"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_stops_and_starts_again_gets_all_of_it() {
    for protocol in ["grpc", "http/protobuf"] {
        let port = Port::new();
        let backend = Receiver::start_at(&port.address, None, []).await;
        let config = backend.config(protocol, &[("TIMEOUT", "1000"), ("COMPRESSION", "gzip")]);
        let limits = Limits {
            batch_items: 20,
            delay: Duration::from_millis(20),
            backoff: Backoff { first: Duration::from_millis(20), longest: Duration::from_millis(100) },
            ..Limits::default()
        };
        let client = Client::new(&config).unwrap();
        let pipeline = Pipeline::start(Signal::Traces, limits, client, vec![], Box::new(|_| {}));
        let resource = vec![("service.name".into(), Value::Str("shop".into()))];
        pipeline.session(SHOP, &SessionInfo { resource, ..SessionInfo::default() });

        pipeline.add(&batch_of("before"));
        assert!(pipeline.flush(Duration::from_secs(10)).await, "{:?}", pipeline.stats());

        let mut seen = backend.stop().await;
        pipeline.add(&batch_of("meanwhile"));
        let failing = tokio::time::timeout(Duration::from_secs(10), async {
            let told =
                || pipeline.stats().last_error.is_some_and(|e| e.text.contains("start a backend there"));
            while !told() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let stats = failing.await.map(|()| pipeline.stats()).expect("nobody is there");
        assert!(stats.failing && stats.retries > 0 && stats.queued == 20, "{stats:?}");
        assert!(!pipeline.flush(Duration::from_millis(50)).await);

        let backend = Receiver::start_at(&port.address, None, []).await;
        pipeline.add(&batch_of("after"));
        assert!(pipeline.flush(Duration::from_secs(10)).await, "{:?}", pipeline.stats());
        let left = pipeline.shutdown(Duration::from_secs(1)).await;
        assert!(left.batches.is_empty() && left.in_flight.is_empty());

        seen.extend(backend.seen());
        let arrived: BTreeSet<String> =
            seen.iter().flat_map(|each| each.span_names()).map(str::to_owned).collect();
        let sent: BTreeSet<String> = ["before", "meanwhile", "after"]
            .into_iter()
            .flat_map(|prefix| (0..20).map(move |n| format!("{prefix}-{n}")))
            .collect();
        assert_eq!(arrived, sent, "{protocol}");
        assert_eq!(pipeline.stats().sent, 60);
        assert_eq!(pipeline.stats().dropped().map(|(_, spans)| spans), [0, 0]);
    }
}
