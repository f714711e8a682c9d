//! The `tracing` layer: spans and events into the thread's span ring.
//!
//! The parent of a span is what tracing says when it says anything; else the thread's current span, which may
//! be a task's or one of `#[pollscope::instrument]`.

mod filter;
mod filtered;
mod join;

pub use filtered::Layer;
use join::{Join, Source};
pub(crate) use join::{has_layer, joins, settle_current, settle_in};

use crate::config::{Spans, spans};
use crate::otel::{self, SpanContext};
use crate::recorder;
use crate::scoped;
use crate::span::attribute::{self, FieldValue};
use crate::span::{self, Context as SpanOf, OpenSpan, Parent, RemoteParent, TracingSpan};
use crate::state::say;
use pollscope_wire::record::source;
use pollscope_wire::sys;
use pollscope_wire::table::CallsiteDef;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Once};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

/// Events from this level up are recorded where `POLLSCOPE_EVENTS` says nothing.
const DEFAULT_EVENTS: LevelFilter = LevelFilter::WARN;

/// The layer that records spans and events: add it to the service's subscriber, before an OpenTelemetry layer.
///
/// ```
/// use tracing_subscriber::prelude::*;
/// let subscriber = tracing_subscriber::registry().with(pollscope::layer());
/// # drop(subscriber);
/// ```
pub fn layer<S>() -> Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    crate::state::layer_made();
    let mut layer = unjoined();
    if otel::BOUND {
        layer.join(Source::Bound);
    }
    layer
}

/// The layer that has no OpenTelemetry layer beside it.
pub(crate) fn unjoined<S>() -> Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    Layer::new(Recording { events: events(), join: Arc::default() })
}

/// `POLLSCOPE_EVENTS`.
fn events() -> LevelFilter {
    let Some(text) = std::env::var("POLLSCOPE_EVENTS").ok().filter(|text| !text.is_empty()) else {
        return DEFAULT_EVENTS;
    };
    text.trim().parse().unwrap_or_else(|_| {
        static SAID: Once = Once::new();
        SAID.call_once(|| {
            say(format_args!("POLLSCOPE_EVENTS is {text:?}, which is no level: {DEFAULT_EVENTS} is used"));
        });
        DEFAULT_EVENTS
    })
}

/// The layer below its filter.
#[derive(Debug)]
pub(crate) struct Recording {
    /// Events of this level and above are recorded.
    events: LevelFilter,
    join: Arc<Join>,
}

/// tokio's own spans are no spans of the service, whatever the filter.
fn is_tokios(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("tokio") && metadata.name().starts_with("runtime.")
}

/// Fields of a span or event, formatted.
#[derive(Default)]
struct Fields(Vec<(&'static str, FieldValue<'static>)>);

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.push((field.name(), value.into()));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.push((field.name(), value.into()));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.push((field.name(), value.into()));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.push((field.name(), value.into()));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), value.to_owned().into()));
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0.push((field.name(), value.to_string().into()));
        self.0.push(("exception.message", value.to_string().into()));
        let sources = std::iter::successors(value.source(), |error| error.source());
        let chain: Vec<String> = sources.map(ToString::to_string).collect();
        if !chain.is_empty() {
            self.0.push(("exception.stacktrace", chain.join("\n").into()));
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name(), format!("{value:?}").into()));
    }
}

/// OpenTelemetry's severity number of a level.
pub const fn severity(level: Level) -> u8 {
    match level {
        Level::TRACE => 1,
        Level::DEBUG => 5,
        Level::INFO => 9,
        Level::WARN => 13,
        Level::ERROR => 17,
    }
}

fn callsite(r: &mut recorder::Recorder, metadata: &'static Metadata<'static>, what: u8) -> u32 {
    r.callsite(metadata as *const _ as usize, |global| {
        global.session.callsite(&CallsiteDef {
            kind: what,
            name: metadata.name(),
            target: metadata.target(),
            file: metadata.file().unwrap_or(""),
            line: metadata.line().unwrap_or(0),
            column: 0,
            severity: severity(*metadata.level()),
        })
    })
}

/// The context of one of tracing's spans, if it is recorded.
fn context_of<S>(id: &Id, ctx: &Context<'_, S>) -> Option<SpanOf>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    context_of_open(&ctx.span(&scoped::own_id(id))?)
}

