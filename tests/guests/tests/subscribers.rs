//! Wherever `pollscope::layer()` is put, and whatever it is wrapped into, no subscriber panics and no span is lost.

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use pollscope_model::event::{Attribute, Value};
use pollscope_model::span::FinishedSpan;
use pollscope_testkit::Place;
use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use tracing::{Subscriber, debug_span, error, info, info_span, warn};
use tracing_subscriber::filter::{LevelFilter, Targets, filter_fn};
use tracing_subscriber::layer::Identity;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, registry, reload};

/// What the service logs.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The one session of this process, and its place.
struct Session {
    place: Place,
    _guard: pollscope::Guard,
}

fn session() -> MutexGuard<'static, Session> {
    static SESSION: LazyLock<Mutex<Session>> = LazyLock::new(|| {
        let place = Place::new();
        let guard = pollscope::Config::from_env().dir(place.path()).init();
        assert!(guard.is_recording());
        Mutex::new(Session { place, _guard: guard })
    });
    SESSION.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The spans that `work` leaves under a subscriber.
fn recorded(subscriber: impl Subscriber + Send + Sync + 'static, work: impl FnOnce()) -> Vec<FinishedSpan> {
    let session = session();
    let mark = format!("{:?}", std::time::Instant::now());
    tracing::subscriber::with_default(subscriber, || {
        info_span!("case", mark).in_scope(work);
    });
    let all = pollscope_testkit::finished(&session.place);
    let marked = |span: &&FinishedSpan| span.attributes.iter().any(|of| text(of) == mark);
    let case = all.iter().find(marked).expect("the outermost is recorded").ids.trace;
    all.into_iter().filter(|span| span.ids.trace == case).collect()
}

fn text(attribute: &Attribute) -> &str {
    match &attribute.value {
        Value::Str(text) => text,
        _ => "",
    }
}

fn work() {
    let late = info_span!("late", told = tracing::field::Empty);
    late.record("told", "so");
    late.in_scope(|| {
        warn!("warned");
        info!("informed");
        info_span!("inner").in_scope(|| error!("failed"));
        debug_span!("below the filter").in_scope(|| info_span!("above it again").in_scope(|| ()));
    });
}

/// All that the default filter lets through is recorded, once, each below the other.
#[track_caller]
fn check(subscriber: impl Subscriber + Send + Sync + 'static) {
    whole(&recorded(subscriber, work));
}

#[track_caller]
fn whole(spans: &[FinishedSpan]) {
    let mut names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["above it again", "case", "inner", "late"]);
    let of = |name: &str| spans.iter().find(|span| &*span.name == name).unwrap();
    let below = |name: &str| of(name).ids.parent == Some(of("late").ids.span);
    assert!(below("inner") && below("above it again"));
    assert_eq!(of("late").ids.parent, Some(of("case").ids.span));
    assert_eq!((of("late").events.len(), of("inner").events.len()), (1, 1));
    assert_eq!(of("late").attributes.iter().map(text).collect::<Vec<_>>(), ["so"]);
    assert!(spans.iter().all(|span| span.polls == 1), "entered once");
}

fn lines<S>(lines: &Lines) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'a> registry::LookupSpan<'a>,
{
    let lines = lines.clone();
    fmt::layer().without_time().with_ansi(false).with_writer(move || lines.clone())
}

#[test]
fn on_a_registry_before_and_after_others() {
    let told = Lines::default();
    check(registry().with(pollscope::layer()));
    check(registry().with(pollscope::layer()).with(lines(&told)));
    check(registry().with(lines(&told)).with(pollscope::layer()));
    check(Registry::default().with(lines(&told).with_filter(LevelFilter::WARN)).with(pollscope::layer()));
    assert!(told.text().contains("case{mark="), "{}", told.text());
}

