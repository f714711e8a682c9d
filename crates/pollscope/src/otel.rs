//! Beside an OpenTelemetry layer: the ids of tracing's spans are that layer's, and it exports them.
//!
//! Each supported minor of tracing-opentelemetry is a cargo feature; a closure serves any other.

use tracing::Dispatch;
use tracing::span::Id;

/// A span of `tracing`, as [`Layer::with_context`](crate::Layer::with_context) asks about it.
#[derive(Clone, Copy, Debug)]
pub struct SpanHandle<'a> {
    pub(crate) id: &'a Id,
    pub(crate) dispatch: &'a Dispatch,
}

impl<'a> SpanHandle<'a> {
    /// Its id.
    pub fn id(&self) -> &'a Id {
        self.id
    }

    /// The subscriber that has it.
    pub fn dispatch(&self) -> &'a Dispatch {
        self.dispatch
    }
}

/// What OpenTelemetry calls a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace's id.
    pub trace_id: u128,
    /// The span's id.
    pub span_id: u64,
    /// The trace flags; the lowest bit says that the trace is sampled.
    pub flags: u8,
}

impl SpanContext {
    /// Ids and flags as the OpenTelemetry API gives them: `trace_id().to_bytes()`, `span_id().to_bytes()`,
    /// `trace_flags().to_u8()`.
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8], flags: u8) -> SpanContext {
        let (trace_id, span_id) = (u128::from_be_bytes(trace_id), u64::from_be_bytes(span_id));
        SpanContext { trace_id, span_id, flags }
    }

    /// Neither id may be zero.
    pub(crate) fn is_valid(&self) -> bool {
        self.trace_id != 0 && self.span_id != 0
    }
}

/// How the time of a span was spent, in nanoseconds: what its own exporter is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub busy: u64,
    pub scheduled: u64,
    pub idle: u64,
    pub polls: u64,
    #[cfg_attr(
        not(any(feature = "tracing-opentelemetry-0_33", feature = "tracing-opentelemetry-0_34")),
        expect(dead_code, reason = "only bound minors are told")
    )]
    pub estimated: bool,
    #[cfg_attr(
        not(any(feature = "tracing-opentelemetry-0_33", feature = "tracing-opentelemetry-0_34")),
        expect(dead_code, reason = "only bound minors are told")
    )]
    pub cancelled: bool,
    pub task: u64,
    /// A span of ours that it links, being a root there.
    #[cfg_attr(
        not(any(feature = "tracing-opentelemetry-0_33", feature = "tracing-opentelemetry-0_34")),
        expect(dead_code, reason = "only bound minors are told")
    )]
    pub opened_in: Option<SpanContext>,
}

impl Told {
    #[cfg_attr(
        not(any(feature = "tracing-opentelemetry-0_33", feature = "tracing-opentelemetry-0_34")),
        expect(dead_code, reason = "only bound minors are told")
    )]
    fn numbers(&self) -> impl Iterator<Item = (&'static str, i64)> {
        let task = (self.task != 0).then_some(("pollscope.task.id", self.task));
        [
            ("pollscope.busy_ns", self.busy),
            ("pollscope.scheduled_ns", self.scheduled),
            ("pollscope.idle_ns", self.idle),
            ("pollscope.polls", self.polls),
        ]
        .into_iter()
        .chain(task)
        .map(|(key, value)| (key, i64::try_from(value).unwrap_or(i64::MAX)))
    }
}

/// What a bound minor finds. The span is begun in the SDK by this, if it was not yet.
pub(crate) fn find(of: SpanHandle<'_>) -> Option<SpanContext> {
    let _ = of;
    #[cfg(feature = "tracing-opentelemetry-0_34")]
    if let Some(found) = with_0_34::find(of) {
        return Some(found);
    }
    #[cfg(feature = "tracing-opentelemetry-0_33")]
    if let Some(found) = with_0_33::find(of) {
        return Some(found);
    }
    None
}

/// Gives the span's own exporter our numbers, before the span ends there. Whether that knew the span.
pub(crate) fn tell(of: SpanHandle<'_>, told: &Told) -> bool {
    let _ = (of, told);
    #[cfg(feature = "tracing-opentelemetry-0_34")]
    if with_0_34::tell(of, told) {
        return true;
    }
    #[cfg(feature = "tracing-opentelemetry-0_33")]
    if with_0_33::tell(of, told) {
        return true;
    }
    false
}

