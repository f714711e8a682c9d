//! What is worth telling of all sessions, a plain sentence each: the slowest traces, the worst polls, the longest
//! scheduled times, tasks that panicked, and tasks that look wrong.
//!
//! A suspect is what the numbers look like, not a proof: a leak may be a pool that fills, and a task that nobody
//! can wake may wait to be aborted. The sentence gives the numbers. Nothing is told from what is not known: waker
//! counts stand in slots only, so a task whose slot was not read is no lost wake.

use crate::event::{Location, SessionId, TaskId, TaskKind, TaskTotals, TraceId};
use crate::groups::{GroupKey, Groups, TaskShape};
use crate::model::Model;
use crate::session::Session;
use crate::tasks::{Doing, Live};
use crate::text::clean;
use crate::time::{Nanos, UnixNanos};
use crate::traces::{TraceQuery, Traces};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Fewer tasks that do not end are no leak that matters.
const LEAK_LEAST: u64 = 50;
/// A group younger than this has not shown whether its tasks end.
const LEAK_WATCHED: Nanos = Nanos(2_000_000_000);
/// Self-wakes a second above which a task does nothing but go round: a timer of 1 ms makes no more.
const SPIN_RATE: u64 = 1_000;
/// Fewer self-wakes tell no rate.
const SPIN_LEAST: u64 = 1_000;
/// Clones and drops are counted by several threads; for so long they may disagree with one another.
const LOST_WAKE_AFTER: Nanos = Nanos(1_000_000_000);

/// Whose task it is and where it was spawned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Who {
    /// Its session.
    pub session: SessionId,
    /// `service.name`.
    pub service: Arc<str>,
    /// Its name, or else its future's type shortened.
    pub label: Arc<str>,
    /// Where it was spawned.
    pub location: Location,
}

impl fmt::Display for Who {
    /// `` `orders::place` (shop, spawned at src/orders.rs:41)``
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({}", clean(&self.label), clean(&self.service))?;
        if !self.location.file.is_empty() {
            write!(f, ", spawned at {}", clean(&self.location.to_string()))?;
        }
        write!(f, ")")
    }
}

/// A slow trace.
#[derive(Clone, Debug, PartialEq)]
pub struct SlowTrace {
    /// Which.
    pub trace: TraceId,
    /// Its first root's name.
    pub name: Arc<str>,
    /// Its first root's place in the code.
    pub location: Location,
    /// From its earliest start to its latest end.
    pub duration: Nanos,
    /// Spans held of it.
    pub spans: usize,
    /// Its services.
    pub services: usize,
    /// Of these spans, with an error.
    pub errors: usize,
}

impl fmt::Display for SlowTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", clean(&self.name))?;
        if !self.location.file.is_empty() {
            write!(f, " at {}", clean(&self.location.to_string()))?;
        }
        let (spans, services) = (count(self.spans as u64, "span"), count(self.services as u64, "service"));
        write!(f, " took {}: trace {}, {spans} in {services}", self.duration, self.trace)?;
        if self.errors > 0 {
            write!(f, ", {}", count(self.errors as u64, "error"))?;
        }
        Ok(())
    }
}

/// The longest poll of one spawn.
#[derive(Clone, Debug, PartialEq)]
pub struct WorstPoll {
    /// Whose.
    pub who: Who,
    /// The task.
    pub task: TaskId,
    /// When it began.
    pub start: UnixNanos,
    /// Its length, inner tasks' share taken out.
    pub own: Nanos,
    /// Other polls of the same spawn among the session's worst.
    pub others: usize,
}

impl fmt::Display for WorstPoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a poll of {} held its thread for {}", self.who, self.own)
    }
}

/// The longest wait for a worker of one spawn.
#[derive(Clone, Debug, PartialEq)]
pub struct LongestScheduled {
    /// Whose.
    pub who: Who,
    /// The task.
    pub task: TaskId,
    /// How long it was ready.
    pub scheduled: Nanos,
    /// Whose poll ran on that thread meanwhile, and for how much of it.
    pub behind: Option<(Who, Nanos)>,
    /// Other waits of the same spawn among the session's longest.
    pub others: usize,
}

