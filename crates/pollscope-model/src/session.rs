//! One session: sends each fact to where it belongs and holds what concerns the session as a whole.

use crate::event::{Event, LocalSpanId, SessionEnd, SessionId, SessionInfo, TaskKind, TaskTotals, ThreadId};
use crate::groups::Group;
use crate::limits::Limits;
use crate::polls::{LongWait, NotedPoll};
use crate::span::{FinishedSpan, Log, SpanEvent};
use crate::spans::{LinkTo, OpenSpan, SpanCounters, Spans, Surroundings};
use crate::tasks::{FinishedTask, Tasks};
use crate::threads::{JobKey, Jobs, Tallies, Thread, Threads};
use crate::time::{Nanos, UnixNanos};
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

/// Tasks recorded of tasks alive, on one runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// The runtime's name or number.
    pub runtime: Arc<str>,
    /// Its worker threads.
    pub workers: u32,
    /// Live tasks that are recorded, of the kinds that the runtime counts.
    pub recorded: u64,
    /// Tasks alive, as the runtime itself said; `None` if it never did.
    pub alive: Option<u64>,
    /// How old that number was when it was read.
    pub age: Nanos,
}

impl fmt::Display for Coverage {
    /// `2 of 10 tasks on runtime main are recorded`; the runtime's number is older than ours, and never below it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (recorded, runtime) = (self.recorded, &self.runtime);
        match self.alive {
            Some(alive) => {
                write!(f, "{recorded} of {} tasks on runtime {runtime} are recorded", alive.max(recorded))
            }
            None => write!(
                f,
                "{recorded} tasks on runtime {runtime} are recorded; how many are alive it has not said"
            ),
        }
    }
}

impl Coverage {
    /// Recorded of alive, from 0 to 1; `None` if the runtime said nothing or has no tasks.
    pub fn share(&self) -> Option<f64> {
        let alive = self.alive.filter(|alive| *alive > 0)?;
        Some((self.recorded as f64 / alive as f64).min(1.0))
    }

    /// Tasks alive that are not recorded, as far as the runtime has said.
    pub fn unseen(&self) -> u64 {
        self.alive.map_or(0, |alive| alive.saturating_sub(self.recorded))
    }
}

#[derive(Clone, Debug)]
struct Runtime {
    workers: u32,
    alive: u64,
    age: Nanos,
}

/// Totals of live tasks, by the spans that they are.
fn by_span(tasks: &Tasks) -> HashMap<LocalSpanId, TaskTotals> {
    tasks.live.values().filter_map(|live| Some((live.span()?, live.totals().0))).collect()
}

/// All that is known of one session.
#[derive(Clone, Debug)]
pub struct Session {
    id: SessionId,
    info: SessionInfo,
    ended: Option<(SessionEnd, UnixNanos)>,
    last_fact: UnixNanos,
    most_runtimes: usize,
    pub(crate) tasks: Tasks,
    threads: Threads,
    spans: Spans,
    runtimes: BTreeMap<Arc<str>, Runtime>,
    refused: BTreeMap<&'static str, u64>,
    joins: u64,
}

impl Session {
    pub(crate) fn new(id: SessionId, limits: Limits) -> Session {
        Session {
            id,
            info: SessionInfo::default(),
            ended: None,
            last_fact: UnixNanos(0),
            most_runtimes: limits.kinds,
            tasks: Tasks::new(limits),
            threads: Threads::new(&limits),
            spans: Spans::new(limits),
            runtimes: BTreeMap::new(),
            refused: BTreeMap::new(),
            joins: 0,
        }
    }

