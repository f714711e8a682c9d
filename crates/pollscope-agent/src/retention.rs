//! Which dead sessions are removed: those that have been dead for long, and the oldest of those that take too much
//! room together. Removes nothing itself.
//!
//! A session has been dead since its last sign of life, whichever agent saw that; a copy of one, since it was made.

use pollscope_model::{Nanos, SessionId, UnixNanos};
use std::collections::HashMap;
use std::time::Duration;

/// A session that is over.
pub struct Dead {
    /// When its files came to stand where they are.
    pub appeared: UnixNanos,
    /// When it began: of those that died in one moment, the oldest began first.
    pub started: UnixNanos,
    /// Bytes of its files.
    pub bytes: u64,
}

/// Whether a dead session may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is still needed; when it ended is not known yet, or of no matter.
    Held,
    /// Nobody needs it; it ended then.
    Free(UnixNanos),
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

    /// Those that are to be removed now, oldest first. None that is held; and for want of room never the one that
    /// died last: it is the one that somebody wants to look at.
    pub fn due(&self, now: UnixNanos, standing: impl Fn(SessionId) -> Standing) -> Vec<SessionId> {
        let mut all: Vec<_> = self
            .dead
            .iter()
            .map(|(id, dead)| match standing(*id) {
                Standing::Held => (now, dead.started, *id, dead.bytes, true),
                Standing::Free(ended) => (ended.max(dead.appeared), dead.started, *id, dead.bytes, false),
            })
            .collect();
        all.sort_unstable();
        let newest = all.iter().rev().find(|(.., held)| !held).map(|(_, _, id, ..)| *id);
        let mut room = all.iter().fold(0, |sum: u64, (.., bytes, _)| sum.saturating_add(*bytes));
        let mut due = Vec::new();
        for (since, _, id, bytes, held) in all {
            let old = now.since(since) >= self.keep;
            let crowded = room > self.bytes && Some(id) != newest;
            if (old || crowded) && !held {
                room -= bytes.min(room);
                due.push(id);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000_000_000;

    /// So many minutes after everything.
    fn after(minutes: u64) -> UnixNanos {
        UnixNanos(1_000 * MINUTE + minutes * MINUTE)
    }

    /// Sessions 1, 2, .. that died a minute apart, each of 100 bytes; kept for an hour and 250 bytes.
    fn three() -> Retention {
        let mut retention = Retention::new(Duration::from_secs(3600), 250);
        for n in 1..=3u64 {
            retention.died(SessionId(n.into()), Dead { appeared: after(0), started: after(0), bytes: 100 });
        }
        retention
    }

    fn due(retention: &Retention, minutes: u64, held: &[u128]) -> Vec<u128> {
        let standing = |id: SessionId| match held.contains(&id.0) {
            true => Standing::Held,
            false => Standing::Free(after(id.0 as u64)),
        };
        retention.due(after(minutes), standing).into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn the_oldest_go_until_the_rest_has_room() {
        let mut retention = three();
        assert_eq!(due(&retention, 4, &[]), [1]);
        assert_eq!(due(&retention, 4, &[1]), [2], "the next one, if that is being exported");
        assert_eq!(due(&retention, 4, &[3]), [1], "room that is held is taken all the same");
        assert_eq!(due(&retention, 4, &[1, 2]), [0; 0], "the newest stays");
        retention.gone(SessionId(2));
        assert_eq!(due(&retention, 4, &[]), [0; 0], "there is room");
    }

    #[test]
    fn each_goes_so_long_after_its_own_end() {
        let mut retention = three();
        retention.bytes = u64::MAX;
        assert_eq!(due(&retention, 60, &[]), [0; 0]);
        assert_eq!(due(&retention, 62, &[]), [1, 2]);
        assert_eq!(due(&retention, 62, &[1]), [2]);
        assert_eq!(due(&retention, 63, &[]), [1, 2, 3], "the newest too");
    }

    #[test]
    fn a_copy_stays_so_long_after_it_was_made() {
        let mut retention = three();
        retention.bytes = u64::MAX;
        retention.died(SessionId(1), Dead { appeared: after(30), started: after(0), bytes: 100 });
        assert_eq!(due(&retention, 89, &[]), [2, 3]);
        assert_eq!(due(&retention, 90, &[]), [2, 3, 1]);
    }

    #[test]
    fn of_those_that_died_in_one_moment_the_one_that_began_first_goes() {
        let mut retention = Retention::new(Duration::from_secs(3600), 100);
        for (id, started) in [(1, 30), (2, 10), (3, 20)] {
            retention
                .died(SessionId(id), Dead { appeared: after(0), started: UnixNanos(started), bytes: 100 });
        }
        let due = retention.due(after(1), |_| Standing::Free(after(0)));
        assert_eq!(due, [SessionId(2), SessionId(3)]);
    }
}
