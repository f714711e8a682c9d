//! Sessions that a released minor wrote, kept in `tests/sessions/MAJOR.MINOR`: every later one reads them. Each is a
//! session's directory in a `.tar.gz`, and what its service said of itself beside it.
//!
//! At a release: `cargo test -p pollscope-agent --test verbs -- --ignored records_sessions_of_this_minor`.

use crate::support::{SERVICE, ask};
use pollscope_testkit::{Place, Service};
use std::path::{Path, PathBuf};
use std::process::Command;

fn all() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sessions")
}

/// A folder of recorded sessions for each minor.
fn minors() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(all())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

/// What a service said: its pid and its spans' names, trace ids and span ids.
struct Said {
    pid: u64,
    spans: Vec<[String; 3]>,
}

/// Unpacks a recorded session.
fn unpacked(minor: &Path, name: &str) -> (Place, Said) {
    let place = Place::new();
    let archive = minor.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(&archive).arg("-C").arg(place.path()).arg("--no-same-owner");
    assert!(tar.status().unwrap().success(), "{}", archive.display());
    let text = std::fs::read_to_string(minor.join(format!("{name}.txt"))).unwrap();
    let mut said = Said { pid: 0, spans: Vec::new() };
    for line in text.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["pid", pid] => said.pid = pid.parse().unwrap(),
            [name, trace, span] => said.spans.push([name, trace, span].map(str::to_owned)),
            _ => panic!("{line}"),
        }
    }
    (place, said)
}

/// All spans of all traces.
fn spans(json: &serde_json::Value) -> Vec<(String, serde_json::Value)> {
    let traces = json["traces"].as_array().unwrap();
    let of = |trace: &serde_json::Value| -> Vec<_> {
        let id = trace["trace_id"].as_str().unwrap();
        trace["spans"].as_array().unwrap().iter().map(|span| (id.to_owned(), span.clone())).collect()
    };
    traces.iter().flat_map(of).collect()
}

/// Each span that the service told of stands there, under its ids.
#[track_caller]
fn has(spans: &[(String, serde_json::Value)], said: &Said) {
    assert!(!said.spans.is_empty());
    for [name, trace, id] in &said.spans {
        let found =
            spans.iter().any(|(of, span)| of == trace && span["span_id"] == **id && span["name"] == **name);
        assert!(found, "{name} {trace} {id} in {spans:#?}");
    }
}

const MS: u64 = 1_000_000;

#[test]
fn a_closed_session_of_each_minor_is_read() {
    for minor in minors() {
        let (place, said) = unpacked(&minor, "closed");
        let json = ask(&place, &["sessions", "--json"]).json();
        let session = &json["sessions"][0];
        assert_eq!((&session["service"], &session["state"]), (&"till".into(), &"closed".into()), "{json}");
        assert_eq!((&session["pid"], &session["live"]), (&said.pid.into(), &0.into()), "{json}");
        assert_eq!(session["lost"], serde_json::json!({"polls": 0, "span_ends": 0, "others": 0}));
        assert_eq!(session["coverage"][0]["runtime"], "main");
        let spans = spans(&ask(&place, &["traces", "--json"]).json());
        has(&spans, &said);
        assert_eq!(spans.len(), 4, "two requests of two spans: {spans:#?}");
        for n in [1u64, 2] {
            let with_n = |name: &str| {
                spans
                    .iter()
                    .map(|(_, span)| span)
                    .find(|s| s["name"] == name && s["attributes"]["n"] == n)
                    .unwrap()
            };
            let (order, price) = (with_n("order"), with_n("price"));
            assert_eq!(order["status"] == "error", n == 2, "{order}");
            assert_eq!(price["parent_span_id"], order["span_id"], "{price}");
            let number = |key: &str| price[key].as_u64().unwrap();
            let slept = number("end") - number("start");
            assert!((20 * n * MS..20 * n * MS + 1_000 * MS).contains(&slept), "{price}");
            assert_eq!(number("busy") + number("scheduled") + number("idle"), slept, "{price}");
        }
        assert_eq!(ask(&place, &["tasks", "--json"]).json()["tasks"], serde_json::json!([]));
    }
}

