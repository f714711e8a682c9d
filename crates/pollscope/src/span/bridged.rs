//! `#[pollscope::instrument]` and the layers of requests beside an OpenTelemetry layer: their spans are spans of
//! `tracing` there, so that they have the same exporter, and hang together.
//!
//! tracing wants static call sites; these are made when a function is first called, and live on.

#[cfg(feature = "tower")]
use super::RemoteParent;
use super::direct::{CallsiteStatic, FieldValue};
use super::{Context, OpenSpan, Parent};
use crate::otel::{self, SpanContext};
use crate::{layer, recorder};
use pollscope_wire::record::span as flags;
use std::collections::HashMap;
#[cfg(feature = "tower")]
use std::panic::Location;
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};
use tracing::callsite::{Callsite, Identifier};
use tracing::field::FieldSet;
use tracing::metadata::Kind;
use tracing::span::Id;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Span, Value, dispatcher};

/// What may be recorded of any span, beside its fields.
const MORE: [&str; 2] = ["return", "otel.status_code"];

/// A call site that was made while the service runs.
#[derive(Default)]
struct Made {
    metadata: OnceLock<Metadata<'static>>,
}

impl Callsite for Made {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        self.metadata.get().expect("it is set before anybody knows the call site")
    }
}

/// The metadata of an instrumented function's span or event, by the address of its facts.
fn metadata(
    of: &'static CallsiteStatic,
    kind: Kind,
    names: impl FnOnce() -> Vec<&'static str>,
) -> &'static Metadata<'static> {
    made(of as *const _ as usize, |made| {
        let level = match of.severity {
            1 => Level::TRACE,
            5 => Level::DEBUG,
            13 => Level::WARN,
            17 => Level::ERROR,
            _ => Level::INFO,
        };
        let fields = FieldSet::new(names().leak(), Identifier(made));
        let (file, line) = (Some(of.file), Some(of.line));
        Metadata::new(of.name, of.target, level, file, line, Some(of.target), fields, kind)
    })
}

/// The metadata that has this key, made if need be.
fn made(key: usize, make: impl FnOnce(&'static Made) -> Metadata<'static>) -> &'static Metadata<'static> {
    if let Some(Some(known)) = recorder::with(|r| r.made.get(&key).copied()) {
        return known;
    }
    let made = made_by_any(key, make);
    recorder::with(|r| r.made.insert(key, made));
    made
}

/// The same where this thread has not seen it yet.
#[cold]
fn made_by_any(
    key: usize,
    make: impl FnOnce(&'static Made) -> Metadata<'static>,
) -> &'static Metadata<'static> {
    static MADE: LazyLock<Mutex<HashMap<usize, &'static Made>>> = LazyLock::new(Default::default);
    let mut all = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let made = all.entry(key).or_insert_with(|| {
        let made: &'static Made = Box::leak(Box::default());
        let metadata = make(made);
        if made.metadata.set(metadata).is_ok() {
            tracing_core::callsite::register(made);
        }
        made
    });
    made.metadata.get().expect("it was set when it was made")
}

/// Opens a span of tracing, where there is an OpenTelemetry layer that would have it.
pub(super) fn open(
    of: &'static CallsiteStatic,
    parent: Parent,
    fields: &[(&'static str, FieldValue<'_>)],
) -> Option<Span> {
    if !layer::joins() {
        return None;
    }
    let parent = match parent {
        Parent::Of(context) if Some(context.local) == super::current().context_local() => Parent::Current,
        Parent::Tracing(span, context) if !layer::is_here(span) => context.map_or(Parent::Root, Parent::Of),
        parent => parent,
    };
    let metadata = metadata(of, Kind::SPAN, || fields.iter().map(|(name, _)| *name).chain(MORE).collect());
    if !dispatcher::get_default(|current| current.enabled(metadata)) {
        return None;
    }
    let none = metadata.fields().value_set(&[]);
    let span = match parent {
        Parent::Current => Span::new(metadata, &none),
        Parent::Tracing(parent, _) => Span::child_of(Some(Id::from_u64(parent.id)), metadata, &none),
        Parent::Root => Span::new_root(metadata, &none),
        // Nobody knows tracing's id of it.
        Parent::Of(parent) => below(parent, || Span::new_root(metadata, &none)),
        Parent::Remote(parent) => {
            let span = Span::new_root(metadata, &none);
            layer::attach(&span, parent);
            span
        }
    };
    for (name, value) in fields {
        record(&span, name, value);
    }
    Some(span)
}

/// What may be recorded of a request.
#[cfg(feature = "tower")]
const OF_REQUEST: &[&str] = &[
    "otel.name",
    "otel.kind",
    "otel.status_code",
    "error.type",
    "http.request.method",
    "http.request.method_original",
    "http.response.status_code",
    "http.route",
    "network.protocol.version",
    "rpc.method",
    "rpc.method_original",
    "rpc.response.status_code",
    "rpc.system.name",
    "server.address",
    "server.port",
    "url.full",
    "url.path",
    "url.query",
    "url.scheme",
    "user_agent.original",
];

/// The same for a request: under its caller's span, else the current one.
#[cfg(feature = "tower")]
pub(super) fn open_request(
    location: &'static Location<'static>,
    remote: Option<RemoteParent>,
    fields: &[(&'static str, FieldValue<'_>)],
) -> Option<Span> {
    // Of a caller only a bound minor can be told.
    if !layer::joins() || remote.is_some() && !crate::otel::BOUND {
        return None;
    }
    // An odd address, as its callsite in the session has.
    let metadata = made(location as *const _ as usize | 1, |made| {
        let fields = FieldSet::new(OF_REQUEST, Identifier(made));
        let (file, line, target) = (Some(location.file()), Some(location.line()), "pollscope::http");
        Metadata::new("HTTP", target, Level::INFO, file, line, Some(target), fields, Kind::SPAN)
    });
    if !dispatcher::get_default(|current| current.enabled(metadata)) {
        return None;
    }
    // The kind is told at once: some look for it but then.
    let kind = fields.iter().find_map(|(name, value)| match value {
        FieldValue::Str(kind) if *name == "otel.kind" => Some(&**kind),
        _ => None,
    });
    let field = metadata.fields().field("otel.kind")?;
    let values = [(&field, kind.as_ref().map(|kind| kind as &dyn Value))];
    let values = metadata.fields().value_set(&values);
    let span =
        if remote.is_some() { Span::new_root(metadata, &values) } else { Span::new(metadata, &values) };
    for (name, value) in fields.iter().filter(|(name, _)| *name != "otel.kind") {
        record(&span, name, value);
    }
    if let Some(remote) = remote {
        layer::attach(&span, remote);
    }
    // No layer further in is to take it for its own request's.
    layer::with_open(&span, OpenSpan::claim);
    Some(span)
}

/// Runs a closure with it as the current span, counting no time: on this thread, for others may enter it meanwhile.
#[cfg(feature = "tower")]
pub(super) fn as_current<R>(span: &Span, run: impl FnOnce() -> R) -> R {
    struct Shown<'a>(&'a Span, Option<u64>);
    impl Drop for Shown<'_> {
        fn drop(&mut self) {
            exit(self.0);
            if let Some(before) = self.1 {
                recorder::with(|r| r.shown = before);
            }
        }
    }
    let local = layer::with_open(span, OpenSpan::local);
    let before = local.and_then(|local| recorder::with(|r| std::mem::replace(&mut r.shown, local)));
    enter(span);
    let _shown = Shown(span, before);
    run()
}

