//! Sessions written by this very process through the service's own writer, and read back through the collector.
#![allow(dead_code, reason = "each test file uses its part")]

use pollscope_collect::{Collector, Notice, Options, Round};
use pollscope_model::event::{Class, Event, SessionId};
use pollscope_wire::layout::{ClockKind, State, header, pack};
use pollscope_wire::record::{Poll, kind, poll};
use pollscope_wire::session::{self, InfoValue, Registration, Session, ThreadHandle};
use pollscope_wire::sys;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

static PLACES: AtomicU32 = AtomicU32::new(0);

/// A pid that no machine gives.
pub const NOBODY: u32 = 0x7fff_fff0;

/// A directory of sessions, removed with all that is in it.
pub struct Place(PathBuf);

impl Place {
    pub fn new() -> Place {
        let base = if cfg!(target_os = "linux") { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let number = PLACES.fetch_add(1, Ordering::Relaxed);
        let place = base.join(format!("pollscope-collect-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        Place(place)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn session(&self) -> &'static Session {
        self.session_with(64 << 10)
    }

    pub fn session_with(&self, worker_ring_bytes: u64) -> &'static Session {
        let options = session::Options {
            place: self.0.clone(),
            group: None,
            max_tasks: 10_000,
            max_rows: 100,
            max_threads: 64,
            rings: pollscope_wire::place::RingSizes::fixed(worker_ring_bytes),
            slow_poll_ns: 10_000_000,
            resource: vec![("service.name".into(), InfoValue::Str("till".into()))],
            facts: vec![("exe".into(), "/usr/bin/till".into())],
        };
        Session::create(&options).unwrap()
    }

    pub fn options(&self) -> Options {
        Options { dirs: vec![self.0.clone()], ..Options::default() }
    }

    pub fn collector(&self) -> Collector {
        Collector::new(self.options())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A worker of the session.
pub fn worker(session: &Session) -> ThreadHandle {
    let registration = Registration { kind: 2, name: "worker-0", runtime: 0, worker: Some(0) };
    session.register(&registration).unwrap()
}

/// Writes over words of a session's file.
pub fn patch(dir: &Path, file: &str, word: u64, value: u64) {
    let file = File::options().write(true).open(dir.join(file)).unwrap();
    file.write_all_at(&value.to_le_bytes(), word * 8).unwrap();
}

/// Makes a session look as after the death of its process, on a machine started at another time; one tick is
/// one nanosecond then, so that times can be expected exactly.
pub fn kill(session: &Session) {
    patch(session.dir(), "control", header::PID as u64, pack(NOBODY, sys::uid()));
    let running = pack(State::Running as u32, ClockKind::Monotonic as u32);
    patch(session.dir(), "control", header::STATE as u64, running);
    patch(session.dir(), "control", header::START_BOOTTIME as u64, 0);
}

/// Writes a short poll of `task`.
pub fn write_poll(thread: &mut ThreadHandle, task: u64, end: u64, busy: u64) {
    let told = Poll { task, busy, flags: poll::UNWOKEN, ordinal: task as u8, ..Poll::default() };
    let (flags, body) = told.encode_short();
    thread.poll.write(kind::POLL, flags, end, &body);
}

/// Looks once, and reads until nothing more stands there.
pub fn read_all(collector: &mut Collector) -> (Vec<Notice>, Vec<Event>, Round) {
    let notices = collector.discover();
    let mut facts = Vec::new();
    let mut sum = Round::default();
    for _ in 0..1000 {
        let round = collector.round(&mut |_: SessionId, event| facts.push(event));
        sum.records += round.records;
        sum.lost += round.lost;
        if !round.more {
            break;
        }
    }
    (notices, facts, sum)
}

/// Records told as read and as lost, by class.
pub fn counts(facts: &[Event]) -> ([u64; 3], [u64; 3]) {
    let (mut read, mut lost) = ([0; 3], [0; 3]);
    let index =
        |class: &Class| [Class::Polls, Class::SpanEnds, Class::Others].iter().position(|c| c == class);
    for event in facts {
        match event {
            Event::Read { class, records, .. } => read[index(class).unwrap()] += records,
            Event::Lost { class, records, .. } => lost[index(class).unwrap()] += records,
            _ => {}
        }
    }
    (read, lost)
}

/// Records written to a thread's span and poll ring, by class.
pub fn written(thread: &ThreadHandle) -> [u64; 3] {
    let (span, poll) = (thread.span.totals(), thread.poll.totals());
    std::array::from_fn(|class| span[class] + poll[class])
}
