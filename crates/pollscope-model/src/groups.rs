//! What tasks have in common, kept once: the shape of a task, and sums by spawn group.
//!
//! A shape is everything about a task that its siblings share; 100,000 tasks of one spawn hold one. A group is
//! the key under which sums outlive their tasks: kind, spawn location, name (or else future type), runtime.
//! Groups are kept for ever and bounded in number; what finds no room counts in `other`.

use crate::event::{Location, TaskBirth, TaskKind, TaskOutcome, TaskTotals};
use crate::hist::Histogram;
use crate::time::{Nanos, UnixNanos};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What tasks of one spawn have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TaskShape {
    /// Kind.
    pub kind: TaskKind,
    /// The name given, if any.
    pub name: Option<Arc<str>>,
    /// Where it was spawned.
    pub location: Location,
    /// The future's type, whole.
    pub future: Arc<str>,
    /// The future's size in bytes.
    pub size: u64,
    /// The runtime's name or number.
    pub runtime: Arc<str>,
}

impl TaskShape {
    fn of(birth: &TaskBirth) -> TaskShape {
        TaskShape {
            kind: birth.kind,
            name: birth.name.clone(),
            location: birth.location.clone(),
            future: birth.future.clone(),
            size: birth.size,
            runtime: birth.runtime.clone(),
        }
    }

    /// What a task without a known birth looks like.
    pub(crate) fn unknown() -> TaskShape {
        TaskShape {
            kind: TaskKind::Spawned,
            name: Some("unknown".into()),
            location: Location::default(),
            future: "".into(),
            size: 0,
            runtime: "".into(),
        }
    }

    /// Its name, or else the shortened type of its future.
    pub fn label(&self) -> Arc<str> {
        match &self.name {
            Some(name) => name.clone(),
            None => crate::typename::shorten(&self.future).into(),
        }
    }
}

/// Under what tasks are summed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupKey {
    /// Kind.
    pub kind: TaskKind,
    /// Where they are spawned.
    pub location: Location,
    /// Their name or else future type, whole; `*` stands for the many names of one location, `other` for all
    /// that found no room.
    pub label: Arc<str>,
    /// Whether `label` is a name that the service gave.
    pub named: bool,
    /// The runtime's name or number.
    pub runtime: Arc<str>,
}

/// Sums over all tasks of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Of which tasks.
    pub key: GroupKey,
    /// Tasks born.
    pub spawned: u64,
    /// Of these, alive now.
    pub live: u64,
    /// Of these, finished.
    pub finished: u64,
    /// Of these, dropped before they finished.
    pub cancelled: u64,
    /// Of these, panicked.
    pub panicked: u64,
    /// Of these, gone without their end having been read: it was lost.
    pub vanished: u64,
    /// The first birth.
    pub first_born: UnixNanos,
    /// The newest birth.
    pub last_born: UnixNanos,
    /// Sums over tasks that have ended, exact.
    pub ended: TaskTotals,
    /// Poll time (inner tasks' share taken out) of polls that were read.
    pub poll_time: Histogram,
    /// Scheduled time of polls that were read.
    pub scheduled_time: Histogram,
    /// Polls of at least the service's threshold, of those that were read.
    pub slow_polls: u64,
}

impl Group {
    fn new(key: GroupKey) -> Group {
        Group {
            key,
            spawned: 0,
            live: 0,
            finished: 0,
            cancelled: 0,
            panicked: 0,
            vanished: 0,
            first_born: UnixNanos(u64::MAX),
            last_born: UnixNanos(0),
            ended: TaskTotals::default(),
            poll_time: Histogram::default(),
            scheduled_time: Histogram::default(),
            slow_polls: 0,
        }
    }

    pub(crate) fn born(&mut self, at: UnixNanos) {
        self.spawned += 1;
        self.first_born = self.first_born.min(at);
        self.last_born = self.last_born.max(at);
    }

    pub(crate) fn end(&mut self, outcome: TaskOutcome, totals: &TaskTotals) {
        match outcome {
            TaskOutcome::Finished => self.finished += 1,
            TaskOutcome::Cancelled => self.cancelled += 1,
            TaskOutcome::Panicked => self.panicked += 1,
        }
        add(&mut self.ended, totals);
    }

    pub(crate) fn polled(&mut self, own: Nanos, scheduled: Nanos, slow: bool) {
        self.poll_time.record(own);
        self.scheduled_time.record(scheduled);
        self.slow_polls += u64::from(slow);
    }
}

/// Adds `more` to `sum`, field by field, saturating.
pub(crate) fn add(sum: &mut TaskTotals, more: &TaskTotals) {
    sum.polls = sum.polls.saturating_add(more.polls);
    sum.busy += more.busy;
    sum.nested += more.nested;
    sum.scheduled += more.scheduled;
    sum.idle += more.idle;
    sum.wakes = sum.wakes.saturating_add(more.wakes);
    sum.self_wakes = sum.self_wakes.saturating_add(more.self_wakes);
    sum.waker_clones = sum.waker_clones.saturating_add(more.waker_clones);
    sum.waker_drops = sum.waker_drops.saturating_add(more.waker_drops);
}

/// A group's place in the list; 0 is `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupId(u32);