/// Its ids, which are its exporter's.
#[cfg(feature = "tower")]
pub(super) fn context(span: &Span) -> Option<super::Context> {
    span.with_subscriber(|(id, dispatch)| layer::context_in(dispatch, id)).flatten()
}

/// Opens a span below one that tracing does not have.
fn below(parent: Context, open: impl FnOnce() -> Span) -> Span {
    recorder::with(|r| r.under = Some(parent));
    let span = open();
    recorder::with(|r| r.under = None);
    otel::set_parent(&span, &context_of(parent), false);
    span
}

fn context_of(span: Context) -> SpanContext {
    SpanContext { trace_id: span.trace, span_id: span.span, flags: u8::from(span.sampled) }
}

/// Links another span, here and for its exporter.
pub(super) fn link(span: &Span, to: Context) {
    layer::with_open(span, |open| recorder::with(|r| open.link(r, to)));
    otel::add_link(span, &context_of(to), to.local == 0);
}

/// Records an attribute.
pub(super) fn record(span: &Span, name: &str, value: &FieldValue<'_>) {
    let value: &dyn Value = match value {
        FieldValue::Str(text) => &text.as_ref(),
        FieldValue::I64(n) => n,
        FieldValue::U64(n) => n,
        FieldValue::F64(n) => n,
        FieldValue::Bool(b) => b,
        FieldValue::Empty => return,
    };
    span.record(name, value);
}

/// Records an error as an event.
pub(super) fn error(span: &Span, of: &'static CallsiteStatic, text: &str) {
    mark(span, flags::ERROR);
    let metadata = metadata(of, Kind::EVENT, || vec!["error"]);
    let Some(field) = metadata.fields().field("error") else { return };
    span.with_subscriber(|(id, dispatch)| {
        if dispatch.enabled(metadata) {
            let values = [(&field, Some(&text as &dyn Value))];
            let values = metadata.fields().value_set(&values);
            dispatch.event(&Event::new_child_of(id.clone(), metadata, &values));
        }
    });
}

/// Marks what has become of it.
pub(super) fn mark(span: &Span, bits: u16) {
    if bits == 0 {
        return;
    }
    layer::with_open(span, |open: &OpenSpan| open.mark(bits));
    if bits & flags::ERROR != 0 {
        span.record("otel.status_code", "ERROR");
    }
}

/// Enters it on this thread, until [`exit`].
pub(super) fn enter(span: &Span) {
    span.with_subscriber(|(id, dispatch)| dispatch.enter(id));
}

/// Leaves it.
pub(super) fn exit(span: &Span) {
    span.with_subscriber(|(id, dispatch)| dispatch.exit(id));
}
