//! A session stays within its bounds: threads that come and go, slots, rows, texts, a full file system, groups
//! and what dead services leave.
#![cfg(not(loom))]

use pollscope_wire::hist;
use pollscope_wire::layout::{ChunkKind, Counter, RingKind, Section, State, row};
use pollscope_wire::modules::Module;
use pollscope_wire::reader::{self, Life, SessionFiles};
use pollscope_wire::session::{InfoValue, Options, Registration, Session, open_first, remove_dead};
use pollscope_wire::sys;
use pollscope_wire::table::{CallsiteDef, KeyDef};
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;

/// A directory of its own for each test, gone at the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let base = if cfg!(target_os = "linux") { "/dev/shm".into() } else { std::env::temp_dir() };
        let place = base.join(format!("pollscope-test-{name}-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        Place(place)
    }

    fn options(&self) -> Options {
        Options {
            place: self.0.clone(),
            group: None,
            max_tasks: 10_000,
            max_rows: 100,
            max_threads: 16,
            rings: pollscope_wire::place::RingSizes::fixed(64 << 10),
            slow_poll_ns: 10_000_000,
            resource: vec![("service.name".into(), InfoValue::Str("till".into()))],
            facts: Vec::new(),
        }
    }

    fn session(&self) -> &'static Session {
        Session::create(&self.options()).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const OTHER: Registration<'static> = Registration { kind: 5, name: "short", runtime: 0, worker: None };

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn files_of(dir: &Path, stem: &str) -> usize {
    let names = fs::read_dir(dir).unwrap().flatten();
    names.filter(|entry| entry.file_name().to_string_lossy().starts_with(stem)).count()
}

#[test]
fn ten_thousand_short_threads_stay_within_the_rings_of_sixteen() {
    let place = Place::new("threads");
    let session = place.session();
    let mut writers = HashSet::new();
    let mut live = Vec::new();
    for n in 0..10_000u64 {
        let mut thread = session.register(&OTHER).expect("a slot is free");
        assert!(writers.insert(thread.writer), "a writer id is used once");
        thread.poll.write(pollscope_wire::record::kind::PARK, 0, n, &[n]);
        live.push(thread);
        if live.len() == 8 {
            live.drain(..).for_each(|thread| session.retire(thread));
        }
    }
    live.drain(..).for_each(|thread| session.retire(thread));
    assert_eq!(session.counted(Counter::ThreadsRefused), 0);
    let files = SessionFiles::open(session.dir()).unwrap();
    assert_eq!(files.used(Section::Threads).unwrap(), 8, "as many slots as lived at one time");
    assert_eq!(files_of(session.dir(), "rings-"), 1);
    assert!((0..8).all(|slot| !files.thread(slot).unwrap().live));
}

#[test]
fn the_slot_that_retired_first_is_taken_first_and_its_ring_goes_on() {
    let place = Place::new("reuse");
    let session = place.session();
    let threads: Vec<_> = (0..3).map(|_| session.register(&OTHER).unwrap()).collect();
    let (mut slots, mut heads) = (Vec::new(), Vec::new());
    for thread in threads.into_iter().rev() {
        slots.push(thread.slot);
        heads.push(thread.poll.head());
        session.retire(thread);
    }
    for (slot, head) in slots.into_iter().zip(heads) {
        let thread = session.register(&OTHER).unwrap();
        assert_eq!(thread.slot, slot);
        assert!(thread.poll.head() > head, "positions are never reset");
        session.retire(thread);
    }
}

#[test]
fn more_threads_than_slots_are_refused_and_counted() {
    let place = Place::new("refused");
    let session = place.session();
    let live: Vec<_> = (0..16).map(|_| session.register(&OTHER).unwrap()).collect();
    assert!(session.register(&OTHER).is_none());
    assert_eq!(session.counted(Counter::ThreadsRefused), 1);
    live.into_iter().for_each(|thread| session.retire(thread));
    assert!(session.register(&OTHER).is_some());
}

#[test]
fn rings_stay_within_their_budget_and_workers_within_theirs() {
    let place = Place::new("budget");
    let rings = pollscope_wire::place::RingSizes { worker: 1 << 20, budget: 4 << 20 };
    let options = Options { rings, max_threads: 1024, ..place.options() };
    let session = Session::create(&options).unwrap();
    let worker = Registration { kind: Registration::WORKER, ..OTHER };
    let fill = |kind| std::iter::from_fn(|| session.register(kind)).count();
    // None takes what the other kind's are to have.
    let (others, workers) = (fill(&OTHER), fill(&worker));
    assert!(others > 50 && workers > 20, "{others} others, {workers} workers");
    assert!(session.counted(Counter::ThreadsRefused) == 2 && session.counted(Counter::FilesRefused) == 0);
    let files = SessionFiles::open(session.dir()).unwrap();
    let sizes = |range: std::ops::Range<usize>| -> Vec<u64> {
        let slots = range.map(|slot| files.thread(slot as u64).unwrap());
        slots.map(|slot| slot.rings.iter().map(|ring| ring.blocks * 4096).sum()).collect()
    };
    for sizes in [sizes(0..others), sizes(others..others + workers)] {
        assert!(sizes.is_sorted_by(|a, b| a >= b) && *sizes.last().unwrap() >= 48 << 10, "{sizes:?}");
        assert!(sizes.iter().sum::<u64>() <= rings.budget, "{sizes:?}");
    }
    let names = fs::read_dir(session.dir()).unwrap().flatten();
    let names = names.filter(|entry| entry.file_name().to_string_lossy().starts_with("rings-"));
    let bytes: u64 = names.map(|entry| entry.metadata().unwrap().len()).sum();
    assert!(bytes <= 2 * rings.budget, "{bytes}");
}

#[test]
fn two_hundred_thousand_tasks_find_slots_of_their_own() {
    let place = Place::new("tasks");
    let session = Session::create(&Options { max_tasks: 200_000, ..place.options() }).unwrap();
    let (mut all, mut batch) = (HashSet::new(), Vec::new());
    loop {
        batch.clear();
        session.take_slots(session.tasks(), 64, &mut batch);
        if batch.is_empty() {
            break;
        }
        for slot in &batch {
            assert!(all.insert(*slot), "slot {slot} was given twice");
            let words = session.task(*slot).expect("its chunk is made");
            words[1].store(*slot as u64 + 1, std::sync::atomic::Ordering::Relaxed);
        }
    }
    assert_eq!(all.len(), 200_000);
    assert_eq!(files_of(session.dir(), "slots-"), 200_000usize.div_ceil(ChunkKind::Tasks.per_chunk()));
    // What the reader finds under a number is what was written there.
    let mut files = SessionFiles::open(session.dir()).unwrap();
    let mut seen = 0;
    for chunk in files.chunks().unwrap() {
        for index in 0..chunk.count {
            let mut words = [0; 2];
            files.slot(&chunk, index, &mut words).unwrap();
            let expected = chunk.first + index + 1;
            assert!(words[1] == expected as u64 || expected > 200_000);
            seen += (words[1] != 0) as u32;
        }
    }
    assert_eq!(seen, 200_000);
    session.tasks().give(&[5, 6]);
    batch.clear();
    session.take_slots(session.tasks(), 64, &mut batch);
    batch.sort();
    assert_eq!(batch, [5, 6]);
}

#[test]
fn a_key_whose_rows_run_out_is_partial_for_good() {
    let place = Place::new("rows");
    let session = Session::create(&Options { max_rows: 3, ..place.options() }).unwrap();
    let key = |name| session.key(KeyDef { kind: 1, runtime: 0, callsite: 0, name, future: 0, what: 0 });
    let (first, second) = (key(1), key(2));
    assert!((0..2).all(|slot| session.row(slot, first).is_some()));
    assert!(session.row(0, second).is_some());
    assert!(session.row(1, second).is_none(), "the fourth");
    assert!(session.row(0, second).is_some(), "those there are stay");
    assert_eq!(session.counted(Counter::RowsRefused), 1);
    let files = SessionFiles::open(session.dir()).unwrap();
    assert!(!files.key(first).unwrap().partial);
    let partial = files.key(second).unwrap();
    assert!(partial.partial);
    assert_eq!((partial.kind, partial.name), (1, 2), "the mark changes nothing else");
}

#[test]
fn keys_beyond_the_table_count_as_other() {
    let place = Place::new("keys");
    let session = place.session();
    let key = |name| session.key(KeyDef { kind: 1, runtime: 0, callsite: 0, name, future: 0, what: 0 });
    let last = pollscope_wire::layout::MAX_KEYS as u32 - 1;
    assert!((1..=last).all(|n| key(n) == n));
    assert_eq!((key(last + 1), key(last + 2)), (0, 0));
    assert_eq!(session.counted(Counter::KeysRefused), 2);
    assert_eq!(key(7), 7, "known ones stay");
    assert!(session.row(0, 0).is_some(), "`other` has rows");
}

#[test]
fn strings_fill_their_arena_and_no_more() {
    let place = Place::new("strings");
    let session = place.session();
    let text = |n: usize| format!("{n:06}{}", "x".repeat(n % 3000));
    let ids: Vec<u32> = (0..1500).map(|n| session.string(&text(n))).collect();
    let full = ids.iter().position(|id| *id == 0).expect("the arena is smaller than that");
    assert!(session.counted(Counter::StringsRefused) > 0);
    let files = SessionFiles::open(session.dir()).unwrap();
    for (n, id) in ids[..full].iter().enumerate() {
        assert_eq!(files.string(*id).unwrap(), text(n));
        assert_eq!(session.string(&text(n)), *id, "a string is interned once");
    }
    let place = CallsiteDef {
        kind: 1,
        name: "",
        target: "never seen before",
        file: &"f".repeat(4000),
        line: 1,
        column: 1,
        severity: 0,
    };
    assert_eq!(session.callsite(&place), 0);
}

#[test]
fn a_text_too_long_is_cut_at_a_character_and_interned_once() {
    let place = Place::new("long");
    let session = place.session();
    let long = "ä".repeat(5_000) + "end";
    let id = session.string(&long);
    assert_eq!(session.string(&long), id);
    session.info(true, "long", &InfoValue::Str(long.clone()));
    session.info(true, "after", &InfoValue::Bool(true));
    let files = SessionFiles::open(session.dir()).unwrap();
    assert_eq!(files.string(id).unwrap(), "ä".repeat(2048));
    let info = files.info().unwrap();
    assert_eq!(info.last().unwrap().value, InfoValue::Bool(true));
    assert!(info.iter().any(|i| i.value == InfoValue::Str("ä".repeat(2048))));
}

#[test]
fn for_its_owner_alone_or_for_a_group() {
    let place = Place::new("modes");
    let session = place.session();
    session.register(&OTHER).unwrap();
    assert_eq!(mode(session.dir()), 0o700);
    for name in ["control", "lock", "request", "rings-000"] {
        assert_eq!(mode(&session.dir().join(name)), 0o600, "{name}");
    }
    let gid = fs::metadata(&place.0).unwrap().gid();
    let session = Session::create(&Options { group: Some(gid), ..place.options() }).unwrap();
    session.register(&OTHER).unwrap();
    session.take_slots(session.tasks(), 1, &mut Vec::new());
    assert_eq!(mode(session.dir()), 0o2750);
    assert_eq!(fs::metadata(session.dir()).unwrap().gid(), gid);
    for name in ["control", "lock", "rings-000", "slots-000"] {
        assert_eq!(mode(&session.dir().join(name)), 0o640, "{name}");
        assert_eq!(fs::metadata(session.dir().join(name)).unwrap().gid(), gid, "{name}");
    }
    assert_eq!(mode(&session.dir().join("request")), 0o660);
}

#[test]
fn a_setgid_parent_hands_its_group_down() {
    let place = Place::new("setgid");
    fs::set_permissions(&place.0, fs::Permissions::from_mode(0o2770)).unwrap();
    if mode(&place.0) & 0o2000 == 0 {
        println!("skipped: this file system takes no setgid bit");
        return;
    }
    let session = place.session();
    assert_eq!(mode(session.dir()), 0o2750);
    assert_eq!(mode(&session.dir().join("request")), 0o660);
}

/// A group that nobody is in.
const GROUP: u32 = 54_321;

/// Opens a session for a group in the directory named, or else by rule.
fn open_for_group(place: &Place, path: PathBuf, named: bool) -> (Option<&'static Session>, Vec<String>) {
    let mut said = Vec::new();
    let at = pollscope_wire::place::Place { path, named };
    let options = |at: &pollscope_wire::place::Place, _| Options {
        place: at.path.clone(),
        group: Some(GROUP),
        ..place.options()
    };
    (open_first(&[at], Some(GROUP), options, |line| said.push(line)), said)
}

#[test]
fn a_group_can_get_to_its_sessions() {
    if sys::uid() != 0 {
        println!("skipped: only root may give files to any group");
        return;
    }
    let place = Place::new("reach");
    for named in [true, false] {
        let path = place.0.join(format!("made-{named}"));
        let session = open_for_group(&place, path.clone(), named).0.unwrap();
        assert_eq!((mode(&path), fs::metadata(&path).unwrap().gid()), (0o750, GROUP));
        assert_eq!((mode(session.dir()), session.group()), (0o2750, Some(GROUP)));
    }
    // What somebody else has made stays as it is.
    let path = place.0.join("there");
    fs::create_dir(&path).unwrap();
    let before = mode(&path);
    open_for_group(&place, path.clone(), true).0.unwrap();
    assert_eq!(mode(&path), before);
    // As $XDG_RUNTIME_DIR is.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    let (session, said) = open_for_group(&place, path.join("pollscope"), false);
    assert!(session.is_none() && said[0].contains("POLLSCOPE_GROUP could not get there"), "{said:?}");
}

/// Run by the test below as a user who is in no group of the directory's: says what it made.
#[test]
fn child_of_another_user() {
    let Ok(dir) = std::env::var("POLLSCOPE_TEST_OTHER") else { return };
    let place = std::mem::ManuallyDrop::new(Place(dir.into()));
    let (session, said) = open_for_group(&place, place.0.clone(), true);
    let session = session.unwrap();
    session.register(&OTHER).unwrap();
    let files = ["", "control", "request", "rings-000"].map(|name| session.dir().join(name));
    let files = files.map(|file| format!("{:o} {}", mode(&file), fs::metadata(&file).unwrap().gid()));
    println!("\nmade: {}; {}", files.join(", "), said.join("; "));
}

#[test]
fn a_user_outside_the_group_is_served_by_a_setgid_directory_or_alone() {
    if sys::uid() != 0 {
        println!("skipped: only root may start another user's process");
        return;
    }
    let place = Place::new("outside");
    let exe = std::env::temp_dir().join(format!("pollscope-test-outside-{}", std::process::id()));
    fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
    fs::set_permissions(&exe, fs::Permissions::from_mode(0o755)).unwrap();
    let made = |dir: &Path| {
        let mut child = Command::new(&exe);
        child.args(["--exact", "child_of_another_user", "--nocapture"]).env("POLLSCOPE_TEST_OTHER", dir);
        let output = child.uid(65534).gid(65534).current_dir("/").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("made: "));
        line.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    let (open, setgid) = (place.0.join("open"), place.0.join("setgid"));
    for (dir, mode) in [(&open, 0o777), (&setgid, 0o2777)] {
        fs::create_dir(dir).unwrap();
        std::os::unix::fs::chown(dir, None, Some(GROUP)).unwrap();
        fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
    }
    assert_eq!(made(&setgid), "2750 54321, 640 54321, 660 54321, 640 54321; ");
    let alone = made(&open);
    assert!(alone.starts_with("700 65534, 600 65534, 600 65534, 600 65534; "), "{alone}");
    assert!(alone.contains("cannot be for group 54321: Operation not permitted"), "{alone}");
    fs::remove_file(exe).unwrap();
}

#[test]
fn of_the_dead_the_newest_is_kept_and_the_living_too() {
    let place = Place::new("dead");
    let sessions: Vec<&Session> = (0..4)
        .map(|_| {
            // Names carry milliseconds: each a later one.
            std::thread::sleep(std::time::Duration::from_millis(3));
            place.session()
        })
        .collect();
    for dead in &sessions[..3] {
        dead.end(State::Closed);
    }
    let foreign = place.0.join("s-foreign");
    fs::create_dir(&foreign).unwrap();
    remove_dead(&place.0, "till", 1);
    let there: Vec<bool> = sessions.iter().map(|session| session.dir().exists()).collect();
    assert_eq!(there, [false, false, true, true]);
    assert!(foreign.exists(), "what is no session is left alone");
}

#[test]
fn of_other_services_the_newest_eight_dead_are_kept() {
    let place = Place::new("others");
    for n in 0..12 {
        // Names carry milliseconds: each a later one.
        std::thread::sleep(std::time::Duration::from_millis(3));
        let resource = vec![("service.name".into(), InfoValue::Str(format!("service {n}")))];
        Session::create(&Options { resource, ..place.options() }).unwrap().end(State::Closed);
    }
    place.session().end(State::Closed);
    remove_dead(&place.0, "till", 1);
    assert_eq!(files_of(&place.0, "s-"), 9);
    remove_dead(&place.0, "service 11", 0);
    assert_eq!(files_of(&place.0, "s-"), 8);
}

#[test]
fn only_names_of_ours_are_removed() {
    let place = Place::new("names");
    let session = place.session();
    session.end(State::Closed);
    let precious = session.dir().join("rings-letters");
    fs::write(&precious, "keep").unwrap();
    assert!(!reader::remove(session.dir()), "something of another's is in it");
    assert!(precious.exists());
    assert!(!session.dir().join("control").exists());
    fs::remove_file(precious).unwrap();
    assert!(reader::remove(session.dir()));
    // A link is not followed.
    let target = place.0.join("target");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("control"), "keep").unwrap();
    let link = place.0.join("s-link");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    assert!(!reader::remove(&link));
    assert!(target.join("control").exists());
}

