//! Tasks, wakers and jobs in every place that they can be in, read from outside.

mod common;

use common::facts::{about, alone, end_of, facts, how_it_ended, sums_are_lifetimes};
use pollscope_model::event::{
    Event, Poll, PollOutcome, SessionEnd, TaskId, TaskKind, TaskOutcome, ThreadKind, Waker,
};
use pollscope_testkit::{Place, Service};
use std::collections::BTreeMap;

/// Plays a scenario to its end; what is read then.
fn played(scenario: &str) -> Vec<Event> {
    let _alone = alone();
    let place = Place::new();
    let mut service = Service::start(env!("CARGO_BIN_EXE_tasked"), &place, &[scenario]);
    service.ready();
    assert!(service.finish().success());
    let facts = facts(&place);
    assert_eq!(how_it_ended(&facts), Some(SessionEnd::Closed));
    let lost: u64 =
        facts.iter().map(|event| if let Event::Lost { records, .. } = event { *records } else { 0 }).sum();
    assert_eq!(lost, 0);
    facts
}

fn polls(facts: &[Event], of: TaskId) -> Vec<&Poll> {
    let polls = facts.iter().filter_map(|event| match event {
        Event::Polled(poll) if poll.task == of => Some(poll),
        _ => None,
    });
    polls.collect()
}

/// Who woke a task for its last poll.
fn last_waker(facts: &[Event], name: &str) -> Option<Waker> {
    let polls = polls(facts, end_of(facts, name).birth.task);
    polls.last().expect("it was polled").woken_by
}

/// All jobs by name: thread, outcome, and time.
fn jobs(facts: &[Event]) -> Vec<(String, &Event)> {
    let jobs = facts.iter().filter_map(|event| match event {
        Event::Job { name: Some(name), .. } => Some((name.to_string(), event)),
        _ => None,
    });
    jobs.collect()
}

#[test]
fn every_way_to_spawn_is_recorded() {
    let facts = played("builders");
    sums_are_lifetimes(&facts);
    let parent = end_of(&facts, "parent").birth.task;
    for name in ["spawn", "spawn_on"] {
        let end = end_of(&facts, name);
        assert_eq!((end.birth.kind, end.birth.parent), (TaskKind::Spawned, Some(parent)), "{name}");
        assert_eq!(end.outcome, TaskOutcome::Finished, "{name}");
        assert!(end.birth.location.file.ends_with("bin/tasked.rs") && end.birth.location.line > 50, "{name}");
        assert!(end.birth.future.contains("builders"), "{name}: {}", end.birth.future);
        let polls = polls(&facts, end.birth.task);
        assert_eq!(polls.last().map(|poll| poll.outcome), Some(PollOutcome::Ready), "{name}");
    }
    assert!(end_of(&facts, "spawn").birth.size >= 100, "the array is in the future");
    for name in ["spawn_local", "spawn_local_on"] {
        assert_eq!(end_of(&facts, name).birth.kind, TaskKind::Local, "{name}");
    }
    for name in ["spawn_blocking", "spawn_blocking_on"] {
        let of: Vec<_> = jobs(&facts).into_iter().filter(|(job, _)| job == name).collect();
        assert_eq!(of.len(), 1, "{name}");
        let Event::Job { parent: by, outcome, busy, .. } = of[0].1 else { unreachable!() };
        assert_eq!((*by, *outcome), (Some(parent), TaskOutcome::Finished), "{name}");
        if name == "spawn_blocking" {
            about(*busy, 10);
        }
    }
}

#[test]
fn a_future_is_a_task_on_a_runtime_that_nobody_knows() {
    let facts = played("foreign");
    sums_are_lifetimes(&facts);
    let (outer, inner) = (end_of(&facts, "foreign"), end_of(&facts, "inside"));
    assert_eq!((outer.birth.kind, outer.totals.polls), (TaskKind::Wrapped, 2));
    about(outer.totals.idle, 50);
    about(outer.totals.nested, 10);
    assert_eq!(inner.birth.parent, Some(outer.birth.task));
    assert!(matches!(last_waker(&facts, "foreign"), Some(Waker::Thread(_))));
}

