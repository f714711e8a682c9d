//! The threads of one session: who they are, what was read and lost of each, how long they were parked, and
//! the jobs that ran on them.

use crate::event::{Class, Location, TaskId, TaskOutcome, ThreadId, ThreadKind};
use crate::hist::Histogram;
use crate::limits::Limits;
use crate::time::{Nanos, UnixNanos};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Records read and lost of one class. `read + lost` is what was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records read.
    pub read: u64,
    /// Records overwritten before they were read.
    pub lost: u64,
}

/// [`Tally`] of each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tallies {
    /// Polls.
    pub polls: Tally,
    /// Span ends.
    pub span_ends: Tally,
    /// All others.
    pub others: Tally,
}

impl Tallies {
    /// The tally of one class.
    pub fn of(&self, class: Class) -> Tally {
        match class {
            Class::Polls => self.polls,
            Class::SpanEnds => self.span_ends,
            Class::Others => self.others,
        }
    }

    /// Lost records of all classes.
    pub fn lost(&self) -> u64 {
        self.polls.lost.saturating_add(self.span_ends.lost).saturating_add(self.others.lost)
    }

    /// Read records of all classes.
    pub fn read(&self) -> u64 {
        self.polls.read.saturating_add(self.span_ends.read).saturating_add(self.others.read)
    }

    fn of_mut(&mut self, class: Class) -> &mut Tally {
        match class {
            Class::Polls => &mut self.polls,
            Class::SpanEnds => &mut self.span_ends,
            Class::Others => &mut self.others,
        }
    }
}

/// A thread as far as it is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Thread {
    /// Which.
    pub id: ThreadId,
    /// The kernel's thread id, 0 if its registration was not read.
    pub os_id: u32,
    /// What it does.
    pub kind: ThreadKind,
    /// Its name.
    pub name: Arc<str>,
    /// The runtime it belongs to.
    pub runtime: Option<Arc<str>>,
    /// When it ended.
    pub ended: Option<UnixNanos>,
    /// The innermost task that it polls, and since when, as last read.
    pub polling: Option<(TaskId, UnixNanos)>,
    /// What was read and lost of it.
    pub records: Tallies,
    /// Time parked, of parks that were read.
    pub parked: Nanos,
}

/// Jobs of one name and place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Jobs {
    /// Runs.
    pub count: u64,
    /// Of these, panicked.
    pub panicked: u64,
    /// Run times.
    pub busy: Histogram,
    /// Times in the queue.
    pub queued: Histogram,
}

/// What jobs are summed under: name (or `other`) and place.
pub type JobKey = (Option<Arc<str>>, Location);

#[derive(Clone, Debug)]
pub(crate) struct Threads {
    most_ended: usize,
    most_jobs: usize,
    all: BTreeMap<ThreadId, Thread>,
    /// By end, so that the oldest can go.
    ended: BTreeMap<(UnixNanos, ThreadId), ()>,
    /// Threads that ended, in all.
    pub(crate) ended_count: u64,
    pub(crate) records: Tallies,
    pub(crate) jobs: BTreeMap<JobKey, Jobs>,
}

impl Threads {
    pub(crate) fn new(limits: &Limits) -> Threads {
        Threads {
            most_ended: limits.ended_threads,
            most_jobs: limits.kinds,
            all: BTreeMap::new(),
            ended: BTreeMap::new(),
            ended_count: 0,
            records: Tallies::default(),
            jobs: BTreeMap::new(),
        }
    }

    /// The entry of a thread, registered or not.
    pub(crate) fn entry(&mut self, id: ThreadId) -> &mut Thread {
        self.all.entry(id).or_insert_with(|| Thread {
            id,
            os_id: 0,
            kind: ThreadKind::Other,
            name: "".into(),
            runtime: None,
            ended: None,
            polling: None,
            records: Tallies::default(),
            parked: Nanos(0),
        })
    }

    pub(crate) fn end(&mut self, id: ThreadId, at: UnixNanos) {
        let thread = self.entry(id);
        if thread.ended.is_some() {
            return;
        }
        thread.ended = Some(at);
        self.ended.insert((at, id), ());
        self.ended_count += 1;
        if self.ended.len() > self.most_ended
            && let Some(((_, oldest), ())) = self.ended.pop_first()
        {
            self.all.remove(&oldest);
        }
    }

    /// What a thread polls now. One that is not known may have ended and been forgotten.
    pub(crate) fn polls(&mut self, id: ThreadId, polling: Option<(TaskId, UnixNanos)>) {
        if let Some(thread) = self.all.get_mut(&id) {
            thread.polling = polling.filter(|_| thread.ended.is_none());
        }
    }

    pub(crate) fn read(&mut self, id: ThreadId, class: Class, records: u64) {
        let add = |tallies: &mut Tallies| {
            let tally = tallies.of_mut(class);
            tally.read = tally.read.saturating_add(records);
        };
        add(&mut self.records);
        add(&mut self.entry(id).records);
    }

    pub(crate) fn lost(&mut self, id: ThreadId, class: Class, records: u64) {
        let add = |tallies: &mut Tallies| {
            let tally = tallies.of_mut(class);
            tally.lost = tally.lost.saturating_add(records);
        };
        add(&mut self.records);
        add(&mut self.entry(id).records);
    }

    pub(crate) fn job(&mut self, key: JobKey, busy: Nanos, queued: Nanos, outcome: TaskOutcome) {
        let room = self.jobs.len() < self.most_jobs || self.jobs.contains_key(&key);
        let key = if room { key } else { (Some("other".into()), Location::default()) };
        let jobs = self.jobs.entry(key).or_default();
        jobs.count += 1;
        jobs.panicked += u64::from(outcome == TaskOutcome::Panicked);
        jobs.busy.record(busy);
        jobs.queued.record(queued);
    }

    pub(crate) fn get(&self, id: ThreadId) -> Option<&Thread> {
        self.all.get(&id)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Thread> {
        self.all.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_short_threads_stay_within_bounds_and_nothing_is_forgotten_in_the_sums() {
        let limits = Limits { ended_threads: 100, ..Limits::default() };
        let mut threads = Threads::new(&limits);
        for n in 0..10_000 {
            threads.read(ThreadId(n), Class::Polls, 3);
            threads.lost(ThreadId(n), Class::Others, 1);
            threads.end(ThreadId(n), UnixNanos(n));
        }
        assert_eq!(threads.all().count(), 100);
        assert_eq!(threads.ended_count, 10_000);
        assert_eq!(threads.records.polls, Tally { read: 30_000, lost: 0 });
        assert_eq!((threads.records.lost(), threads.records.read()), (10_000, 30_000));
        assert!(threads.get(ThreadId(9_999)).is_some() && threads.get(ThreadId(0)).is_none());
    }

    #[test]
    fn kinds_of_jobs_beyond_the_limit_count_in_other() {
        let limits = Limits { kinds: 2, ..Limits::default() };
        let mut threads = Threads::new(&limits);
        for line in [1, 2, 3, 4, 1] {
            let key = (None, Location { file: "a.rs".into(), line, column: 1 });
            threads.job(key, Nanos(5), Nanos(1), TaskOutcome::Finished);
        }
        let other = (Some("other".into()), Location::default());
        assert_eq!(threads.jobs[&other].count, 2);
        assert_eq!(threads.jobs.values().map(|jobs| jobs.count).sum::<u64>(), 5);
    }
}