/// Tells the span's own exporter of a parent that tracing knows nothing of, before the span begins there. `remote`:
/// it is in another process.
pub(crate) fn set_parent(span: &tracing::Span, parent: &SpanContext, remote: bool) {
    let _ = (span, parent, remote);
    #[cfg(feature = "tracing-opentelemetry-0_34")]
    with_0_34::set_parent(span, parent, remote);
    #[cfg(feature = "tracing-opentelemetry-0_33")]
    with_0_33::set_parent(span, parent, remote);
}

/// Tells the span's own exporter of a link.
pub(crate) fn add_link(span: &tracing::Span, to: &SpanContext, remote: bool) {
    let _ = (span, to, remote);
    #[cfg(feature = "tracing-opentelemetry-0_34")]
    with_0_34::add_link(span, to, remote);
    #[cfg(feature = "tracing-opentelemetry-0_33")]
    with_0_33::add_link(span, to, remote);
}

/// Whether any minor is bound.
pub(crate) const BOUND: bool =
    cfg!(any(feature = "tracing-opentelemetry-0_33", feature = "tracing-opentelemetry-0_34"));

#[cfg(any(feature = "tracing-opentelemetry-0_33", feature = "tracing-opentelemetry-0_34"))]
macro_rules! bind {
    ($module:ident, $feature:literal, $api:ident, $layer:ident) => {
        #[cfg(feature = $feature)]
        mod $module {
            use super::{SpanContext, SpanHandle, Told};
            use $api::KeyValue;
            use $api::trace::TraceContextExt;

            pub fn find(of: SpanHandle<'_>) -> Option<SpanContext> {
                let context = $layer::get_otel_context(of.id, of.dispatch)?;
                let span = context.span();
                let of = span.span_context();
                let found = SpanContext::new(
                    of.trace_id().to_bytes(),
                    of.span_id().to_bytes(),
                    of.trace_flags().to_u8(),
                );
                found.is_valid().then_some(found)
            }

            fn api(of: &SpanContext, remote: bool) -> $api::trace::SpanContext {
                use $api::trace::{SpanId, TraceFlags, TraceId};
                $api::trace::SpanContext::new(
                    TraceId::from_bytes(of.trace_id.to_be_bytes()),
                    SpanId::from_bytes(of.span_id.to_be_bytes()),
                    TraceFlags::new(of.flags),
                    remote,
                    Default::default(),
                )
            }

            pub fn set_parent(span: &tracing::Span, parent: &SpanContext, remote: bool) {
                use $layer::OpenTelemetrySpanExt;
                let parent = $api::Context::new().with_remote_span_context(api(parent, remote));
                // One that began already keeps its parent.
                let _ = span.set_parent(parent);
            }

            pub fn add_link(span: &tracing::Span, to: &SpanContext, remote: bool) {
                use $layer::OpenTelemetrySpanExt;
                span.add_link(api(to, remote));
            }

            pub fn tell(of: SpanHandle<'_>, told: &Told) -> bool {
                let Some(context) = $layer::get_otel_context(of.id, of.dispatch) else { return false };
                let span = context.span();
                if !span.is_recording() {
                    return true;
                }
                for (key, value) in told.numbers() {
                    span.set_attribute(KeyValue::new(key, value));
                }
                for (key, set) in
                    [("pollscope.estimated", told.estimated), ("pollscope.cancelled", told.cancelled)]
                {
                    if set {
                        span.set_attribute(KeyValue::new(key, true));
                    }
                }
                if let Some(of) = &told.opened_in {
                    span.add_link(api(of, false), Vec::new());
                }
                true
            }
        }
    };
}
#[cfg(any(feature = "tracing-opentelemetry-0_33", feature = "tracing-opentelemetry-0_34"))]
bind!(with_0_34, "tracing-opentelemetry-0_34", opentelemetry_0_33, tracing_opentelemetry_0_34);
#[cfg(any(feature = "tracing-opentelemetry-0_33", feature = "tracing-opentelemetry-0_34"))]
bind!(with_0_33, "tracing-opentelemetry-0_33", opentelemetry_0_32, tracing_opentelemetry_0_33);
