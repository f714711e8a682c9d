//! What the environment says of a service is what leaves with its spans.

mod common;

use common::{exported, finished, model, model_of, shown};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use pollscope_export::to_otlp;
use pollscope_model::{Limits, UnixNanos};
use pollscope_testkit::{Place, Service};

/// The resource of a service run with these variables, which calls itself `quiet`.
fn resource(environment: &[(&str, &str)]) -> Vec<KeyValue> {
    resource_of("quiet", environment)
}

fn resource_of(scenario: &str, environment: &[(&str, &str)]) -> Vec<KeyValue> {
    let place = Place::new();
    let mut service = Service::start_with(env!("CARGO_BIN_EXE_traced"), &place, &[scenario], environment);
    service.ready();
    let model = model(&place);
    assert!(service.finish().success());
    let session = model.sessions().next().expect("a session");
    to_otlp::resource(session.id(), session.info()).attributes
}

#[track_caller]
fn named(environment: &[(&str, &str)], name: &str) {
    assert_eq!(shown(&resource(environment), "service.name").as_deref(), Some(name), "{environment:?}");
}

#[test]
fn the_environments_name_comes_before_the_codes() {
    named(&[], "quiet");
    named(&[("OTEL_SERVICE_NAME", "till")], "till");
    named(&[("OTEL_RESOURCE_ATTRIBUTES", "service.name=desk")], "desk");
    named(&[("OTEL_SERVICE_NAME", "till"), ("OTEL_RESOURCE_ATTRIBUTES", "service.name=desk")], "till");
    named(&[("OTEL_SERVICE_NAME", "")], "quiet");
}

#[test]
fn what_the_code_says_of_its_resource_leaves_unless_the_environment_says_it() {
    let resource = resource_of("unnamed", &[("OTEL_RESOURCE_ATTRIBUTES", "team=of the environment")]);
    let value = |key| shown(&resource, key).unwrap_or_default();
    assert_eq!(value("deployment.environment.name"), "of code");
    assert_eq!(value("team"), "of the environment");
    assert_eq!(value("service.name"), "unknown_service:traced");
    // Random, version 4.
    let id = value("service.instance.id");
    let lengths: Vec<usize> = id.split('-').map(str::len).collect();
    assert_eq!((lengths, &id[14..15]), (vec![8, 4, 4, 4, 12], "4"), "{id}");
    assert_ne!(shown(&resource_of("unnamed", &[]), "service.instance.id"), Some(id));
}

#[test]
fn what_a_service_is_was_found_out_by_itself_and_is_the_same_for_every_agent() {
    let place = Place::new();
    let mut service = Service::start(env!("CARGO_BIN_EXE_traced"), &place, &["unnamed"]);
    service.ready();
    let read = || {
        let model = model(&place);
        let session = model.sessions().next().expect("a session");
        to_otlp::resource(session.id(), session.info()).attributes
    };
    let (first, pid) = (read(), service.pid().to_string());
    assert!(service.finish().success());
    let second = read();
    for key in ["service.instance.id", "host.name", "process.pid", "process.executable.path", "service.name"]
    {
        assert!(shown(&first, key).is_some_and(|value| !value.is_empty()), "{key}");
    }
    assert_eq!(first, second, "after its end, too");
    assert_eq!(shown(&first, "process.pid"), Some(pid));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("Linux tells it");
    assert_eq!(shown(&first, "host.name").as_deref(), Some(host.trim()));
    assert_eq!(shown(&first, "process.executable.path").as_deref(), Some(env!("CARGO_BIN_EXE_traced")));
}

#[test]
fn resource_attributes_are_decoded_and_come_before_what_is_found_out() {
    let said =
        "team=a%2Cb%3Dc, deployment.environment.name = test ,broken,host.name=other,service.instance.id=7";
    let resource = resource(&[("OTEL_RESOURCE_ATTRIBUTES", said)]);
    for (key, value) in [
        ("team", "a,b=c"),
        ("deployment.environment.name", "test"),
        ("host.name", "other"),
        ("service.instance.id", "7"),
        ("process.executable.name", "traced"),
        ("telemetry.sdk.name", "pollscope"),
    ] {
        assert_eq!(shown(&resource, key).as_deref(), Some(value), "{key}");
    }
    assert!(!resource.iter().any(|attribute| attribute.key.contains("broken")));
    let mut keys: Vec<&str> = resource.iter().map(|attribute| &*attribute.key).collect();
    keys.sort_unstable();
    assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "each key once: {keys:?}");
}

