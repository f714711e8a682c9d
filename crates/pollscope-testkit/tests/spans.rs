//! Spans as a scripted service made them, read from outside and put together by the model.

mod common;

use common::{finished, named, text, value};
use pollscope_model::Nanos;
use pollscope_model::event::{SpanSource, Status, Value};
use pollscope_model::span::SpanKind;
use pollscope_testkit::{Place, Service};

#[test]
fn spans_are_read_as_they_were_made() {
    let place = Place::new();
    let mut service = Service::start(env!("CARGO_BIN_EXE_scripted"), &place, &["spans"]);
    service.ready();
    let spans = finished(&place);
    assert!(service.finish().success());

    let root = named(&spans, "renamed");
    assert_eq!((root.kind, root.ids.parent, root.incomplete), (SpanKind::Producer, None, false));
    assert_eq!(value(root, "text"), Some(&text("words")));
    assert_eq!(value(root, "signed"), Some(&Value::I64(-3)));
    assert_eq!(value(root, "unsigned"), Some(&Value::U64(3)));
    assert_eq!(value(root, "share"), Some(&Value::F64(0.5)));
    assert_eq!(value(root, "truth"), Some(&Value::Bool(true)));
    assert_eq!(value(root, "shown"), Some(&text("Some(1)")));
    assert_eq!(value(root, "later"), Some(&text(&"x".repeat(5_000))), "over several records");
    assert_eq!(value(root, "otel.name"), None, "it has become the name");
    assert!(root.callsite.location.file.ends_with("scripted.rs"));
    assert_eq!(root.links, [(named(&spans, "other").ids.trace, named(&spans, "other").ids.span)]);
    assert_eq!(root.events.len(), 1, "from warn up");
    let message = root.events[0].attributes.iter().find(|attribute| &*attribute.key == "message");
    assert_eq!(message.map(|attribute| &attribute.value), Some(&text("something happened")));

    let direct = named(&spans, "direct");
    assert_eq!(direct.ids.parent, Some(root.ids.span), "a direct span within tracing's");
    assert_eq!((value(direct, "n"), value(direct, "double")), (Some(&Value::U64(1)), Some(&Value::U64(2))));
    assert_eq!(named(&spans, "inside").ids.parent, Some(direct.ids.span), "and the other way round");

    let failure = named(&spans, "failure");
    assert_eq!((failure.status, failure.status_message.as_deref()), (Status::Error, Some("no 2")));

    let child = named(&spans, "child");
    assert_eq!((child.source, child.ids.parent), (SpanSource::Task, Some(root.ids.span)));
    assert!(child.task.is_some() && child.polls >= 2, "{child:?}");
    assert!(child.busy >= Nanos(5_000_000) && child.idle >= Nanos(100_000_000), "{child:?}");
    assert_eq!(named(&spans, "below").ids.parent, Some(child.ids.span), "what a task opens is below it");
    assert!(spans.iter().filter(|span| span.ids.trace == root.ids.trace).count() >= 6, "one trace");

    let shared = named(&spans, "shared");
    let duration = shared.end.since(shared.start);
    assert!(
        shared.busy >= Nanos(39_000_000) && shared.busy <= duration,
        "busy {} of {duration}",
        shared.busy
    );
    for span in &spans {
        let duration = span.end.since(span.start);
        assert_eq!(span.busy + span.scheduled + span.idle, duration, "{}", span.name);
    }
}
