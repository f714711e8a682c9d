//! `pollscope run -- CMD`: the command is what counts.

use crate::support::{Asked, pollscope, signal, wait_for};
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
