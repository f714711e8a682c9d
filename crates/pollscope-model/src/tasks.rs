//! The tasks of one session: alive, ended lately, and those of which something was read before their birth.
//!
//! Every sum here commutes. A live task keeps two sums side by side: what its slot showed last (exact, of one
//! moment) and what its polls add up to (as far as they were read); views take the one that knows more polls.
//! A poll of a task whose birth has not been read is kept until it has: another ring may carry it.

use crate::event::{Poll, TaskBirth, TaskEnd, TaskId, TaskOutcome, TaskState, TaskTotals, Waker};
use crate::groups::{GroupId, Groups, TaskShape};
use crate::limits::Limits;
use crate::polls::Polls;
use crate::time::{Nanos, UnixNanos};
use crate::top::Top;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// For so many rounds an ended task is known as ended, so that a birth or poll that was read late brings
/// nothing back to life. Rings are read once a round: two would do.
const ROUNDS_KNOWN: usize = 3;

/// A task that is alive. 100,000 of these are the model's largest memory: ids are bare numbers, 0 for none.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) shape: Arc<TaskShape>,
    pub(crate) group: GroupId,
    parent: u64,
    span: u64,
    pub(crate) tokio_id: u64,
    pub(crate) born: UnixNanos,
    seen: Seen,
    slot: Option<Box<TaskState>>,
}

const _: () = assert!(size_of::<Live>() <= 120);

/// What polls that were read add up to.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    polls: u64,
    busy: Nanos,
    nested: Nanos,
    scheduled: Nanos,
    wakes: u32,
    self_wakes: u32,
    last_end: UnixNanos,
}

/// What a live task is doing, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// A poll is under way.
    Running(UnixNanos),
    /// Ready, waiting for a worker; woken by whom, if it is known.
    Scheduled(UnixNanos, Option<Waker>),
    /// Waiting for something.
    Idle(UnixNanos),
}

impl Live {
    fn new(birth: &TaskBirth, shape: Arc<TaskShape>, group: GroupId) -> Live {
        Live {
            shape,
            group,
            parent: birth.parent.map_or(0, |task| task.0),
            span: birth.span.map_or(0, |span| span.0),
            tokio_id: birth.tokio_id,
            born: birth.born,
            seen: Seen { last_end: birth.born, ..Seen::default() },
            slot: None,
        }
    }

    pub(crate) fn parent(&self) -> Option<TaskId> {
        (self.parent != 0).then_some(TaskId(self.parent))
    }

    pub(crate) fn span(&self) -> Option<crate::event::LocalSpanId> {
        (self.span != 0).then_some(crate::event::LocalSpanId(self.span))
    }

    /// The slot, if it knows at least the polls that were read.
    fn slot(&self) -> Option<&TaskState> {
        self.slot.as_deref().filter(|slot| slot.totals.polls >= self.seen.polls)
    }

    /// Whether waker counts and numbers of wakes are known: only the slot has them.
    pub(crate) fn slot_read(&self) -> bool {
        self.slot().is_some_and(|slot| !slot.moving)
    }

    /// Totals up to the end of the last poll that is known, and that moment.
    pub(crate) fn totals(&self) -> (TaskTotals, UnixNanos) {
        if let Some(slot) = self.slot() {
            return (slot.totals, slot.last_end);
        }
        let seen = &self.seen;
        let totals = TaskTotals {
            polls: seen.polls,
            busy: seen.busy,
            nested: seen.nested,
            scheduled: seen.scheduled,
            idle: seen.last_end.since(self.born) - seen.busy - seen.scheduled,
            wakes: u64::from(seen.wakes),
            self_wakes: u64::from(seen.self_wakes),
            waker_clones: 0,
            waker_drops: 0,
        };
        (totals, seen.last_end)
    }

    pub(crate) fn doing(&self) -> Doing {
        let (totals, last_end) = self.totals();
        if let Some(slot) = self.slot() {
            if let Some(since) = slot.polling_since {
                return Doing::Running(since);
            }
            if let Some((at, waker)) = slot.woken {
                return Doing::Scheduled(at.max(last_end), Some(waker));
            }
        }
        if totals.polls == 0 {
            // A task is ready from its birth on.
            return Doing::Scheduled(self.born, None);
        }
        Doing::Idle(last_end)
    }

    fn poll(&mut self, poll: &Poll) {
        let seen = &mut self.seen;
        seen.polls += 1;
        seen.busy += poll.busy;
        seen.nested += poll.nested;
        seen.scheduled += poll.scheduled;
        seen.wakes = seen.wakes.saturating_add(u32::from(poll.wakes));
        seen.self_wakes = seen.self_wakes.saturating_add(u32::from(poll.woken_by == Some(Waker::Itself)));
        seen.last_end = seen.last_end.max(poll.start + poll.busy);
    }
}

