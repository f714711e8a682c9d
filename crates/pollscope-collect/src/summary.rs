//! All that stands in a directory, read once and counted: what a test of hostile input asks for.

use crate::collector::{Collector, Notice, Options};
use std::path::Path;

/// Rounds at most: a directory that still has more to say then is being written to.
const ROUNDS: usize = 256;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Sessions that could be read.
    pub sessions: usize,
    /// Directories refused, and why.
    pub refused: Vec<String>,
    /// Events of all kinds.
    pub events: u64,
    /// Records read.
    pub records: u64,
    /// Records overwritten before they were read.
    pub lost: u64,
}

/// Reads everything in a directory of sessions, slots and words too. Whatever stands there, it returns.
pub fn read_everything(dir: &Path) -> Summary {
    let mut collector = Collector::new(Options { dirs: vec![dir.to_owned()], ..Options::default() });
    let mut summary = Summary::default();
    for notice in collector.discover() {
        if let Notice::Refused(_, why) = notice {
            summary.refused.push(why);
        }
    }
    for _ in 0..ROUNDS {
        let round = collector.round(&mut |_, _| summary.events += 1);
        summary.records = summary.records.saturating_add(round.records);
        summary.lost = summary.lost.saturating_add(round.lost);
        if !round.more {
            break;
        }
    }
    collector.slots(&mut |_, _| summary.events += 1);
    collector.watch();
    collector.positions();
    summary.sessions = collector.sessions().len();
    summary
}
