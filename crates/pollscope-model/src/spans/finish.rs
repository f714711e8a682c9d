//! How a span that leaves is made of its pieces.

use super::{LinkTo, OpenSpan, Spans, Surroundings};
use crate::event::{Callsite, SessionEnd, SpanId, SpanOpen, SpanSource, SpanState, Status, TraceId};
use crate::span::FinishedSpan;
use crate::special::Special;
use crate::time::{Nanos, UnixNanos};
use std::sync::Arc;

/// Why a span leaves without an end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Over {
    /// Nobody comes back to it, but a clone holds it open, for so long by now.
    Held(SpanState, Nanos),
    /// Its session is over.
    Session(SessionEnd),
    /// Its local root is over, and it goes on.
    Root,
}

impl Spans {
    fn links(&mut self, links: &[LinkTo]) -> Vec<(TraceId, SpanId)> {
        let mut resolved = Vec::with_capacity(links.len());
        for link in links {
            match *link {
                LinkTo::Remote(trace, span) => resolved.push((trace, span)),
                LinkTo::Local(local) => match self.ids_of(local) {
                    Some(ids) => resolved.push((ids.trace, ids.span)),
                    None => self.counters.unresolved_links += 1,
                },
            }
        }
        resolved.sort_unstable();
        resolved.dedup();
        resolved
    }

    pub(super) fn finish(
        &mut self,
        span: OpenSpan,
        over: Option<(Over, UnixNanos)>,
        around: &Surroundings<'_>,
    ) -> Option<FinishedSpan> {
        let mut ids = span.known_ids()?;
        let open = span.opened()?.clone();
        if ids.parent.is_none()
            && let Some(parent) = open.parent.and_then(|parent| self.ids_of(parent))
            && parent.trace == ids.trace
        {
            ids.parent = Some(parent.span);
        }
        let times = Times::of(&span, &open, over, around);
        let mut attributes = span.attributes;
        attributes.sort_by_key(|timed| timed.first);
        let (special, attributes) = Special::take(attributes.into_iter().map(|timed| timed.attribute));
        let end = span.end.as_ref();
        let detached = matches!(over, Some((Over::Root, _)));
        let held = match over {
            Some((Over::Held(state, held), _)) => Some((held, state.task)),
            _ => None,
        };
        let goes_on = detached || held.is_some();
        let said = end.map_or(if goes_on { Status::Unset } else { Status::Error }, |end| end.status);
        let (status, mut status_message) = special.status(said, &span.events);
        let unfinished = end.is_none() && !goes_on;
        if unfinished {
            status_message = Some(
                match over {
                    Some((Over::Session(SessionEnd::Died), _)) => "process died while this span was open",
                    Some((Over::Session(SessionEnd::Panicked), _)) => {
                        "process panicked while this span was open"
                    }
                    _ => "process ended while this span was open",
                }
                .into(),
            );
        }
        let incomplete = end.is_some_and(|end| span.seen_attributes < end.attributes);
        self.counters.incomplete += u64::from(incomplete);
        Some(FinishedSpan {
            session: around.session,
            ids,
            name: special.name.clone().unwrap_or_else(|| open.callsite.name.clone()),
            kind: special.kind(open.source),
            source: open.source,
            start: open.opened,
            end: times.end,
            status: if unfinished { Status::Error } else { status },
            status_message,
            busy: times.busy,
            scheduled: times.scheduled,
            idle: times.idle,
            polls: times.polls,
            estimated: times.estimated,
            task: held.map_or(open.task, |(_, task)| task),
            held: held
                .map(|(held, _)| held)
                .or(end.map(|end| end.closed.since(end.ended)))
                .unwrap_or(Nanos(0)),
            cancelled: end.is_some_and(|end| end.cancelled),
            detached: detached || end.is_some_and(|end| end.detached),
            unfinished,
            incomplete,
            thread: span.thread.and_then(around.thread).unwrap_or((0, "".into())),
            attributes,
            dropped_attributes: end
                .map_or(0, |end| end.dropped_attributes)
                .saturating_add(span.dropped_attributes),
            dropped_events: end.map_or(0, |end| end.dropped_events).saturating_add(span.dropped_events),
            dropped_links: end.map_or(0, |end| end.dropped_links).saturating_add(span.dropped_links),
            events: span.events,
            links: self.links(&span.links),
            callsite: Arc::<Callsite>::clone(&open.callsite),
        })
    }
}

/// How a span's time was spent. An unfinished one has no sums but where it is a task; then nothing is claimed.
struct Times {
    end: UnixNanos,
    busy: Nanos,
    scheduled: Nanos,
    idle: Nanos,
    polls: u64,
    estimated: bool,
}

impl Times {
    fn of(
        span: &OpenSpan,
        open: &SpanOpen,
        over: Option<(Over, UnixNanos)>,
        around: &Surroundings<'_>,
    ) -> Times {
        if let Some(end) = &span.end {
            let duration = end.ended.since(open.opened);
            // Concurrent entries may sum to more than the duration; each share is what is left for it.
            let scheduled = end.scheduled.min(duration - end.busy);
            return Times {
                end: end.ended.max(open.opened),
                busy: end.busy,
                scheduled,
                idle: duration - end.busy - scheduled,
                polls: end.polls,
                estimated: end.estimated || scheduled != end.scheduled,
            };
        }
        let end = over.map_or(open.opened, |(_, at)| at).max(open.opened);
        if let Some((Over::Held(state, _), _)) = over {
            let duration = end.since(open.opened);
            let busy = state.busy.min(duration);
            let scheduled = state.scheduled.min(duration - busy);
            // Entered since then, by who holds it.
            let estimated =
                state.last_exit != Some(end) || (busy, scheduled) != (state.busy, state.scheduled);
            return Times {
                end,
                busy,
                scheduled,
                idle: duration - busy - scheduled,
                polls: state.polls,
                estimated,
            };
        }
        let task = (open.source == SpanSource::Task).then(|| (around.task)(span.span)).flatten();
        let totals = task.unwrap_or_default();
        if let Some((Over::Root, _)) = over {
            // What it did since then is not told: each share is what is left for it.
            let duration = end.since(open.opened);
            let busy = totals.busy.min(duration);
            let scheduled = totals.scheduled.min(duration - busy);
            let (idle, polls) = (duration - busy - scheduled, totals.polls);
            return Times { end, busy, scheduled, idle, polls, estimated: true };
        }
        Times {
            end,
            busy: totals.busy,
            scheduled: totals.scheduled,
            idle: totals.idle,
            polls: totals.polls,
            estimated: true,
        }
    }
}
