//! What the environment says of a service is what leaves with its spans.

mod common;

use common::{finished, model, shown};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use pollscope_export::to_otlp;
use pollscope_testkit::{Place, Service};

/// The resource of a service run with these variables, which calls itself `quiet`.
fn resource(environment: &[(&str, &str)]) -> Vec<KeyValue> {
    let place = Place::new();
    let mut service = Service::start_with(env!("CARGO_BIN_EXE_traced"), &place, &["quiet"], environment);
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
