//! What survives the agent: where the readers stood, open spans, and batches that no backend has acknowledged.
//!
//! `positions.json` is replaced whole (written beside, then renamed). Each batch is a file of its own, written
//! before it can be sent and removed when it is settled. Both happen between two turns of the loop, on the one
//! thread that also sends: so no batch leaves before the journal knows it, and span ends before the positions
//! are in a batch or acknowledged. Open spans are written at the end alone (`open.json`): the pieces that were
//! read of them stand before the positions. Events that go out as log records are in a batch once all before the
//! positions was told, as span ends are. After a SIGKILL a span that was open lacks those, and says so. Which spans left
//! before their end stands with the positions: no later agent sends them again.

pub mod open;

use anyhow::{Context, Result, bail};
use open::Open;
use pollscope_collect::{Positions, SessionPositions};
use pollscope_export::{Batch, Signal};
use pollscope_model::event::LocalSpanId;
use pollscope_model::spans::OpenSpan;
use pollscope_model::{SessionId, UnixNanos};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// First bytes of a batch file, by what it carries.
const MAGIC: [(Signal, &[u8; 8]); 2] = [(Signal::Traces, b"PLSCBAT1"), (Signal::Logs, b"PLSCLOG1")];

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    version: u32,
    sessions: Vec<SessionEntry>,
    /// Sessions that are over and were exported to their end.
    done: Vec<String>,
    /// Spans that left before their end, by session.
    #[serde(default)]
    left: Vec<(String, Vec<u64>)>,
    /// When sessions were first seen to be dead.
    #[serde(default)]
    dead: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SessionEntry {
    id: String,
    rings: Vec<(u32, u8, u64, [u64; 3])>,
    line: Vec<(u64, u64, f64)>,
    newest: u64,
    measured: u64,
}

/// The journal's directory.
pub struct Journal {
    dir: PathBuf,
    written: HashSet<(Signal, u64)>,
    /// Sessions exported to their end.
    pub done: HashSet<u128>,
    _lock: fs::File,
}

/// Spans that left before their end, by session.
pub type Left = BTreeMap<SessionId, Vec<u64>>;

/// Agents that may keep a journal in one place at a time.
const PLACES: u32 = 64;

/// Takes the directory, or, while another agent has it, the first free one of `2`, `3`, .. in it.
fn take(dir: &Path) -> Result<(PathBuf, fs::File)> {
    for n in 1..=PLACES {
        let own = if n == 1 { dir.to_owned() } else { dir.join(n.to_string()) };
        let lock = fs::create_dir_all(&own).and_then(|()| fs::File::create(own.join("lock")));
        let lock = lock.with_context(|| {
            format!("cannot make {} for the journal; choose another with --state", own.display())
        })?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok((own, lock));
        }
    }
    bail!("{PLACES} agents keep their journals in {}; choose another with --state", dir.display())
}

/// What an earlier agent left.
pub struct Restored {
    pub journal: Journal,
    pub positions: Positions,
    pub batches: Vec<Batch>,
    pub open: Open,
    /// When sessions were first seen to be dead.
    pub dead: HashMap<SessionId, UnixNanos>,
    /// Files that could not be understood.
    pub damaged: Vec<PathBuf>,
}

impl Journal {
    /// Opens the directory, and reads what is there.
    pub fn open(dir: &Path) -> Result<Restored> {
        let (dir, lock) = take(dir)?;
        let mut journal =
            Journal { dir: dir.clone(), written: HashSet::new(), done: HashSet::new(), _lock: lock };
        let mut damaged = Vec::new();
        let path = dir.join("positions.json");
        let file: File = match fs::read(&path) {
            Err(_) => File::default(),
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|_| {
                damaged.push(path);
                File::default()
            }),
        };
        let id = |text: &str| u128::from_str_radix(text, 16).ok();
        journal.done = file.done.iter().filter_map(|text| id(text)).collect();
        let mut positions = Positions::new();
        for entry in file.sessions {
            if let Some(id) = id(&entry.id) {
                let SessionEntry { rings, line, newest, measured, .. } = entry;
                positions.insert(id, SessionPositions { rings, line, newest, measured });
            }
        }
        let path = journal.open_path();
        let entries = match fs::read(&path) {
            Err(_) => Vec::new(),
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|_| {
                damaged.push(path.clone());
                Vec::new()
            }),
        };
        // They belong to these positions alone.
        let _ = fs::remove_file(path);
        let mut open = open::spans(entries);
        for (session, spans) in file.left {
            if let Some(id) = id(&session) {
                let gone = spans.into_iter().map(|span| OpenSpan::gone(LocalSpanId(span)));
                open.entry(SessionId(id)).or_default().extend(gone);
            }
        }
        let dead = file.dead.iter();
        let dead = dead.filter_map(|(text, at)| Some((SessionId(id(text)?), UnixNanos(*at)))).collect();
        let mut batches = Vec::new();
        for entry in fs::read_dir(&dir)?.flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|ending| ending != "otlp") {
                continue;
            }
            match fs::read(&path).ok().and_then(|bytes| decode(&bytes)) {
                Some(batch) => {
                    journal.written.insert((batch.signal, batch.id));
                    batches.push(batch);
                }
                None => damaged.push(path),
            }
        }
        batches.sort_by_key(|batch| batch.id);
        Ok(Restored { journal, positions, batches, open, dead, damaged })
    }

    fn open_path(&self) -> PathBuf {
        self.dir.join("open.json")
    }

    /// Writes what was read of spans that are open, at the very end.
    pub fn write_open(&self, entries: &[open::Entry]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        replace(&self.open_path(), &serde_json::to_vec(entries)?)
    }

    fn batch_path(&self, signal: Signal, id: u64) -> PathBuf {
        let name = match signal {
            Signal::Traces => "batch",
            Signal::Logs => "logs",
        };
        self.dir.join(format!("{name}-{id:016x}.otlp"))
    }

    /// Writes what is new among the unacknowledged batches, removes what was settled, then the positions, with the
    /// spans that `left` before their end, and since when sessions are dead.
    pub fn write(
        &mut self,
        positions: &Positions,
        left: &Left,
        dead: impl IntoIterator<Item = (SessionId, UnixNanos)>,
        batches: &[Batch],
    ) -> Result<()> {
        for batch in batches {
            let key = (batch.signal, batch.id);
            if !self.written.contains(&key) {
                replace(&self.batch_path(batch.signal, batch.id), &encode(batch))?;
                self.written.insert(key);
            }
        }
        let mut sessions: Vec<SessionEntry> = positions
            .iter()
            .map(|(id, at)| SessionEntry {
                id: format!("{id:032x}"),
                rings: at.rings.clone(),
                line: at.line.clone(),
                newest: at.newest,
                measured: at.measured,
            })
            .collect();
        sessions.sort_by(|a, b| a.id.cmp(&b.id));
        let mut done: Vec<String> = self.done.iter().map(|id| format!("{id:032x}")).collect();
        done.sort();
        let left = left.iter().map(|(id, spans)| (format!("{:032x}", id.0), spans.clone())).collect();
        let dead = dead.into_iter().map(|(id, at)| (format!("{:032x}", id.0), at.0)).collect();
        let bytes = serde_json::to_vec(&File { version: 1, sessions, done, left, dead })?;
        replace(&self.dir.join("positions.json"), &bytes)
    }

    /// Forgets a batch that is settled.
    pub fn settled(&mut self, signal: Signal, id: u64) {
        if self.written.remove(&(signal, id)) {
            let _ = fs::remove_file(self.batch_path(signal, id));
        }
    }
}

