//! A server span that `tracing` has open around a request already: it is taken instead of opening a second.

use super::context::Remote;
use crate::span::OpenSpan;
use crate::span::direct::status_by_panic;
use crate::{layer, recorder, scoped};
use pollscope_wire::record::span as flags;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing_subscriber::registry::LookupSpan;

/// A server span of `tracing`, recorded by the layer of this crate.
pub(super) struct Around {
    /// The span itself or one below it: keeps it open.
    current: tracing::Span,
    id: tracing::span::Id,
    moved: AtomicBool,
}

impl Around {
    /// The server span in which a request with this caller is about to be served, if that is its span. One below
    /// the span of another request is not: it was asked for from there.
    pub fn find(caller: Option<&Remote>) -> Option<Around> {
        let current = tracing::Span::current();
        let (id, attach) = current.with_subscriber(|(current, dispatch)| {
            let (home, registry, current) = scoped::home(dispatch, current)?;
            let found = scoped::scope(registry, registry.span(&current)?).find_map(|span| {
                // Beside an OpenTelemetry layer its ids may not be known yet.
                if span.extensions().get::<OpenSpan>()?.waits() {
                    layer::settle_in(home, &span.id());
                }
                let fit = fit(span.extensions().get::<OpenSpan>()?, caller)?;
                Some((span.id(), fit))
            });
            match found? {
                (id, Fit::Own) => Some((id, false)),
                // It must have no children yet.
                (id, Fit::Unattached) if id == current => Some((id, true)),
                _ => None,
            }
        })??;
        if attach && let Some(caller) = caller {
            caller.attach(&current);
        }
        Some(Around { current, id, moved: AtomicBool::new(false) })
    }

    /// Whether `MakeSpan` made it.
    pub fn is_made(&self) -> bool {
        #[cfg(feature = "tower-http")]
        return self.with_data(|span| span.metadata().target() == super::make_span::TARGET) == Some(true);
        #[cfg(not(feature = "tower-http"))]
        false
    }

    /// Runs a closure on it.
    pub fn with(&self, run: impl FnOnce(&OpenSpan)) {
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
            .with_subscriber(|(current, dispatch)| {
                let (_, registry, _) = scoped::home(dispatch, current)?;
                Some(run(registry.span(&self.id)?))
            })
            .flatten()
    }

    /// Enters it, unless it is entered; `elsewhere`: in a task that goes on with it.
    pub fn enter(&self, elsewhere: bool) -> Inside<'_> {
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

impl Drop for Around {
    fn drop(&mut self) {
        self.with(OpenSpan::request_over);
    }
}

/// What a server span of `tracing` is to a request.
enum Fit {
    /// Its own.
    Own,
    /// Its own, but nobody told it of the caller.
    Unattached,
    /// Another request's.
    Others,
}

/// What it is to a request with this caller. `None`: it is no server span.
fn fit(span: &OpenSpan, caller: Option<&Remote>) -> Option<Fit> {
    let has_request = span.server()?;
    Some(match (span.remote_parent(), caller) {
        _ if has_request => Fit::Others,
        // Its exporter has told it of the caller, or of none.
        _ if span.has(flags::FOREIGN) => Fit::Own,
        (None, None) => Fit::Own,
        (Some(parent), Some(caller)) if parent == caller.span_id() => Fit::Own,
        (None, Some(caller)) if span.context().trace != caller.trace_id() => Fit::Unattached,
        _ => Fit::Others,
    })
}

/// A span around, for the time of a poll.
pub(super) struct Inside<'a> {
    around: &'a Around,
    /// Nobody else had entered it.
    entered: bool,
    panicking: bool,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let status = status_by_panic(self.panicking);
        self.around.with(|open| {
            open.mark(status);
            recorder::with(|r| if self.entered { open.exit(r) } else { open.take_time(r) });
        });
    }
}
