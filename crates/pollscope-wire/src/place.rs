//! Where sessions lie: the directories that a service may write in and an agent looks in.

use crate::sys;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
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
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Io(error) => write!(f, "{error}"),
            Refusal::NotOwned => write!(f, "it belongs to another user"),
            Refusal::NotTmpfs => {
                write!(f, "it is not on tmpfs; only POLLSCOPE_DIR can name such a directory")
            }
        }
    }
}

/// Makes the directory if need be and checks that sessions may be written there.
pub fn prepare(place: &Place) -> Result<sys::Space, Refusal> {
    if let Err(error) = fs::DirBuilder::new().recursive(true).mode(0o700).create(&place.path) {
        return Err(Refusal::Io(error));
    }
    let meta = fs::metadata(&place.path).map_err(Refusal::Io)?;
    if !place.named && meta.uid() != sys::uid() {
        return Err(Refusal::NotOwned);
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

/// Bytes of rings for each worker: what all workers take is at most a quarter of the free space and 5 % of the
/// memory limit, shared evenly, each between 256 KiB and 4 MiB.
pub fn worker_ring_bytes(space: sys::Space, memory_limit: Option<u64>, workers: usize) -> u64 {
    let all = (space.free / 4).min(memory_limit.map_or(u64::MAX, |limit| limit / 20));
    (all / workers.max(1) as u64).clamp(256 << 10, 4 << 20) & !8191
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_share_a_quarter_of_the_space_within_bounds() {
        let space = |free| sys::Space { tmpfs: true, free };
        assert_eq!(worker_ring_bytes(space(1 << 36), None, 8), 4 << 20);
        assert_eq!(worker_ring_bytes(space(64 << 20), None, 32), 512 << 10);
        assert_eq!(worker_ring_bytes(space(1 << 20), None, 32), 256 << 10);
        assert_eq!(worker_ring_bytes(space(1 << 36), Some(80 << 20), 4), 1 << 20);
    }

    #[test]
    fn the_named_directory_comes_first() {
        let places = candidates(|name| (name == "POLLSCOPE_DIR").then(|| "/run/here".to_owned()));
        assert_eq!(places[0], Place { path: "/run/here".into(), named: true });
        assert!(!places.last().unwrap().named);
    }
}
