//! The process's one session, and whether recording is on.
//!
//! Recording is on while the enable word reads 1. It lies on a page that a forked child finds wiped, so the
//! child records nothing into its parent's session; closing the session stores 0.

use pollscope_wire::layout::{Counter, State};
use pollscope_wire::session::{InfoValue, Session};
use pollscope_wire::sys;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The session and what goes with it.
pub(crate) struct Global {
    pub session: &'static Session,
    /// 1 while this process records.
    pub enabled: &'static AtomicU64,
    /// Poll time above which a poll counts as slow, in ticks as far as they are known at start.
    pub slow_poll_ticks: u64,
    /// The tick's rate, as far as it is known at start.
    ticks_per_ns: f64,
    pub traces: crate::span::Traces,
    /// The counters of which a line was said, by bit.
    told: AtomicU64,
}

/// What may be refused, and what a line says of it.
const REFUSALS: [(Counter, &str); 6] = [
    (
        Counter::ThreadsRefused,
        "a thread runs unrecorded: raise POLLSCOPE_MAX_THREADS, or give the session's directory more room",
    ),
    (
        Counter::TasksRefused,
        "a task runs unrecorded: raise POLLSCOPE_MAX_TASKS, or give the session's directory more room",
    ),
    (
        Counter::SpansWithoutSlot,
        "an open span would not be known after a crash: raise POLLSCOPE_MAX_TASKS, or give the session's \
         directory more room",
    ),
    (Counter::KeysRefused, "there are too many names of tasks and spans: the rest is counted as `other`"),
    (
        Counter::RowsRefused,
        "counters of a thread are missing: raise POLLSCOPE_MAX_ROWS, or give the session's directory more room",
    ),
    (Counter::StringsRefused, "there are too many names and places: the rest is recorded without"),
];

impl Global {
    /// Whether this process records.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.enabled.load(Ordering::Relaxed) == 1
    }

    /// So many nanoseconds in ticks, about.
    pub fn ticks(&self, ns: u64) -> u64 {
        (ns as f64 * self.ticks_per_ns) as u64
    }

    /// So many ticks in nanoseconds, about.
    #[cfg(feature = "tracing")]
    pub fn nanos(&self, ticks: u64) -> u64 {
        (ticks as f64 / self.ticks_per_ns) as u64
    }

    /// Says once of each kind that something was refused. The counters stand in the session.
    #[cold]
    pub fn tell_refusals(&self) {
        for (counter, text) in REFUSALS {
            let bit = 1 << counter as u64;
            if self.session.counted(counter) > 0 && self.told.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
                say(format_args!(
                    "partly recorded: {text} (counted as {})",
                    Counter::NAMES[counter as usize]
                ));
            }
        }
    }
}

/// A line on standard error, where it can be written: a closed one is no reason to panic.
pub(crate) fn say(text: std::fmt::Arguments<'_>) {
    let _ = std::io::stderr().write_all(format!("pollscope: {text}\n").as_bytes());
}

static GLOBAL: OnceLock<Global> = OnceLock::new();

/// The session, if there is one.
#[inline]
pub(crate) fn global() -> Option<&'static Global> {
    GLOBAL.get()
}

/// The session, if there is one and this process records.
#[inline]
pub(crate) fn recording() -> Option<&'static Global> {
    GLOBAL.get().filter(|global| global.is_on())
}

/// Whether this process records.
#[inline]
pub fn is_recording() -> bool {
    recording().is_some()
}

/// Whether a `tracing` layer of ours was made.
static LAYER: AtomicBool = AtomicBool::new(false);

/// Notes that one was made: the session says so, that a missing one can be told from outside.
#[cfg(feature = "tracing")]
pub(crate) fn layer_made() {
    if !LAYER.swap(true, Ordering::Relaxed)
        && let Some(global) = recording()
    {
        tell_layer(global.session);
    }
}

/// The service has a subscriber without our layer.
#[cfg(feature = "tracing")]
pub(crate) fn foreign_subscriber() {
    let Some(global) = recording() else { return };
    global.session.info(false, "tracing.foreign", &InfoValue::Bool(true));
    say(format_args!(
        "spans of `tracing` are not recorded, for the service's subscriber lacks our layer; add it first: \
         tracing_subscriber::registry().with(pollscope::layer()).with(tracing_subscriber::fmt::layer()\
         .with_filter(tracing_subscriber::filter::LevelFilter::INFO)).init()"
    ));
}

fn tell_layer(session: &Session) {
    session.info(false, "tracing.layer", &InfoValue::Bool(true));
}

/// Installs the session. The first one counts; `None` if there is one already.
pub(crate) fn install(
    session: &'static Session,
    slow_poll_ns: u64,
    traces: crate::span::Traces,
) -> std::io::Result<Option<&'static Global>> {
    let enabled = sys::enable_word()?;
    let ticks_per_ns = ticks_per_ns();
    let slow_poll_ticks = (slow_poll_ns as f64 * ticks_per_ns) as u64;
    let told = AtomicU64::new(0);
    let global = Global { session, enabled, slow_poll_ticks, ticks_per_ns, traces, told };
    if GLOBAL.set(global).is_err() {
        return Ok(None);
    }
    if LAYER.load(Ordering::Relaxed) {
        tell_layer(session);
    }
    sys::at_exit(exited);
    Ok(GLOBAL.get())
}

/// The tick's rate, measured over a millisecond: good enough for a threshold; the agent knows it better.
fn ticks_per_ns() -> f64 {
    use pollscope_wire::clock::pair;
    let first = pair();
    while sys::monotonic() - first.monotonic < 1_000_000 {
        std::hint::spin_loop();
    }
    let last = pair();
    (last.tick - first.tick) as f64 / (last.monotonic - first.monotonic).max(1) as f64
}

extern "C" fn exited() {
    if let Some(global) = recording() {
        global.session.end(State::Exited);
        global.enabled.store(0, Ordering::Relaxed);
    }
}

/// Keeps the session open; dropping it closes the session: from then on nothing is recorded.
#[must_use = "the session is closed when the guard is dropped"]
#[derive(Debug)]
pub struct Guard {
    pub(crate) owner: bool,
}

impl Guard {
    /// Whether a session is being recorded.
    pub fn is_recording(&self) -> bool {
        recording().is_some()
    }

    /// The session's directory, while it is recorded.
    pub fn session_dir(&self) -> Option<&'static std::path::Path> {
        recording().map(|global| global.session.dir())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.owner
            && let Some(global) = recording()
        {
            let panicked = std::thread::panicking();
            global.session.end(if panicked { State::Panicked } else { State::Closed });
            global.enabled.store(0, Ordering::Relaxed);
            #[cfg(feature = "tracing")]
            crate::scoped::release();
        }
    }
}
