//! Other spans, as a span names them: its parent, and what it follows from.

use super::{Context, Current};

/// Where a span is opened.
#[derive(Clone, Copy, Debug)]
pub enum Parent {
    /// Below the current span, if there is one.
    Current,
    /// As a root.
    Root,
    /// Below this one.
    Of(Context),
}

impl Parent {
    /// Below `span`; as a root, if that is none or not recorded.
    pub fn of<S: SpanRef + ?Sized>(span: &S) -> Parent {
        span.context().map_or(Parent::Root, Parent::Of)
    }
}

/// What can be named as a span: a span of `tracing` or its id, what [`current`](super::current) found, or none.
#[diagnostic::on_unimplemented(
    message = "`{Self}` names no span",
    label = "a span is expected here",
    note = "give a `tracing::Span`, its `Id`, `pollscope::current()`, or an `Option` or reference of these"
)]
pub trait SpanRef {
    /// The span, if it is recorded.
    fn context(&self) -> Option<Context>;
}

impl SpanRef for Current {
    fn context(&self) -> Option<Context> {
        let (trace, span) = (self.trace_id()?, self.span_id()?);
        Some(Context { local: self.local, trace, span, sampled: self.sampled() })
    }
}

impl<T: SpanRef + ?Sized> SpanRef for &T {
    fn context(&self) -> Option<Context> {
        (**self).context()
    }
}

impl<T: SpanRef> SpanRef for Option<T> {
    fn context(&self) -> Option<Context> {
        self.as_ref()?.context()
    }
}

#[cfg(feature = "tracing")]
impl SpanRef for tracing::Span {
    fn context(&self) -> Option<Context> {
        self.with_subscriber(|(id, dispatch)| crate::layer::context_in(dispatch, id)).flatten()
    }
}

#[cfg(feature = "tracing")]
impl SpanRef for tracing::span::Id {
    fn context(&self) -> Option<Context> {
        tracing::dispatcher::get_default(|dispatch| crate::layer::context_in(dispatch, self))
    }
}
