//! The layer with its filter, whatever it is put on or wrapped into.
//!
//! On a registry the filter is a per-layer one: what it leaves out costs nothing. Other subscribers, such as
//! `tracing_subscriber::fmt().finish()`, know no such filters and would panic, and a layer that a reload handle puts
//! in the place of another is never registered with any: there the filter is asked at each span and event.

use super::filter::Filter as Chosen;
use super::{Join, Recording, Source, filter};
use crate::otel::{SpanContext, SpanHandle};
use crate::scoped::Childless;
use crate::span;
use std::any::{TypeId, type_name};
use std::sync::Arc;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Metadata, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{Filtered, LevelFilter};
use tracing_subscriber::layer::{Context, Filter, Layer as Inner};
use tracing_subscriber::registry::LookupSpan;

/// Records what passes its filter; see [`layer()`](crate::layer()).
#[derive(Debug)]
pub struct Layer<S> {
    inner: Filtered<Recording, Chosen, S>,
    /// Whether the subscriber would know its filter: asked once, for each downcast through the layer needs it.
    has_filter: bool,
    /// Whether the subscriber knows its filter.
    registered: bool,
}

/// Whether a subscriber is a registry, perhaps with layers: any other may panic when a filter is registered with it.
fn takes_filters<S>() -> bool {
    [type_name::<Registry>(), type_name::<Childless>()].iter().any(|last| ends_in(type_name::<S>(), last))
}

/// Whether it is `last`, or a `Layered<_, S, _>` where `S` is.
fn ends_in(name: &str, last: &str) -> bool {
    let mut name = name;
    while let Some(arguments) = name.strip_prefix("tracing_subscriber::layer::layered::Layered<") {
        // After the comma that stands in no brackets.
        let mut depth = 0;
        let comma = arguments.bytes().zip(0..).find(|(byte, at)| {
            match byte {
                b'<' | b'(' | b'[' => depth += 1,
                b'>' if *at > 0 && arguments.as_bytes()[at - 1] == b'-' => {}
                b'>' | b')' | b']' => depth -= 1,
                _ => {}
            }
            depth == 0 && *byte == b','
        });
        let Some((_, comma)) = comma else { return false };
        name = arguments[comma + 1..].trim_start();
    }
    // With what is left of the outer ones' brackets.
    name.strip_prefix(last).is_some_and(|rest| rest.is_empty() || rest.starts_with([',', '>']))
}

impl<S> Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    pub(super) fn new(recording: Recording) -> Layer<S> {
        let inner = recording.with_filter(filter::from_env());
        Layer { inner, has_filter: takes_filters::<S>(), registered: false }
    }

    /// Another exporter has its spans.
    pub(super) fn join(&mut self, source: Source) {
        self.inner.inner_mut().join = Arc::new(Join { source: Some(source), ..Join::default() });
        span::may_wait();
    }

    /// Asks `find` for the ids that another exporter gives a span: for tracing-opentelemetry of any version. Where
    /// it gives some, that exporter has the span, and pollscope's agent leaves it alone. It is asked as late as
    /// possible, since asking may begin the span there. With a feature such as `tracing-opentelemetry-0_34` none is needed.
    ///
    /// ```ignore
    /// use opentelemetry::trace::TraceContextExt;
    /// let layer = pollscope::layer().with_context(|span| {
    ///     let context = tracing_opentelemetry::get_otel_context(span.id(), span.dispatch())?;
    ///     let of = context.span().span_context().clone();
    ///     let (trace, span) = (of.trace_id().to_bytes(), of.span_id().to_bytes());
    ///     Some(pollscope::SpanContext::new(trace, span, of.trace_flags().to_u8()))
    /// });
    /// ```
    #[must_use]
    pub fn with_context<F>(mut self, find: F) -> Self
    where
        F: Fn(SpanHandle<'_>) -> Option<SpanContext> + Send + Sync + 'static,
    {
        self.join(Source::Given(Box::new(find)));
        self
    }

    /// The filter and what records, where nobody else asks the filter.
    fn unregistered(&self) -> Option<(&Chosen, &Recording)> {
        (!self.registered).then(|| (self.inner.filter(), self.inner.inner()))
    }
}

