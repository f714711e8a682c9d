//! Live tasks: what they are doing, what was lost, how many there may be.
mod common;
use common::*;
use pollscope_model::event::*;
use pollscope_model::tasks::Doing;
use pollscope_model::view::{TaskFilter, TaskList, TaskRow, TaskSort};
use pollscope_model::{Limits, Model};

fn model(events: impl IntoIterator<Item = Event>) -> Model {
    let mut model = Model::default();
    model.apply(SESSION, began("shop"));
    events.into_iter().for_each(|event| model.apply(SESSION, event));
    model
}

fn list(model: &Model, now: f64, sort: TaskSort, limit: usize) -> TaskList {
    model.tasks(at(now), &TaskFilter::default(), sort, limit)
}

/// The only task at `now`.
fn row(model: &Model, now: f64) -> TaskRow {
    let mut rows = list(model, now, TaskSort::Doing, 10).rows;
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

fn state(
    task: u64,
    totals: TaskTotals,
    last_end: f64,
    polling: Option<f64>,
    woken: Option<(f64, Waker)>,
) -> Event {
    let woken = woken.map(|(time, waker)| (at(time), waker));
    let polling_since = polling.map(at);
    Event::TaskState(
        TaskId(task),
        TaskState { totals, last_end: at(last_end), polling_since, woken, moving: false },
    )
}

fn ended(task: u64, name: &str, line: u32, born: f64, ended: f64, outcome: TaskOutcome) -> Event {
    let totals = totals(1, ended - born, 0.0, 0.0);
    Event::TaskEnded(TaskEnd { birth: birth(task, name, line, born), outcome, totals, ended: at(ended) })
}

#[test]
fn a_task_is_scheduled_from_its_birth_then_idle_then_what_its_slot_shows() {
    let mut model = model([Event::TaskBorn(birth(1, "order", 9, 10.0))]);
    assert_eq!(row(&model, 12.0).doing, Doing::Scheduled(at(10.0), None));
    assert_eq!(row(&model, 12.0).totals.scheduled, ms(2.0));

    model.apply(SESSION, Event::Polled(poll(1, 12.0, 3.0, 2.0)));
    assert_eq!(row(&model, 20.0).doing, Doing::Idle(at(15.0)));
    assert_eq!(row(&model, 20.0).totals.idle, ms(5.0));
    assert_eq!(row(&model, 20.0).wakers, None, "polls do not tell how many wakers are alive");

    let first = totals(1, 3.0, 2.0, 0.0);
    model.apply(SESSION, state(1, first, 15.0, None, Some((18.0, Waker::Driver(ThreadId(3))))));
    let woken = row(&model, 20.0);
    assert_eq!(woken.doing, Doing::Scheduled(at(18.0), Some(Waker::Driver(ThreadId(3)))));
    assert_eq!((woken.totals.idle, woken.totals.scheduled), (ms(3.0), ms(4.0)));
    assert_eq!(woken.wakers, Some(0));

    model.apply(SESSION, state(1, first, 15.0, Some(19.0), None));
    assert_eq!(row(&model, 22.0).doing, Doing::Running(at(19.0)));
    assert_eq!(row(&model, 22.0).totals.busy, ms(6.0));

    // A poll that ended after the slot was read is newer than the slot.
    model.apply(SESSION, Event::Polled(poll(1, 19.0, 4.0, 1.0)));
    assert_eq!(row(&model, 30.0).doing, Doing::Idle(at(23.0)));
    assert_eq!(row(&model, 30.0).totals.polls, 2);
}

#[test]
fn lost_polls_are_in_the_sums_as_soon_as_the_slot_is_read() {
    let mut model =
        model([Event::TaskBorn(birth(1, "order", 9, 0.0)), Event::Polled(poll(1, 5.0, 1.0, 5.0))]);
    model.apply(SESSION, state(1, totals(50, 30.0, 10.0, 60.0), 100.0, None, None));
    let row = row(&model, 110.0);
    assert_eq!((row.totals.polls, row.totals.busy, row.totals.idle), (50, ms(30.0), ms(70.0)));
}

#[test]
fn what_ended_stays_ended() {
    let mut model = model([
        ended(1, "order", 9, 0.0, 5.0, TaskOutcome::Finished),
        Event::TaskBorn(birth(1, "order", 9, 0.0)),
        state(1, totals(1, 1.0, 0.0, 0.0), 2.0, None, None),
    ]);
    model.end_round();
    model.apply(SESSION, Event::Polled(poll(1, 1.0, 4.0, 0.0)));
    model.apply(SESSION, Event::TaskBorn(birth(1, "order", 9, 0.0)));
    assert_eq!(list(&model, 9.0, TaskSort::Doing, 10).live, 0);
    let groups = model.task_groups(&TaskFilter::default());
    assert_eq!((groups.len(), groups[0].spawned, groups[0].live, groups[0].ended.0), (1, 1, 0, 1));
    assert_eq!(groups[0].poll_time.count(), 1);
}

#[test]
fn polls_of_a_task_that_nobody_knows_count_as_such() {
    let mut model = model([Event::Polled(poll(1, 1.0, 4.0, 0.0))]);
    assert_eq!(model.session(SESSION).expect("it began").worst_polls().count(), 0);
    for _ in 0..5 {
        model.end_round();
    }
    let session = model.session(SESSION).expect("it began");
    assert_eq!(session.polls_of_unknown_tasks(), 1);
    assert_eq!(&*session.worst_polls().next().expect("it is kept").shape.label(), "unknown");
}

#[test]
fn what_comes_before_births_stays_within_bounds() {
    let mut model = Model::new(Limits { unplaced_polls: 100, ..Limits::default() });
    for n in 1..=10_000 {
        model.apply(SESSION, Event::Polled(poll(n, n as f64, 0.5, 0.0)));
    }
    assert_eq!(model.session(SESSION).expect("polls came").polls_of_unknown_tasks(), 9_900);
    (0..5).for_each(|_| model.end_round());
    assert_eq!(model.session(SESSION).expect("polls came").polls_of_unknown_tasks(), 10_000);
    // Room is free again.
    model.apply(SESSION, Event::Polled(poll(1, 1.0, 0.5, 0.0)));
    model.apply(SESSION, Event::TaskBorn(birth(1, "order", 9, 0.5)));
    assert_eq!(row(&model, 9.0).totals.polls, 1);
}

#[test]
fn rows_are_sorted_filtered_and_cut() {
    let mut model = model((1..=20).map(|task| {
        let name = if task % 2 == 0 { "even" } else { "odd" };
        Event::TaskBorn(birth(task, name, task as u32, task as f64))
    }));
    for task in 1..=20u64 {
        model.apply(SESSION, Event::Polled(poll(task, 100.0 + task as f64, (task * 7 % 20) as f64, 1.0)));
    }
    let tasks = |list: TaskList| list.rows.iter().map(|row| row.task.0).collect::<Vec<_>>();
    let busiest = list(&model, 300.0, TaskSort::Busy, 3);
    assert_eq!((busiest.matching, busiest.live), (20, 20));
    assert_eq!(tasks(busiest), [17, 14, 11]);
    assert_eq!(tasks(list(&model, 300.0, TaskSort::Age, 2)), [1, 2]);
    assert_eq!(tasks(list(&model, 300.0, TaskSort::Name, 2)), [2, 4]);
    assert!(tasks(list(&model, 300.0, TaskSort::Name, 0)).is_empty());
    let filter = |text: &str| TaskFilter { text: Some(text.into()), ..TaskFilter::default() };
    assert_eq!(model.tasks(at(300.0), &filter("odd"), TaskSort::Age, 100).matching, 10);
    assert_eq!(model.tasks(at(300.0), &filter("shop.rs:7"), TaskSort::Age, 100).matching, 1);
    let service = |name: &str| TaskFilter { service: Some(name.into()), ..TaskFilter::default() };
    assert_eq!(model.tasks(at(300.0), &service("shop"), TaskSort::Age, 100).matching, 20);
    assert_eq!(model.tasks(at(300.0), &service("other"), TaskSort::Age, 100).matching, 0);
    assert_eq!(list(&model, 300.0, TaskSort::Busy, 1).rows[0].future.as_ref(), "shop::work");
}

#[test]
fn coverage_counts_what_the_runtime_counts() {
    let kind = |task, kind| Event::TaskBorn(TaskBirth { kind, ..birth(task, "t", 1, 0.0) });
    let model = model([
        kind(1, TaskKind::Spawned),
        kind(2, TaskKind::Hooked),
        kind(3, TaskKind::Main),
        kind(4, TaskKind::Request),
        Event::RuntimeAlive { runtime: "main".into(), workers: 2, alive: 4, age: ms(3.0) },
        Event::RuntimeAlive { runtime: "quiet".into(), workers: 1, alive: 0, age: ms(3.0) },
    ]);
    let coverage = model.session(SESSION).expect("it began").coverage();
    assert_eq!((coverage[0].recorded, coverage[0].alive, coverage[0].share()), (2, Some(4), Some(0.5)));
    assert_eq!((&*coverage[1].runtime, coverage[1].share()), ("quiet", None));
}

#[test]
fn a_dead_session_stands_still() {
    let model = model([
        Event::TaskBorn(birth(1, "order", 9, 0.0)),
        Event::Polled(poll(1, 5.0, 1.0, 5.0)),
        Event::SessionEnded(SessionEnd::Died, at(40.0)),
    ]);
    assert_eq!(row(&model, 1e6).age, ms(40.0));
    assert_eq!(row(&model, 1e6).totals.idle, ms(34.0));
    assert_eq!(row(&model, 1e6).since(at(1e6)), ms(34.0));
}

#[test]
fn sessions_do_not_mix_and_can_be_let_go() {
    let mut model = model([Event::TaskBorn(birth(1, "order", 9, 0.0))]);
    let other = SessionId(2);
    model.apply(other, began("gateway"));
    model.apply(other, Event::TaskBorn(birth(1, "order", 9, 0.0)));
    assert_eq!(list(&model, 1.0, TaskSort::Age, 10).live, 2);
    model.forget(other);
    assert_eq!(list(&model, 1.0, TaskSort::Age, 10).live, 1);
    assert_eq!(model.sessions().count(), 1);
}