    pub(crate) fn apply(&mut self, event: Event, round: u64) {
        match event {
            Event::SessionBegan(info) => {
                if info.slow_poll > Nanos(0) {
                    self.tasks.slow = info.slow_poll;
                }
                self.info = info;
            }
            Event::SessionEnded(how, at) => self.ended = Some((how, at)),
            Event::Thread { thread, os_id, kind, name, runtime } => {
                let entry = self.threads.entry(thread);
                (entry.os_id, entry.kind, entry.name, entry.runtime) = (os_id, kind, name, runtime);
            }
            Event::ThreadEnded(thread, at) => {
                self.saw(at);
                self.threads.end(thread, at);
            }
            Event::Polling(thread, polling) => self.threads.polls(thread, polling),
            Event::TaskBorn(birth) => {
                self.saw(birth.born);
                self.tasks.born(&birth, round);
            }
            // Read now, of whatever moment: it says nothing about how far the facts have come.
            Event::TaskState(task, state) => self.tasks.state(task, state, round),
            Event::Polled(poll) => {
                self.saw(poll.start + poll.busy);
                self.tasks.polled(poll, round);
            }
            Event::TaskEnded(end) => {
                self.saw(end.ended);
                self.tasks.ended(&end, round);
            }
            Event::Joined { at, .. } => {
                self.saw(at);
                self.joins += 1;
            }
            Event::Parked { thread, start, length } => {
                self.saw(start + length);
                self.threads.entry(thread).parked += length;
            }
            Event::Job { thread, name, location, span, start, busy, queued, outcome, parent: _ } => {
                self.saw(start + busy);
                self.threads.job((name, location), busy, queued, outcome);
                if let Some(span) = span {
                    self.spans.thread(span, thread, round);
                }
            }
            Event::SpanOpened(open) => {
                self.saw(open.opened);
                self.spans.opened(open, round);
            }
            Event::SpanState(span, state) => self.spans.state(span, state),
            Event::SpanIds(span, ids) => self.spans.ids(span, ids, round),
            Event::SpanAttribute(span, at, attribute) => {
                self.saw(at);
                self.spans.attribute(span, at, attribute, round);
            }
            Event::SpanEvent { span, at, callsite, attributes, dropped_attributes, beyond, exported } => {
                self.saw(at);
                let event = SpanEvent { at, callsite, attributes, dropped_attributes };
                if !exported {
                    self.spans.log(span, &event, round);
                }
                if !beyond {
                    self.spans.event(span, event, round);
                }
            }
            Event::SpanLink { span, to, remote } => {
                if let Some(to) = to {
                    self.spans.link(span, LinkTo::Local(to), round);
                }
                if let Some((trace, remote)) = remote {
                    self.spans.link(span, LinkTo::Remote(trace, remote), round);
                }
            }
            Event::SpanEnded(end) => {
                self.saw(end.ended);
                self.spans.ended(end, round);
            }
            Event::Alive { began, tasks, spans, slotless } => {
                let tasks = tasks.into_iter().collect();
                self.tasks.alive(began, &tasks, slotless, round);
                let runs =
                    |task: crate::event::TaskId| tasks.contains(&task) || task.0 & slotless == slotless;
                self.spans.alive(began, &spans.into_iter().collect(), &runs, slotless, round);
            }
            Event::Lost { thread, class, records } => self.threads.lost(thread, class, records),
            Event::Read { thread, class, records } => self.threads.read(thread, class, records),
            // A running total: the greatest is the newest.
            Event::Refused(what, total) => {
                let known = self.refused.entry(what).or_default();
                *known = total.max(*known);
            }
            Event::RuntimeAlive { runtime, workers, alive, age } => {
                if self.runtimes.len() < self.most_runtimes || self.runtimes.contains_key(&runtime) {
                    self.runtimes.insert(runtime, Runtime { workers, alive, age });
                }
            }
        }
    }

    /// Ends a round. What an ended session left comes with [`Session::leave`].
    pub(crate) fn end_round(&mut self, round: u64) -> Vec<FinishedSpan> {
        self.tasks.end_round(round);
        if self.over().is_some() {
            return Vec::new();
        }
        let threads = &self.threads;
        let thread = |id: ThreadId| threads.get(id).map(|thread| (thread.os_id, thread.name.clone()));
        // Looked up where a task leaves before its end, which is rare.
        let live = OnceCell::new();
        let tasks = &self.tasks;
        let task = |span: LocalSpanId| live.get_or_init(|| by_span(tasks)).get(&span).copied();
        let around = Surroundings { session: self.id, thread: &thread, task: &task };
        self.spans.end_round(round, &around)
    }

    /// Events that leave by themselves, `all` or those that wait no more; before the spans of the round leave, for
    /// they have the ids.
    pub(crate) fn end_logs(&mut self, round: u64, all: bool) -> Vec<Log> {
        let all = all || self.over().is_some();
        self.spans.end_logs(self.id, all, round)
    }

    /// How and when it ended, if all of it was read.
    fn over(&self) -> Option<(SessionEnd, UnixNanos)> {
        self.ended.filter(|(how, _)| *how != SessionEnd::Detached)
    }

    /// Spans of a session that has ended, at most so many.
    pub(crate) fn leave(&mut self, most: usize) -> Vec<FinishedSpan> {
        let threads = &self.threads;
        let thread = |id: ThreadId| threads.get(id).map(|thread| (thread.os_id, thread.name.clone()));
        match self.over() {
            Some((how, at)) if !self.spans.is_empty() => {
                let of_spans = by_span(&self.tasks);
                let task = |span: LocalSpanId| of_spans.get(&span).copied();
                let around = Surroundings { session: self.id, thread: &thread, task: &task };
                self.spans.end_session(how, at.max(self.last_fact), most, &around)
            }
            _ => Vec::new(),
        }
    }

    pub(crate) fn restore(&mut self, span: OpenSpan, round: u64) {
        self.spans.restore(span, round);
    }

    fn saw(&mut self, at: UnixNanos) {
        self.last_fact = self.last_fact.max(at);
    }