/// A task that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct FinishedTask {
    /// Which.
    pub task: TaskId,
    /// What it shares with its siblings.
    pub shape: Arc<TaskShape>,
    /// The task that spawned it.
    pub parent: Option<TaskId>,
    /// How.
    pub outcome: TaskOutcome,
    /// Final, exact.
    pub totals: TaskTotals,
    /// When it was born.
    pub born: UnixNanos,
    /// When it ended.
    pub ended: UnixNanos,
}

/// A task that is no longer in its slot while its end was not read: it may still come, or it was lost.
#[derive(Clone, Debug)]
struct Gone {
    live: Live,
    since: u64,
    /// Readings of all slots in which it was missing. One alone may have met the slot half written.
    readings: u32,
}

/// Facts about a task that came before its birth.
#[derive(Clone, Debug, Default)]
struct Waiting {
    since: u64,
    state: Option<TaskState>,
    polls: Vec<Poll>,
}

#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    limits: Limits,
    pub(crate) slow: Nanos,
    pub(crate) live: HashMap<TaskId, Live>,
    gone: HashMap<TaskId, Gone>,
    /// Newest generation first; all move on at the end of a round.
    ended: [HashMap<TaskId, (Arc<TaskShape>, GroupId)>; ROUNDS_KNOWN],
    waiting: HashMap<TaskId, Waiting>,
    waiting_polls: usize,
    unknown: Arc<TaskShape>,
    pub(crate) groups: Groups,
    pub(crate) finished: Top<(UnixNanos, TaskId), FinishedTask>,
    pub(crate) panicked: Top<(UnixNanos, TaskId), FinishedTask>,
    pub(crate) polls: Polls,
    /// Polls of tasks whose birth was never read.
    pub(crate) polls_of_unknown: u64,
    /// Births refused because too many tasks were alive.
    pub(crate) refused_births: u64,
}

impl Tasks {
    pub(crate) fn new(limits: Limits) -> Tasks {
        Tasks {
            limits,
            slow: Nanos(10_000_000),
            live: HashMap::new(),
            gone: HashMap::new(),
            ended: Default::default(),
            waiting: HashMap::new(),
            waiting_polls: 0,
            unknown: Arc::new(TaskShape::unknown()),
            groups: Groups::new(limits.groups, limits.names_per_location),
            finished: Top::new(limits.finished_tasks),
            panicked: Top::new(limits.panicked_tasks),
            polls: Polls::new(&limits),
            polls_of_unknown: 0,
            refused_births: 0,
        }
    }

    fn known_ended(&self, task: TaskId) -> Option<&(Arc<TaskShape>, GroupId)> {
        self.ended.iter().find_map(|generation| generation.get(&task))
    }

    pub(crate) fn born(&mut self, birth: &TaskBirth, round: u64) {
        let task = birth.task;
        let known = self.live.contains_key(&task) || self.gone.contains_key(&task);
        if known || self.known_ended(task).is_some() {
            return;
        }
        if self.live.len() + self.gone.len() >= self.limits.live_tasks {
            self.refused_births += 1;
            return;
        }
        let (shape, group) = self.place(birth);
        self.groups.get_mut(group).live += 1;
        let mut live = Live::new(birth, shape.clone(), group);
        if let Some(waiting) = self.take_waiting(birth.task) {
            live.slot = waiting.state.map(Box::new);
            for poll in &waiting.polls {
                live.poll(poll);
                self.count(poll, &shape, group, round);
            }
        }
        self.live.insert(birth.task, live);
    }

    pub(crate) fn state(&mut self, task: TaskId, state: TaskState, round: u64) {
        if let Some(gone) = self.gone.remove(&task) {
            self.groups.get_mut(gone.live.group).live += 1;
            self.live.insert(task, gone.live);
        }
        if let Some(live) = self.live.get_mut(&task) {
            match &mut live.slot {
                Some(slot) => **slot = state,
                none => *none = Some(Box::new(state)),
            }
        } else if self.known_ended(task).is_none()
            && let Some(waiting) = self.waiting(task, round)
        {
            waiting.state = Some(state);
        }
    }

    pub(crate) fn polled(&mut self, poll: Poll, round: u64) {
        let known = match self.live.get_mut(&poll.task) {
            None => self.gone.get_mut(&poll.task).map(|gone| &mut gone.live),
            live => live,
        };
        let (shape, group) = if let Some(live) = known {
            live.poll(&poll);
            (live.shape.clone(), live.group)
        } else if let Some((shape, group)) = self.known_ended(poll.task) {
            (shape.clone(), *group)
        } else if self.waiting_polls >= self.limits.unplaced_polls {
            return self.count_unknown(&poll, round);
        } else {
            match self.waiting(poll.task, round) {
                Some(waiting) => {
                    waiting.polls.push(poll);
                    self.waiting_polls += 1;
                }
                None => self.count_unknown(&poll, round),
            }
            return;
        };
        self.count(&poll, &shape, group, round);
    }

