//! `#[pollscope::instrument]` on functions of every shape and with every argument, read from outside.

mod common;

use common::{exported, finished, named, shown, text, value};
use pollscope_model::Nanos;
use pollscope_model::event::{Status, Value};
use pollscope_model::span::{FinishedSpan, SpanKind};
use pollscope_testkit::{Place, Service};
use std::sync::OnceLock;

/// What the scenario `instrumented` left, read once.
fn spans() -> &'static [FinishedSpan] {
    static SPANS: OnceLock<Vec<FinishedSpan>> = OnceLock::new();
    SPANS.get_or_init(|| {
        let place = Place::new();
        let mut service = Service::start(env!("CARGO_BIN_EXE_traced"), &place, &["instrumented"]);
        service.ready();
        let spans = finished(&place);
        assert!(service.finish().success());
        spans
    })
}

/// A span's attributes as `key=value`, in order.
#[track_caller]
fn fields(name: &str) -> Vec<String> {
    let span = named(spans(), name);
    let shown = |value: &Value| match value {
        Value::Str(text) => format!("{text:?}"),
        Value::I64(n) => format!("{n}i"),
        Value::U64(n) => format!("{n}u"),
        Value::F64(n) => format!("{n:?}"),
        Value::Bool(truth) => truth.to_string(),
    };
    span.attributes.iter().map(|each| format!("{}={}", each.key, shown(&each.value))).collect()
}

#[test]
fn parameters_are_fields_by_their_value_or_their_debug() {
    assert_eq!(fields("plain"), ["number=1u", "text=\"one\"", "maybe=\"Some(2)\""]);
    assert_eq!(fields("waits"), ["length=\"200ms\""]);
    assert_eq!(fields("method"), ["self=\"Till { float: 7 }\"", "n=3u", "float=7u"]);
    assert_eq!(fields("async_method"), ["n=4u"]);
    assert_eq!(fields("generic"), ["value=\"5\"", "text=\"\\\"five\\\"\""]);
    assert_eq!(
        fields("destructured"),
        ["first=\"11\"", "second=\"\\\"eleven\\\"\"", "left=\"12\"", "other=\"13\"", "only=\"14\""]
    );
    assert_eq!(fields("owns"), ["text=\"seventeen\""]);
    assert_eq!(fields("far"), ["n=21u"]);
}

#[test]
fn every_shape_of_function_is_one_span_and_goes_on_as_without() {
    for name in ["gives_future", "boxed", "through_a_trait", "by_default", "question", "async_question"] {
        assert!(!named(spans(), name).unfinished, "{name}");
    }
    // The future's time counts, not the making of it: all three wait once.
    for name in ["gives_future", "boxed", "through_a_trait", "async_method"] {
        assert_eq!(named(spans(), name).polls, 2, "{name}");
    }
    let waits = named(spans(), "waits");
    assert!(waits.idle >= Nanos(100_000_000) && waits.polls >= 2, "{waits:?}");
}

#[test]
fn what_is_returned_is_an_attribute_where_it_is_asked_for() {
    for (name, returned) in
        [("gives_impl", "6"), ("through_a_trait", "16"), ("borrows", "15"), ("early", "None")]
    {
        assert_eq!(value(named(spans(), name), "return"), Some(&text(returned)), "{name}");
    }
    assert_eq!(value(named(spans(), "plain"), "return"), None);
}

#[test]
fn names_targets_and_levels_are_as_given() {
    named(spans(), "another name");
    named(spans(), "a literal name");
    let severity = |name| named(spans(), name).callsite.severity;
    assert_eq!(&*named(spans(), "elsewhere").callsite.target, "a::target");
    assert_eq!((severity("elsewhere"), severity("at_a_constant_level")), (5, 17));
    assert_eq!((severity("skips"), severity("skips_all"), severity("plain")), (13, 1, 9));
    let plain = named(spans(), "plain");
    assert!(plain.callsite.target.ends_with("instrumented"), "the module: {}", plain.callsite.target);
    let out = exported(plain);
    let function = shown(&out.attributes, "code.function.name").unwrap_or_default();
    assert!(function.ends_with("instrumented::plain"), "{function}");
    assert!(shown(&out.attributes, "code.file.path").is_some_and(|file| file.ends_with("instrumented.rs")));
}

#[test]
fn what_is_skipped_is_no_field() {
    assert_eq!(fields("skips"), ["second=2u"]);
    assert_eq!(fields("skips_all"), [""; 0]);
}