#[test]
fn what_the_environment_says_amiss_is_said_once_and_the_default_used() {
    let place = Place::new();
    let amiss = [
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_PROPAGATORS", "tracecontext,b3,xray"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "all"),
    ];
    let mut service = Service::start_heard(env!("CARGO_BIN_EXE_traced"), &place, &["quiet"], &amiss);
    service.ready();
    assert!(finished(&place).iter().all(|span| span.ids.sampled));
    let (status, heard) = service.finish_heard();
    assert!(status.success());
    let said: Vec<&str> = heard.lines().filter(|line| line.starts_with("pollscope: ")).collect();
    assert_eq!(said.len(), amiss.len(), "{said:?}");
    for (name, _) in amiss {
        assert!(said.iter().any(|line| line.contains(name)), "{name}: {said:?}");
    }
}

#[test]
fn off_is_no_session_and_the_service_runs_on() {
    for off in ["off", "0", "false"] {
        let place = Place::new();
        let environment = [("POLLSCOPE", off)];
        let mut service = Service::start_with(env!("CARGO_BIN_EXE_traced"), &place, &["quiet"], &environment);
        service.ready();
        assert!(place.sessions().is_empty(), "{off}");
        assert!(service.finish().success());
    }
}

#[test]
fn the_filter_says_which_spans_are_recorded() {
    let of = |environment: &[(&str, &str)]| {
        let place = Place::new();
        let mut service = Service::start_with(env!("CARGO_BIN_EXE_traced"), &place, &["quiet"], environment);
        service.ready();
        let mut names: Vec<String> = finished(&place).iter().map(|span| span.name.to_string()).collect();
        assert!(service.finish().success());
        names.sort();
        names
    };
    assert_eq!(of(&[]), ["an info span"]);
    assert_eq!(of(&[("POLLSCOPE_FILTER", "debug,hyper=off")]), ["a debug span", "an info span"]);
    assert_eq!(of(&[("POLLSCOPE_FILTER", "off,hyper=info")]), ["of hyper"]);
    assert_eq!(of(&[("POLLSCOPE_FILTER", "not=a=filter")]), ["an info span"], "the default, with a warning");
}

#[test]
fn the_default_filter_leaves_out_what_services_are_built_of() {
    let of = |environment: &[(&str, &str)]| {
        let place = Place::new();
        let mut service =
            Service::start_heard(env!("CARGO_BIN_EXE_traced"), &place, &["libraries"], environment);
        service.ready();
        let mut names: Vec<String> = finished(&place).iter().map(|span| span.name.to_string()).collect();
        let (status, heard) = service.finish_heard();
        assert!(status.success());
        names.sort();
        (names, heard)
    };
    let names = ["my_service", "request", "sqlx::query", "tower_http::trace"].map(str::to_owned);
    assert_eq!(of(&[]), (names.to_vec(), String::new()));
    assert_eq!(of(&[("RUST_LOG", "off")]).0, names);
    assert_eq!(of(&[("RUST_LOG", "trace")]).0, names);
    for (filter, wrong) in [
        ("info,my_service=loud", "my_service=loud"),
        ("a=b=c", "a=b=c"),
        // In brackets by the feature `env-filter` alone.
        ("debug,x[span{a=1,b=2}]=info,z=off", "x[span{a=1,b=2}]=info"),
    ] {
        let (recorded, heard) = of(&[("POLLSCOPE_FILTER", filter), ("RUST_LOG", "trace")]);
        assert_eq!(recorded, names, "{filter}");
        assert_eq!(heard.matches("pollscope: ").count(), 1, "{heard}");
        assert!(heard.contains(&format!("POLLSCOPE_FILTER has {wrong:?}")), "{heard}");
    }
    let (_, heard) = of(&[("POLLSCOPE_EVENTS", "loud")]);
    assert_eq!(heard.matches("POLLSCOPE_EVENTS").count(), 1, "{heard}");
}