/// Writes a file whole: beside, then renamed over.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes)
        .and_then(|()| fs::rename(&beside, path))
        .with_context(|| format!("cannot write the journal {}", path.display()))
}

fn encode(batch: &Batch) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(batch.payload.len() + 32);
    bytes.extend(MAGIC.iter().filter(|(signal, _)| *signal == batch.signal).flat_map(|(_, magic)| **magic));
    bytes.extend_from_slice(&batch.id.to_le_bytes());
    bytes.extend_from_slice(&(batch.items as u64).to_le_bytes());
    bytes.extend_from_slice(&(batch.payload.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&batch.payload);
    bytes
}

fn decode(bytes: &[u8]) -> Option<Batch> {
    let (signal, rest) =
        MAGIC.iter().find_map(|(signal, magic)| Some((*signal, bytes.strip_prefix(*magic)?)))?;
    let (id, rest) = rest.split_first_chunk::<8>()?;
    let (items, rest) = rest.split_first_chunk::<8>()?;
    let (length, payload) = rest.split_first_chunk::<8>()?;
    let whole = u64::from_le_bytes(*length) == payload.len() as u64;
    whole.then(|| Batch {
        signal,
        id: u64::from_le_bytes(*id),
        items: u64::from_le_bytes(*items) as u32,
        payload: payload.to_vec().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("pollscope-journal-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn what_was_written_is_restored_and_settled_batches_are_not() {
        let dir = dir("restore");
        let mut journal = Journal::open(&dir).unwrap().journal;
        let batch = |signal, id: u64| Batch { signal, id, items: 3, payload: vec![id as u8; 100].into() };
        let (spans, logs) = (|id| batch(Signal::Traces, id), |id| batch(Signal::Logs, id));
        let at = SessionPositions {
            rings: vec![(0, 1, 4096, [1, 2, 3])],
            line: vec![(5, 6, 0.33)],
            newest: 7,
            measured: 8,
        };
        let positions = Positions::from([(77, at)]);
        journal.done.insert(99);
        let left = Left::from([(SessionId(77), vec![5, 6])]);
        let dead = [(SessionId(99), UnixNanos(5))];
        journal.write(&positions, &left, dead, &[spans(1), spans(2), logs(1), logs(2)]).unwrap();
        journal.settled(Signal::Traces, 1);
        journal.settled(Signal::Logs, 2);
        // Another one meanwhile keeps its own.
        let other = Journal::open(&dir).unwrap();
        assert!(other.batches.is_empty() && other.positions.is_empty());
        drop((journal, other));
        let restored = Journal::open(&dir).unwrap();
        assert_eq!(restored.positions, positions);
        assert_eq!(restored.dead, HashMap::from(dead));
        let gone = [5, 6].map(|span| OpenSpan::gone(LocalSpanId(span)));
        assert_eq!(restored.open, Open::from([(SessionId(77), gone.to_vec())]));
        assert_eq!(restored.batches, [logs(1), spans(2)]);
        assert_eq!(restored.journal.done, HashSet::from([99]));
        assert!(restored.damaged.is_empty());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_torn_file_is_named_and_left_out() {
        let dir = dir("torn");
        let mut journal = Journal::open(&dir).unwrap().journal;
        let batch = Batch { signal: Signal::Traces, id: 1, items: 1, payload: vec![1; 100].into() };
        journal.write(&Positions::new(), &Left::new(), [], &[batch]).unwrap();
        let path = journal.batch_path(Signal::Traces, 1);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..60]).unwrap();
        fs::write(dir.join("positions.json"), b"{\"version\":1,\"sess").unwrap();
        drop(journal);
        let restored = Journal::open(&dir).unwrap();
        assert!(restored.batches.is_empty());
        assert_eq!(restored.damaged.len(), 2);
        fs::remove_dir_all(dir).unwrap();
    }
}
