//! A service with an OpenTelemetry layer of its own: `beside KIND`. At its end it prints what that exported, a line
//! a span: name, trace, span, parent, and what is told of it. `beside exports` sends it to the endpoint that the
//! environment names, `beside no_exporter` has a layer that exports nothing.

#[path = "../../../../examples/logs/src/with_ids.rs"]
mod with_ids;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use opentelemetry_sdk::trace::Sampler;
use pollscope::http::{ClientLayer, ServerLayer};
use std::convert::Infallible;
use std::time::Duration;
use tower::{Layer, ServiceExt, service_fn};
use tracing::level_filters::LevelFilter;
use tracing::{Instrument, info_span};
use tracing_subscriber::prelude::*;

/// A caller from afar.
const CALLER: &str = "00-00000000000000000000000000000feb-0000000000000007-01";

#[pollscope::main(worker_threads = 2, service = "beside")]
async fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("bound") => newest::run(true, None).await,
        Some("given") => newest::run(true, Some(())).await,
        Some("wrong_order") => newest::run(false, None).await,
        Some("older") => older::run(true, None).await,
        Some("exports") => exports(true, Sampler::AlwaysOn, pollscope::layer()).await,
        Some("no_exporter") => exports(false, Sampler::AlwaysOn, pollscope::layer()).await,
        // As a layer of another version than those that are bound: its ids are nobody's.
        Some("unread") => exports(false, Sampler::AlwaysOn, pollscope::layer().with_context(|_| None)).await,
        Some("never_samples") => exports(true, Sampler::AlwaysOff, pollscope::layer()).await,
        other => panic!("no kind {other:?}"),
    }
}

/// A request, a task spawned in it with spans of its own, and one that nobody asked for.
async fn work() {
    let request = async {
        info_span!("parse").in_scope(|| tracing::info!("parsed"));
        assert!(fetch(3).await.is_err());
        let task = pollscope::spawn_named("lookup", async {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let query = async {
                tokio::time::sleep(Duration::from_millis(2)).await;
                info_span!("row").in_scope(|| ());
            };
            query.instrument(info_span!("query")).await;
        });
        task.await.expect("it ends");
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    let span = info_span!("request", otel.kind = "server");
    println!("current {}", told(&span).await);
    request.instrument(span).await;
    let never_entered = info_span!("never_entered");
    drop(never_entered);
    web().await;
}

/// A request to a service under our layers that asks another one; no other server span is open around either.
async fn web() {
    let back = service_fn(async |_: Request<Full<Bytes>>| {
        info_span!("back").in_scope(|| ());
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("done"))))
    });
    let ask = ClientLayer::new().layer(ServerLayer::new().layer(back));
    let front = service_fn(move |_: Request<Full<Bytes>>| {
        // Already in the call the request's span is the current one.
        let called = info_span!("called");
        let ask = ask.clone();
        let answer = async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let question = Request::get("http://back/back").body(Full::default()).expect("a request");
            let Ok(answer) = ask.oneshot(question).await;
            Ok::<_, Infallible>(Response::new(answer.into_body()))
        };
        answer.instrument(called)
    });
    // As a server may have it that is in two layers.
    let front = ServerLayer::new().layer(ServerLayer::new().layer(front));
    let request = Request::get("/front").header("traceparent", CALLER).body(Full::default());
    let Ok(answer) = front.oneshot(request.expect("a request")).await;
    answer.into_body().collect().await.expect("a body");
    elsewhere().await;
}

/// A request whose span another thread enters while it is called and leaves while it is polled, as a worker does that
/// the call hands it to.
async fn elsewhere() {
    let service = ServerLayer::new().layer(service_fn(|_: Request<Full<Bytes>>| {
        let span = tracing::Span::current();
        let (leave, told) = std::sync::mpsc::channel::<()>();
        let (inside, entered) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let _entered = span.entered();
            inside.send(()).expect("it waits");
            let _ = told.recv();
        });
        entered.recv().expect("it says so");
        async move {
            drop(leave);
            thread.join().expect("it ends");
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        }
    }));
    let Ok(_) = service.oneshot(Request::get("/elsewhere").body(Full::default()).expect("a request")).await;
}