    pub(crate) fn ended(&mut self, end: &TaskEnd, round: u64) {
        let task = end.birth.task;
        if self.known_ended(task).is_some() {
            return;
        }
        let (shape, group) = match self.live.remove(&task) {
            Some(live) => {
                self.groups.get_mut(live.group).live -= 1;
                (live.shape, live.group)
            }
            None => match self.gone.remove(&task) {
                Some(gone) => (gone.live.shape, gone.live.group),
                None => self.place(&end.birth),
            },
        };
        if let Some(waiting) = self.take_waiting(task) {
            for poll in &waiting.polls {
                self.count(poll, &shape, group, round);
            }
        }
        self.groups.get_mut(group).end(end.outcome, &end.totals);
        self.ended[0].insert(task, (shape.clone(), group));
        let finished = FinishedTask {
            task,
            shape,
            parent: end.birth.parent,
            outcome: end.outcome,
            totals: end.totals,
            born: end.birth.born,
            ended: end.ended,
        };
        if end.outcome == TaskOutcome::Panicked {
            self.panicked.put((end.ended, task), finished.clone());
        }
        self.finished.put((end.ended, task), finished);
    }

    /// All slots were read: tasks that should stand in one and do not are over, whether or not their ends were
    /// read.
    pub(crate) fn alive(&mut self, began: UnixNanos, found: &HashSet<TaskId>, slotless: u64, round: u64) {
        let missing = |task: &TaskId, live: &Live| {
            task.0 & slotless != slotless && live.born < began && !found.contains(task)
        };
        for (task, gone) in &mut self.gone {
            gone.readings += u32::from(!found.contains(task));
        }
        for (task, live) in self.live.extract_if(|task, live| missing(task, live)) {
            self.groups.get_mut(live.group).live -= 1;
            self.gone.insert(task, Gone { live, since: round, readings: 1 });
        }
    }

    /// Gives up waiting for the ends of tasks that are gone.
    fn forget_gone(&mut self, round: u64) {
        let over = |gone: &mut Gone| gone.readings >= 2 && gone.since + ROUNDS_KNOWN as u64 <= round;
        for (task, gone) in self.gone.extract_if(|_, gone| over(gone)) {
            self.groups.get_mut(gone.live.group).vanished += 1;
            self.ended[0].insert(task, (gone.live.shape, gone.live.group));
        }
    }

    pub(crate) fn end_round(&mut self, round: u64) {
        self.ended.rotate_right(1);
        self.ended[0].clear();
        self.forget_gone(round);
        let too_old: Vec<TaskId> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.since + ROUNDS_KNOWN as u64 <= round)
            .map(|(task, _)| *task)
            .collect();
        for task in too_old {
            for poll in self.take_waiting(task).into_iter().flat_map(|waiting| waiting.polls) {
                self.count_unknown(&poll, round);
            }
        }
        self.polls.explain(self.slow, round);
    }

    /// Sums over a group's live tasks, by the group's index.
    pub(crate) fn live_totals(&self) -> Vec<TaskTotals> {
        let mut sums = vec![TaskTotals::default(); self.groups.all().len()];
        for live in self.live.values() {
            crate::groups::add(&mut sums[Groups::index(live.group)], &live.totals().0);
        }
        sums
    }

    /// The shape and group of a task that is counted as born here and now.
    fn place(&mut self, birth: &TaskBirth) -> (Arc<TaskShape>, GroupId) {
        let shape = self.groups.shape(birth);
        let group = self.groups.id(&shape);
        self.groups.get_mut(group).born(birth.born);
        (shape, group)
    }

    fn count(&mut self, poll: &Poll, shape: &Arc<TaskShape>, group: GroupId, round: u64) {
        let own = poll.busy - poll.nested;
        self.groups.get_mut(group).polled(own, poll.scheduled, own >= self.slow);
        self.polls.note(poll, shape, round);
    }

    fn count_unknown(&mut self, poll: &Poll, round: u64) {
        self.polls_of_unknown += 1;
        let (shape, other) = (self.unknown.clone(), self.groups.other());
        self.count(poll, &shape, other, round);
    }

    /// Where facts about a task without a birth are kept; `None` when there are too many such tasks.
    fn waiting(&mut self, task: TaskId, round: u64) -> Option<&mut Waiting> {
        if self.waiting.len() >= self.limits.unplaced_polls && !self.waiting.contains_key(&task) {
            return None;
        }
        Some(self.waiting.entry(task).or_insert_with(|| Waiting { since: round, ..Waiting::default() }))
    }

    fn take_waiting(&mut self, task: TaskId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&task)?;
        self.waiting_polls -= waiting.polls.len();
        Some(waiting)
    }
}
