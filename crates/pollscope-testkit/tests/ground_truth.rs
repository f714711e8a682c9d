//! What a scripted service did is what is read from outside: times, wakers, exact sums.

mod common;

use common::facts::{about, alone, end_of, facts, how_it_ended, sums_are_lifetimes};
use pollscope_collect::{Collector, Options};
use pollscope_model::event::{Event, PollOutcome, SessionEnd, TaskEnd, TaskKind, TaskOutcome, Waker};
use pollscope_model::view::TaskFilter;
use pollscope_model::{Limits, Model, Nanos};
use pollscope_testkit::{Place, Service};
use std::time::Duration;

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

#[test]
fn sleeping_blocking_and_waiting_are_told_apart() {
    let _alone = alone();
    let place = Place::new();
    let mut service = Service::start(SCRIPTED, &place, &["times"]);
    service.ready();
    let facts = facts(&place);

    let sleeper = end_of(&facts, "sleeper");
    about(sleeper.totals.idle, 50);
    // Nothing but what a busy machine takes from it.
    assert!(sleeper.totals.busy < Nanos(40_000_000), "{:?}", sleeper.totals);

    let blocker = end_of(&facts, "blocker");
    about(blocker.totals.busy, 30);
    assert_eq!(blocker.totals.polls, 1);

    let hog = end_of(&facts, "hog");
    about(hog.totals.busy, 40);
    let victim = end_of(&facts, "victim");
    about(victim.totals.scheduled, 40);
    let line = victim.birth.location.line;
    assert!(victim.birth.location.file.ends_with("scripted.rs") && line > 1, "{}", victim.birth.location);

    let woken = facts.iter().find_map(|event| match event {
        Event::Polled(poll) if poll.task == victim.birth.task && poll.outcome == PollOutcome::Ready => {
            poll.woken_by
        }
        _ => None,
    });
    assert_eq!(woken, Some(Waker::Task(hog.birth.task)), "the hog woke the victim");

    sums_are_lifetimes(&facts);
    assert!(service.finish().success());
}

#[test]
fn every_fate_of_a_task_is_told() {
    let _alone = alone();
    let place = Place::new();
    let mut service = Service::start(SCRIPTED, &place, &["fates"]);
    service.ready();
    let facts = facts(&place);
    sums_are_lifetimes(&facts);

    assert_eq!(end_of(&facts, "finisher").outcome, TaskOutcome::Finished);
    let aborted = end_of(&facts, "aborted");
    assert_eq!((aborted.outcome, aborted.totals.polls), (TaskOutcome::Cancelled, 1));
    assert_eq!(end_of(&facts, "panicker").outcome, TaskOutcome::Panicked);

    let joiner = end_of(&facts, "joiner").birth.task;
    let child = facts.iter().find_map(|event| match event {
        Event::Joined { joiner: by, joined, .. } if *by == joiner => Some(*joined),
        _ => None,
    });
    let child = child.expect("the set's child was joined");
    let born = facts.iter().find_map(|event| match event {
        Event::TaskBorn(birth) if birth.task == child => birth.parent,
        _ => None,
    });
    assert_eq!(born, Some(joiner), "the child's parent is the task that spawned it");

    let (outer, inner) = (end_of(&facts, "outer"), end_of(&facts, "inner"));
    assert_eq!(inner.birth.kind, TaskKind::Wrapped);
    assert_eq!(inner.birth.parent, Some(outer.birth.task));
    about(inner.totals.busy, 20);
    about(outer.totals.busy, 30);
    about(outer.totals.nested, 20);

    let local =
        facts.iter().any(|event| matches!(event, Event::TaskEnded(end) if end.birth.kind == TaskKind::Local));
    assert!(local, "a local task ended");
    assert_eq!(end_of(&facts, "outlived").outcome, TaskOutcome::Finished);
    let job = facts.iter().find_map(|event| match event {
        Event::Job { busy, location, .. } if location.file.ends_with("scripted.rs") => Some(*busy),
        _ => None,
    });
    about(job.expect("the closure on the blocking pool is a job"), 15);
    assert!(service.finish().success());
    assert_eq!(how_it_ended(&self::facts(&place)), Some(SessionEnd::Closed));
}