/// All shapes in use and all groups.
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    shapes: HashSet<Arc<TaskShape>>,
    ids: HashMap<GroupKey, GroupId>,
    names_at: HashMap<Location, usize>,
    groups: Vec<Group>,
    most: usize,
    names_per_location: usize,
    /// Shapes are cleaned out when there are this many: twice as many as were in use the last time.
    clean_at: usize,
}

impl Groups {
    pub(crate) fn new(most: usize, names_per_location: usize) -> Groups {
        let other = GroupKey {
            kind: TaskKind::Spawned,
            location: Location::default(),
            label: "other".into(),
            named: false,
            runtime: "".into(),
        };
        Groups {
            shapes: HashSet::new(),
            ids: HashMap::new(),
            names_at: HashMap::new(),
            groups: vec![Group::new(other)],
            most,
            names_per_location,
            clean_at: 1_024,
        }
    }

    /// The one copy of this birth's shape.
    pub(crate) fn shape(&mut self, birth: &TaskBirth) -> Arc<TaskShape> {
        let shape = TaskShape::of(birth);
        if let Some(known) = self.shapes.get(&shape) {
            return known.clone();
        }
        if self.shapes.len() >= self.clean_at {
            self.shapes.retain(|shape| Arc::strong_count(shape) > 1);
            self.clean_at = (self.shapes.len() * 2).max(1_024);
        }
        let shape = Arc::new(shape);
        self.shapes.insert(shape.clone());
        shape
    }

    /// The group that tasks of this shape count in.
    pub(crate) fn id(&mut self, shape: &TaskShape) -> GroupId {
        let mut key = GroupKey {
            kind: shape.kind,
            location: shape.location.clone(),
            label: shape.name.clone().unwrap_or_else(|| shape.future.clone()),
            named: shape.name.is_some(),
            runtime: shape.runtime.clone(),
        };
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        if self.groups.len() > self.most {
            return GroupId(0);
        }
        if key.named {
            let names = self.names_at.entry(key.location.clone()).or_insert(0);
            if *names >= self.names_per_location {
                key.label = "*".into();
                key.named = false;
                if let Some(id) = self.ids.get(&key) {
                    return *id;
                }
            } else {
                *names += 1;
            }
        }
        let id = GroupId(self.groups.len() as u32);
        self.groups.push(Group::new(key.clone()));
        self.ids.insert(key, id);
        id
    }

    pub(crate) fn other(&self) -> GroupId {
        GroupId(0)
    }

    pub(crate) fn get_mut(&mut self, id: GroupId) -> &mut Group {
        &mut self.groups[id.0 as usize]
    }

    pub(crate) fn index(id: GroupId) -> usize {
        id.0 as usize
    }

    /// All groups, `other` first, in the order in which [`Groups::index`] counts.
    pub(crate) fn all(&self) -> &[Group] {
        &self.groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::TaskId;

    fn birth(name: Option<&str>, line: u32) -> TaskBirth {
        TaskBirth {
            task: TaskId(1),
            kind: TaskKind::Spawned,
            name: name.map(Into::into),
            location: Location { file: "src/shop.rs".into(), line, column: 5 },
            future: "shop::work::{{closure}}".into(),
            size: 64,
            parent: None,
            span: None,
            runtime: "main".into(),
            tokio_id: 0,
            born: UnixNanos(1),
        }
    }

    fn id(groups: &mut Groups, name: Option<&str>, line: u32) -> usize {
        let shape = groups.shape(&birth(name, line));
        Groups::index(groups.id(&shape))
    }

    #[test]
    fn tasks_of_one_spawn_share_shape_and_group() {
        let mut groups = Groups::new(10, 10);
        let (one, two) = (groups.shape(&birth(None, 7)), groups.shape(&birth(None, 7)));
        assert!(Arc::ptr_eq(&one, &two));
        assert_eq!(id(&mut groups, None, 7), id(&mut groups, None, 7));
        assert_ne!(id(&mut groups, None, 7), id(&mut groups, None, 8));
        assert_ne!(id(&mut groups, None, 7), id(&mut groups, Some("named"), 7));
    }

    #[test]
    fn many_names_of_one_location_share_a_group() {
        let mut groups = Groups::new(100, 2);
        let (a, b) = (id(&mut groups, Some("conn-1"), 7), id(&mut groups, Some("conn-2"), 7));
        let (c, d) = (id(&mut groups, Some("conn-3"), 7), id(&mut groups, Some("conn-4"), 7));
        assert_ne!(a, b);
        assert_eq!(c, d);
        assert_eq!(&*groups.all()[c].key.label, "*");
        assert_eq!(id(&mut groups, Some("conn-1"), 7), a);
    }

    #[test]
    fn what_finds_no_room_counts_in_other() {
        let mut groups = Groups::new(3, 10);
        let ids: Vec<usize> = (1..=5).map(|line| id(&mut groups, None, line)).collect();
        assert_eq!(ids, [1, 2, 3, 0, 0]);
    }

    #[test]
    fn shapes_out_of_use_are_forgotten() {
        let mut groups = Groups::new(3, 10);
        let kept = groups.shape(&birth(Some("kept"), 1));
        for n in 0..5_000 {
            groups.shape(&birth(Some(&format!("conn-{n}")), 1));
        }
        assert!(groups.shapes.len() <= 1_025, "{}", groups.shapes.len());
        assert!(Arc::ptr_eq(&kept, &groups.shape(&birth(Some("kept"), 1))));
    }
}
