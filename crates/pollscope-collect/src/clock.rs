//! The clock line of a session: ticks to nanoseconds since the Unix epoch, one and the same for all threads.
//!
//! The line is monotone and in pieces. A new piece begins behind the newest tick already converted, so that what
//! was said of earlier ticks stays said. While the session lives the slope comes from this process's own pairs
//! (it reads the same counter); for one that is dead or copied, from the pairs in its blocks.

use pollscope_model::{Nanos, UnixNanos};
use pollscope_wire::layout::ClockKind;
use pollscope_wire::reader::Header;
use pollscope_wire::{clock, sys};

/// One straight part of the line: from `tick` on, `nanos` and a slope.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Piece {
    /// Where it begins.
    pub tick: u64,
    /// Unix nanoseconds there.
    pub nanos: u64,
    /// Nanoseconds a tick.
    pub slope: f64,
}

/// The line.
#[derive(Clone, Debug, PartialEq)]
pub struct ClockLine {
    pieces: Vec<Piece>,
    kind: u32,
    /// Its counter is this process's too.
    own: bool,
    /// A pair of the session: tick and CLOCK_MONOTONIC.
    origin: (u64, u64),
    /// CLOCK_REALTIME at the session's start.
    wall: u64,
    /// Length over which the slope was measured, in ns.
    measured: u64,
    /// Ticks beyond this one wait for a slope that was measured over a longer time.
    horizon: u64,
    /// Newest tick converted so far.
    newest: u64,
    /// How far the line runs ahead of a wall clock that was set back.
    ahead: i128,
}

/// Pieces kept; older ones serve only ticks that were read long ago.
const PIECES: usize = 64;
/// The slope is renewed when it can be measured over twice the length, up to this: by then it is known to 1e-9.
const LONG_ENOUGH: u64 = 600_000_000_000;
/// The shortest length that a slope is measured over.
const SHORTEST: u64 = 100_000;
/// A wall clock that is this far off was set, not slewed.
const STEP: i128 = 50_000_000;
/// What is off by more than this, and less than a step, is made good over the next ten minutes.
const DRIFT: i128 = 1_000_000;

impl ClockLine {
    /// The line of a session. `live`: it runs on this machine, so that this process's clock is its clock.
    pub fn new(header: &Header, live: bool) -> ClockLine {
        let origin = (header.start_tick, header.start_monotonic);
        let ours = header.clock == ClockKind::Monotonic as u32 || sys::clock_kind() as u32 == header.clock;
        let mut line = ClockLine {
            pieces: vec![Piece { tick: origin.0, nanos: header.start_realtime, slope: 1.0 }],
            kind: header.clock,
            own: live && ours,
            origin,
            wall: header.start_realtime,
            measured: 0,
            horizon: 0,
            newest: header.start_tick,
            ahead: 0,
        };
        if line.own {
            line.observe_pair();
        }
        line
    }

    /// A line as it was kept. `live` as for [`ClockLine::new`].
    pub fn restore(header: &Header, live: bool, pieces: Vec<Piece>, newest: u64, measured: u64) -> ClockLine {
        let mut line = ClockLine::new(header, false);
        if !pieces.is_empty() {
            line.pieces = pieces;
            line.newest = newest;
            line.measured = measured;
            line.own = live && (line.is_monotonic() || sys::clock_kind() as u32 == header.clock);
        }
        line
    }

    /// What [`ClockLine::restore`] takes.
    pub fn parts(&self) -> (&[Piece], u64, u64) {
        (&self.pieces, self.newest, self.measured)
    }

    fn is_monotonic(&self) -> bool {
        self.kind == ClockKind::Monotonic as u32
    }

    /// Takes this process's own clocks, where it reads the same counter: the slope, and a wall clock that was
    /// set.
    pub fn observe_own(&mut self) {
        if !self.own {
            return;
        }
        self.observe_pair();
        let before = sys::monotonic();
        let tick = self.now();
        let wall = sys::realtime();
        // What came between would look like a wall clock that is off.
        if sys::monotonic() - before < DRIFT as u64 / 20 {
            self.observe_wall(tick, wall);
        }
    }

    fn observe_pair(&mut self) {
        if !self.is_monotonic() {
            let pair = clock::pair();
            if pair.tight {
                self.observe(pair.tick, pair.monotonic);
            }
        }
    }

    /// Takes a pair; the slope is renewed when it is measured over a much longer time than before.
    pub fn observe(&mut self, tick: u64, monotonic: u64) {
        let length = monotonic.saturating_sub(self.origin.1);
        let ticks = tick.saturating_sub(self.origin.0);
        let enough = length >= SHORTEST && length / 2 >= self.measured;
        if self.is_monotonic() || !enough || ticks == 0 || self.measured >= LONG_ENOUGH {
            return;
        }
        let slope = length as f64 / ticks as f64;
        // Counters run between 1 MHz and 10 GHz; anything else is no clock.
        if !(0.1..=1000.0).contains(&slope) {
            return;
        }
        let first = self.measured == 0 && self.pieces.len() == 1;
        self.measured = length;
        self.horizon =
            if length >= LONG_ENOUGH { u64::MAX } else { tick.saturating_add(ticks).saturating_add(1) };
        let begin = self.next_piece(tick);
        let exact = self.wall as i128 + ((begin - self.origin.0) as f64 * slope) as i128;
        let exact = exact.clamp(0, u64::MAX as i128) as u64;
        // Never back behind what was said.
        let nanos = if first && begin == self.origin.0 { exact } else { exact.max(self.at(begin)) };
        self.push(Piece { tick: begin, nanos, slope });
    }

