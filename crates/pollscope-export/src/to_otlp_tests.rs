//! Finished spans as OTLP messages.

use super::*;
use crate::test_span;
use pollscope_model::event::{Callsite, SpanId, SpanIds, TaskId, TraceId};
use pollscope_model::span::Log;
use pollscope_model::time::{Nanos, UnixNanos};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A span of `shop::orders::place`, 100 µs long: 20 running, 30 scheduled, 50 idle.
fn place() -> FinishedSpan {
    let mut span = test_span::finished(SessionId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef), 0xbb, "place");
    span.ids.trace = TraceId(0xaa);
    span.ids.parent = Some(SpanId(0xcc));
    FinishedSpan {
        callsite: callsite("place", 9),
        start: UnixNanos(1_000_000),
        end: UnixNanos(1_100_000),
        busy: Nanos(20_000),
        scheduled: Nanos(30_000),
        idle: Nanos(50_000),
        polls: 3,
        task: Some(TaskId(7)),
        thread: (42, "worker-1".into()),
        ..span
    }
}

fn callsite(name: &str, severity: u8) -> Arc<Callsite> {
    Arc::new(Callsite {
        name: name.into(),
        target: "shop::orders".into(),
        location: Location { file: "src/orders.rs".into(), line: 41, column: 5 },
        severity,
    })
}

fn attribute(key: &str, value: Value) -> Attribute {
    Attribute { key: key.into(), value, cut: None }
}

fn shown(attributes: &[KeyValue]) -> BTreeMap<&str, String> {
    let map: BTreeMap<_, _> = attributes
        .iter()
        .map(|each| {
            let value = match each.value.as_ref().and_then(|any| any.value.as_ref()) {
                Some(any_value::Value::StringValue(value)) => format!("{value:?}"),
                Some(any_value::Value::IntValue(value)) => value.to_string(),
                Some(any_value::Value::BoolValue(value)) => value.to_string(),
                Some(any_value::Value::DoubleValue(value)) => format!("{value:?}"),
                other => format!("{other:?}"),
            };
            (each.key.as_str(), value)
        })
        .collect();
    assert_eq!(map.len(), attributes.len(), "keys are unique");
    map
}

#[test]
fn every_span_says_where_its_time_went_and_where_it_stands() {
    let out = span(&place()).unwrap();
    let expected = BTreeMap::from([
        ("code.file.path", "\"src/orders.rs\"".to_string()),
        ("code.function.name", "\"shop::orders::place\"".to_string()),
        ("code.line.number", "41".to_string()),
        ("pollscope.busy_ns", "20000".to_string()),
        ("pollscope.idle_ns", "50000".to_string()),
        ("pollscope.polls", "3".to_string()),
        ("pollscope.scheduled_ns", "30000".to_string()),
        ("pollscope.task.id", "7".to_string()),
        ("target", "\"shop::orders\"".to_string()),
        ("thread.id", "42".to_string()),
        ("thread.name", "\"worker-1\"".to_string()),
    ]);
    assert_eq!(shown(&out.attributes), expected);
    assert_eq!(out.trace_id, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xaa]);
    assert_eq!(out.span_id, [0, 0, 0, 0, 0, 0, 0, 0xbb]);
    assert_eq!(out.parent_span_id, [0, 0, 0, 0, 0, 0, 0, 0xcc]);
    assert_eq!((out.start_time_unix_nano, out.end_time_unix_nano), (1_000_000, 1_100_000));
    assert_eq!(out.status, None);
}

#[test]
fn an_unsampled_span_stays_here() {
    let mut quiet = place();
    quiet.ids.sampled = false;
    assert_eq!(span(&quiet), None);
}

#[test]
fn a_root_has_no_parent_and_flags_tell_a_remote_one() {
    let mut root = place();
    root.ids.parent = None;
    let out = span(&root).unwrap();
    assert!(out.parent_span_id.is_empty());
    assert_eq!(out.flags, 0x101, "sampled, and the parent is known to be local");

    let mut remote = place();
    remote.ids.parent_remote = true;
    assert_eq!(span(&remote).unwrap().flags, 0x301);
}