fn context_of_open<'a, R: LookupSpan<'a>>(span: &SpanRef<'a, R>) -> Option<SpanOf> {
    span.extensions().get::<OpenSpan>().map(OpenSpan::context)
}

/// A span, or the nearest one around it that is recorded: a filter may have left it out.
fn nearest<'a, R: LookupSpan<'a>>(registry: &'a R, id: &Id) -> Option<SpanOf> {
    registry.span(id)?.scope().find_map(|span| context_of_open(&span))
}

impl<S> tracing_subscriber::Layer<S> for Recording
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        Join::is_in(&self.join, dispatch);
    }

    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        if !crate::state::is_recording() || is_tokios(attrs.metadata()) || spans() == Spans::Off {
            return;
        }
        let mut fields = Fields::default();
        attrs.record(&mut fields);
        // Where the parent itself is not recorded, the nearest around it.
        let around = || ctx.span(id)?.scope().skip(1).find_map(|of| context_of_open(&of));
        let explicit = attrs.parent().and_then(|parent| context_of(parent, &ctx).or_else(around));
        // Its exporter knows parents that are tracing's alone.
        let orphan = self.join.source.is_some() && ctx.span(id).is_some_and(|span| span.parent().is_none());
        let open = recorder::with(|r| {
            let now = sys::tick();
            let parent = match attrs.is_contextual() {
                true => r.entered.last().copied(),
                false => explicit.or_else(|| r.under.take()),
            };
            let callsite = callsite(r, attrs.metadata(), 2);
            let task = r.frame.task;
            let span = match self.join.source {
                Some(_) if spans() == Spans::Join => {
                    OpenSpan::open_waiting(r, parent, (id.into_u64(), orphan), callsite, task, now)
                }
                _ => OpenSpan::open_under(r, parent, None, callsite, 0, source::CODE, task, now),
            };
            for (key, value) in &fields.0 {
                attribute::of_span(r, &span, key, value, now);
                if *key == "otel.kind"
                    && matches!(value, FieldValue::Str(kind) if kind.eq_ignore_ascii_case("server"))
                {
                    span.is_of_server();
                }
            }
            span
        });
        if let (Some(open), Some(span)) = (open, ctx.span(id)) {
            span.extensions_mut().insert(open);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        if span.extensions().get::<OpenSpan>().is_none() {
            return;
        }
        // Formatted before the span's extensions are held: user code may look at them, too.
        let mut fields = Fields::default();
        values.record(&mut fields);
        let extensions = span.extensions();
        let Some(open) = extensions.get::<OpenSpan>() else { return };
        recorder::with(|r| {
            let now = sys::tick();
            for (key, value) in &fields.0 {
                attribute::of_span(r, open, key, value, now);
            }
        });
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, ctx: Context<'_, S>) {
        let Some(to) = context_of(follows, &ctx) else { return };
        let Some(span) = ctx.span(id) else { return };
        let extensions = span.extensions();
        let Some(open) = extensions.get::<OpenSpan>() else { return };
        recorder::with(|r| open.link(r, to));
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        if *event.metadata().level() > self.events || !crate::state::is_recording() {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let explicit =
            event.parent().and_then(|parent| context_of(parent, &ctx).or_else(|| self.join.nearest(parent)));
        recorder::with(|r| {
            let span = if event.is_contextual() { r.entered.last().copied() } else { explicit };
            let span = span.map_or(0, |context| context.local);
            let callsite = callsite(r, event.metadata(), 3);
            attribute::event(r, span, callsite, &fields.0);
        });
    }

    fn on_enter(&self, id: &Id, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        let unknown = {
            let extensions = span.extensions();
            let Some(open) = extensions.get::<OpenSpan>() else { return };
            recorder::with(|r| open.enter(r));
            (self.join.source.is_some() && self.join.dispatch.get().is_none()).then(|| open.local())
        };
        if let Some(local) = unknown {
            Join::look_around(&self.join, id, local);
        }
    }

    fn on_exit(&self, id: &Id, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        if let Some(open) = span.extensions().get::<OpenSpan>() {
            recorder::with(|r| open.exit(r));
        }
        Join::settle_here(&self.join, id, &ctx);
    }

    fn on_close(&self, id: Id, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(&id) else { return };
        if !self.join.late.load(Ordering::Relaxed) {
            Join::settle_here(&self.join, &id, &ctx);
        }
        self.join.tell(&id, &span);
        let Some(open) = span.extensions_mut().remove::<OpenSpan>() else { return };
        if open.waits() && self.join.late.load(Ordering::Relaxed) {
            // Its exporter has it, under ids that nobody can tell any more.
            return open.abandon();
        }
        if open.waits() {
            // Nobody could be asked.
            recorder::with(|r| open.settle(r, None, open.waiting_under()));
        }
        if recorder::with(|r| open.close(r, 0)).is_none() {
            open.abandon();
        }
    }
}

