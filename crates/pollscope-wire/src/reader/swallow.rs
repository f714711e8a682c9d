//! Reads all of a session once and keeps nothing: the oracle for fuzzing. Whatever stands in the directory, it
//! comes back, within bounded time and memory.

use super::{OpenError, RingPlace, SessionFiles};
use crate::layout::{RINGS, Section};
use crate::record::{Raw, Record, name_text};
use crate::ring::RingReader;
use std::path::Path;

/// Blocks read in one call at most: a directory's rings may all claim the same file.
const MAX_BLOCKS: u64 = 1 << 14;
/// Slots and rows read at most.
const MAX_ENTRIES: u64 = 1 << 18;

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swallowed {
    /// Thread slots that were ever used.
    pub threads: u64,
    /// Rings within their files.
    pub rings: u64,
    /// Records of known kinds.
    pub records: u64,
    /// Records of unknown kinds, or too short for theirs.
    pub unknown: u64,
    /// Blocks without their position.
    pub damaged: u64,
    /// Texts, callsites, keys and facts.
    pub interned: u64,
    /// Task slots, span slots and rows.
    pub entries: u64,
    /// What could not be read.
    pub refused: u64,
    /// The bound was reached: not all was read.
    pub cut: bool,
}

/// Reads a directory as a session: header, tables, slots and all rings.
pub fn swallow(dir: &Path) -> Result<Swallowed, OpenError> {
    let mut files = SessionFiles::open(dir)?;
    files.header()?;
    let mut told = Swallowed::default();
    tables(&files, &mut told);
    entries(&mut files, &mut told);
    note(&mut told, files.rows());
    rings(&mut files, &mut told);
    let _ = super::looks_dead(dir);
    Ok(told)
}

fn note<T, E>(told: &mut Swallowed, result: Result<T, E>) -> Option<T> {
    told.refused += result.is_err() as u64;
    result.ok()
}

fn tables(files: &SessionFiles, told: &mut Swallowed) {
    if let Some(info) = note(told, files.info()) {
        told.interned += info.len() as u64;
    }
    note(told, files.counters());
    if let Some(modules) = note(told, files.modules()) {
        told.interned += modules.len() as u64;
    }
    for id in 0..files.used(Section::Callsites).unwrap_or(0) as u32 {
        if let Some(callsite) = note(told, files.callsite(id)) {
            told.interned += 1;
            for string in [callsite.name, callsite.file, callsite.target] {
                note(told, files.string(string));
            }
        }
    }
    for id in 0..files.used(Section::Keys).unwrap_or(0) as u32 {
        if let Some(key) = note(told, files.key(id)) {
            told.interned += 1;
            note(told, files.string(key.name));
            note(told, files.string(key.future));
        }
    }
}

fn entries(files: &mut SessionFiles, told: &mut Swallowed) {
    for chunk in note(told, files.chunks()).unwrap_or_default() {
        let mut words = vec![0; chunk.kind.words()];
        for index in 0..chunk.count {
            if told.entries >= MAX_ENTRIES {
                told.cut = true;
                return;
            }
            if note(told, files.slot(&chunk, index, &mut words)).is_none() {
                break;
            }
            told.entries += 1;
        }
    }
}

fn rings(files: &mut SessionFiles, told: &mut Swallowed) {
    let mut blocks = 0;
    for slot in 0..files.used(Section::Threads).unwrap_or(0) {
        let Some(thread) = note(told, files.thread(slot)) else { continue };
        if thread.writer == 0 {
            // Taken, and nobody has registered in it yet.
            continue;
        }
        told.threads += 1;
        for (which, place) in RINGS.into_iter().zip(thread.rings) {
            blocks += place.blocks.min(MAX_BLOCKS + 1);
            if blocks > MAX_BLOCKS {
                told.cut = true;
                blocks -= place.blocks.min(MAX_BLOCKS + 1);
                continue;
            }
            ring(files, slot, which, place, told);
        }
    }
}

fn ring(
    files: &mut SessionFiles,
    slot: u64,
    which: crate::layout::RingKind,
    place: RingPlace,
    told: &mut Swallowed,
) {
    let mut reader = RingReader::new(place.blocks);
    let take = |raw: Raw<'_>, told: &mut Swallowed| {
        match Record::decode(&raw) {
            Record::Unknown => told.unknown += 1,
            Record::Thread { name, .. } => told.records += !name_text(&name).is_empty() as u64,
            _ => told.records += 1,
        };
    };
    // A live head may move on while it is read: one lap is enough.
    for pass in 0..=place.blocks {
        let source = files.ring(slot, which, place);
        let Some(mut source) = note(told, source) else { return };
        told.rings += (pass == 0) as u64;
        let batch = reader.read(&mut source, |_, raw| take(raw, told));
        let Some(batch) = note(told, batch) else { return };
        told.damaged += batch.damaged;
        if !batch.more {
            return;
        }
    }
    told.cut = true;
}
