//! Which tasks of a trace are spans of it, and for how long.

mod common;

use common::{finished, named, value};
use pollscope_model::event::Value;
use pollscope_model::span::FinishedSpan;
use pollscope_testkit::{Place, Service};

fn run(environment: &[(&str, &str)]) -> Vec<FinishedSpan> {
    let place = Place::new();
    let mut service = Service::start_with(env!("CARGO_BIN_EXE_traced"), &place, &["detached"], environment);
    service.ready();
    assert!(service.finish().success());
    finished(&place)
}

#[test]
fn what_a_task_opens_after_its_root_begins_traces_that_link_back() {
    let spans = run(&[]);
    let request = named(&spans, "request");
    let task = named(&spans, "goes on");
    assert_eq!((task.ids.trace, task.ids.parent), (request.ids.trace, Some(request.ids.span)));
    assert!(task.detached && !request.detached);
    assert_eq!(named(&spans, "in time").ids.parent, Some(task.ids.span));
    for late in [named(&spans, "too late"), named(&spans, "late task")] {
        assert_eq!(late.ids.parent, None, "{}", late.name);
        assert_ne!(late.ids.trace, request.ids.trace, "{}", late.name);
        assert_eq!(late.links, [(task.ids.trace, task.ids.span)], "{}", late.name);
        assert!(!late.detached);
    }
    assert_eq!(named(&spans, "below it").ids.parent, Some(named(&spans, "late task").ids.span));
}

#[test]
fn tasks_beyond_the_limit_are_counted_on_their_parent() {
    let spans = run(&[("POLLSCOPE_MAX_TASK_SPANS", "4")]);
    let crowd = named(&spans, "crowd");
    let tasks: Vec<&FinishedSpan> = spans.iter().filter(|span| &*span.name == "one of many").collect();
    assert_eq!(tasks.len(), 4);
    assert_eq!(value(crowd, "pollscope.tasks.unspanned"), Some(&Value::U64(6)));
    // What stands in a task that is no span is the parent's.
    let within = spans.iter().filter(|span| &*span.name == "within");
    let of_crowd = within.filter(|span| span.ids.parent == Some(crowd.ids.span)).count();
    assert_eq!(of_crowd, 6);
    assert!(!crowd.incomplete && value(named(&spans, "request"), "pollscope.tasks.unspanned").is_none());
}

#[test]
fn a_detached_task_is_a_root_with_a_link() {
    let spans = run(&[]);
    let (parent, apart) = (named(&spans, "parent"), named(&spans, "apart"));
    assert_eq!(apart.ids.parent, None);
    assert_ne!(apart.ids.trace, parent.ids.trace);
    assert_eq!(apart.links, [(parent.ids.trace, parent.ids.span)]);
    assert!(!apart.detached);
    assert_eq!(named(&spans, "of the one apart").ids.parent, Some(apart.ids.span));
    assert!(!spans.iter().any(|span| &*span.name == "alone"));
}