/// The spans go to a backend of the service's own, if to any.
async fn exports(any: bool, sampler: Sampler, ours: pollscope::Layer<tracing_subscriber::Registry>) {
    use opentelemetry::trace::TracerProvider;
    let builder = opentelemetry_sdk::trace::SdkTracerProvider::builder();
    let resource = opentelemetry_sdk::Resource::builder().with_service_name("beside").build();
    let builder = builder.with_resource(resource).with_sampler(sampler);
    let provider = match any {
        true => {
            let exporter =
                opentelemetry_otlp::SpanExporter::builder().with_tonic().build().expect("it is made");
            builder.with_batch_exporter(exporter).build()
        }
        false => builder.build(),
    };
    let theirs = tracing_opentelemetry::layer().with_tracer(provider.tracer("beside"));
    let theirs = theirs.with_filter(LevelFilter::INFO);
    // The lines name their traces, as in the example `logs`.
    let json = with_ids::WithIds(tracing_subscriber::fmt::format().json());
    let lines = tracing_subscriber::fmt::layer().json().event_format(json).with_writer(std::io::stdout);
    tracing_subscriber::registry().with(ours).with(theirs).with(lines).init();
    for _ in 0..20 {
        work().await;
    }
    let shut = tokio::task::spawn_blocking(move || provider.shutdown());
    shut.await.expect("it ends").expect("all is sent");
}

/// By the attribute, in a request: a span of tracing like any other.
#[pollscope::instrument(err, fields(table = "orders"))]
async fn fetch(number: u64) -> Result<u64, String> {
    info_span!("connect").in_scope(|| ());
    count(number);
    Err("sold out".to_owned())
}

#[pollscope::instrument(ret)]
fn count(number: u64) -> u64 {
    number + 1
}

/// Parents that are not the current span, and links, by the attribute.
fn relatives(headers: &http::HeaderMap) {
    let (above, here) = (info_span!("above"), info_span!("here"));
    let captured = above.in_scope(pollscope::current);
    let remote = pollscope::http::extract(headers).expect("there is a caller");
    let unseen = above.in_scope(|| tracing::info_span!(target: "h2", "unseen"));
    here.in_scope(|| {
        below_span(&above);
        below_id(above.id());
        below_captured(captured);
        below_remote(&remote);
        below_unseen(&unseen);
        below_none();
        follows_span(&above);
        follows_captured(captured);
        follows_remote(&remote);
    });
}

#[pollscope::instrument(skip_all, parent = span)]
fn below_span(span: &tracing::Span) {
    info_span!("deeper").in_scope(|| ());
}

#[pollscope::instrument(skip_all, parent = id)]
fn below_id(id: Option<tracing::Id>) {}

#[pollscope::instrument(skip_all, parent = at)]
fn below_captured(at: pollscope::Current) {
    info_span!("deeper_still").in_scope(|| ());
}

#[pollscope::instrument(skip_all, parent = remote)]
fn below_remote(remote: &pollscope::http::Remote) {}

#[pollscope::instrument(skip_all, parent = span)]
fn below_unseen(span: &tracing::Span) {}

#[pollscope::instrument(parent = None)]
fn below_none() {}

#[pollscope::instrument(skip_all, follows_from = [span, span])]
fn follows_span(span: &tracing::Span) {}

#[pollscope::instrument(skip_all, follows_from = [at])]
fn follows_captured(at: pollscope::Current) {}

#[pollscope::instrument(skip_all, follows_from = Some(remote))]
fn follows_remote(remote: &pollscope::http::Remote) {}

/// What `current()` says in a span.
async fn told(span: &tracing::Span) -> String {
    span.in_scope(|| {
        let current = pollscope::current();
        let (trace, span) = (current.trace_id().unwrap_or(0), current.span_id().unwrap_or(0));
        format!("{trace:032x} {span:016x} {}", current.sampled())
    })
}

