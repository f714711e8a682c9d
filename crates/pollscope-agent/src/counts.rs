//! What the agent counts of itself: one list, for its page and for its own OTLP metrics.

use pollscope_export::Stats;
use pollscope_export::own::Reading;
use pollscope_model::event::Class;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counters, and the state after the last turn.
#[derive(Default)]
pub struct Counts {
    records: AtomicU64,
    lost: [AtomicU64; 3],
    refused: AtomicU64,
    rounds: AtomicU64,
    journal_failed: AtomicBool,
    state: Mutex<(usize, usize, Stats)>,
}

impl Counts {
    /// Counts a round.
    pub fn read(&self, records: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.rounds.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts records that were overwritten before they were read.
    pub fn lost(&self, class: Class, records: u64) {
        let counter = match class {
            Class::Polls => &self.lost[0],
            Class::SpanEnds => &self.lost[1],
            Class::Others => &self.lost[2],
        };
        counter.fetch_add(records, Ordering::Relaxed);
    }

    /// Counts a refused session.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that the journal could not be written; whether that was known.
    pub fn journal_failed(&self) -> bool {
        self.journal_failed.swap(true, Ordering::Relaxed)
    }

    /// Takes the state after a turn.
    pub fn publish(&self, live: usize, dead: usize, stats: Stats) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = (live, dead, stats);
    }

    /// Whether a round over all sessions was made.
    pub fn ready(&self) -> bool {
        self.rounds.load(Ordering::Relaxed) > 0
    }

    /// All of it.
    pub fn readings(&self) -> Vec<Reading> {
        let (live, dead, stats) = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let [polls, span_ends, others] = &self.lost;
        let [full, refused] = stats.dropped();
        let counter = |name, unit, help, value| Reading {
            name,
            unit,
            counter: true,
            help,
            values: vec![(None, value)],
        };
        let gauge = |name, unit, help, value| Reading { counter: false, ..counter(name, unit, help, value) };
        vec![
            counter(
                "pollscope.agent.records.read",
                "{record}",
                "Records read from sessions.",
                load(&self.records),
            ),
            Reading {
                values: vec![
                    (Some(("class", "polls")), load(polls)),
                    (Some(("class", "span_ends")), load(span_ends)),
                    (Some(("class", "others")), load(others)),
                ],
                ..counter(
                    "pollscope.agent.records.lost",
                    "{record}",
                    "Records overwritten before they were read.",
                    0,
                )
            },
            counter("pollscope.agent.rounds", "{round}", "Passes over all rings.", load(&self.rounds)),
            Reading {
                values: vec![(Some(("state", "live")), live as u64), (Some(("state", "dead")), dead as u64)],
                ..gauge("pollscope.agent.sessions", "{session}", "Sessions followed.", 0)
            },
            counter(
                "pollscope.agent.sessions.refused",
                "{session}",
                "Directories that are no session this agent can read.",
                load(&self.refused),
            ),
            gauge(
                "pollscope.agent.queue.spans",
                "{span}",
                "Spans that wait to be sent.",
                stats.queued_spans + stats.open_spans,
            ),
            gauge(
                "pollscope.agent.queue.size",
                "By",
                "Encoded spans that wait to be sent.",
                stats.queued_bytes,
            ),
            counter("pollscope.agent.spans.sent", "{span}", "Spans that the backend took.", stats.sent_spans),
            counter(
                "pollscope.agent.spans.rejected",
                "{span}",
                "Spans that the backend rejected in a partial success.",
                stats.rejected_spans,
            ),
            Reading {
                values: [full, refused].map(|(reason, spans)| (Some(("reason", reason)), spans)).into(),
                ..counter("pollscope.agent.spans.dropped", "{span}", "Spans that were given up.", 0)
            },
            counter(
                "pollscope.agent.spans.restored",
                "{span}",
                "Spans that the journal brought back at start: they may be sent again.",
                stats.restored_spans,
            ),
            counter(
                "pollscope.agent.spans.unsampled",
                "{span}",
                "Spans of traces that are not sampled.",
                stats.unsampled_spans,
            ),
            counter(
                "pollscope.agent.export.requests",
                "{request}",
                "Export requests begun, retries among them.",
                stats.requests,
            ),
            counter(
                "pollscope.agent.export.retries",
                "{request}",
                "Export requests that failed and were tried again.",
                stats.retries,
            ),
        ]
    }
}
