//! What a summary tells, and what it must not suspect.

mod facts;

use facts::*;
use pollscope_model::Model;
use pollscope_model::event::*;
use pollscope_model::summary::{Summary, Suspicion};
use pollscope_model::traces::Traces;

const SECOND: u64 = 1_000;

fn summary(model: &Model, now: u64) -> Summary {
    model.summary(at(now), &Traces::default(), 10)
}

fn told(facts: impl IntoIterator<Item = Event>, now: u64) -> Vec<String> {
    let mut model = model();
    apply(&mut model, facts);
    model.end_round();
    summary(&model, now).suspects.iter().map(ToString::to_string).collect()
}

/// A task born then that was polled once for 1 ms and waits since, with so many clones and drops of its waker.
fn waiting(task: u64, line: u32, born: u64, clones: u64, drops: u64) -> [Event; 2] {
    let totals = TaskTotals { waker_clones: clones, waker_drops: drops, ..totals(1, 1, 0, 0) };
    [Event::TaskBorn(birth(task, line, born)), Event::TaskState(TaskId(task), idle(totals, born + 1))]
}

fn spinning(task: u64, self_wakes: u64, polls: u64) -> [Event; 2] {
    let totals = TaskTotals { self_wakes, waker_clones: 1, ..totals(polls, 900, 0, 100) };
    [Event::TaskBorn(birth(task, 50, 0)), Event::TaskState(TaskId(task), idle(totals, SECOND))]
}

#[test]
fn tasks_that_wait_and_become_more_may_leak() {
    let leak = (0..100).flat_map(|n| waiting(n + 1, 41, n * 100, 1, 0));
    assert_eq!(
        told(leak, 10 * SECOND),
        [
            "`shop::work` (shop, spawned at src/shop.rs:41) may leak: 100 of 100 spawned tasks wait and do not end, \
         the oldest for 10.0s"
        ]
    );
}

#[test]
fn a_pool_that_was_filled_once_is_no_leak() {
    let pool = (0..100).flat_map(|n| waiting(n + 1, 41, n, 1, 0));
    assert!(told(pool, 60 * SECOND).is_empty());
}

#[test]
fn few_tasks_young_ones_or_those_whose_siblings_end_are_no_leak() {
    let few = (0..49).flat_map(|n| waiting(n + 1, 41, n * 100, 1, 0));
    assert!(told(few, 10 * SECOND).is_empty());
    let young = || (0..100).flat_map(|n| waiting(n + 1, 41, n * 15, 1, 0));
    assert!(told(young(), 2 * SECOND - 1).is_empty());
    assert_eq!(told(young(), 2 * SECOND).len(), 1, "a moment later they have been watched for long enough");
    let siblings = (0..1_000).flat_map(|n| {
        let ended = end(birth(n + 1, 41, n * 10), TaskOutcome::Finished, totals(1, 1, 0, 0), n * 10 + 1);
        if n % 10 == 0 { waiting(n + 1, 41, n * 10, 1, 0).to_vec() } else { vec![ended] }
    });
    assert!(told(siblings, 10 * SECOND).is_empty());
}

#[test]
fn tasks_that_become_more_but_go_on_working_are_no_leak() {
    let connections = (0..100).flat_map(|n| {
        let state = idle(TaskTotals { waker_clones: 1, ..totals(500, 50, 0, 0) }, 9_990);
        [Event::TaskBorn(birth(n + 1, 41, n * 99)), Event::TaskState(TaskId(n + 1), state)]
    });
    assert!(told(connections, 10 * SECOND).is_empty());
}

#[test]
fn a_task_that_keeps_waking_itself_spins() {
    assert_eq!(
        told(spinning(1, 60_000, 60_010), SECOND),
        ["`shop::work` (shop, spawned at src/shop.rs:50) spins: it woke itself 60000 times in 60010 polls, \
         60000 a second"]
    );
    // Seldom for its age, seldom for its polls, too few to tell.
    assert!(told(spinning(1, 60_000, 60_010), 120 * SECOND).is_empty());
    assert!(told(spinning(1, 60_000, 200_000), SECOND).is_empty());
    assert!(told(spinning(1, 999, 999), 100).is_empty());
}

