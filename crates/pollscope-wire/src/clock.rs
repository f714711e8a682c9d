//! Pairs of clocks, taken together.

use crate::sys;

/// A tick and CLOCK_MONOTONIC of the same moment, within a microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Tick.
    pub tick: u64,
    /// CLOCK_MONOTONIC, ns.
    pub monotonic: u64,
    /// Whether the ticks around it lay close together.
    pub tight: bool,
}

/// Ticks that 1 µs takes at most (5 GHz).
const CLOSE: u64 = 5_000;

/// Takes a pair: tick, MONOTONIC, tick; again if something came between, at most 8 times.
pub fn pair() -> Pair {
    let mut best = Pair { tick: 0, monotonic: 0, tight: false };
    let mut narrowest = u64::MAX;
    for _ in 0..8 {
        let before = sys::tick();
        let monotonic = sys::monotonic();
        let width = sys::tick().saturating_sub(before);
        if width < narrowest {
            narrowest = width;
            best = Pair { tick: before + width / 2, monotonic, tight: width <= CLOSE };
        }
        if best.tight {
            break;
        }
    }
    best
}

/// A pair for a block's header: the MONOTONIC is 0 where none could be taken closely.
pub fn block_pair() -> (u64, u64) {
    let pair = pair();
    (pair.tick, if pair.tight { pair.monotonic } else { 0 })
}
