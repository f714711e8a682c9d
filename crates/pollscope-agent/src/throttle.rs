//! `--max-spans-per-second`: which traces leave when there are too many. Whole traces go, by the random bits of
//! their ids: agents that drop alike agree on which, and one that drops less keeps all that the others keep. Events that
//! leave as log records stay: a log is no part of a trace, and is looked for when a trace is missing.
//!
//! The threshold follows the spans offered, each second anew; within a second it only rises. A trace that is
//! decided stays so while its spans come, and for three minutes after the last; with very many traces, shorter.

use std::collections::HashSet;
use std::time::{Duration, Instant};

/// W3C's random bits of a trace id.
const RANDOM: u64 = (1 << 56) - 1;
/// How long decisions are kept at least, while there is room.
const KEPT: Duration = Duration::from_secs(180);
/// Decisions of one age at most; two ages are kept, of some 10 MiB each.
const MOST: usize = 1 << 19;

/// Decides for each trace.
pub struct Throttle {
    limit: f64,
    /// Spans a second as the last seconds had them: a rise counts at once, a fall by halves.
    rate: f64,
    second: Instant,
    /// Spans since it began.
    offered: u64,
    young: Decided,
    old: Decided,
    /// When the young ones began.
    since: Instant,
}

#[derive(Default)]
struct Decided {
    kept: HashSet<u64>,
    dropped: HashSet<u64>,
}

impl Decided {
    fn of(&self, trace: u64) -> Option<bool> {
        self.kept.contains(&trace).then_some(true).or(self.dropped.contains(&trace).then_some(false))
    }
}

impl Throttle {
    /// At most about so many spans a second.
    pub fn new(limit: u32, at: Instant) -> Throttle {
        let (young, old) = Default::default();
        Throttle { limit: limit.into(), rate: 0.0, second: at, offered: 0, young, old, since: at }
    }

    /// Whether a span of this trace leaves.
    pub fn admits(&mut self, trace: u128, at: Instant) -> bool {
        self.adjust(at);
        self.offered += 1;
        let trace = trace as u64;
        if let Some(kept) = self.young.of(trace) {
            return kept;
        }
        let kept = self.old.of(trace).unwrap_or_else(|| {
            let share = self.limit / self.limit.max(self.rate).max(self.offered as f64);
            (trace & RANDOM) as f64 >= (1.0 - share) * RANDOM as f64
        });
        if kept {
            self.young.kept.insert(trace)
        } else {
            self.young.dropped.insert(trace)
        };
        kept
    }

    fn adjust(&mut self, at: Instant) {
        let seconds = at.saturating_duration_since(self.second).as_secs_f64();
        if seconds >= 1.0 {
            let rate = self.offered as f64 / seconds;
            self.rate = rate + (self.rate - rate).max(0.0) * 0.5_f64.powf(seconds);
            (self.second, self.offered) = (at, 0);
        }
        let full = self.young.kept.len() + self.young.dropped.len() >= MOST;
        if full || at.saturating_duration_since(self.since) >= KEPT {
            self.old = std::mem::take(&mut self.young);
            self.since = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u32 = 500;

    /// The id of the nth trace: splitmix64.
    fn trace(n: u64) -> u128 {
        let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        u128::from(z ^ z >> 31) | 7 << 64
    }

    /// Plays a second of so many new traces, of five spans each, in rounds of 50 ms. Gives the spans kept.
    fn second(throttle: &mut Throttle, begin: Instant, first: u64, traces: u64) -> u64 {
        let mut kept = 0;
        for n in 0..traces {
            let at = begin + Duration::from_millis(n * 20 / traces * 50);
            kept += (0..5).filter(|_| throttle.admits(trace(first + n), at)).count() as u64;
        }
        kept
    }

    #[test]
    fn the_rate_is_held_and_what_is_below_it_passes() {
        let begin = Instant::now();
        let mut throttle = Throttle::new(LIMIT, begin);
        for n in 0..120 {
            // Calm, ten times too much, and calm again.
            let traces = if (20..80).contains(&n) { 1_000 } else { 90 };
            let kept = second(&mut throttle, begin + Duration::from_secs(n), n * 10_000, traces);
            let range = match n {
                // Before the threshold knows of it.
                20 => 250..=2_000,
                21..80 => 250..=1_000,
                // The rate falls by halves.
                80..90 => 0..=450,
                _ => 450..=450,
            };
            assert!(range.contains(&kept), "second {n}: {kept} of {}", traces * 5);
        }
    }

    #[test]
    fn no_trace_is_split_while_the_threshold_moves() {
        let begin = Instant::now();
        let mut throttle = Throttle::new(LIMIT, begin);
        // Each second brings ten traces that have a span every ten seconds, for four minutes.
        let mut seen: Vec<(u128, Vec<bool>)> = Vec::new();
        for n in 0..600_u64 {
            let at = begin + Duration::from_secs(n);
            let load = if n / 60 % 2 == 0 { 50 } else { 500 };
            second(&mut throttle, at, 1_000_000 + n * 10_000, load);
            seen.extend((0..10).map(|k| (trace(n * 10 + k), Vec::new())));
            for traces in seen.chunks_mut(10).rev().take(240).step_by(10) {
                for (id, kept) in traces {
                    kept.push(throttle.admits(*id, at));
                }
            }
        }
        let split = seen.iter().filter(|(_, kept)| kept.iter().any(|one| *one != kept[0])).count();
        let kept = seen.iter().filter(|(_, kept)| kept[0]).count();
        assert_eq!(split, 0);
        assert!((500..5_500).contains(&kept), "some are kept and some are not: {kept}");
    }

    #[test]
    fn who_drops_less_keeps_all_that_the_other_keeps() {
        let begin = Instant::now();
        let (mut busy, mut calm) = (Throttle::new(LIMIT, begin), Throttle::new(LIMIT, begin));
        for n in 0..10 {
            second(&mut busy, begin + Duration::from_secs(n), n * 10_000, 2_000);
            second(&mut calm, begin + Duration::from_secs(n), n * 10_000, 400);
        }
        let at = begin + Duration::from_secs(10);
        let both =
            (0..100).map(|n| trace(5_000_000 + n)).map(|id| (busy.admits(id, at), calm.admits(id, at)));
        let both: Vec<(bool, bool)> = both.collect();
        assert!(both.iter().all(|(busy, calm)| !busy || *calm));
        assert!(both.iter().filter(|(_, calm)| *calm).count() > 10);
    }

    #[test]
    fn decisions_are_bounded() {
        let begin = Instant::now();
        let mut throttle = Throttle::new(LIMIT, begin);
        for n in 0..2 * MOST as u64 + 10 {
            throttle.admits(trace(n), begin);
        }
        let all = |decided: &Decided| decided.kept.len() + decided.dropped.len();
        assert!(all(&throttle.young) <= MOST && all(&throttle.old) <= MOST);
    }
}