impl fmt::Display for LongestScheduled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was ready for {} before it ran", self.who, self.scheduled)?;
        if let Some((who, overlap)) = &self.behind {
            write!(f, ", {overlap} of it behind a poll of {who}")?;
        }
        Ok(())
    }
}

/// A task that panicked.
#[derive(Clone, Debug, PartialEq)]
pub struct Panicked {
    /// Whose.
    pub who: Who,
    /// The task.
    pub task: TaskId,
    /// How old it was.
    pub after: Nanos,
    /// When.
    pub at: UnixNanos,
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} panicked {} after its spawn", self.who, self.after)
    }
}

/// What looks wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Suspicion {
    /// Tasks of one spawn wait, do not end, and become more.
    Leak {
        /// Tasks that have waited for more than half of their life.
        waiting: u64,
        /// Tasks spawned there.
        spawned: u64,
        /// Age of the oldest of them.
        oldest: Nanos,
    },
    /// A task that wakes itself and so keeps a worker from parking, or all tasks of a spawn that have ended.
    SelfWake {
        /// Which, if it is alive.
        task: Option<TaskId>,
        /// Their self-wakes.
        self_wakes: u64,
        /// Their polls.
        polls: u64,
        /// Self-wakes a second over their lives.
        rate: u64,
    },
    /// Nobody holds a waker of an idle task.
    LostWake {
        /// The one that has waited longest.
        task: TaskId,
        /// For how long.
        idle: Nanos,
        /// How many tasks of this spawn are so.
        tasks: u64,
    },
}

/// One suspicion and whom it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Suspect {
    /// Whose task.
    pub who: Who,
    /// What looks wrong.
    pub what: Suspicion,
}

impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = &self.who;
        match &self.what {
            Suspicion::Leak { waiting, spawned, oldest } => write!(
                f,
                "{who} may leak: {waiting} of {spawned} spawned tasks wait and do not end, the oldest for {oldest}"
            ),
            Suspicion::SelfWake { task: Some(_), self_wakes, polls, rate } => {
                write!(f, "{who} spins: it woke itself {self_wakes} times in {polls} polls, {rate} a second")
            }
            Suspicion::SelfWake { task: None, self_wakes, polls, rate } => write!(
                f,
                "{who} spun: its tasks woke themselves {self_wakes} times in {polls} polls, {rate} a second"
            ),
            Suspicion::LostWake { idle, tasks: 1, .. } => {
                write!(f, "{who} may have lost a wake: idle for {idle}, and nobody holds a waker of it")
            }
            Suspicion::LostWake { idle, tasks, .. } => write!(
                f,
                "{who} may have lost wakes: {tasks} tasks idle, one for {idle}, and nobody holds a waker of them"
            ),
        }
    }
}

/// What is worth telling. Every list is in order of weight and shows each spawn once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Slowest first.
    pub slowest: Vec<SlowTrace>,
    /// Longest first.
    pub worst_polls: Vec<WorstPoll>,
    /// Longest first.
    pub longest_scheduled: Vec<LongestScheduled>,
    /// Newest first; each task by itself.
    pub panicked: Vec<Panicked>,
    /// Leaks, then spinners, then lost wakes, of each the heaviest first.
    pub suspects: Vec<Suspect>,
}