#[test]
fn a_killed_session_of_each_minor_is_read() {
    for minor in minors() {
        let (place, said) = unpacked(&minor, "killed");
        let json = ask(&place, &["tasks", "--json", "--session", "last"]).json();
        let session = &json["sessions"][0];
        assert_eq!((&session["service"], &session["state"]), (&"till".into(), &"died".into()), "{json}");
        assert_eq!((&session["pid"], &session["live"]), (&said.pid.into(), &3.into()), "{json}");
        let tasks = json["tasks"].as_array().unwrap();
        let state =
            |name: &str| tasks.iter().find(|task| task["name"] == name).map(|task| task["state"].clone());
        for (name, doing) in [("blocker", "running"), ("waiter", "idle"), ("shopper", "idle")] {
            assert_eq!(state(name), Some(doing.into()), "{json}");
        }
        let poll = &session["polling"][0];
        assert_eq!(
            (&poll["name"], &poll["thread"]),
            (&"blocker".into(), &"tokio-rt-worker".into()),
            "{json}"
        );
        let length = poll["length"].as_u64().unwrap();
        assert!((100 * MS..10_000 * MS).contains(&length), "{json}");

        let spans = spans(&ask(&place, &["traces", "--json"]).json());
        has(&spans, &said);
        let of = |name: &str| spans.iter().map(|(_, span)| span).find(|span| span["name"] == name).unwrap();
        let (checkout, price) = (of("checkout"), of("price"));
        assert_eq!(
            (&checkout["unfinished"], &price["unfinished"]),
            (&true.into(), &false.into()),
            "{spans:#?}"
        );
        assert_eq!(checkout["attributes"]["cart"], 7);
        assert_eq!(price["parent_span_id"], checkout["span_id"]);
    }
}

const NOBODYS: &str = "host.name=till-1,container.id=none";

/// This minor's sessions are there.
#[test]
fn there_are_sessions_of_this_minor() {
    let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    let own = all().join(format!("{major}.{minor}"));
    assert!(minors().iter().any(|path| path.file_name() == own.file_name()), "record them: see above");
}

#[test]
#[ignore = "writes into the source tree: for a release"]
fn records_sessions_of_this_minor() {
    let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    let own = all().join(format!("{major}.{minor}"));
    std::fs::create_dir_all(&own).unwrap();
    for (name, play) in [("closed", "calm"), ("killed", "stuck")] {
        let place = Place::new();
        let arguments = ["service::plays_a_service", "--exact", "--nocapture"];
        let small =
            [(SERVICE, play), ("POLLSCOPE_RING_BYTES", "65536"), ("OTEL_RESOURCE_ATTRIBUTES", NOBODYS)];
        // What it says of itself is nothing of this machine's.
        let binary = std::env::temp_dir().join("till");
        std::fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
        let mut service = Service::start_with(binary.to_str().unwrap(), &place, &arguments, &small);
        let mut said = format!("pid {}\n", service.pid());
        loop {
            match service.line() {
                line if line == "ready" => break,
                line if line.split(' ').count() == 3 && !line.starts_with("running") => {
                    said += &(line + "\n")
                }
                _ => {}
            }
        }
        match name {
            "closed" => assert!(service.finish().success()),
            _ => service.kill(),
        }
        std::fs::remove_file(&binary).unwrap();
        let session = &place.sessions()[0];
        let mut tar = Command::new("tar");
        tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "-czf"]);
        tar.arg(own.join(format!("{name}.tar.gz")))
            .arg("-C")
            .arg(place.path())
            .arg(session.file_name().unwrap());
        assert!(tar.status().unwrap().success());
        std::fs::write(own.join(format!("{name}.txt")), said).unwrap();
    }
}
