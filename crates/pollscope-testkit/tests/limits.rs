//! Whatever is missing, full or too small: the service runs on, and a counter and one line say what is not recorded.

mod common;

use common::facts::{alone, facts, sums_are_lifetimes};
use pollscope_model::event::Event;
use pollscope_testkit::{Place, Service};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// Plays a scenario to its good end; what was said on standard error, line by line.
fn heard(place: &Place, arguments: &[&str], environment: &[(&str, &str)]) -> Vec<String> {
    let mut service = Service::start_heard(SCRIPTED, place, arguments, environment);
    service.ready();
    let (status, heard) = service.finish_heard();
    assert!(status.success(), "{status}: {heard}");
    heard.lines().filter(|line| line.starts_with("pollscope: ")).map(str::to_owned).collect()
}

/// The counter of what was refused.
fn refused(facts: &[Event], name: &str) -> u64 {
    let counts = facts.iter().filter_map(|event| match event {
        Event::Refused(what, count) if *what == name => Some(*count),
        _ => None,
    });
    counts.max().unwrap_or(0)
}

/// With a limit of one kind: one line and a counter tell of it.
#[track_caller]
fn one_line_tells(arguments: &[&str], limit: (&str, &str), counter: &str, at_least: u64) {
    let _alone = alone();
    let place = Place::new();
    let said = heard(&place, arguments, &[limit]);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("partly recorded") && said[0].contains(counter), "{said:?}");
    assert!(said[0].contains(limit.0), "it says what to do: {said:?}");
    let facts = facts(&place);
    assert!(refused(&facts, counter) >= at_least, "{}", refused(&facts, counter));
}

#[test]
fn too_many_tasks() {
    one_line_tells(&["tasks", "1000"], ("POLLSCOPE_MAX_TASKS", "100"), "tasks_refused", 900);
}

#[test]
fn too_many_threads() {
    one_line_tells(&["times"], ("POLLSCOPE_MAX_THREADS", "1"), "threads_refused", 1);
}

#[test]
fn too_many_rows() {
    one_line_tells(&["times"], ("POLLSCOPE_MAX_ROWS", "1"), "rows_refused", 1);
}

#[test]
fn no_directory() {
    let _alone = alone();
    let place = Place::new();
    let file = place.path().join("file");
    std::fs::write(&file, "no directory").unwrap();
    unrecorded(&place, &file);
}

/// The service runs, nothing is recorded, and one line says why.
#[track_caller]
fn unrecorded(place: &Place, dir: &Path) {
    let dir = dir.to_str().unwrap();
    let said = heard(place, &["times"], &[("POLLSCOPE_DIR", dir)]);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("nothing is recorded") && said[0].contains(dir), "{said:?}");
    assert!(place.sessions().is_empty());
}

/// A file system of its own on a directory of the place.
struct Mounted(std::path::PathBuf);

