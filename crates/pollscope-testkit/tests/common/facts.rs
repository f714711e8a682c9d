//! The facts of a scripted service, as they can be read from outside.

use pollscope_collect::{Collector, Options};
use pollscope_model::Nanos;
use pollscope_model::event::{Event, SessionEnd, TaskEnd};
use pollscope_testkit::Place;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One at a time: services that spin would spoil the times of others.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All facts of the sessions in a place, as they stand.
pub fn facts(place: &Place) -> Vec<Event> {
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

pub fn end_of<'a>(facts: &'a [Event], name: &str) -> &'a TaskEnd {
    facts
        .iter()
        .find_map(|event| match event {
            Event::TaskEnded(end) if end.birth.name.as_deref() == Some(name) => Some(end),
            _ => None,
        })
        .unwrap_or_else(|| panic!("no end of {name}"))
}

/// At least that, and not much more than a busy machine adds.
#[track_caller]
pub fn about(measured: Nanos, milliseconds: u64) {
    let expected = milliseconds * 1_000_000;
    let slack = expected / 2 + 40_000_000;
    assert!(
        measured.0 + 1_000_000 >= expected && measured.0 <= expected + slack,
        "{measured} is not about {milliseconds} ms"
    );
}

/// busy + scheduled + idle = lifetime, for every task that ended.
#[track_caller]
pub fn sums_are_lifetimes(facts: &[Event]) {
    let mut ended = 0;
    for event in facts {
        let Event::TaskEnded(end) = event else { continue };
        let totals = &end.totals;
        let lifetime = end.ended.since(end.birth.born);
        assert_eq!(totals.busy + totals.scheduled + totals.idle, lifetime, "{:?}", end.birth.name);
        ended += 1;
    }
    assert!(ended > 0, "some task ended");
}

pub fn how_it_ended(facts: &[Event]) -> Option<SessionEnd> {
    facts.iter().find_map(|event| match event {
        Event::SessionEnded(end, _) => Some(*end),
        _ => None,
    })
}
