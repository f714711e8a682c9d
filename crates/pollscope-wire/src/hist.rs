//! Log-linear histograms of ticks: 8 buckets an octave, so a bucket's middle is within 7 % of any value in it.

/// Buckets in one histogram: values up to 2^42 ticks (24 minutes at 3 GHz); what is longer counts in the last.
pub const BUCKETS: usize = 320;

/// The bucket that `value` counts in.
#[inline]
pub fn bucket(value: u64) -> usize {
    if value < 8 {
        return value as usize;
    }
    let octave = 63 - value.leading_zeros() as usize;
    let eighth = (value >> (octave - 3)) as usize & 7;
    ((octave - 2) * 8 + eighth).min(BUCKETS - 1)
}

/// The smallest value of a bucket.
pub fn lower_bound(bucket: usize) -> u64 {
    if bucket < 8 {
        return bucket as u64;
    }
    let octave = bucket / 8 + 2;
    (8 + (bucket % 8) as u64) << (octave - 3)
}

/// The value that stands for all of a bucket: its middle.
pub fn middle(bucket: usize) -> u64 {
    let low = lower_bound(bucket);
    low + (lower_bound(bucket + 1) - low) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_stands_for_its_values_within_seven_percent() {
        let mut value = 1u64;
        while value < 1 << 42 {
            for v in [value, value + value / 3, value + value / 7] {
                let b = bucket(v);
                assert!(lower_bound(b) <= v && (v < lower_bound(b + 1) || b == BUCKETS - 1), "{v}");
                let error = middle(b).abs_diff(v) as f64 / v as f64;
                assert!(error <= 0.07, "{v} reads as {}: {error}", middle(b));
            }
            value *= 2;
        }
    }

    #[test]
    fn what_is_too_long_counts_in_the_last_bucket() {
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket(0), 0);
    }
}
