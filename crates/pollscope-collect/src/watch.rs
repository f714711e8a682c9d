//! What threads do now: their words, read beside the rings, so that a poll is seen while it lasts.

use crate::clock::ClockLine;
use pollscope_model::UnixNanos;
use pollscope_model::event::{LocalSpanId, SessionId, TaskId, ThreadId};
use pollscope_wire::ids::ID_MASK;
use pollscope_wire::layout::{Section, words};
use pollscope_wire::reader::SessionFiles;
use pollscope_wire::sys;
use std::sync::atomic::{Ordering, fence};

/// One thread as its words show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadNow {
    /// Its session.
    pub session: SessionId,
    /// The thread.
    pub thread: ThreadId,
    /// The innermost task being polled, and since when.
    pub polling: Option<(TaskId, UnixNanos)>,
    /// Start of the outermost poll under way: blocked is judged on that one.
    pub outermost: Option<UnixNanos>,
    /// That start as the service wrote it: a request for a stack names the poll by it.
    pub outermost_tick: u64,
    /// The current span.
    pub span: Option<LocalSpanId>,
    /// Since when it is parked, if it is.
    pub parked: Option<UnixNanos>,
    /// The thread kept writing while it was read: no identity is claimed, only the times may be used.
    pub moving: bool,
}

impl ThreadNow {
    pub(crate) fn new(
        session: SessionId,
        whole: bool,
        w: &[u64; words::WORDS],
        start_tick: u64,
        line: &mut ClockLine,
    ) -> ThreadNow {
        let mut time = |tick: u64| (tick != 0).then(|| line.time(tick));
        let task = (whole && w[words::TASK] & ID_MASK != 0).then_some(TaskId(w[words::TASK] & ID_MASK));
        let is_parked = w[words::PARK] & 0xff == 1;
        ThreadNow {
            session,
            thread: ThreadId(w[words::WRITER]),
            polling: task.zip(time(w[words::POLL_START])),
            outermost: time(w[words::OUTER_START]),
            outermost_tick: w[words::OUTER_START],
            span: (whole && w[words::SPAN] != 0).then_some(LocalSpanId(w[words::SPAN])),
            parked: is_parked.then(|| time(start_tick.saturating_add(w[words::PARK] >> 8))).flatten(),
            moving: !whole,
        }
    }
}

/// The words of all threads, and whether each thread's are of one moment. They stand side by side and are
/// copied together, the sequences before and after.
pub(crate) fn thread_words(files: &SessionFiles) -> Vec<(bool, [u64; words::WORDS])> {
    let used = files.used(Section::Threads).unwrap_or(0);
    let copy = || -> Vec<[u64; words::WORDS]> {
        let mut all = vec![0; used as usize * words::WORDS];
        let wide = files.section(Section::Words).stride != words::WORDS as u64 * 8;
        if wide || files.entries(Section::Words, 0, &mut all).is_err() {
            for (index, entry) in all.chunks_exact_mut(words::WORDS).enumerate() {
                // What cannot be read stays zero: a thread that does nothing.
                let _ = files.entry(Section::Words, index as u64, entry);
            }
        }
        fence(Ordering::Acquire);
        all.as_chunks().0.to_vec()
    };
    let (before, data, after) = (copy(), copy(), copy());
    let sequences = before.iter().zip(&after).map(|(before, after)| (before[words::SEQ], after[words::SEQ]));
    let whole = sequences.map(|(before, after)| before == after && before & 1 == 0);
    whole.zip(data).collect()
}

/// Whether the process still maps this session's `control`: it lives, though its lock was dropped. `None`: we may not
/// know.
pub(crate) fn is_mapped(files: &SessionFiles, pid: u32) -> Option<bool> {
    let inode = sys::inode(&files.control().metadata().ok()?);
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    Some(maps.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(4);
        fields.next().and_then(|field| field.parse().ok()) == Some(inode) && line.ends_with("/control")
    }))
}
