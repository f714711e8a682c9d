//! The service's half of a session: its directory and files, made and grown on the cold path.
//!
//! Everything here that can grow stands behind one lock and is reached rarely: at a thread's first event, at a
//! task's first of its kind, when a pool of slots runs dry. What it hands out (rings, slots, rows) is used
//! without it. Private memory remembers what was given; shared memory is only written.

mod pool;
mod threads;

pub use pool::Pool;
pub use threads::{Registration, ThreadHandle};

use crate::layout::{
    ABI_MAJOR, ABI_MINOR, CONTROL_BYTES, ChunkKind, Counter, ENDIAN_TAG, HEADER_BYTES, MAGIC, SECTIONS,
    Section, State, chunk, header, module, pack, row, runtime, section, span, task,
};
use crate::modules::{LONGEST_BUILD_ID, Module};
use crate::table::{CallsiteDef, KeyDef, Tables, store_bytes};
use crate::{clock, map, place, request, sys};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Words of a task slot.
pub type TaskSlot = &'static [AtomicU64; task::WORDS];
/// Words of a span slot.
pub type SpanSlot = &'static [AtomicU64; span::WORDS];
/// Words of a counter row.
pub type Row = &'static [AtomicU64; row::WORDS];

/// A value in what the service says of itself.
#[derive(Clone, Debug, PartialEq)]
pub enum InfoValue {
    /// Text.
    Str(String),
    /// Integer.
    I64(i64),
    /// Double.
    F64(f64),
    /// Truth value.
    Bool(bool),
}

/// How to make a session.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory that holds sessions; it exists ([`place::prepare`]).
    pub place: PathBuf,
    /// Files are for this group too.
    pub group: Option<u32>,
    /// Task slots at most.
    pub max_tasks: u32,
    /// Counter rows at most.
    pub max_rows: u32,
    /// Threads at most.
    pub max_threads: u32,
    /// How large rings may be.
    pub rings: place::RingSizes,
    /// Poll time above which a poll counts as slow, ns.
    pub slow_poll_ns: u64,
    /// Resource attributes.
    pub resource: Vec<(String, InfoValue)>,
    /// Facts: exe, host name, container id.
    pub facts: Vec<(String, String)>,
}

/// The resource attribute that names the service.
const SERVICE_NAME: &str = "service.name";

impl Options {
    fn service(&self) -> &str {
        let named = self.resource.iter().find_map(|(key, value)| match value {
            InfoValue::Str(name) if key == SERVICE_NAME => Some(name.as_str()),
            _ => None,
        });
        named.unwrap_or_default()
    }
}

/// `control`, mapped.
pub struct Control {
    words: &'static [AtomicU64],
    offsets: [usize; SECTIONS.len()],
}

impl Control {
    fn new(words: &'static [AtomicU64]) -> Control {
        let mut offsets = [0; SECTIONS.len()];
        let mut offset = HEADER_BYTES;
        for (i, (kind, stride, count)) in SECTIONS.into_iter().enumerate() {
            offsets[i] = offset / 8;
            let at = header::FIRST_SECTION + i * section::WORDS;
            words[at + section::KIND].store(pack(kind as u32, stride as u32), Ordering::Relaxed);
            words[at + section::OFFSET].store(offset as u64, Ordering::Relaxed);
            words[at + section::COUNT].store(count as u64, Ordering::Relaxed);
            offset = (offset + stride * count).next_multiple_of(64);
        }
        words[header::SECTIONS].store(SECTIONS.len() as u64, Ordering::Relaxed);
        Control { words, offsets }
    }

    fn index(kind: Section) -> usize {
        SECTIONS.iter().position(|(other, _, _)| *other == kind).expect("every section stands in SECTIONS")
    }

    /// All words of a section.
    pub fn section(&self, kind: Section) -> &'static [AtomicU64] {
        let i = Self::index(kind);
        let start = self.offsets[i];
        &self.words[start..start + SECTIONS[i].1 * SECTIONS[i].2 / 8]
    }

    /// A section's descriptor.
    pub fn descriptor(&self, kind: Section) -> &'static [AtomicU64] {
        let at = header::FIRST_SECTION + Self::index(kind) * section::WORDS;
        &self.words[at..at + section::WORDS]
    }

    fn set(&self, word: usize, value: u64) {
        self.words[word].store(value, Ordering::Relaxed);
    }
}

