//! How much memory the model takes, as the kernel sees it.
#![cfg(target_os = "linux")]
mod common;
use common::*;
use pollscope_model::event::*;
use pollscope_model::view::{TaskFilter, TaskList, TaskSort};
use pollscope_model::{Model, Nanos};
use std::sync::Mutex;

/// The tests share one process and one number.
static ALONE: Mutex<()> = Mutex::new(());

/// Resident bytes of this process.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("the kernel tells");
    let pages: usize = statm.split(' ').nth(1).expect("it has a second number").parse().expect("a number");
    pages * 4_096
}

fn list(model: &Model, now: f64, sort: TaskSort, limit: usize) -> TaskList {
    model.tasks(at(now), &TaskFilter::default(), sort, limit)
}

fn state(task: u64, totals: TaskTotals, last_end: f64) -> Event {
    let last_end = at(last_end);
    Event::TaskState(
        TaskId(task),
        TaskState { totals, last_end, polling_since: None, woken: None, moving: false },
    )
}

fn ended(task: u64, name: &str, line: u32, born: f64, ended: f64, outcome: TaskOutcome) -> Event {
    let totals = totals(1, ended - born, 0.0, 0.0);
    Event::TaskEnded(TaskEnd { birth: birth(task, name, line, born), outcome, totals, ended: at(ended) })
}

/// The agent's budget is 100 MB for 100,000 live tasks, strings, rings and all; the model's part is checked here
/// by what the process takes.
#[test]
fn a_hundred_thousand_live_tasks_fit_the_budget() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let before = resident();
    let mut model = Model::default();
    for task in 1..=100_000u64 {
        let name: std::sync::Arc<str> = "conn".into();
        model.apply(SESSION, Event::TaskBorn(TaskBirth { name: Some(name), ..birth(task, "", 9, 0.0) }));
        model.apply(SESSION, Event::Polled(poll(task, 1.0, 1.0, 1.0)));
        model.apply(SESSION, state(task, totals(1, 1.0, 1.0, 0.0), 2.0));
    }
    model.end_round();
    let bytes = resident().saturating_sub(before);
    assert_eq!(list(&model, 9.0, TaskSort::Busy, 5).live, 100_000);
    assert!(bytes < 60_000_000, "{bytes} bytes, {} a task", bytes / 100_000);
    for task in 1..=100_000u64 {
        model.apply(SESSION, ended(task, "", 9, 0.0, 5.0, TaskOutcome::Finished));
    }
    (0..4).for_each(|_| model.end_round());
    assert_eq!(list(&model, 9.0, TaskSort::Busy, 5).live, 0);
}

/// Tasks come and go for long: what is kept does not grow.
#[test]
fn memory_does_not_grow_with_tasks_that_have_ended() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut model = Model::default();
    let mut after_a_while = 0;
    for round in 0..100u64 {
        for n in 0..500 {
            let task = round * 500 + n + 1;
            let name = format!("conn-{task}");
            model.apply(SESSION, Event::TaskBorn(birth(task, &name, 9, task as f64)));
            model.apply(SESSION, Event::Polled(poll(task, task as f64, 1.5, 0.0)));
            model
                .apply(SESSION, ended(task, &name, 9, task as f64, task as f64 + 1.5, TaskOutcome::Finished));
        }
        model.end_round();
        if round == 20 {
            after_a_while = resident();
        }
    }
    let grown = resident().saturating_sub(after_a_while);
    assert!(grown < 4_000_000, "{grown} bytes");
    let groups = model.task_groups(&TaskFilter::default());
    assert_eq!(groups.iter().map(|row| row.spawned).sum::<u64>(), 50_000);
    assert!(groups.iter().any(|row| &*row.key.label == "*" && row.spawned > 40_000));
    assert_eq!(groups.iter().map(|row| row.totals.busy).fold(Nanos(0), |sum, busy| sum + busy), ms(75_000.0));
}
