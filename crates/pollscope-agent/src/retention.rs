//! Which dead sessions are removed: those that have been dead for long, and the oldest of those that take too much
//! room together. Removes nothing itself.

use pollscope_model::{SessionId, UnixNanos};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A session that is over.
pub struct Dead {
    /// When it was seen to be.
    pub at: Instant,
    /// When it began: of those that were dead before we came, the oldest began first.
    pub started: UnixNanos,
    /// Bytes of its files.
    pub bytes: u64,
}

/// The dead sessions that stand, and how much of that may be.
pub struct Retention {
    keep: Duration,
    bytes: u64,
    dead: HashMap<SessionId, Dead>,
}

impl Retention {
    /// Each for so long, and so many bytes in all.
    pub fn new(keep: Duration, bytes: u64) -> Retention {
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

    /// Those that are to be removed now, oldest first. None that is `held`; and for want of room never the one that
    /// died last: it is the one that somebody wants to look at.
    pub fn due(&self, now: Instant, held: impl Fn(SessionId) -> bool) -> Vec<SessionId> {
        let mut all: Vec<(&SessionId, &Dead)> = self.dead.iter().collect();
        all.sort_by_key(|(id, dead)| (dead.at, dead.started, **id));
        let newest = all.last().map(|(id, _)| **id);
        let mut bytes = all.iter().fold(0, |sum: u64, (_, dead)| sum.saturating_add(dead.bytes));
        let mut due = Vec::new();
        for (id, dead) in all {
            let old = now.saturating_duration_since(dead.at) >= self.keep;
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

    /// Sessions 1, 2, .. that died a minute apart, each of 100 bytes; kept for an hour and 250 bytes.
    fn three() -> (Retention, Instant) {
        let mut retention = Retention::new(Duration::from_secs(3600), 250);
        let begin = Instant::now();
        for n in 1..=3u64 {
            let at = begin + Duration::from_secs(60 * n);
            retention.died(SessionId(n.into()), Dead { at, started: UnixNanos(n), bytes: 100 });
        }
        (retention, begin)
    }

    fn due(retention: &Retention, at: Instant, held: &[u128]) -> Vec<u128> {
        retention.due(at, |id| held.contains(&id.0)).into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn the_oldest_go_until_the_rest_has_room() {
        let (mut retention, begin) = three();
        let now = begin + Duration::from_secs(200);
        assert_eq!(due(&retention, now, &[]), [1]);
        assert_eq!(due(&retention, now, &[1]), [2], "the next one, if that is being exported");
        assert_eq!(due(&retention, now, &[1, 2]), [0; 0], "the newest stays");
        retention.gone(SessionId(2));
        assert_eq!(due(&retention, now, &[]), [0; 0], "there is room");
    }

    #[test]
    fn each_goes_after_its_time() {
        let (mut retention, begin) = three();
        retention.bytes = u64::MAX;
        let after = |minutes: u64| begin + Duration::from_secs(minutes * 60);
        assert_eq!(due(&retention, after(60), &[]), [0; 0]);
        assert_eq!(due(&retention, after(62), &[]), [1, 2]);
        assert_eq!(due(&retention, after(62), &[1]), [2]);
        assert_eq!(due(&retention, after(63), &[]), [1, 2, 3], "the newest too");
    }

    #[test]
    fn of_those_that_were_found_dead_the_one_that_began_first_goes() {
        let mut retention = Retention::new(Duration::from_secs(3600), 100);
        let at = Instant::now();
        for (id, started) in [(1, 30), (2, 10), (3, 20)] {
            retention.died(SessionId(id), Dead { at, started: UnixNanos(started), bytes: 100 });
        }
        assert_eq!(due(&retention, at, &[]), [2, 3]);
    }
}
