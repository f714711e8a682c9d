//! The raw calls that nobody offers safely: clocks, locks, space, files in opened directories, mappings.
//!
//! They exist for Linux and macOS. Anywhere else their twins refuse, so that no session is ever made or read, and all
//! that stands on them compiles. `--cfg nowhere` chooses the twins here too, for a test of what they come to.

#[cfg_attr(all(any(target_os = "linux", target_os = "macos"), not(nowhere)), path = "sys/unix.rs")]
#[cfg_attr(not(all(any(target_os = "linux", target_os = "macos"), not(nowhere))), path = "sys/other.rs")]
mod family;

pub use family::*;

use crate::layout::ClockKind;
use std::sync::atomic::{AtomicU8, Ordering};

static KIND: AtomicU8 = AtomicU8::new(0);

/// What a tick is on this machine: the raw counter only where the kernel itself trusts it.
pub fn clock_kind() -> ClockKind {
    match KIND.load(Ordering::Relaxed) {
        1 => ClockKind::Monotonic,
        2 => ClockKind::Tsc,
        3 => ClockKind::Cntvct,
        _ => {
            let kind = detect();
            KIND.store(kind as u8, Ordering::Relaxed);
            kind
        }
    }
}

fn detect() -> ClockKind {
    if cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        return match std::fs::read_to_string(path) {
            Ok(source) if source.trim() == "tsc" => ClockKind::Tsc,
            _ => ClockKind::Monotonic,
        };
    }
    if cfg!(target_arch = "aarch64") && SUPPORTED { ClockKind::Cntvct } else { ClockKind::Monotonic }
}

/// The tick now. [`clock_kind`] must have been called once; before that it is CLOCK_MONOTONIC.
#[inline]
pub fn tick() -> u64 {
    #[cfg(target_arch = "x86_64")]
    if KIND.load(Ordering::Relaxed) == ClockKind::Tsc as u8 {
        // SAFETY: every x86_64 processor has the instruction, and it touches no memory.
        return unsafe { core::arch::x86_64::_rdtsc() };
    }
    #[cfg(target_arch = "aarch64")]
    if KIND.load(Ordering::Relaxed) == ClockKind::Cntvct as u8 {
        let ticks: u64;
        // SAFETY: reads a register that user code may read on Linux and macOS; touches no memory.
        unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
        return ticks;
    }
    monotonic()
}

/// Who owns a file, and what its mode allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Mode bits.
    pub mode: u32,
}

/// What a directory's file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Memory-backed: mapped writes never wait for a disk.
    pub tmpfs: bool,
    /// Bytes free for this user.
    pub free: u64,
}

/// Start time of a process, field 22 of `/proc/PID/stat`; 0 where there is no such file, or where the process is over and
/// only waits for its parent to ask how.
pub fn process_start(pid: u32) -> u64 {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return 0 };
    if is_over(&stat, pid) { 0 } else { field(&stat, 22).parse().unwrap_or(0) }
}

/// Whether a process can be seen, and nothing of it will run any more.
pub fn process_over(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| is_over(&stat, pid))
}

/// The main thread may end before the others, and the process live on: each of them counts.
fn is_over(stat: &str, pid: u32) -> bool {
    is_ended(stat) && {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        // One that cannot be read has gone meanwhile.
        let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
        all_ended(stats)
    }
}

fn all_ended(stats: impl IntoIterator<Item = String>) -> bool {
    stats.into_iter().all(|stat| is_ended(&stat))
}

/// Whether a thread has ended, or is in the kernel to end.
fn is_ended(stat: &str) -> bool {
    const EXITING: u64 = 4;
    matches!(field(stat, 3), "Z" | "X") || field(stat, 9).parse().is_ok_and(|flags: u64| flags & EXITING != 0)
}

/// A field of a `stat`, from the third on.
fn field(stat: &str, n: usize) -> &str {
    // The command may hold spaces and brackets: fields count from the last one, which ends the second.
    let after = stat.rsplit(')').next().unwrap_or_default();
    after.split_ascii_whitespace().nth(n - 3).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_over_when_all_its_threads_are() {
        let stat = |state: &str, flags: u32| {
            format!("7 (a) b) {state} 1 7 7 0 -1 {flags} 1 2 3 4 5 6 7 8 20 0 3 0 4711 8192 25")
        };
        assert_eq!(field(&stat("S", 0), 22), "4711");
        let ended =
            |threads: &[(&str, u32)]| all_ended(threads.iter().map(|(state, flags)| stat(state, *flags)));
        assert!(ended(&[("Z", 0x40_0000), ("X", 0), ("R", 0x40_0004)]));
        assert!(!ended(&[("Z", 0x40_0004), ("S", 0x40_0000)]), "its main thread alone is over");
        assert!(!ended(&[("S", 0)]) && !is_ended("7 (cut"));
        let own = std::process::id();
        assert!(!process_over(own) && (process_start(own) > 0 || !cfg!(target_os = "linux")));
    }
}
