//! What the agent counts of itself: one list, for its page and for its own OTLP metrics.

use pollscope_export::Stats;
use pollscope_export::own::{Labels, Reading};
use pollscope_model::Model;
use pollscope_model::event::Class;
use pollscope_model::session::Coverage;
use pollscope_model::spans::SpanCounters;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Counters, and the state after the last turn.
#[derive(Default)]
pub struct Counts {
    records: AtomicU64,
    lost: [AtomicU64; 3],
    refused: AtomicU64,
    foreign: AtomicU64,
    withheld: AtomicU64,
    withheld_logs: AtomicU64,
    throttled: AtomicU64,
    rounds: AtomicU64,
    journal_failed: AtomicBool,
    state: Mutex<State>,
    covered: Mutex<Covered>,
}

#[derive(Clone, Default)]
struct State {
    live: usize,
    dead: usize,
    stats: Stats,
    logs: Stats,
    unshown: Unshown,
}

/// What the model could not show.
#[derive(Clone, Default)]
pub struct Unshown {
    pub spans: SpanCounters,
    pub overflow: u64,
    pub polls: u64,
    pub births: u64,
    pub logs: u64,
}

impl Unshown {
    pub fn of(model: &Model) -> Unshown {
        Unshown {
            spans: model.span_counters(),
            overflow: model.finished_overflow(),
            polls: model.polls_of_unknown_tasks(),
            births: model.refused_births(),
            logs: model.lost_logs(),
        }
    }

    /// Spans that were not exported, by reason.
    pub fn lost(&self) -> [(&'static str, u64); 5] {
        let spans = &self.spans;
        [
            ("no_ids", spans.no_ids),
            ("lost_end", spans.lost_ends),
            ("too_many_open", spans.evicted),
            ("orphan", spans.orphans),
            ("too_many_finished", self.overflow),
        ]
    }

    /// Parts that exported spans lack, by kind.
    pub fn dropped(&self) -> [(&'static str, u64); 6] {
        let spans = &self.spans;
        [
            ("attributes", spans.dropped_attributes),
            ("events", spans.dropped_events),
            ("links", spans.dropped_links),
            ("unresolved_links", spans.unresolved_links),
            ("late", spans.late),
            ("too_many_open", spans.refused),
        ]
    }
}

fn by(key: &'static str, values: &[(&'static str, u64)]) -> Vec<(Labels, u64)> {
    values.iter().map(|(label, value)| (vec![(key, (*label).into())], *value)).collect()
}

/// Series of coverage at most: services and runtimes name themselves.
const COVERED: usize = 500;

/// Tasks recorded and tasks alive, by service and runtime, over all live sessions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Covered(BTreeMap<[Arc<str>; 2], Tasks>);

/// Of one runtime's name; `alive` is none while no such runtime has said it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Tasks {
    recorded: u64,
    alive: Option<u64>,
}

impl Covered {
    pub fn of(model: &Model) -> Covered {
        let mut all = Covered::default();
        for session in model.sessions().filter(|session| session.ended().is_none()) {
            for one in session.coverage() {
                all.add(session.info().service(), &one);
            }
        }
        all
    }

    fn add(&mut self, service: &str, one: &Coverage) {
        let mut key = [service.into(), one.runtime.clone()];
        if self.0.len() >= COVERED && !self.0.contains_key(&key) {
            key = ["other".into(), "other".into()];
        }
        let tasks = self.0.entry(key).or_default();
        tasks.recorded += one.recorded;
        tasks.alive = one.alive.map_or(tasks.alive, |more| Some(tasks.alive.unwrap_or(0) + more));
    }

    fn values(&self, number: impl Fn(&Tasks) -> Option<u64>) -> Vec<(Labels, u64)> {
        let labels = |[service, runtime]: &[Arc<str>; 2]| {
            vec![("service", service.clone()), ("runtime", runtime.clone())]
        };
        self.0.iter().filter_map(|(key, tasks)| Some((labels(key), number(tasks)?))).collect()
    }
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

    /// Counts spans that their service exports itself.
    pub fn foreign(&self, spans: u64) {
        self.foreign.fetch_add(spans, Ordering::Relaxed);
    }

    /// Counts a refused session.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts spans that their service wants not exported.
    pub fn withhold(&self, spans: u64) {
        self.withheld.fetch_add(spans, Ordering::Relaxed);
    }