#[test]
fn fields_are_expressions_of_every_kind() {
    assert_eq!(
        fields("fields"),
        [
            "double=2u",
            "http.path=\"/orders\"",
            "a text key=true",
            "key.of.a.constant=1.5",
            "who=\"who\"",
            "by_debug=\"\\\"who\\\"\"",
            "held.float=\"7\"",
            "one.get=1u",
            "maybe=3i",
            "displayed=\"who\"",
            "type=\"raw\"",
        ]
    );
    assert_eq!(named(spans(), "fields").kind, SpanKind::Consumer);
    assert_eq!(fields("overridden"), ["n=41u"], "a field gives way to one of the same name");
}

#[test]
fn parents_and_causes_are_as_named() {
    let (parent, other) = (named(spans(), "a parent"), named(spans(), "another parent"));
    assert_eq!(named(spans(), "under").ids.parent, Some(parent.ids.span));
    assert_eq!(named(spans(), "under current").ids.parent, Some(other.ids.span));
    assert_eq!(named(spans(), "under none").ids.parent, None);
    let follows = named(spans(), "follows");
    assert_eq!(follows.ids.parent, Some(other.ids.span), "the current one");
    let mut causes = [(parent.ids.trace, parent.ids.span), (other.ids.trace, other.ids.span)];
    let mut links = follows.links.clone();
    causes.sort();
    links.sort();
    assert_eq!(links, causes);
}

#[test]
fn an_error_is_the_spans_status_and_an_exception() {
    for (name, message, level) in [
        ("fails", "sold out", "ERROR"),
        ("fails_by_debug", "Sold", "ERROR"),
        ("fails_mildly", "sold out", "INFO"),
        ("fails_through_a_trait", "sold out", "ERROR"),
    ] {
        let span = named(spans(), name);
        assert_eq!((span.status, span.status_message.as_deref()), (Status::Error, Some(message)), "{name}");
        let out = exported(span);
        assert_eq!(out.events[0].name, "exception", "{name}");
        assert_eq!(shown(&out.events[0].attributes, "exception.message").as_deref(), Some(message), "{name}");
        assert_eq!(shown(&out.events[0].attributes, "level").as_deref(), Some(level), "{name}");
    }
    assert_eq!(named(spans(), "question").status, Status::Unset, "not asked for, or not failed");
}

#[test]
fn with_both_only_what_went_well_is_returned() {
    let both: Vec<_> = spans().iter().filter(|span| &*span.name == "both").collect();
    let [well, ill] = both[..] else { panic!("two spans") };
    assert_eq!((well.status, value(well, "return")), (Status::Unset, Some(&text("4"))));
    assert_eq!((ill.status, value(ill, "return")), (Status::Error, None));
}

#[test]
fn what_is_opened_while_a_function_s_future_is_dropped_is_below_it() {
    let cancelled = named(spans(), "cancelled");
    assert!(cancelled.cancelled && cancelled.status == Status::Unset, "{cancelled:?}");
    assert_eq!(named(spans(), "dropped with the cancelled one").ids.parent, Some(cancelled.ids.span));
    let completed = named(spans(), "completed");
    assert!(!completed.cancelled);
    assert_eq!(named(spans(), "dropped with the completed one").ids.parent, Some(completed.ids.span));
}

#[test]
fn a_panic_is_an_error_of_the_function_that_unwinds_and_not_its_cancellation() {
    for name in ["panics", "panics_at_once"] {
        let span = named(spans(), name);
        assert_eq!((span.status, span.cancelled), (Status::Error, false), "{span:?}");
    }
    let panics = named(spans(), "panics");
    assert_eq!(named(spans(), "dropped with the panicking one").ids.parent, Some(panics.ids.span));
}

#[test]
fn a_function_s_span_stands_at_the_function() {
    let source = include_str!("../src/bin/traced/instrumented.rs");
    for name in ["plain", "async_method", "boxed", "generic", "fails"] {
        let stands = |line: &str| {
            let rest = line.split(&format!("fn {name}")).nth(1);
            rest.is_some_and(|rest| rest.starts_with(['(', '<']))
        };
        let at = source.lines().position(stands).expect("it is there");
        assert_eq!(named(spans(), name).callsite.location.line, at as u32 + 1, "{name}");
    }
}

#[test]
fn events_of_tracing_belong_to_the_function_around_them() {
    let events = exported(named(spans(), "warns")).events;
    assert_eq!(events.iter().map(|event| &*event.name).collect::<Vec<_>>(), ["inside"]);
    assert_eq!(shown(&events[0].attributes, "sign").as_deref(), Some("amber"));
}