#[test]
fn a_runtime_in_a_thread_local_drops_its_tasks_in_peace() {
    let _alone = alone();
    let place = Place::new();
    let mut service = Service::start(SCRIPTED, &place, &["thread_local_runtime"]);
    service.ready();
    assert!(service.finish().success());
    let facts = facts(&place);
    let born = facts
        .iter()
        .any(|event| matches!(event, Event::TaskBorn(birth) if birth.name.as_deref() == Some("held")));
    assert!(born);
}

#[test]
fn a_service_that_exits_says_so() {
    let _alone = alone();
    let place = Place::new();
    let mut service = Service::start(SCRIPTED, &place, &["exit"]);
    service.ready();
    assert_eq!(service.finish().code(), Some(3));
    let facts = facts(&place);
    end_of(&facts, "before");
    assert_eq!(how_it_ended(&facts), Some(SessionEnd::Exited));
}

#[test]
fn a_killed_service_leaves_the_poll_under_way_and_its_open_spans() {
    let _alone = alone();
    let place = Place::new();
    let mut service = Service::start(SCRIPTED, &place, &["stuck"]);
    service.ready();
    service.kill();
    let facts = facts(&place);
    assert_eq!(how_it_ended(&facts), Some(SessionEnd::Died));
    let polling = facts.iter().find_map(|event| match event {
        Event::TaskState(task, state) if state.polling_since.is_some() => Some(*task),
        _ => None,
    });
    let stuck = facts.iter().find_map(|event| match event {
        Event::TaskBorn(birth) if birth.name.as_deref() == Some("stuck") => Some(birth.task),
        _ => None,
    });
    assert!(stuck.is_some() && polling == stuck, "{polling:?} was being polled, not {stuck:?}");
    let mut open: Vec<&str> = facts
        .iter()
        .filter_map(|event| match event {
            Event::SpanOpened(open) if open.ids.is_some() => Some(&*open.callsite.name),
            _ => None,
        })
        .collect();
    open.sort_unstable();
    assert_eq!(open, ["inner", "outer"], "from their slots, with ids");
}

#[test]
fn ten_thousand_threads_stay_within_few_slots() {
    let _alone = alone();
    let place = Place::new();
    let mut service = Service::start(SCRIPTED, &place, &["threads", "10000"]);
    service.ready();
    let sessions = place.sessions();
    let files = std::fs::read_dir(&sessions[0]).unwrap();
    let rings =
        files.flatten().filter(|file| file.file_name().to_string_lossy().starts_with("rings-")).count();
    assert!(rings <= 4, "{rings} files of rings");
    let facts = facts(&place);
    let (mut read, mut lost) = (0, 0);
    let mut jobs = 0;
    for event in &facts {
        match event {
            Event::Read { records, .. } => read += records,
            Event::Lost { records, .. } => lost += records,
            Event::Job { .. } => jobs += 1,
            _ => {}
        }
    }
    // Each thread: two THREAD records and one job.
    assert_eq!((read + lost) / 3, 10_000, "{read} read and {lost} lost are all that was written");
    assert!(jobs > 0);
    assert!(service.finish().success());
}

#[test]
fn off_means_plain_tokio_and_no_session() {
    let _alone = alone();
    let place = Place::new();
    let mut service = Service::start_with(SCRIPTED, &place, &["fates"], &[("POLLSCOPE", "off")]);
    service.ready();
    assert!(place.sessions().is_empty());
    assert!(service.finish().success());
}

#[test]
fn a_service_without_a_place_runs_unrecorded() {
    let _alone = alone();
    let place = Place::new();
    let nowhere = "/proc/no-such-place";
    let environment =
        [("POLLSCOPE_DIR", nowhere), ("XDG_RUNTIME_DIR", nowhere), ("POLLSCOPE_MAX_TASKS", "3")];
    let mut service = Service::start_with(SCRIPTED, &place, &["times"], &environment);
    service.ready();
    assert!(service.finish().success());
}

