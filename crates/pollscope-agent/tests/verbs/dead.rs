//! What every verb says of a session that is over: the tasks, spans and polls that it was in the middle of, where it
//! lies and in a copy.

use crate::service::STUCK;
use crate::support::{Asked, ask, ask_as_nobody, mode, pollscope, service, signal, wait_for};
use pollscope_testkit::Place;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A service that was killed while its worker was in a poll, and its pid.
fn killed() -> (Place, u32) {
    let place = Place::new();
    let mut service = service(&place, "stuck");
    service.kill();
    (place, service.pid())
}

fn ask_in(dir: &Path, arguments: &[&str]) -> Asked {
    Asked::of(pollscope(arguments).arg("--dir").arg(dir).output().unwrap())
}

/// All that a verb can tell of it, asked in this directory.
#[track_caller]
fn check(dir: &Path, pid: u32) {
    let said = format!("till (pid {pid}) died ");
    let asked = ask_in(dir, &["sessions"]);
    assert!(asked.line(&pid.to_string()).contains(" died "), "{asked:?}");
    let last = ask_in(dir, &["sessions", "--json", "--session", "last"]).json();
    let session = &last["sessions"][0];
    assert_eq!((&session["state"], &session["live"]), (&"died".into(), &3.into()), "{last}");
    assert!(session["bytes"].as_u64().unwrap() > 0, "{last}");
    assert_eq!(session["lost"], serde_json::json!({"polls": 0, "span_ends": 0, "others": 0}));
    let coverage = &session["coverage"][0];
    // The worker said how many there are before its last poll began: of two or of three.
    assert_eq!(coverage["recorded"], 3, "{last}");
    assert!([2, 3].contains(&coverage["alive"].as_u64().unwrap()), "{last}");
    assert!(asked.line(" died ").contains(" 3 of 3 "), "{asked:?}");

    // The tasks that were alive, and the poll that was under way.
    let asked = ask_in(dir, &["tasks", "--session", "last"]);
    assert!(asked.line("blocker ").contains(" running "), "{asked:?}");
    for idle in ["waiter", "shopper"] {
        assert!(asked.line(&format!("{idle} ")).contains(" idle "), "{asked:?}");
    }
    assert!(asked.line(&said).ends_with("; this is how it stood then"), "{asked:?}");
    let poll = asked.line(" into a poll of `blocker`");
    assert!(poll.starts_with("till: thread tokio-rt-worker ("), "{poll}");
    assert!(asked.line("are recorded").starts_with("till: 3 of 3 tasks"), "{asked:?}");
    let json = ask_in(dir, &["tasks", "--json", "--service", "till"]).json();
    let polling = json["sessions"][0]["polling"].as_array().unwrap();
    let of = |name: &str| polling.iter().find(|poll| poll["name"] == name);
    let poll = of("blocker").expect("the poll of the worker");
    assert!(poll["os_id"].as_u64().unwrap() > 0 && poll["thread"] == "tokio-rt-worker", "{json}");
    assert!(
        poll["length"].as_u64().unwrap() >= STUCK.as_nanos() as u64,
        "until it was last heard of: {json}"
    );
    assert!(of("waiter").is_none() && of("shopper").is_none(), "{json}");
    let tasks = json["tasks"].as_array().unwrap();
    let task = |name: &str| tasks.iter().find(|task| task["name"] == name).unwrap();
    assert_eq!(task("blocker")["thread"], "tokio-rt-worker");
    assert!(task("waiter")["thread"].is_null());

    // The span that was open, below it one that had ended.
    let asked = ask_in(dir, &["traces", "--session", "last"]);
    assert_eq!(asked.code, Some(0), "{asked:?}");
    let tree: Vec<&str> = asked.out.lines().skip(2).take(3).collect();
    assert!(tree[0].starts_with("checkout ") && tree[2].contains("price"), "{asked:?}");
    assert_eq!(tree[1], "✗ process died while this span was open");
    let json = ask_in(dir, &["traces", "--json"]).json();
    let spans = json["traces"][0]["spans"].as_array().unwrap();
    let unfinished =
        |name: &str| &spans.iter().find(|span| span["name"] == name).unwrap()["unfinished"] == true;
    assert!(unfinished("checkout") && !unfinished("price"), "{json}");

    let asked = ask_in(dir, &["doctor", "--no-export"]);
    assert_eq!(asked.code, Some(0), "{asked:?}");
    assert!(asked.line(&format!("till (pid {pid})")).contains(": died"), "{asked:?}");
    let json = ask_in(dir, &["doctor", "--no-export", "--json", "--session", "last"]).json();
    assert!(json.to_string().contains("3 of 3 tasks on runtime"), "{json}");
}