#[test]
fn on_what_fmt_makes() {
    let told = Lines::default();
    let fmt = |told: &Lines| {
        let told = told.clone();
        fmt().without_time().with_ansi(false).with_writer(move || told.clone())
    };
    check(fmt(&told).finish().with(pollscope::layer()));
    check(fmt(&told).with_env_filter(EnvFilter::new("info")).finish().with(pollscope::layer()));
    check(fmt(&told).finish().with(LevelFilter::TRACE).with(pollscope::layer()).with(Identity::new()));
    check(fmt(&told).with_max_level(LevelFilter::TRACE).finish().with(pollscope::layer()));
    assert_eq!(told.text().matches(" warned").count(), 4, "{}", told.text());
    assert_eq!(told.text().matches("below the filter").count(), 0, "nothing is logged in it");
    // Its own filter is one for all.
    let spans =
        recorded(fmt(&told).with_max_level(LevelFilter::INFO).finish().with(pollscope::layer()), || {
            debug_span!("hidden").in_scope(|| info_span!("seen").in_scope(|| ()));
        });
    assert_eq!(spans.len(), 2, "{spans:?}");
}

#[test]
fn below_a_filter_for_all() {
    let told = Lines::default();
    check(registry().with(EnvFilter::new("info")).with(lines(&told)).with(pollscope::layer()));
    check(registry().with(pollscope::layer()).with(lines(&told)).with(EnvFilter::new("trace")));
    check(registry().with(LevelFilter::INFO).with(pollscope::layer()));
}

#[test]
fn with_a_filter_of_its_own_on_top() {
    check(registry().with(pollscope::layer().with_filter(LevelFilter::TRACE)));
    check(registry().with(pollscope::layer().with_filter(Targets::new().with_default(LevelFilter::INFO))));
    check(registry().with(pollscope::layer().with_filter(EnvFilter::new("trace"))));
    check(
        registry().with(pollscope::layer().with_filter(filter_fn(|_| true))).with(lines(&Lines::default())),
    );
    let spans =
        recorded(registry().with(pollscope::layer().with_filter(filter_fn(|of| of.name() != "late"))), work);
    let mut names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["above it again", "case", "inner"], "what either leaves out is not recorded");
}

#[test]
fn in_a_box_an_option_and_a_list() {
    let told = Lines::default();
    check(registry().with(pollscope::layer().boxed()));
    let boxed: Box<dyn Layer<Registry> + Send + Sync> = Box::new(pollscope::layer());
    check(registry().with(boxed).with(lines(&told)));
    check(registry().with(Some(pollscope::layer())));
    check(registry().with(lines(&told)).with(Some(pollscope::layer().boxed())));
    check(registry().with(vec![pollscope::layer()]));
    check(registry().with(vec![lines(&told).boxed(), pollscope::layer().boxed()]));
    check(registry().with(pollscope::layer().and_then(lines(&told))));
    check(registry().with(lines(&told).and_then(pollscope::layer())));
    check(fmt().with_writer(std::io::sink).finish().with(pollscope::layer().boxed()));
    check(fmt().with_writer(std::io::sink).finish().with(vec![Some(pollscope::layer())]));
}

#[test]
fn in_what_can_be_reloaded() {
    let (layer, handle) = reload::Layer::new(pollscope::layer());
    check(registry().with(layer).with(lines(&Lines::default())));
    assert!(handle.modify(|_| ()).is_err(), "it is gone with its subscriber");
    let (layer, handle) = reload::Layer::new(None::<pollscope::Layer<Registry>>);
    let subscriber = registry().with(layer);
    handle.reload(Some(pollscope::layer())).unwrap();
    check(subscriber);
    let (layer, handle) = reload::Layer::new(Identity::new().boxed());
    let subscriber = registry().with(layer).with(lines(&Lines::default()));
    handle.reload(pollscope::layer().boxed()).unwrap();
    check(subscriber);
    let (filter, handle) = reload::Layer::new(LevelFilter::OFF);
    let subscriber = registry().with(pollscope::layer().with_filter(filter));
    handle.reload(LevelFilter::INFO).unwrap();
    check(subscriber);
}

/// Beside an OpenTelemetry layer every span has its ids.
#[track_caller]
fn joined<S>(subscriber: S)
where
    S: Subscriber + for<'a> registry::LookupSpan<'a> + Send + Sync + 'static,
{
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let theirs = tracing_opentelemetry::layer().with_tracer(provider.tracer("joined"));
    let ours = recorded(subscriber.with(theirs.with_filter(LevelFilter::INFO)), work);
    whole(&ours);
    let mut theirs = exporter.get_finished_spans().unwrap();
    theirs.sort_by_key(|span| span.start_time);
    assert_eq!(theirs.len(), ours.len());
    for span in &ours {
        assert!(span.ids.foreign, "{}", span.name);
        let their = theirs.iter().find(|their| *their.name == *span.name).unwrap();
        let context = &their.span_context;
        assert_eq!(context.trace_id().to_bytes(), span.ids.trace.0.to_be_bytes());
        assert_eq!(context.span_id().to_bytes(), span.ids.span.0.to_be_bytes());
        assert!(their.attributes.iter().any(|of| of.key.as_str() == "pollscope.busy_ns"), "{}", span.name);
    }
}