    /// Counts log records that their service wants not exported.
    pub fn withhold_logs(&self, logs: u64) {
        self.withheld_logs.fetch_add(logs, Ordering::Relaxed);
    }

    /// Counts spans of traces that were dropped for the rate; whether they are the first.
    pub fn throttle(&self, spans: u64) -> bool {
        self.throttled.fetch_add(spans, Ordering::Relaxed) == 0 && spans > 0
    }

    /// Notes that the journal could not be written; whether that was known.
    pub fn journal_failed(&self) -> bool {
        self.journal_failed.swap(true, Ordering::Relaxed)
    }

    /// Takes the state after a turn.
    pub fn publish(&self, live: usize, dead: usize, stats: Stats, logs: Stats, unshown: Unshown) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) =
            State { live, dead, stats, logs, unshown };
    }

    /// Takes the coverage of all live sessions.
    pub fn cover(&self, covered: Covered) {
        *self.covered.lock().unwrap_or_else(PoisonError::into_inner) = covered;
    }

    /// Whether a round over all sessions was made.
    pub fn ready(&self) -> bool {
        self.rounds.load(Ordering::Relaxed) > 0
    }

    /// All of it.
    pub fn readings(&self) -> Vec<Reading> {
        let State { live, dead, stats, logs, unshown } =
            self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let covered = self.covered.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let [polls, span_ends, others] = &self.lost;
        let [full, refused] = stats.dropped();
        let counter = |name, unit, help, value| Reading {
            name,
            unit,
            counter: true,
            help,
            values: vec![(Vec::new(), value)],
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
                    (vec![("class", "polls".into())], load(polls)),
                    (vec![("class", "span_ends".into())], load(span_ends)),
                    (vec![("class", "others".into())], load(others)),
                ],
                ..counter(
                    "pollscope.agent.records.lost",
                    "{record}",
                    "Records overwritten before they were read.",
                    0,
                )
            },
            Reading {
                values: by("reason", &unshown.lost()),
                ..counter(
                    "pollscope.agent.spans.lost",
                    "{span}",
                    "Spans that cannot be exported: too much of them was lost, or too many were kept.",
                    0,
                )
            },
            counter(
                "pollscope.agent.spans.incomplete",
                "{span}",
                "Exported spans that lack some of their attributes.",
                unshown.spans.incomplete,
            ),
            Reading {
                values: by("kind", &unshown.dropped()),
                ..counter(
                    "pollscope.agent.span.parts.dropped",
                    "{part}",
                    "Attributes, events and links beyond the limits, or read after their span had left.",
                    0,
                )
            },
            counter(
                "pollscope.agent.polls.unplaced",
                "{poll}",
                "Polls of tasks whose birth was lost.",
                unshown.polls,
            ),
            counter(
                "pollscope.agent.tasks.refused",
                "{task}",
                "Tasks beyond the number that is kept.",
                unshown.births,
            ),
            counter("pollscope.agent.rounds", "{round}", "Passes over all rings.", load(&self.rounds)),
            Reading {
                values: vec![
                    (vec![("state", "live".into())], live as u64),
                    (vec![("state", "dead".into())], dead as u64),
                ],
                ..gauge("pollscope.agent.sessions", "{session}", "Sessions followed.", 0)
            },
            counter(
                "pollscope.agent.sessions.refused",
                "{session}",
                "Directories that are no session this agent can read.",
                load(&self.refused),
            ),
            Reading {
                values: covered.values(|tasks| Some(tasks.recorded)),
                ..gauge(
                    "pollscope.coverage.tasks.recorded",
                    "{task}",
                    "Live tasks that are recorded, of live sessions, by service and runtime.",
                    0,
                )
            },
            Reading {
                values: covered.values(|tasks| tasks.alive),
                ..gauge(
                    "pollscope.coverage.tasks.alive",
                    "{task}",
                    "Tasks alive, as the runtime itself said when it last parked, recorded or not.",
                    0,
                )
            },
            gauge(
                "pollscope.agent.queue.spans",
                "{span}",
                "Spans that wait to be sent.",
                stats.queued + stats.open,
            ),
            gauge(
                "pollscope.agent.queue.size",
                "By",
                "Encoded spans and log records that wait to be sent.",
                stats.queued_bytes + logs.queued_bytes,
            ),
            counter("pollscope.agent.spans.sent", "{span}", "Spans that the backend took.", stats.sent),
            counter(
                "pollscope.agent.spans.rejected",
                "{span}",
                "Spans that the backend rejected in a partial success.",
                stats.rejected,
            ),
            Reading {
                values: by("reason", &[full, refused]),
                ..counter("pollscope.agent.spans.dropped", "{span}", "Spans that were given up.", 0)
            },
            counter(
                "pollscope.agent.spans.restored",
                "{span}",
                "Spans that the journal brought back at start: they may be sent again.",
                stats.restored,
            ),
            counter(
                "pollscope.agent.spans.unsampled",
                "{span}",
                "Spans of traces that are not sampled.",
                stats.unsampled,
            ),
            counter(
                "pollscope.agent.spans.foreign",
                "{span}",
                "Spans that their service exports itself.",
                load(&self.foreign),
            ),
            counter(
                "pollscope.agent.spans.withheld",
                "{span}",
                "Spans of services that want none exported: OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER.",
                load(&self.withheld),
            ),
            counter(
                "pollscope.agent.spans.throttled",
                "{span}",
                "Spans of traces that were dropped whole: there were more than --max-spans-per-second.",
                load(&self.throttled),
            ),
            gauge(
                "pollscope.agent.queue.logs",
                "{log_record}",
                "Log records that wait to be sent.",
                logs.queued + logs.open,
            ),
            counter(
                "pollscope.agent.logs.sent",
                "{log_record}",
                "Log records that the backend took.",
                logs.sent,
            ),
            counter(
                "pollscope.agent.logs.rejected",
                "{log_record}",
                "Log records that the backend rejected in a partial success.",
                logs.rejected,
            ),
            Reading {
                values: by("reason", &logs.dropped()),
                ..counter(
                    "pollscope.agent.logs.dropped",
                    "{log_record}",
                    "Log records that were given up.",
                    0,
                )
            },
            counter(
                "pollscope.agent.logs.restored",
                "{log_record}",
                "Log records that the journal brought back at start: they may be sent again.",
                logs.restored,
            ),
            counter(
                "pollscope.agent.logs.lost",
                "{log_record}",
                "Events that became no log record: too many were kept.",
                unshown.logs,
            ),
            counter(
                "pollscope.agent.logs.withheld",
                "{log_record}",
                "Log records of services that want none exported: OTEL_SDK_DISABLED, OTEL_LOGS_EXPORTER.",
                load(&self.withheld_logs),
            ),
            counter(
                "pollscope.agent.export.requests",
                "{request}",
                "Export requests begun, retries among them.",
                stats.requests + logs.requests,
            ),
            counter(
                "pollscope.agent.export.retries",
                "{request}",
                "Export requests that failed and were tried again.",
                stats.retries + logs.retries,
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Replicas add up; names beyond the bound are one series.
    #[test]
    fn coverage_is_summed_by_name_and_bounded() {
        let one = |runtime: &str, recorded, alive| Coverage {
            runtime: runtime.into(),
            workers: 1,
            recorded,
            alive,
            age: pollscope_model::Nanos(0),
        };
        let mut all = Covered::default();
        all.add("till", &one("main", 1, Some(5)));
        all.add("till", &one("main", 2, None));
        all.add("till", &one("io", 3, None));
        for n in 0..2 * COVERED {
            all.add(&format!("many-{n}"), &one("main", 1, Some(1)));
        }
        let recorded = all.values(|tasks| Some(tasks.recorded));
        let of = |values: &[(Labels, u64)], service: &str, runtime: &str| {
            let labels: Labels = vec![("service", service.into()), ("runtime", runtime.into())];
            values.iter().find(|(of, _)| *of == labels).map(|(_, value)| *value)
        };
        assert_eq!((of(&recorded, "till", "main"), of(&recorded, "till", "io")), (Some(3), Some(3)));
        assert_eq!(recorded.len(), COVERED + 1);
        assert_eq!(of(&recorded, "other", "other"), Some(2 + COVERED as u64));
        let alive = all.values(|tasks| tasks.alive);
        assert_eq!((of(&alive, "till", "main"), of(&alive, "till", "io")), (Some(5), None));
    }
}
