//! Counter rows, summed over threads: the exact half of what is known.

use super::SessionFiles;
use crate::hist::BUCKETS;
use crate::layout::{ChunkKind, row, unpack};
use std::collections::BTreeMap;
use std::io;

/// All rows of one key, summed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowSum {
    /// Threads that have a row of it.
    pub threads: u32,
    /// Sums, by the words of [`row`].
    pub sums: [u64; row::FIRST_HISTOGRAM],
    /// Entries of both histograms, by bucket.
    pub histograms: [Box<[u64; BUCKETS]>; 2],
}

impl Default for RowSum {
    fn default() -> Self {
        let empty = || Box::new([0; BUCKETS]);
        RowSum { threads: 0, sums: [0; row::FIRST_HISTOGRAM], histograms: [empty(), empty()] }
    }
}

impl RowSum {
    /// A sum: one of the words of [`row`] before its histograms.
    pub fn get(&self, word: usize) -> u64 {
        self.sums[word]
    }

    fn add(&mut self, words: &[u64]) {
        self.threads += 1;
        let add = |sum: &mut u64, word: &u64| *sum = sum.wrapping_add(*word);
        for (sum, word) in self.sums.iter_mut().zip(words).skip(row::KEY + 1) {
            add(sum, word);
        }
        for (histogram, first) in
            self.histograms.iter_mut().zip([row::FIRST_HISTOGRAM, row::SECOND_HISTOGRAM])
        {
            for (sum, word) in histogram.iter_mut().zip(&words[first..]) {
                add(sum, word);
            }
        }
    }
}

impl SessionFiles {
    /// The sums of all rows, by key. Each row has one writer and may move while it is read: each number is right
    /// by itself, and two of them may be a poll apart.
    pub fn rows(&mut self) -> io::Result<BTreeMap<u32, RowSum>> {
        let keys = crate::layout::SECTIONS.iter().find(|(kind, ..)| *kind == crate::layout::Section::Keys);
        let keys = keys.map_or(0, |(_, _, count)| *count as u32);
        let mut sums: BTreeMap<u32, RowSum> = BTreeMap::new();
        let mut words = vec![0; row::WORDS];
        for place in self.chunks()?.into_iter().filter(|place| place.kind == ChunkKind::Rows) {
            for index in 0..place.count {
                self.slot(&place, index, &mut words[..1])?;
                let (key, _) = unpack(words[row::KEY]);
                // Rows are made in order: the first unused one is followed by none.
                let Some(key) = key.checked_sub(1) else { break };
                if key < keys {
                    self.slot(&place, index, &mut words)?;
                    sums.entry(key).or_default().add(&words);
                }
            }
        }
        Ok(sums)
    }
}
