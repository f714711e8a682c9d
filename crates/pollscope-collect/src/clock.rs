//! The clock line of a session: ticks to nanoseconds since the Unix epoch, one and the same for all threads.
//!
//! The line is monotone and in pieces. A new piece begins at the newest tick already converted, so that what
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
    /// A pair of the session: tick and CLOCK_MONOTONIC.
    origin: (u64, u64),
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC at the session's start.
    offset: i128,
    /// Length over which the slope was measured, in ns.
    measured: u64,
    /// Newest tick converted so far.
    newest: u64,
}

/// Pieces kept; older ones serve only ticks that were read long ago.
const PIECES: usize = 64;
/// The slope is renewed when it can be measured over twice the length, up to this: by then it is known to 1e-9.
const LONG_ENOUGH: u64 = 600_000_000_000;

impl ClockLine {
    /// The line of a session. `live`: it runs on this machine, so that this process's clock is its clock.
    pub fn new(header: &Header, live: bool) -> ClockLine {
        let origin = (header.start_tick, header.start_monotonic);
        let offset = header.start_realtime as i128 - header.start_monotonic as i128;
        let mut line = ClockLine {
            pieces: Vec::new(),
            kind: header.clock,
            origin,
            offset,
            measured: 0,
            newest: header.start_tick,
        };
        line.pieces.push(Piece { tick: origin.0, nanos: header.start_realtime, slope: 1.0 });
        if header.clock != ClockKind::Monotonic as u32 && live && sys::clock_kind() as u32 == header.clock {
            line.observe_own();
        }
        line
    }

    /// A line as it was kept.
    pub fn restore(header: &Header, pieces: Vec<Piece>, newest: u64, measured: u64) -> ClockLine {
        let mut line = ClockLine::new(header, false);
        if !pieces.is_empty() {
            line.pieces = pieces;
            line.newest = newest;
            line.measured = measured;
        }
        line
    }

    /// What [`ClockLine::restore`] takes.
    pub fn parts(&self) -> (&[Piece], u64, u64) {
        (&self.pieces, self.newest, self.measured)
    }

    /// Takes this process's own pair, where it reads the same counter.
    pub fn observe_own(&mut self) {
        if self.kind == ClockKind::Monotonic as u32 || sys::clock_kind() as u32 != self.kind {
            return;
        }
        let pair = clock::pair();
        if pair.tight {
            self.observe(pair.tick, pair.monotonic);
        }
    }

    /// Takes a pair; the slope is renewed when it is measured over a much longer time than before.
    pub fn observe(&mut self, tick: u64, monotonic: u64) {
        let length = monotonic.saturating_sub(self.origin.1);
        let ticks = tick.saturating_sub(self.origin.0);
        let enough = length >= 1_000_000 && (length / 2 >= self.measured || self.measured == 0);
        if self.kind == ClockKind::Monotonic as u32 || !enough || ticks == 0 || self.measured >= LONG_ENOUGH {
            return;
        }
        let slope = length as f64 / ticks as f64;
        // Counters run between 1 MHz and 10 GHz; anything else is no clock.
        if !(0.1..=1000.0).contains(&slope) {
            return;
        }
        self.measured = length;
        let begin = self.newest.max(self.origin.0);
        let exact =
            (self.origin.1 as i128 + self.offset) as u64 + ((begin - self.origin.0) as f64 * slope) as u64;
        // Never back behind what was said.
        let nanos =
            if self.pieces.len() == 1 && begin == self.origin.0 { exact } else { exact.max(self.at(begin)) };
        self.push(Piece { tick: begin, nanos, slope });
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

    fn at(&self, tick: u64) -> u64 {
        let piece = self.pieces.iter().rev().find(|piece| piece.tick <= tick).unwrap_or(&self.pieces[0]);
        let since = tick as i128 - piece.tick as i128;
        let nanos = piece.nanos as i128 + (since as f64 * piece.slope) as i128;
        nanos.clamp(0, u64::MAX as i128) as u64
    }

    /// The time of a tick.
    pub fn time(&mut self, tick: u64) -> UnixNanos {
        self.newest = self.newest.max(tick);
        UnixNanos(self.at(tick))
    }

    /// A length of so many ticks that ended at `end`.
    pub fn length(&self, ticks: u64, end: u64) -> Nanos {
        Nanos(self.at(end).saturating_sub(self.at(end.saturating_sub(ticks))))
    }

    /// A length of so many ticks at no particular time.
    pub fn ticks(&self, ticks: u64) -> Nanos {
        let slope = self.pieces.last().map_or(1.0, |piece| piece.slope);
        Nanos((ticks as f64 * slope) as u64)
    }

    /// How long the slope was measured, in ns; 0: ticks are taken as nanoseconds.
    pub fn measured(&self) -> u64 {
        if self.kind == ClockKind::Monotonic as u32 { u64::MAX } else { self.measured }
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
}