#[test]
fn wakers_are_told_apart() {
    let facts = played("wakers");
    sums_are_lifetimes(&facts);
    for name in ["by timer", "by io"] {
        let waker = last_waker(&facts, name);
        assert!(matches!(waker, Some(Waker::Driver(_))), "{name}: {waker:?}");
    }
    let waker = last_waker(&facts, "by thread");
    assert!(matches!(waker, Some(Waker::Thread(_))), "{waker:?}");
    let ringer = end_of(&facts, "ringer").birth.task;
    assert_eq!(last_waker(&facts, "by task"), Some(Waker::Task(ringer)));

    // The runtime woke it between two polls: nobody can say more.
    assert_eq!(last_waker(&facts, "by yield"), Some(Waker::Unknown));

    let itself = end_of(&facts, "by itself");
    assert_eq!((itself.totals.polls, itself.totals.self_wakes, itself.totals.wakes), (3, 2, 0));
    assert_eq!(last_waker(&facts, "by itself"), Some(Waker::Itself));
    let outcomes: Vec<_> = polls(&facts, itself.birth.task).iter().map(|poll| poll.outcome).collect();
    assert_eq!(outcomes, [PollOutcome::Pending, PollOutcome::Pending, PollOutcome::Ready]);

    let often = end_of(&facts, "woken often");
    assert_eq!((often.totals.polls, often.totals.wakes), (2, 5));
    assert_eq!(polls(&facts, often.birth.task)[1].wakes, 5);
}

#[test]
fn clones_and_drops_of_a_waker_are_counted_exactly() {
    let facts = played("counts");
    let counted = end_of(&facts, "counted").totals;
    assert_eq!((counted.waker_clones, counted.waker_drops), (7, 6));
}

#[test]
fn block_on_inside_a_task_is_a_part_of_its_poll() {
    let facts = played("blocking_inside");
    sums_are_lifetimes(&facts);
    let outer = end_of(&facts, "outer");
    about(outer.totals.busy, 40);
    about(outer.totals.nested, 10);
    about(end_of(&facts, "inner").totals.busy, 10);
    assert_eq!(end_of(&facts, "inner").birth.parent, Some(outer.birth.task));
    assert_eq!(end_of(&facts, "child").birth.parent, Some(outer.birth.task));
}

#[test]
fn several_runtimes_are_told_apart() {
    let facts = played("runtimes");
    sums_are_lifetimes(&facts);
    let (one, many) = (end_of(&facts, "on one"), end_of(&facts, "on many"));
    assert_eq!(&*one.birth.runtime, "single");
    assert_eq!(&*many.birth.runtime, "main", "the first without a name");
    assert_eq!(&*end_of(&facts, "on named").birth.runtime, "by tokio");
    assert_eq!(&*end_of(&facts, "on foreign").birth.runtime, "foreign");
    let mut workers: BTreeMap<&str, usize> = BTreeMap::new();
    for event in &facts {
        if let Event::Thread { kind: ThreadKind::Worker, runtime: Some(runtime), .. } = event {
            *workers.entry(runtime).or_default() += 1;
        }
    }
    assert_eq!((workers.get("main"), workers.get("by tokio")), (Some(&2), Some(&1)), "{workers:?}");
    let parked =
        facts.iter().any(|event| matches!(event, Event::Parked { length, .. } if length.0 > 5_000_000));
    assert!(parked, "a worker waited for the timer");
}

#[test]
fn panics_end_what_they_unwind_through_and_nothing_else() {
    let facts = played("panics");
    sums_are_lifetimes(&facts);
    assert_eq!(end_of(&facts, "inner").outcome, TaskOutcome::Panicked);
    let outer = end_of(&facts, "outer");
    assert_eq!((outer.outcome, outer.totals.polls), (TaskOutcome::Finished, 2));
    assert_eq!(end_of(&facts, "bomb at the end").outcome, TaskOutcome::Panicked);
    assert_eq!(end_of(&facts, "bomb when dropped").outcome, TaskOutcome::Panicked);
    assert_eq!(end_of(&facts, "after all").outcome, TaskOutcome::Finished);
}

