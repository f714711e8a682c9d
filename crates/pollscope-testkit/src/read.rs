//! What can be read of services from outside, as the agent reads it.

use crate::Place;
use pollscope_collect::{Collector, Options};
use pollscope_model::span::FinishedSpan;
use pollscope_model::{Limits, Model};

/// Model of all sessions in a place, with what can be read of them now.
pub fn model(place: &Place) -> Model {
    model_of(place, Limits::default())
}

/// The same with limits of the test's own.
pub fn model_of(place: &Place, limits: Limits) -> Model {
    let mut collector = Collector::new(Options { dirs: vec![place.path().to_owned()], ..Options::default() });
    collector.discover();
    let mut model = Model::new(limits);
    for _ in 0..4 {
        collector.round(&mut |session, event| model.apply(session, event));
        model.end_round();
    }
    collector.slots(&mut |session, event| model.apply(session, event));
    model
}

/// All finished spans of the services in a place.
pub fn finished(place: &Place) -> Vec<FinishedSpan> {
    model(place).take_finished(usize::MAX)
}

/// The one span of this name.
#[track_caller]
pub fn named<'a>(spans: &'a [FinishedSpan], name: &str) -> &'a FinishedSpan {
    let mut found = spans.iter().filter(|span| &*span.name == name);
    let span = found.next().unwrap_or_else(|| panic!("no span {name}"));
    assert!(found.next().is_none(), "one span {name}");
    span
}
