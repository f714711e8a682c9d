//! How long to wait after a failure: exponential, with jitter, and never less than the server asked for.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Waits between attempts while a backend fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// After many.
    pub longest: Duration,
}

impl Default for Backoff {
    /// One second, doubled up to thirty: a backend that restarts is found again soon after, and many agents
    /// beside one backend do not keep it down.
    fn default() -> Self {
        Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The wait after the `failures`-th failure in a row (from 1). `dice` is any random number; the wait is half
    /// to all of the exponential one, or up to a tenth over `hint` if that is longer.
    pub fn wait(&self, failures: u32, hint: Option<Duration>, dice: u64) -> Duration {
        let doubled = 2u32.saturating_pow(failures.saturating_sub(1));
        let full = self.first.saturating_mul(doubled).min(self.longest);
        let part = dice as f64 / u64::MAX as f64;
        let own = full.mul_f64(0.5 + part / 2.0);
        own.max(hint.map(|hint| hint.mul_f64(1.0 + part / 10.0)).unwrap_or_default())
    }
}

/// A random number that is good enough to spread retries.
pub(crate) fn dice() -> u64 {
    // The standard library keys each hasher with fresh randomness: no crate is needed for that.
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = Backoff { first: MS(100), longest: MS(1000) };
        let longest: Vec<_> = (1..=6).map(|failures| backoff.wait(failures, None, u64::MAX)).collect();
        assert_eq!(longest, [MS(100), MS(200), MS(400), MS(800), MS(1000), MS(1000)]);
        let shortest: Vec<_> = (1..=6).map(|failures| backoff.wait(failures, None, 0)).collect();
        assert_eq!(shortest, [MS(50), MS(100), MS(200), MS(400), MS(500), MS(500)]);
        assert_eq!(backoff.wait(u32::MAX, None, u64::MAX), MS(1000));
    }

    #[test]
    fn a_hint_is_never_undercut_nor_does_it_shorten_the_wait() {
        let backoff = Backoff { first: MS(100), longest: MS(1000) };
        assert_eq!(backoff.wait(1, Some(MS(5000)), 0), MS(5000));
        assert_eq!(backoff.wait(1, Some(MS(5000)), u64::MAX), MS(5500));
        assert_eq!(backoff.wait(5, Some(MS(10)), u64::MAX), MS(1000));
    }

    #[test]
    fn the_dice_fall_differently() {
        let throws: std::collections::HashSet<_> = (0..16).map(|_| dice()).collect();
        assert!(throws.len() > 1);
    }
}
