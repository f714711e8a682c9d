//! Tasks that go on after their local root: they leave without their end, and do not stretch the trace.

use super::finish::Over;
use super::{OpenSpan, Spans, Surroundings};
use crate::event::LocalSpanId;
use crate::span::FinishedSpan;
use crate::time::{Nanos, UnixNanos};

/// A task that goes on for so long after its local root leaves without its end.
const DETACHED_AFTER: Nanos = Nanos(1_000_000_000);
/// Spans between a task and its root that are looked at.
const DEEPEST: usize = 64;

impl Spans {
    /// Finds the tasks that go on although their local root ended a while ago.
    pub(super) fn find_detached(&mut self, now: UnixNanos) {
        while let Some((ended, trace, root)) = self.roots.front().copied() {
            if now.since(ended) < DETACHED_AFTER {
                return;
            }
            self.roots.pop_front();
            for id in self.tasks.get(&trace).into_iter().flatten() {
                let on = self.open.get(id).is_some_and(|span| span.end.is_none());
                if on && self.is_below(*id, root) {
                    self.detaching.push((*id, ended));
                }
            }
        }
    }

    /// Whether a span is below a root of its trace, as far as the spans between are still known.
    fn is_below(&self, span: LocalSpanId, root: LocalSpanId) -> bool {
        let mut at = span;
        for _ in 0..DEEPEST {
            let Some(open) = self.open.get(&at).and_then(OpenSpan::opened) else { return true };
            match open.parent {
                Some(parent) if parent == root => return true,
                Some(parent) => at = parent,
                // Another root of this process.
                None => return false,
            }
        }
        false
    }

    /// Gives out the tasks that go on, as far as they have come.
    pub(super) fn release_detached(&mut self, around: &Surroundings<'_>) -> Vec<FinishedSpan> {
        let mut finished = Vec::new();
        for (id, at) in std::mem::take(&mut self.detaching) {
            let on = self.open.get(&id).is_some_and(|span| span.end.is_none());
            let room = self.detached.len() < self.limits.open_spans;
            if on
                && room
                && let Some(span) = self.take(id)
            {
                if let Some(ids) = span.known_ids() {
                    self.remember(id, ids);
                }
                self.detached.insert(id);
                finished.extend(self.finish(span, Some((Over::Root, at)), around));
            }
        }
        self.counters.released += finished.len() as u64;
        finished
    }
}
