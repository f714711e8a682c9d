//! `pollscope.toml` and flags: what is wrong in them is said, with where.

use crate::support::{Asked, pollscope};
use pollscope_testkit::Place;

/// What an agent says of a settings file that it cannot use.
fn refused(text: &str) -> String {
    let place = Place::new();
    let file = place.path().join("settings.toml");
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let asked = Asked::of(pollscope(&["agent", "--config", file]).output().unwrap());
    assert_eq!(asked.code, Some(1), "{asked:?}");
    assert!(asked.err.contains(file), "the file is named: {asked:?}");
    asked.err
}

#[test]
fn a_settings_file_that_makes_no_sense_is_refused_with_the_line() {
    let unknown = refused("[agent]\nspeed = 3\n");
    assert!(unknown.contains("unknown field `speed`") && unknown.contains("line 2"), "{unknown}");
    let mistyped = refused("[agent]\ngrace_seconds = \"soon\"\n");
    assert!(mistyped.contains("grace_seconds") && mistyped.contains("line 2"), "{mistyped}");
    let broken = refused("[agent\n");
    assert!(broken.contains("line 1"), "{broken}");
}

#[test]
fn a_settings_file_that_is_named_must_be_there() {
    let asked = Asked::of(pollscope(&["agent", "--config", "/no/such.toml"]).output().unwrap());
    assert_eq!(asked.code, Some(1));
    assert!(asked.err.contains("/no/such.toml"), "{asked:?}");
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    for (flags, says) in [
        (&["--endpoint", "nonsense"][..], "nonsense"),
        (&["--endpoint", "http://localhost:99999"], "`99999` is no port"),
        (&["--protocol", "carrier-pigeon"], "grpc"),
        (&["--headers", "novalue"], "entry 1 of the OTLP headers"),
        (&["--grace", "-1"], "-1"),
    ] {
        let place = Place::new();
        let state = place.path().join("state");
        let mut command = pollscope(&["agent", "--state", state.to_str().unwrap()]);
        let asked = Asked::of(command.args(flags).output().unwrap());
        assert!(asked.code == Some(1) || asked.code == Some(2), "{asked:?}");
        assert!(asked.err.contains(says), "{says:?} in {asked:?}");
    }
}