struct Cold {
    tables: Tables,
    threads: threads::Threads,
    rows: HashMap<(u32, u32), Row>,
    row_count: u32,
    /// Shown rows: words of each chunk.
    row_chunks: Vec<&'static [AtomicU64]>,
    slot_files: u32,
    ring_files: u32,
    chunks: usize,
    runtimes: usize,
    modules: usize,
    info_words: usize,
    /// No file is made before this time (CLOCK_MONOTONIC): the last try failed.
    full_until: u64,
}

/// Nanoseconds between two tries to make a file where there was no room: each is a few calls, and every spawn would
/// make one.
const TRY_AGAIN: u64 = 1_000_000_000;

/// A session being written. Lives as long as its process.
pub struct Session {
    dir: PathBuf,
    id: u128,
    seed: u64,
    start_tick: u64,
    mode: u32,
    group: Option<u32>,
    max_rows: u32,
    max_threads: u32,
    rings: place::RingSizes,
    control: Control,
    tasks: Pool,
    spans: Pool,
    cold: Mutex<Cold>,
    /// Held open: closing any descriptor of it would drop the lock.
    _lock: File,
}

impl Session {
    /// Makes the directory as `.new-*`, takes its lock, fills it, and gives it its name.
    pub fn create(options: &Options) -> io::Result<&'static Session> {
        sys::clock_kind();
        let pair = clock::pair();
        let realtime = sys::realtime();
        let id = random()?;
        let name = format!("s-{}-{}-{:08x}", realtime / 1_000_000, std::process::id(), id as u32);
        let new = options.place.join(format!(".new-{name}"));
        let group = options.group.or_else(|| inherited_group(&options.place));
        let (dir_mode, mode) = if group.is_some() { (0o2750, 0o640) } else { (0o700, 0o600) };
        sys::make_dir(&new, dir_mode & 0o777, false)?;
        match Self::fill(options, &new, id, pair, realtime, group, (dir_mode, mode), &name) {
            Ok(session) => Ok(Box::leak(Box::new(session))),
            Err(error) => {
                let _ = fs::remove_dir_all(&new);
                Err(error)
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one caller; the second half of `create`")]
    fn fill(
        options: &Options,
        new: &Path,
        id: u128,
        pair: clock::Pair,
        realtime: u64,
        group: Option<u32>,
        (dir_mode, mode): (u32, u32),
        name: &str,
    ) -> io::Result<Session> {
        if let Some(gid) = group {
            let owner = sys::owner(&fs::metadata(new)?);
            if owner.gid != gid {
                sys::set_group(new, gid)?;
            }
            // For a user outside the group, setting the mode would clear the setgid bit that the parent gave.
            if owner.gid != gid || owner.mode & 0o7777 != dir_mode {
                sys::set_mode(new, dir_mode)?;
            }
        }
        let lock = sys::create_file(&new.join("lock"), mode)?;
        sys::lock_record(&lock)?;
        let control = Control::new(map::create(&new.join("control"), CONTROL_BYTES, mode)?);
        request::create(&new.join("request"), if group.is_some() { 0o660 } else { 0o600 })?;
        let seed = crate::ids::mix(id as u64 ^ (id >> 64) as u64);
        let version = pack(ENDIAN_TAG, ABI_MAJOR as u32 | (ABI_MINOR as u32) << 16);
        control.set(header::VERSION, version);
        control.set(header::SESSION_ID, id as u64);
        control.set(header::SESSION_ID + 1, (id >> 64) as u64);
        control.set(header::STATE, pack(State::Running as u32, sys::clock_kind() as u32));
        control.set(header::START_TICK, pair.tick);
        control.set(header::START_MONOTONIC, pair.monotonic);
        control.set(header::START_REALTIME, realtime);
        control.set(header::START_BOOTTIME, sys::boottime());
        control.set(header::PID, pack(std::process::id(), sys::uid()));
        control.set(header::PROCESS_START, sys::process_start(std::process::id()));
        control.set(header::SLOW_POLL_NS, options.slow_poll_ns);
        control.set(header::WORKER_RING_BYTES, options.rings.worker);
        control.set(header::SEED, seed);
        control.words[header::MAGIC].store(MAGIC, Ordering::Release);

        let dir = options.place.join(name);
        let session = Session {
            dir: dir.clone(),
            id,
            seed,
            start_tick: pair.tick,
            mode,
            group,
            max_rows: options.max_rows,
            max_threads: options.max_threads.min(crate::layout::MAX_THREADS as u32),
            rings: options.rings,
            control,
            tasks: Pool::new(ChunkKind::Tasks, options.max_tasks),
            spans: Pool::new(ChunkKind::Spans, options.max_tasks),
            cold: Mutex::new(Cold {
                tables: Tables::default(),
                threads: threads::Threads::default(),
                rows: HashMap::new(),
                row_count: 0,
                row_chunks: Vec::new(),
                slot_files: 0,
                ring_files: 0,
                chunks: 0,
                runtimes: 0,
                modules: 0,
                info_words: 0,
                full_until: 0,
            }),
            _lock: lock,
        };
        for (key, value) in &options.facts {
            session.info(false, key, &InfoValue::Str(value.clone()));
        }
        for (key, value) in &options.resource {
            session.info(true, key, value);
        }
        fs::rename(new, &dir)?;
        Ok(session)
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The group that may read it.
    pub fn group(&self) -> Option<u32> {
        self.group
    }

    /// Its id.
    pub fn id(&self) -> u128 {
        self.id
    }

    /// Seed of the OpenTelemetry ids that the service makes.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Tick at its start: words that hold ticks in 56 bits count from it.
    pub fn start_tick(&self) -> u64 {
        self.start_tick
    }

    /// Counts something that was refused, cut or late.
    #[cold]
    pub fn count(&self, counter: Counter) {
        self.control.section(Section::Counters)[counter as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// What a counter shows.
    pub fn counted(&self, counter: Counter) -> u64 {
        self.control.section(Section::Counters)[counter as usize].load(Ordering::Relaxed)
    }

    fn cold(&self) -> MutexGuard<'_, Cold> {
        self.cold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the session ends: `Closed` or `Panicked` by its guard, `Exited` at exit. The first word
    /// counts.
    pub fn end(&self, state: State) {
        let word = &self.control.words[header::STATE];
        let (now, clock) = crate::layout::unpack(word.load(Ordering::Relaxed));
        if now == State::Running as u32 {
            self.control.set(header::END_TICK, sys::tick());
            word.store(pack(state as u32, clock), Ordering::Release);
        }
    }

    /// Adds a fact or resource attribute; silently cut off when the section is full.
    pub fn info(&self, resource: bool, key: &str, value: &InfoValue) {
        let (ty, text) = match value {
            InfoValue::Str(text) => (0u64, text.clone()),
            InfoValue::I64(n) => (1, n.to_string()),
            InfoValue::F64(n) => (3, n.to_string()),
            InfoValue::Bool(b) => (4, b.to_string()),
        };
        let cut = |text: &str| text.floor_char_boundary(crate::layout::LONGEST_TEXT);
        let (key, text) = (&key[..cut(key)], &text[..cut(&text)]);
        let mut cold = self.cold();
        let words = self.control.section(Section::Info);
        let start = cold.info_words;
        let key_end = start + 2 + key.len().div_ceil(8);
        let end = key_end + 1 + text.len().div_ceil(8);
        if end > words.len() {
            self.count(Counter::StringsRefused);
            return;
        }
        words[start].store(ty | (resource as u64) << 8, Ordering::Relaxed);
        store_bytes(&words[start + 1..key_end], key.as_bytes());
        store_bytes(&words[key_end..end], text.as_bytes());
        cold.info_words = end;
        self.control.descriptor(Section::Info)[section::USED].store(end as u64, Ordering::Release);
    }

    /// Interns a string, at most 4 KiB of it; 0 is the empty one and the one that found no room.
    pub fn string(&self, text: &str) -> u32 {
        let found = self.cold().tables.string(&self.control, text);
        found.unwrap_or_else(|| self.refused(Counter::StringsRefused))
    }

    /// Interns a callsite; 0: it found no room.
    pub fn callsite(&self, def: &CallsiteDef<'_>) -> u32 {
        let found = self.cold().tables.callsite(&self.control, def);
        found.unwrap_or_else(|| self.refused(Counter::StringsRefused))
    }

    /// Interns a row key; 0 is `other`.
    pub fn key(&self, def: KeyDef) -> u32 {
        let found = self.cold().tables.key(&self.control, def);
        found.unwrap_or_else(|| self.refused(Counter::KeysRefused))
    }

    fn refused(&self, counter: Counter) -> u32 {
        self.count(counter);
        0
    }

    /// Tells of a loaded module; whether it found room.
    pub fn module(&self, told: &Module) -> bool {
        let mut cold = self.cold();
        let words = self.control.section(Section::Modules);
        let at = cold.modules * module::WORDS;
        let path = cold.tables.string(&self.control, &told.path);
        let (Some(entry), Some(path)) = (words.get(at..at + module::WORDS), path) else {
            self.count(Counter::StringsRefused);
            return false;
        };
        let build_id = &told.build_id[..told.build_id.len().min(LONGEST_BUILD_ID)];
        entry[module::BASE].store(told.base, Ordering::Relaxed);
        entry[module::END].store(told.end, Ordering::Relaxed);
        entry[module::BUILD_ID_LEN].store(pack(build_id.len() as u32, path), Ordering::Relaxed);
        for (word, bytes) in entry[module::BUILD_ID..].iter().zip(build_id.chunks(8)) {
            let mut full = [0; 8];
            full[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(full), Ordering::Relaxed);
        }
        cold.modules += 1;
        self.control.descriptor(Section::Modules)[section::USED]
            .store(cold.modules as u64, Ordering::Release);
        true
    }

    /// Registers a runtime; its number, from 1. 0: no room.
    pub fn runtime(&self, name: &str, multi_thread: bool, workers: u32) -> u32 {
        let mut cold = self.cold();
        let number = cold.runtimes + 1;
        let words = self.control.section(Section::Runtimes);
        let Some(entry) = words.get(number * runtime::WORDS..(number + 1) * runtime::WORDS) else { return 0 };
        let name = cold.tables.string(&self.control, name).unwrap_or(0);
        entry[runtime::FLAVOUR].store(pack(1 + multi_thread as u32, workers), Ordering::Relaxed);
        entry[runtime::NAME].store(name as u64, Ordering::Relaxed);
        entry[runtime::STATE].store(1, Ordering::Relaxed);
        self.control.descriptor(Section::Runtimes)[section::USED].store(number as u64 + 1, Ordering::Release);
        cold.runtimes = number;
        number as u32
    }

    /// The words of a runtime's entry.
    pub fn runtime_words(&self, number: u32) -> Option<&'static [AtomicU64]> {
        let words = self.control.section(Section::Runtimes);
        words.get(number as usize * runtime::WORDS..(number as usize + 1) * runtime::WORDS)
    }

    /// Pool of task slots.
    pub fn tasks(&self) -> &Pool {
        &self.tasks
    }

    /// Pool of span slots.
    pub fn spans(&self) -> &Pool {
        &self.spans
    }

    /// Takes up to `want` numbers of free slots into `out`; fewer when memory or the limit ends.
    pub fn take_slots(&self, pool: &Pool, want: usize, out: &mut Vec<u32>) {
        pool.take(want, out, |kind, first| self.grow(kind, first));
    }

    /// A task slot by number.
    pub fn task(&self, slot: u32) -> Option<TaskSlot> {
        self.tasks.words(slot)?.try_into().ok()
    }

    /// A span slot by number.
    pub fn span(&self, slot: u32) -> Option<SpanSlot> {
        self.spans.words(slot)?.try_into().ok()
    }

    /// The row of a key on a thread slot: found or made; `None` when rows have run out.
    pub fn row(&self, thread_slot: u32, key: u32) -> Option<Row> {
        let mut cold = self.cold();
        if let Some(row) = cold.rows.get(&(thread_slot, key)) {
            return Some(row);
        }
        let made = self.make_row(&mut cold, thread_slot, key);
        if made.is_none() {
            // From now on this key's sums are a part of the truth, for good.
            let entry = &self.control.section(Section::Keys)[key as usize * crate::layout::key::WORDS];
            entry.fetch_or(1 << 8, Ordering::Relaxed);
            self.count(Counter::RowsRefused);
        }
        made
    }

    fn make_row(&self, cold: &mut Cold, thread_slot: u32, key: u32) -> Option<Row> {
        if cold.row_count >= self.max_rows {
            return None;
        }
        let per = ChunkKind::Rows.per_chunk();
        let index = cold.row_count as usize;
        if index / per == cold.row_chunks.len() {
            let words = self.grow_locked(cold, ChunkKind::Rows, index as u32)?;
            cold.row_chunks.push(words);
        }
        let at = index % per * row::WORDS;
        let row: Row = cold.row_chunks[index / per][at..at + row::WORDS].try_into().ok()?;
        cold.row_count += 1;
        row[row::KEY].store(pack(key + 1, thread_slot), Ordering::Release);
        cold.rows.insert((thread_slot, key), row);
        Some(row)
    }

    fn grow(&self, kind: ChunkKind, first: u32) -> Option<&'static [AtomicU64]> {
        self.grow_locked(&mut self.cold(), kind, first)
    }

    /// Makes a file of the first of some sizes for which there is room.
    fn make_file(&self, cold: &mut Cold, path: &Path, sizes: &[usize]) -> Option<&'static [AtomicU64]> {
        let now = sys::monotonic();
        if now < cold.full_until {
            return None;
        }
        let made = sizes.iter().find_map(|bytes| map::create(path, *bytes, self.mode).ok());
        if made.is_none() {
            cold.full_until = now + TRY_AGAIN;
            self.count(Counter::FilesRefused);
        }
        made
    }

    /// Makes the next `slots-NNN` and shows it in the chunk table.
    fn grow_locked(&self, cold: &mut Cold, kind: ChunkKind, first: u32) -> Option<&'static [AtomicU64]> {
        let table = self.control.section(Section::Chunks);
        let entry = table.get(cold.chunks * chunk::WORDS..(cold.chunks + 1) * chunk::WORDS)?;
        let number = cold.slot_files;
        let path = self.dir.join(format!("slots-{number:03}"));
        let words = self.make_file(cold, &path, &[crate::layout::CHUNK_BYTES])?;
        cold.slot_files += 1;
        cold.chunks += 1;
        let stride = kind.words() * 8;
        entry[chunk::KIND].store(pack(kind as u32, number), Ordering::Relaxed);
        entry[chunk::FIRST].store(first as u64, Ordering::Relaxed);
        entry[chunk::COUNT].store(pack(kind.per_chunk() as u32, stride as u32), Ordering::Relaxed);
        self.control.descriptor(Section::Chunks)[section::USED].store(cold.chunks as u64, Ordering::Release);
        Some(words)
    }
}

/// The group that a setgid parent hands down.
fn inherited_group(place: &Path) -> Option<u32> {
    let owner = sys::owner(&fs::metadata(place).ok()?);
    (owner.mode & 0o2000 != 0).then_some(owner.gid)
}

fn random() -> io::Result<u128> {
    use io::Read;
    let mut bytes = [0u8; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u128::from_le_bytes(bytes).max(1))
}

/// Dead sessions of other services that a starting one leaves, the newest: their names may change with every build.
const OTHERS_KEPT: usize = 8;

/// Removes dead sessions of this uid below `place`: of the service of this name all but the newest `keep`, so that a
/// crash loop without an agent stays bounded, of others all but the newest 8. A directory is dead when its lock is
/// free and no process with its pid and start time runs here.
pub fn remove_dead(place: &Path, service: &str, keep: usize) {
    remove_unborn(place);
    let Ok(entries) = fs::read_dir(place) else { return };
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for entry in entries.flatten() {
        let is_named = entry.file_name().to_str().is_some_and(|name| name.starts_with("s-"));
        let of_uid = entry.metadata().is_ok_and(|meta| sys::owner(&meta).uid == sys::uid());
        if is_named && of_uid && crate::reader::looks_dead(&entry.path()) {
            let of_service = service_of(&entry.path()).is_some_and(|name| name == service);
            if of_service { &mut own } else { &mut others }.push(entry.path());
        }
    }
    for (mut dead, keep) in [(own, keep), (others, OTHERS_KEPT)] {
        // Names begin with the start time: the newest last.
        dead.sort();
        let last = dead.len().saturating_sub(keep);
        for dir in &dead[..last] {
            crate::reader::remove(dir);
        }
    }
}

/// The `service.name` of a session.
fn service_of(dir: &Path) -> Option<String> {
    let told = crate::reader::SessionFiles::open(dir).ok()?.info().ok()?;
    told.into_iter().find_map(|info| match info.value {
        InfoValue::Str(name) if info.resource && info.key == SERVICE_NAME => Some(name),
        _ => None,
    })
}

/// Removes what services left that died while they made a session: `.new-*` of this uid, over 60 s old, its
/// lock free or not yet made.
fn remove_unborn(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        let unborn = entry.file_name().to_str().is_some_and(|name| name.starts_with(".new-s-"));
        let Ok(meta) = entry.metadata() else { continue };
        let old = meta.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age.as_secs() > 60));
        if !unborn || sys::owner(&meta).uid != sys::uid() || !old {
            continue;
        }
        let lock = sys::open_dir(&entry.path()).and_then(|dir| sys::open_in(&dir, "lock", false));
        let free = match lock {
            Ok(lock) => matches!(sys::record_lock_holder(&lock), Ok(None)),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if free {
            crate::reader::remove(&entry.path());
        }
    }
}

