//! The pipeline against a scripted backend, in paused time: minutes pass in milliseconds, and exactly.

use super::*;
use crate::answer::{Answer, SendError};
use crate::test_span;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use pollscope_model::event::Value;
use pollscope_model::span::SpanEvent;
use prost::Message;
use std::collections::VecDeque;

const SHOP: SessionId = SessionId(1);
const SECOND: Duration = Duration::from_secs(1);

/// Answers in order, then accepts. Remembers what came, and when (since the test began).
struct Backend {
    began: Instant,
    answers: Mutex<VecDeque<(Duration, Answer)>>,
    came: Mutex<Vec<(Duration, Bytes)>>,
}

#[derive(Clone)]
struct Wire(Arc<Backend>);

impl Transport for Wire {
    async fn send(&self, payload: Bytes) -> Answer {
        lock(&self.0.came).push((self.0.began.elapsed(), payload));
        let next = lock(&self.0.answers).pop_front();
        let (takes, answer) = next.unwrap_or((Duration::ZERO, Answer::Accepted));
        tokio::time::sleep(takes).await;
        answer
    }
}

impl Backend {
    fn answering(answers: impl IntoIterator<Item = Answer>) -> Arc<Backend> {
        Backend::taking(answers.into_iter().map(|answer| (Duration::ZERO, answer)))
    }

    fn taking(answers: impl IntoIterator<Item = (Duration, Answer)>) -> Arc<Backend> {
        Arc::new(Backend {
            began: Instant::now(),
            answers: Mutex::new(answers.into_iter().collect()),
            came: Mutex::default(),
        })
    }

    fn requests(&self) -> usize {
        lock(&self.came).len()
    }

    fn times(&self) -> Vec<Duration> {
        lock(&self.came).iter().map(|(at, _)| *at).collect()
    }

    /// Span ids by request, in the order of arrival.
    fn spans(&self) -> Vec<Vec<u64>> {
        lock(&self.came).iter().map(|(_, payload)| span_ids(payload)).collect()
    }
}

fn decoded(payload: &Bytes) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(payload.clone()).unwrap()
}

fn span_ids(payload: &Bytes) -> Vec<u64> {
    let spans = decoded(payload).resource_spans.into_iter().flat_map(|each| each.scope_spans);
    spans
        .flat_map(|scope| scope.spans)
        .map(|span| u64::from_be_bytes(span.span_id.try_into().unwrap()))
        .collect()
}

fn finished(id: u64) -> FinishedSpan {
    test_span::finished(SHOP, id, "work")
}

fn spans(ids: std::ops::RangeInclusive<u64>) -> Vec<FinishedSpan> {
    ids.map(finished).collect()
}

fn error() -> SendError {
    SendError { signal: Signal::Traces, endpoint: "e".into(), why: "down".into(), fix: "wait" }
}

fn down(after: Option<Duration>) -> Answer {
    Answer::Retry { after, error: error() }
}

/// Ten spans a batch, one lane, a second of delay.
fn limits() -> Limits {
    Limits { batch_items: 10, lanes: 1, ..Limits::default() }
}

fn start(backend: &Arc<Backend>, limits: Limits) -> (Pipeline, Arc<Mutex<Vec<Settled>>>) {
    start_with(backend, limits, vec![])
}

fn start_with(
    backend: &Arc<Backend>,
    limits: Limits,
    restored: Vec<Batch>,
) -> (Pipeline, Arc<Mutex<Vec<Settled>>>) {
    let settled = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&settled);
    let on_settled = Box::new(move |each| lock(&told).push(each));
    (Pipeline::start(Signal::Traces, limits, Wire(Arc::clone(backend)), restored, on_settled), settled)
}

