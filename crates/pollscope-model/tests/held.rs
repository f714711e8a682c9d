//! Spans that a clone holds open although their task is over.

mod facts;

use facts::*;
use pollscope_model::event::*;
use pollscope_model::span::FinishedSpan;
use pollscope_model::{Limits, Model, Nanos};

const SECOND: u64 = 1_000;
/// The task that spans run in.
const TASK: TaskId = TaskId(9);

fn known(span: u64, parent: Option<u64>, opened: u64) -> SpanOpen {
    SpanOpen { ids: Some(ids(span, parent)), ..open(span, parent, opened) }
}

/// Left last at `last_exit`, after 20 ms.
fn state(last_exit: u64) -> SpanState {
    SpanState {
        task: Some(TASK),
        under_way: false,
        foreign: false,
        last_exit: Some(at(last_exit)),
        busy: ms(20),
        scheduled: ms(5),
        polls: 3,
    }
}

/// A reading of all slots and two rounds after it: what has left by then.
fn read(
    model: &mut Model,
    began: u64,
    tasks: &[TaskId],
    spans: &[(SpanOpen, SpanState)],
) -> Vec<FinishedSpan> {
    let slots = spans
        .iter()
        .flat_map(|(open, state)| [Event::SpanOpened(open.clone()), Event::SpanState(open.span, *state)]);
    apply(model, slots);
    let spans = spans.iter().map(|(open, _)| open.span).collect();
    apply(model, [Event::Alive { began: at(began), tasks: tasks.to_vec(), spans, slotless: 1 << 60 }]);
    (0..2).for_each(|_| model.end_round());
    model.take_finished(9)
}

#[test]
fn it_leaves_a_second_after_its_task_as_of_its_last_exit_and_only_once() {
    let mut model = model();
    let span = [(known(1, None, 0), state(100))];
    assert!(read(&mut model, 200, &[TASK], &span).is_empty());
    assert!(read(&mut model, 60 * SECOND, &[TASK], &span).is_empty(), "as long as its task goes on it waits");
    assert!(read(&mut model, 61 * SECOND, &[], &span).is_empty());
    assert!(read(&mut model, 62 * SECOND - 1, &[], &span).is_empty());
    let left = read(&mut model, 62 * SECOND, &[], &span).pop().expect("it leaves");
    assert_eq!((left.start, left.end, left.held), (at(0), at(100), ms(62 * SECOND - 100)));
    assert_eq!((left.busy, left.scheduled, left.idle, left.polls), (ms(20), ms(5), ms(75), 3));
    assert_eq!(
        (left.status, left.unfinished, left.detached, left.estimated),
        (Status::Unset, false, false, false)
    );
    // It is entered again, more is recorded of it, and it is closed in the end.
    let again = [(known(1, None, 0), state(70 * SECOND))];
    apply(&mut model, [attribute(1, 70 * SECOND, "late", "x")]);
    assert!(read(&mut model, 71 * SECOND, &[], &again).is_empty());
    assert!(read(&mut model, 80 * SECOND, &[], &again).is_empty());
    // Its slot is free before its end is read.
    assert!(read(&mut model, 81 * SECOND, &[], &[]).is_empty());
    apply(&mut model, [Event::SpanEnded(span_end(known(1, None, 0), 70 * SECOND, 0))]);
    assert!(read(&mut model, 82 * SECOND, &[], &[]).is_empty());
}

#[test]
fn one_that_a_stranger_enters_for_ever_leaves_as_of_its_tasks_end() {
    let mut model = model();
    assert!(read(&mut model, 500, &[], &[(known(1, None, 0), state(490))]).is_empty());
    // Entered in this moment: the time of that is not known.
    let entered = SpanState { busy: Nanos(0), ..state(1_490) };
    let left = read(&mut model, 500 + SECOND, &[], &[(known(1, None, 0), entered)]).pop().expect("it leaves");
    assert_eq!((left.end, left.held, left.estimated), (at(500), ms(SECOND), true));
}

#[test]
fn what_is_not_over_stays() {
    let states = [
        SpanState { last_exit: None, ..state(0) },
        SpanState { under_way: true, ..state(100) },
        SpanState { task: None, ..state(100) },
        SpanState { task: Some(TaskId(1 << 60 | 5)), ..state(100) },
        SpanState { foreign: true, ..state(100) },
    ];
    for state in states {
        let mut model = model();
        for began in [1, 2, 3] {
            let left = read(&mut model, began * SECOND, &[], &[(known(1, None, 0), state)]);
            assert!(left.is_empty(), "{state:?}");
        }
    }
    for source in [SpanSource::Task, SpanSource::Server, SpanSource::Client, SpanSource::Job] {
        let mut model = model();
        for began in [1, 2, 3] {
            let span = SpanOpen { source, ..known(1, None, 0) };
            assert!(read(&mut model, began * SECOND, &[], &[(span, state(100))]).is_empty(), "{source:?}");
        }
    }
}

#[test]
fn one_below_another_waits_for_that() {
    let mut model = model();
    let server = SpanOpen { source: SpanSource::Server, ..known(1, None, 0) };
    let below =
        [(server, state(100)), (known(2, Some(1), 10), state(50)), (known(3, Some(2), 20), state(40))];
    for began in [1, 2, 3] {
        assert!(read(&mut model, began * SECOND, &[], &below).is_empty(), "the response is still sent");
    }
    apply(&mut model, [Event::SpanEnded(span_end(known(1, None, 0), 3 * SECOND, 0))]);
    let ends = |left: Vec<FinishedSpan>| left.iter().map(|span| span.end).collect::<Vec<_>>();
    assert_eq!(ends(read(&mut model, 4 * SECOND, &[], &below[1..])), [at(3 * SECOND)]);
    assert_eq!(ends(read(&mut model, 5 * SECOND, &[], &below[1..])), [at(50), at(40)]);
}

#[test]
fn the_next_agent_knows_that_it_has_left() {
    let mut first = model();
    let span = [(known(1, None, 0), state(100))];
    let left: usize = [1, 2].map(|began| read(&mut first, began * SECOND, &[], &span).len()).iter().sum();
    assert_eq!(left, 1);
    let mut second = with(Limits::default());
    second.restore(SESSION, first.open_spans(SESSION));
    for began in [3, 4, 5] {
        assert!(read(&mut second, began * SECOND, &[], &span).is_empty());
    }
    apply(&mut second, [Event::SpanEnded(span_end(known(1, None, 0), 100, 0))]);
    assert!(read(&mut second, 6 * SECOND, &[], &[]).is_empty());
}
