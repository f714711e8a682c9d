//! What stood out, in plain words: for the end of a demo, not for alerting.
//!
//! Each kind says what was seen and claims no more: a suspect is called a suspect, and what was not recorded is
//! not guessed. Places are named once each, with their worst case.

use crate::event::{Location, SessionId, TaskId, TaskKind, ThreadId, TraceId};
use crate::groups::{Group, TaskShape};
use crate::model::Model;
use crate::render::clean;
use crate::session::Session;
use crate::tasks::Doing;
use crate::threads::Tallies;
use crate::time::{Nanos, UnixNanos};
use crate::traces::{TraceQuery, Traces};
use crate::view::{Shortened, TaskFilter, TaskRow, TaskSort};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// Fewer live tasks of one spawn are no leak to speak of.
const LEAK_LIVE: u64 = 10;
/// Spawned within less than this they are a pool, not a leak.
const LEAK_SPREAD: Nanos = Nanos(1_000_000_000);
/// Self-wakes a second from which on a task is said to spin: a yielding task makes some hundred.
const SPIN_RATE: u64 = 1_000;
/// A task younger than this has no rate yet.
const SPIN_AGE: Nanos = Nanos(100_000_000);
/// Idle for less than this, a task may just be between two wakers.
const LOST_WAKE_IDLE: Nanos = Nanos(1_000_000_000);

/// A task as a sentence names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Named {
    /// Its session.
    pub session: SessionId,
    /// `service.name`.
    pub service: Arc<str>,
    /// Its name, or else its future's type.
    pub label: Arc<str>,
    /// Where it was spawned.
    pub location: Location,
}

/// A trace that took long.
#[derive(Clone, Debug, PartialEq)]
pub struct SlowTrace {
    /// Which.
    pub trace: TraceId,
    /// The name of its root.
    pub name: Arc<str>,
    /// The root's service.
    pub service: Arc<str>,
    /// Where the root stands in the code.
    pub location: Location,
    /// From start to end.
    pub duration: Nanos,
    /// Spans with status error.
    pub errors: usize,
}

/// A long poll.
#[derive(Clone, Debug, PartialEq)]
pub struct WorstPoll {
    /// Whose.
    pub task: Named,
    /// Time inside it, inner tasks' share taken out.
    pub length: Nanos,
    /// The name of the thread it held; empty if unknown.
    pub thread: Arc<str>,
    /// It has not ended yet.
    pub under_way: bool,
    /// Polls of this spawn that were at least the service's threshold long, of those that were read.
    pub slow_polls: u64,
}

/// A long wait for a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct LongestWait {
    /// Who waited.
    pub task: Named,
    /// How long.
    pub length: Nanos,
    /// The thread that then ran it; empty if unknown.
    pub thread: Arc<str>,
    /// Whose poll ran there meanwhile, and for how much of the wait, if a poll that was read tells.
    pub behind: Option<(Named, Nanos)>,
}

/// A spawn whose tasks hardly ever end while more keep coming.
#[derive(Clone, Debug, PartialEq)]
pub struct LeakSuspect {
    /// Which spawn.
    pub task: Named,
    /// Tasks spawned there.
    pub spawned: u64,
    /// Of these, alive.
    pub live: u64,
}

/// A task that goes on waking itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Spinner {
    /// Which.
    pub task: Named,
    /// Self-wakes in all.
    pub self_wakes: u64,
    /// Self-wakes a second, over its life.
    pub rate: u64,
}

/// A task that waits and that nothing can wake any more.
#[derive(Clone, Debug, PartialEq)]
pub struct LostWake {
    /// Which spawn.
    pub task: Named,
    /// The task that has been idle longest.
    pub id: TaskId,
    /// For how long.
    pub idle: Nanos,
    /// Tasks of this spawn in the same state.
    pub tasks: u64,
}

/// A spawn whose tasks panicked.
#[derive(Clone, Debug, PartialEq)]
pub struct Panicked {
    /// Which.
    pub task: Named,
    /// Tasks that did.
    pub tasks: u64,
    /// The newest.
    pub last: UnixNanos,
}

