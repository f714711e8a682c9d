//! Facts commute: whatever order the rings of different threads are read in, and in whichever of two rounds,
//! the model ends up the same.

mod facts;

use facts::*;
use pollscope_model::Model;
use pollscope_model::event::*;
use pollscope_model::view::{TaskFilter, TaskSort};
use std::fmt::Write;

/// Two tasks that end, one that lives, one that panics; a trace of three spans, one of them linked to another.
fn history() -> Vec<Event> {
    let named = TaskBirth { name: Some("reaper".into()), ..birth(3, 30, 5) };
    let of_span = TaskBirth { span: Some(LocalSpanId(2)), parent: Some(TaskId(1)), ..birth(2, 20, 2) };
    vec![
        Event::Thread {
            thread: ThreadId(1),
            os_id: 4_001,
            kind: ThreadKind::Worker,
            name: "worker-1".into(),
            runtime: Some("main".into()),
        },
        Event::TaskBorn(birth(1, 10, 1)),
        poll(1, 1, 2, 40, 1),
        poll(1, 1, 60, 1, 3),
        end(birth(1, 10, 1), TaskOutcome::Finished, totals(2, 41, 4, 15), 61),
        Event::TaskBorn(of_span.clone()),
        poll(2, 1, 43, 2, 40),
        end(of_span, TaskOutcome::Cancelled, totals(1, 2, 40, 6), 50),
        Event::TaskBorn(named),
        poll(3, 2, 6, 1, 1),
        poll(3, 2, 9, 1, 0),
        Event::TaskState(TaskId(3), idle(totals(3, 3, 1, 10), 19)),
        Event::TaskBorn(birth(4, 40, 7)),
        Event::TaskState(TaskId(4), idle(totals(1, 1, 0, 0), 8)),
        end(birth(4, 40, 7), TaskOutcome::Panicked, totals(2, 5, 1, 3), 16),
        Event::Parked { thread: ThreadId(2), start: at(20), length: ms(30) },
        Event::ThreadEnded(ThreadId(2), at(70)),
        Event::SpanOpened(open(1, None, 1)),
        Event::SpanIds(LocalSpanId(1), ids(1, None)),
        attribute(1, 2, "order", "7"),
        attribute(1, 3, "otel.name", "POST /orders"),
        attribute(1, 9, "order", "8"),
        event(1, 5, "first"),
        event(1, 6, "second"),
        Event::SpanEnded(span_end(open(1, None, 1), 60, 3)),
        Event::SpanOpened(open(2, Some(1), 2)),
        Event::SpanEnded(span_end(open(2, Some(1), 2), 50, 0)),
        Event::SpanIds(LocalSpanId(2), ids(2, Some(1))),
        Event::SpanLink { span: LocalSpanId(3), to: Some(LocalSpanId(1)), remote: None },
        Event::SpanLink { span: LocalSpanId(3), to: None, remote: Some((TraceId(9), SpanId(9))) },
        Event::SpanEnded(span_end(SpanOpen { ids: Some(ids(3, Some(1))), ..open(3, Some(1), 4) }, 30, 1)),
        Event::Read { thread: ThreadId(1), class: Class::Polls, records: 3 },
        Event::Read { thread: ThreadId(2), class: Class::Polls, records: 2 },
        Event::Lost { thread: ThreadId(2), class: Class::SpanEnds, records: 4 },
        Event::Refused("tasks", 3),
        Event::Refused("tasks", 5),
        Event::RuntimeAlive { runtime: "main".into(), workers: 2, alive: 4, age: ms(1) },
    ]
}

/// All that the model shows, as text, and the spans that it gave out.
fn shown(model: &mut Model) -> String {
    let mut out = String::new();
    let list = model.tasks(at(100), &TaskFilter::default(), TaskSort::Age, usize::MAX);
    for row in &list.rows {
        writeln!(out, "{row:?}").unwrap();
    }
    for group in model.task_groups(&TaskFilter::default()) {
        writeln!(out, "{group:?}").unwrap();
    }
    let session = model.session(SESSION).expect("it began");
    for task in session.finished_tasks().chain(session.panicked_tasks()) {
        writeln!(out, "{task:?}").unwrap();
    }
    for noted in session.worst_polls() {
        writeln!(out, "worst {noted:?}").unwrap();
    }
    for wait in session.longest_waits() {
        writeln!(out, "waited {:?} behind {:?}", wait.waited, wait.behind).unwrap();
    }
    for thread in session.threads() {
        writeln!(out, "{thread:?}").unwrap();
    }
    let refused: Vec<_> = session.refused().collect();
    writeln!(out, "{:?} {refused:?} {:?}", session.records(), session.coverage()).unwrap();
    writeln!(out, "{:?} {}", session.span_counters(), session.polls_of_unknown_tasks()).unwrap();
    let mut finished = model.take_finished(usize::MAX);
    finished.sort_by_key(|span| span.ids.span);
    for span in finished {
        writeln!(out, "{span:?}").unwrap();
    }
    out
}

/// The facts are read in `rounds`, then rounds go on until nothing is waited for.
fn after(rounds: &[Vec<Event>]) -> String {
    let mut model = model();
    for round in rounds {
        apply(&mut model, round.iter().cloned());
        model.end_round();
    }
    (0..4).for_each(|_| model.end_round());
    shown(&mut model)
}

#[test]
fn the_history_is_shown_as_it_was() {
    let mut model = model();
    apply(&mut model, history());
    (0..2).for_each(|_| model.end_round());
    let session = model.session(SESSION).expect("it began");
    assert_eq!(session.live_tasks(), 1);
    assert_eq!(session.finished_tasks().count(), 3);
    assert_eq!(session.panicked_tasks().map(|task| task.task).collect::<Vec<_>>(), [TaskId(4)]);
    let wait = session.longest_waits().next().expect("task 2 waited");
    let behind = wait.behind.as_ref().map(|(noted, overlap)| (noted.poll.task, *overlap));
    assert_eq!((wait.waited.poll.task, behind), (TaskId(2), Some((TaskId(1), ms(39)))));
    assert_eq!(model.take_finished(9).len(), 3);
}

#[test]
fn any_order_within_a_round_gives_the_same() {
    let expected = after(&[history()]);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for nth in 0..300 {
        let mut facts = history();
        random.shuffle(&mut facts);
        let got = after(std::slice::from_ref(&facts));
        assert_eq!(got, expected, "order {nth}: {facts:#?}");
    }
}

#[test]
fn any_order_over_two_rounds_gives_the_same() {
    let expected = after(&[history()]);
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for nth in 0..300 {
        let mut facts = history();
        random.shuffle(&mut facts);
        let second = facts.split_off(random.below(facts.len() + 1));
        let rounds = [facts, second];
        assert_eq!(after(&rounds), expected, "order {nth}: {rounds:#?}");
    }
}