#[test]
fn what_is_not_whole_says_so() {
    let mut cut = place();
    cut.held = Nanos(9);
    cut.cancelled = true;
    cut.detached = true;
    cut.incomplete = true;
    cut.estimated = true;
    cut.unfinished = true;
    cut.dropped_attributes = 2;
    cut.attributes =
        vec![Attribute { key: "sql".into(), value: Value::Str("select".into()), cut: Some(40_000) }];
    let out = span(&cut).unwrap();
    let told = shown(&out.attributes);
    assert_eq!(told["pollscope.held_ns"], "9");
    for flag in ["cancelled", "detached", "incomplete", "estimated", "unfinished"] {
        assert_eq!(told[format!("pollscope.{flag}").as_str()], "true");
    }
    assert_eq!(out.dropped_attributes_count, 3, "two beyond the limit, one cut");
}

#[test]
fn values_keep_their_types_and_the_service_wins_over_defaults_only() {
    let mut rich = place();
    rich.attributes = vec![
        attribute("text", Value::Str("x".into())),
        attribute("small", Value::I64(-1)),
        attribute("count", Value::U64(5)),
        attribute("huge", Value::U64(u64::MAX)),
        attribute("ratio", Value::F64(0.5)),
        attribute("yes", Value::Bool(true)),
        attribute("thread.name", Value::Str("mine".into())),
        attribute("pollscope.polls", Value::I64(999)),
    ];
    let out = span(&rich).unwrap();
    let told = shown(&out.attributes);
    assert_eq!(told["text"], "\"x\"");
    assert_eq!(told["small"], "-1");
    assert_eq!(told["count"], "5");
    assert_eq!(told["huge"], "\"18446744073709551615\"");
    assert_eq!(told["ratio"], "0.5");
    assert_eq!(told["yes"], "true");
    assert_eq!(told["thread.name"], "\"mine\"");
    assert_eq!(told["pollscope.polls"], "3");
}

#[test]
fn only_names_that_can_be_functions_become_function_names() {
    let function_of = |name: &str, source| {
        let mut one = place();
        one.callsite = callsite(name, 9);
        one.source = source;
        shown(&span(&one).unwrap().attributes).get("code.function.name").cloned()
    };
    assert_eq!(function_of("place", SpanSource::Code).as_deref(), Some("\"shop::orders::place\""));
    assert_eq!(function_of("GET /orders", SpanSource::Code), None);
    assert_eq!(function_of("place", SpanSource::Task), None);
}

#[test]
fn an_event_is_named_by_its_message() {
    let long = "é".repeat(300);
    let event_of = |attributes| SpanEvent {
        at: UnixNanos(5),
        callsite: callsite("event src/orders.rs:41", 13),
        attributes,
        dropped_attributes: 0,
    };
    let mut told = place();
    told.events = vec![
        event_of(vec![
            attribute("message", Value::Str("out of stock".into())),
            attribute("sku", Value::I64(3)),
        ]),
        event_of(vec![attribute("message", Value::Str(long.as_str().into()))]),
        event_of(vec![]),
    ];
    let out = span(&told).unwrap();
    assert_eq!(out.events[0].name, "out of stock");
    assert_eq!(out.events[0].time_unix_nano, 5);
    let first = shown(&out.events[0].attributes);
    assert_eq!((first["level"].as_str(), first["sku"].as_str()), ("\"WARN\"", "3"));
    assert!(!first.contains_key("message"));

    assert_eq!(out.events[1].name, "é".repeat(128), "cut between letters");
    assert_eq!(shown(&out.events[1].attributes)["message"], format!("{long:?}"), "but told whole");
    assert_eq!(out.events[2].name, "event src/orders.rs:41");
}

