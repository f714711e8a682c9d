//! All sessions: found, followed, ended, and removed when that is asked for.

use crate::session::{Followed, Positions, State};
use crate::watch::ThreadNow;
use pollscope_model::UnixNanos;
use pollscope_model::event::{Event, SessionEnd, SessionId, SessionInfo};
use pollscope_wire::reader::remove;
use pollscope_wire::{place, sys};
use std::collections::{HashMap, HashSet};
use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Sessions followed at one time; more than that is refused, and said.
const MAX_SESSIONS: usize = 4096;
/// Age from which a `.new-*` whose lock is free is the rest of a start that failed.
const STALE: Duration = Duration::from_secs(60);

/// Where a new session is begun with.
#[derive(Clone, Debug, Default)]
pub enum Start {
    /// With the oldest record that still stands.
    #[default]
    Oldest,
    /// With what comes from now on; what stands there is left.
    Head,
    /// With the oldest, but span ends before these positions have been exported: they are not sampled.
    Resume(Positions),
}

/// What to follow.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Directories to look in: of sessions, or sessions themselves. Empty: those found by rule.
    pub dirs: Vec<PathBuf>,
    /// Only services of this name.
    pub service: Option<String>,
    /// Only this session: part of its id or directory's name, or `last`.
    pub session: Option<String>,
    /// Only sessions that began then or later.
    pub since: Option<UnixNanos>,
    /// Where to begin.
    pub start: Start,
    /// The collecting process's own session: never opened, since that would drop its lock.
    pub own: Option<PathBuf>,
}

/// What discovery found.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A session is followed from now on.
    Found(SessionId, PathBuf),
    /// A directory cannot be read as a session; told once.
    Refused(PathBuf, String),
    /// A session is over; what is left of it is read by the next rounds.
    Ended(SessionId, SessionEnd),
    /// A session's directory is gone.
    Gone(SessionId),
}

/// What one round gave, over all sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Records read.
    pub records: u64,
    /// Records found to be lost.
    pub lost: u64,
    /// More stands there.
    pub more: bool,
}

/// A session as it can be listed.
#[derive(Clone, Debug)]
pub struct SessionStatus {
    /// Id.
    pub id: SessionId,
    /// Directory.
    pub dir: PathBuf,
    /// What the service says of itself.
    pub info: SessionInfo,
    /// Live, or how it ended.
    pub state: State,
    /// Records read by class: polls, span ends, others.
    pub read: [u64; 3],
    /// Records lost by class.
    pub lost: [u64; 3],
    /// What the service refused or cut, by name.
    pub refused: Vec<(&'static str, u64)>,
    /// Bytes of its files.
    pub bytes: u64,
    /// Bytes of rings for a worker, at most.
    pub worker_ring_bytes: u64,
    /// Rings as they were cut.
    pub rings: Rings,
    /// The clock: 1 CLOCK_MONOTONIC, 2 TSC, 3 cntvct.
    pub clock: u32,
    /// Length over which the tick's rate was measured, ns; 0: not measured.
    pub clock_measured: u64,
}

/// Bytes of a session's rings, but those of samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rings {
    /// Of the live worker that has least; 0: there is none.
    pub least: u64,
    /// Of the live worker that has most.
    pub most: u64,
    /// Of all threads that are recorded, or were and left theirs to the next.
    pub all: u64,
}

/// Who exports a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// This process.
    Exporter,
    /// Another one; its pid, if it can be seen.
    HeldBy(Option<u32>),
}

/// Finds and follows sessions.
pub struct Collector {
    options: Options,
    sessions: HashMap<SessionId, Followed>,
    paths: HashMap<PathBuf, SessionId>,
    refused: HashSet<PathBuf>,
    /// Sessions that stand there and are not wanted, with their services.
    unwanted: HashMap<PathBuf, (SessionId, String)>,
    /// Sessions whose end has been told.
    told: HashSet<SessionId>,
    claimed: HashSet<SessionId>,
    /// When it was made: what begins later is read from its beginning.
    made: u64,
}

impl Collector {
    /// A collector that has not looked yet.
    pub fn new(options: Options) -> Collector {
        Collector {
            options,
            sessions: HashMap::new(),
            paths: HashMap::new(),
            refused: HashSet::new(),
            unwanted: HashMap::new(),
            told: HashSet::new(),
            claimed: HashSet::new(),
            made: sys::realtime(),
        }
    }

    /// The directories that are looked in.
    pub fn dirs(&self) -> Vec<PathBuf> {
        if !self.options.dirs.is_empty() {
            return self.options.dirs.clone();
        }
        let mut dirs: Vec<PathBuf> =
            place::candidates(|name| std::env::var(name).ok()).into_iter().map(|place| place.path).collect();
        if sys::uid() == 0 {
            // Root looks after everybody's.
            let below = |base: &str, wanted: fn(&str) -> bool| -> Vec<PathBuf> {
                let entries = std::fs::read_dir(base).into_iter().flatten().flatten();
                entries
                    .filter(|entry| entry.file_name().to_str().is_some_and(wanted))
                    .map(|e| e.path())
                    .collect()
            };
            dirs.extend(below("/dev/shm", |name| {
                // Others than a user's may be a test's, or somebody's idea.
                name.strip_prefix("pollscope-").is_some_and(|uid| uid.parse::<u32>().is_ok())
            }));
            dirs.extend(
                below("/run/user", |name| name.bytes().all(|b| b.is_ascii_digit()))
                    .iter()
                    .map(|d| d.join("pollscope")),
            );
        }
        let mut seen = HashSet::new();
        dirs.retain(|dir| seen.insert(dir.clone()));
        dirs
    }

