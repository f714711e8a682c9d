//! Two copies of pollscope in one process: the second one stays passive and says so. What a copy is to another one
//! is the session that it has mapped.
#![cfg(target_os = "linux")]

use pollscope_testkit::Place;
use pollscope_wire::layout::State;
use pollscope_wire::place::RingSizes;
use pollscope_wire::session::{Options, Session};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

const PLAY: &str = "POLLSCOPE_TEST_PLAY";

fn other_copy(place: &Path) -> &'static Session {
    let options = Options {
        place: place.to_owned(),
        group: None,
        max_tasks: 100,
        max_rows: 100,
        max_threads: 10,
        rings: RingSizes::fixed(64 << 10),
        slow_poll_ns: 10_000_000,
        resource: Vec::new(),
        facts: Vec::new(),
    };
    Session::create(&options).unwrap()
}

/// This test again, in a process of its own.
fn again(play: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["plays", "--exact", "--nocapture"]).env(PLAY, play);
    command
}

/// What the child does; in the tests' own run there is nothing to do.
#[test]
fn plays() {
    let Ok(play) = std::env::var(PLAY) else { return };
    let place = std::env::var("POLLSCOPE_DIR").unwrap();
    match play.as_str() {
        "two" => {
            let other = other_copy(place.as_ref());
            let guard = pollscope::init();
            assert!(!guard.is_recording());
            let runtime =
                pollscope::runtime(&mut tokio::runtime::Builder::new_current_thread()).build().unwrap();
            let spawned = runtime.block_on(async { pollscope::spawn(async { 7 }).await.unwrap() });
            assert_eq!((spawned, std::fs::read_dir(&place).unwrap().count()), (7, 1));
            // When that one is over, the next one may.
            other.end(State::Closed);
            assert!(pollscope::init().is_recording());
        }
        "exec" => {
            other_copy(place.as_ref());
            panic!("{}", again("alone").exec());
        }
        "alone" => assert!(pollscope::init().is_recording()),
        other => panic!("no play {other}"),
    }
}

/// The lines that pollscope said.
fn played(play: &str) -> Vec<String> {
    let place = Place::new();
    let child = again(play).env("POLLSCOPE_DIR", place.path()).output().unwrap();
    let heard = String::from_utf8(child.stderr).unwrap();
    assert!(child.status.success(), "{}{heard}", String::from_utf8_lossy(&child.stdout));
    heard.lines().filter(|line| line.starts_with("pollscope: ")).map(str::to_owned).collect()
}

#[test]
fn the_second_copy_stays_passive_and_says_so_in_one_line() {
    let said = played("two");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("another copy of pollscope in this process records in /"), "{said:?}");
}

#[test]
fn what_stood_before_exec_is_no_second_copy() {
    assert_eq!(played("exec"), [""; 0]);
}
