//! `pollscope run -- CMD`: the command is what counts.

use crate::support::{Agent, Asked, pollscope, service, signal, wait_for};
use pollscope_testkit::Place;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

/// An agent without a backend, its state in the place.
fn run(place: &Place, arguments: &[&str]) -> Command {
    let mut command = pollscope(&["run", "--no-export", "--state"]);
    command.arg(place.path().join("state")).arg("--dir").arg(place.path()).args(arguments);
    command
}

#[test]
fn the_commands_exit_code_and_output_are_ours() {
    let place = Place::new();
    let script = "read line; echo out $line $1; echo err >&2; exit 7";
    let mut child = run(&place, &["--", "sh", "-c", script, "sh", "--flag"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"in\n").unwrap();
    let asked = Asked::of(child.wait_with_output().unwrap());
    assert_eq!((asked.code, asked.out.as_str(), asked.err.as_str()), (Some(7), "out in --flag\n", "err\n"));
}

#[test]
fn a_command_that_cannot_be_run_has_the_shells_codes() {
    let place = Place::new();
    let missing = Asked::of(run(&place, &["--", "no-such-command"]).output().unwrap());
    assert_eq!(missing.code, Some(127));
    assert!(missing.err.contains("no-such-command"), "{missing:?}");
    let file = place.path().join("data");
    std::fs::write(&file, "no program").unwrap();
    let refused = Asked::of(run(&place, &["--", file.to_str().unwrap()]).output().unwrap());
    assert_eq!(refused.code, Some(126), "{refused:?}");
}

#[test]
fn a_command_that_a_signal_ended_gives_128_and_its_number() {
    let place = Place::new();
    assert_eq!(run(&place, &["--", "sh", "-c", "kill -KILL $$"]).status().unwrap().code(), Some(128 + 9));
}

#[test]
fn signals_are_passed_on() {
    for (name, number) in [("TERM", 15), ("HUP", 1), ("INT", 2), ("USR1", 10)] {
        let place = Place::new();
        let script =
            format!("trap 'echo got {name}; exit {number}' {name}; echo ready; while :; do sleep 0.05; done");
        let mut child = run(&place, &["--", "bash", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        signal(child.id(), name);
        let status = wait_for("the end", || child.try_wait().unwrap());
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!((rest, status.code()), (format!("got {name}\n"), Some(number)));
    }
}

#[test]
fn an_agent_that_cannot_start_does_not_stop_the_command() {
    let place = Place::new();
    let file = place.path().join("bad.toml");
    std::fs::write(&file, "[agent]\nspeed = 3\n").unwrap();
    let arguments = ["--config", file.to_str().unwrap(), "--", "sh", "-c", "echo done; exit 3"];
    let asked = Asked::of(run(&place, &arguments).output().unwrap());
    assert_eq!((asked.code, asked.out.as_str()), (Some(3), "done\n"));
    assert!(asked.err.contains("no agent beside the command") && asked.err.contains("speed"), "{asked:?}");
}

/// Without descriptors there is no runtime, so no signals and no agent.
#[test]
fn a_runtime_that_cannot_start_does_not_stop_the_command() {
    let script = "ulimit -n 4; exec \"$@\"";
    let run = [env!("CARGO_BIN_EXE_pollscope"), "run", "--no-export", "--", "sh", "-c", "echo done; exit 3"];
    let asked = Asked::of(Command::new("sh").args(["-c", script, "sh"]).args(run).output().unwrap());
    assert_eq!((asked.code, asked.out.as_str()), (Some(3), "done\n"), "{asked:?}");
    assert!(asked.err.contains("no agent beside the command"), "{asked:?}");
}

/// In a pid namespace of its own it is pid 1: orphans become its children. It reaps them, and none of their ends is taken
/// for the command's.
#[test]
fn as_pid_1_it_reaps_orphans_and_gives_the_commands_code() {
    if pollscope_wire::sys::uid() != 0 {
        println!("skipped: only root may make a pid namespace");
        return;
    }
    let place = Place::new();
    // Twenty grandchildren whose parents end before them; each ends with a code of its own. When all are over, none may be left.
    let script = "test $PPID = 1 || exit 99; \
        for n in $(seq 20); do (sh -c 'sleep 0.1; exit 3' &) ; done; \
        for try in $(seq 200); do \
            sleep 0.05; left=$(cat /proc/[0-9]*/stat 2>/dev/null | grep -c -e '(sleep)' -e ') Z '); \
            test $left = 0 && exit 5; \
        done; cat /proc/[0-9]*/stat; exit 1";
    let run = run(&place, &["--", "sh", "-c", script]);
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--mount-proc"]).arg(run.get_program()).args(run.get_args());
    let asked = Asked::of(unshare.stdin(Stdio::null()).output().unwrap());
    assert_eq!(asked.code, Some(5), "{asked:?}");
}

/// A backend that takes each request, waits for a word, and answers well; without a word it never answers.
fn slow_backend() -> (String, std::sync::mpsc::Receiver<()>, std::sync::mpsc::Sender<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (asked, was_asked) = std::sync::mpsc::channel();
    let (word, may_answer) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut part = [0; 65536];
        let _ = stream.read(&mut part);
        let _ = asked.send(());
        if may_answer.recv().is_ok() {
            // The rest of the request may still be on its way.
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
            let _ = stream.write_all(head.as_bytes());
            while stream.read(&mut part).is_ok_and(|read| read > 0) {}
        }
    });
    (address, was_asked, word)
}

/// The agent may go on for five seconds after the command: what the backend takes in that time has left.
#[test]
fn what_is_left_is_sent_after_the_command_has_ended() {
    for answers in [true, false] {
        let (place, aside) = (Place::new(), Place::new());
        let (endpoint, asked, word) = slow_backend();
        let state = place.path().join("state");
        let mut command =
            pollscope(&["run", "--endpoint", &endpoint, "--protocol", "http/protobuf", "--state"]);
        // All that it recorded is there at once: it is one batch.
        let script = "echo up; read line; mv \"$1\"/s-* \"$2\"; echo over; exit 4";
        command.arg(&state).arg("--dir").arg(place.path()).args(["--", "sh", "-c", script, "sh"]);
        command.arg(aside.path()).arg(place.path()).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert_eq!(lines.next().unwrap(), "up");
        assert!(service(&aside, "calm").finish().success());
        drop(child.stdin.take());
        assert_eq!(lines.next().unwrap(), "over");
        asked.recv_timeout(std::time::Duration::from_secs(20)).expect("the spans are sent");
        if answers {
            word.send(()).unwrap();
        }
        assert_eq!(wait_for("the end", || child.try_wait().unwrap()).code(), Some(4));
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(
            said.contains("4 spans could not be sent; they wait in the journal"),
            !answers,
            "{said:?}"
        );
    }
}

/// What recorded before the command is not its: no span of it leaves or waits in the journal, and what an earlier agent
/// kept of it stays.
#[test]
fn only_what_the_command_starts_is_exported() {
    let place = Place::new();
    let state = place.path().join("state");
    let mut earlier = service(&place, "calm");
    let positions = || -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(state.join("positions.json")).unwrap()).unwrap()
    };
    let run = |more: &[&str]| {
        let mut command = pollscope(&["run", "--endpoint", "http://127.0.0.1:1", "--grace", "0.1"]);
        command.arg("--state").arg(&state).arg("--dir").arg(place.path()).arg("--").args(more);
        let own = std::env::current_exe().unwrap();
        command.arg(own).args(["service::plays_a_service", "--exact", "--nocapture"]);
        command.env("POLLSCOPE_DIR", place.path()).env(crate::support::SERVICE, "calm");
        let asked = Asked::of(command.output().unwrap());
        assert_eq!(asked.code, Some(0), "{asked:?}");
        asked
    };
    let asked = run(&["true"]);
    assert_eq!(asked.err, "", "there is nothing to send");
    assert!(!state.join("positions.json").exists() || positions()["sessions"] == serde_json::json!([]));

    // An agent that follows it leaves its positions; the command's own session comes beside them.
    let agent = Agent::start(&place, &["--endpoint", "http://127.0.0.1:1", "--grace", "0.1"]);
    wait_for("the earlier session", || {
        agent.metric("pollscope_agent_sessions{state=\"live\"}").filter(|n| *n == 1)
    });
    assert_eq!(agent.end(), Some(0));
    let before = positions()["sessions"].clone();
    assert_eq!(before.as_array().unwrap().len(), 1);
    let asked = run(&["env"]);
    // What the agent left waits too, but is not the command's.
    assert!(asked.err.contains("4 spans could not be sent"), "{asked:?}");
    let after = positions();
    let after = after["sessions"].as_array().unwrap();
    assert!(after.len() == 2 && after.contains(&before[0]), "{before} in {after:?}");
    earlier.kill();
}

