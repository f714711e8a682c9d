//! Spans that a clone holds open: seen within seconds after their last exit, once, with how long they were held.

mod common;

use common::{named, text, value};
use opentelemetry_semantic_conventions::attribute as semconv;
use pollscope_collect::{Collector, Options};
use pollscope_model::event::Value;
use pollscope_model::span::FinishedSpan;
use pollscope_model::{Limits, Model, Nanos};
use pollscope_testkit::{Place, Service};
use std::time::{Duration, Instant};

const MS: u64 = 1_000_000;

/// Reads on as the agent does.
struct Reader {
    collector: Collector,
    model: Model,
    spans: Vec<FinishedSpan>,
}

impl Reader {
    fn read(&mut self) {
        for _ in 0..2 {
            self.collector.round(&mut |session, event| self.model.apply(session, event));
            self.collector.slots(&mut |session, event| self.model.apply(session, event));
            self.model.end_round();
        }
        self.spans.extend(self.model.take_finished(usize::MAX));
    }

    fn has(&self, name: &str) -> bool {
        self.spans.iter().any(|span| &*span.name == name)
    }
}

#[test]
fn what_is_held_is_seen_and_seen_once() {
    let place = Place::new();
    let mut service = Service::start(env!("CARGO_BIN_EXE_traced"), &place, &["held"]);
    service.ready();
    let mut collector = Collector::new(Options { dirs: vec![place.path().to_owned()], ..Options::default() });
    collector.discover();
    let mut reader = Reader { collector, model: Model::new(Limits::default()), spans: Vec::new() };
    let until = Instant::now() + Duration::from_secs(20);
    let held = ["order", "setup", "GET /held/{id}"];
    while !held.iter().all(|name| reader.has(name)) {
        reader.read();
        assert!(Instant::now() < until, "{:?}", reader.spans.iter().map(|s| &s.name).collect::<Vec<_>>());
        std::thread::sleep(Duration::from_millis(50));
    }
    for name in held {
        let span = named(&reader.spans, name);
        assert!(span.held >= Nanos(1_000 * MS) && !span.unfinished && !span.detached, "{span:?}");
        assert!(span.task.is_some() && span.polls > 0, "{span:?}");
    }
    let order = named(&reader.spans, "order");
    let length = order.end.since(order.start);
    assert!(order.busy.0 >= 5 * MS && length.0 >= 25 * MS && length.0 < 900 * MS, "its last exit: {order:?}");
    assert!(!order.estimated, "{order:?}");
    let server = named(&reader.spans, "GET /held/{id}");
    assert_eq!(value(server, semconv::HTTP_RESPONSE_STATUS_CODE), Some(&Value::U64(200)));
    assert_eq!(value(server, semconv::URL_PATH), Some(&text("/held/1")));
    let setup = named(&reader.spans, "setup");
    assert!(setup.end.since(setup.start) < Nanos(10_000 * MS), "not as long as it is held: {setup:?}");
    // One that was closed in the end says how long it was held, and one that is under way is not over.
    let brief = named(&reader.spans, "brief");
    assert!(brief.end.since(brief.start).0 < brief.held.0 && brief.held.0 >= 95 * MS, "{brief:?}");
    assert!(!reader.has("GET /sent"));

    assert!(service.finish().success());
    for _ in 0..4 {
        reader.read();
    }
    for name in ["order", "setup", "GET /held/{id}", "GET /sent", "brief"] {
        named(&reader.spans, name);
    }
    let sent = named(&reader.spans, "GET /sent");
    assert!(sent.cancelled, "its client went away: {sent:?}");
}
