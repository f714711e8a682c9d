//! Tasks as rows of plain data, and their sums by spawn group: what tables show.

use crate::event::{LocalSpanId, SessionId, TaskId, TaskKind, TaskTotals, TraceId};
use crate::groups::GroupKey;
use crate::hist::Histogram;
use crate::model::Model;
use crate::session::Session;
use crate::tasks::{Doing, Live};
use crate::threads::Thread;
use crate::time::{Nanos, UnixNanos};
use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;

/// One live task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRow {
    /// Its session.
    pub session: SessionId,
    /// `service.name`.
    pub service: Arc<str>,
    /// Which.
    pub task: TaskId,
    /// tokio's own id, 0 if unknown.
    pub tokio_id: u64,
    /// Its name, if it was given one.
    pub name: Option<Arc<str>>,
    /// Kind.
    pub kind: TaskKind,
    /// What it is doing, and since when.
    pub doing: Doing,
    /// The thread that polls it, by its name, if it is known.
    pub thread: Option<Arc<str>>,
    /// Where it was spawned.
    pub location: crate::event::Location,
    /// The future's type, shortened.
    pub future: Arc<str>,
    /// The future's size in bytes.
    pub size: u64,
    /// The runtime's name or number.
    pub runtime: Arc<str>,
    /// Sums up to now: the poll, wait or idle time under way is in.
    pub totals: TaskTotals,
    /// Wakers alive; `None` if it is not known.
    pub wakers: Option<u64>,
    /// Time since its birth.
    pub age: Nanos,
    /// The moment that the row shows: now, or the end of its session.
    pub at: UnixNanos,
    /// The span that it is, if it is one.
    pub span: Option<LocalSpanId>,
    /// The task that spawned it.
    pub parent: Option<TaskId>,
}

impl TaskRow {
    /// Its name, or else its future's type.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.future)
    }

    /// For how long it has been doing what it does; in a session that has ended, until its end.
    pub fn since(&self, now: UnixNanos) -> Nanos {
        match self.doing {
            Doing::Running(at) | Doing::Scheduled(at, _) | Doing::Idle(at) => now.min(self.at).since(at),
        }
    }
}

/// Which tasks to show; empty shows all.
#[derive(Clone, Debug, Default)]
pub struct TaskFilter {
    /// Of this session only.
    pub session: Option<SessionId>,
    /// Of services of this name only.
    pub service: Option<String>,
    /// Whose name, future, or spawn location contains this text.
    pub text: Option<String>,
}

/// In which order to show tasks; greatest first but for age ties, which go by id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskSort {
    /// Running before scheduled before idle, longest first.
    #[default]
    Doing,
    /// Time inside polls, without inner tasks' share.
    Busy,
    /// Time waiting for a worker.
    Scheduled,
    /// Time waiting for something.
    Idle,
    /// Polls.
    Polls,
    /// Wakes, self-wakes included.
    Wakes,
    /// Age.
    Age,
    /// Name, from A to Z.
    Name,
}

/// A poll under way on a thread.
#[derive(Clone, Debug, PartialEq)]
pub struct PollNow {
    /// The thread's name.
    pub thread: Arc<str>,
    /// The kernel's thread id.
    pub os_id: u32,
    /// The innermost task that is polled.
    pub task: TaskId,
    /// Its name, or its future's type shortened; `None`: its birth was not read.
    pub label: Option<Arc<str>>,
    /// When the poll began.
    pub since: UnixNanos,
    /// How long it has lasted; in a session that has ended, until its last sign of life.
    pub length: Nanos,
}

/// Rows and how many there would be.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskList {
    /// The rows, in order.
    pub rows: Vec<TaskRow>,
    /// Tasks that pass the filter, shown or not.
    pub matching: usize,
    /// Live tasks in all.
    pub live: usize,
}