/// A registered one has to look like the inner one: a layer with a filter of its own.
impl<S> Inner<S> for Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        self.inner.on_register_dispatch(dispatch);
    }

    fn on_layer(&mut self, subscriber: &mut S) {
        if self.has_filter {
            self.inner.on_layer(subscriber);
            self.registered = true;
        }
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.unregistered() {
            // To say no would be to say it for all layers.
            Some((filter, _)) => {
                Filter::<S>::callsite_enabled(filter, metadata);
                Interest::always()
            }
            None => self.inner.register_callsite(metadata),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, ctx: Context<'_, S>) -> bool {
        !self.registered || self.inner.enabled(metadata, ctx)
    }

    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        match self.unregistered() {
            Some((filter, recording)) if Filter::enabled(filter, attrs.metadata(), &ctx) => {
                Filter::on_new_span(filter, attrs, id, ctx.clone());
                recording.on_new_span(attrs, id, ctx);
            }
            Some(_) => {}
            None => self.inner.on_new_span(attrs, id, ctx),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        if self.registered { self.inner.max_level_hint() } else { None }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        let Some((filter, recording)) = self.unregistered() else {
            return self.inner.on_record(id, values, ctx);
        };
        Filter::on_record(filter, id, values, ctx.clone());
        recording.on_record(id, values, ctx);
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, ctx: Context<'_, S>) {
        match self.unregistered() {
            Some((_, recording)) => recording.on_follows_from(id, follows, ctx),
            None => self.inner.on_follows_from(id, follows, ctx),
        }
    }

    fn event_enabled(&self, event: &Event<'_>, ctx: Context<'_, S>) -> bool {
        !self.registered || self.inner.event_enabled(event, ctx)
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        match self.unregistered() {
            Some((filter, recording)) => {
                if Filter::enabled(filter, event.metadata(), &ctx) {
                    recording.on_event(event, ctx);
                }
            }
            None => self.inner.on_event(event, ctx),
        }
    }

    fn on_enter(&self, id: &Id, ctx: Context<'_, S>) {
        let Some((filter, recording)) = self.unregistered() else { return self.inner.on_enter(id, ctx) };
        Filter::on_enter(filter, id, ctx.clone());
        recording.on_enter(id, ctx);
    }

    fn on_exit(&self, id: &Id, ctx: Context<'_, S>) {
        let Some((filter, recording)) = self.unregistered() else { return self.inner.on_exit(id, ctx) };
        Filter::on_exit(filter, id, ctx.clone());
        recording.on_exit(id, ctx);
    }

    fn on_close(&self, id: Id, ctx: Context<'_, S>) {
        let Some((filter, recording)) = self.unregistered() else { return self.inner.on_close(id, ctx) };
        Filter::on_close(filter, id.clone(), ctx.clone());
        recording.on_close(id, ctx);
    }

    fn on_id_change(&self, old: &Id, new: &Id, ctx: Context<'_, S>) {
        if self.registered {
            self.inner.on_id_change(old, new, ctx);
        }
    }

    unsafe fn downcast_raw(&self, id: TypeId) -> Option<*const ()> {
        if id == TypeId::of::<Self>() {
            return Some(std::ptr::from_ref(self).cast());
        }
        if self.has_filter {
            // SAFETY: it points into what this layer holds, and asks the same of its caller.
            return unsafe { self.inner.downcast_raw(id) };
        }
        (id == TypeId::of::<Recording>()).then(|| std::ptr::from_ref(self.inner.inner()).cast())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::Layered;

    #[test]
    fn only_registries_are_trusted_with_filters() {
        type On<L, S> = Layered<L, S, S>;
        assert!(takes_filters::<Registry>());
        assert!(takes_filters::<On<LevelFilter, Registry>>());
        type Pair = (fn(u8) -> LevelFilter, [LevelFilter; 2]);
        assert!(takes_filters::<Layered<Pair, On<Option<LevelFilter>, Registry>>>());
        assert!(!takes_filters::<Layered<Registry, Pair>>());
        assert!(!takes_filters::<tracing::subscriber::NoSubscriber>());
        assert!(!ends_in("tracing_subscriber::layer::layered::Layered<x", "x"));
        assert!(!ends_in("tracing_subscriber::fmt::Subscriber", type_name::<Registry>()));
    }
}
