//! What stands in `control`'s tables.

use super::files::{RingPlace, SessionFiles};
use crate::layout::{ChunkKind, RINGS, Section, callsite, chunk, key, module, thread, unpack};
use crate::modules::{LONGEST_BUILD_ID, Module};
use crate::record::name_text;
use crate::seq::{self, Copied};
use crate::session::InfoValue;
use std::io;

/// The longest string in an arena, bytes.
const LONGEST: u64 = crate::layout::LONGEST_TEXT as u64;

/// A callsite or location, its texts as string ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Callsite {
    /// 1 location, 2 span, 3 event.
    pub kind: u8,
    /// OpenTelemetry's severity number.
    pub severity: u8,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
    /// String.
    pub file: u32,
    /// String.
    pub name: u32,
    /// String.
    pub target: u32,
}

/// A row key, its texts as string ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// [`crate::layout::RowKind`] as a number.
    pub kind: u8,
    /// Its rows do not hold all.
    pub partial: bool,
    /// Runtime number.
    pub runtime: u32,
    /// Callsite.
    pub callsite: u32,
    /// String, 0 none.
    pub name: u32,
    /// String, 0 none.
    pub future: u32,
    /// Kind of task or span.
    pub what: u32,
}

/// A thread slot's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadSlot {
    /// Its owner's writer id; 0 never used.
    pub writer: u64,
    /// The owner lives.
    pub live: bool,
    /// The kernel's thread id.
    pub os_id: u32,
    /// Kind as in [`crate::session::Registration`].
    pub kind: u8,
    /// Worker index.
    pub worker: Option<u16>,
    /// Runtime number, 0 none.
    pub runtime: u32,
    /// Tick.
    pub registered: u64,
    /// Tick, 0 live.
    pub retired: u64,
    /// Name, at most 32 bytes.
    pub name: String,
    /// Events after retirement.
    pub late: u64,
    /// Its rings: span, poll, sample.
    pub rings: [RingPlace; RINGS.len()],
    /// Read while it was written.
    pub moving: bool,
}

/// A `slots-NNN` file's place in the numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkPlace {
    /// What it holds.
    pub kind: ChunkKind,
    /// `slots-NNN`.
    pub file: u32,
    /// Number of its first entry.
    pub first: u32,
    /// Entries.
    pub count: u32,
    /// Bytes of an entry.
    pub stride: u32,
}

/// One thing that a service says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// A resource attribute; else a fact.
    pub resource: bool,
    /// Key.
    pub key: String,
    /// Value.
    pub value: InfoValue,
}

impl SessionFiles {
    /// Reads an interned string. What is no UTF-8 is replaced; an id that names none is an error.
    pub fn string(&self, id: u32) -> io::Result<String> {
        if id == 0 {
            return Ok(String::new());
        }
        let used = self.used(Section::Strings)?;
        self.text_at(Section::Strings, id as u64, used).map(|(text, _)| text)
    }

