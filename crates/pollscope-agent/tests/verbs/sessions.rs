//! `pollscope sessions`: what stands there, live and dead, and what a wrong question gets.

use crate::support::{Asked, ask, ask_as_nobody, mode, pollscope, service, service_with, wait_for};
use pollscope_testkit::Place;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

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
    assert_eq!(
        head,
        ["SERVICE", "PID", "STATE", "AGE", "TASKS", "COVERED", "RECORDS", "LOST", "SIZE", "SESSION"]
    );
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

/// It says why there is none. JSON is printed all the same.
#[test]
fn no_session_is_a_failure_whichever_verb_is_asked() {
    let empty = Place::new();
    let busy = Place::new();
    let _service = service(&busy, "calm");
    let dir = |place: &Place| place.path().to_str().unwrap().to_owned();
    let another = service_with(&busy, "calm", &[("OTEL_SERVICE_NAME", "another")]);
    let none = format!("no session found in {}; `pollscope doctor` says why\n", dir(&empty));
    let no_service = "no service `other`; there are: another, till\n";
    for (place, question, key, says) in [
        (&empty, &["sessions"][..], "sessions", &*none),
        (&empty, &["sessions", "--session", "last"], "sessions", &none),
        (&empty, &["tasks"], "tasks", &none),
        (&empty, &["tasks", "--service", "other"], "tasks", &none),
        (&empty, &["traces"], "traces", &none),
        (&empty, &["traces", "ffff"], "traces", &none),
        (&busy, &["sessions", "--service", "other"], "sessions", no_service),
        (&busy, &["tasks", "--service", "other"], "tasks", no_service),
        (&busy, &["traces", "--service", "other"], "traces", no_service),
        (
            &busy,
            &["tasks", "--session", "nosuch"],
            "tasks",
            "no session `nosuch`; see `pollscope sessions`\n",
        ),
        (
            &busy,
            &["sessions", "--session", "nosuch", "--service", "till"],
            "sessions",
            "no session `nosuch` of service `till`; see `pollscope sessions`\n",
        ),
    ] {
        let asked = ask(place, question);
        assert_eq!((asked.code, &*asked.err, &*asked.out), (Some(1), says, ""), "{question:?}");
        let asked = ask(place, &[question, &["--json"]].concat());
        assert_eq!((asked.code, &*asked.err), (Some(1), says), "{question:?}");
        assert_eq!(asked.json()[key], serde_json::json!([]));
    }
    assert!(another.finish().success());
    let doctor = ask(&empty, &["doctor", "--no-export", "--json"]);
    assert!(doctor.code == Some(1) && doctor.out.contains("no session found"), "{doctor:?}");
}

/// A directory that is not there, none, and one that this user may not read: its name, its owner, and what to do.
#[test]
fn a_directory_that_cannot_be_read_is_named_with_the_reason() {
    let place = Place::new();
    let missing = place.path().join("missing");
    let file = place.path().join("file");
    std::fs::write(&file, "").unwrap();
    let closed = place.path().join("closed");
    std::fs::create_dir_all(closed.join("inner")).unwrap();
    let _service = service_with(&place, "silent", &[("POLLSCOPE_DIR", closed.to_str().unwrap())]);
    let mut session = std::fs::read_dir(&closed).unwrap().map(|entry| entry.unwrap().path());
    let session = session.find(|path| !path.ends_with("inner")).unwrap();
    for (dir, says) in [(&missing, "does not exist"), (&file, "is no directory")] {
        for verb in [&["sessions"][..], &["tasks"], &["traces"], &["doctor", "--no-export"]] {
            let asked = Asked::of(pollscope(verb).arg("--dir").arg(dir).output().unwrap());
            assert_eq!(asked.code, Some(1), "{asked:?}");
            let line = format!("no session found: {} {says}\n", dir.display());
            assert!(asked.err == line || asked.out.contains(&line), "{line:?}: {asked:?}");
        }
    }
    if pollscope_wire::sys::uid() != 0 {
        println!("skipped: only root may ask as somebody else");
        return;
    }
    mode(place.path(), 0o755);
    let denied = |dir: &std::path::Path, named: &std::path::Path, whose: &str| {
        for verb in ["sessions", "tasks", "traces"] {
            let asked = ask_as_nobody(dir, &[verb]);
            assert_eq!(asked.code, Some(1), "{asked:?}");
            let begin =
                format!("no session found: {} cannot be read: permission denied; {whose}", named.display());
            assert!(
                asked.err.starts_with(&begin) && asked.err.contains("POLLSCOPE_GROUP"),
                "{begin}: {asked:?}"
            );
        }
    };
    mode(&closed, 0o700);
    denied(&closed, &closed, "it belongs to uid 0: ");
    let inner = closed.join("inner");
    denied(&inner, &inner, &format!("{} belongs to uid 0: ", closed.display()));
    mode(&closed, 0o755);
    denied(&closed, &session, "it belongs to uid 0: ");
}