/// Tasks of one spawn group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupRow {
    /// Its session.
    pub session: SessionId,
    /// `service.name`.
    pub service: Arc<str>,
    /// Which.
    pub key: GroupKey,
    /// The name, or the future's type shortened.
    pub label: Arc<str>,
    /// Tasks born.
    pub spawned: u64,
    /// Of these, alive.
    pub live: u64,
    /// Of these, finished, cancelled, panicked.
    pub ended: (u64, u64, u64),
    /// Of these, gone without their end having been read.
    pub vanished: u64,
    /// Sums over all of them.
    pub totals: TaskTotals,
    /// Polls of at least the threshold.
    pub slow_polls: u64,
    /// Poll times, inner tasks' share taken out.
    pub poll_time: Histogram,
    /// Scheduled times.
    pub scheduled_time: Histogram,
}

impl Model {
    /// Live tasks as rows, at most `limit` of them.
    pub fn tasks(&self, now: UnixNanos, filter: &TaskFilter, sort: TaskSort, limit: usize) -> TaskList {
        let mut short = Shortened::default();
        let mut rows = Vec::new();
        let mut live = 0;
        for session in self.sessions() {
            live += session.live_tasks();
            if !filter.takes(session) {
                continue;
            }
            let service: Arc<str> = session.info().service().into();
            let now = session.now(now);
            let polled: HashMap<TaskId, &Arc<str>> =
                session.threads().filter_map(|thread| Some((thread.polling?.0, &thread.name))).collect();
            for (task, found) in &session.tasks.live {
                if filter.takes_task(found) {
                    let mut row = row(session.id(), &service, *task, found, now, &mut short);
                    if matches!(row.doing, Doing::Running(_)) {
                        row.thread = polled.get(task).map(|name| Arc::clone(name));
                    }
                    rows.push(row);
                }
            }
        }
        let matching = rows.len();
        let order = |a: &TaskRow, b: &TaskRow| {
            sort.compare(a, b, now).then((a.session, a.task).cmp(&(b.session, b.task)))
        };
        if limit < rows.len() {
            if limit > 0 {
                rows.select_nth_unstable_by(limit - 1, order);
            }
            rows.truncate(limit);
        }
        rows.sort_unstable_by(order);
        TaskList { rows, matching, live }
    }

    /// Sums by spawn group, most busy time first. Groups that never had a task are left out.
    pub fn task_groups(&self, filter: &TaskFilter) -> Vec<GroupRow> {
        let mut short = Shortened::default();
        let mut rows = Vec::new();
        for session in self.sessions().filter(|session| filter.takes(session)) {
            let service: Arc<str> = session.info().service().into();
            let live = session.tasks.live_totals();
            for (group, live) in session.groups().iter().zip(live) {
                if group.spawned == 0 && group.poll_time.count() == 0 {
                    continue;
                }
                let key = group.key.clone();
                let label = if key.named { key.label.clone() } else { short.of(&key.label) };
                let text = filter.text.as_deref();
                if text.is_some_and(|text| !label.contains(text) && !key.location.to_string().contains(text))
                {
                    continue;
                }
                let mut totals = group.ended;
                crate::groups::add(&mut totals, &live);
                rows.push(GroupRow {
                    session: session.id(),
                    service: service.clone(),
                    key,
                    label,
                    spawned: group.spawned,
                    live: group.live,
                    ended: (group.finished, group.cancelled, group.panicked),
                    vanished: group.vanished,
                    totals,
                    slow_polls: group.slow_polls,
                    poll_time: group.poll_time.clone(),
                    scheduled_time: group.scheduled_time.clone(),
                });
            }
        }
        rows.sort_by(|a, b| {
            let own = |row: &GroupRow| Reverse(row.totals.busy - row.totals.nested);
            own(a).cmp(&own(b)).then_with(|| (a.session, &a.key).cmp(&(b.session, &b.key)))
        });
        rows
    }

    /// The trace of a live task that is a span, if it is known.
    pub fn trace_of(&self, row: &TaskRow) -> Option<TraceId> {
        let span = row.span?;
        let open = self.session(row.session)?.open_span(span)?;
        open.known_ids().map(|ids| ids.trace)
    }
}

