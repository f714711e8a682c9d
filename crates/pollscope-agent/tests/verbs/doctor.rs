//! `pollscope doctor`: each thing that can be wrong, made so, found, with how to mend it.

use crate::support::{Asked, ask, pollscope, service, service_by, service_with, wait_for};
use pollscope_testkit::Place;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One check as it is told.
struct Check {
    level: String,
    what: String,
    mend: String,
}

/// All checks, and the exit code.
fn checks(place: &Place, more: &[&str]) -> (Vec<Check>, Option<i32>) {
    let mut arguments = vec!["doctor", "--json"];
    arguments.extend_from_slice(more);
    let asked = ask(place, &arguments);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("").to_owned();
    let json = asked.json();
    let all = json["checks"].as_array().unwrap().iter();
    let all = all.map(|check| Check {
        level: text(&check["level"]),
        what: text(&check["what"]),
        mend: text(&check["mend"]),
    });
    (all.collect(), asked.code)
}

#[track_caller]
fn find<'a>(checks: &'a [Check], level: &str, what: &str) -> &'a Check {
    checks.iter().find(|check| check.level == level && check.what.contains(what)).unwrap_or_else(|| {
        let all: Vec<_> = checks.iter().map(|check| format!("{}: {}", check.level, check.what)).collect();
        panic!("no {level} with {what:?} in {all:#?}")
    })
}

#[test]
fn a_healthy_service_has_no_failure() {
    let place = Place::new();
    let _service = service(&place, "calm");
    let (all, code) = checks(&place, &["--no-export"]);
    assert_eq!(code, Some(0));
    assert!(all.iter().all(|check| check.level != "fail"));
    find(&all, "ok", "till (pid");
    assert!(all.iter().any(|check| check.what.starts_with("clock: ")), "the clock's source is told");
    find(&all, "ok", "has line tables");
}

#[test]
fn the_sizes_of_rings_are_told() {
    let place = Place::new();
    let _service = service_with(&place, "calm", &[("POLLSCOPE_RING_BYTES", "262144")]);
    let (all, _) = checks(&place, &["--no-export"]);
    let live = find(&all, "ok", "live, 256 KiB of rings a worker, ");
    assert!(live.what.contains(" KiB in all; "), "{}", live.what);
}

#[test]
fn no_session_is_a_failure() {
    let place = Place::new();
    let (all, code) = checks(&place, &["--no-export"]);
    assert_eq!(code, Some(1));
    let none = find(&all, "fail", "no session found");
    assert!(none.what.contains(place.path().to_str().unwrap()) && none.mend.contains("#[pollscope::main]"));
    let text = ask(&place, &["doctor", "--no-export"]);
    assert!(text.line("no session found").starts_with("fail "), "{text:?}");
}

#[test]
fn a_subscriber_without_our_layer_is_told_from_a_service_without_spans() {
    let place = Place::new();
    let silent = service(&place, "silent");
    let (all, code) = checks(&place, &["--no-export"]);
    assert_eq!(code, Some(0));
    assert!(find(&all, "warn", "no span was recorded yet").mend.contains("POLLSCOPE_FILTER"));
    assert!(silent.finish().success());

    let place = Place::new();
    let _service = service(&place, "foreign");
    let (all, _) = checks(&place, &["--no-export"]);
    let missing = find(&all, "warn", "its `tracing` subscriber lacks pollscope's layer");
    assert!(missing.mend.contains(".with(pollscope::layer())"));
    assert!(!all.iter().any(|check| check.what.contains("no span was recorded")));
}

#[test]
fn a_service_that_wants_no_export_is_told() {
    let place = Place::new();
    let _service = service_with(&place, "calm", &[("OTEL_SDK_DISABLED", "True")]);
    let (all, _) = checks(&place, &["--no-export"]);
    find(&all, "ok", "its spans are not exported");
}