/// A service's name, a directory's, and one that is refused: nothing of them is an order to the terminal.
#[test]
fn names_from_outside_give_the_terminal_no_orders() {
    let outer = Place::new();
    let evil = "evil\x1b[31m\x07\nforged: 1\u{9b}2J";
    let dir = outer.path().join(evil);
    std::fs::create_dir(&dir).unwrap();
    let more = [
        ("POLLSCOPE_DIR", dir.to_str().unwrap()),
        ("OTEL_SERVICE_NAME", evil),
        ("POLLSCOPE_RING_BYTES", "262144"),
        ("POLLSCOPE_MAX_TASKS", "1"),
    ];
    let services = ["uncovered", "calm", "spinning"].map(|play| service_with(&outer, play, &more));
    std::fs::create_dir(dir.join("s-1-1-\x1b[2J")).unwrap();
    let safe = |asked: &Asked| {
        let all = format!("{}{}", asked.out, asked.err);
        assert!(!all.chars().any(|c| c.is_control() && c != '\n'), "{all:?}");
        assert!(!all.lines().any(|line| line.starts_with("forged")), "{all:?}");
        assert!(all.contains("evil?[31m??forged: 1?2J"), "{all:?}");
    };
    for verb in [&["sessions"][..], &["tasks"], &["traces"], &["doctor", "--no-export"]] {
        safe(&Asked::of(pollscope(verb).arg("--dir").arg(&dir).output().unwrap()));
    }
    let refused = Asked::of(pollscope(&["sessions", "--dir"]).arg(&dir).output().unwrap());
    assert!(refused.line("s-1-1-").contains("s-1-1-?[2J: "), "{refused:?}");
    // The agent names a service when it ends.
    let flags = ["agent", "--no-export", "--listen", "off", "--dir"];
    let mut agent = pollscope(&flags).arg(&dir).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(agent.stderr.take().unwrap()).lines().map(Result::unwrap);
    said.find(|line| line.contains("following")).expect("it follows them");
    for service in services {
        service.finish();
    }
    let over = said.find(|line| line.ends_with(" closed")).expect("it says that they are over");
    crate::support::signal(agent.id(), "TERM");
    assert!(agent.wait().unwrap().success());
    safe(&Asked { out: over, err: String::new(), code: Some(0) });
    // And where there is no session, the directory is named.
    std::fs::remove_dir_all(&dir).unwrap();
    for verb in ["sessions", "tasks", "traces"] {
        safe(&Asked::of(pollscope(&[verb, "--dir"]).arg(&dir).output().unwrap()));
    }
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

/// What a table says below its rows is in the JSON too, whichever verb is asked.
#[test]
fn json_tells_what_is_missing() {
    let place = Place::new();
    let _lossy = service_with(&place, "spinning", &[("POLLSCOPE_RING_BYTES", "262144")]);
    let _uncovered = service(&place, "uncovered");
    std::fs::create_dir(place.path().join("s-1-1-0000000000000000")).unwrap();
    wait_for("the number of tasks alive", || {
        let json = ask(&place, &["sessions", "--json"]).json();
        json["sessions"][1]["coverage"][0]["alive"].as_u64()
    });
    for verb in ["sessions", "tasks", "traces"] {
        let json = ask(&place, &[verb, "--json"]).json();
        assert!(json["sessions"][0]["lost"]["polls"].as_u64().unwrap() > 100_000, "{json}");
        let coverage = &json["sessions"][1]["coverage"][0];
        let number = |key: &str| coverage[key].as_u64().unwrap();
        assert!(number("alive") >= 10 && number("recorded") < number("alive"), "{json}");
        assert_eq!(json["sessions"][1]["vanished"], 0);
        let refused = &json["refused_sessions"][0];
        assert!(refused["dir"].as_str().unwrap().ends_with("s-1-1-0000000000000000"), "{json}");
        assert!(refused["why"].as_str().unwrap().contains("control"), "{json}");
    }
    // The text of traces says it too.
    let covered = service(&place, "calm");
    let asked = ask(&place, &["traces"]);
    assert!(asked.line("are recorded").starts_with("till: "), "{asked:?}");
    assert!(covered.finish().success());
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
        (&["traces", "--min", "5"], "`5ms` and `5s` are lengths of time"),
        (&["traces", "--slowest", "0"], "'--slowest <N>'"),
        (&["traces", "xyz"], "a trace id is hexadecimal"),
        (&["traces", "0123456789abcdef0123456789abcdef0"], "32 digits, and this has 33"),
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
