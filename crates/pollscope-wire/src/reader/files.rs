//! The files of one session, and where in them things are.

use crate::layout::{
    ABI_MAJOR, BLOCK_BYTES, ENDIAN_TAG, HEADER_BYTES, MAGIC, RingKind, SECTIONS, Section, head, header,
    section, thread, unpack,
};
use crate::ring::{MAX_BLOCKS, RingReader, RingSource};
use crate::sys;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Files of slots or rings kept open for one session at most.
const MAX_FILES: usize = 1024;

/// How many times more entries than this version's a section may have; what is beyond is not read.
const LARGER: u64 = 8;

/// Why a directory cannot be read as a session.
#[derive(Debug)]
pub enum OpenError {
    /// A file cannot be opened or read.
    Io(&'static str, io::Error),
    /// `control` does not begin as it should.
    NotASession,
    /// Written on a machine of the other byte order.
    Endian,
    /// Written by a newer major version.
    Newer {
        /// Theirs.
        major: u16,
        /// Theirs.
        minor: u16,
    },
    /// A section lies outside the file, or its entries are smaller than this version's.
    Damaged(&'static str),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Io(name, error) => write!(f, "cannot read `{name}`: {error}"),
            OpenError::NotASession => write!(f, "`control` is not a pollscope session's"),
            OpenError::Endian => write!(f, "it was written on a machine of the other byte order"),
            OpenError::Newer { major, minor } => {
                write!(f, "it is of version {major}.{minor}, this program reads {ABI_MAJOR}: use a newer one")
            }
            OpenError::Damaged(what) => write!(f, "`control` is damaged: {what}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// `control`'s header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Version.
    pub version: (u16, u16),
    /// Session id.
    pub id: u128,
    /// [`crate::layout::State`] as a number.
    pub state: u32,
    /// [`crate::layout::ClockKind`] as a number.
    pub clock: u32,
    /// Tick at the start.
    pub start_tick: u64,
    /// CLOCK_MONOTONIC at the start.
    pub start_monotonic: u64,
    /// CLOCK_REALTIME at the start.
    pub start_realtime: u64,
    /// CLOCK_BOOTTIME at the start.
    pub start_boottime: u64,
    /// Pid in the service's namespace.
    pub pid: u32,
    /// Uid of the service.
    pub uid: u32,
    /// Start time of the process.
    pub process_start: u64,
    /// Tick of the end, 0 running.
    pub end_tick: u64,
    /// Slow poll threshold, ns.
    pub slow_poll_ns: u64,
    /// Bytes of rings for a worker, at most.
    pub worker_ring_bytes: u64,
    /// Seed of its ids.
    pub seed: u64,
}

/// Where a section lies in `control`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionPlace {
    /// Bytes from the file's start.
    pub offset: u64,
    /// Bytes of an entry.
    pub stride: u64,
    /// Entries.
    pub count: u64,
    index: usize,
}

/// Where a ring lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingPlace {
    /// `rings-NNN`.
    pub file: u32,
    /// Bytes from that file's start.
    pub offset: u64,
    /// Blocks.
    pub blocks: u64,
}

/// The files of one session.
pub struct SessionFiles {
    path: PathBuf,
    dir: File,
    control: File,
    sections: HashMap<u32, SectionPlace>,
    slots: HashMap<u32, File>,
    rings: HashMap<u32, File>,
}

impl SessionFiles {
    /// Opens a session directory.
    pub fn open(path: &Path) -> Result<SessionFiles, OpenError> {
        let dir = sys::open_dir(path).map_err(|error| OpenError::Io(".", error))?;
        let control =
            sys::open_in(&dir, "control", false).map_err(|error| OpenError::Io("control", error))?;
        let mut files = SessionFiles {
            path: path.to_owned(),
            dir,
            control,
            sections: HashMap::new(),
            slots: HashMap::new(),
            rings: HashMap::new(),
        };
        files.read_sections()?;
        Ok(files)
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its directory, opened.
    pub fn dir(&self) -> &File {
        &self.dir
    }

    /// `control`, opened for reading.
    pub fn control(&self) -> &File {
        &self.control
    }

    fn header_words(&self) -> Result<Vec<u64>, OpenError> {
        let mut words = vec![0; HEADER_BYTES / 8];
        match sys::read_words(&self.control, &mut words, 0) {
            Ok(()) => Ok(words),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(OpenError::NotASession),
            Err(error) => Err(OpenError::Io("control", error)),
        }
    }

    /// Reads the header as it is now.
    pub fn header(&self) -> Result<Header, OpenError> {
        let w = self.header_words()?;
        if w[header::MAGIC] != MAGIC {
            let swapped = w[header::MAGIC].swap_bytes() == MAGIC;
            return Err(if swapped { OpenError::Endian } else { OpenError::NotASession });
        }
        let (tag, version) = unpack(w[header::VERSION]);
        if tag != ENDIAN_TAG {
            return Err(OpenError::Endian);
        }
        let (major, minor) = (version as u16, (version >> 16) as u16);
        if major > ABI_MAJOR {
            return Err(OpenError::Newer { major, minor });
        }
        let (state, clock) = unpack(w[header::STATE]);
        let (pid, uid) = unpack(w[header::PID]);
        Ok(Header {
            version: (major, minor),
            id: (w[header::SESSION_ID + 1] as u128) << 64 | w[header::SESSION_ID] as u128,
            state,
            clock,
            start_tick: w[header::START_TICK],
            start_monotonic: w[header::START_MONOTONIC],
            start_realtime: w[header::START_REALTIME],
            start_boottime: w[header::START_BOOTTIME],
            pid,
            uid,
            process_start: w[header::PROCESS_START],
            end_tick: w[header::END_TICK],
            slow_poll_ns: w[header::SLOW_POLL_NS],
            worker_ring_bytes: w[header::WORKER_RING_BYTES],
            seed: w[header::SEED],
        })
    }

    fn read_sections(&mut self) -> Result<(), OpenError> {
        self.header()?;
        let w = self.header_words()?;
        let bytes = self.control.metadata().map_err(|error| OpenError::Io("control", error))?.len();
        let room = (w.len() - header::FIRST_SECTION) / section::WORDS;
        let count = (w[header::SECTIONS] as usize).min(room);
        for index in 0..count {
            let at = header::FIRST_SECTION + index * section::WORDS;
            let (kind, stride) = unpack(w[at + section::KIND]);
            let place = SectionPlace {
                offset: w[at + section::OFFSET],
                stride: stride as u64,
                count: w[at + section::COUNT],
                index,
            };
            let known = SECTIONS.iter().find(|(known, _, _)| *known as u32 == kind);
            let Some((_, own_stride, own_count)) = known else { continue };
            let length = place.stride.checked_mul(place.count);
            let end = length.and_then(|length| length.checked_add(place.offset));
            if !place.offset.is_multiple_of(8) || end.is_none_or(|end| end > bytes) {
                return Err(OpenError::Damaged("a section lies outside the file"));
            }
            if place.stride < *own_stride as u64 || !place.stride.is_multiple_of(8) {
                return Err(OpenError::Damaged("a section's entries are too small"));
            }
            // A file may be sparse and claim any number: a later version's may be larger, within reason.
            let count = place.count.min(*own_count as u64 * LARGER);
            self.sections.insert(kind, SectionPlace { count, ..place });
        }
        if SECTIONS.iter().any(|(kind, _, _)| !self.sections.contains_key(&(*kind as u32))) {
            return Err(OpenError::Damaged("a section is missing"));
        }
        Ok(())
    }

    /// Where a section lies. Opening has checked that it is there and within the file.
    pub fn section(&self, kind: Section) -> SectionPlace {
        self.sections[&(kind as u32)]
    }

    /// Entries of a section in use, at most as many as there is room for.
    pub fn used(&self, kind: Section) -> io::Result<u64> {
        let place = self.section(kind);
        let at = (header::FIRST_SECTION + place.index * section::WORDS + section::USED) * 8;
        let mut word = [0];
        sys::read_words(&self.control, &mut word, at as u64)?;
        std::sync::atomic::fence(std::sync::atomic::Ordering::Acquire);
        Ok(word[0].min(place.count))
    }

    /// Reads the first words of entry `index` of a section.
    pub fn entry(&self, kind: Section, index: u64, words: &mut [u64]) -> io::Result<()> {
        let place = self.section(kind);
        if index >= place.count || words.len() as u64 * 8 > place.stride {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        sys::read_words(&self.control, words, place.offset + index * place.stride)
    }

    /// Reads whole entries, from `first` on, as many as fit into `words`.
    pub fn entries(&self, kind: Section, first: u64, words: &mut [u64]) -> io::Result<()> {
        let place = self.section(kind);
        let last = first.saturating_add((words.len() as u64 * 8).div_ceil(place.stride));
        if last > place.count {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        sys::read_words(&self.control, words, place.offset + first * place.stride)
    }

    fn file<'a>(
        dir: &File,
        files: &'a mut HashMap<u32, File>,
        stem: &str,
        number: u32,
    ) -> io::Result<&'a File> {
        let full = files.len() >= MAX_FILES;
        match files.entry(number) {
            std::collections::hash_map::Entry::Occupied(file) => Ok(file.into_mut()),
            std::collections::hash_map::Entry::Vacant(_) if full => {
                Err(io::Error::other("the session has more files than any service makes"))
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                Ok(place.insert(sys::open_in(dir, &format!("{stem}-{number:03}"), false)?))
            }
        }
    }

    /// A `slots-NNN` file.
    pub fn slots_file(&mut self, number: u32) -> io::Result<&File> {
        Self::file(&self.dir, &mut self.slots, "slots", number)
    }

    /// The source for reading a ring of the thread in `slot`: checks that the ring lies within its file.
    pub fn ring(&mut self, slot: u64, which: RingKind, place: RingPlace) -> io::Result<PreadRing<'_>> {
        let threads = self.section(Section::Threads);
        if slot >= threads.count {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let words = thread::HEADS + which as usize * thread::HEAD_WORDS;
        let heads = threads.offset + slot * threads.stride + words as u64 * 8;
        let file = Self::file(&self.dir, &mut self.rings, "rings", place.file)?;
        let end = place.blocks.checked_mul(BLOCK_BYTES).and_then(|bytes| bytes.checked_add(place.offset));
        let fits = end.is_some_and(|end| file.metadata().is_ok_and(|meta| end <= meta.len()));
        let sized = (2..=MAX_BLOCKS).contains(&place.blocks);
        if !fits || !sized || !place.offset.is_multiple_of(8) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a ring lies outside its file"));
        }
        Ok(PreadRing { control: &self.control, file, heads, offset: place.offset })
    }

    /// A reader for a ring of this place, from its very beginning.
    pub fn ring_reader(place: RingPlace) -> RingReader {
        RingReader::new(place.blocks)
    }
}

/// A ring, read by `pread`.
pub struct PreadRing<'a> {
    control: &'a File,
    file: &'a File,
    heads: u64,
    offset: u64,
}

/// Words that are read whole: a cache line of its own, so that the kernel's copy never crosses a page.
#[repr(align(64))]
struct Line([u64; 8]);

impl PreadRing<'_> {
    fn pair(&self, word: usize) -> io::Result<(u64, u64)> {
        let mut line = Line([0; 8]);
        sys::read_words(self.control, &mut line.0[..2], self.heads + word as u64 * 8)?;
        Ok((line.0[0], line.0[1]))
    }
}

impl RingSource for PreadRing<'_> {
    fn head(&mut self) -> io::Result<(u64, u64)> {
        self.pair(head::HEAD)
    }

    fn resv(&mut self) -> io::Result<(u64, u64)> {
        self.pair(head::RESV)
    }

    fn copy(&mut self, offset: usize, words: &mut [u64]) -> io::Result<()> {
        sys::read_words(self.file, words, self.offset + offset as u64 * 8)
    }
}
