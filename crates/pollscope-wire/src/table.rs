//! Tables in `control` that only grow: strings, callsites, keys. Private maps find what is there; shared words
//! only tell. An entry's bytes are stored before the count that shows it.

use crate::layout::{LONGEST_TEXT, Section, callsite, key, pack, section};
use crate::session::Control;
use std::collections::HashMap;
use std::sync::atomic::Ordering;

/// A place in the source with names, as it is interned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallsiteDef<'a> {
    /// 1 location (spawn, job), 2 span, 3 event.
    pub kind: u8,
    /// Name, empty for a location.
    pub name: &'a str,
    /// Target.
    pub target: &'a str,
    /// File.
    pub file: &'a str,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// OpenTelemetry's severity number.
    pub severity: u8,
}

/// What a counter row counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyDef {
    /// [`crate::layout::RowKind`] as a number.
    pub kind: u8,
    /// Runtime number.
    pub runtime: u32,
    /// Callsite or location.
    pub callsite: u32,
    /// Name string, 0 none.
    pub name: u32,
    /// Future type string, 0 none.
    pub future: u32,
    /// Kind of task or span.
    pub what: u32,
}

/// The tables' private half, behind the session's lock.
#[derive(Default)]
pub(crate) struct Tables {
    strings: HashMap<Box<str>, u32>,
    callsites: HashMap<(u8, u32, u32, u32, u32, u32), u32>,
    keys: HashMap<KeyDef, u32>,
    string_words: usize,
}

impl Tables {
    /// The id of a string; `None` when the arena is full.
    pub fn string(&mut self, control: &Control, text: &str) -> Option<u32> {
        if text.is_empty() {
            return Some(0);
        }
        // Cut before it is looked up: what is cut alike is one string.
        let text = &text[..text.floor_char_boundary(LONGEST_TEXT)];
        if let Some(id) = self.strings.get(text) {
            return Some(*id);
        }
        let words = control.section(Section::Strings);
        // Word 0 is the empty string.
        let at = self.string_words.max(1);
        let end = at + 1 + text.len().div_ceil(8);
        if end > words.len() {
            return None;
        }
        store_bytes(&words[at..end], text.as_bytes());
        self.string_words = end;
        control.descriptor(Section::Strings)[section::USED].store(end as u64, Ordering::Release);
        self.strings.insert(text.into(), at as u32);
        Some(at as u32)
    }

    /// The id of a callsite, from 1; `None` when there is no room.
    pub fn callsite(&mut self, control: &Control, def: &CallsiteDef<'_>) -> Option<u32> {
        let name = self.string(control, def.name)?;
        let target = self.string(control, def.target)?;
        let file = self.string(control, def.file)?;
        let found = (def.kind, name, target, file, def.line, def.column);
        if let Some(id) = self.callsites.get(&found) {
            return Some(*id);
        }
        let id = self.callsites.len() + 1;
        let words = control.section(Section::Callsites);
        let entry = words.get(id * callsite::WORDS..(id + 1) * callsite::WORDS)?;
        entry[callsite::LINE].store(pack(def.line, def.column), Ordering::Relaxed);
        entry[callsite::FILE].store(pack(file, name), Ordering::Relaxed);
        let kinds = def.severity as u32 | (def.kind as u32) << 8;
        entry[callsite::TARGET].store(pack(target, kinds), Ordering::Relaxed);
        control.descriptor(Section::Callsites)[section::USED].store(id as u64 + 1, Ordering::Release);
        self.callsites.insert(found, id as u32);
        Some(id as u32)
    }

    /// The id of a row key, from 1; `None` when there is no room: it counts as key 0, `other`.
    pub fn key(&mut self, control: &Control, def: KeyDef) -> Option<u32> {
        if let Some(id) = self.keys.get(&def) {
            return Some(*id);
        }
        let id = self.keys.len() + 1;
        let words = control.section(Section::Keys);
        let entry = words.get(id * key::WORDS..(id + 1) * key::WORDS)?;
        entry[key::KIND].store(pack(def.kind as u32, def.runtime), Ordering::Relaxed);
        entry[key::CALLSITE].store(pack(def.callsite, def.name), Ordering::Relaxed);
        entry[key::TYPE].store(pack(def.future, def.what), Ordering::Relaxed);
        control.descriptor(Section::Keys)[section::USED].store(id as u64 + 1, Ordering::Release);
        self.keys.insert(def, id as u32);
        Some(id as u32)
    }
}

/// Stores a length and bytes: the form of every text in an arena.
pub(crate) fn store_bytes(words: &[std::sync::atomic::AtomicU64], bytes: &[u8]) {
    words[0].store(bytes.len() as u64, Ordering::Relaxed);
    for (word, chunk) in words[1..].iter().zip(bytes.chunks(8)) {
        let mut full = [0u8; 8];
        full[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_le_bytes(full), Ordering::Relaxed);
    }
}