    /// Takes the wall clock at a tick. Set forward, the line follows from here on; set back it cannot, and runs
    /// ahead; what drifts apart is made good slowly.
    pub fn observe_wall(&mut self, tick: u64, wall: u64) {
        let off = wall as i128 - self.at(tick) as i128 + self.ahead;
        let begin = self.next_piece(tick);
        let (nanos, slope) = (self.at(begin), self.slope());
        if off <= -STEP {
            self.ahead -= off;
        } else if off >= STEP {
            // A clock that was set back and is now set right again takes back what the line ran ahead.
            let back = off.min(self.ahead);
            self.ahead -= back;
            let nanos = (nanos as i128 + off - back).clamp(0, u64::MAX as i128) as u64;
            if off > back {
                self.push(Piece { tick: begin, nanos, slope });
            }
        } else if off.abs() >= DRIFT && self.measured >= LONG_ENOUGH && !self.is_monotonic() {
            let slope = slope * (1.0 + off as f64 / LONG_ENOUGH as f64);
            self.push(Piece { tick: begin, nanos, slope });
        }
    }

    /// Where a piece begins that is made at `now`: behind all that was said. No tick is newer than now: one that
    /// claims it is nonsense, and must not hold the line up.
    fn next_piece(&self, now: u64) -> u64 {
        let unsaid = if self.newest <= self.origin.0 { self.origin.0 } else { self.newest.saturating_add(1) };
        unsaid.min(now).max(self.origin.0)
    }

    fn push(&mut self, piece: Piece) {
        if self.pieces.last().is_some_and(|last| last.tick == piece.tick) {
            self.pieces.pop();
        }
        self.pieces.push(piece);
        if self.pieces.len() > PIECES {
            self.pieces.remove(0);
        }
    }

    fn slope(&self) -> f64 {
        self.pieces.last().map_or(1.0, |piece| piece.slope)
    }

    fn at(&self, tick: u64) -> u64 {
        let piece = self.pieces.iter().rev().find(|piece| piece.tick <= tick).unwrap_or(&self.pieces[0]);
        let since = tick as i128 - piece.tick as i128;
        let nanos = piece.nanos as i128 + (since as f64 * piece.slope) as i128;
        nanos.clamp(0, u64::MAX as i128) as u64
    }

    /// The time of a tick.
    pub fn time(&mut self, tick: u64) -> UnixNanos {
        if tick > self.horizon && self.own {
            self.observe_pair();
        }
        self.newest = self.newest.max(tick);
        UnixNanos(self.at(tick))
    }

    /// The tick now; 0 where this process cannot read that counter.
    pub fn now(&self) -> u64 {
        match (self.own, self.is_monotonic()) {
            (true, true) => sys::monotonic(),
            (true, false) => sys::tick(),
            _ => 0,
        }
    }

    /// The time now, as far as it is known: nothing is said with it, so a later piece of the line may tell it
    /// otherwise. `None` where this process cannot read that counter.
    pub fn about_now(&self) -> Option<UnixNanos> {
        let now = self.now();
        (now != 0).then(|| UnixNanos(self.at(now)))
    }

    /// The newest tick's time: the last that is known of a session that died.
    pub fn newest(&self) -> UnixNanos {
        UnixNanos(self.at(self.newest))
    }

    /// A length of so many ticks that ended at `end`. A wall clock that was set in between is no part of it.
    pub fn length(&self, ticks: u64, end: u64) -> Nanos {
        let ticks = ticks.min(end);
        let line = self.at(end).saturating_sub(self.at(end - ticks));
        let plain = self.ticks(ticks);
        if line.abs_diff(plain.0) as i128 >= STEP / 2 + plain.0 as i128 / 100 { plain } else { Nanos(line) }
    }

    /// A length of so many ticks at no particular time.
    pub fn ticks(&self, ticks: u64) -> Nanos {
        Nanos((ticks as f64 * self.slope()) as u64)
    }

