//! The raw calls that nobody offers safely: clocks, locks, space, and reading words.

use crate::layout::ClockKind;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

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
    if cfg!(target_arch = "aarch64") { ClockKind::Cntvct } else { ClockKind::Monotonic }
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
        // SAFETY: reads a register that user code may read on every system we build for; touches no memory.
        unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
        return ticks;
    }
    monotonic()
}

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

/// What a directory's file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Memory-backed: mapped writes never wait for a disk.
    pub tmpfs: bool,
    /// Bytes free for this user.
    pub free: u64,
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

/// Start time of a process, field 22 of `/proc/PID/stat`; 0 where there is no such file.
pub fn process_start(pid: u32) -> u64 {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return 0 };
    // The command may hold spaces and brackets: fields count from the last one.
    let after = stat.rsplit(')').next().unwrap_or_default();
    after.split_ascii_whitespace().nth(19).and_then(|field| field.parse().ok()).unwrap_or(0)
}

/// Opens a directory itself, not what a symbolic link names.
pub fn open_dir(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)
}

/// Opens a regular file in an opened directory for reading (and writing, if asked): no link is followed, no
/// FIFO waited for.
pub fn open_in(dir: &File, name: &str, write: bool) -> io::Result<File> {
    use std::os::fd::FromRawFd;
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
