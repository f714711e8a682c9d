//! What a scripted service did is what is read from outside: times, wakers, exact sums.

use pollscope_collect::{Collector, Options};
use pollscope_model::Nanos;
use pollscope_model::event::{Event, PollOutcome, TaskEnd, Waker};
use pollscope_testkit::{Place, Service};

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// All facts of the sessions in a place, as they stand.
fn facts(place: &Place) -> Vec<Event> {
    let options = Options { dirs: vec![place.path().to_owned()], ..Options::default() };
    let mut collector = Collector::new(options);
    collector.discover();
    let mut facts = Vec::new();
    for _ in 0..1000 {
        if !collector.round(&mut |_, event| facts.push(event)).more {
            break;
        }
    }
    facts
}

fn end_of<'a>(facts: &'a [Event], name: &str) -> &'a TaskEnd {
    facts
        .iter()
        .find_map(|event| match event {
            Event::TaskEnded(end) if end.birth.name.as_deref() == Some(name) => Some(end),
            _ => None,
        })
        .unwrap_or_else(|| panic!("no end of {name}"))
}

/// Within a fifth, and a few milliseconds for a busy machine.
#[track_caller]
fn about(measured: Nanos, milliseconds: u64) {
    let expected = milliseconds * 1_000_000;
    let slack = expected / 5 + 15_000_000;
    assert!(
        measured.0 + 1_000_000 >= expected && measured.0 <= expected + slack,
        "{measured} is not about {milliseconds} ms"
    );
}

#[test]
fn sleeping_blocking_and_waiting_are_told_apart() {
    let place = Place::new();
    let mut service = Service::start(SCRIPTED, &place, &["times"]);
    service.ready();
    let facts = facts(&place);

    let sleeper = end_of(&facts, "sleeper");
    about(sleeper.totals.idle, 50);
    assert!(sleeper.totals.busy < Nanos(5_000_000), "{:?}", sleeper.totals);

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

    let sums = facts.iter().filter_map(|event| match event {
        Event::TaskEnded(end) => Some(end),
        _ => None,
    });
    for end in sums {
        let totals = &end.totals;
        let lifetime = end.ended.since(end.birth.born);
        assert_eq!(totals.busy + totals.scheduled + totals.idle, lifetime, "{:?}", end.birth.name);
    }
    assert!(service.finish().success());
}
