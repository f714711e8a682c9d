//! The raw calls of Linux and macOS.

use super::{Owner, Space};
use std::ffi::CString;
use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Whether sessions can be made and read here.
pub const SUPPORTED: bool = true;

fn clock(id: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is ours and large enough; the call keeps no pointer.
    unsafe { libc::clock_gettime(id, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// CLOCK_MONOTONIC in nanoseconds.
#[inline]
pub fn monotonic() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

/// CLOCK_REALTIME in nanoseconds.
pub fn realtime() -> u64 {
    clock(libc::CLOCK_REALTIME)
}

/// CLOCK_BOOTTIME in nanoseconds, where there is one.
pub fn boottime() -> u64 {
    #[cfg(target_os = "linux")]
    return clock(libc::CLOCK_BOOTTIME);
    #[cfg(not(target_os = "linux"))]
    monotonic()
}

/// The kernel's id of this thread.
pub fn thread_id() -> u32 {
    #[cfg(target_os = "linux")]
    // SAFETY: takes nothing and cannot fail.
    return unsafe { libc::gettid() as u32 };
    #[cfg(not(target_os = "linux"))]
    {
        let mut id = 0u64;
        // SAFETY: `id` is ours; 0 means the calling thread.
        unsafe { libc::pthread_threadid_np(0, &mut id) };
        id as u32
    }
}

/// This process's user id.
pub fn uid() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// Reads words at a byte offset: all of them, or an error (a truncated file is `UnexpectedEof`).
pub fn read_words(file: &File, words: &mut [u64], offset: u64) -> io::Result<()> {
    let bytes = std::mem::size_of_val(words);
    let mut done = 0;
    while done < bytes {
        // SAFETY: the destination is `words`' own memory from `done` on, which any bytes may fill.
        let got = unsafe {
            libc::pread(
                file.as_raw_fd(),
                words.as_mut_ptr().cast::<u8>().add(done).cast(),
                bytes - done,
                (offset + done as u64) as libc::off_t,
            )
        };
        match got {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n if n > 0 => done += n as usize,
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

fn record_lock() -> libc::flock {
    // SAFETY: `flock` is plain numbers: all zero is a value of it.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as _;
    lock.l_whence = libc::SEEK_SET as _;
    lock
}

/// Takes the POSIX record lock on a whole file for this process. Closing any descriptor of the file drops it.
pub fn lock_record(file: &File) -> io::Result<()> {
    let lock = record_lock();
    // SAFETY: `lock` lives over the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Who holds the POSIX record lock: the pid as seen from here (0: in another pid namespace), `None`: nobody.
pub fn record_lock_holder(file: &File) -> io::Result<Option<u32>> {
    let mut lock = record_lock();
    // SAFETY: `lock` lives over the call, which writes to it.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &mut lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ if lock.l_type == libc::F_UNLCK as libc::c_short => Ok(None),
        _ => Ok(Some(lock.l_pid.max(0) as u32)),
    }
}

/// Reserves all bytes of a file now, so that a full file system is an error here and not a SIGBUS later.
pub fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        // A profiler's signals may interrupt it, each time anew.
        for _ in 0..100 {
            // SAFETY: takes numbers only.
            match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, bytes as libc::off_t) } {
                0 => return Ok(()),
                libc::EINTR => {}
                code => return Err(io::Error::from_raw_os_error(code)),
            }
        }
        Err(io::ErrorKind::Interrupted.into())
    }
    #[cfg(not(target_os = "linux"))]
    {
        use std::io::Write;
        // No call reserves without writing there: zeros do.
        let mut file = file;
        let zeros = [0u8; 64 * 1024];
        let mut left = bytes as usize;
        while left > 0 {
            let n = left.min(zeros.len());
            file.write_all(&zeros[..n])?;
            left -= n;
        }
        Ok(())
    }
}

/// Asks the file system that holds `path`.
pub fn space(path: &Path) -> io::Result<Space> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `statfs` is plain numbers; the call fills it and keeps no pointer.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers live over the call.
    if unsafe { libc::statfs(path.as_ptr(), &mut stat) } == -1 {
        return Err(io::Error::last_os_error());
    }
    #[cfg(target_os = "linux")]
    let tmpfs = stat.f_type == libc::TMPFS_MAGIC as _;
    // There is no tmpfs there; the per-user temporary directory is the best that can be had.
    #[cfg(not(target_os = "linux"))]
    let tmpfs = true;
    Ok(Space { tmpfs, free: stat.f_bavail as u64 * stat.f_bsize as u64 })
}

/// One word that reads 1 in this process and 0 in a forked child.
pub fn enable_word() -> io::Result<&'static AtomicU64> {
    // SAFETY: a new private mapping, never unmapped, aligned to a page: an `AtomicU64` may live at its start
    // for ever. Only this process can reach it; after a fork the kernel gives the child a page of zeros.
    unsafe {
        let page = libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANON,
            -1,
            0,
        );
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        #[cfg(target_os = "linux")]
        if libc::madvise(page, 4096, libc::MADV_WIPEONFORK) == -1 {
            return Err(io::Error::last_os_error());
        }
        let word = &*page.cast::<AtomicU64>();
        word.store(1, Ordering::Relaxed);
        Ok(word)
    }
}

/// Registers a function to run at `exit`.
pub fn at_exit(run: extern "C" fn()) -> bool {
    // SAFETY: `run` is a function of this program; pollscope lives in a library that is never unloaded.
    unsafe { libc::atexit(run) == 0 }
}

/// Opens a directory itself, not what a symbolic link names.
pub fn open_dir(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)
}

/// Opens a regular file in an opened directory for reading (and writing, if asked): no link is followed, no
/// FIFO waited for.
pub fn open_in(dir: &File, name: &str, write: bool) -> io::Result<File> {
    let name = CString::new(name)?;
    let access = if write { libc::O_RDWR } else { libc::O_RDONLY };
    let flags = access | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // SAFETY: `name` lives over the call.
    let fd = unsafe { libc::openat(dir.as_raw_fd(), name.as_ptr(), flags) };
    if fd == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just given us this descriptor; nobody else has it.
    let file = unsafe { File::from_raw_fd(fd) };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is not a regular file")));
    }
    Ok(file)
}

/// Removes a name from an opened directory; `directory` says what it must be.
pub fn remove_in(dir: &File, name: &str, directory: bool) -> io::Result<()> {
    let name = CString::new(name)?;
    let flags = if directory { libc::AT_REMOVEDIR } else { 0 };
    // SAFETY: `name` lives over the call.
    match unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), flags) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Who owns a file.
pub fn owner(meta: &Metadata) -> Owner {
    Owner { uid: meta.uid(), gid: meta.gid(), mode: meta.mode() }
}

/// A file's number on its file system.
pub fn inode(meta: &Metadata) -> u64 {
    meta.ino()
}

/// Bytes that a file takes on its file system.
pub fn bytes_taken(meta: &Metadata) -> u64 {
    meta.blocks() * 512
}

/// Makes a directory, and those above it if asked.
pub fn make_dir(path: &Path, mode: u32, above: bool) -> io::Result<()> {
    DirBuilder::new().recursive(above).mode(mode).create(path)
}

/// Gives a file or directory to a group.
pub fn set_group(path: &Path, group: u32) -> io::Result<()> {
    std::os::unix::fs::chown(path, None, Some(group))
}

/// Sets the mode of a file or directory.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(mode))
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
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// Maps so many reserved bytes of a file, for as long as the process lives.
pub fn map(file: &File, bytes: usize) -> io::Result<&'static [AtomicU64]> {
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
