//! What is sampled is what OpenTelemetry's own sampler of that name samples, trace by trace; all of it is recorded.

mod common;

use common::finished;
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample};
use pollscope_testkit::{Place, Service};

/// The SDK's decision.
fn theirs(sampler: &Sampler, trace: u128, parent: Option<(u64, bool)>) -> bool {
    let trace = TraceId::from_bytes(trace.to_be_bytes());
    let parent = parent.map(|(span, sampled)| {
        let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let span = SpanId::from_bytes(span.to_be_bytes());
        let context = SpanContext::new(trace, span, flags, true, TraceState::default());
        Context::new().with_remote_span_context(context)
    });
    let result = sampler.should_sample(parent.as_ref(), trace, "", &SpanKind::Internal, &[], &[]);
    result.decision == SamplingDecision::RecordAndSample
}

/// Plays the same traces under a sampler; what was said of it.
#[track_caller]
fn check(name: &str, argument: &str, sampler: Sampler) -> String {
    let place = Place::new();
    let environment = [
        ("OTEL_TRACES_SAMPLER", name),
        ("OTEL_TRACES_SAMPLER_ARG", argument),
        ("POLLSCOPE_RING_BYTES", "1048576"),
    ];
    let mut service = Service::start_heard(env!("CARGO_BIN_EXE_traced"), &place, &["sampled"], &environment);
    service.ready();
    let spans = finished(&place);
    let (status, heard) = service.finish_heard();
    assert!(status.success(), "{heard}");
    let counted = ["root", "child", "called"].map(|name| spans.iter().filter(|of| &*of.name == name).count());
    assert_eq!(counted, [200; 3], "{name}: all are recorded");
    for span in &spans {
        // Callers have even and odd numbers, which are their flags.
        let called = &*span.name == "called";
        let parent = called.then_some((0x2a, span.ids.trace.0 >> 64 & 1 == 1));
        assert_eq!(
            span.ids.sampled,
            theirs(&sampler, span.ids.trace.0, parent),
            "{name} {argument}: {} {:032x}",
            span.name,
            span.ids.trace.0
        );
    }
    heard
}

#[test]
fn decisions_are_those_of_the_sdk() {
    let based = |root| Sampler::ParentBased(Box::new(root));
    for (name, argument, sampler) in [
        ("always_on", "", Sampler::AlwaysOn),
        ("always_off", "", Sampler::AlwaysOff),
        ("traceidratio", "0.3", Sampler::TraceIdRatioBased(0.3)),
        ("traceidratio", "0", Sampler::TraceIdRatioBased(0.0)),
        ("traceidratio", "", Sampler::TraceIdRatioBased(1.0)),
        ("traceidratio", "0.999", Sampler::TraceIdRatioBased(0.999)),
        ("parentbased_always_on", "", based(Sampler::AlwaysOn)),
        ("parentbased_always_off", "", based(Sampler::AlwaysOff)),
        ("parentbased_traceidratio", "0.5", based(Sampler::TraceIdRatioBased(0.5))),
        ("", "0.1", based(Sampler::AlwaysOn)),
    ] {
        let heard = check(name, argument, sampler);
        assert!(!heard.contains("pollscope: "), "{name} {argument}: {heard}");
    }
}

#[test]
fn a_ratio_that_is_none_is_said_and_is_one() {
    for argument in ["1.5", "-0.1", "NaN", "half"] {
        let heard = check("traceidratio", argument, Sampler::TraceIdRatioBased(1.0));
        assert_eq!(heard.matches("OTEL_TRACES_SAMPLER_ARG").count(), 1, "{heard}");
    }
    let heard = check("parentbased_jaeger_remote", "", Sampler::ParentBased(Box::new(Sampler::AlwaysOn)));
    assert_eq!(heard.matches("parentbased_always_on is used").count(), 1, "{heard}");
}