    /// Which.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// What the service says of itself; empty until its beginning was read.
    pub fn info(&self) -> &SessionInfo {
        &self.info
    }

    /// How and when it ended.
    pub fn ended(&self) -> Option<(SessionEnd, UnixNanos)> {
        self.ended
    }

    /// The time of the newest fact.
    pub fn last_fact(&self) -> UnixNanos {
        self.last_fact
    }

    /// What "now" is for this session: an ended one stands still at its end.
    pub fn now(&self, now: UnixNanos) -> UnixNanos {
        match self.ended {
            Some((how, at)) if how != SessionEnd::Detached => at.max(self.last_fact),
            _ => now,
        }
    }

    /// Live tasks.
    pub fn live_tasks(&self) -> usize {
        self.tasks.live.len()
    }

    /// Sums by spawn group; the first is `other`.
    pub fn groups(&self) -> &[Group] {
        self.tasks.groups.all()
    }

    /// Tasks that ended lately, newest first.
    pub fn finished_tasks(&self) -> impl Iterator<Item = &FinishedTask> {
        self.tasks.finished.iter().map(|(_, task)| task)
    }

    /// Tasks that panicked lately, newest first.
    pub fn panicked_tasks(&self) -> impl Iterator<Item = &FinishedTask> {
        self.tasks.panicked.iter().map(|(_, task)| task)
    }

    /// The longest polls by their own doing, longest first.
    pub fn worst_polls(&self) -> impl Iterator<Item = &NotedPoll> {
        self.tasks.polls.worst()
    }

    /// The longest waits for a worker, longest first.
    pub fn longest_waits(&self) -> impl Iterator<Item = &LongWait> {
        self.tasks.polls.waits()
    }

    /// Polls of tasks whose birth was never read.
    pub fn polls_of_unknown_tasks(&self) -> u64 {
        self.tasks.polls_of_unknown
    }

    /// Births refused because too many tasks were alive.
    pub fn refused_births(&self) -> u64 {
        self.tasks.refused_births
    }

    /// Joins that were read.
    pub fn joins(&self) -> u64 {
        self.joins
    }

    /// Threads: all that live, and those that ended lately.
    pub fn threads(&self) -> impl Iterator<Item = &Thread> {
        self.threads.all()
    }

    /// One thread.
    pub fn thread(&self, id: ThreadId) -> Option<&Thread> {
        self.threads.get(id)
    }

    /// Threads that ended, in all.
    pub fn ended_threads(&self) -> u64 {
        self.threads.ended_count
    }

    /// Records read and lost, of all threads that ever were.
    pub fn records(&self) -> &Tallies {
        &self.threads.records
    }

    /// Jobs by name and place.
    pub fn jobs(&self) -> impl Iterator<Item = (&JobKey, &Jobs)> {
        self.threads.jobs.iter()
    }

    /// What the service refused, by name.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.refused.iter().map(|(what, total)| (*what, *total))
    }

    /// What could not be shown of spans.
    pub fn span_counters(&self) -> SpanCounters {
        self.spans.counters
    }

    /// Spans open now.
    pub fn open_span_count(&self) -> usize {
        self.spans.open_count()
    }

    /// Everything known of spans that have not left, by local id: for a journal, and to show what is open.
    pub fn open_spans(&self) -> Vec<OpenSpan> {
        self.spans.open()
    }

    /// Spans that left before their end, which may still come, in no order.
    pub fn gone_spans(&self) -> impl Iterator<Item = LocalSpanId> {
        self.spans.gone()
    }

    /// One span that has not left.
    pub fn open_span(&self, span: LocalSpanId) -> Option<&OpenSpan> {
        self.spans.get(span)
    }

    /// Coverage of each runtime that has tasks or has said how many are alive.
    ///
    /// A runtime counts what was spawned on it; main, requests, wrapped futures and tasks of a `LocalSet` are
    /// recorded but not counted.
    pub fn coverage(&self) -> Vec<Coverage> {
        let mut all: BTreeMap<Arc<str>, Coverage> = self
            .runtimes
            .iter()
            .map(|(name, runtime)| {
                let coverage = Coverage {
                    runtime: name.clone(),
                    workers: runtime.workers,
                    recorded: 0,
                    alive: Some(runtime.alive),
                    age: runtime.age,
                };
                (name.clone(), coverage)
            })
            .collect();
        for live in self.tasks.live.values() {
            if !matches!(live.shape.kind, TaskKind::Spawned | TaskKind::Hooked) {
                continue;
            }
            let runtime = &live.shape.runtime;
            if let Some(coverage) = all.get_mut(runtime) {
                coverage.recorded += 1;
            } else {
                let (runtime, alive) = (runtime.clone(), None);
                let new =
                    Coverage { runtime: runtime.clone(), workers: 0, recorded: 1, alive, age: Nanos(0) };
                all.insert(runtime, new);
            }
        }
        all.into_values().collect()
    }
}
