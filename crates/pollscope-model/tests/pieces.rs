//! What a finished span says beyond its own end: late values, links, its thread, its task, what was never told.
mod common;
use common::*;
use pollscope_model::event::*;
use pollscope_model::span::FinishedSpan;
use pollscope_model::{Model, Nanos};

fn model(events: impl IntoIterator<Item = Event>) -> Model {
    let mut model = Model::default();
    model.apply(SESSION, began("shop"));
    events.into_iter().for_each(|event| model.apply(SESSION, event));
    model
}

/// The finished spans after two rounds.
fn finished(mut model: Model) -> Vec<FinishedSpan> {
    model.end_round();
    model.end_round();
    model.take_finished(10_000)
}

fn attribute(span: u64, at_ms: f64, key: &str, value: &str) -> Event {
    Event::SpanAttribute(LocalSpanId(span), at(at_ms), text(key, value))
}

#[test]
fn the_newest_value_of_a_key_stays_at_the_keys_place() {
    let span = &finished(model([
        attribute(1, 11.0, "state", "new"),
        attribute(1, 12.0, "order", "7"),
        attribute(1, 20.0, "state", "paid"),
        attribute(1, 13.0, "state", "checked"),
        Event::SpanEnded(SpanEnd { attributes: 4, ..end(open(1, 0, "place", 10.0), 30.0, 5.0, 4.0) }),
    ]))[0];
    assert_eq!(span.attributes, [text("state", "paid"), text("order", "7")]);
    assert!(!span.incomplete, "replaced values count as seen");
}

#[test]
fn what_a_clone_held_open_is_told() {
    let held = SpanEnd { closed: at(500.0), ..end(open(1, 0, "pool", 0.0), 10.0, 1.0, 0.0) };
    assert_eq!(finished(model([Event::SpanEnded(held)]))[0].held, ms(490.0));
}

#[test]
fn links_to_spans_of_the_session_are_resolved_even_if_these_have_left() {
    let mut model = model([Event::SpanEnded(end(open(1, 0, "first", 0.0), 1.0, 1.0, 0.0))]);
    (0..5).for_each(|_| model.end_round());
    let link = |to, remote| Event::SpanLink { span: LocalSpanId(2), to, remote };
    model.apply(SESSION, link(Some(LocalSpanId(1)), None));
    model.apply(SESSION, link(None, Some((TraceId(8), SpanId(9)))));
    model.apply(SESSION, link(Some(LocalSpanId(3)), None));
    model.apply(SESSION, link(Some(LocalSpanId(77)), None));
    model.apply(SESSION, Event::SpanOpened(open(3, 0, "still open", 0.0)));
    model.apply(SESSION, Event::SpanEnded(end(open(2, 0, "second", 2.0), 3.0, 1.0, 0.0)));
    model.end_round();
    model.end_round();
    assert_eq!(model.session(SESSION).expect("it began").span_counters().unresolved_links, 1);
    let links = [(TraceId(1), SpanId(100)), (TraceId(1), SpanId(300)), (TraceId(8), SpanId(9))];
    assert_eq!(model.take_finished(10)[1].links, links);
}

#[test]
fn a_job_that_is_a_span_names_its_thread() {
    let job = SpanOpen { source: SpanSource::Job, ..open(1, 0, "receipt", 0.0) };
    let spans = finished(model([
        Event::Job {
            thread: ThreadId(5),
            name: Some("receipt".into()),
            location: location(9),
            parent: None,
            span: Some(LocalSpanId(1)),
            start: at(0.0),
            busy: ms(3.0),
            queued: ms(1.0),
            outcome: TaskOutcome::Finished,
        },
        Event::SpanEnded(end(job, 3.0, 3.0, 0.0)),
        Event::Thread {
            thread: ThreadId(5),
            os_id: 4_242,
            kind: ThreadKind::ThreadWorker,
            name: "receipts-1".into(),
            runtime: None,
        },
    ]));
    assert_eq!(spans[0].thread, (4_242, "receipts-1".into()));
}

#[test]
fn beyond_the_limit_the_latest_events_go_in_whatever_order_they_came() {
    let limits = pollscope_model::Limits { events: 3, ..Default::default() };
    let mut model = Model::new(limits);
    for n in [5, 1, 4, 2, 3] {
        model.apply(
            SESSION,
            Event::SpanEvent {
                span: Some(LocalSpanId(1)),
                at: at(f64::from(n)),
                callsite: callsite("event", n),
                attributes: vec![],
                dropped_attributes: 0,
                beyond: false,
                exported: false,
            },
        );
    }
    model.apply(SESSION, Event::SpanEnded(end(open(1, 0, "place", 0.0), 9.0, 1.0, 0.0)));
    let spans = finished(model);
    let times: Vec<_> = spans[0].events.iter().map(|event| event.at).collect();
    assert_eq!(times, [at(1.0), at(2.0), at(3.0)]);
}

#[test]
fn a_task_span_that_died_keeps_what_its_slot_showed_and_others_claim_nothing() {
    let totals = totals(4, 6.0, 3.0, 11.0);
    let state = TaskState { totals, last_end: at(20.0), polling_since: None, woken: None, moving: false };
    let mut model = model([
        Event::SpanOpened(SpanOpen { source: SpanSource::Task, ..open(1, 0, "task", 0.0) }),
        Event::TaskBorn(TaskBirth { span: Some(LocalSpanId(1)), ..birth(9, "task", 3, 0.0) }),
        Event::TaskState(TaskId(9), state),
        Event::SpanOpened(open(2, 1, "inner", 5.0)),
        Event::SessionEnded(SessionEnd::Died, at(50.0)),
    ]);
    model.end_round();
    let spans = model.take_finished(10);
    let told = |span: &FinishedSpan| (span.busy, span.scheduled, span.idle, span.polls, span.estimated);
    assert_eq!(told(&spans[0]), (ms(6.0), ms(3.0), ms(11.0), 4, true));
    assert_eq!(told(&spans[1]), (Nanos(0), Nanos(0), Nanos(0), 0, true));
}

#[test]
fn an_ordinary_end_says_ended_and_letting_go_says_nothing() {
    let end_by = |how| {
        let open = Event::SpanOpened(open(1, 0, "outer", 0.0));
        finished(model([open, Event::SessionEnded(how, at(50.0))])).pop().and_then(|span| span.status_message)
    };
    assert_eq!(end_by(SessionEnd::Closed).as_deref(), Some("process ended while this span was open"));
    assert_eq!(end_by(SessionEnd::Exited).as_deref(), Some("process ended while this span was open"));
    assert_eq!(end_by(SessionEnd::Died).as_deref(), Some("process died while this span was open"));
    assert_eq!(end_by(SessionEnd::Detached), None);
}

#[test]
fn pieces_of_a_span_that_nobody_knows_are_let_go_and_counted() {
    let mut model = model([attribute(1, 1.0, "order", "7")]);
    (0..60).for_each(|_| model.end_round());
    let session = model.session(SESSION).expect("it began");
    assert_eq!((session.span_counters().orphans, session.open_spans().len()), (1, 0));
}

#[test]
fn unsampled_spans_are_kept_for_local_views() {
    let ids = Some(SpanIds { sampled: false, ..ids(1, 2, 0) });
    let unsampled = SpanOpen { ids, ..open(1, 0, "quiet", 0.0) };
    let spans = finished(model([Event::SpanEnded(end(unsampled, 1.0, 1.0, 0.0))]));
    assert!(!spans[0].ids.sampled);
}
