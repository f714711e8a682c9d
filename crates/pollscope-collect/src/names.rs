//! Names by number: strings, callsites and keys as the session's tables hold them, kept once read. Tables only
//! grow, so what was read once stays right.

use pollscope_model::event::{Callsite, Location};
use pollscope_wire::layout::Section;
use pollscope_wire::reader::{Key, SessionFiles};
use std::collections::HashMap;
use std::sync::Arc;

/// Texts kept at most: as many as a session's arena can hold.
const KEPT: usize = 64 * 1024;

#[derive(Default)]
pub(crate) struct Names {
    strings: HashMap<u32, Arc<str>>,
    callsites: HashMap<u32, Arc<Callsite>>,
    keys: HashMap<u32, Arc<KeyNames>>,
    runtimes: HashMap<u32, Arc<str>>,
}

/// A row key with its texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct KeyNames {
    pub location: Location,
    pub name: Option<Arc<str>>,
    pub future: Arc<str>,
    pub runtime: u32,
}

impl Names {
    pub fn string(&mut self, files: &SessionFiles, id: u32) -> Arc<str> {
        if let Some(text) = self.strings.get(&id) {
            return text.clone();
        }
        let text: Arc<str> = match files.string(id) {
            Ok(text) => text.into(),
            // A number that names nothing: shown as such, not kept, since it may come to be.
            Err(_) => return format!("string-{id}").into(),
        };
        if self.strings.len() < KEPT {
            self.strings.insert(id, text.clone());
        }
        text
    }

    pub fn callsite(&mut self, files: &SessionFiles, id: u32, name: u32) -> Arc<Callsite> {
        let found = match self.callsites.get(&id) {
            Some(callsite) => callsite.clone(),
            None => self.read_callsite(files, id),
        };
        if name == 0 {
            return found;
        }
        let name = self.string(files, name);
        Arc::new(Callsite { name, ..(*found).clone() })
    }

    fn read_callsite(&mut self, files: &SessionFiles, id: u32) -> Arc<Callsite> {
        let used = files.used(Section::Callsites).unwrap_or(0);
        let read = if id == 0 || id as u64 >= used { None } else { files.callsite(id).ok() };
        let Some(raw) = read else { return Arc::default() };
        let callsite = Arc::new(Callsite {
            name: self.string(files, raw.name),
            target: self.string(files, raw.target),
            location: Location { file: self.string(files, raw.file), line: raw.line, column: raw.column },
            severity: raw.severity,
        });
        if self.callsites.len() < KEPT {
            self.callsites.insert(id, callsite.clone());
        }
        callsite
    }

    pub fn key(&mut self, files: &SessionFiles, id: u32) -> Arc<KeyNames> {
        if let Some(key) = self.keys.get(&id) {
            return key.clone();
        }
        let used = files.used(Section::Keys).unwrap_or(0);
        let read: Option<Key> = if id == 0 || id as u64 >= used { None } else { files.key(id).ok() };
        let Some(raw) = read else { return Arc::default() };
        let key = Arc::new(KeyNames {
            location: self.callsite(files, raw.callsite, 0).location.clone(),
            name: (raw.name != 0).then(|| self.string(files, raw.name)),
            future: self.string(files, raw.future),
            runtime: raw.runtime,
        });
        if self.keys.len() < KEPT {
            self.keys.insert(id, key.clone());
        }
        key
    }

    /// A runtime's name; empty for none.
    pub fn runtime(&mut self, files: &SessionFiles, number: u32) -> Arc<str> {
        use pollscope_wire::layout::runtime as words;
        if number == 0 {
            return Arc::default();
        }
        if let Some(name) = self.runtimes.get(&number) {
            return name.clone();
        }
        let mut w = [0; words::WORDS];
        if files.entry(Section::Runtimes, number as u64, &mut w).is_err() {
            return Arc::default();
        }
        let name = self.string(files, w[words::NAME] as u32);
        // While a runtime is being built it has no name yet.
        if !name.is_empty() && self.runtimes.len() < KEPT {
            self.runtimes.insert(number, name.clone());
        }
        name
    }
}