/// All of it; each list has the worst first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Slowest traces.
    pub slowest_traces: Vec<SlowTrace>,
    /// Worst polls.
    pub worst_polls: Vec<WorstPoll>,
    /// Longest scheduled times.
    pub longest_waits: Vec<LongestWait>,
    /// Leak suspects.
    pub leaks: Vec<LeakSuspect>,
    /// Self-wake spinners.
    pub spinners: Vec<Spinner>,
    /// Tasks that nothing can wake.
    pub lost_wakes: Vec<LostWake>,
    /// Panicked tasks.
    pub panicked: Vec<Panicked>,
    /// Records lost, for each service that lost any: what is said above was said without them.
    pub lost: Vec<(Arc<str>, Tallies)>,
}

impl Summary {
    /// Looks over everything, at most `most` entries of each kind.
    pub fn of(model: &Model, traces: &Traces, now: UnixNanos, most: usize) -> Summary {
        let mut look = Look { model, now, short: Shortened::default() };
        let rows = model.tasks(now, &TaskFilter::default(), TaskSort::Doing, usize::MAX).rows;
        let mut summary = Summary {
            slowest_traces: slowest(traces, most),
            worst_polls: look.worst_polls(&rows),
            longest_waits: look.longest_waits(),
            leaks: look.leaks(),
            spinners: look.spinners(&rows),
            lost_wakes: look.lost_wakes(&rows),
            panicked: look.panicked(),
            lost: look.lost(),
        };
        summary.worst_polls.truncate(most);
        summary.longest_waits.truncate(most);
        summary.leaks.truncate(most);
        summary.spinners.truncate(most);
        summary.lost_wakes.truncate(most);
        summary.panicked.truncate(most);
        summary
    }
}

fn slowest(traces: &Traces, most: usize) -> Vec<SlowTrace> {
    let query = TraceQuery { slowest: true, ..TraceQuery::default() };
    let slow = traces.find(&query, most).into_iter().filter_map(|tree| {
        let root = tree.root()?;
        Some(SlowTrace {
            trace: tree.id,
            name: root.span.name.clone(),
            service: root.service.clone(),
            location: root.span.callsite.location.clone(),
            duration: tree.duration(),
            errors: tree.errors,
        })
    });
    slow.collect()
}

struct Look<'a> {
    model: &'a Model,
    now: UnixNanos,
    short: Shortened,
}

