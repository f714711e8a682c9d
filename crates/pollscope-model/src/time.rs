//! Points and lengths of time: newtypes, so that wall time, lengths and raw ticks cannot be confused.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// A length of time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

/// A point in time: nanoseconds since the Unix epoch, by the observed host's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub u64);

impl UnixNanos {
    /// The time from `earlier` to `self`, zero if `earlier` is later.
    pub fn since(self, earlier: UnixNanos) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Nanos> for UnixNanos {
    type Output = UnixNanos;
    fn add(self, length: Nanos) -> UnixNanos {
        UnixNanos(self.0.saturating_add(length.0))
    }
}

impl Sub<Nanos> for UnixNanos {
    type Output = UnixNanos;
    fn sub(self, length: Nanos) -> UnixNanos {
        UnixNanos(self.0.saturating_sub(length.0))
    }
}

impl Add for Nanos {
    type Output = Nanos;
    fn add(self, other: Nanos) -> Nanos {
        Nanos(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Nanos {
    fn add_assign(&mut self, other: Nanos) {
        *self = *self + other;
    }
}

impl Sub for Nanos {
    type Output = Nanos;
    fn sub(self, other: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Nanos {
    /// Three digits and a unit: `417ns`, `12.3µs`, `4.56ms`, `1.20s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0 {
            n if n < 1_000 => return f.pad(&format!("{n}ns")),
            n if n < 1_000_000 => (n as f64 / 1e3, "µs"),
            n if n < 1_000_000_000 => (n as f64 / 1e6, "ms"),
            n => (n as f64 / 1e9, "s"),
        };
        let digits = if value < 9.995 {
            2
        } else if value < 99.95 {
            1
        } else {
            0
        };
        f.pad(&format!("{value:.digits$}{unit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Nanos;

    #[test]
    fn lengths_read_with_three_digits() {
        let shown = |n| Nanos(n).to_string();
        assert_eq!(shown(417), "417ns");
        assert_eq!(shown(12_340), "12.3µs");
        assert_eq!(shown(4_560_000), "4.56ms");
        assert_eq!(shown(1_200_000_000), "1.20s");
    }
}