impl Model {
    /// What is worth telling now, at most `most` entries of each kind. Live tasks are looked at once.
    pub fn summary(&self, now: UnixNanos, traces: &Traces, most: usize) -> Summary {
        let mut all = Summary { slowest: slowest(traces, most), ..Summary::default() };
        let (mut leaks, mut spins, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        for session in self.sessions() {
            let teller = Teller { session, service: session.info().service().into() };
            teller.polls(&mut all.worst_polls);
            teller.waits(&mut all.longest_scheduled);
            teller.panics(&mut all.panicked);
            teller.suspects(session.now(now), &mut leaks, &mut spins, &mut lost);
        }
        all.worst_polls.sort_by_key(|poll| (Reverse(poll.own), poll.start, poll.task));
        all.longest_scheduled.sort_by_key(|wait| (Reverse(wait.scheduled), wait.task));
        all.panicked.sort_by_key(|task| (Reverse(task.at), task.task));
        all.worst_polls.truncate(most);
        all.longest_scheduled.truncate(most);
        all.panicked.truncate(most);
        for mut suspects in [leaks, spins, lost] {
            suspects.sort_by_key(|(weight, suspect)| {
                (Reverse(*weight), suspect.who.session, suspect.who.location.clone())
            });
            all.suspects.extend(suspects.into_iter().take(most).map(|(_, suspect)| suspect));
        }
        all
    }
}

type Weighed = Vec<(u64, Suspect)>;

fn slowest(traces: &Traces, most: usize) -> Vec<SlowTrace> {
    let query = TraceQuery { slowest: true, ..TraceQuery::default() };
    let told = |tree: &crate::traces::TraceTree| {
        let root = tree.root()?;
        Some(SlowTrace {
            trace: tree.id,
            name: root.span.name.clone(),
            location: root.span.callsite.location.clone(),
            duration: tree.duration(),
            spans: tree.nodes.len(),
            services: tree.services().len(),
            errors: tree.errors,
        })
    };
    traces.find(&query, most).iter().filter_map(told).collect()
}

/// One spawn's live tasks, as far as suspicion goes.
#[derive(Default)]
struct Watched {
    shape: Option<Arc<TaskShape>>,
    /// Tasks that have waited for more than half of their life, and how many of them are of the later half.
    waiting: u64,
    late: u64,
    oldest: Nanos,
    spin: Option<(u64, TaskId, u64, u64)>,
    lost: u64,
    longest_lost: Option<(Nanos, TaskId)>,
}

struct Teller<'a> {
    session: &'a Session,
    service: Arc<str>,
}

