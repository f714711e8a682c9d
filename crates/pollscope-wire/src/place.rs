//! Where sessions lie: the directories that a service may write in and an agent looks in.

use crate::sys;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A directory for sessions, and how it was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The directory.
    pub path: PathBuf,
    /// Named by `POLLSCOPE_DIR`, not found by rule.
    pub named: bool,
}

/// The directories by rule, in order; `get` reads an environment variable.
pub fn candidates(get: impl Fn(&str) -> Option<String>) -> Vec<Place> {
    let set = |name| get(name).filter(|value| !value.is_empty());
    let mut places = Vec::new();
    if let Some(dir) = set("POLLSCOPE_DIR") {
        places.push(Place { path: dir.into(), named: true });
    }
    if let Some(dir) = set("XDG_RUNTIME_DIR") {
        places.push(Place { path: Path::new(&dir).join("pollscope"), named: false });
    }
    if cfg!(target_os = "macos") {
        let base = set("TMPDIR").unwrap_or_else(|| "/tmp".into());
        places.push(Place { path: Path::new(&base).join("pollscope"), named: false });
    } else {
        places.push(Place { path: format!("/dev/shm/pollscope-{}", sys::uid()).into(), named: false });
    }
    places
}

/// Why a directory does not serve.
#[derive(Debug)]
pub enum Refusal {
    /// It cannot be made or read.
    Io(io::Error),
    /// It belongs to somebody else.
    NotOwned,
    /// It is not memory-backed, and was not named.
    NotTmpfs,
    /// A group is to read there, and cannot get there.
    Private,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Io(error) => write!(f, "{error}"),
            Refusal::NotOwned => write!(f, "it belongs to another user"),
            Refusal::Private => {
                write!(f, "POLLSCOPE_GROUP could not get there; POLLSCOPE_DIR can name another directory")
            }
            Refusal::NotTmpfs => {
                write!(f, "it is not on tmpfs; only POLLSCOPE_DIR can name such a directory")
            }
        }
    }
}

/// Makes the directory if need be and checks that sessions may be written there. A group whose agent is to read them
/// may enter a directory that is made here, or stands where the rules say.
pub fn prepare(place: &Place, group: Option<u32>) -> Result<sys::Space, Refusal> {
    let private = |dir: &Path| fs::metadata(dir).is_ok_and(|meta| sys::owner(&meta).mode & 0o011 == 0);
    if group.is_some() && !place.named && place.path.parent().is_some_and(private) {
        return Err(Refusal::Private);
    }
    let is_ours = !place.named || !place.path.exists();
    if let Err(error) = sys::make_dir(&place.path, 0o700, true) {
        return Err(Refusal::Io(error));
    }
    let owner = sys::owner(&fs::metadata(&place.path).map_err(Refusal::Io)?);
    if !place.named && owner.uid != sys::uid() {
        return Err(Refusal::NotOwned);
    }
    if let Some(group) = group
        && is_ours
        && (owner.gid != group || owner.mode & 0o050 != 0o050)
    {
        // Where that is not allowed, making the session fails too, and says so.
        let _ = sys::set_group(&place.path, group).and_then(|()| sys::set_mode(&place.path, 0o750));
    }
    let space = sys::space(&place.path).map_err(Refusal::Io)?;
    if !space.tmpfs && !place.named { Err(Refusal::NotTmpfs) } else { Ok(space) }
}

/// Memory limit of this process's cgroup (v2, or v1's), if there is one.
pub fn memory_limit() -> Option<u64> {
    let cgroup = fs::read_to_string("/proc/self/cgroup").ok()?;
    let limits = cgroup.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next().unwrap_or_default();
        let path = parts.next().unwrap_or_default().trim_start_matches('/');
        if controllers.is_empty() {
            vec![format!("/sys/fs/cgroup/{path}/memory.max"), "/sys/fs/cgroup/memory.max".to_owned()]
        } else if controllers.split(',').any(|name| name == "memory") {
            let file = "memory.limit_in_bytes";
            vec![format!("/sys/fs/cgroup/memory/{path}/{file}"), format!("/sys/fs/cgroup/memory/{file}")]
        } else {
            Vec::new()
        }
    });
    limits
        .filter_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok())
        .filter(|limit| *limit < 1 << 60)
        .min()
}