    /// Looks for sessions that are new, over or gone.
    pub fn discover(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        let mut found = self.candidates();
        // What is gone needs no memory, and what comes in its place is looked at anew.
        let standing: HashSet<&PathBuf> = found.iter().collect();
        self.refused.retain(|path| standing.contains(path));
        self.unwanted.retain(|path, _| standing.contains(path));
        // The newest first, for `last` and for the limit.
        found.sort_by(|a, b| b.file_name().cmp(&a.file_name()));
        for path in found {
            if self.paths.contains_key(&path) || self.refused.contains(&path) {
                continue;
            }
            if self.options.own.as_ref() == Some(&path) {
                continue;
            }
            if self.sessions.len() >= MAX_SESSIONS {
                break;
            }
            self.follow(path, &mut notices);
        }
        self.look_at_followed(&mut notices);
        notices
    }

    /// Session directories in the places looked in.
    fn candidates(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for dir in self.dirs() {
            if is_session_name(&dir) || dir.join("control").exists() {
                found.push(dir);
                continue;
            }
            let Ok(entries) = std::fs::read_dir(&dir) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                if is_session_name(&path) {
                    found.push(path);
                } else if entry.file_name().to_string_lossy().starts_with(".new-") {
                    remove_stale(&path);
                }
            }
        }
        found
    }

    fn follow(&mut self, path: PathBuf, notices: &mut Vec<Notice>) {
        let opened = Followed::open(&path, None).and_then(|followed| {
            let resume = match &self.options.start {
                Start::Resume(positions) => positions.get(&followed.header.id).cloned(),
                _ => None,
            };
            match resume {
                Some(positions) => Followed::open(&path, Some(positions)),
                None => Ok(followed),
            }
        });
        let mut followed = match opened {
            Ok(followed) => followed,
            Err(error) => {
                // It may have gone between listing and opening: that is no refusal.
                if path.exists() {
                    notices.push(Notice::Refused(path.clone(), error.to_string()));
                    self.refused.insert(path);
                }
                return;
            }
        };
        let id = SessionId(followed.header.id);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let wanted_service =
            self.options.service.as_deref().is_none_or(|name| followed.info.service() == name);
        let wanted_session = match self.options.session.as_deref() {
            None => true,
            Some("last") => self.sessions.is_empty(),
            Some(part) => name.contains(part) || id.to_string().starts_with(part),
        };
        let wanted_age = self.options.since.is_none_or(|since| followed.info.started >= since);
        if self.sessions.contains_key(&id) {
            self.refused.insert(path);
            return;
        }
        if !wanted_service || !wanted_session || !wanted_age {
            self.unwanted.insert(path.clone(), (id, followed.info.service().to_owned()));
            self.refused.insert(path);
            return;
        }
        if matches!(self.options.start, Start::Head) && followed.header.start_realtime < self.made {
            followed.skip_to_heads();
        }
        self.paths.insert(path.clone(), id);
        self.sessions.insert(id, followed);
        notices.push(Notice::Found(id, path));
    }

    fn look_at_followed(&mut self, notices: &mut Vec<Notice>) {
        let mut gone = Vec::new();
        for (id, followed) in &mut self.sessions {
            if !followed.files.path().exists() {
                gone.push(*id);
                continue;
            }
            if followed.state == State::Live
                && let Ok(State::Over(end)) = followed.look()
            {
                followed.state = State::Over(end);
                notices.push(Notice::Ended(*id, end));
            }
        }
        for id in gone {
            self.forget(id);
            notices.push(Notice::Gone(id));
        }
    }

    fn forget(&mut self, id: SessionId) {
        self.sessions.remove(&id);
        self.told.remove(&id);
        self.claimed.remove(&id);
        self.paths.retain(|_, other| *other != id);
    }

    /// One pass over all rings of all sessions. The first event of a session is its beginning, the last one,
    /// when it is over and all of it has been read, its end.
    pub fn round(&mut self, sink: &mut dyn FnMut(SessionId, Event)) -> Round {
        let mut round = Round::default();
        for (id, followed) in &mut self.sessions {
            if self.told.contains(id) {
                continue;
            }
            let mut own = |event| sink(*id, event);
            // Facts commute, so telling the beginning again does no harm; a model that joins late needs it.
            own(Event::SessionBegan(followed.info.clone()));
            let passed = followed.round(&mut own);
            round.records += passed.records;
            round.lost = round.lost.saturating_add(passed.lost);
            round.more |= passed.more;
            if let State::Over(end) = followed.state
                && !passed.more
            {
                followed.slots(&mut own);
                let at = followed.end_time();
                own(Event::SessionEnded(end, at));
                self.told.insert(*id);
            }
        }
        round
    }

    /// Live tasks, open spans and runtimes of all live sessions, as their slots show them now.
    pub fn slots(&mut self, sink: &mut dyn FnMut(SessionId, Event)) {
        for (id, followed) in &mut self.sessions {
            if followed.state == State::Live {
                followed.slots(&mut |event| sink(*id, event));
            }
        }
    }

    /// What the threads of all live sessions do now: a few calls for each session, cheap enough for every 5 ms.
    pub fn watch(&mut self) -> Vec<ThreadNow> {
        let live = self.sessions.iter_mut().filter(|(_, followed)| followed.state == State::Live);
        live.flat_map(|(id, followed)| followed.watch(*id)).collect()
    }

    /// All sessions that are followed.
    pub fn sessions(&self) -> Vec<SessionStatus> {
        let mut all: Vec<SessionStatus> = self
            .sessions
            .iter()
            .map(|(id, followed)| SessionStatus {
                id: *id,
                dir: followed.files.path().to_owned(),
                info: followed.info.clone(),
                state: followed.state,
                read: followed.read,
                lost: followed.lost,
                refused: followed.refused().filter(|(_, n)| *n > 0).collect(),
                bytes: bytes_of(followed.files.path()),
                worker_ring_bytes: followed.header.worker_ring_bytes,
                rings: followed.rings(),
                clock: followed.header.clock,
                clock_measured: followed.clock_measured(),
            })
            .collect();
        all.sort_by_key(|status| (status.info.started, status.id));
        all
    }

    /// How each stands: all that can be said without a look at its files.
    pub fn states(&self) -> impl Iterator<Item = (SessionId, State)> {
        self.sessions.iter().map(|(id, followed)| (*id, followed.state))
    }

    /// Directories that were refused or not wanted.
    pub fn refused(&self) -> impl Iterator<Item = &Path> {
        self.refused.iter().map(PathBuf::as_path)
    }

    /// Sessions that stand there and were not wanted, with their services.
    pub fn unwanted(&self) -> impl Iterator<Item = (SessionId, &str)> {
        self.unwanted.values().map(|(id, service)| (*id, service.as_str()))
    }

    /// Where the readers stand.
    pub fn positions(&self) -> Positions {
        self.sessions.iter().map(|(id, followed)| (id.0, followed.positions())).collect()
    }

    /// Claims a session for export: one process holds it, by `flock` on `control`.
    pub fn claim(&mut self, id: SessionId) -> io::Result<Claim> {
        let Some(followed) = self.sessions.get(&id) else { return Ok(Claim::HeldBy(None)) };
        if self.claimed.contains(&id) {
            return Ok(Claim::Exporter);
        }
        let control = followed.files.control();
        match control.try_lock() {
            Ok(()) => {
                self.claimed.insert(id);
                Ok(Claim::Exporter)
            }
            Err(TryLockError::WouldBlock) => Ok(Claim::HeldBy(holder(sys::inode(&control.metadata()?)))),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Removes a session that is over; says whether it is gone. A live one is never touched, nor one that another
    /// process exports.
    pub fn remove(&mut self, id: SessionId) -> bool {
        let ours = self.claimed.contains(&id);
        if !ours && self.claim(id).ok() != Some(Claim::Exporter) {
            return false;
        }
        let removed = self.remove_claimed(id);
        if !removed
            && !ours
            && self.claimed.remove(&id)
            && let Some(followed) = self.sessions.get(&id)
        {
            let _ = followed.files.control().unlock();
        }
        removed
    }

    fn remove_claimed(&mut self, id: SessionId) -> bool {
        let Some(followed) = self.sessions.get_mut(&id) else { return false };
        // Closed or exited by its word, but its process may still run: its lock says.
        let over = matches!(followed.state, State::Over(_));
        let locked = pollscope_wire::reader::looks_dead(followed.files.path());
        if !over || !locked {
            return false;
        }
        let path = followed.files.path().to_owned();
        let removed = remove(&path);
        if removed {
            self.forget(id);
        }
        removed
    }
}

/// The process that holds a `flock` on this inode, from `/proc/locks`.
fn holder(inode: u64) -> Option<u32> {
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let flock = fields.get(1) == Some(&"FLOCK");
        let same = fields.get(5)?.rsplit(':').next()?.parse() == Ok(inode);
        (flock && same).then(|| fields[4].parse().ok()).flatten()
    })
}

fn is_session_name(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("s-"))
}

fn remove_stale(path: &Path) {
    let age = std::fs::symlink_metadata(path).and_then(|meta| meta.modified()).ok();
    let old = age.and_then(|at| SystemTime::now().duration_since(at).ok()).is_some_and(|age| age > STALE);
    if !old {
        return;
    }
    let free = sys::open_dir(path)
        .and_then(|dir| sys::open_in(&dir, "lock", false))
        .and_then(|lock| sys::record_lock_holder(&lock))
        .is_ok_and(|holder| holder.is_none());
    if free {
        remove(path);
    }
}

fn bytes_of(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(sys::bytes_taken(&entry.metadata().ok()?))).sum()
}
