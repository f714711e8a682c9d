//! The N entries with the greatest keys: a bounded memory that does not depend on the order of arrival.

use std::collections::BTreeMap;

/// A map that keeps the `most` entries with the greatest keys. A key seen twice keeps its first value.
#[derive(Clone, Debug)]
pub(crate) struct Top<K, V> {
    most: usize,
    entries: BTreeMap<K, V>,
}

impl<K: Ord, V> Top<K, V> {
    pub(crate) fn new(most: usize) -> Self {
        Top { most, entries: BTreeMap::new() }
    }

    /// How many it keeps.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Whether an entry with this key would stay: lets the hot path skip making the value.
    pub(crate) fn takes(&self, key: &K) -> bool {
        self.most > 0
            && (self.entries.len() < self.most
                || self.entries.first_key_value().is_some_and(|(least, _)| key > least))
    }

    /// Puts an entry in; gives back what has to go for it (perhaps the entry itself).
    pub(crate) fn put(&mut self, key: K, value: V) -> Option<(K, V)> {
        if !self.takes(&key) {
            return Some((key, value));
        }
        self.entries.entry(key).or_insert(value);
        if self.entries.len() > self.most { self.entries.pop_first() } else { None }
    }

    /// Greatest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().rev()
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.values_mut()
    }

    pub(crate) fn range<R: std::ops::RangeBounds<K>>(
        &self,
        range: R,
    ) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.entries.range(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_stay_in_whatever_order_they_come() {
        let (mut up, mut down) = (Top::new(3), Top::new(3));
        for n in 0..10 {
            up.put(n, n * 10);
            down.put(9 - n, (9 - n) * 10);
        }
        let all = |top: &Top<i32, i32>| top.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>();
        assert_eq!(all(&up), [(9, 90), (8, 80), (7, 70)]);
        assert_eq!(all(&up), all(&down));
        assert!(!up.takes(&7) && up.takes(&10));
    }
}
