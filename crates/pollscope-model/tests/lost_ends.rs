//! Ends that were overwritten before they were read: the slots tell who is alive, and nobody lives for ever.
mod common;
use common::*;
use pollscope_model::event::*;
use pollscope_model::view::{GroupRow, TaskFilter, TaskSort};
use pollscope_model::{Model, SessionId};

/// Slot numbers of this length; the last one stands for "no slot".
const SLOTLESS: u64 = 0xff;

fn model(events: impl IntoIterator<Item = Event>) -> Model {
    let mut model = Model::default();
    model.apply(SESSION, began("shop"));
    events.into_iter().for_each(|event| model.apply(SESSION, event));
    model
}

/// A reading of all slots that began then.
fn alive(began: f64, tasks: &[u64], spans: &[u64]) -> Event {
    Event::Alive {
        began: at(began),
        tasks: tasks.iter().copied().map(TaskId).collect(),
        spans: spans.iter().copied().map(LocalSpanId).collect(),
        slotless: SLOTLESS,
    }
}

fn tasks(model: &Model) -> Vec<u64> {
    let list = model.tasks(at(1e3), &TaskFilter::default(), TaskSort::Age, 100);
    assert_eq!(list.live, list.rows.len());
    list.rows.iter().map(|row| row.task.0).collect()
}

fn group(model: &Model) -> GroupRow {
    let mut groups = model.task_groups(&TaskFilter::default());
    assert_eq!(groups.len(), 1);
    groups.remove(0)
}

fn born(task: u64, ms: f64) -> Event {
    Event::TaskBorn(birth(task, "order", 9, ms))
}

#[test]
fn a_task_that_left_its_slot_is_alive_no_more_and_its_end_still_counts() {
    let mut model = model([born(1, 0.0), born(2, 1.0), born(3, 60.0), born(SLOTLESS, 2.0)]);
    model.apply(SESSION, alive(50.0, &[2], &[]));
    // 1 is gone; 3 is younger than the reading, and the last one never had a slot.
    assert_eq!(tasks(&model), [2, SLOTLESS, 3]);
    model.end_round();
    let end = TaskEnd {
        birth: birth(1, "order", 9, 0.0),
        outcome: TaskOutcome::Finished,
        totals: totals(1, 40.0, 0.0, 0.0),
        ended: at(40.0),
    };
    model.apply(SESSION, Event::TaskEnded(end));
    let group = group(&model);
    assert_eq!((group.spawned, group.live, group.ended, group.vanished), (4, 3, (1, 0, 0), 0));
}

#[test]
fn an_end_that_never_comes_is_counted_as_lost() {
    let mut model = model([born(1, 0.0), born(2, 1.0)]);
    for reading in 0..3 {
        model.apply(SESSION, alive(50.0 + f64::from(reading), &[2], &[]));
        (0..5).for_each(|_| model.end_round());
    }
    let group = group(&model);
    assert_eq!((group.spawned, group.live, group.ended, group.vanished), (2, 1, (0, 0, 0), 1));
    // Nor does a late poll bring it back.
    model.apply(SESSION, Event::Polled(poll(1, 5.0, 1.0, 0.0)));
    assert_eq!(tasks(&model), [2]);
}

#[test]
fn a_task_that_one_reading_missed_is_back_with_the_next() {
    let mut model = model([born(1, 0.0), Event::Polled(poll(1, 1.0, 2.0, 1.0))]);
    model.apply(SESSION, alive(50.0, &[], &[]));
    (0..9).for_each(|_| model.end_round());
    assert_eq!((tasks(&model), group(&model).vanished), (vec![], 0));
    let totals = totals(1, 2.0, 1.0, 0.0);
    let state = TaskState { totals, last_end: at(3.0), polling_since: None, woken: None, moving: false };
    model.apply(SESSION, Event::TaskState(TaskId(1), state));
    model.apply(SESSION, alive(60.0, &[1], &[]));
    (0..9).for_each(|_| model.end_round());
    assert_eq!((tasks(&model), group(&model).live, group(&model).spawned), (vec![1], 1, 1));
}

#[test]
fn a_span_whose_end_was_lost_is_not_told_as_open_at_the_death() {
    let mut model = model([
        Event::SpanOpened(open(1, 0, "open", 0.0)),
        Event::SpanOpened(open(2, 1, "ended, but that was lost", 1.0)),
        alive(50.0, &[], &[1]),
    ]);
    assert_eq!(model.session(SESSION).expect("it began").open_span_count(), 1);
    model.apply(SESSION, Event::SessionEnded(SessionEnd::Died, at(60.0)));
    model.end_round();
    let spans = model.take_finished(10);
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["open"]);
    assert_eq!(model.session(SESSION).expect("it began").span_counters().lost_ends, 1);
}

#[test]
fn a_span_that_left_its_slot_waits_for_its_end_and_then_gives_up() {
    let lost = |session: SessionId, model: &Model| {
        let session = model.session(session).expect("it began");
        (session.span_counters().lost_ends, session.open_spans().len())
    };
    let mut model = model([Event::SpanOpened(open(1, 0, "late", 0.0)), alive(50.0, &[], &[])]);
    model.end_round();
    model.apply(SESSION, Event::SpanEnded(end(open(1, 0, "late", 0.0), 9.0, 1.0, 0.0)));
    (0..2).for_each(|_| model.end_round());
    assert_eq!(model.take_finished(10).len(), 1);
    assert_eq!(lost(SESSION, &model), (0, 0));

    model.apply(SESSION, Event::SpanOpened(open(2, 0, "never", 10.0)));
    for reading in 0..2 {
        model.apply(SESSION, alive(60.0 + f64::from(reading), &[], &[]));
        (0..5).for_each(|_| model.end_round());
    }
    assert_eq!(lost(SESSION, &model), (1, 0));
    assert!(model.take_finished(10).is_empty());
}