/// The context of one of tracing's spans, as its subscriber knows it.
pub(crate) fn context_in(dispatch: &tracing::Dispatch, id: &Id) -> Option<SpanOf> {
    let (home, registry, own) = scoped::home(dispatch, id)?;
    let context = registry.span(&own)?.extensions().get::<OpenSpan>().map(OpenSpan::context)?;
    if context.later != 0 { settle_in(home, &own) } else { Some(context) }
}

/// One of tracing's spans as a parent, as its subscriber knows it.
pub(crate) fn parent_in(dispatch: &Dispatch, id: &Id) -> Parent {
    let Some((_, registry, own)) = scoped::home(dispatch, id) else { return Parent::Root };
    let is_recorded = |span: &SpanRef<'_, Registry>| span.extensions().get::<OpenSpan>().is_some();
    let Some(span) = registry.span(&own) else { return Parent::Root };
    let nearest = span.scope().find(is_recorded).map(|span| span.id());
    let context = nearest.and_then(|nearest| context_in(dispatch, &scoped::like(id, nearest)));
    Parent::Tracing(TracingSpan { home: std::ptr::from_ref(registry).addr(), id: own.into_u64() }, context)
}

/// Whether a span can be a parent of what is opened here.
pub(crate) fn is_here(span: TracingSpan) -> bool {
    tracing::dispatcher::get_default(|dispatch| {
        let registry = scoped::front(dispatch).downcast_ref::<Registry>();
        registry.is_some_and(|registry| {
            std::ptr::from_ref(registry).addr() == span.home
                && registry.span(&Id::from_u64(span.id)).is_some()
        })
    })
}

/// Looks at what is recorded of one of tracing's spans.
pub(crate) fn with_open<R>(span: &tracing::Span, look: impl FnOnce(&OpenSpan) -> R) -> Option<R> {
    let found = span.with_subscriber(|(id, dispatch)| {
        let (_, registry, id) = scoped::home(dispatch, id)?;
        let span = registry.span(&id)?;
        let extensions = span.extensions();
        extensions.get::<OpenSpan>().map(look)
    });
    found.flatten()
}

/// Gives a tracing span a parent in another process, before it is entered.
pub(crate) fn attach(span: &tracing::Span, remote: RemoteParent) {
    // Not to be done while anything of the span is held.
    if span::may_join() && with_open(span, OpenSpan::waits) == Some(true) {
        let flags = u8::from(remote.sampled);
        otel::set_parent(span, &SpanContext { trace_id: remote.trace, span_id: remote.span, flags }, true);
    }
    with_open(span, |open| recorder::with(|r| open.attach(r, remote)));
}

/// Keeps what goes out with requests of a span's trace while the span is open.
#[cfg(feature = "tower")]
pub(crate) fn carry(span: &tracing::Span, carried: crate::http::Carried) {
    span.with_subscriber(|(id, dispatch)| {
        let Some((_, registry, id)) = scoped::home(dispatch, id) else { return };
        if let Some(span) = registry.span(&id) {
            span.extensions_mut().replace(carried);
        }
    });
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::prelude::*;

    /// Must not be looked at.
    struct Private;

    impl std::fmt::Debug for Private {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("formatted though nothing is recorded")
        }
    }

    #[test]
    fn where_nothing_is_recorded_nothing_is_formatted() {
        assert!(!crate::state::is_recording());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(super::layer()), || {
            let span = tracing::info_span!("span", private = ?Private, later = tracing::field::Empty);
            span.record("later", tracing::field::debug(Private));
            span.in_scope(|| tracing::error!(private = ?Private, "event"));
        });
    }
}