#[test]
fn what_died_at_birth_is_removed_after_a_minute() {
    let place = Place::new("birth");
    for (name, age) in [(".new-s-1-1-a", 120), (".new-s-1-1-b", 10), (".new-other", 120)] {
        let dir = place.0.join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("lock"), "").unwrap();
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
        fs::File::open(&dir).unwrap().set_modified(time).unwrap();
    }
    remove_dead(&place.0, "till", 1);
    let there = [".new-s-1-1-a", ".new-s-1-1-b", ".new-other"].map(|name| place.0.join(name).exists());
    assert_eq!(there, [false, true, true]);
}

#[test]
fn the_first_word_on_a_sessions_end_counts() {
    let place = Place::new("end");
    let session = place.session();
    session.end(State::Closed);
    session.end(State::Exited);
    let header = SessionFiles::open(session.dir()).unwrap().header().unwrap();
    assert_eq!(header.state, State::Closed as u32);
    assert!(header.end_tick >= header.start_tick);
}

/// Run by the test below in a process of its own: makes a session, says where, and waits to be killed.
#[test]
fn child_holds_a_session() {
    let Ok(place) = std::env::var("POLLSCOPE_TEST_CHILD") else { return };
    let place = std::mem::ManuallyDrop::new(Place(place.into()));
    let session = place.session();
    let mut thread = session.register(&OTHER).unwrap();
    for n in 0..1000 {
        thread.poll.write(pollscope_wire::record::kind::PARK, 0, n, &[n]);
    }
    fs::write(place.0.join("told"), session.dir().to_str().unwrap()).unwrap();
    fs::rename(place.0.join("told"), place.0.join("ready")).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(60));
}