/// In a network namespace of its own nobody answers on the standard port.
#[test]
fn an_agent_that_nobody_answers_says_so_once_with_what_needs_no_backend() {
    if pollscope_wire::sys::uid() != 0 {
        println!("skipped: only root may make a network namespace");
        return;
    }
    let place = Place::new();
    let mut run = pollscope(&["run", "--grace", "0.1", "--state"]);
    run.arg(place.path().join("state")).arg("--dir").arg(place.path()).args([
        "--",
        "sh",
        "-c",
        "echo up; read line; exit 6",
    ]);
    let mut unshare = Command::new("unshare");
    unshare.arg("--net").arg(run.get_program()).args(run.get_args());
    unshare.env_remove("OTEL_EXPORTER_OTLP_ENDPOINT").stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = unshare.stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap(), "up");
    let _service = service(&place, "calm");
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut said = Vec::new();
    for line in lines.by_ref() {
        let last = line.contains("pollscope traces");
        said.push(line);
        if last {
            break;
        }
    }
    assert!(said.iter().any(|line| line.contains("localhost:4318")), "{said:?}");
    // More spans, which do not leave either.
    let _another = service(&place, "calm");
    std::thread::sleep(std::time::Duration::from_secs(2));
    drop(child.stdin.take());
    said.extend(lines);
    assert_eq!(wait_for("the end", || child.try_wait().unwrap()).code(), Some(6), "{said:?}");
    assert_eq!(said.iter().filter(|line| line.contains("pollscope traces")).count(), 1, "{said:?}");
    assert_eq!(said.iter().filter(|line| line.contains("localhost:4318")).count(), 1, "{said:?}");
}
