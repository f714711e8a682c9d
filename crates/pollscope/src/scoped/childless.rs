//! A registry whose spans do not hold their parents open.
//!
//! A registry gives a parent's handle back by way of the thread's default, which may be another subscriber by then: that
//! one would take the id for one of its own. So ours keeps none; who is whose child is known from what is current, and
//! from [`Above`].

use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_core::span::Current;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{FilterId, LevelFilter};
use tracing_subscriber::registry::LookupSpan;
#[cfg(feature = "tower")]
use tracing_subscriber::registry::SpanRef;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Childless {
    inner: Registry,
}

/// In a span's extensions: the one above it, which may be closed by now.
#[cfg_attr(not(feature = "tower"), expect(dead_code, reason = "nobody looks for a request's span"))]
struct Above(Id);

/// The span and those above it.
#[cfg(feature = "tower")]
pub(crate) fn scope<'a>(
    registry: &'a Registry,
    span: SpanRef<'a, Registry>,
) -> impl Iterator<Item = SpanRef<'a, Registry>> {
    std::iter::successors(Some(span), |span| {
        let above = span.extensions().get::<Above>().map(|above| above.0.clone());
        above.and_then(|above| registry.span(&above)).or_else(|| span.parent())
    })
}

impl Subscriber for Childless {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.inner.register_callsite(metadata)
    }

    /// The layer alone says.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::OFF)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.inner.enabled(metadata)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let above = match attributes.parent() {
            Some(parent) => Some(parent.clone()),
            None if attributes.is_contextual() => self.inner.current_span().id().cloned(),
            None => None,
        };
        let id = self.inner.new_span(&Attributes::new_root(attributes.metadata(), attributes.values()));
        if let (Some(above), Some(span)) = (above, self.inner.span(&id)) {
            span.extensions_mut().insert(Above(above));
        }
        id
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.inner.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.inner.record_follows_from(span, follows);
    }

    fn event_enabled(&self, event: &Event<'_>) -> bool {
        self.inner.event_enabled(event)
    }

    fn event(&self, event: &Event<'_>) {
        self.inner.event(event);
    }

    fn enter(&self, span: &Id) {
        self.inner.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.inner.exit(span);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.inner.clone_span(id)
    }

    fn try_close(&self, id: Id) -> bool {
        self.inner.try_close(id)
    }

    fn current_span(&self) -> Current {
        self.inner.current_span()
    }

    unsafe fn downcast_raw(&self, id: std::any::TypeId) -> Option<*const ()> {
        if id == std::any::TypeId::of::<Self>() {
            return Some(std::ptr::from_ref(self).cast());
        }
        // SAFETY: it points into what this holds, and asks the same of its caller.
        unsafe { self.inner.downcast_raw(id) }
    }
}

impl<'a> LookupSpan<'a> for Childless {
    type Data = <Registry as LookupSpan<'a>>::Data;

    fn span_data(&'a self, id: &Id) -> Option<Self::Data> {
        self.inner.span_data(id)
    }

    fn register_filter(&mut self) -> FilterId {
        self.inner.register_filter()
    }
}