impl Mounted {
    /// `None`, said aloud, where this user may not mount.
    fn new(place: &Place, options: &str) -> Option<Mounted> {
        let dir = place.path().join("mounted");
        std::fs::create_dir(&dir).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&dir).output();
        if mount.is_ok_and(|mount| mount.status.success()) {
            return Some(Mounted(dir));
        }
        eprintln!("not tested: this user may not mount a tmpfs");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_read_only_file_system() {
    let _alone = alone();
    let place = Place::new();
    let Some(mounted) = Mounted::new(&place, "size=8m,ro") else { return };
    unrecorded(&place, &mounted.0);
}

#[test]
fn a_file_system_without_room_for_anything() {
    let _alone = alone();
    let place = Place::new();
    let Some(mounted) = Mounted::new(&place, "size=64k") else { return };
    unrecorded(&place, &mounted.0);
}

#[test]
fn a_file_system_that_fills_up() {
    let _alone = alone();
    // From just enough for a session to enough for most of it.
    for size in ["3m", "4m", "6m", "9m", "14m"] {
        let place = Place::new();
        let Some(mounted) = Mounted::new(&place, &format!("size={size}")) else { return };
        let dir = mounted.0.to_str().unwrap();
        let mut service =
            Service::start_heard(SCRIPTED, &place, &["tasks", "50000"], &[("POLLSCOPE_DIR", dir)]);
        service.ready();
        let (status, heard) = service.finish_heard();
        assert!(status.success(), "{size}: {status}: {heard}");
        let said = heard.matches("pollscope: ").count();
        assert!((1..=4).contains(&said), "{size}: one line of each kind: {heard}");
        if heard.contains("nothing is recorded") {
            continue;
        }
        // What each line names is counted in the session.
        let options = pollscope_collect::Options { dirs: vec![mounted.0.clone()], ..Default::default() };
        let mut collector = pollscope_collect::Collector::new(options);
        collector.discover();
        collector.round(&mut |_, _| ());
        let counted = &collector.sessions()[0].refused;
        for line in heard.lines().filter(|line| line.contains("partly recorded")) {
            let named = counted.iter().find(|(name, _)| line.contains(&format!("counted as {name}")));
            assert!(named.is_some_and(|(_, count)| *count > 0), "{size}: {line}: {counted:?}");
        }
    }
}

/// Docker gives /dev/shm 64 MiB, and a runtime may have many more workers than the machine has processors.
#[test]
fn many_workers_share_a_quarter_of_the_room() {
    let _alone = alone();
    for workers in [2, 16, 32, 64] {
        let place = Place::new();
        let Some(mounted) = Mounted::new(&place, "size=64m") else { return };
        let dir = mounted.0.to_str().unwrap();
        let arguments = ["wide", &workers.to_string()];
        let mut service = Service::start_heard(SCRIPTED, &place, &arguments, &[("POLLSCOPE_DIR", dir)]);
        service.ready();
        let options = pollscope_collect::Options { dirs: vec![mounted.0.clone()], ..Default::default() };
        let mut collector = pollscope_collect::Collector::new(options);
        collector.discover();
        let mut polled_on = BTreeSet::new();
        collector.round(&mut |_, event| {
            if let Event::Polled(poll) = event {
                polled_on.insert(poll.thread);
            }
        });
        let status = collector.sessions().remove(0);
        assert_eq!(status.refused, [], "{workers} workers");
        assert!(polled_on.len() >= workers, "{} of {workers} workers recorded", polled_on.len());
        let rings = status.rings;
        assert!(rings.least >= 32 << 10 && rings.most >= 512 << 10, "{workers} workers: {rings:?}");
        let files = std::fs::read_dir(&status.dir).unwrap().flatten();
        let files = files.filter(|file| file.file_name().to_string_lossy().starts_with("rings-"));
        let bytes: u64 = files.map(|file| file.metadata().unwrap().len()).sum();
        // And what is left in the last file.
        assert!(rings.all <= 16 << 20 && bytes <= 17 << 20, "{workers} workers: {rings:?}, {bytes}");
        println!("{workers} workers: {rings:?}, {bytes} bytes of files");
        let (status, heard) = service.finish_heard();
        assert!(status.success() && !heard.contains("pollscope: "), "{workers} workers: {heard}");
    }
}

#[test]
fn two_hundred_thousand_tasks_alive() {
    let _alone = alone();
    let place = Place::new();
    let mut service = Service::start(SCRIPTED, &place, &["tasks", "200000"]);
    service.ready();
    let options = pollscope_collect::Options { dirs: vec![place.path().to_owned()], ..Default::default() };
    let mut collector = pollscope_collect::Collector::new(options);
    collector.discover();
    let mut model = pollscope_model::Model::new(pollscope_model::Limits::default());
    for _ in 0..100 {
        if !collector.round(&mut |session, event| model.apply(session, event)).more {
            break;
        }
        model.end_round();
    }
    collector.slots(&mut |session, event| model.apply(session, event));
    let session = model.sessions().next().expect("one session");
    assert_eq!(session.live_tasks(), 200_000);
    let list = model.tasks(
        pollscope_model::UnixNanos(u64::MAX / 2),
        &pollscope_model::view::TaskFilter::default(),
        pollscope_model::view::TaskSort::Age,
        10,
    );
    assert_eq!((list.matching, list.rows.len()), (200_000, 10));
    assert!(list.rows.iter().all(|row| row.name.as_deref() == Some("waiting")));
    assert!(service.finish().success());
    sums_are_lifetimes(&facts(&place));
}