/// Whatever went in is somewhere, once.
fn assert_all_accounted(stats: &Stats, put_in: u64) {
    let known = stats.open
        + stats.queued
        + stats.sent
        + stats.rejected
        + stats.dropped_queue_full
        + stats.dropped_refused
        + stats.unsampled;
    assert_eq!(known, put_in + stats.restored, "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_leaves_when_it_is_full_or_old() {
    let backend = Backend::answering([]);
    let (pipeline, settled) = start(&backend, limits());
    pipeline.add(&spans(1..=12));
    tokio::time::sleep(3 * SECOND).await;
    assert_eq!(backend.spans(), [(1..=10).collect::<Vec<_>>(), vec![11, 12]]);
    let times = backend.times();
    assert_eq!(times[0], Duration::ZERO, "a full batch does not wait");
    assert!(times[1] >= SECOND && times[1] < 2 * SECOND, "the rest waits for its second: {times:?}");
    let told: Vec<_> = lock(&settled).iter().map(|each| (each.id, each.items, each.how)).collect();
    assert_eq!(told, [(1, 10, Settlement::Sent { rejected: 0 }), (2, 2, Settlement::Sent { rejected: 0 })]);
    let stats = pipeline.stats();
    assert_eq!((stats.sent, stats.requests, stats.retries, stats.queued_bytes), (12, 2, 0, 0));
    assert!(stats.last_success.is_some() && stats.last_error.is_none());
}

#[tokio::test(start_paused = true)]
async fn bytes_seal_a_batch_too() {
    let backend = Backend::answering([]);
    let (pipeline, _) = start(&backend, Limits { batch_bytes: 1, ..limits() });
    pipeline.add(&spans(1..=3));
    assert!(pipeline.flush(SECOND).await);
    assert_eq!(backend.spans(), [[1], [2], [3]]);
}

fn session_info(name: &str) -> SessionInfo {
    let resource = vec![("service.name".into(), Value::Str(name.into()))];
    SessionInfo { resource, ..SessionInfo::default() }
}

/// The services that a request names.
fn services(payload: &Bytes) -> Vec<String> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue;
    let name = |resource: Resource| match resource.attributes[0].value.clone().unwrap().value.unwrap() {
        StringValue(name) => name,
        other => panic!("{other:?} is no name"),
    };
    decoded(payload).resource_spans.into_iter().map(|each| name(each.resource.unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn one_request_carries_the_services_of_all_sessions() {
    let backend = Backend::answering([]);
    let (pipeline, _) = start(&backend, limits());
    for (session, name) in [(1, "gateway"), (2, "orders")] {
        pipeline.session(SessionId(session), &session_info(name));
    }
    let mut order = finished(2);
    order.session = SessionId(2);
    pipeline.add([&finished(1), &order]);
    pipeline.forget(SessionId(2));
    assert!(pipeline.flush(SECOND).await);
    assert_eq!(services(&lock(&backend.came)[0].1), ["gateway", "orders"]);
}

#[tokio::test(start_paused = true)]
async fn late_spans_of_a_forgotten_session_have_its_resource_and_memory_is_bounded() {
    let backend = Backend::answering([]);
    let (pipeline, _) = start(&backend, limits());
    pipeline.session(SHOP, &session_info("shop"));
    pipeline.forget(SHOP);
    pipeline.add(&spans(1..=1));
    assert!(pipeline.flush(SECOND).await);
    assert_eq!(services(&lock(&backend.came)[0].1), ["shop"]);

    for session in 2..1000 {
        pipeline.session(SessionId(session), &session_info("short"));
        pipeline.forget(SessionId(session));
    }
    pipeline.add(&spans(2..=2));
    assert!(pipeline.flush(SECOND).await);
    assert_eq!(services(&lock(&backend.came)[1].1), ["unknown_service"]);
    assert!(lock(&pipeline.resources).known.len() <= FORGOTTEN);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_comes_back_is_not_forgotten() {
    let (pipeline, _) = start(&Backend::answering([]), limits());
    for _ in 0..2 * FORGOTTEN {
        pipeline.session(SHOP, &session_info("shop"));
        pipeline.forget(SHOP);
    }
    pipeline.session(SHOP, &session_info("shop"));
    let resources = lock(&pipeline.resources);
    assert_eq!((resources.known.len(), resources.forgotten.len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_down_for_a_minute_loses_nothing() {
    let backend = Backend::answering((0..6).map(|_| down(None)));
    let (pipeline, _) = start(&backend, Limits { lanes: 3, ..limits() });
    for second in 0..90 {
        pipeline.add(&spans(second * 20 + 1..=second * 20 + 20));
        tokio::time::sleep(SECOND).await;
    }
    assert!(pipeline.flush(60 * SECOND).await);
    let stats = pipeline.stats();
    assert_eq!(stats.sent, 1800);
    assert_eq!(stats.retries, 6);
    assert!(!stats.failing);
    assert_all_accounted(&stats, 1800);
    // Each span arrived in a request that was accepted: one request for each batch, and the six failed ones.
    assert_eq!(backend.requests(), 180 + 6);
    let mut arrived: Vec<u64> = backend.spans().into_iter().flatten().collect();
    arrived.sort_unstable();
    arrived.dedup();
    assert_eq!(arrived, (1..=1800).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn waits_grow_and_a_retry_is_the_same_bytes() {
    let backend = Backend::answering((0..4).map(|_| down(None)));
    let (pipeline, _) = start(&backend, limits());
    pipeline.add(&spans(1..=10));
    tokio::time::sleep(60 * SECOND).await;
    let times = backend.times();
    assert_eq!(times.len(), 5);
    for (failures, pair) in times.windows(2).enumerate() {
        let full = Duration::from_secs(1 << failures);
        let waited = pair[1] - pair[0];
        assert!(waited >= full / 2 && waited <= full + SECOND / 10, "{waited:?} of {full:?}");
    }
    let came = lock(&backend.came);
    assert!(came.iter().all(|(_, payload)| *payload == came[0].1));
}

#[tokio::test(start_paused = true)]
async fn the_servers_delay_is_obeyed_even_by_a_flush() {
    let backend = Backend::answering([down(Some(20 * SECOND))]);
    let (pipeline, _) = start(&backend, limits());
    pipeline.add(&spans(1..=10));
    tokio::time::sleep(SECOND).await;
    assert!(!pipeline.flush(10 * SECOND).await, "the server asked for 20 s");
    assert_eq!(backend.requests(), 1);
    assert!(pipeline.flush(20 * SECOND).await);
    let times = backend.times();
    assert!(times[1] >= 20 * SECOND && times[1] <= 23 * SECOND, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_flush_does_not_sit_out_our_own_wait() {
    let backend = Backend::answering((0..6).map(|_| down(None)));
    let (pipeline, _) = start(&backend, limits());
    pipeline.add(&spans(1..=10));
    while backend.requests() < 6 {
        tokio::time::sleep(SECOND).await;
    }
    let asked = backend.began.elapsed();
    assert!(pipeline.flush(SECOND).await, "the sixth wait alone is over 15 s");
    assert!(backend.times()[6] - asked < SECOND);
}

#[tokio::test(start_paused = true)]
async fn rejected_and_refused_spans_are_counted_and_never_sent_again() {
    let partial = Answer::Partial { rejected: 3, message: "too old".into() };
    let backend = Backend::answering([partial, Answer::Refused(error())]);
    let (pipeline, settled) = start(&backend, limits());
    pipeline.add(&spans(1..=30));
    assert!(pipeline.flush(SECOND).await);
    let stats = pipeline.stats();
    assert_eq!(backend.requests(), 3);
    assert_eq!((stats.sent, stats.rejected, stats.dropped_refused), (17, 3, 10));
    assert_eq!(stats.last_warning.as_ref().unwrap().text, "the backend rejects spans: too old");
    assert_eq!(stats.last_error.as_ref().unwrap().text, "cannot send spans to e: down; wait");
    assert_eq!(stats.dropped(), [("queue_full", 0), ("refused", 10)]);
    assert_all_accounted(&stats, 30);
    let told: Vec<_> = lock(&settled).iter().map(|each| each.how).collect();
    assert_eq!(
        told,
        [Settlement::Sent { rejected: 3 }, Settlement::Refused, Settlement::Sent { rejected: 0 }]
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_whole_batches_and_counts_them() {
    for (when_full, survivors) in [(WhenFull::DropOldest, [1, 4, 5]), (WhenFull::DropNewest, [1, 2, 3])] {
        // The first batch is in flight for a minute and cannot be called back.
        let backend = Backend::taking([(60 * SECOND, Answer::Accepted)]);
        let (pipeline, settled) = start(&backend, Limits { queue_items: 30, when_full, ..limits() });
        pipeline.add(&spans(1..=10));
        tokio::time::sleep(SECOND).await;
        pipeline.add(&spans(11..=50));
        assert_eq!(pipeline.unacknowledged().iter().map(|batch| batch.id).collect::<Vec<_>>(), survivors);
        let stats = pipeline.stats();
        assert_eq!((stats.dropped_queue_full, stats.in_flight), (20, 1));
        assert_all_accounted(&stats, 50);
        assert!(pipeline.flush(61 * SECOND).await);
        assert_all_accounted(&pipeline.stats(), 50);
        assert_eq!(lock(&settled).iter().filter(|each| each.how == Settlement::Dropped).count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_bound_the_queue_too() {
    let backend = Backend::answering((0..100).map(|_| down(None)));
    let (pipeline, _) = start(&backend, Limits { queue_bytes: 4000, ..limits() });
    pipeline.add(&spans(1..=500));
    let stats = pipeline.stats();
    assert!(stats.queued_bytes <= 4000 && stats.queued_bytes > 0, "{stats:?}");
    assert!(stats.dropped_queue_full > 0);
    assert_all_accounted(&stats, 500);
}

#[tokio::test(start_paused = true)]
async fn what_a_shutdown_leaves_a_restart_sends_first_under_the_same_ids() {
    let dead = Backend::taking((0..100).map(|_| (5 * SECOND, down(None))));
    let (pipeline, _) = start(&dead, limits());
    pipeline.add(&spans(1..=25));
    let left = pipeline.shutdown(2 * SECOND).await;
    assert_eq!(
        left.batches.iter().map(|batch| (batch.id, batch.items)).collect::<Vec<_>>(),
        [(1, 10), (2, 10), (3, 5)]
    );
    assert_eq!(left.in_flight, [1], "its request was under way: it may arrive twice");

    let alive = Backend::answering([]);
    let (pipeline, settled) = start_with(&alive, limits(), left.batches);
    pipeline.add(&spans(26..=35));
    assert!(pipeline.flush(SECOND).await);
    let arrived: Vec<u64> = alive.spans().into_iter().flatten().collect();
    assert_eq!(arrived, (1..=35).collect::<Vec<_>>());
    assert_eq!(lock(&settled).iter().map(|each| each.id).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_all_accounted(&pipeline.stats(), 10);
}

#[tokio::test(start_paused = true)]
async fn an_unsampled_span_is_counted_and_stays() {
    let backend = Backend::answering([]);
    let (pipeline, _) = start(&backend, limits());
    let mut quiet = finished(1);
    quiet.ids.sampled = false;
    pipeline.add([&quiet]);
    assert!(pipeline.flush(SECOND).await);
    assert_eq!((backend.requests(), pipeline.stats().unsampled), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn lanes_share_a_backend_that_is_slow_but_well() {
    let backend = Backend::taking((0..6).map(|_| (SECOND, Answer::Accepted)));
    let (pipeline, _) = start(&backend, Limits { lanes: 3, ..limits() });
    pipeline.add(&spans(1..=60));
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!(pipeline.stats().in_flight, 3);
    assert!(pipeline.flush(10 * SECOND).await);
    let last = backend.times()[5];
    assert!(last >= SECOND && last < 2 * SECOND, "two rounds of three: {last:?}");
}

/// Starts a pipeline of log records.
fn start_logs(backend: &Arc<Backend>, restored: Vec<Batch>) -> (Pipeline, Arc<Mutex<Vec<Settled>>>) {
    let settled = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&settled);
    let on_settled = Box::new(move |each| lock(&told).push(each));
    (Pipeline::start(Signal::Logs, limits(), Wire(Arc::clone(backend)), restored, on_settled), settled)
}

fn logs(numbers: std::ops::RangeInclusive<u64>) -> Vec<Log> {
    let event = |n| SpanEvent {
        at: UnixNanos(n),
        callsite: Arc::default(),
        attributes: vec![],
        dropped_attributes: 0,
    };
    numbers.map(|n| Log { session: SHOP, ids: None, event: event(n) }).collect()
}

/// The times of the log records of each request, and that they were observed later.
fn log_times(backend: &Backend) -> Vec<Vec<u64>> {
    let times = |payload: &Bytes| {
        let request = ExportLogsServiceRequest::decode(payload.clone()).unwrap();
        let records = request.resource_logs.into_iter().flat_map(|each| each.scope_logs);
        let records = records.flat_map(|scope| scope.log_records);
        records
            .map(|record| {
                assert!(record.observed_time_unix_nano > record.time_unix_nano);
                record.time_unix_nano
            })
            .collect()
    };
    lock(&backend.came).iter().map(|(_, payload)| times(payload)).collect()
}

#[tokio::test(start_paused = true)]
async fn log_records_go_the_same_way_as_spans() {
    let partial = Answer::Partial { rejected: 3, message: "too old".into() };
    let backend = Backend::answering([down(None), partial]);
    let (pipeline, settled) = start_logs(&backend, vec![]);
    pipeline.session(SHOP, &session_info("shop"));
    pipeline.add_logs(&logs(1..=12));
    tokio::time::sleep(10 * SECOND).await;
    assert!(pipeline.flush(SECOND).await);
    let full = (1..=10).collect::<Vec<_>>();
    assert_eq!(log_times(&backend), [full.clone(), full, vec![11, 12]]);
    let stats = pipeline.stats();
    assert_eq!((stats.sent, stats.rejected, stats.retries), (9, 3, 1));
    assert_eq!(stats.last_warning.as_ref().unwrap().text, "the backend rejects log records: too old");
    assert_all_accounted(&stats, 12);
    let told: Vec<_> = lock(&settled).iter().map(|each| (each.signal, each.id, each.items)).collect();
    assert_eq!(told, [(Signal::Logs, 1, 10), (Signal::Logs, 2, 2)]);
}

#[tokio::test(start_paused = true)]
async fn log_records_that_a_shutdown_leaves_a_restart_sends_first() {
    let dead = Backend::answering((0..100).map(|_| down(None)));
    let (pipeline, _) = start_logs(&dead, vec![]);
    pipeline.add_logs(&logs(1..=5));
    let left = pipeline.shutdown(SECOND).await.batches;
    assert!(left.iter().all(|batch| batch.signal == Signal::Logs));
    let alive = Backend::answering([]);
    let (pipeline, _) = start_logs(&alive, left);
    pipeline.add_logs(&logs(6..=6));
    assert!(pipeline.flush(SECOND).await);
    assert_eq!(log_times(&alive), [vec![1, 2, 3, 4, 5], vec![6]]);
}
