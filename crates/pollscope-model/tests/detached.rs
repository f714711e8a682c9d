//! Tasks that go on after the request that spawned them.

mod facts;

use facts::*;
use pollscope_model::event::*;
use pollscope_model::{Limits, Model, Nanos};

const SECOND: u64 = 1_000;

fn open_task(span: u64, parent: u64, opened: u64) -> Event {
    let open = SpanOpen { source: SpanSource::Task, ..open(span, Some(parent), opened) };
    Event::SpanOpened(SpanOpen { ids: Some(ids(span, Some(parent))), ..open })
}

fn ended(span: u64, parent: Option<u64>, opened: u64, at: u64) -> Event {
    Event::SpanEnded(span_end(SpanOpen { ids: Some(ids(span, parent)), ..open(span, parent, opened) }, at, 0))
}

/// A reading of all slots, and a round after it.
fn read(model: &mut Model, began: u64, spans: &[u64]) {
    let spans = spans.iter().map(|span| LocalSpanId(*span)).collect();
    apply(model, [Event::Alive { began: at(began), tasks: vec![TaskId(9)], spans, slotless: 1 << 60 }]);
    model.end_round();
}

/// Root 1 with task 2, which is task 9; the root is over after 100 ms.
fn gone_on() -> Model {
    let mut model = model();
    let root = SpanOpen { ids: Some(ids(1, None)), ..open(1, None, 0) };
    apply(&mut model, [Event::SpanOpened(root), open_task(2, 1, 10)]);
    let totals =
        TaskTotals { polls: 3, busy: ms(500), scheduled: ms(5), idle: ms(9_000), ..TaskTotals::default() };
    apply(
        &mut model,
        [
            Event::TaskBorn(TaskBirth { span: Some(LocalSpanId(2)), ..birth(9, 7, 10) }),
            Event::TaskState(TaskId(9), idle(totals, 60)),
            ended(1, None, 0, 100),
        ],
    );
    (0..2).for_each(|_| model.end_round());
    model
}

#[test]
fn one_that_goes_on_leaves_a_second_after_its_root_and_only_once() {
    let mut model = gone_on();
    assert_eq!(model.take_finished(9).len(), 1, "the root alone");
    read(&mut model, 100 + SECOND / 2, &[2]);
    assert!(model.take_finished(9).is_empty());
    read(&mut model, 101 + SECOND, &[2]);
    let span = model.take_finished(9).pop().expect("the task leaves");
    assert!(span.detached && !span.unfinished && span.estimated, "{span:?}");
    assert_eq!((span.ids.parent, span.status), (Some(SpanId(0x101)), Status::Unset));
    // It does not stretch the trace, and claims no more than its length.
    assert_eq!((span.start, span.end), (at(10), at(100)));
    assert_eq!((span.busy, span.scheduled, span.idle), (ms(90), Nanos(0), Nanos(0)));
    // What comes of it later is no news.
    apply(&mut model, [open_task(2, 1, 10), attribute(2, 5_000, "late", "x")]);
    read(&mut model, 6_000, &[2]);
    apply(&mut model, [ended(2, Some(1), 10, 7_000)]);
    (0..60).for_each(|_| model.end_round());
    assert!(model.take_finished(9).is_empty());
    let counters = model.span_counters();
    assert_eq!((counters.late, counters.orphans, counters.refused), (0, 0, 0));
}

#[test]
fn one_that_ends_in_time_leaves_whole() {
    let mut model = gone_on();
    let end = SpanEnd { detached: true, ..span_end(open(2, Some(1), 10), 300, 0) };
    let open = SpanOpen { ids: Some(ids(2, Some(1))), source: SpanSource::Task, ..open(2, Some(1), 10) };
    apply(&mut model, [Event::SpanEnded(SpanEnd { open, ..end })]);
    (0..2).for_each(|_| model.end_round());
    read(&mut model, 200 + SECOND, &[]);
    let spans = model.take_finished(9);
    assert_eq!(spans.len(), 2);
    assert!(spans[1].detached && spans[1].end == at(300) && !spans[1].estimated);
}

#[test]
fn a_task_of_another_root_of_that_trace_stays() {
    let mut model = gone_on();
    let other = SpanOpen { ids: Some(ids(5, None)), ..open(5, None, 0) };
    apply(&mut model, [Event::SpanOpened(other), open_task(6, 5, 20)]);
    read(&mut model, 200 + SECOND, &[2, 5, 6]);
    let left: Vec<SpanId> = model.take_finished(9).iter().map(|span| span.ids.span).collect();
    assert_eq!(left, [SpanId(0x101), SpanId(0x102)]);
}

#[test]
fn one_without_a_slot_leaves_only_once_too() {
    let mut model = gone_on();
    let id = 1 << 60 | 7;
    apply(&mut model, [open_task(id, 1, 10)]);
    read(&mut model, 200 + SECOND, &[2]);
    let left = model.take_finished(9);
    assert!(left.iter().any(|span| span.detached && span.ids.span == SpanId(0x100 + id)), "{left:?}");
    // No reading of the slots shows it, and its end comes much later.
    (3..20).for_each(|second| read(&mut model, second * SECOND, &[2]));
    apply(&mut model, [ended(id, Some(1), 10, 20_000)]);
    (0..60).for_each(|_| model.end_round());
    assert!(model.take_finished(9).is_empty());
}

#[test]
fn one_that_left_does_so_only_once_where_too_many_are_open() {
    let mut model = with(Limits { open_spans: 2, ..Limits::default() });
    let root = SpanOpen { ids: Some(ids(1, None)), ..open(1, None, 0) };
    apply(&mut model, [Event::SpanOpened(root), open_task(2, 1, 10), ended(1, None, 0, 100)]);
    (0..2).for_each(|_| model.end_round());
    read(&mut model, 200 + SECOND, &[2]);
    assert_eq!(model.take_finished(9).len(), 2);
    let more = |span| Event::SpanOpened(SpanOpen { ids: Some(ids(span, None)), ..open(span, None, 300) });
    apply(&mut model, [more(5), more(6), ended(2, Some(1), 10, 7_000)]);
    (0..2).for_each(|_| model.end_round());
    assert!(model.take_finished(9).is_empty());
}
