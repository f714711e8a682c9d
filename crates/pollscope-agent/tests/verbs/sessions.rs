//! `pollscope sessions`: what stands there, live and dead, and what a wrong question gets.

use crate::support::{Asked, ask, pollscope, service, service_with};
use pollscope_testkit::Place;

#[test]
fn live_and_dead_sessions_are_listed_with_how_they_ended() {
    let place = Place::new();
    let live = service(&place, "silent");
    let mut killed = service(&place, "silent");
    let killed_pid = killed.pid();
    killed.kill();
    assert!(service(&place, "silent").finish().success());

    let asked = ask(&place, &["sessions"]);
    assert_eq!(asked.code, Some(0), "{asked:?}");
    let head: Vec<&str> = asked.out.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["SERVICE", "PID", "STATE", "AGE", "TASKS", "RECORDS", "LOST", "SIZE", "SESSION"]);
    assert_eq!(asked.out.lines().count(), 4, "{}", asked.out);
    assert!(asked.line(&live.pid().to_string()).contains(" live "));
    assert!(asked.line(&killed_pid.to_string()).contains(" died "));
    assert!(asked.line(" closed ").starts_with("till "));

    let json = ask(&place, &["sessions", "--json"]).json();
    let states: Vec<&str> =
        json["sessions"].as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["live", "died", "closed"], "oldest first");
    assert_eq!(json["sessions"][0]["pid"], live.pid());

    // The newest alone, and one by a part of its name.
    let last = ask(&place, &["sessions", "--json", "--session", "last"]).json();
    assert_eq!(last["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(last["sessions"][0]["state"], "closed");
    let one = ask(&place, &["sessions", "--json", "--session", &format!("{killed_pid}-")]).json();
    assert_eq!(one["sessions"][0]["state"], "died");
}

#[test]
fn no_session_is_an_answer_and_a_failure() {
    let place = Place::new();
    for verb in ["sessions", "tasks", "traces"] {
        let asked = ask(&place, &[verb]);
        assert_eq!(asked.code, Some(1), "{asked:?}");
        let dir = place.path().to_str().unwrap();
        assert!(asked.out.contains(dir) && asked.out.contains("pollscope doctor"), "{asked:?}");
    }
    assert_eq!(ask(&place, &["sessions", "--json"]).json()["sessions"], serde_json::json!([]));
    assert_eq!(ask(&place, &["tasks", "--json"]).json()["tasks"], serde_json::json!([]));
}

#[test]
fn a_service_that_is_not_there_is_none() {
    let place = Place::new();
    let _service = service(&place, "silent");
    assert_eq!(ask(&place, &["sessions", "--service", "till"]).code, Some(0));
    assert_eq!(ask(&place, &["sessions", "--service", "other"]).code, Some(1));
}

#[test]
fn what_was_lost_stands_beside_what_was_read() {
    let place = Place::new();
    let _service = service_with(&place, "spinning", &[("POLLSCOPE_RING_BYTES", "262144")]);
    let json = ask(&place, &["sessions", "--json"]).json();
    let count = |what: &str, class: &str| json["sessions"][0][what][class].as_u64().unwrap();
    assert!(count("read", "polls") > 0 && count("lost", "polls") > 100_000, "{json}");
    assert!(count("read", "polls") + count("lost", "polls") >= 200_000, "each poll is one or the other");
    assert_eq!(count("lost", "span_ends"), 0);
    let asked = ask(&place, &["tasks"]);
    assert!(asked.line("were overwritten before they were read").contains("till: "), "{asked:?}");
}

#[test]
fn a_copied_session_is_read_where_it_lies() {
    let place = Place::new();
    let mut service = service(&place, "calm");
    service.kill();
    let copy = Place::new();
    let from = &place.sessions()[0];
    let to = copy.path().join(from.file_name().unwrap());
    std::fs::create_dir(&to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    drop(place);
    let asked = ask(&copy, &["tasks"]);
    assert!(asked.line("waiter").contains("idle"), "{asked:?}");
    assert_eq!(ask(&copy, &["traces", "--json"]).json()["traces"].as_array().unwrap().len(), 2);
    // A session's own directory does as well as the one that it lies in.
    let to = to.to_str().unwrap();
    let asked = Asked::of(pollscope(&["tasks", "--dir", to]).output().unwrap());
    assert!(asked.line("waiter").contains("idle"), "{asked:?}");
}

#[test]
fn wrong_arguments_are_refused_with_what_would_be_right() {
    for (arguments, says) in [
        (&["tasks", "--sort", "speed"][..], "state, busy, scheduled"),
        (&["traces", "--min", "soon"], "`500ms` is one"),
        (&["run"], "<CMD>"),
        (&["frobnicate"], "frobnicate"),
    ] {
        let asked = Asked::of(pollscope(arguments).output().unwrap());
        assert_eq!(asked.code, Some(2), "{asked:?}");
        assert!(asked.err.contains(says), "{says:?} in {asked:?}");
    }
}

#[test]
fn help_names_every_verb_and_version_is_told() {
    let asked = Asked::of(pollscope(&["--help"]).output().unwrap());
    for verb in ["agent", "run", "sessions", "tasks", "traces", "doctor", "demo"] {
        assert!(!asked.line(&format!("  {verb} ")).is_empty());
        let help = Asked::of(pollscope(&[verb, "--help"]).output().unwrap());
        assert!(help.code == Some(0) && help.out.contains("Usage: pollscope"), "{help:?}");
    }
    assert!(!asked.out.contains("demo-service"), "hidden: it is the demo's own");
    let asked = Asked::of(pollscope(&["--version"]).output().unwrap());
    assert_eq!(asked.out.trim(), format!("pollscope {}", env!("CARGO_PKG_VERSION")));
}
