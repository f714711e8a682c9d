//! JSON lines as `tracing_subscriber::fmt` writes them, with the ids by which the line's trace is found.

use std::fmt;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// A format for `.event_format(..)`, beside `.json()`.
pub struct WithIds(pub Format<Json>);

impl<S, N> FormatEvent<S, N> for WithIds
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(ctx, Writer::new(&mut line), event)?;
        let current = pollscope::current();
        if let (Some(trace), Some(span)) = (current.trace_id(), current.span_id())
            && let Some(rest) = line.strip_prefix('{')
        {
            write!(out, "{{\"trace_id\":\"{trace:032x}\",\"span_id\":\"{span:016x}\",")?;
            if let Some(task) = current.task_name() {
                write!(out, "\"task\":{task:?},")?;
            }
            return out.write_str(rest);
        }
        out.write_str(&line)
    }
}