impl Look<'_> {
    fn named(&mut self, session: &Session, shape: &TaskShape) -> Named {
        Named {
            session: session.id(),
            service: session.info().service().into(),
            label: shape.name.clone().unwrap_or_else(|| self.short.of(&shape.future)),
            location: shape.location.clone(),
        }
    }

    fn of_group(&mut self, session: &Session, group: &Group) -> Named {
        let key = &group.key;
        let label = if key.named { key.label.clone() } else { self.short.of(&key.label) };
        let service = session.info().service().into();
        Named { session: session.id(), service, label, location: key.location.clone() }
    }

    fn worst_polls(&mut self, rows: &[TaskRow]) -> Vec<WorstPoll> {
        let mut worst = Vec::new();
        for session in self.model.sessions() {
            let slow_polls: HashMap<Named, u64> = session
                .groups()
                .iter()
                .map(|group| (self.of_group(session, group), group.slow_polls))
                .collect();
            for noted in session.worst_polls() {
                let task = self.named(session, &noted.shape);
                let slow_polls = slow_polls.get(&task).copied().unwrap_or(0);
                let thread = thread_name(session, noted.poll.thread);
                worst.push(WorstPoll { task, length: noted.own(), thread, under_way: false, slow_polls });
            }
        }
        // A poll that never ends has no record: it is only seen while it lasts.
        for row in rows {
            let Some(session) = self.model.session(row.session) else { continue };
            if let Doing::Running(since) = row.doing {
                let length = session.now(self.now).since(since);
                let (task, thread) = (of_row(row), "".into());
                worst.push(WorstPoll { task, length, thread, under_way: true, slow_polls: 0 });
            }
        }
        worst.sort_by(|a, b| b.length.cmp(&a.length));
        once(worst, |poll| &poll.task)
    }

    fn longest_waits(&mut self) -> Vec<LongestWait> {
        let mut waits = Vec::new();
        for session in self.model.sessions() {
            for wait in session.longest_waits() {
                let waited = &wait.waited;
                let behind = wait.behind.as_ref();
                waits.push(LongestWait {
                    task: self.named(session, &waited.shape),
                    length: waited.poll.scheduled,
                    thread: thread_name(session, waited.poll.thread),
                    behind: behind.map(|(noted, share)| (self.named(session, &noted.shape), *share)),
                });
            }
        }
        waits.sort_by(|a, b| b.length.cmp(&a.length));
        once(waits, |wait| &wait.task)
    }

    fn leaks(&mut self) -> Vec<LeakSuspect> {
        let mut leaks = Vec::new();
        for session in self.model.sessions() {
            let groups = session.groups();
            // How many of a group's live tasks were born in the newer half of its time.
            let newer = session.live_in_newer_half();
            for (group, newer) in groups.iter().zip(newer) {
                let ended = group.spawned - group.live.min(group.spawned);
                let spawned_apart =
                    matches!(group.key.kind, TaskKind::Spawned | TaskKind::Local | TaskKind::Hooked);
                if spawned_apart
                    && group.live >= LEAK_LIVE
                    && ended * 10 <= group.spawned
                    && group.last_born.since(group.first_born) >= LEAK_SPREAD
                    && newer * 4 >= group.live
                {
                    let task = self.of_group(session, group);
                    leaks.push(LeakSuspect { task, spawned: group.spawned, live: group.live });
                }
            }
        }
        leaks.sort_by(|a, b| b.live.cmp(&a.live).then_with(|| a.task.location.cmp(&b.task.location)));
        leaks
    }

    fn spinners(&mut self, rows: &[TaskRow]) -> Vec<Spinner> {
        let rate = |self_wakes: u64, age: Nanos| {
            let rate = u128::from(self_wakes) * 1_000_000_000 / u128::from(age.0.max(1));
            Some(rate as u64).filter(|rate| *rate >= SPIN_RATE && age >= SPIN_AGE)
        };
        let mut spinners = Vec::new();
        for row in rows {
            if let Some(rate) = rate(row.totals.self_wakes, row.age) {
                spinners.push(Spinner { task: of_row(row), self_wakes: row.totals.self_wakes, rate });
            }
        }
        for session in self.model.sessions() {
            for task in session.finished_tasks() {
                if let Some(rate) = rate(task.totals.self_wakes, task.ended.since(task.born)) {
                    let self_wakes = task.totals.self_wakes;
                    spinners.push(Spinner { task: self.named(session, &task.shape), self_wakes, rate });
                }
            }
        }
        spinners.sort_by(|a, b| b.rate.cmp(&a.rate));
        once(spinners, |spinner| &spinner.task)
    }

    fn lost_wakes(&mut self, rows: &[TaskRow]) -> Vec<LostWake> {
        let mut lost: Vec<LostWake> = Vec::new();
        let mut places: HashMap<Named, usize> = HashMap::new();
        for row in rows {
            let Some(session) = self.model.session(row.session) else { continue };
            // A future polled by another one needs no waker of its own.
            let spawned_apart = matches!(row.kind, TaskKind::Spawned | TaskKind::Local);
            let idle = match row.doing {
                Doing::Idle(since) => session.now(self.now).since(since),
                _ => continue,
            };
            if !spawned_apart || row.wakers != Some(0) || idle < LOST_WAKE_IDLE {
                continue;
            }
            let task = of_row(row);
            match places.get(&task) {
                Some(place) => {
                    let known = &mut lost[*place];
                    known.tasks += 1;
                    if idle > known.idle {
                        (known.idle, known.id) = (idle, row.task);
                    }
                }
                None => {
                    places.insert(task.clone(), lost.len());
                    lost.push(LostWake { task, id: row.task, idle, tasks: 1 });
                }
            }
        }
        lost.sort_by(|a, b| b.idle.cmp(&a.idle).then_with(|| a.id.cmp(&b.id)));
        lost
    }

    fn panicked(&mut self) -> Vec<Panicked> {
        let mut panicked = Vec::new();
        for session in self.model.sessions() {
            let mut last: HashMap<Named, UnixNanos> = HashMap::new();
            for task in session.panicked_tasks() {
                let newest = last.entry(self.named(session, &task.shape)).or_insert(task.ended);
                *newest = task.ended.max(*newest);
            }
            let counts: HashMap<Named, u64> = session
                .groups()
                .iter()
                .map(|group| (self.of_group(session, group), group.panicked))
                .collect();
            panicked.extend(last.into_iter().map(|(task, last)| {
                let tasks = counts.get(&task).copied().unwrap_or(0).max(1);
                Panicked { task, tasks, last }
            }));
        }
        panicked
            .sort_by(|a, b| (b.tasks, b.last, &a.task.location).cmp(&(a.tasks, a.last, &b.task.location)));
        panicked
    }

    fn lost(&self) -> Vec<(Arc<str>, Tallies)> {
        let losing = self.model.sessions().filter(|session| session.records().lost() > 0);
        losing.map(|session| (session.info().service().into(), *session.records())).collect()
    }
}

