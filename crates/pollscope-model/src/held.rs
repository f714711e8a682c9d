//! Spans that nobody comes back to, but that a clone holds open: a pool's connection, a loop that reconnects.
//!
//! A span is over when the task that it runs in is, and the span that it stands in, as far as that is of this process:
//! whoever enters it later is a stranger. It leaves a second after that, as of its last exit: most that are held so
//! are held for a moment, and their own end says more. Where its task goes on, as a loop's that works off jobs,
//! nothing tells a span that waits from one that is held, and it leaves when it is closed.

use crate::event::{LocalSpanId, SpanSource, SpanState, TaskId};
use crate::spans::OpenSpan;
use crate::time::{Nanos, UnixNanos};
use std::collections::{HashMap, HashSet};

/// It leaves so long after it was seen to be over.
const AFTER: Nanos = Nanos(1_000_000_000);
/// Spans above one that are looked at.
const DEEPEST: usize = 64;

/// A span that leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaving {
    pub(crate) span: LocalSpanId,
    pub(crate) state: SpanState,
    /// Its last exit, or when it was over if it was entered again since then.
    pub(crate) end: UnixNanos,
    /// How long it has been held.
    pub(crate) held: Nanos,
}

/// Open spans as their slots show them, and since when they are over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    states: HashMap<LocalSpanId, (SpanState, Option<UnixNanos>)>,
}

impl Held {
    /// A slot was read.
    pub(crate) fn state(&mut self, span: LocalSpanId, state: SpanState) {
        self.states.entry(span).or_insert((state, None)).0 = state;
    }

    /// All slots were read: those that leave.
    pub(crate) fn leaving(
        &mut self,
        now: UnixNanos,
        runs: &dyn Fn(TaskId) -> bool,
        open: &HashMap<LocalSpanId, OpenSpan>,
    ) -> Vec<Leaving> {
        self.states.retain(|span, _| open.get(span).is_some_and(|span| span.end.is_none()));
        let over: HashSet<LocalSpanId> =
            self.states.keys().copied().filter(|span| self.is_over(*span, runs, open)).collect();
        let mut leaving = Vec::new();
        for (span, (state, since)) in &mut self.states {
            if !over.contains(span) {
                *since = None;
                continue;
            }
            let (since, Some(last_exit)) = (*since.get_or_insert(now), state.last_exit) else { continue };
            if now.since(since) >= AFTER {
                let end = last_exit.min(since);
                leaving.push(Leaving { span: *span, state: *state, end, held: now.since(end) });
            }
        }
        leaving.sort_unstable_by_key(|leaving| leaving.span);
        leaving
    }

    /// Whether it is over by what the slots say, and what is above it.
    fn is_over(
        &self,
        span: LocalSpanId,
        runs: &dyn Fn(TaskId) -> bool,
        open: &HashMap<LocalSpanId, OpenSpan>,
    ) -> bool {
        let mut at = span;
        for _ in 0..DEEPEST {
            let Some(opened) = open.get(&at).filter(|span| span.end.is_none()).and_then(OpenSpan::opened)
            else {
                return at != span;
            };
            let Some((state, _)) = self.states.get(&at) else { return false };
            let is_left = state.last_exit.is_some() && state.task.is_some_and(|task| !runs(task));
            if opened.source != SpanSource::Code || state.foreign || state.under_way || !is_left {
                return false;
            }
            match opened.parent {
                Some(parent) => at = parent,
                None => return true,
            }
        }
        false
    }
}
