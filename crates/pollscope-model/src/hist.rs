//! Log-linear histograms of lengths of time: 8 buckets an octave, so what is read off one is within 7 % of
//! the truth. Sums, counts and the maximum are exact. Merging and recording commute.

use crate::time::Nanos;

/// Buckets at most: values up to 2^42 ns (73 minutes); what is longer counts in the last.
const BUCKETS: usize = 320;

/// How often lengths of time occurred. Empty ones take no memory beyond their own 48 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// As long as the highest bucket in use needs.
    counts: Vec<u64>,
    count: u64,
    sum: u128,
    max: Nanos,
}

impl Histogram {
    /// Counts one value.
    pub fn record(&mut self, value: Nanos) {
        let bucket = bucket(value.0);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.count += 1;
        self.sum += u128::from(value.0);
        self.max = self.max.max(value);
    }

    /// Adds all that `other` has counted.
    pub fn merge(&mut self, other: &Histogram) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The greatest value, exactly.
    pub fn max(&self) -> Nanos {
        self.max
    }

    /// Their sum, exactly (saturating).
    pub fn sum(&self) -> Nanos {
        Nanos(u64::try_from(self.sum).unwrap_or(u64::MAX))
    }

    /// The mean, `None` without values.
    pub fn mean(&self) -> Option<Nanos> {
        (self.count > 0).then(|| Nanos((self.sum / u128::from(self.count)) as u64))
    }

    /// The value that `percent` % of all values do not exceed, within 7 %; `None` without values.
    ///
    /// ```
    /// use pollscope_model::{hist::Histogram, Nanos};
    /// let mut polls = Histogram::default();
    /// (1..=100).for_each(|n| polls.record(Nanos(n * 1_000)));
    /// let median = polls.percentile(50.0).expect("there are values");
    /// assert!(median.0.abs_diff(50_000) < 3_500);
    /// ```
    pub fn percentile(&self, percent: f64) -> Option<Nanos> {
        if self.count == 0 {
            return None;
        }
        let rank = ((percent / 100.0 * self.count as f64).ceil() as u64).clamp(1, self.count);
        let mut below = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= rank {
                return Some(Nanos(middle(bucket)).min(self.max));
            }
        }
        Some(self.max)
    }

    /// The buckets in use: smallest value, first value beyond, count.
    pub fn buckets(&self) -> impl Iterator<Item = (Nanos, Nanos, u64)> + '_ {
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(bucket, count)| (Nanos(lower_bound(bucket)), Nanos(lower_bound(bucket + 1)), *count))
    }
}

fn bucket(value: u64) -> usize {
    if value < 8 {
        return value as usize;
    }
    let octave = 63 - value.leading_zeros() as usize;
    let eighth = (value >> (octave - 3)) as usize & 7;
    ((octave - 2) * 8 + eighth).min(BUCKETS - 1)
}

fn lower_bound(bucket: usize) -> u64 {
    if bucket < 8 {
        return bucket as u64;
    }
    (8 + (bucket % 8) as u64) << (bucket / 8 - 1)
}

fn middle(bucket: usize) -> u64 {
    let low = lower_bound(bucket);
    low + (lower_bound(bucket + 1) - low) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_stands_for_its_values_within_seven_percent() {
        for shift in 0..42 {
            for value in [1u64 << shift, (1 << shift) + (1 << shift) / 3, (2 << shift) - 1] {
                let b = bucket(value);
                assert!(lower_bound(b) <= value, "{value}");
                assert!(value < lower_bound(b + 1) || b == BUCKETS - 1, "{value}");
                assert!(middle(b).abs_diff(value) as f64 <= 0.07 * value as f64, "{value}: {}", middle(b));
            }
        }
    }

    #[test]
    fn percentiles_come_from_the_right_end() {
        let mut polls = Histogram::default();
        for _ in 0..990 {
            polls.record(Nanos(10_000));
        }
        for _ in 0..10 {
            polls.record(Nanos(40_000_000));
        }
        assert!(polls.percentile(50.0).unwrap().0.abs_diff(10_000) <= 700);
        assert!(polls.percentile(99.0).unwrap().0.abs_diff(10_000) <= 700);
        assert!(polls.percentile(99.1).unwrap().0.abs_diff(40_000_000) <= 2_800_000);
        assert_eq!(polls.max(), Nanos(40_000_000));
        assert_eq!(polls.sum(), Nanos(990 * 10_000 + 10 * 40_000_000));
        assert_eq!(polls.mean(), Some(Nanos(409_900)));
    }

    #[test]
    fn nothing_counted_has_no_percentile() {
        assert_eq!(Histogram::default().percentile(50.0), None);
        assert_eq!(Histogram::default().mean(), None);
    }

    #[test]
    fn merging_is_recording_both() {
        let (mut left, mut right, mut both) =
            (Histogram::default(), Histogram::default(), Histogram::default());
        for n in 0..1_000u64 {
            let value = Nanos(n * n * 37);
            if n % 3 == 0 { &mut left } else { &mut right }.record(value);
            both.record(value);
        }
        let mut merged = right.clone();
        merged.merge(&left);
        left.merge(&right);
        assert_eq!(left, both);
        assert_eq!(merged, both);
    }

    #[test]
    fn what_is_too_long_counts_in_the_last_bucket() {
        let mut hist = Histogram::default();
        hist.record(Nanos(u64::MAX));
        assert_eq!(hist.count(), 1);
        assert_eq!(hist.buckets().count(), 1);
        assert_eq!(hist.max(), Nanos(u64::MAX));
    }
}
