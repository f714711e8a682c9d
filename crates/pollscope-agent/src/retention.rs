//! Which dead sessions are removed: those that have been dead for long, and the oldest of those that take too much
//! room together. Removes nothing itself.
//!
//! A session is dead since an agent first saw that it is: the journal knows when that was. (Its last sign of life may be
//! hours older: it may have waited for something all the time.)

use pollscope_model::{Nanos, SessionId, UnixNanos};
use std::collections::HashMap;
use std::time::Duration;

/// A session that is over.
pub struct Dead {
    /// When it was first seen to be.
    pub since: UnixNanos,
    /// When it began: of those that were dead before we came, the oldest began first.
    pub started: UnixNanos,
    /// Bytes of its files.
    pub bytes: u64,
}

/// The dead sessions that stand, and how much of that may be.
pub struct Retention {
    keep: Nanos,
    bytes: u64,
    dead: HashMap<SessionId, Dead>,
}

impl Retention {
    /// Each for so long, and so many bytes in all.
    pub fn new(keep: Duration, bytes: u64) -> Retention {
        let keep = Nanos(u64::try_from(keep.as_nanos()).unwrap_or(u64::MAX));
        Retention { keep, bytes, dead: HashMap::new() }
    }

    /// A session is over.
    pub fn died(&mut self, id: SessionId, dead: Dead) {
        self.dead.insert(id, dead);
    }

    /// It stands there no more.
    pub fn gone(&mut self, id: SessionId) {
        self.dead.remove(&id);
    }

    /// Whether some dead session is so.
    pub fn any(&self, is: impl Fn(SessionId) -> bool) -> bool {
        self.dead.keys().any(|id| is(*id))
    }

    /// Since when each is dead, for the journal.
    pub fn since(&self) -> impl Iterator<Item = (SessionId, UnixNanos)> {
        self.dead.iter().map(|(id, dead)| (*id, dead.since))
    }

    /// Those that are to be removed now, oldest first. None that is `held`; and for want of room never the one that
    /// died last: it is the one that somebody wants to look at.
    pub fn due(&self, now: UnixNanos, held: impl Fn(SessionId) -> bool) -> Vec<SessionId> {
        let mut all: Vec<(&SessionId, &Dead)> = self.dead.iter().collect();
        all.sort_by_key(|(id, dead)| (dead.since, dead.started, **id));
        let newest = all.last().map(|(id, _)| **id);
        let mut bytes = all.iter().fold(0, |sum: u64, (_, dead)| sum.saturating_add(dead.bytes));
        let mut due = Vec::new();
        for (id, dead) in all {
            let old = now.since(dead.since) >= self.keep;
            let crowded = bytes > self.bytes && Some(*id) != newest;
            if (old || crowded) && !held(*id) {
                bytes -= dead.bytes.min(bytes);
                due.push(*id);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many minutes after everything.
    fn after(minutes: u64) -> UnixNanos {
        UnixNanos((1_000 + minutes) * 60_000_000_000)
    }

    /// Sessions 1, 2, .. that died a minute apart, each of 100 bytes; kept for an hour and 250 bytes.
    fn three() -> Retention {
        let mut retention = Retention::new(Duration::from_secs(3600), 250);
        for n in 1..=3u64 {
            let dead = Dead { since: after(n), started: UnixNanos(n), bytes: 100 };
            retention.died(SessionId(n.into()), dead);
        }
        retention
    }

    fn due(retention: &Retention, minutes: u64, held: &[u128]) -> Vec<u128> {
        let held = |id: SessionId| held.contains(&id.0);
        retention.due(after(minutes), held).into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn the_oldest_go_until_the_rest_has_room() {
        let mut retention = three();
        assert_eq!(due(&retention, 4, &[]), [1]);
        assert_eq!(due(&retention, 4, &[1]), [2], "the next one, if that is being exported");
        assert_eq!(due(&retention, 4, &[1, 2]), [0; 0], "the newest stays");
        retention.gone(SessionId(2));
        assert_eq!(due(&retention, 4, &[]), [0; 0], "there is room");
    }

    #[test]
    fn each_goes_after_its_time() {
        let mut retention = three();
        retention.bytes = u64::MAX;
        assert_eq!(due(&retention, 60, &[]), [0; 0]);
        assert_eq!(due(&retention, 62, &[]), [1, 2]);
        assert_eq!(due(&retention, 62, &[1]), [2]);
        assert_eq!(due(&retention, 63, &[]), [1, 2, 3], "the newest too");
    }

    #[test]
    fn of_those_that_were_found_dead_the_one_that_began_first_goes() {
        let mut retention = Retention::new(Duration::from_secs(3600), 100);
        for (id, started) in [(1, 30), (2, 10), (3, 20)] {
            retention.died(SessionId(id), Dead { since: after(0), started: UnixNanos(started), bytes: 100 });
        }
        assert_eq!(due(&retention, 1, &[]), [2, 3]);
    }
}
