//! The polls worth remembering: the worst, those before which their task waited longest, and who ran meanwhile.
//!
//! "Who ran meanwhile" is asked of the same thread: the poll that overlaps the wait most, other than the polls
//! that enclose the waiting task itself. It can only be told from polls that were read and lasted 1 ms or more.
//!
//! A poll answers for what ran inside it, too, as far as that was short: a connection that polls a thousand short
//! requests in one poll holds its thread. An inner poll that was slow answers for itself.

use crate::event::{Poll, TaskId, ThreadId};
use crate::groups::TaskShape;
use crate::limits::Limits;
use crate::time::{Nanos, UnixNanos};
use crate::top::Top;
use std::cmp::Reverse;
use std::sync::Arc;

/// Polls shorter than this explain no wait that anybody looks at.
const LONG: Nanos = Nanos(1_000_000);

/// For so many rounds after a wait was read the poll that explains it may still come in.
const ROUNDS_TO_EXPLAIN: u64 = 3;

/// One poll and whose it was.
#[derive(Clone, Debug, PartialEq)]
pub struct NotedPoll {
    /// The poll.
    pub poll: Poll,
    /// Its task's shape; of an unknown task if the birth was never read.
    pub shape: Arc<TaskShape>,
    /// Time of inner polls for which it answers: none of them was slow.
    pub carried: Nanos,
}

impl NotedPoll {
    /// How long it held its thread by its own doing: without the share of inner polls that answer for themselves.
    pub fn own(&self) -> Nanos {
        self.poll.busy - self.poll.nested + self.carried
    }
}

/// A poll with others inside.
#[derive(Clone, Debug)]
struct Carrier {
    noted: NotedPoll,
    round: u64,
}

/// A long wait for a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct LongWait {
    /// The poll that came after the wait.
    pub waited: NotedPoll,
    /// The poll that ran on that thread meanwhile, and for how much of the wait.
    pub behind: Option<(NotedPoll, Nanos)>,
    round: u64,
}

type Key = (Nanos, UnixNanos, TaskId, ThreadId);

/// All of them for one session.
#[derive(Clone, Debug)]
pub(crate) struct Polls {
    worst: Top<Key, NotedPoll>,
    waits: Top<Key, LongWait>,
    /// By their whole length.
    carriers: Top<Key, Carrier>,
    long: Top<(UnixNanos, ThreadId, TaskId), NotedPoll>,
}

impl Polls {
    pub(crate) fn new(limits: &Limits) -> Polls {
        Polls {
            worst: Top::new(limits.worst),
            waits: Top::new(limits.worst),
            carriers: Top::new(limits.worst),
            long: Top::new(limits.long_polls),
        }
    }

    pub(crate) fn note(&mut self, poll: &Poll, shape: &Arc<TaskShape>, round: u64) {
        let noted = || NotedPoll { poll: poll.clone(), shape: shape.clone(), carried: Nanos(0) };
        let worst = (poll.busy - poll.nested, poll.start, poll.task, poll.thread);
        if self.worst.takes(&worst) {
            self.worst.put(worst, noted());
        }
        let whole = (poll.busy, poll.start, poll.task, poll.thread);
        if poll.nested > Nanos(0) && poll.busy >= LONG && self.carriers.takes(&whole) {
            self.carriers.put(whole, Carrier { noted: noted(), round });
        }
        let wait = (poll.scheduled, poll.start, poll.task, poll.thread);
        if poll.scheduled > Nanos(0) && self.waits.takes(&wait) {
            self.waits.put(wait, LongWait { waited: noted(), behind: None, round });
        }
        let long = (poll.start, poll.thread, poll.task);
        if poll.busy >= LONG && self.long.takes(&long) {
            self.long.put(long, noted());
        }
    }

    /// Looks who ran during the waits that are new, and what inside the polls that are.
    pub(crate) fn explain(&mut self, slow: Nanos, round: u64) {
        for carrier in self.carriers.values_mut() {
            if carrier.round + ROUNDS_TO_EXPLAIN >= round {
                carrier.noted.carried = carried(&self.long, &carrier.noted.poll, slow);
            }
        }
        for wait in self.waits.values_mut() {
            if wait.round + ROUNDS_TO_EXPLAIN >= round {
                wait.behind = behind(&self.long, &wait.waited.poll);
            }
        }
    }

    /// Longest first.
    pub(crate) fn worst(&self) -> impl Iterator<Item = &NotedPoll> {
        let by_themselves = self.worst.iter().map(|(_, poll)| poll);
        let mut all: Vec<&NotedPoll> =
            self.carriers.iter().map(|(_, carrier)| &carrier.noted).chain(by_themselves).collect();
        let which = |noted: &NotedPoll| (noted.poll.start, noted.poll.task, noted.poll.thread);
        // Of one that stands in both, what it carried.
        all.sort_by_key(|noted| (Reverse(which(noted)), Reverse(noted.own())));
        all.dedup_by_key(|noted| which(noted));
        all.sort_by_key(|noted| Reverse(noted.own()));
        all.truncate(self.worst.most());
        all.into_iter()
    }

    /// Longest first.
    pub(crate) fn waits(&self) -> impl Iterator<Item = &LongWait> {
        self.waits.iter().map(|(_, wait)| wait)
    }
}

/// The time of polls inside one, but of those that were slow.
fn carried(long: &Top<(UnixNanos, ThreadId, TaskId), NotedPoll>, outer: &Poll, slow: Nanos) -> Nanos {
    let end = outer.start + outer.busy;
    let inside = (outer.start, ThreadId(0), TaskId(0))..(end, ThreadId(0), TaskId(0));
    let (mut slow_ones, mut covered) = (Nanos(0), outer.start);
    for (_, NotedPoll { poll, .. }) in long.range(inside) {
        let is_inner =
            poll.thread == outer.thread && poll.task != outer.task && poll.start + poll.busy <= end;
        if is_inner && poll.busy >= slow && poll.start >= covered {
            slow_ones += poll.busy;
            covered = poll.start + poll.busy;
        }
    }
    outer.nested - slow_ones.min(outer.nested)
}

