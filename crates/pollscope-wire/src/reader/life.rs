//! Whether a session lives, and its removal.

use super::files::SessionFiles;
use crate::layout::State;
use crate::sys;
use std::fs::File;
use std::io;
use std::path::Path;

/// What can be said of a session at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Its lock is held.
    Live,
    /// Its lock is free, and no process of its pid and start time can be seen: over, at once.
    Dead,
    /// Its lock is free, but its process cannot be told from here: over when nothing has moved for 10 s.
    Silent,
}

/// Looks at a session's lock and process.
pub fn life(dir: &File, pid: u32, process_start: u64) -> io::Result<Life> {
    let lock = sys::open_in(dir, "lock", false)?;
    // One that was killed holds it until the last of its threads has ended.
    if sys::record_lock_holder(&lock)?.is_some_and(|holder| holder != pid || !sys::process_over(pid)) {
        return Ok(Life::Live);
    }
    match sys::process_start(pid) {
        // Where `/proc` shows no such pid the process is gone, or lives in a namespace that is not ours: its
        // lock would be held then.
        0 => Ok(Life::Dead),
        start if start == process_start => Ok(Life::Silent),
        _ => Ok(Life::Dead),
    }
}

/// Whether a session directory is over, for the service that removes its own old ones. A directory that
/// cannot be read as a session is left alone.
pub fn looks_dead(path: &Path) -> bool {
    let Ok(files) = SessionFiles::open(path) else { return false };
    let Ok(header) = files.header() else { return false };
    // This process's own lock looks free to itself.
    if header.pid == std::process::id() && header.process_start == sys::process_start(header.pid) {
        return header.state != State::Running as u32;
    }
    matches!(life(files.dir(), header.pid, header.process_start), Ok(Life::Dead))
}

/// Removes a session directory: only the names that SPEC.md lists, then the directory if that leaves it
/// empty. Says whether it is gone.
pub fn remove(path: &Path) -> bool {
    let Ok(dir) = sys::open_dir(path) else { return false };
    let Ok(entries) = std::fs::read_dir(path) else { return false };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let numbered = |stem: &str| {
            name.strip_prefix(stem).is_some_and(|n| n.len() >= 3 && n.bytes().all(|b| b.is_ascii_digit()))
        };
        if matches!(name, "lock" | "control" | "request") || numbered("slots-") || numbered("rings-") {
            let _ = sys::remove_in(&dir, name, false);
        }
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return false;
    };
    sys::open_dir(parent).and_then(|parent| sys::remove_in(&parent, name, true)).is_ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_that_was_killed_and_not_reaped_is_dead_at_once() {
        let path = std::env::temp_dir().join(format!("pollscope-life-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("lock"), "").unwrap();
        let dir = sys::open_dir(&path).unwrap();
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let (pid, start) = (child.id(), sys::process_start(child.id()));
        assert_eq!(life(&dir, pid, start).unwrap(), Life::Silent);
        child.kill().unwrap();
        for _ in 0..1000 {
            if std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(life(&dir, pid, start).unwrap(), Life::Dead);
        child.wait().unwrap();
        std::fs::remove_dir_all(path).unwrap();
    }
}