/// How large rings may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSizes {
    /// Bytes of a worker's rings at most.
    pub worker: u64,
    /// Bytes of the rings of all workers, and main; other threads have as much again.
    pub budget: u64,
}

/// Bytes of rings of a thread that is no worker, and the fewest that a worker gets while there is room.
const SMALL: u64 = 64 << 10;
/// Bytes of a thread's rings when hardly any budget is left.
pub const SMALLEST_RING_BYTES: u64 = 32 << 10;

impl RingSizes {
    /// All workers take at most a quarter of the free space and 5 % of the memory limit. Half of that is for those
    /// that are expected, and main; each gets at most 4 MiB.
    pub fn of(space: sys::Space, memory_limit: Option<u64>, workers: usize) -> RingSizes {
        let budget = (space.free / 4).min(memory_limit.map_or(u64::MAX, |limit| limit / 20));
        let each = budget / 2 / (workers as u64 + 1);
        RingSizes { worker: each.clamp(SMALL, 4 << 20) & !8191, budget }
    }

    /// So many bytes for each worker, whatever it comes to.
    pub fn fixed(worker: u64) -> RingSizes {
        RingSizes { worker: worker.max(SMALLEST_RING_BYTES), budget: u64::MAX }
    }

    /// Bytes of the next worker's rings while so much of the budget is left: of its first half as much as a worker
    /// may get, of the rest a share of what is left, for nobody knows how many will come.
    pub fn next_worker(&self, left: u64) -> u64 {
        let share = left.saturating_sub(self.budget / 2).max(left / 32) & !8191;
        let least = if left < self.budget / 16 { SMALLEST_RING_BYTES } else { SMALL };
        share.max(least).min(self.worker)
    }

    /// Bytes of the next other thread's rings while so much of theirs is left.
    pub fn next_other(&self, left: u64) -> u64 {
        if left < self.budget / 2 { SMALLEST_RING_BYTES } else { SMALL }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_share_a_quarter_of_the_space_within_bounds() {
        let sizes = |free, limit, workers| RingSizes::of(sys::Space { tmpfs: true, free }, limit, workers);
        assert_eq!(sizes(1 << 36, None, 8), RingSizes { worker: 4 << 20, budget: 1 << 34 });
        assert_eq!(sizes(64 << 20, None, 31), RingSizes { worker: 256 << 10, budget: 16 << 20 });
        assert_eq!(sizes(1 << 20, None, 32), RingSizes { worker: 64 << 10, budget: 256 << 10 });
        assert_eq!(sizes(1 << 36, Some(80 << 20), 3), RingSizes { worker: 512 << 10, budget: 4 << 20 });
    }

    #[test]
    fn whoever_comes_late_gets_less_but_some() {
        let sizes = RingSizes { worker: 3 << 20, budget: 16 << 20 };
        let mut left = sizes.budget;
        let given: Vec<u64> = (0..64)
            .map(|_| {
                let bytes = sizes.next_worker(left);
                left -= bytes;
                bytes
            })
            .collect();
        assert_eq!(given[..3], [3 << 20, 3 << 20, 2 << 20]);
        assert!(given.is_sorted_by(|a, b| a >= b) && given[32] > SMALL, "{given:?}");
        assert!(given[63] >= SMALLEST_RING_BYTES && left >= sizes.budget / 16, "{left}");
        assert_eq!(RingSizes::fixed(1 << 20).next_worker(u64::MAX - (1 << 40)), 1 << 20);
    }

    #[test]
    fn the_named_directory_comes_first() {
        let places = candidates(|name| (name == "POLLSCOPE_DIR").then(|| "/run/here".to_owned()));
        assert_eq!(places[0], Place { path: "/run/here".into(), named: true });
        assert!(!places.last().unwrap().named);
    }
}
