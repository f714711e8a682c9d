//! The `tracing` layer: spans and events into the thread's span ring.
//!
//! The parent of a span is what tracing says when it says anything; else the thread's current span, which may
//! be a task's or one of `#[pollscope::instrument]`.

use crate::recorder;
use crate::span::attribute::{self, FieldValue};
use crate::span::{Context as SpanContext, OpenSpan};
use crate::state::say;
use pollscope_wire::record::source;
use pollscope_wire::sys;
use pollscope_wire::table::CallsiteDef;
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{Filtered, LevelFilter};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// What is recorded where `POLLSCOPE_FILTER` says nothing: the spans of the service, not of the libraries
/// below it.
const DEFAULT_FILTER: &str = "info,tower_http=debug,h2=off,hyper=off,hyper_util=off,tonic=off,tower=off,rustls=off,tokio=off,runtime=off";

/// Events from this level up are recorded where `POLLSCOPE_EVENTS` says nothing.
const DEFAULT_EVENTS: LevelFilter = LevelFilter::WARN;

/// The layer that records spans and events: add it to the service's subscriber, before an OpenTelemetry layer.
///
/// ```
/// use tracing_subscriber::prelude::*;
/// let subscriber = tracing_subscriber::registry().with(pollscope::layer());
/// # drop(subscriber);
/// ```
pub fn layer<S>() -> Filtered<Layer, EnvFilter, S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    crate::state::layer_made();
    let said = std::env::var("POLLSCOPE_FILTER").ok().filter(|text| !text.is_empty());
    let filter = match said.as_deref().map(|text| (text, EnvFilter::try_new(text))) {
        Some((_, Ok(filter))) => filter,
        Some((text, Err(error))) => {
            say(format_args!("POLLSCOPE_FILTER {text:?} is no filter ({error}): {DEFAULT_FILTER:?} is used"));
            EnvFilter::new(DEFAULT_FILTER)
        }
        None => EnvFilter::new(DEFAULT_FILTER),
    };
    tracing_subscriber::Layer::with_filter(Layer { events: events() }, filter)
}

/// `POLLSCOPE_EVENTS`.
fn events() -> LevelFilter {
    let Some(text) = std::env::var("POLLSCOPE_EVENTS").ok().filter(|text| !text.is_empty()) else {
        return DEFAULT_EVENTS;
    };
    text.trim().parse().unwrap_or_else(|_| {
        say(format_args!("POLLSCOPE_EVENTS is {text:?}, which is no level: {DEFAULT_EVENTS} is used"));
        DEFAULT_EVENTS
    })
}

/// Records what passes its filter; see [`layer()`].
#[derive(Debug)]
pub struct Layer {
    /// Events of this level and above are recorded.
    events: LevelFilter,
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
fn context_of<S>(id: &Id, ctx: &Context<'_, S>) -> Option<SpanContext>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    ctx.span(id)?.extensions().get::<OpenSpan>().map(OpenSpan::context)
}

impl<S> tracing_subscriber::Layer<S> for Layer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        if !crate::state::is_recording() {
            return;
        }
        let mut fields = Fields::default();
        attrs.record(&mut fields);
        let explicit = attrs.parent().and_then(|parent| context_of(parent, &ctx));
        let open = recorder::with(|r| {
            let now = sys::tick();
            let parent = if attrs.is_contextual() { r.entered.last().copied() } else { explicit };
            let callsite = callsite(r, attrs.metadata(), 2);
            let task = r.frame.task;
            let span = OpenSpan::open_under(r, parent, None, callsite, 0, source::CODE, task, now);
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
        let explicit = event.parent().and_then(|parent| context_of(parent, &ctx));
        recorder::with(|r| {
            let span = if event.is_contextual() { r.entered.last().copied() } else { explicit };
            let span = span.map_or(0, |context| context.local);
            let callsite = callsite(r, event.metadata(), 3);
            attribute::event(r, span, callsite, &fields.0);
        });
    }

    fn on_enter(&self, id: &Id, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        if let Some(open) = span.extensions().get::<OpenSpan>() {
            recorder::with(|r| open.enter(r));
        }
    }

    fn on_exit(&self, id: &Id, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        if let Some(open) = span.extensions().get::<OpenSpan>() {
            recorder::with(|r| open.exit(r));
        }
    }

    fn on_close(&self, id: Id, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(&id) else { return };
        let Some(open) = span.extensions_mut().remove::<OpenSpan>() else { return };
        if recorder::with(|r| open.close(r, 0)).is_none() {
            open.abandon();
        }
    }
}

/// The context of one of tracing's spans, as its subscriber knows it.
pub(crate) fn context_in(dispatch: &tracing::Dispatch, id: &Id) -> Option<SpanContext> {
    let registry = dispatch.downcast_ref::<tracing_subscriber::Registry>()?;
    registry.span(id)?.extensions().get::<OpenSpan>().map(OpenSpan::context)
}

/// Gives a tracing span a parent in another process, before it is entered.
#[cfg(feature = "tower")]
pub(crate) fn attach(
    span: &tracing::Span,
    remote: crate::span::RemoteParent,
    carried: Option<crate::http::Carried>,
) {
    span.with_subscriber(|(id, dispatch)| {
        let Some(registry) = dispatch.downcast_ref::<tracing_subscriber::Registry>() else { return };
        let Some(span) = registry.span(id) else { return };
        if let Some(open) = span.extensions().get::<OpenSpan>() {
            recorder::with(|r| open.attach(r, remote));
        }
        if let Some(carried) = carried {
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
