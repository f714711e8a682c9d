//! What a service does that loses records, lies or floods: the model stays whole and within its bounds.

mod facts;

use facts::*;
use pollscope_model::event::*;
use pollscope_model::render::{Style, render_trace};
use pollscope_model::traces::{TraceLimits, Traces};
use pollscope_model::{Limits, Model, Nanos};
use std::sync::Arc;

fn with_ids(span: u64, parent: Option<u64>, opened: u64) -> SpanOpen {
    SpanOpen { ids: Some(ids(span, parent)), ..open(span, parent, opened) }
}

fn rounds(model: &mut Model, count: usize) {
    (0..count).for_each(|_| model.end_round());
}

#[test]
fn slotless_spans_whose_ends_were_lost_make_room() {
    const SLOTLESS: u64 = 0xff;
    let mut model = with(Limits { open_spans: 3, ..Limits::default() });
    for n in 1..=3u64 {
        apply(&mut model, [Event::SpanOpened(open(n << 8 | SLOTLESS, None, n))]);
    }
    apply(&mut model, [Event::Alive { began: at(1_000), tasks: vec![], spans: vec![], slotless: SLOTLESS }]);
    rounds(&mut model, 3);
    apply(&mut model, [attribute(1, 5_001, "order", "7")]);
    apply(&mut model, [Event::SpanEnded(span_end(with_ids(1, None, 5_000), 5_010, 1))]);
    rounds(&mut model, 2);
    let finished = model.take_finished(9);
    assert_eq!((finished.len(), finished[0].incomplete), (1, false));
    let session = model.session(SESSION).unwrap();
    assert_eq!((session.span_counters().evicted, session.open_span_count()), (1, 2));
    assert!(session.open_span(LocalSpanId(1 << 8 | SLOTLESS)).is_none(), "the oldest went");
}

#[test]
fn an_end_is_taken_also_when_no_other_piece_is() {
    let mut model = with(Limits { open_spans: 2, ..Limits::default() });
    apply(&mut model, (1..=2).map(|n| Event::SpanOpened(open(n, None, 1))));
    apply(&mut model, [attribute(3, 5, "order", "7")]);
    apply(&mut model, [Event::SpanEnded(span_end(with_ids(3, None, 4), 9, 1))]);
    rounds(&mut model, 2);
    let finished = model.take_finished(9);
    assert_eq!((finished.len(), finished[0].incomplete), (1, true));
    assert_eq!(model.span_counters().refused, 1);
}

#[test]
fn a_death_gives_out_all_open_spans_in_portions() {
    let mut model = with(Limits { open_spans: 10, finished_spans: 4, ..Limits::default() });
    apply(&mut model, (1..=10).map(|n| Event::SpanOpened(with_ids(n, (n > 1).then_some(1), 1))));
    apply(&mut model, [Event::SessionEnded(SessionEnd::Died, at(10))]);
    rounds(&mut model, 1);
    assert_eq!(model.finished_waiting(), 4);
    assert_eq!(model.take_finished(3).len(), 3);
    assert_eq!(model.take_finished(99).len(), 7);
    assert_eq!((model.finished_overflow(), model.session(SESSION).unwrap().open_span_count()), (0, 0));
}

#[test]
fn special_fields_have_no_limit() {
    let mut model = with(Limits { attributes: 4, ..Limits::default() });
    apply(&mut model, (0..6).map(|n| attribute(1, n, &format!("key-{n}"), "x")));
    apply(&mut model, [attribute(1, 500, "otel.status_code", "error")]);
    apply(&mut model, [Event::SpanEnded(span_end(with_ids(1, None, 0), 900, 7))]);
    rounds(&mut model, 2);
    let span = model.take_finished(9).pop().unwrap();
    assert_eq!((span.status, span.attributes.len(), span.dropped_attributes), (Status::Error, 4, 2));
}

#[test]
fn events_and_links_beyond_the_limit_are_counted_on_their_span() {
    let mut model = with(Limits { events: 2, links: 1, ..Limits::default() });
    apply(&mut model, (0..5).map(|n| event(1, n, "late")));
    let link =
        |to| Event::SpanLink { span: LocalSpanId(1), to: None, remote: Some((TraceId(9), SpanId(to))) };
    apply(&mut model, [link(1), link(2), link(2)]);
    apply(&mut model, [Event::SpanEnded(span_end(with_ids(1, None, 0), 900, 0))]);
    rounds(&mut model, 2);
    let span = model.take_finished(9).pop().unwrap();
    assert_eq!((span.events.len(), span.dropped_events), (2, 3));
    assert_eq!((span.links.len(), span.dropped_links), (1, 2));
}

