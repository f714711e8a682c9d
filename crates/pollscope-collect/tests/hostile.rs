//! Whatever stands in a directory of sessions: no panic, no endless loop, no huge allocation, and the sessions
//! beside it are read as ever.

mod common;

use common::{Place, kill, patch, read_all, worker, write_poll};
use pollscope_collect::{Notice, read_everything};
use pollscope_model::event::Event;
use pollscope_wire::layout::{CONTROL_BYTES, head, header, section, thread};
use pollscope_wire::session::Session;
use pollscope_wire::sys;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

/// A session with a few polls that looks dead.
fn sample(place: &Place) -> &'static Session {
    let session = place.session();
    let mut thread = worker(session);
    for n in 1..=2_000 {
        write_poll(&mut thread, n, sys::tick(), 1);
    }
    kill(session);
    session
}

/// A sequence that looks random and is the same every time.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        pollscope_wire::ids::mix(self.0)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number of the kinds that break things.
    fn wild(&mut self) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => u64::MAX - self.below(8192),
            3 => 1 << self.below(64),
            4 => self.below(4096),
            5 => self.next() & 0xffff_ffff,
            _ => self.next(),
        }
    }
}

#[track_caller]
fn refused(notices: &[Notice], name: &str) -> String {
    let why = notices.iter().find_map(|notice| match notice {
        Notice::Refused(path, why) if path.ends_with(name) => Some(why.clone()),
        _ => None,
    });
    why.unwrap_or_else(|| panic!("{name} is not refused: {notices:?}"))
}

