//! A task spawned inside a trace is a span there, and what it opens is below it.

mod common;

use common::{exported, finished, named, shown};
use pollscope_model::Nanos;
use pollscope_model::event::{SpanSource, Status};
use pollscope_model::span::FinishedSpan;
use pollscope_testkit::{Place, Service};
use std::sync::OnceLock;

/// What the scenario `family` left, read once.
fn spans() -> &'static [FinishedSpan] {
    static SPANS: OnceLock<Vec<FinishedSpan>> = OnceLock::new();
    SPANS.get_or_init(|| {
        let place = Place::new();
        let mut service = Service::start(env!("CARGO_BIN_EXE_traced"), &place, &["family"]);
        service.ready();
        let spans = finished(&place);
        assert!(service.finish().success());
        spans
    })
}

/// The names from a span up to its root.
#[track_caller]
fn line_of(name: &str) -> Vec<&'static str> {
    let mut line = Vec::new();
    let mut next = Some(named(spans(), name));
    while let Some(span) = next {
        line.push(&*span.name);
        assert!(line.len() < 10, "{line:?}");
        next = span.ids.parent.map(|id| {
            let parent =
                spans().iter().find(|other| other.ids.span == id && other.ids.trace == span.ids.trace);
            parent.unwrap_or_else(|| panic!("no parent of {}", span.name))
        });
    }
    line
}

#[test]
fn tasks_are_children_of_the_spans_that_spawned_them() {
    assert_eq!(line_of("in the child"), ["in the child", "child", "request"]);
    assert_eq!(line_of("in the grandchild"), ["in the grandchild", "grandchild", "child", "request"]);
    assert_eq!(line_of("wrapped"), ["wrapped", "request"]);
    assert_eq!(line_of("in the job"), ["in the job", "a job", "request"]);
    assert_eq!(
        line_of("in the child of a function"),
        ["in the child of a function", "child of a function", "direct"]
    );
    assert_eq!(line_of("on another thread"), ["on another thread", "request"]);
    assert_eq!(line_of("on another thread, outside"), ["on another thread, outside"]);
    let set = line_of("in the set");
    assert_eq!((set.len(), set[0], set[2]), (3, "in the set", "request"), "{set:?}");
    let request = named(spans(), "request").ids.trace;
    assert!(spans().iter().filter(|span| span.ids.trace == request).count() >= 12, "one trace");
}

#[test]
fn what_opens_while_a_cancelled_task_is_dropped_is_below_it_and_its_busy_time() {
    assert_eq!(line_of("in the drop"), ["in the drop", "aborted", "request"]);
    let (within, aborted) = (named(spans(), "in the drop"), named(spans(), "aborted"));
    assert_eq!(within.task, aborted.task);
    assert!(aborted.cancelled && aborted.busy >= Nanos(20_000_000), "{aborted:?}");
    assert_eq!(aborted.polls, 1, "it is no poll");
    assert!(within.end <= aborted.end);
}

#[test]
fn a_poll_that_leaves_a_span_from_before_it_ends_its_own() {
    assert_eq!(line_of("leaves"), ["leaves", "left early"]);
    assert_eq!(line_of("after what was left"), ["after what was left"]);
    assert_eq!(named(spans(), "after what was left").links, [], "nor opened in what has ended");
}

#[test]
fn tasks_outside_of_any_trace_are_no_spans_and_detached_ones_begin_their_own() {
    assert!(!spans().iter().any(|span| &*span.name == "free"));
    assert_eq!(line_of("in the free"), ["in the free"]);
    assert_eq!(line_of("in the detached"), ["in the detached", "detached"]);
    let mut traces =
        ["in the free", "in the detached", "request", "direct"].map(|name| named(spans(), name).ids.trace);
    traces.sort();
    assert!(traces.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn a_task_s_span_says_where_its_time_went() {
    for name in ["child", "grandchild", "wrapped", "outliving", "aborted", "panicked"] {
        let span = named(spans(), name);
        assert_eq!(span.source, SpanSource::Task, "{name}");
        assert!(span.task.is_some() && span.polls >= 1, "{span:?}");
        assert_eq!(span.busy + span.scheduled + span.idle, span.end.since(span.start), "{name}");
        assert!(!span.estimated, "{name}");
        let out = exported(span).attributes;
        for key in [
            "pollscope.busy_ns",
            "pollscope.scheduled_ns",
            "pollscope.idle_ns",
            "pollscope.polls",
            "pollscope.task.id",
        ] {
            assert!(shown(&out, key).is_some(), "{name} {key}");
        }
        assert!(shown(&out, "code.file.path").is_some_and(|file| file.ends_with("family.rs")), "{name}");
    }
    let (child, grandchild) = (named(spans(), "child"), named(spans(), "grandchild"));
    assert!(child.busy >= Nanos(10_000_000), "{child:?}");
    // Of the 200 ms, a poll that the machine interrupts takes some.
    assert!(child.idle >= Nanos(100_000_000), "it waits for its child: {child:?}");
    assert!(grandchild.idle >= Nanos(100_000_000) && grandchild.polls >= 2, "{grandchild:?}");
    let job = named(spans(), "a job");
    assert_eq!((job.source, job.polls), (SpanSource::Job, 1));
    assert!(job.busy >= Nanos(10_000_000), "{job:?}");
}

#[test]
fn a_task_s_span_says_how_it_ended() {
    let aborted = named(spans(), "aborted");
    assert!(aborted.cancelled && aborted.status != Status::Error, "{aborted:?}");
    assert_eq!(named(spans(), "panicked").status, Status::Error);
    assert_eq!(named(spans(), "child").status, Status::Unset);
    let (request, outliving) = (named(spans(), "request"), named(spans(), "outliving"));
    assert!(outliving.end > request.end, "a task may outlive the span in which it was spawned");
    assert_eq!(outliving.ids.parent, Some(request.ids.span));
}
