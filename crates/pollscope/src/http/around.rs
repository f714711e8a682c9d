//! The span that a request's outcome is told of: the layer's own, or a server span that `tracing` has open around
//! the request already. That one is taken instead of opening a second.

#[cfg(feature = "tracing")]
use super::context::Remote;
use crate::recorder;
use crate::span::OpenSpan;
use crate::span::attribute;
use crate::span::direct::{DirectSpan, Entered, FieldValue, status_by_panic};
use pollscope_wire::record::span as flags;
use pollscope_wire::sys;
#[cfg(feature = "tracing")]
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(feature = "tracing")]
use tracing_subscriber::registry::LookupSpan;

/// A request's span.
pub(super) enum RequestSpan {
    /// Opened by a layer of this crate.
    Own(DirectSpan),
    /// Opened around it.
    #[cfg(feature = "tracing")]
    Around(Around),
}

/// The span, entered.
pub(super) enum Within<'a> {
    Own {
        _entered: Entered<'a>,
    },
    #[cfg(feature = "tracing")]
    Around {
        _inside: Inside<'a>,
    },
}

impl RequestSpan {
    pub const NONE: RequestSpan = RequestSpan::Own(DirectSpan::NONE);

    pub fn is_recorded(&self) -> bool {
        match self {
            RequestSpan::Own(span) => span.is_recorded(),
            #[cfg(feature = "tracing")]
            RequestSpan::Around(_) => true,
        }
    }

    pub fn record(&self, key: &'static str, value: FieldValue<'_>) {
        match self {
            RequestSpan::Own(span) => span.record(key, value),
            #[cfg(feature = "tracing")]
            RequestSpan::Around(span) => span.with(|open| {
                recorder::with(|r| attribute::of_span(r, open, key, &value, sys::tick()));
            }),
        }
    }

    /// Marks it as failed.
    pub fn fail(&self) {
        match self {
            RequestSpan::Own(span) => span.mark(flags::ERROR),
            #[cfg(feature = "tracing")]
            RequestSpan::Around(span) => span.with(|open| open.mark(flags::ERROR)),
        }
    }

    pub fn cancelled(&self) {
        match self {
            RequestSpan::Own(span) => span.cancelled(),
            #[cfg(feature = "tracing")]
            RequestSpan::Around(span) => span.with(OpenSpan::cancelled),
        }
    }

    /// Enters it in its task, the request's.
    pub fn enter(&self) -> Within<'_> {
        match self {
            RequestSpan::Own(span) => Within::Own { _entered: span.enter() },
            #[cfg(feature = "tracing")]
            RequestSpan::Around(span) => Within::Around { _inside: span.enter(false) },
        }
    }

    /// Enters it in a task that goes on with it.
    pub fn follow(&self) -> Within<'_> {
        match self {
            RequestSpan::Own(span) => Within::Own { _entered: span.follow() },
            #[cfg(feature = "tracing")]
            RequestSpan::Around(span) => Within::Around { _inside: span.enter(true) },
        }
    }

    /// Runs a closure with it as the current span, counting no time.
    pub fn as_current<R>(&self, run: impl FnOnce() -> R) -> R {
        match self {
            RequestSpan::Own(span) => span.as_current(run),
            #[cfg(feature = "tracing")]
            RequestSpan::Around(_) => run(),
        }
    }
}

/// A server span of `tracing`, recorded by the layer of this crate.
#[cfg(feature = "tracing")]
pub(super) struct Around {
    /// The span itself or one below it: keeps it open.
    current: tracing::Span,
    id: tracing::span::Id,
    moved: AtomicBool,
}