#[test]
fn a_zoo_of_directories_is_refused_once_each_with_its_reason() {
    let place = Place::new();
    let good = sample(&place);
    let dir = |name: &str| {
        let path = place.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let copy = |name: &str| {
        let path = dir(name);
        for entry in fs::read_dir(good.dir()).unwrap().flatten() {
            fs::copy(entry.path(), path.join(entry.file_name())).unwrap();
        }
        path
    };
    dir("s-empty");
    fs::write(dir("s-garbage").join("control"), vec![0x5a; CONTROL_BYTES]).unwrap();
    fs::write(dir("s-short").join("control"), "PLSCOPE1").unwrap();
    fs::write(place.path().join("s-file"), "no directory").unwrap();
    symlink(good.dir(), place.path().join("s-link")).unwrap();
    symlink(good.dir().join("control"), dir("s-inner-link").join("control")).unwrap();
    let fifo = dir("s-fifo").join("control");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    patch(&copy("s-newer"), "control", header::VERSION as u64, 0x0102_0304 | 99 << 32);
    patch(&copy("s-endian"), "control", header::MAGIC as u64, u64::from_be_bytes(*b"PLSCOPE1"));
    let section = header::FIRST_SECTION + section::OFFSET;
    patch(&copy("s-section"), "control", section as u64, u64::MAX - 7);
    File::options().write(true).open(copy("s-cut").join("control")).unwrap().set_len(5000).unwrap();

    let mut collector = place.collector();
    let (notices, facts, _) = read_all(&mut collector);
    assert!(refused(&notices, "s-empty").contains("cannot read `control`"));
    assert!(refused(&notices, "s-garbage").contains("not a pollscope session's"));
    assert!(refused(&notices, "s-short").contains("not a pollscope session's"));
    assert!(refused(&notices, "s-file").contains("cannot read"));
    assert!(refused(&notices, "s-link").contains("cannot read"));
    assert!(refused(&notices, "s-inner-link").contains("cannot read `control`"));
    assert!(refused(&notices, "s-fifo").contains("not a regular file"));
    assert!(refused(&notices, "s-newer").contains("version 99.0"));
    assert!(refused(&notices, "s-endian").contains("byte order"));
    assert!(refused(&notices, "s-section").contains("outside the file"));
    assert!(refused(&notices, "s-cut").contains("outside the file"));
    let polls = facts.iter().filter(|event| matches!(event, Event::Polled(_))).count();
    assert!(polls > 500, "the good one beside them is read: {polls}");
    assert_eq!(collector.sessions().len(), 1);
    assert_eq!(collector.discover(), [], "told once");

    // What comes in the place of a refused one is looked at anew.
    fs::remove_dir_all(place.path().join("s-garbage")).unwrap();
    assert_eq!(collector.discover(), []);
    fs::write(dir("s-garbage").join("control"), "other garbage").unwrap();
    refused(&collector.discover(), "s-garbage");
}

/// A file that claims to be endless costs nothing to make; reading it must end all the same.
#[test]
fn tables_without_end_are_walked_over_for_a_bounded_length() {
    let place = Place::new();
    let session = sample(&place);
    let control = File::options().write(true).open(session.dir().join("control")).unwrap();
    control.set_len(1 << 40).unwrap();
    for index in 0..10 {
        let at = (header::FIRST_SECTION + index * section::WORDS) as u64;
        patch(session.dir(), "control", at + section::COUNT as u64, 1 << 26);
        patch(session.dir(), "control", at + section::USED as u64, 1 << 26);
    }
    let begun = Instant::now();
    read_everything(place.path());
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn every_word_of_control_may_be_anything() {
    let place = Place::new();
    let session = sample(&place);
    let path = session.dir().join("control");
    let good = fs::read(&path).unwrap();
    let begun = Instant::now();
    let mut dice = Dice(1);
    // Header, section table, thread slots (heads, ring places) and the first words of every other section.
    let mut words: Vec<u64> = (1..header::FIRST_SECTION as u64 + 44).collect();
    for index in 0..10 {
        let at = (header::FIRST_SECTION + index * section::WORDS + section::OFFSET) * 8;
        let offset = u64::from_le_bytes(good[at..at + 8].try_into().unwrap()) / 8;
        words.extend(offset..offset + thread::WORDS as u64);
    }
    for word in words {
        if begun.elapsed() > Duration::from_secs(20) {
            break;
        }
        fs::write(&path, &good).unwrap();
        patch(session.dir(), "control", word, dice.wild());
        read_everything(place.path());
    }
}

#[test]
fn heads_at_the_end_of_all_numbers_are_no_heads() {
    let place = Place::new();
    let session = sample(&place);
    let at = (header::FIRST_SECTION + section::OFFSET) * 8;
    let control = File::open(session.dir().join("control")).unwrap();
    let mut offset = [0; 8];
    control.read_exact_at(&mut offset, at as u64).unwrap();
    let ring = u64::from_le_bytes(offset) / 8 + (thread::HEADS + thread::HEAD_WORDS) as u64;
    for value in [u64::MAX, u64::MAX - 4095, 1 << 63, (1 << 52) - 1] {
        for word in [head::HEAD, head::RESV] {
            patch(session.dir(), "control", ring + word as u64, value);
            patch(session.dir(), "control", ring + word as u64 + 1, !value);
            read_everything(place.path());
        }
    }
}

/// Overwrites parts of a file with anything, cuts it, or makes it empty.
fn spoil(path: &Path, dice: &mut Dice) {
    let file = File::options().write(true).open(path).unwrap();
    let bytes = file.metadata().unwrap().len();
    if dice.below(10) == 0 {
        file.set_len(dice.below(bytes + 1)).unwrap();
        return;
    }
    for _ in 0..1 + dice.below(64) {
        let word = dice.below(bytes / 8);
        file.write_all_at(&dice.wild().to_le_bytes(), word * 8).unwrap();
    }
}

#[test]
fn rings_and_slots_may_be_anything() {
    let begun = Instant::now();
    let mut dice = Dice(7);
    let place = Place::new();
    let session = sample(&place);
    let mut numbers = Vec::new();
    session.take_slots(session.tasks(), 1, &mut numbers);
    numbers.clear();
    session.take_slots(session.spans(), 1, &mut numbers);
    let files: Vec<_> = ["rings-000", "slots-000", "slots-001"].map(|name| session.dir().join(name)).into();
    let good: Vec<_> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    for _ in 0..200 {
        if begun.elapsed() > Duration::from_secs(20) {
            break;
        }
        for (path, bytes) in files.iter().zip(&good) {
            fs::write(path, bytes).unwrap();
            spoil(path, &mut dice);
        }
        read_everything(place.path());
    }
}
