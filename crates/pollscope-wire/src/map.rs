//! Files mapped into the service: made, reserved, mapped, and never unmapped while the process lives.

use crate::sys;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;

/// Makes a new file of whole words, reserves its bytes and maps it. On failure no file is left.
pub fn create(path: &Path, bytes: usize, mode: u32) -> io::Result<&'static [AtomicU64]> {
    let file = sys::create_file(path, mode)?;
    let mapped = sys::allocate(&file, bytes as u64).and_then(|()| sys::map(&file, bytes));
    if mapped.is_err() {
        let _ = std::fs::remove_file(path);
    }
    mapped
}