#[test]
fn fields_of_the_service_win_over_what_is_told_of_their_event() {
    let mut told = place();
    told.attributes = vec![attribute("target", Value::I64(1))];
    told.events = vec![SpanEvent {
        at: UnixNanos(5),
        callsite: callsite("leveled", 9),
        attributes: vec![attribute("level", Value::I64(3)), attribute("target", Value::Str("moon".into()))],
        dropped_attributes: 0,
    }];
    let out = span(&told).unwrap();
    assert_eq!(shown(&out.attributes)["target"], "1");
    let event = shown(&out.events[0].attributes);
    assert_eq!((&*event["level"], &*event["target"]), ("3", "\"moon\""));
}

#[test]
fn an_event_with_an_error_and_no_message_is_an_exception() {
    let event_of = |attributes| SpanEvent {
        at: UnixNanos(5),
        callsite: callsite("event src/orders.rs:41", 17),
        attributes,
        dropped_attributes: 0,
    };
    let error = || attribute("error", Value::Str("sold out".into()));
    let mut told = place();
    told.events =
        vec![event_of(vec![error()]), event_of(vec![attribute("message", Value::Str("hm".into())), error()])];
    let out = span(&told).unwrap();
    let exception = shown(&out.events[0].attributes);
    assert_eq!((&*out.events[0].name, &*exception["exception.message"]), ("exception", "\"sold out\""));
    assert!(!exception.contains_key("error"));
    let said = shown(&out.events[1].attributes);
    assert_eq!((&*out.events[1].name, &*said["error"]), ("hm", "\"sold out\""));
}

#[test]
fn links_kinds_and_status_follow_opentelemetry() {
    let mut served = place();
    served.kind = SpanKind::Server;
    served.links = vec![(TraceId(1), SpanId(2))];
    served.status = Status::Error;
    served.status_message = Some("no stock".into());
    let out = span(&served).unwrap();
    assert_eq!(out.kind, proto::span::SpanKind::Server as i32);
    assert_eq!(out.links[0].span_id, 2u64.to_be_bytes());
    assert_eq!(out.status.unwrap(), proto::Status { code: 2, message: "no stock".into() });

    served.status = Status::Ok;
    assert_eq!(span(&served).unwrap().status.unwrap(), proto::Status { code: 1, message: String::new() });
}

#[test]
fn one_request_carries_many_services_each_with_its_own_resource() {
    let info = |name: &str| SessionInfo {
        resource: vec![("service.name".into(), Value::Str(name.into())), ("pods".into(), Value::I64(3))],
        pid: 77,
        exe: "/usr/bin/shop".into(),
        ..SessionInfo::default()
    };
    let gateway = resource(place().session, &info("gateway"));
    let orders = resource(SessionId(2), &info("orders"));
    let out = request([
        (gateway, vec![span(&place()).unwrap()]),
        (orders, vec![span(&place()).unwrap(), span(&place()).unwrap()]),
        (resource(SessionId(3), &SessionInfo::default()), vec![]),
    ]);
    assert_eq!(out.resource_spans.len(), 2, "a service without spans is left out");
    assert_eq!(out.resource_spans[1].scope_spans[0].spans.len(), 2);
    assert_eq!(out.resource_spans[0].scope_spans[0].scope.as_ref().unwrap().name, "pollscope");
    assert!(out.resource_spans[0].schema_url.starts_with("https://opentelemetry.io/schemas/1."));
    let told = shown(&out.resource_spans[0].resource.as_ref().unwrap().attributes);
    assert_eq!(told["service.name"], "\"gateway\"");
    assert_eq!(told["service.instance.id"], "\"01234567-89ab-4def-8123-456789abcdef\"");
    assert_eq!((told["pods"].as_str(), told["process.pid"].as_str()), ("3", "77"));
}