#[test]
fn tasks_beyond_the_limit_run_unrecorded_and_are_counted() {
    let _alone = alone();
    let place = Place::new();
    let environment = [("POLLSCOPE_MAX_TASKS", "100")];
    let mut service = Service::start_with(SCRIPTED, &place, &["tasks", "1000"], &environment);
    service.ready();
    let refused = facts(&place).into_iter().find_map(|event| match event {
        Event::Refused("tasks_refused", count) => Some(count),
        _ => None,
    });
    assert!(refused.is_some_and(|count| count >= 900), "{refused:?}");
    assert!(service.finish().success());
}

#[test]
fn a_spin_loses_polls_but_no_span() {
    let _alone = alone();
    let place = Place::new();
    // Room for all spans, and for less than 20,000 of the spinner's 100,000 polls.
    let environment = [("POLLSCOPE_RING_BYTES", "1048576")];
    let mut service = Service::start_with(SCRIPTED, &place, &["spin", "1600"], &environment);
    service.ready();
    let facts = facts(&place);
    let (mut spans, mut lost_polls, mut lost_spans) = (0, 0, 0);
    for event in &facts {
        match event {
            Event::SpanEnded(_) => spans += 1,
            Event::Lost { class: pollscope_model::event::Class::Polls, records, .. } => lost_polls += records,
            Event::Lost { class: pollscope_model::event::Class::SpanEnds, records, .. } => {
                lost_spans += records
            }
            _ => {}
        }
    }
    assert_eq!((spans, lost_spans), (1600, 0), "spans have rings of their own");
    assert!(lost_polls > 0, "the spinner overran its ring");
}

/// Stable tokio shows only what is spawned through pollscope; with `tokio_unstable` a library's tasks are seen
/// too, and none twice.
#[test]
fn a_librarys_task_is_seen_where_the_runtime_has_hooks() {
    let _alone = alone();
    let place = Place::new();
    let mut service = Service::start(SCRIPTED, &place, &["unwrapped"]);
    service.ready();
    let facts = facts(&place);
    about(end_of(&facts, "own").totals.busy, 30);
    let ends: Vec<&TaskEnd> = facts
        .iter()
        .filter_map(|event| match event {
            Event::TaskEnded(end) if end.birth.location.file.ends_with("scripted.rs") => Some(end),
            _ => None,
        })
        .collect();
    if cfg!(tokio_unstable) {
        assert_eq!(ends.len(), 2, "the wrapped one once, the library's once");
        let hooked = ends.iter().find(|end| end.birth.kind == TaskKind::Hooked).expect("the hooks saw one");
        about(hooked.totals.busy, 30);
        assert_eq!((hooked.totals.polls, hooked.outcome), (2, TaskOutcome::Finished));
    } else {
        assert_eq!(ends.len(), 1);
    }
    assert!(service.finish().success());
}

/// At most three tasks are alive at a time, and thousands come and go between two readings: their births may be
/// read and their ends overwritten.
#[test]
fn tasks_whose_ends_were_lost_do_not_pile_up() {
    let _alone = alone();
    let place = Place::new();
    let environment = [("POLLSCOPE_RING_BYTES", "65536")];
    let mut service = Service::start_with(SCRIPTED, &place, &["busy"], &environment);
    service.ready();
    let options = Options { dirs: vec![place.path().to_owned()], ..Options::default() };
    let mut collector = Collector::new(options);
    collector.discover();
    let mut model = Model::new(Limits::default());
    let vanished = |model: &Model| -> u64 {
        model.task_groups(&TaskFilter::default()).iter().map(|group| group.vanished).sum()
    };
    let mut lost = 0;
    // Until it happened; a machine that is busy with other things needs longer.
    for turn in 0..2000 {
        lost += collector.round(&mut |session, event| model.apply(session, event)).lost;
        if turn % 5 == 4 {
            collector.slots(&mut |session, event| model.apply(session, event));
        }
        model.end_round();
        if turn >= 20 && vanished(&model) > 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(lost > 0, "the rings were overrun");
    assert!(vanished(&model) > 0, "some lost their end");
    collector.slots(&mut |session, event| model.apply(session, event));
    let live: u64 = model.task_groups(&TaskFilter::default()).iter().map(|group| group.live).sum();
    assert!(live <= 8, "{live} alive");
}