#[test]
fn tasks_that_spun_and_are_over_are_told_by_their_spawn() {
    let spun = |self_wakes| {
        (0..3).map(move |n| {
            let totals = TaskTotals { self_wakes, ..totals(500, 20, 0, 0) };
            end(birth(n + 1, 50, n * 100), TaskOutcome::Finished, totals, n * 100 + 20)
        })
    };
    assert_eq!(
        told(spun(490), SECOND),
        [
            "`shop::work` (shop, spawned at src/shop.rs:50) spun: its tasks woke themselves 1470 times in 1500 polls, \
         24500 a second"
        ]
    );
    assert!(told(spun(200), SECOND).is_empty(), "too few in all");
}

#[test]
fn the_worst_of_a_spawn_stands_for_it() {
    let mut model = model();
    apply(&mut model, [spinning(1, 5_000, 5_000), spinning(2, 9_000, 9_000)].into_iter().flatten());
    let suspects = summary(&model, SECOND).suspects;
    let Suspicion::SelfWake { task, rate, .. } = suspects[0].what else { panic!("{suspects:?}") };
    assert_eq!((suspects.len(), task, rate), (1, Some(TaskId(2)), 9_000));
}

#[test]
fn an_idle_task_whose_waker_nobody_holds_may_have_lost_a_wake() {
    assert_eq!(
        told(waiting(1, 60, 0, 3, 3), 6_001),
        [
            "`shop::work` (shop, spawned at src/shop.rs:60) may have lost a wake: idle for 6.00s, and nobody holds a \
         waker of it"
        ]
    );
    let two = waiting(1, 60, 0, 3, 3).into_iter().chain(waiting(2, 60, 2_000, 0, 0));
    assert_eq!(
        told(two, 6_001),
        [
            "`shop::work` (shop, spawned at src/shop.rs:60) may have lost wakes: 2 tasks idle, one for 6.00s, and \
         nobody holds a waker of them"
        ]
    );
}

#[test]
fn what_may_still_be_woken_or_is_not_known_is_no_lost_wake() {
    let check = |born: Event, state: Option<TaskState>, now: u64| {
        let state = state.map(|state| Event::TaskState(TaskId(1), state));
        told([Some(born), state].into_iter().flatten(), now)
    };
    let born = || Event::TaskBorn(birth(1, 60, 0));
    let unheld = || idle(TaskTotals { waker_clones: 3, waker_drops: 3, ..totals(1, 1, 0, 0) }, 1);
    assert_eq!(check(born(), Some(unheld()), 5_000).len(), 1);

    let mut held = unheld();
    held.totals.waker_drops = 2;
    assert!(check(born(), Some(held), 5_000).is_empty(), "somebody holds one");
    let woken = TaskState { woken: Some((at(2), Waker::Unknown)), ..unheld() };
    assert!(check(born(), Some(woken), 5_000).is_empty(), "it was woken");
    let running = TaskState { polling_since: Some(at(2)), ..unheld() };
    assert!(check(born(), Some(running), 5_000).is_empty(), "it runs");
    let moving = TaskState { moving: true, ..unheld() };
    assert!(check(born(), Some(moving), 5_000).is_empty(), "its counts are of different moments");
    assert!(check(born(), None, 5_000).is_empty(), "its slot was not read");
    assert!(check(born(), Some(unheld()), 900).is_empty(), "it has hardly begun to wait");
    for kind in [TaskKind::Request, TaskKind::Wrapped, TaskKind::Main, TaskKind::Hooked] {
        let other = Event::TaskBorn(TaskBirth { kind, ..birth(1, 60, 0) });
        assert!(
            check(other, Some(unheld()), 5_000).is_empty(),
            "{kind:?} is polled by others or not counted"
        );
    }
}

#[test]
fn a_dead_session_is_judged_by_the_moment_of_its_death() {
    let mut facts = waiting(1, 60, 0, 3, 3).to_vec();
    facts.push(Event::SessionEnded(SessionEnd::Died, at(500)));
    assert!(told(facts, 3_600 * SECOND).is_empty());
}