#[test]
fn a_lock_tells_the_living_from_the_killed_and_the_rings_survive() {
    let place = Place::new("kill");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_holds_a_session", "--test-threads=1"])
        .env("POLLSCOPE_TEST_CHILD", &place.0)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let ready = place.0.join("ready");
    for _ in 0..3_000 {
        if ready.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let dir = PathBuf::from(fs::read_to_string(&ready).expect("the child has told its directory"));
    let mut files = SessionFiles::open(&dir).unwrap();
    let header = files.header().unwrap();
    assert_eq!(header.pid, child.id());
    let life = |files: &SessionFiles| reader::life(files.dir(), header.pid, header.process_start).unwrap();
    assert_eq!(life(&files), Life::Live);
    let lock = sys::open_in(files.dir(), "lock", false).unwrap();
    assert_eq!(sys::record_lock_holder(&lock).unwrap(), Some(child.id()));
    remove_dead(&place.0, "till", 0);
    assert!(dir.exists(), "the living are not removed");

    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(life(&files), Life::Dead);
    assert_eq!(files.header().unwrap().state, State::Running as u32, "it died");
    let ring = files.thread(0).unwrap().rings[RingKind::Poll as usize];
    let mut reader = SessionFiles::ring_reader(ring);
    let mut source = files.ring(0, RingKind::Poll, ring).unwrap();
    let batch = reader.read(&mut source, |_, _| {}).unwrap();
    assert_eq!(batch.read[2], 1001, "its records, and the one that names the thread");
    remove_dead(&place.0, "till", 0);
    assert!(!dir.exists());
}

/// A tmpfs of one size, unmounted at the end.
struct Mounted(PathBuf);

impl Mounted {
    fn new(place: &Place, size: &str) -> Option<Mounted> {
        let at = place.0.join("small");
        fs::create_dir(&at).unwrap();
        let options = format!("size={size}");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&at).output();
        match done {
            Ok(output) if output.status.success() => Some(Mounted(at)),
            Ok(output) => {
                println!("skipped: cannot mount a tmpfs: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                println!("skipped: cannot run mount: {error}");
                None
            }
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_file_system_is_an_error_at_creation() {
    let place = Place::new("full");
    let Some(small) = Mounted::new(&place, "1m") else { return };
    let error = Session::create(&Options { place: small.0.clone(), ..place.options() }).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(fs::read_dir(&small.0).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_file_system_that_fills_later_refuses_and_counts() {
    let place = Place::new("fills");
    // Room for `control`, one file of slots, and rings of few threads.
    let Some(small) = Mounted::new(&place, "3m") else { return };
    let options =
        Options { place: small.0.clone(), max_threads: 1000, max_tasks: 100_000, ..place.options() };
    let session = Session::create(&options).unwrap();
    let mut slots = Vec::new();
    session.take_slots(session.tasks(), 100_000, &mut slots);
    assert!(!slots.is_empty() && slots.len() < 100_000);
    assert!(session.counted(Counter::FilesRefused) > 0);
    let mut threads = Vec::new();
    for _ in 0..100 {
        threads.extend(session.register(&OTHER));
    }
    assert!(threads.len() < 100 && session.counted(Counter::ThreadsRefused) > 0);
    for thread in &mut threads {
        for n in 0..100_000 {
            thread.poll.write(pollscope_wire::record::kind::PARK, 0, n, &[n]);
        }
    }
    for slot in slots {
        assert!(session.task(slot).is_some(), "what was given is there");
    }
    let row = session.row(0, 0);
    assert!(row.is_some() || session.counted(Counter::RowsRefused) == 1);
}

#[test]
fn modules_are_told_with_their_build_ids_as_long_as_there_is_room() {
    let place = Place::new("modules");
    let session = place.session();
    let module = |n: u64| Module {
        base: n << 20,
        end: (n << 20) + 4096,
        path: format!("/usr/lib/lib{n}.so"),
        build_id: (0..n as u8 % 33).collect(),
    };
    let told: Vec<Module> = (1..=128).map(module).collect();
    assert!(told.iter().all(|module| session.module(module)));
    assert!(!session.module(&module(129)));
    assert_eq!(session.counted(Counter::StringsRefused), 1);
    assert_eq!(SessionFiles::open(session.dir()).unwrap().modules().unwrap(), told);
}

#[test]
fn rows_of_a_key_are_summed_over_threads() {
    let place = Place::new("rows-read");
    let session = place.session();
    let key = |runtime| KeyDef { kind: 1, runtime, callsite: 0, name: 0, future: 0, what: 0 };
    let keys = [session.key(key(1)), session.key(key(2))];
    for thread in 0..5u32 {
        for (key, times) in keys.into_iter().zip([1, 100]) {
            let row = session.row(thread, key).unwrap();
            row[row::POLLS].store(times * (thread as u64 + 1), Ordering::Relaxed);
            row[row::FIRST_HISTOGRAM + hist::bucket(1000)].store(times, Ordering::Relaxed);
        }
    }
    let rows = SessionFiles::open(session.dir()).unwrap().rows().unwrap();
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), keys);
    for (key, times) in keys.into_iter().zip([1, 100]) {
        let sum = &rows[&key];
        assert_eq!((sum.threads, sum.get(row::POLLS), sum.get(row::BUSY)), (5, 15 * times, 0));
        assert_eq!(sum.histograms[0][hist::bucket(1000)], 5 * times);
        assert_eq!(sum.histograms.iter().flat_map(|h| h.iter()).sum::<u64>(), 5 * times);
    }
}