fn of_row(row: &TaskRow) -> Named {
    Named {
        session: row.session,
        service: row.service.clone(),
        label: row.name.clone().unwrap_or_else(|| row.future.clone()),
        location: row.location.clone(),
    }
}

fn thread_name(session: &Session, thread: ThreadId) -> Arc<str> {
    session.thread(thread).map_or_else(|| "".into(), |thread| thread.name.clone())
}

/// The first entry of each task name and place.
fn once<T>(all: Vec<T>, task: impl Fn(&T) -> &Named) -> Vec<T> {
    let mut seen = HashSet::new();
    all.into_iter().filter(|entry| seen.insert(task(entry).clone())).collect()
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", clean(&self.label), clean(&self.service))?;
        if self.location.file.is_empty() {
            return Ok(());
        }
        write!(f, ", spawned at {}", clean(&self.location.to_string()))
    }
}

impl fmt::Display for SlowTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6}  {} ({})", self.duration, clean(&self.name), clean(&self.service))?;
        if !self.location.file.is_empty() {
            write!(f, " at {}", clean(&self.location.to_string()))?;
        }
        if self.errors > 0 {
            write!(f, ", {} with an error", plural(self.errors as u64, "span"))?;
        }
        write!(f, ", trace {}", self.trace)
    }
}

impl fmt::Display for WorstPoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6}  {}", self.length, self.task)?;
        if self.under_way {
            return write!(f, ", still in this poll");
        }
        if !self.thread.is_empty() {
            write!(f, ", on {}", clean(&self.thread))?;
        }
        if self.slow_polls > 1 {
            write!(f, ", {} slow polls", self.slow_polls)?;
        }
        Ok(())
    }
}

impl fmt::Display for LongestWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6}  {}", self.length, self.task)?;
        match &self.behind {
            Some((task, share)) => write!(f, ", while {task} held the worker for {share} of it"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for LeakSuspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of {} are still alive, and more keep coming", self.task, self.live, self.spawned)
    }
}

impl fmt::Display for Spinner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: woke itself {} times, {} a second", self.task, self.self_wakes, self.rate)
    }
}

impl fmt::Display for LostWake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = plural(self.tasks, "task");
        write!(f, "{}: {tasks} with no waker left, idle for up to {}; ", self.task, self.idle)?;
        f.write_str("nothing that pollscope knows of can wake them")
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} panicked", self.task, plural(self.tasks, "task"))
    }
}

/// Headings and lines; kinds of which there are none are left out.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        section(f, "slowest traces", &self.slowest_traces)?;
        section(f, "worst polls", &self.worst_polls)?;
        section(f, "longest scheduled times", &self.longest_waits)?;
        section(f, "leak suspects", &self.leaks)?;
        section(f, "tasks that wake themselves all the time", &self.spinners)?;
        section(f, "tasks that nothing can wake", &self.lost_wakes)?;
        section(f, "panicked tasks", &self.panicked)?;
        for (service, records) in &self.lost {
            let (polls, spans, others) = (records.polls.lost, records.span_ends.lost, records.others.lost);
            let service = clean(service);
            writeln!(f, "lost records of {service}: {polls} polls, {spans} span ends, {others} others")?;
        }
        Ok(())
    }
}

fn section<T: fmt::Display>(f: &mut fmt::Formatter<'_>, heading: &str, lines: &[T]) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(f, "{heading}")?;
    lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
}

fn plural(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