/// The session that another copy of this crate records for this process: one whose files are mapped here, made by
/// this pid, and not closed. What was mapped before `exec` is gone, and what a parent mapped bears its pid.
pub fn of_another_copy() -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let pid = std::process::id().to_string();
    let mut dirs = maps.lines().filter_map(|line| Path::new(&line[line.find('/')?..]).parent());
    let open = dirs.find(|dir| {
        let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let mut parts = name.split('-');
        if parts.next() != Some("s") || parts.nth(1) != Some(&*pid) || parts.count() != 1 {
            return false;
        }
        // One that this version cannot read counts as open.
        let header = crate::reader::SessionFiles::open(dir).and_then(|files| files.header());
        header.map_or(true, |header| header.state == State::Running as u32)
    });
    open.map(Path::to_owned)
}

/// Chooses a place and makes a session there; `log` gets a line for each place that does not serve. If the group may
/// not have the session, it is for this user alone.
pub fn open_first(
    places: &[place::Place],
    group: Option<u32>,
    mut options: impl FnMut(&place::Place, sys::Space) -> Options,
    mut log: impl FnMut(String),
) -> Option<&'static Session> {
    if !sys::SUPPORTED {
        log("pollscope records on Linux and macOS".to_owned());
        return None;
    }
    for place in places {
        let space = match place::prepare(place, group) {
            Ok(space) => space,
            Err(refusal) => {
                log(format!("cannot record in {}: {refusal}", place.path.display()));
                continue;
            }
        };
        if !space.tmpfs {
            log(format!(
                "{} is not on tmpfs: writing back to disk may stall the service",
                place.path.display()
            ));
        }
        let mut options = options(place, space);
        remove_dead(&place.path, options.service(), 1);
        let mut made = Session::create(&options);
        if let (Err(error), Some(group)) = (&made, options.group)
            && error.kind() == io::ErrorKind::PermissionDenied
        {
            log(format!("{} cannot be for group {group}: {error}", place.path.display()));
            options.group = None;
            made = Session::create(&options);
        }
        match made {
            Ok(session) => return Some(session),
            Err(error) => log(format!("cannot make a session in {}: {error}", place.path.display())),
        }
    }
    None
}