#[test]
fn a_service_without_a_name_is_named_after_its_executable() {
    let info = SessionInfo { exe: "/usr/bin/shop".into(), ..SessionInfo::default() };
    assert_eq!(shown(&resource(SessionId(1), &info).attributes)["service.name"], "\"unknown_service:shop\"");
}

#[test]
fn what_was_over_the_limits_is_told_by_kind() {
    let mut told = place();
    (told.dropped_attributes, told.dropped_events, told.dropped_links) = (3, 4, 5);
    told.attributes = vec![Attribute { cut: Some(99), ..attribute("long", Value::Str("lo".into())) }];
    told.events = vec![SpanEvent {
        at: UnixNanos(5),
        callsite: callsite("event", 9),
        attributes: vec![],
        dropped_attributes: 6,
    }];
    let out = span(&told).unwrap();
    let counts = (out.dropped_attributes_count, out.dropped_events_count, out.dropped_links_count);
    assert_eq!(counts, (4, 4, 5), "a cut value is a dropped attribute");
    assert_eq!(out.events[0].dropped_attributes_count, 6);
}

fn log(ids: Option<SpanIds>, attributes: Vec<Attribute>) -> Log {
    let callsite = callsite("event src/orders.rs:41", 13);
    let event = SpanEvent { at: UnixNanos(5), callsite, attributes, dropped_attributes: 2 };
    Log { session: place().session, ids, event }
}

#[test]
fn an_event_by_itself_is_a_log_record_with_the_ids_of_its_span() {
    let message = attribute("message", Value::Str("out of stock".into()));
    let sku = attribute("sku", Value::I64(3));
    let cut = Attribute { cut: Some(99), ..attribute("long", Value::Str("lo".into())) };
    let out = logs::record(&log(Some(place().ids), vec![message, sku, cut]), UnixNanos(9));
    assert_eq!((out.time_unix_nano, out.observed_time_unix_nano), (5, 9));
    assert_eq!((out.severity_number, &*out.severity_text), (13, "WARN"));
    assert_eq!(out.body, Some(text("out of stock")));
    assert_eq!(
        (out.trace_id, out.span_id),
        (0xaau128.to_be_bytes().to_vec(), 0xbbu64.to_be_bytes().to_vec())
    );
    assert_eq!((out.flags, out.dropped_attributes_count), (1, 3));
    let told = shown(&out.attributes);
    assert_eq!(
        told.keys().map(|key| &**key).collect::<Vec<_>>(),
        ["code.file.path", "code.line.number", "long", "sku", "target"]
    );
    assert_eq!(
        (&*told["code.line.number"], &*told["sku"], &*told["target"]),
        ("41", "3", "\"shop::orders\"")
    );
}

#[test]
fn a_log_record_needs_neither_a_sampled_trace_nor_a_span() {
    let unsampled = SpanIds { sampled: false, foreign: true, ..place().ids };
    let out = logs::record(&log(Some(unsampled), vec![]), UnixNanos(9));
    assert_eq!((out.flags, out.trace_id.len(), out.span_id.len(), out.body), (0, 16, 8, None));
    let error = attribute("error", Value::Str("sold out".into()));
    let out = logs::record(&log(None, vec![error]), UnixNanos(9));
    assert_eq!((out.flags, out.trace_id.len(), out.span_id.len(), out.body), (0, 0, 0, None));
    assert_eq!(shown(&out.attributes)["exception.message"], "\"sold out\"");
}

#[test]
fn a_request_of_log_records_has_the_resource_of_each_service() {
    let shop = resource(place().session, &SessionInfo::default());
    let out = logs::request([
        (shop.clone(), vec![logs::record(&log(None, vec![]), UnixNanos(9))]),
        (resource(SessionId(3), &SessionInfo::default()), vec![]),
    ]);
    assert_eq!(out.resource_logs.len(), 1);
    assert_eq!(out.resource_logs[0].resource, Some(shop));
    assert_eq!(out.resource_logs[0].scope_logs[0].scope.as_ref().unwrap().name, "pollscope");
}
