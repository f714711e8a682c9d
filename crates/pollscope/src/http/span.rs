//! The span that a request's outcome is told of: the layer's own, or one around it.

use super::around::{Around, Inside};
use crate::recorder;
use crate::span::attribute;
use crate::span::direct::{DirectSpan, Entered, FieldValue};
use pollscope_wire::record::span as flags;
use pollscope_wire::sys;

/// A request's span.
#[cfg_attr(not(feature = "tracing"), expect(clippy::large_enum_variant, reason = "there is none around"))]
pub(super) enum RequestSpan {
    Own(DirectSpan),
    Around(Around),
}

/// The span, entered.
pub(super) enum Within<'a> {
    Own { _entered: Entered<'a> },
    Around { _inside: Inside<'a> },
}

impl RequestSpan {
    pub const NONE: RequestSpan = RequestSpan::Own(DirectSpan::NONE);

    /// One that is around, with what it does not say of the request itself. Its name stays, but for a route.
    pub fn around(around: Around, fields: &[(&'static str, FieldValue<'_>)]) -> RequestSpan {
        let is_made = around.is_made();
        let has_route = fields.iter().any(|(key, _)| *key == "http.route");
        let span = RequestSpan::Around(around);
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

    /// Whether its name is ours to choose: a span of the service's own keeps its.
    pub fn is_named_by_us(&self) -> bool {
        match self {
            RequestSpan::Own(span) => span.is_recorded(),
            RequestSpan::Around(span) => span.is_made(),
        }
    }

    pub fn is_recorded(&self) -> bool {
        match self {
            RequestSpan::Own(span) => span.is_recorded(),
            RequestSpan::Around(_) => true,
        }
    }

    pub fn record(&self, key: &'static str, value: FieldValue<'_>) {
        match self {
            RequestSpan::Own(span) => span.record(key, value),
            RequestSpan::Around(span) => span.with(|open| {
                recorder::with(|r| attribute::of_span(r, open, key, &value, sys::tick()));
            }),
        }
    }

    /// Marks it as failed.
    pub fn fail(&self) {
        match self {
            RequestSpan::Own(span) => span.mark(flags::ERROR),
            RequestSpan::Around(span) => span.with(|open| open.mark(flags::ERROR)),
        }
    }

    /// Marks it as dropped before its end.
    pub fn cancelled(&self) {
        match self {
            RequestSpan::Own(span) => span.cancelled(),
            RequestSpan::Around(span) => span.with(|open| open.cancelled()),
        }
    }

    /// Enters it in its task, the request's.
    pub fn enter(&self) -> Within<'_> {
        match self {
            RequestSpan::Own(span) => Within::Own { _entered: span.enter() },
            RequestSpan::Around(span) => Within::Around { _inside: span.enter(false) },
        }
    }

    /// Enters it in a task that goes on with it.
    pub fn follow(&self) -> Within<'_> {
        match self {
            RequestSpan::Own(span) => Within::Own { _entered: span.follow() },
            RequestSpan::Around(span) => Within::Around { _inside: span.enter(true) },
        }
    }

    /// Runs a closure with it as the current span, counting no time.
    pub fn as_current<R>(&self, run: impl FnOnce() -> R) -> R {
        match self {
            RequestSpan::Own(span) => span.as_current(run),
            RequestSpan::Around(_) => run(),
        }
    }
}