impl Teller<'_> {
    fn who(&self, shape: &TaskShape) -> Who {
        Who {
            session: self.session.id(),
            service: self.service.clone(),
            label: shape.label(),
            location: shape.location.clone(),
        }
    }

    fn who_of(&self, key: &GroupKey) -> Who {
        let label = if key.named { key.label.clone() } else { crate::typename::shorten(&key.label).into() };
        let (session, service) = (self.session.id(), self.service.clone());
        Who { session, service, label, location: key.location.clone() }
    }

    fn polls(&self, out: &mut Vec<WorstPoll>) {
        let mut known: HashMap<Who, usize> = HashMap::new();
        for noted in self.session.worst_polls() {
            let who = self.who(&noted.shape);
            if let Some(place) = known.get(&who) {
                out[*place].others += 1;
                continue;
            }
            known.insert(who.clone(), out.len());
            let poll = &noted.poll;
            out.push(WorstPoll { who, task: poll.task, start: poll.start, own: noted.own(), others: 0 });
        }
    }

    fn waits(&self, out: &mut Vec<LongestScheduled>) {
        let mut known: HashMap<Who, usize> = HashMap::new();
        for wait in self.session.longest_waits() {
            let who = self.who(&wait.waited.shape);
            if let Some(place) = known.get(&who) {
                out[*place].others += 1;
                continue;
            }
            known.insert(who.clone(), out.len());
            let behind = wait.behind.as_ref().map(|(noted, overlap)| (self.who(&noted.shape), *overlap));
            let (task, scheduled) = (wait.waited.poll.task, wait.waited.poll.scheduled);
            out.push(LongestScheduled { who, task, scheduled, behind, others: 0 });
        }
    }

    fn panics(&self, out: &mut Vec<Panicked>) {
        out.extend(self.session.panicked_tasks().map(|task| Panicked {
            who: self.who(&task.shape),
            task: task.task,
            after: task.ended.since(task.born),
            at: task.ended,
        }));
    }

    fn suspects(&self, now: UnixNanos, leaks: &mut Weighed, spins: &mut Weighed, lost: &mut Weighed) {
        let groups = self.session.groups();
        let mut watched: Vec<Watched> = groups.iter().map(|_| Watched::default()).collect();
        for (task, live) in &self.session.tasks.live {
            let place = Groups::index(live.group);
            watched[place].look(*task, live, groups[place].first_born, now);
        }
        for (group, seen) in groups.iter().zip(watched) {
            let who = seen.shape.as_ref().map_or_else(|| self.who_of(&group.key), |shape| self.who(shape));
            let suspect = |what| Suspect { who: who.clone(), what };
            let growing = seen.late * 4 >= seen.waiting;
            let watched_for = now.since(group.first_born);
            if seen.waiting >= LEAK_LEAST
                && seen.waiting * 2 >= group.spawned
                && growing
                && watched_for >= LEAK_WATCHED
            {
                let (waiting, spawned, oldest) = (seen.waiting, group.spawned, seen.oldest);
                leaks.push((waiting, suspect(Suspicion::Leak { waiting, spawned, oldest })));
            }
            if let Some((rate, task, self_wakes, polls)) = seen.spin {
                let what = Suspicion::SelfWake { task: Some(task), self_wakes, polls, rate };
                spins.push((rate, suspect(what)));
            } else if let Some(rate) = spin_rate(&group.ended, life(&group.ended)) {
                let TaskTotals { self_wakes, polls, .. } = group.ended;
                spins.push((rate, suspect(Suspicion::SelfWake { task: None, self_wakes, polls, rate })));
            }
            if let Some((idle, task)) = seen.longest_lost {
                lost.push((idle.0, suspect(Suspicion::LostWake { task, idle, tasks: seen.lost })));
            }
        }
    }
}

impl Watched {
    fn look(&mut self, task: TaskId, live: &Live, first_born: UnixNanos, now: UnixNanos) {
        let (totals, _) = live.totals();
        let age = now.since(live.born);
        self.shape.get_or_insert_with(|| live.shape.clone());
        if let Doing::Idle(since) = live.doing() {
            let idle = now.since(since);
            if idle.0 >= age.0 / 2 {
                self.waiting += 1;
                self.late += u64::from(live.born.since(first_born).0 >= now.since(first_born).0 / 2);
                self.oldest = self.oldest.max(age);
            }
            // What another future polls is polled again whoever holds its wakers.
            let runs_by_wakes = matches!(live.shape.kind, TaskKind::Spawned | TaskKind::Local);
            let unheld = live.slot_read() && totals.waker_clones == totals.waker_drops;
            if runs_by_wakes && unheld && idle >= LOST_WAKE_AFTER {
                self.lost += 1;
                let found = Some((idle, task));
                self.longest_lost = self.longest_lost.max(found);
            }
        }
        if let Some(rate) = spin_rate(&totals, age) {
            self.spin = self.spin.max(Some((rate, task, totals.self_wakes, totals.polls)));
        }
    }
}

fn life(totals: &TaskTotals) -> Nanos {
    totals.busy + totals.scheduled + totals.idle
}

/// Self-wakes a second, where they are so many that the tasks do little else.
fn spin_rate(totals: &TaskTotals, life: Nanos) -> Option<u64> {
    let rate = u128::from(totals.self_wakes) * 1_000_000_000 / u128::from(life.0.max(1));
    let rate = u64::try_from(rate).unwrap_or(u64::MAX);
    let spins = totals.self_wakes >= SPIN_LEAST && totals.self_wakes.saturating_mul(2) >= totals.polls;
    (spins && rate >= SPIN_RATE).then_some(rate)
}

fn count(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