    /// A text in an arena, and the word after it.
    fn text_at(&self, kind: Section, at: u64, used: u64) -> io::Result<(String, u64)> {
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "a text lies outside its arena");
        if at >= used {
            return Err(bad());
        }
        let mut length = [0];
        self.entry(kind, at, &mut length)?;
        let words = length[0].div_ceil(8);
        let end = at + 1 + words;
        if length[0] > LONGEST || end > used {
            return Err(bad());
        }
        let mut text = vec![0u64; words as usize];
        self.entries(kind, at + 1, &mut text)?;
        let mut bytes: Vec<u8> = text.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.truncate(length[0] as usize);
        Ok((String::from_utf8_lossy(&bytes).into_owned(), end))
    }

    /// Reads a callsite.
    pub fn callsite(&self, id: u32) -> io::Result<Callsite> {
        let mut w = [0; callsite::WORDS];
        self.entry(Section::Callsites, id as u64, &mut w)?;
        let (line, column) = unpack(w[callsite::LINE]);
        let (file, name) = unpack(w[callsite::FILE]);
        let (target, kinds) = unpack(w[callsite::TARGET]);
        Ok(Callsite { kind: (kinds >> 8) as u8, severity: kinds as u8, line, column, file, name, target })
    }

    /// Reads a row key.
    pub fn key(&self, id: u32) -> io::Result<Key> {
        let mut w = [0; key::WORDS];
        self.entry(Section::Keys, id as u64, &mut w)?;
        let (kinds, runtime) = unpack(w[key::KIND]);
        let (callsite, name) = unpack(w[key::CALLSITE]);
        let (future, what) = unpack(w[key::TYPE]);
        let partial = (kinds >> 8) as u8 != 0;
        Ok(Key { kind: kinds as u8, partial, runtime, callsite, name, future, what })
    }

    /// The modules that the service has told of; one whose path cannot be read has none.
    pub fn modules(&self) -> io::Result<Vec<Module>> {
        let used = self.used(Section::Modules)?;
        let mut modules = Vec::new();
        for index in 0..used {
            let mut w = [0; module::WORDS];
            self.entry(Section::Modules, index, &mut w)?;
            let (length, path) = unpack(w[module::BUILD_ID_LEN]);
            let id = w[module::BUILD_ID..].iter().flat_map(|word| word.to_ne_bytes());
            modules.push(Module {
                base: w[module::BASE],
                end: w[module::END],
                path: self.string(path).unwrap_or_default(),
                build_id: id.take((length as usize).min(LONGEST_BUILD_ID)).collect(),
            });
        }
        Ok(modules)
    }

    /// Reads a thread slot.
    pub fn thread(&self, slot: u64) -> io::Result<ThreadSlot> {
        let mut w = [0; thread::HEADS];
        let copied = seq::read(
            || {
                let mut word = [0];
                self.entry(Section::Threads, slot, &mut word).map(|()| word[0])
            },
            || self.entry(Section::Threads, slot, &mut w),
        )?;
        let (os_id, kinds) = unpack(w[thread::OS_ID]);
        let worker = (kinds >> 8) as u16;
        let name: [u64; 4] = std::array::from_fn(|i| w[thread::NAME + i]);
        Ok(ThreadSlot {
            writer: w[thread::WRITER],
            live: w[thread::STATE] == 1,
            os_id,
            kind: kinds as u8,
            worker: worker.checked_sub(1),
            runtime: w[thread::RUNTIME] as u32,
            registered: w[thread::REGISTERED],
            retired: w[thread::RETIRED],
            name: name_text(&name),
            late: w[thread::LATE],
            rings: std::array::from_fn(|i| {
                let at = thread::RINGS + i * thread::RING_WORDS;
                RingPlace { file: w[at] as u32, offset: w[at + 1], blocks: w[at + 2] }
            }),
            moving: copied == Copied::Moving,
        })
    }

    /// The chunks there are; what is of no known kind or too small for it is left out.
    pub fn chunks(&self) -> io::Result<Vec<ChunkPlace>> {
        let used = self.used(Section::Chunks)?;
        let mut chunks = Vec::new();
        for index in 0..used {
            let mut w = [0; chunk::WORDS];
            self.entry(Section::Chunks, index, &mut w)?;
            let (kind, file) = unpack(w[chunk::KIND]);
            let (count, stride) = unpack(w[chunk::COUNT]);
            let known = [ChunkKind::Tasks, ChunkKind::Spans, ChunkKind::Rows];
            let Some(kind) = known.into_iter().find(|known| *known as u32 == kind) else { continue };
            let small = (stride as usize) < kind.words() * 8 || !stride.is_multiple_of(8);
            let large = count as u64 * stride as u64 > crate::layout::CHUNK_BYTES as u64;
            if small || large {
                continue;
            }
            chunks.push(ChunkPlace { kind, file, first: w[chunk::FIRST] as u32, count, stride });
        }
        Ok(chunks)
    }

    /// Reads the first words of entry `index` of a chunk.
    pub fn slot(&mut self, place: &ChunkPlace, index: u32, words: &mut [u64]) -> io::Result<()> {
        if index >= place.count || words.len() * 8 > place.stride as usize {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let offset = index as u64 * place.stride as u64;
        crate::sys::read_words(self.slots_file(place.file)?, words, offset)
    }

    /// Reads many whole entries of a chunk at once, from `index` on.
    pub fn slots(&mut self, place: &ChunkPlace, index: u32, words: &mut [u64]) -> io::Result<()> {
        let entries = (words.len() * 8).div_ceil(place.stride as usize) as u64;
        if index as u64 + entries > place.count as u64 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let offset = index as u64 * place.stride as u64;
        crate::sys::read_words(self.slots_file(place.file)?, words, offset)
    }

    /// All that the service says of itself, as far as it can be read.
    pub fn info(&self) -> io::Result<Vec<Info>> {
        let used = self.used(Section::Info)?;
        let mut infos = Vec::new();
        let mut at = 0;
        while at < used {
            let mut first = [0];
            self.entry(Section::Info, at, &mut first)?;
            let (key, next) = self.text_at(Section::Info, at + 1, used)?;
            let (text, next) = self.text_at(Section::Info, next, used)?;
            let value = match first[0] as u8 {
                1 => text.parse().map(InfoValue::I64).unwrap_or(InfoValue::Str(text)),
                3 => text.parse().map(InfoValue::F64).unwrap_or(InfoValue::Str(text)),
                4 => InfoValue::Bool(text == "true"),
                _ => InfoValue::Str(text),
            };
            infos.push(Info { resource: first[0] >> 8 & 1 == 1, key, value });
            at = next;
        }
        Ok(infos)
    }

    /// Session counters, in the order of [`crate::layout::Counter::NAMES`].
    pub fn counters(&self) -> io::Result<[u64; crate::layout::Counter::NAMES.len()]> {
        let mut words = [0; crate::layout::Counter::NAMES.len()];
        if self.section(Section::Counters).stride == 8 {
            self.entries(Section::Counters, 0, &mut words)?;
            return Ok(words);
        }
        // A later version's entries may be longer: by how much is the file's word, and nothing to make room by.
        for (index, word) in words.iter_mut().enumerate() {
            self.entry(Section::Counters, index as u64, std::slice::from_mut(word))?;
        }
        Ok(words)
    }
}
