//! The twins of the raw calls where there is no session: each refuses.

use super::{Owner, Space};
use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::time::{Instant, SystemTime};

/// Whether sessions can be made and read here.
pub const SUPPORTED: bool = false;

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "pollscope records on Linux and macOS"))
}

/// Nanoseconds since this was first asked.
pub fn monotonic() -> u64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    FIRST.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// The wall clock in nanoseconds.
pub fn realtime() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// As [`monotonic`].
pub fn boottime() -> u64 {
    monotonic()
}

/// 0: no id of a thread is known.
pub fn thread_id() -> u32 {
    0
}

/// 0: users have no numbers.
pub fn uid() -> u32 {
    0
}

/// Says that no function will run at `exit`.
pub fn at_exit(_: extern "C" fn()) -> bool {
    false
}

/// Nobody.
pub fn owner(_: &Metadata) -> Owner {
    Owner { uid: 0, gid: 0, mode: 0 }
}

/// 0: unknown.
pub fn inode(_: &Metadata) -> u64 {
    0
}

/// Bytes of the file.
pub fn bytes_taken(meta: &Metadata) -> u64 {
    meta.len()
}

macro_rules! refuse {
    ($($name:ident($($argument:ty),*) -> $out:ty;)*) => {$(
        /// Refuses.
        pub fn $name($(_: $argument),*) -> io::Result<$out> {
            refused()
        }
    )*};
}

refuse! {
    read_words(&File, &mut [u64], u64) -> ();
    lock_record(&File) -> ();
    record_lock_holder(&File) -> Option<u32>;
    allocate(&File, u64) -> ();
    space(&Path) -> Space;
    enable_word() -> &'static AtomicU64;
    open_dir(&Path) -> File;
    open_in(&File, &str, bool) -> File;
    remove_in(&File, &str, bool) -> ();
    make_dir(&Path, u32, bool) -> ();
    set_group(&Path, u32) -> ();
    set_mode(&Path, u32) -> ();
    create_file(&Path, u32) -> File;
    map(&File, usize) -> &'static [AtomicU64];
}