#[test]
fn attributes_have_a_bound_in_bytes_and_the_ends_come_through() {
    let mut model = with(Limits { open_bytes: 100_000, ..Limits::default() });
    let long = "x".repeat(16_000);
    apply(&mut model, (1..=100).map(|n| attribute(n, n, "body", &long)));
    apply(&mut model, (1..=100).map(|n| event(n, n, &long)));
    apply(&mut model, (1..=100).map(|n| Event::SpanEnded(span_end(with_ids(n, None, 0), 900, 1))));
    rounds(&mut model, 2);
    let finished = model.take_finished(999);
    let (kept, dropped): (usize, u32) = finished.iter().fold((0, 0), |(kept, dropped), span| {
        (kept + span.attributes.len(), dropped + span.dropped_attributes)
    });
    assert_eq!((finished.len(), kept + dropped as usize), (100, 100));
    assert!((5..=8).contains(&kept), "{kept}");
    // All have left: there is room again.
    apply(&mut model, [attribute(200, 1, "body", &long)]);
    apply(&mut model, [Event::SpanEnded(span_end(with_ids(200, None, 0), 900, 1))]);
    rounds(&mut model, 2);
    assert_eq!(model.take_finished(9)[0].attributes.len(), 1);
}

#[test]
fn tasks_beyond_the_limit_are_counted() {
    let mut model = with(Limits { live_tasks: 5, ..Limits::default() });
    apply(&mut model, (1..=8).map(|n| Event::TaskBorn(birth(n, 1, n))));
    assert_eq!((model.session(SESSION).unwrap().live_tasks(), model.refused_births()), (5, 3));
    model.forget(SESSION);
    assert_eq!(model.refused_births(), 3);
}

#[test]
fn two_ids_of_a_span_commute() {
    let run = |swap: bool| {
        let mut model = model();
        let mut two = [1, 2].map(|n| Event::SpanIds(LocalSpanId(1), ids(n, None)));
        if swap {
            two.reverse();
        }
        apply(&mut model, two);
        apply(&mut model, [Event::SpanEnded(span_end(open(1, None, 0), 900, 0))]);
        rounds(&mut model, 2);
        model.take_finished(9)
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn what_could_not_be_shown_outlives_its_session() {
    let mut model = model();
    apply(&mut model, [Event::SpanEnded(span_end(open(1, None, 0), 900, 0))]);
    rounds(&mut model, 60);
    assert_eq!(model.span_counters().no_ids, 1);
    model.forget(SESSION);
    assert_eq!(model.span_counters().no_ids, 1);
}

#[test]
fn a_large_trace_keeps_its_root_and_its_length() {
    let mut traces = Traces::new(TraceLimits { spans_per_trace: 3, ..TraceLimits::default() });
    let mut model = model();
    apply(&mut model, (2..=6).map(|n| Event::SpanEnded(span_end(with_ids(n, Some(1), n), n + 1, 0))));
    apply(&mut model, [Event::SpanEnded(span_end(with_ids(1, None, 0), 900, 0))]);
    rounds(&mut model, 2);
    let service: Arc<str> = "shop".into();
    model.take_finished(99).iter().for_each(|span| traces.add(&service, span));
    let tree = traces.get(TraceId(0xabc)).unwrap();
    assert_eq!((tree.duration(), tree.dropped, tree.orphans()), (ms(900), 2, 0));
    assert_eq!(tree.root().unwrap().span.ids.parent, None);
}

#[test]
fn absurd_numbers_neither_panic_nor_wrap() {
    let mut model = model();
    let lost = Event::Lost { thread: ThreadId(1), class: Class::Polls, records: u64::MAX };
    let read = Event::Read { thread: ThreadId(1), class: Class::Others, records: u64::MAX };
    apply(&mut model, [lost.clone(), lost, read.clone(), read]);
    assert_eq!(model.session(SESSION).unwrap().records().lost(), u64::MAX);
    let most = Nanos(u64::MAX);
    let totals = TaskTotals { busy: most, scheduled: most, idle: most, ..TaskTotals::default() };
    apply(
        &mut model,
        [
            Event::TaskBorn(TaskBirth { span: Some(LocalSpanId(1)), ..birth(1, 1, 1) }),
            Event::TaskState(TaskId(1), idle(totals, 5)),
            Event::SpanOpened(SpanOpen { source: SpanSource::Task, ..with_ids(1, None, 1) }),
            Event::SessionEnded(SessionEnd::Died, at(10)),
        ],
    );
    rounds(&mut model, 1);
    let mut traces = Traces::default();
    model.take_finished(9).iter().for_each(|span| traces.add(&"shop".into(), span));
    let tree = traces.get(TraceId(0xabc)).unwrap();
    assert!(render_trace(&tree, 100, Style { unicode: true, color: false }).contains("busy"));
}