#[test]
fn polls_and_waits_are_told_once_a_spawn_with_who_was_in_front() {
    let mut model = model();
    apply(
        &mut model,
        [
            Event::TaskBorn(TaskBirth { name: Some("hog".into()), ..birth(1, 10, 0) }),
            Event::TaskBorn(birth(2, 20, 0)),
            poll(1, 1, 100, 40, 1),
            poll(1, 1, 300, 30, 0),
            poll(2, 1, 141, 1, 39),
            poll(2, 1, 200, 2, 5),
        ],
    );
    model.end_round();
    let summary = summary(&model, SECOND);
    let polls: Vec<_> = summary.worst_polls.iter().map(|poll| (poll.to_string(), poll.others)).collect();
    assert_eq!(
        polls,
        [
            ("a poll of `hog` (shop, spawned at src/shop.rs:10) held its thread for 40.0ms".to_owned(), 1),
            (
                "a poll of `shop::work` (shop, spawned at src/shop.rs:20) held its thread for 2.00ms"
                    .to_owned(),
                1
            ),
        ]
    );
    let waits: Vec<_> = summary.longest_scheduled.iter().map(ToString::to_string).collect();
    assert_eq!(
        waits,
        [
            "`shop::work` (shop, spawned at src/shop.rs:20) was ready for 39.0ms before it ran, 38.0ms of it behind a \
         poll of `hog` (shop, spawned at src/shop.rs:10)",
            "`hog` (shop, spawned at src/shop.rs:10) was ready for 1.00ms before it ran",
        ]
    );
}

#[test]
fn lists_of_several_sessions_are_merged_by_weight_and_counted_apart() {
    let mut model = model();
    for (session, busy) in [(SESSION, 7), (SessionId(8), 9)] {
        model.apply(session, Event::TaskBorn(birth(1, 10, 0)));
        model.apply(session, poll(1, 1, 10, busy, 0));
        model.apply(session, poll(1, 1, 40, 2, 0));
    }
    let polls = summary(&model, SECOND).worst_polls;
    let order: Vec<_> = polls.iter().map(|poll| (poll.who.session.0, poll.own, poll.others)).collect();
    assert_eq!(order, [(8, ms(9), 1), (7, ms(7), 1)]);
    assert_eq!(model.summary(at(SECOND), &Traces::default(), 1).worst_polls.len(), 1);
}

#[test]
fn a_panic_is_told_newest_first() {
    let mut model = model();
    for (task, ended) in [(1, 40), (2, 90)] {
        apply(&mut model, [end(birth(task, 70, 0), TaskOutcome::Panicked, totals(1, 1, 0, 0), ended)]);
    }
    let told: Vec<_> = summary(&model, SECOND).panicked.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "`shop::work` (shop, spawned at src/shop.rs:70) panicked 90.0ms after its spawn",
            "`shop::work` (shop, spawned at src/shop.rs:70) panicked 40.0ms after its spawn",
        ]
    );
}

#[test]
fn the_slowest_trace_is_told_with_its_root() {
    let mut model = model();
    let traced = |span: u64, trace: u128, ended: u64, status: Status| {
        let ids = SpanIds { trace: TraceId(trace), ..ids(span, None) };
        let callsite = Callsite { name: "POST /orders".into(), location: place(12), ..Callsite::default() };
        let open = SpanOpen { ids: Some(ids), callsite: callsite.into(), ..open(span, None, 0) };
        Event::SpanEnded(SpanEnd { status, ..span_end(open, ended, 0) })
    };
    apply(&mut model, [traced(1, 1, 10, Status::Unset), traced(2, 2, 800, Status::Error)]);
    (0..2).for_each(|_| model.end_round());
    let mut traces = Traces::default();
    for span in model.take_finished(9) {
        traces.add(&"shop".into(), &span);
    }
    let slowest = model.summary(at(SECOND), &traces, 1).slowest;
    let told: Vec<_> = slowest.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["`POST /orders` at src/shop.rs:12 took 800ms: trace 00000000000000000000000000000002, 1 \
                       span in 1 service, 1 error"]
    );
}

#[test]
fn names_of_a_service_give_the_terminal_no_orders() {
    let mut model = model();
    let nasty = TaskBirth { name: Some("\u{1b}[2Jgone".into()), ..birth(1, 10, 0) };
    apply(&mut model, [Event::TaskBorn(nasty), poll(1, 1, 10, 5, 0)]);
    let poll = summary(&model, SECOND).worst_polls[0].to_string();
    assert!(poll.starts_with("a poll of `?[2Jgone`"), "{poll}");
}
