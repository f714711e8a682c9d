//! kill -9 at any moment: what was written can be read, what was going on is known.

mod common;

use common::facts::{alone, facts, how_it_ended};
use pollscope_model::event::{Event, LocalSpanId, SessionEnd, TaskId};
use pollscope_testkit::{Place, Service};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const KILLS: u64 = 60;

#[test]
fn at_any_moment_all_that_was_written_can_be_read() {
    let _alone = alone();
    let (mut polling, mut open) = (0, 0);
    let mut dice: u64 = 0x9e37_79b9_7f4a_7c15;
    for kill in 0..KILLS {
        let place = Place::new();
        let mut service = Service::start(env!("CARGO_BIN_EXE_scripted"), &place, &["busy"]);
        service.ready();
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros(dice >> 33 & 0x7fff));
        service.kill();

        let told = pollscope_wire::reader::swallow(&place.sessions()[0]).expect("it is a session");
        assert!(told.records > 0);
        assert_eq!((told.unknown, told.damaged, told.refused), (0, 0, 0), "kill {kill}: {told:?}");

        let facts = facts(&place);
        assert_eq!(how_it_ended(&facts), Some(SessionEnd::Died));
        polling += polled(&facts, kill);
        open += open_spans(&facts, kill);
    }
    // It is polling nearly all the time that it runs, and a span is open around nearly all that it does.
    assert!(polling >= KILLS / 10, "a task was being polled at {polling} of {KILLS} kills");
    assert!(open >= KILLS / 10, "a span was open at {open} of {KILLS} kills");
    println!("{polling} polls under way and {open} open spans at {KILLS} kills");
}

/// A crash loop that nobody watches: what is left of it stays small, and another service's session is not its to
/// remove.
#[test]
fn fifty_kills_in_a_row_leave_two_sessions_at_most() {
    let _alone = alone();
    let place = Place::new();
    let start = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut service = Service::start_with(env!("CARGO_BIN_EXE_scripted"), &place, arguments, environment);
        service.ready();
        service
    };
    start(&["stuck"], &[("OTEL_SERVICE_NAME", "other")]).kill();
    let other = place.sessions();
    for kill in 0..50 {
        let mut service = start(&["busy"], &[]);
        let sessions = place.sessions();
        assert!(sessions.len() <= 1 + 2 && sessions.starts_with(&other), "kill {kill}: {sessions:?}");
        service.kill();
    }
    let sessions = place.sessions();
    assert_eq!(sessions.len(), 1 + 2, "the newest dead one was kept: {sessions:?}");
    let left = std::fs::read_dir(place.path()).unwrap().count();
    assert_eq!(left, sessions.len(), "nothing else is left");
    for session in &sessions {
        assert!(pollscope_wire::reader::swallow(session).expect("it is a session").records > 0);
    }
}

/// Whether tasks were being polled; each must have its name.
fn polled(facts: &[Event], kill: u64) -> u64 {
    let mut names: BTreeMap<TaskId, Option<&str>> = BTreeMap::new();
    for event in facts {
        if let Event::TaskBorn(birth) = event {
            names.insert(birth.task, birth.name.as_deref());
        }
    }
    let mut any = 0;
    for event in facts {
        if let Event::TaskState(task, state) = event
            && state.polling_since.is_some()
        {
            let name = names.get(task).copied().flatten();
            assert!(matches!(name, Some("driver" | "teller")), "kill {kill}: {task:?} is {name:?}");
            any = 1;
        }
    }
    any
}

/// Whether a span was open. There is one at most in which the driver was, and one for each task that is a span.
fn open_spans(facts: &[Event], kill: u64) -> u64 {
    let ended: BTreeSet<LocalSpanId> = facts
        .iter()
        .filter_map(|event| if let Event::SpanEnded(end) = event { Some(end.open.span) } else { None })
        .collect();
    let open: BTreeMap<LocalSpanId, &str> = facts
        .iter()
        .filter_map(|event| match event {
            Event::SpanOpened(open) if !ended.contains(&open.span) => Some((open.span, &*open.callsite.name)),
            _ => None,
        })
        .collect();
    let rounds = open.values().filter(|name| **name == "round").count();
    assert!(rounds <= 2, "kill {kill}: {open:?}");
    (rounds > 0) as u64
}