#[cfg(feature = "tracing")]
impl Around {
    /// The server span in which a request with this caller is about to be served, if that is its span. One below
    /// the span of another request is not: it was asked for from there.
    pub fn find(caller: Option<&Remote>) -> Option<Around> {
        let current = tracing::Span::current();
        let (id, attach) = current.with_subscriber(|(current, dispatch)| {
            let registry = dispatch.downcast_ref::<tracing_subscriber::Registry>()?;
            let found = registry.span(current)?.scope().find_map(|span| {
                let fit = fit(span.extensions().get::<OpenSpan>()?, caller)?;
                Some((span.id(), fit))
            });
            match found? {
                (id, Fit::Own) => Some((id, false)),
                // It must have no children yet.
                (id, Fit::Unattached) if id == *current => Some((id, true)),
                _ => None,
            }
        })??;
        if attach && let Some(caller) = caller {
            caller.attach(&current);
        }
        Some(Around { current, id, moved: AtomicBool::new(false) })
    }

    /// The request's span, with what it does not say of the request itself. Its name stays, but for a route.
    pub fn with_fields(self, fields: &[(&'static str, FieldValue<'_>)]) -> RequestSpan {
        let is_made = self.is_made();
        let has_route = fields.iter().any(|(key, _)| *key == "http.route");
        let span = RequestSpan::Around(self);
        for (key, value) in fields {
            let wanted = match *key {
                "otel.kind" => false,
                "otel.name" => is_made && has_route,
                "http.route" => true,
                _ => !is_made,
            };
            if wanted {
                span.record(key, value.clone());
            }
        }
        span
    }

    /// Whether `MakeSpan` made it.
    fn is_made(&self) -> bool {
        #[cfg(feature = "tower-http")]
        return self.with_data(|span| span.metadata().target() == super::make_span::TARGET) == Some(true);
        #[cfg(not(feature = "tower-http"))]
        false
    }

    fn with(&self, run: impl FnOnce(&OpenSpan)) {
        self.with_data(|span| {
            if let Some(open) = span.extensions().get::<OpenSpan>() {
                run(open);
            }
        });
    }

    fn with_data<R>(
        &self,
        run: impl FnOnce(tracing_subscriber::registry::SpanRef<'_, tracing_subscriber::Registry>) -> R,
    ) -> Option<R> {
        self.current
            .with_subscriber(|(_, dispatch)| {
                Some(run(dispatch.downcast_ref::<tracing_subscriber::Registry>()?.span(&self.id)?))
            })
            .flatten()
    }

    fn enter(&self, elsewhere: bool) -> Inside<'_> {
        let mut entered = false;
        self.with(|open| {
            recorder::with(|r| {
                if !self.moved.swap(true, Ordering::Relaxed) {
                    open.adopt(r);
                }
                if elsewhere {
                    open.follow(r);
                }
                if !open.is_entered() {
                    open.enter(r);
                    entered = true;
                }
            });
        });
        Inside { around: self, entered, panicking: std::thread::panicking() }
    }
}

/// What a server span of `tracing` is to a request.
#[cfg(feature = "tracing")]
enum Fit {
    /// Its own.
    Own,
    /// Its own, but nobody told it of the caller.
    Unattached,
    /// Another request's.
    Others,
}

/// What it is to a request with this caller. `None`: it is no server span.
#[cfg(feature = "tracing")]
fn fit(span: &OpenSpan, caller: Option<&Remote>) -> Option<Fit> {
    let has_request = span.server()?;
    Some(match (span.remote_parent(), caller) {
        _ if has_request => Fit::Others,
        (None, None) => Fit::Own,
        (Some(parent), Some(caller)) if parent == caller.span_id() => Fit::Own,
        (None, Some(caller)) if span.context().trace != caller.trace_id() => Fit::Unattached,
        _ => Fit::Others,
    })
}

/// A span around, for the time of a poll.
#[cfg(feature = "tracing")]
pub(super) struct Inside<'a> {
    around: &'a Around,
    /// Nobody else had entered it.
    entered: bool,
    panicking: bool,
}

#[cfg(feature = "tracing")]
impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let status = status_by_panic(self.panicking);
        self.around.with(|open| {
            open.mark(status);
            recorder::with(|r| if self.entered { open.exit(r) } else { open.settle(r) });
        });
    }
}