/// The same with each minor of OpenTelemetry.
macro_rules! with {
    ($module:ident, $api:ident, $sdk:ident, $layer:ident) => {
        mod $module {
            use super::*;
            use $api::Context;
            use $api::propagation::{Injector, TextMapPropagator};
            use $api::trace::{
                SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TracerProvider as _,
            };
            use $layer::OpenTelemetrySpanExt;
            use $sdk::propagation::TraceContextPropagator;
            use $sdk::trace::{InMemorySpanExporter, SdkTracerProvider};

            struct Headers<'a>(&'a mut http::HeaderMap);

            impl Injector for Headers<'_> {
                fn set(&mut self, key: &str, value: String) {
                    let name = http::HeaderName::try_from(key).expect("a name");
                    if !value.is_empty() {
                        self.0.insert(name, value.try_into().expect("a value"));
                    }
                }
            }

            pub async fn run(ours_first: bool, given: Option<()>) {
                let exporter = InMemorySpanExporter::default();
                let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
                let tracer = provider.tracer("beside");
                let mut ours = pollscope::layer();
                if given.is_some() {
                    ours = ours.with_context(|span| {
                        let context = $layer::get_otel_context(span.id(), span.dispatch())?;
                        let of = context.span().span_context().clone();
                        let (trace, span) = (of.trace_id().to_bytes(), of.span_id().to_bytes());
                        Some(pollscope::SpanContext::new(trace, span, of.trace_flags().to_u8()))
                    });
                }
                if ours_first {
                    tracing_subscriber::registry()
                        .with(ours)
                        .with($layer::layer().with_tracer(tracer).with_filter(LevelFilter::INFO))
                        .init();
                } else {
                    tracing_subscriber::registry()
                        .with($layer::layer().with_tracer(tracer).with_filter(LevelFilter::INFO))
                        .with(pollscope::layer())
                        .init();
                }
                work().await;
                // A parent that comes from afar, set before the span is entered, as web frameworks' layers do.
                for (trace, flags) in [(0xabc, TraceFlags::SAMPLED), (0xdef, TraceFlags::default())] {
                    let parent = SpanContext::new(
                        TraceId::from(trace),
                        SpanId::from(7),
                        flags,
                        true,
                        Default::default(),
                    );
                    let span = info_span!("from_afar");
                    span.set_parent(Context::new().with_remote_span_context(parent))
                        .expect("it did not begin");
                    let task = async { pollscope::spawn_named("after", async {}).await.expect("it ends") };
                    task.instrument(span).await;
                }
                // The same by our own means.
                let mut headers = http::HeaderMap::new();
                let caller = "00-00000000000000000000000000000fed-0000000000000007-01";
                headers.insert("traceparent", http::HeaderValue::from_static(caller));
                let span = info_span!("attached");
                pollscope::http::extract(&headers).expect("there is a caller").attach(&span);
                span.in_scope(|| ());
                drop(span);
                // What the SDK's own propagator wrote stays, with whatever else stands there.
                let span = info_span!("propagated");
                let mut theirs = http::HeaderMap::new();
                theirs.append("baggage", http::HeaderValue::from_static("a=1;p=2"));
                theirs.append("baggage", http::HeaderValue::from_static("b=%20"));
                let bare = theirs.clone();
                TraceContextPropagator::new().inject_context(&span.context(), &mut Headers(&mut theirs));
                let (before, mut ours) = (theirs.clone(), bare.clone());
                info_span!("another").in_scope(|| pollscope::http::inject(&mut theirs));
                assert_eq!((&theirs, theirs.get_all("traceparent").iter().count()), (&before, 1));
                // Ours says the same, once, and touches nothing else.
                span.in_scope(|| (0..2).for_each(|_| pollscope::http::inject(&mut ours)));
                println!("same {}", ours.get("traceparent") == before.get("traceparent"));
                ours.remove("traceparent");
                assert_eq!(ours, bare);
                drop(span);
                relatives(&headers);
                provider.force_flush().expect("it is all in memory");
                for span in exporter.get_finished_spans().expect("they can be read") {
                    let told = span.attributes.iter().map(|of| match of.key.as_str() {
                        key if key.starts_with("pollscope.") => key.to_owned(),
                        key => format!("{key}={}", of.value),
                    });
                    let mut told: Vec<String> = told.filter(|told| !told.contains(' ')).collect();
                    told.push(format!("{:?}", span.status).replace(' ', ""));
                    told.push(format!("kind={:?}", span.span_kind));
                    told.extend(
                        span.events.iter().map(|event| format!("event:{}", event.name.replace(' ', "-"))),
                    );
                    told.extend(span.links.iter().map(|link| {
                        let to = &link.span_context;
                        format!("link:{}:{}:{}", to.trace_id(), to.span_id(), to.is_remote())
                    }));
                    told.sort_unstable();
                    println!(
                        "span {} {} {} {} {}",
                        span.name,
                        span.span_context.trace_id(),
                        span.span_context.span_id(),
                        span.parent_span_id,
                        told.join(",")
                    );
                }
            }
        }
    };
}
with!(newest, opentelemetry, opentelemetry_sdk, tracing_opentelemetry);
with!(older, opentelemetry_0_32, opentelemetry_sdk_0_32, tracing_opentelemetry_0_33);