#[test]
fn destructors_of_thread_locals_find_nothing_that_panics() {
    let facts = played("destructors");
    let late = facts.iter().find_map(|event| match event {
        Event::Refused("late_events", count) => Some(*count),
        _ => None,
    });
    assert!(late.is_some_and(|count| count > 0), "events after the thread's end are counted: {late:?}");
    assert_eq!(end_of(&facts, "keeper").outcome, TaskOutcome::Finished);
}

#[test]
fn wakers_outlive_task_runtime_and_session() {
    let facts = played("outliving");
    assert_eq!(end_of(&facts, "keeper").outcome, TaskOutcome::Finished);
    let after = facts
        .iter()
        .any(|event| matches!(event, Event::TaskBorn(birth) if birth.name.as_deref() == Some("unrecorded")));
    assert!(!after, "nothing is recorded when the session is closed");
}

#[test]
fn jobs_are_recorded_on_threads_of_every_make() {
    let facts = played("workers");
    let mut names: BTreeMap<u64, (String, ThreadKind)> = BTreeMap::new();
    for event in &facts {
        if let Event::Thread { thread, kind, name, .. } = event {
            names.insert(thread.0, (name.to_string(), *kind));
        }
    }
    let mut seen = Vec::new();
    for (job, event) in jobs(&facts) {
        let Event::Job { thread, busy, outcome, location, .. } = event else { unreachable!() };
        let (name, kind) = &names[&thread.0];
        assert_eq!(*kind, ThreadKind::ThreadWorker, "{job}");
        assert!(location.file.ends_with("bin/tasked.rs"));
        if job == "panicking" {
            assert_eq!(*outcome, TaskOutcome::Panicked);
        } else {
            assert_eq!(*outcome, TaskOutcome::Finished);
            about(*busy, 10);
        }
        seen.push((job, name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned()));
    }
    seen.sort();
    let expected = [
        ("on named", "named"),
        ("on pool", "pool-"),
        ("on pool", "pool-"),
        ("on scoped", "scoped"),
        ("on unnamed", ""),
        ("panicking", ""),
    ];
    let expected: Vec<_> = expected.map(|(job, name)| (job.to_owned(), name.to_owned())).into();
    assert_eq!(seen, expected);
}

#[test]
fn a_job_that_is_given_up_before_it_began_is_cancelled() {
    let facts = played("given_up");
    let (_, job) = jobs(&facts).into_iter().find(|(name, _)| name == "given up").expect("its record");
    let Event::Job { outcome, busy, span, .. } = job else { unreachable!() };
    assert_eq!((*outcome, busy.0), (TaskOutcome::Cancelled, 0));
    let ended =
        facts.iter().any(|event| matches!(event, Event::SpanEnded(end) if Some(end.open.span) == *span));
    assert!(ended, "its span is not open for ever");
    let (_, job) = jobs(&facts).into_iter().find(|(name, _)| name == "queued").expect("its record");
    let Event::Job { outcome, queued, .. } = job else { unreachable!() };
    assert_eq!(*outcome, TaskOutcome::Finished);
    about(*queued, 40);
}

/// The wake of a poll long ago is no wake: ordinals begin anew after 256 polls.
#[test]
fn an_old_wake_is_not_taken_for_a_new_one() {
    let facts = played("many_polls");
    let of = end_of(&facts, "polled often");
    assert_eq!((of.totals.polls, of.totals.wakes + of.totals.self_wakes), (600, 1));
    let woken = polls(&facts, of.birth.task).iter().filter(|poll| poll.woken_by.is_some()).count();
    assert!(woken <= 2, "{woken} polls were woken");
    sums_are_lifetimes(&facts);
}