#[test]
fn a_killed_session_tells_what_it_was_in_the_middle_of() {
    let (place, pid) = killed();
    check(place.path(), pid);
}

/// Copies a session into another place, as `cp -r` does.
fn copied(from: &Path) -> Place {
    let copy = Place::new();
    let done = std::process::Command::new("cp").arg("-r").arg(from).arg(copy.path()).status().unwrap();
    assert!(done.success());
    copy
}

#[test]
fn a_copy_tells_the_same_whoever_has_its_pid_now() {
    let (place, pid) = killed();
    let copy = copied(&place.sessions()[0]);
    drop(place);
    check(copy.path(), pid);
    // The session's own directory does as well as the one that it lies in.
    check(&copy.sessions()[0], pid);
    // Another process has that pid today: this one, which started at another time.
    let control = File::options().write(true).open(copy.sessions()[0].join("control")).unwrap();
    let at = pollscope_wire::layout::header::PID as u64 * 8;
    control.write_all_at(&std::process::id().to_ne_bytes(), at).unwrap();
    check(copy.path(), std::process::id());
    fs::remove_file(copy.sessions()[0].join("request")).unwrap();
    check(copy.path(), std::process::id());
}

/// `last` is the newest, whether it lives or not; a part of an id is one session.
#[test]
fn one_session_of_several_is_chosen() {
    let place = Place::new();
    let first = service(&place, "silent");
    let mut second = service(&place, "silent");
    second.kill();
    let pids = |choice: &str| -> Vec<u64> {
        let all = ask(&place, &["tasks", "--json", "--session", choice]).json();
        all["sessions"].as_array().unwrap().iter().map(|one| one["pid"].as_u64().unwrap()).collect()
    };
    assert_eq!(pids("last"), [u64::from(second.pid())]);
    assert_eq!(pids(&format!("{}-", first.pid())), [u64::from(first.pid())]);
    let id = ask(&place, &["sessions", "--json"]).json()["sessions"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(pids(&id), [u64::from(first.pid())]);
}

#[test]
fn a_main_that_panicked_is_told_from_one_that_was_killed() {
    let place = Place::new();
    assert!(!service(&place, "panicking").finish().success());
    let asked = ask(&place, &["sessions"]);
    assert!(asked.line("till ").contains(" panicked "), "{asked:?}");
    assert_eq!(ask(&place, &["sessions", "--json"]).json()["sessions"][0]["state"], "panicked");
    assert!(ask(&place, &["doctor", "--no-export"]).line("till (pid").ends_with(": panicked"));
    assert!(ask(&place, &["tasks"]).line("till (pid").contains(") panicked "));
}

/// Nobody writes there, whatever its process does.
#[test]
fn a_copy_of_a_live_session_is_over() {
    let place = Place::new();
    let service = service(&place, "calm");
    let copy = copied(&place.sessions()[0]);
    let pid = service.pid().to_string();
    let asked = ask(&copy, &["sessions"]);
    assert!(asked.line(&pid).contains(" died "), "{asked:?}");
    assert!(ask(&copy, &["tasks"]).line(&format!("(pid {pid}) died ")).ends_with("it stood then"));
    let asked = ask(&place, &["sessions"]);
    assert!(asked.line(&pid).contains(" live "), "{asked:?}");
}

/// Until its parent asks how it ended, a killed process still has its pid and its start time.
#[cfg(target_os = "linux")]
#[test]
fn a_process_that_was_killed_and_not_reaped_is_dead() {
    let place = Place::new();
    let killed = service(&place, "calm");
    signal(killed.pid(), "KILL");
    let process = format!("/proc/{}", killed.pid());
    wait_for("its end, and that of all its threads", || {
        let over = fs::read_to_string(format!("{process}/stat")).unwrap().contains(") Z ");
        (over && fs::read_dir(format!("{process}/task")).unwrap().count() == 1).then_some(())
    });
    let json = ask(&place, &["tasks", "--json"]).json();
    assert_eq!(json["sessions"][0]["state"], "died", "{json}");
    let asked = ask(&place, &["tasks"]);
    assert!(asked.line("this is how it stood then").contains(" died "), "{asked:?}");
    assert!(ask(&place, &["sessions"]).line(&killed.pid().to_string()).contains(" died "));
    if pollscope_wire::sys::uid() != 0 {
        println!("skipped: only root may ask as somebody else");
        return;
    }
    // Another user may not see what it maps.
    let session = &place.sessions()[0];
    let files = fs::read_dir(session).unwrap().map(|file| file.unwrap().path());
    files.for_each(|file| mode(&file, 0o644));
    mode(session, 0o755);
    mode(place.path(), 0o755);
    let asked = ask_as_nobody(place.path(), &["sessions"]);
    assert!(asked.line(&killed.pid().to_string()).contains(" died "), "{asked:?}");
}