impl Session {
    /// The poll under way on each thread, as last read; the longest first.
    pub fn polls_now(&self, now: UnixNanos) -> Vec<PollNow> {
        let now = self.now(now);
        let of = |thread: &Thread| {
            let (task, since) = thread.polling?;
            let label = self.tasks.live.get(&task).map(|live| live.shape.label());
            let (thread, os_id) = (thread.name.clone(), thread.os_id);
            Some(PollNow { thread, os_id, task, label, since, length: now.since(since) })
        };
        let mut polls: Vec<PollNow> = self.threads().filter_map(of).collect();
        polls.sort_by_key(|poll| (Reverse(poll.length), poll.os_id));
        polls
    }
}

impl TaskFilter {
    fn takes(&self, session: &Session) -> bool {
        self.session.is_none_or(|id| id == session.id())
            && self.service.as_deref().is_none_or(|service| service == session.info().service())
    }

    fn takes_task(&self, live: &Live) -> bool {
        let Some(text) = self.text.as_deref() else { return true };
        let shape = &live.shape;
        shape.name.as_deref().is_some_and(|name| name.contains(text))
            || shape.future.contains(text)
            || shape.location.to_string().contains(text)
    }
}

impl TaskSort {
    fn compare(self, a: &TaskRow, b: &TaskRow, now: UnixNanos) -> Ordering {
        let greatest = |value: fn(&TaskRow) -> u64| value(b).cmp(&value(a));
        match self {
            TaskSort::Doing => {
                let rank = |row: &TaskRow| match row.doing {
                    Doing::Running(_) => 0,
                    Doing::Scheduled(..) => 1,
                    Doing::Idle(_) => 2,
                };
                rank(a).cmp(&rank(b)).then(b.since(now).cmp(&a.since(now)))
            }
            TaskSort::Busy => greatest(|row| (row.totals.busy - row.totals.nested).0),
            TaskSort::Scheduled => greatest(|row| row.totals.scheduled.0),
            TaskSort::Idle => greatest(|row| row.totals.idle.0),
            TaskSort::Polls => greatest(|row| row.totals.polls),
            TaskSort::Wakes => greatest(|row| row.totals.wakes.saturating_add(row.totals.self_wakes)),
            TaskSort::Age => greatest(|row| row.age.0),
            TaskSort::Name => a.label().cmp(b.label()),
        }
    }
}

/// Shortened types: 100,000 tasks have few of them.
#[derive(Default)]
pub(crate) struct Shortened(HashMap<Arc<str>, Arc<str>>);

impl Shortened {
    pub(crate) fn of(&mut self, long: &Arc<str>) -> Arc<str> {
        if let Some(short) = self.0.get(long) {
            return short.clone();
        }
        let short: Arc<str> = crate::typename::shorten(long).into();
        self.0.insert(long.clone(), short.clone());
        short
    }
}

fn row(
    session: SessionId,
    service: &Arc<str>,
    task: TaskId,
    live: &Live,
    now: UnixNanos,
    short: &mut Shortened,
) -> TaskRow {
    let shape = &live.shape;
    let (mut totals, last_end) = live.totals();
    let doing = live.doing();
    match doing {
        // How the time before a poll under way was split is told by its record, at its end.
        Doing::Running(at) => totals.busy += now.since(at),
        Doing::Scheduled(at, _) => {
            totals.idle += at.since(last_end);
            totals.scheduled += now.since(at);
        }
        Doing::Idle(_) => totals.idle += now.since(last_end),
    }
    TaskRow {
        session,
        service: service.clone(),
        task,
        tokio_id: live.tokio_id,
        name: shape.name.clone(),
        kind: shape.kind,
        doing,
        thread: None,
        location: shape.location.clone(),
        future: short.of(&shape.future),
        size: shape.size,
        runtime: shape.runtime.clone(),
        wakers: (live.slot_read() && shape.kind != TaskKind::Hooked)
            .then(|| totals.waker_clones.saturating_sub(totals.waker_drops)),
        totals,
        age: now.since(live.born),
        at: now,
        span: live.span(),
        parent: live.parent(),
    }
}