    /// How long the slope was measured, in ns; 0: ticks are taken as nanoseconds.
    pub fn measured(&self) -> u64 {
        if self.is_monotonic() { u64::MAX } else { self.measured }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(clock: ClockKind) -> Header {
        Header {
            version: (1, 0),
            id: 1,
            state: 1,
            clock: clock as u32,
            start_tick: 1_000_000,
            start_monotonic: 5_000_000,
            start_realtime: 1_700_000_000_000_000_000,
            start_boottime: 0,
            pid: 1,
            uid: 1,
            process_start: 1,
            end_tick: 0,
            slow_poll_ns: 0,
            worker_ring_bytes: 0,
            seed: 0,
        }
    }

    #[test]
    fn ticks_of_three_ghz_become_nanoseconds() {
        let mut line = ClockLine::new(&header(ClockKind::Tsc), false);
        line.observe(1_000_000 + 3_000_000_000, 5_000_000 + 1_000_000_000);
        assert_eq!(line.time(1_000_000 + 1_500).0, 1_700_000_000_000_000_500);
        assert_eq!(line.length(3_000_000, 1_000_000 + 6_000_000), Nanos(1_000_000));
    }

    #[test]
    fn what_was_said_of_a_tick_stays_said() {
        let mut line = ClockLine::new(&header(ClockKind::Tsc), false);
        line.observe(1_000_000 + 3_000_000, 5_000_000 + 1_000_000);
        let said: Vec<UnixNanos> = (0..100).map(|n| line.time(1_000_000 + n * 1_000_000)).collect();
        // A better slope, from a hundred times the length.
        line.observe(1_000_000 + 300_100_000, 5_000_000 + 100_000_000);
        let again: Vec<UnixNanos> = (0..99).map(|n| line.time(1_000_000 + n * 1_000_000)).collect();
        assert_eq!(said[..99], again);
        assert_eq!(said[99], line.time(1_000_000 + 99_000_000), "the newest too");
        let later = line.time(1_000_000 + 99_500_000);
        assert!(later >= said[99], "the line never goes back");
    }

    #[test]
    fn nonsense_pairs_change_nothing() {
        let mut line = ClockLine::new(&header(ClockKind::Tsc), false);
        let before = line.clone();
        line.observe(1_000_001, u64::MAX);
        line.observe(0, 0);
        assert_eq!(line, before);
    }

    #[test]
    fn a_header_of_nonsense_gives_times_of_nonsense_and_no_panic() {
        let mut wild = header(ClockKind::Tsc);
        (wild.start_realtime, wild.start_tick, wild.start_monotonic) = (u64::MAX, 5, 5);
        let mut line = ClockLine::new(&wild, false);
        line.time(u64::MAX);
        line.observe(u64::MAX, u64::MAX);
        line.observe_wall(u64::MAX, 0);
        line.observe_wall(0, u64::MAX);
        assert_eq!(line.length(u64::MAX, 0), Nanos(0));
        line.time(0);
    }

    #[test]
    fn a_tick_from_the_future_does_not_hold_the_line_up() {
        let mut line = ClockLine::new(&header(ClockKind::Tsc), false);
        line.time(u64::MAX);
        line.observe(1_000_000 + 3_000_000_000, 5_000_000 + 1_000_000_000);
        line.observe(1_000_000 + 30_000_000_000, 5_000_000 + 10_000_000_000);
        let second = line.time(1_000_000 + 33_000_000_000).since(line.time(1_000_000 + 30_000_000_000));
        assert_eq!(second, Nanos(1_000_000_000));
    }

    #[test]
    fn a_wall_clock_set_forward_moves_what_comes_later() {
        let mut line = ClockLine::new(&header(ClockKind::Monotonic), false);
        let hour = 3_600_000_000_000;
        let said = line.time(2_000_000);
        line.observe_wall(3_000_000, 1_700_000_000_002_000_000 + hour);
        assert_eq!(line.time(2_000_000), said, "what was said stays said");
        assert_eq!(line.time(3_000_000).0, 1_700_000_000_002_000_000 + hour);
        assert_eq!(line.length(1_500_000, 3_000_000), Nanos(1_500_000), "lengths do not hold the step");
    }

    #[test]
    fn a_wall_clock_set_back_does_not_turn_the_line() {
        let mut line = ClockLine::new(&header(ClockKind::Monotonic), false);
        let said = line.time(2_000_000);
        line.observe_wall(3_000_000, 1_600_000_000_000_000_000);
        line.observe_wall(4_000_000, 1_600_000_000_001_000_000);
        assert_eq!(line.time(4_000_000).since(said), Nanos(2_000_000));
        line.observe_wall(5_000_000, 1_700_000_000_004_000_000);
        assert_eq!(line.time(5_000_000).0, 1_700_000_000_004_000_000, "set right again, it fits again");
    }

    #[test]
    fn a_line_that_was_kept_goes_on_to_the_nanosecond() {
        let mut line = ClockLine::new(&header(ClockKind::Tsc), false);
        line.observe(1_000_000 + 3_000_017, 5_000_000 + 1_000_000);
        line.time(1_000_000 + 5_000_000);
        line.observe(1_000_000 + 300_100_000, 5_000_000 + 100_000_000);
        let (pieces, newest, measured) = line.parts();
        let mut kept = ClockLine::restore(&header(ClockKind::Tsc), false, pieces.to_vec(), newest, measured);
        for n in 0..1000 {
            assert_eq!(kept.time(1_000_000 + n * 333_333), line.time(1_000_000 + n * 333_333));
        }
    }
}