fn behind(long: &Top<(UnixNanos, ThreadId, TaskId), NotedPoll>, waited: &Poll) -> Option<(NotedPoll, Nanos)> {
    let woken = waited.start - waited.scheduled;
    let before = ..(waited.start, ThreadId(0), TaskId(0));
    let overlap = |noted: &NotedPoll| {
        let end = noted.poll.start + noted.poll.busy;
        let same = noted.poll.thread == waited.thread && noted.poll.task != waited.task;
        if !same || end > waited.start {
            return Nanos(0);
        }
        // An outer poll that only carried inner ones explains no more than its own share.
        end.since(noted.poll.start.max(woken)).min(noted.own())
    };
    long.range(before)
        .map(|(_, noted)| (overlap(noted), noted))
        .filter(|(overlap, _)| *overlap > Nanos(0))
        .max_by_key(|(overlap, noted)| (*overlap, noted.poll.start))
        .map(|(overlap, noted)| (noted.clone(), overlap))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::PollOutcome;

    const MS: u64 = 1_000_000;

    fn poll(task: u64, thread: u64, start_ms: u64, busy_ms: u64, scheduled_ms: u64) -> Poll {
        Poll {
            task: TaskId(task),
            thread: ThreadId(thread),
            start: UnixNanos(start_ms * MS),
            busy: Nanos(busy_ms * MS),
            nested: Nanos(0),
            scheduled: Nanos(scheduled_ms * MS),
            woken_by: None,
            wakes: 1,
            outcome: PollOutcome::Pending,
            ordinal: 0,
        }
    }

    fn noted(polls: &[Poll]) -> Polls {
        let mut all = Polls::new(&Limits::default());
        let shape = Arc::new(TaskShape::unknown());
        polls.iter().for_each(|poll| all.note(poll, &shape, 0));
        all.explain(Nanos(10 * MS), 0);
        all
    }

    /// The task behind which the longest wait was spent, and for how many ms.
    fn blocker(polls: &[Poll]) -> Option<(u64, u64)> {
        let all = noted(polls);
        let wait = all.waits().next().expect("there was a wait");
        wait.behind.as_ref().map(|(noted, overlap)| (noted.poll.task.0, overlap.0 / MS))
    }

    #[test]
    fn a_wait_is_explained_by_the_poll_that_held_the_worker() {
        let (hog, victim) = (poll(1, 1, 100, 40, 0), poll(2, 1, 141, 1, 39));
        assert_eq!(blocker(&[hog.clone(), victim.clone()]), Some((1, 38)));
        assert_eq!(blocker(&[victim.clone(), hog]), Some((1, 38)));
        let elsewhere = poll(1, 2, 100, 40, 0);
        assert_eq!(blocker(&[elsewhere, victim.clone()]), None);
        let later = poll(1, 1, 142, 40, 0);
        assert_eq!(blocker(&[later, victim]), None);
    }

    #[test]
    fn an_enclosing_poll_explains_nothing_but_a_sibling_does() {
        // A connection polls one request for 20 ms and then the next one, which waited for it.
        let connection = Poll { nested: Nanos(29 * MS), ..poll(1, 1, 100, 30, 0) };
        let (first, second) = (poll(2, 1, 100, 20, 0), poll(3, 1, 121, 5, 21));
        assert_eq!(blocker(&[connection, first, second]), Some((2, 20)));
    }

    #[test]
    fn the_worst_poll_is_the_one_that_was_long_by_its_own_doing() {
        let outer = Poll { nested: Nanos(49 * MS), ..poll(1, 1, 0, 50, 0) };
        let all = noted(&[outer, poll(2, 1, 1, 49, 0), poll(3, 1, 60, 3, 0)]);
        let order: Vec<u64> = all.worst().map(|noted| noted.poll.task.0).collect();
        assert_eq!(order, [2, 3, 1]);
    }

    #[test]
    fn one_that_polls_many_short_ones_answers_for_them_but_not_for_a_slow_one() {
        let owned = |outer: &Poll, inner: Poll| {
            let short =
                (0..100).map(|n| Poll { busy: Nanos(MS / 2), ..poll(100 + n, 1, 1_000 + n / 2, 0, 0) });
            let mut polls: Vec<Poll> = short.collect();
            polls.extend([outer.clone(), inner]);
            let told: Vec<Vec<(u64, u64)>> = [polls.clone(), polls.into_iter().rev().collect()]
                .iter()
                .map(|polls| {
                    noted(polls).worst().map(|of| (of.poll.task.0, of.own().0 / MS)).take(2).collect()
                })
                .collect();
            assert_eq!(told[0], told[1], "in any order");
            told.into_iter().next().unwrap_or_default()
        };
        let outer = Poll { nested: Nanos(79 * MS), ..poll(1, 1, 1_000, 80, 0) };
        // 50 ms in short ones and 29 ms in a slow one; the same on another thread is none of its.
        assert_eq!(owned(&outer, poll(2, 1, 1_050, 29, 0)), [(1, 51), (2, 29)]);
        assert_eq!(owned(&outer, poll(2, 2, 1_050, 29, 0)), [(1, 80), (2, 29)]);
        assert_eq!(owned(&outer, poll(2, 1, 1_050, 9, 0)), [(1, 80), (2, 9)]);
    }
}