#[test]
fn the_level_says_which_events_are_recorded() {
    let of = |environment: &[(&str, &str)]| {
        let place = Place::new();
        let mut service = Service::start_with(env!("CARGO_BIN_EXE_traced"), &place, &["quiet"], environment);
        service.ready();
        let spans = finished(&place);
        assert!(service.finish().success());
        let span = spans.iter().find(|span| &*span.name == "an info span").expect("a span");
        span.events.iter().map(|event| event.callsite.severity).collect::<Vec<_>>()
    };
    assert_eq!(of(&[]), [13]);
    assert_eq!(of(&[("POLLSCOPE_EVENTS", "info")]), [9, 13]);
    assert_eq!(of(&[("POLLSCOPE_EVENTS", "debug"), ("POLLSCOPE_FILTER", "debug")]), [5, 9, 13]);
    assert_eq!(of(&[("POLLSCOPE_EVENTS", "debug")]), [9, 13], "what the filter leaves out is not recorded");
    assert_eq!(of(&[("POLLSCOPE_EVENTS", "off")]), [0u8; 0]);
    assert_eq!(of(&[("POLLSCOPE_EVENTS", "loud")]), [13], "the default, with a warning");
}

#[test]
fn the_limit_of_a_spans_events_is_none_of_log_records() {
    let place = Place::new();
    let environment = [("OTEL_SPAN_EVENT_COUNT_LIMIT", "1")];
    let mut service = Service::start_with(env!("CARGO_BIN_EXE_traced"), &place, &["crowded"], &environment);
    service.ready();
    let mut model = model_of(&place, Limits { logs: 10, ..Limits::default() });
    assert!(service.finish().success());
    let spans = model.take_finished(usize::MAX);
    let crowded = exported(spans.iter().find(|span| &*span.name == "crowded").expect("a span"));
    assert_eq!((crowded.events.len(), crowded.dropped_events_count), (1, 2));
    let logs: Vec<_> = model.take_logs().iter().map(|log| to_otlp::logs::record(log, UnixNanos(0))).collect();
    let told: Vec<_> = logs.iter().map(|log| (shown(&log.attributes, "n"), &log.span_id)).collect();
    let expected = ["0", "1", "2"].map(|n| (Some(n.to_owned()), &crowded.span_id));
    assert_eq!(told, expected);
}

#[test]
fn the_limits_of_a_span_hold_and_what_is_over_them_is_counted() {
    let of = |environment: &[(&str, &str)]| {
        let place = Place::new();
        let mut service =
            Service::start_with(env!("CARGO_BIN_EXE_traced"), &place, &["crowded"], environment);
        service.ready();
        let spans = finished(&place);
        assert!(service.finish().success());
        exported(spans.iter().find(|span| &*span.name == "crowded").expect("a span"))
    };
    let whole = of(&[("OTEL_SPAN_EVENT_COUNT_LIMIT", "few")]);
    assert_eq!((whole.events.len(), whole.links.len()), (3, 1), "three links to one span are one");
    assert_eq!(
        (shown(&whole.attributes, "progress").as_deref(), whole.dropped_attributes_count),
        (Some("1"), 0)
    );

    let none = of(&[
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "0"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "0"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "0"),
    ]);
    let left = (none.events.len(), none.links.len(), shown(&none.attributes, "a"));
    assert_eq!(left, (0, 0, None));
    let dropped = (none.dropped_attributes_count, none.dropped_events_count, none.dropped_links_count);
    assert_eq!(dropped, (5, 3, 3), "as often as it was told");

    let span = of(&[
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "1"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "2"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "2"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "1"),
    ]);
    assert_eq!(span.kind, 3, "what says the kind is no attribute");
    let value = |key| shown(&span.attributes, key);
    assert_eq!(value("a").as_deref(), Some("wxy"), "a new value of a key needs no room");
    assert_eq!((value("b").as_deref(), value("c"), value("progress")), (Some("2"), None, None));
    assert_eq!(span.dropped_attributes_count, 3, "two over the limit and one cut");
    assert_eq!((span.events.len(), span.dropped_events_count), (2, 1));
    assert_eq!((span.links.len(), span.dropped_links_count), (1, 2));
    let event = &span.events[0];
    assert_eq!((&*event.name, shown(&event.attributes, "n").as_deref()), ("war", Some("0")));
    assert_eq!((shown(&event.attributes, "last"), event.dropped_attributes_count), (None, 3));
}
