//! Files mapped into the service: made, reserved, mapped, and never unmapped while the process lives.

use crate::sys;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::AtomicU64;

/// Makes a new file of whole words, reserves its bytes and maps it. On failure no file is left.
pub fn create(path: &Path, bytes: usize, mode: u32) -> io::Result<&'static [AtomicU64]> {
    let file = create_file(path, mode)?;
    let mapped = sys::allocate(&file, bytes as u64).and_then(|()| map(&file, bytes));
    if mapped.is_err() {
        let _ = std::fs::remove_file(path);
    }
    mapped
}

/// Makes a new file, for this process alone to make.
pub fn create_file(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)?;
    // The umask may have taken the group's bits.
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    Ok(file)
}

fn map(file: &File, bytes: usize) -> io::Result<&'static [AtomicU64]> {
    // SAFETY: a fresh shared mapping of `bytes` reserved bytes, page-aligned and never unmapped. Other
    // processes can change its words at any time, which is what atomics are for; no other reference type to it
    // is ever made. It could only vanish if a process of our own uid truncated the file.
    unsafe {
        let start = libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        );
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(std::slice::from_raw_parts(start.cast::<AtomicU64>(), bytes / 8))
    }
}