#[test]
fn low_coverage_is_told_with_the_next_step() {
    let place = Place::new();
    let _service = service(&place, "uncovered");
    wait_for("the number of tasks alive", || {
        let (all, _) = checks(&place, &["--no-export"]);
        let low = all.iter().find(|check| check.level == "warn" && check.what.contains("are recorded"))?;
        for step in ["ServerLayer", "pollscope::spawn", "disallowed-methods", "tokio_unstable"] {
            assert!(low.mend.contains(step), "{}", low.mend);
        }
        Some(())
    });
}

#[test]
fn loss_is_told_by_class() {
    let place = Place::new();
    let _service = service_with(&place, "spinning", &[("POLLSCOPE_RING_BYTES", "262144")]);
    let (all, _) = checks(&place, &["--no-export"]);
    let lost = find(&all, "warn", "records were overwritten");
    assert!(lost.what.contains(" polls, 0 span ends, ") && lost.mend.contains("POLLSCOPE_RING_BYTES"));
}

#[test]
fn what_a_service_had_to_refuse_is_told() {
    let place = Place::new();
    let _service = service_with(&place, "calm", &[("POLLSCOPE_MAX_TASKS", "1")]);
    let (all, _) = checks(&place, &["--no-export"]);
    assert!(find(&all, "warn", "tasks_refused").mend.contains("POLLSCOPE_MAX_TASKS"));

    let place = Place::new();
    let _service = service_with(&place, "calm", &[("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "0")]);
    let (all, _) = checks(&place, &["--no-export"]);
    assert!(find(&all, "warn", "attributes_dropped: 4").mend.contains("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"));
}

#[test]
fn a_session_of_a_newer_version_asks_for_a_newer_agent() {
    let place = Place::new();
    let mut newer = service(&place, "silent");
    newer.kill();
    let _service = service(&place, "silent");
    let newer = place
        .sessions()
        .into_iter()
        .find(|dir| dir.to_string_lossy().contains(&format!("-{}-", newer.pid())));
    let newer = newer.unwrap();
    let control = fs::OpenOptions::new().read(true).write(true).open(newer.join("control")).unwrap();
    // Behind the tag of the byte order.
    let at = (pollscope_wire::layout::header::VERSION * 8 + 4) as u64;
    control.write_all_at(&99u16.to_ne_bytes(), at).unwrap();
    let (all, code) = checks(&place, &["--no-export"]);
    assert_eq!(code, Some(1));
    let refused = find(&all, "fail", "it is of version 99");
    assert!(refused.mend.contains("install"), "{}", refused.mend);
    find(&all, "ok", "live");
}

/// What the doctor says to a user who is not the service's, in this group; he has a copy of the binary that he may run.
/// Only root can start it as another user.
fn asked_by_another(place: &Place, group: u32) -> Asked {
    let other = std::env::temp_dir().join(format!("pollscope-test-other-{}-{group}", std::process::id()));
    fs::create_dir(&other).unwrap();
    let binary = other.join("pollscope");
    fs::copy(env!("CARGO_BIN_EXE_pollscope"), &binary).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(&binary);
    command.args(["doctor", "--no-export", "--dir"]).arg(place.path()).current_dir("/");
    command.env_clear().env("HOME", "/");
    if pollscope_wire::sys::uid() == 0 {
        command.uid(65534).gid(group);
    }
    let asked = Asked::of(command.output().unwrap());
    fs::remove_dir_all(&other).unwrap();
    asked
}

#[test]
fn who_may_read_a_session_is_told() {
    let place = Place::new();
    let _service = service(&place, "silent");
    let (all, _) = checks(&place, &["--no-export"]);
    find(&all, "ok", &format!("for uid {} alone", pollscope_wire::sys::uid()));
}

#[test]
fn what_works_for_a_group_is_told() {
    if pollscope_wire::sys::uid() != 0 {
        println!("skipped: only root may give files to any group");
        return;
    }
    let place = Place::new();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let _service = service_with(&place, "calm", &[("POLLSCOPE_GROUP", "54321")]);
    let asked = asked_by_another(&place, 54321);
    assert_eq!(asked.code, Some(0), "{asked:?}");
    let line = asked.line("for uid 0 and group 54321");
    assert!(
        line.starts_with("ok ") && line.contains("uid 65534 reads all and may make requests"),
        "{asked:?}"
    );
    assert!(asked.line("till (pid").contains("live"), "{asked:?}");
    let request = place.sessions()[0].join("request");
    fs::set_permissions(&request, fs::Permissions::from_mode(0o640)).unwrap();
    let asked = asked_by_another(&place, 54321);
    assert!(asked.line("may make no requests").starts_with("warn "), "{asked:?}");
}

#[test]
fn what_may_not_be_read_asks_for_another_user() {
    let place = Place::new();
    let _service = service(&place, "silent");
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    if pollscope_wire::sys::uid() != 0 {
        // The owner shut himself out.
        fs::set_permissions(&place.sessions()[0], fs::Permissions::from_mode(0o000)).unwrap();
    }
    let asked = asked_by_another(&place, 65534);
    fs::set_permissions(&place.sessions()[0], fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(asked.code, Some(1), "{asked:?}");
    assert!(asked.line("cannot be followed").contains("ermission denied"), "{asked:?}");
    assert!(asked.out.contains("POLLSCOPE_GROUP"), "{asked:?}");
}

#[test]
fn an_executable_without_line_tables_is_told() {
    let place = Place::new();
    let dir = fresh_dir("stripped");
    let stripped = dir.join("service");
    let exe = std::env::current_exe().unwrap();
    // binutils is there wherever a C compiler is.
    assert!(Command::new("strip").arg("-o").arg(&stripped).arg(exe).status().unwrap().success());
    let service = service_by(&stripped, &place, "silent", &[]);
    let (all, code) = checks(&place, &["--no-export"]);
    let plain = find(&all, "warn", "has no line tables");
    assert!(code == Some(0) && plain.mend.contains("debug = 1"), "{}", plain.mend);
    assert!(service.finish().success());
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn line_tables_may_be_in_a_file_of_their_own() {
    let place = Place::new();
    // As the kernel names it: a target directory may be a link.
    let dir = fresh_dir("split").canonicalize().unwrap();
    let objcopy = |arguments: &[&str], from: &Path, to: &Path| {
        let status = Command::new("objcopy").args(arguments).arg(from).arg(to).status().unwrap();
        assert!(status.success(), "objcopy {arguments:?}");
    };
    let (apart, bare) = (dir.join("service.debug"), dir.join("service"));
    let exe = std::env::current_exe().unwrap();
    objcopy(&["--only-keep-debug"], &exe, &apart);
    objcopy(&["--strip-debug", &format!("--add-gnu-debuglink={}", apart.display())], &exe, &bare);
    let service = service_by(&bare, &place, "silent", &[]);
    let (all, _) = checks(&place, &["--no-export"]);
    find(&all, "ok", &format!("has line tables in {}", apart.display()));
    // One of another build is none of its own.
    fs::copy(env!("CARGO_BIN_EXE_pollscope"), &apart).unwrap();
    let (all, _) = checks(&place, &["--no-export"]);
    find(&all, "warn", "has no line tables");
    assert!(service.finish().success());
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_backend_that_does_not_answer_is_told() {
    let place = Place::new();
    let _service = service(&place, "calm");
    // A port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{free}");
    let (all, code) = checks(&place, &["--endpoint", &endpoint]);
    assert_eq!(code, Some(1));
    assert!(find(&all, "fail", &endpoint).mend.contains("--endpoint"));
}

#[test]
fn a_directory_that_is_not_on_tmpfs_is_told() {
    let place = Place::new();
    let _service = service(&place, "calm");
    let slow = fresh_dir("slow");
    let mut command = pollscope(&["doctor", "--no-export", "--dir", place.path().to_str().unwrap()]);
    let asked = Asked::of(command.env("POLLSCOPE_DIR", &slow).output().unwrap());
    fs::remove_dir(&slow).unwrap();
    assert!(asked.line("is not on tmpfs").starts_with("warn "), "{asked:?}");
}

/// A fresh directory where cargo puts what tests make: beside the build, on a disk, programs may run there.
fn fresh_dir(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    path
}
