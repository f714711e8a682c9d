//! Other spans, as a span names them: its parent, and what it follows from.

use super::{Context, Current, RemoteParent};

/// Where a span is opened.
#[derive(Clone, Copy, Debug)]
pub enum Parent {
    /// Below the current span, if there is one.
    Current,
    /// As a root.
    Root,
    /// Below this one.
    Of(Context),
    /// Below one in another process.
    Remote(RemoteParent),
    /// Below one of tracing's, recorded as this one: itself, or the nearest around it that is recorded.
    #[cfg(feature = "tracing")]
    Tracing(TracingSpan, Option<Context>),
}

/// A span of tracing: its id, and the address of the registry that has it.
#[cfg(feature = "tracing")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracingSpan {
    pub(crate) home: usize,
    pub(crate) id: u64,
}

impl Parent {
    /// Below `span`; as a root, if that is none or not recorded.
    pub fn of<S: SpanRef + ?Sized>(span: &S) -> Parent {
        span.as_parent()
    }

    /// The two kinds of parents that a span is opened with.
    pub(super) fn split(self, current: Option<Context>) -> (Option<Context>, Option<RemoteParent>) {
        match self {
            Parent::Current => (current, None),
            Parent::Root => (None, None),
            Parent::Of(context) => (Some(context), None),
            Parent::Remote(remote) => (None, Some(remote)),
            #[cfg(feature = "tracing")]
            Parent::Tracing(_, context) => (context, None),
        }
    }
}

/// What can be named as a span: a span of `tracing` or its id, what [`current`](super::current) found, a caller's
/// span as `http::extract` read it, or none.
#[diagnostic::on_unimplemented(
    message = "`{Self}` names no span",
    label = "a span is expected here",
    note = "give a `tracing::Span`, its `Id`, `pollscope::current()`, what `pollscope::http::extract` gave, or an `Option` or reference of these"
)]
pub trait SpanRef {
    /// The span, if it is recorded.
    fn context(&self) -> Option<Context>;

    /// The span as a parent; none begins a trace.
    fn as_parent(&self) -> Parent {
        self.context().map_or(Parent::Root, Parent::Of)
    }
}

impl SpanRef for Current {
    fn context(&self) -> Option<Context> {
        let (trace, span) = (self.trace_id()?, self.span_id()?);
        Some(Context { local: self.local, trace, span, sampled: self.sampled(), later: 0, root: self.root })
    }
}

impl<T: SpanRef + ?Sized> SpanRef for &T {
    fn context(&self) -> Option<Context> {
        (**self).context()
    }

    fn as_parent(&self) -> Parent {
        (**self).as_parent()
    }
}

impl<T: SpanRef> SpanRef for Option<T> {
    fn context(&self) -> Option<Context> {
        self.as_ref()?.context()
    }

    fn as_parent(&self) -> Parent {
        self.as_ref().map_or(Parent::Root, T::as_parent)
    }
}

#[cfg(feature = "tracing")]
impl SpanRef for tracing::Span {
    fn context(&self) -> Option<Context> {
        self.with_subscriber(|(id, dispatch)| crate::layer::context_in(dispatch, id)).flatten()
    }

    fn as_parent(&self) -> Parent {
        self.with_subscriber(|(id, dispatch)| crate::layer::parent_in(dispatch, id)).unwrap_or(Parent::Root)
    }
}

#[cfg(feature = "tracing")]
impl SpanRef for tracing::span::Id {
    fn context(&self) -> Option<Context> {
        tracing::dispatcher::get_default(|dispatch| crate::layer::context_in(dispatch, self))
    }

    fn as_parent(&self) -> Parent {
        tracing::dispatcher::get_default(|dispatch| crate::layer::parent_in(dispatch, self))
    }
}

#[cfg(feature = "tower")]
impl SpanRef for crate::http::Remote {
    fn context(&self) -> Option<Context> {
        let RemoteParent { trace, span, sampled } = self.parent;
        Some(Context { local: 0, trace, span, sampled, later: 0, root: 0 })
    }

    fn as_parent(&self) -> Parent {
        Parent::Remote(self.parent)
    }
}