#[test]
fn beside_opentelemetry_in_all_of_these() {
    joined(registry().with(pollscope::layer()));
    joined(registry().with(Some(pollscope::layer())));
    joined(registry().with(vec![pollscope::layer()]));
    joined(registry().with(pollscope::layer().boxed()));
    joined(registry().with(reload::Layer::new(pollscope::layer()).0));
    joined(registry().with(reload::Layer::new(Some(pollscope::layer())).0));
    joined(registry().with(pollscope::layer().with_filter(LevelFilter::TRACE)));
}

/// A span that our filter leaves out and another layer has is no parent here; the one around it is.
#[track_caller]
fn passes_over(subscriber: impl Subscriber + Send + Sync + 'static) {
    let spans = recorded(subscriber, || {
        let dropped =
            info_span!("around").in_scope(|| debug_span!("dropped").in_scope(|| debug_span!("dropped, too")));
        info_span!(parent: &dropped, "below").in_scope(|| ());
        info_span!("elsewhere").in_scope(|| {
            info_span!(parent: &dropped, "below").in_scope(|| ());
            warn!(parent: &dropped, "told of it");
        });
        info_span!(parent: None, "apart").in_scope(|| info_span!(parent: &dropped, "below").in_scope(|| ()));
        drop(dropped);
    });
    let around = spans.iter().find(|span| &*span.name == "around").unwrap();
    let below: Vec<_> =
        spans.iter().filter(|span| &*span.name == "below").map(|span| span.ids.parent).collect();
    assert_eq!(below, [Some(around.ids.span); 3]);
    let events: Vec<_> =
        spans.iter().filter(|span| !span.events.is_empty()).map(|span| &*span.name).collect();
    assert_eq!(events, ["around"]);
}

#[test]
fn a_parent_that_the_filter_leaves_out_is_passed_over() {
    passes_over(registry().with(lines(&Lines::default())).with(pollscope::layer()));
    passes_over(registry().with(pollscope::layer()).with(lines(&Lines::default())));
    passes_over(
        fmt().with_writer(std::io::sink).with_max_level(LevelFilter::TRACE).finish().with(pollscope::layer()),
    );
}

/// Says what is current while it is called, as a formatter may.
#[derive(Clone, Default)]
struct Asks(Arc<Mutex<Vec<pollscope::Current>>>);

impl<S: Subscriber> Layer<S> for Asks {
    fn on_event(&self, _: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        self.0.lock().unwrap().push(pollscope::current());
    }
}

/// A service may have one subscriber while it starts, and another afterwards: each knows the ids of its own spans.
#[test]
fn ids_are_known_inside_of_a_call_whichever_subscriber_it_is() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let asks = Asks::default();
    let subscriber = || {
        let theirs = tracing_opentelemetry::layer().with_tracer(provider.tracer("two"));
        registry().with(pollscope::layer()).with(theirs.with_filter(LevelFilter::INFO)).with(asks.clone())
    };
    let ask = || info_span!("asked").in_scope(|| warn!("who is it?"));
    recorded(subscriber(), ask);
    recorded(subscriber(), || {
        // One that is there at the same time, whose spans have the same ids of tracing.
        tracing::subscriber::with_default(subscriber(), || info_span!("first").in_scope(ask));
        ask();
    });
    let told: Vec<_> = asks.0.lock().unwrap().iter().map(|of| (of.trace_id(), of.span_id())).collect();
    let theirs = exporter.get_finished_spans().unwrap();
    let asked = theirs.iter().filter(|span| span.name == "asked").map(|span| &span.span_context);
    let ids = asked.map(|of| (of.trace_id().to_bytes(), of.span_id().to_bytes()));
    let ids = ids.map(|(trace, span)| (Some(u128::from_be_bytes(trace)), Some(u64::from_be_bytes(span))));
    assert_eq!(told, ids.collect::<Vec<_>>());
    assert_eq!(told.len(), 3);
}
