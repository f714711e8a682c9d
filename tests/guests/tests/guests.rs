//! A service that adds the macro starts and logs as before, whatever its subscriber; and what is recorded of it.

use pollscope_model::span::FinishedSpan;
use pollscope_testkit::Place;
use std::process::Command;

/// What came of a guest.
struct Ran {
    logged: String,
    said: String,
    spans: Vec<FinishedSpan>,
    foreign: bool,
}

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let place = Place::new();
    let output = Command::new(env!("CARGO_BIN_EXE_guest"))
        .args(arguments)
        .env("POLLSCOPE_DIR", place.path())
        .env_remove("RUST_LOG")
        .envs(environment.iter().copied())
        .output()
        .expect("the guest starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it is text");
    let (logged, said) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{arguments:?}: {}\n{logged}\n{said}", output.status);
    let mut model = pollscope_testkit::model(&place);
    let foreign = model.sessions().any(|session| session.info().foreign_subscriber);
    Ran { logged, said, spans: model.take_finished(usize::MAX), foreign }
}

/// It logs what it logs without pollscope.
#[track_caller]
fn check(kind: &str) -> Ran {
    let alone = run(&[kind], &[("POLLSCOPE", "off")]);
    let guest = run(&[kind], &[]);
    assert_eq!(guest.logged, alone.logged);
    assert!(alone.spans.is_empty() && alone.said.is_empty(), "{}", alone.said);
    guest
}

/// What was recorded. All of it was closed: a span is not held open by one that was opened in it.
fn names(ran: &Ran) -> Vec<&str> {
    assert!(ran.spans.iter().all(|span| !span.unfinished && span.held.0 < 1_000_000_000), "{:#?}", ran.spans);
    let mut names: Vec<&str> = ran.spans.iter().map(|span| &*span.name).collect();
    names.sort_unstable();
    names
}

/// The service's own subscriber lacks our layer: that is said once, with what to do.
#[track_caller]
fn warned(ran: &Ran) {
    assert_eq!(ran.said.matches("lacks our layer").count(), 1, "{}", ran.said);
    assert!(ran.said.contains(".with(pollscope::layer())"), "{}", ran.said);
    assert!(ran.foreign);
}

#[test]
fn a_subscriber_that_comes_first_in_main() {
    let ran = check("first_in_main");
    assert!(ran.logged.contains("order{number=3}: guest: done current=\"order\""), "{}", ran.logged);
    warned(&ran);
    assert!(names(&ran).is_empty(), "{:?}", names(&ran));
}

#[test]
fn one_that_was_there_before_main() {
    warned(&check("before_main"));
}

#[test]
fn one_that_comes_after_an_await() {
    warned(&check("after_an_await"));
}

#[test]
fn one_that_comes_while_a_thread_is_in_a_span() {
    let alone = run(&["in_a_span"], &[("POLLSCOPE", "off")]);
    let guest = run(&["in_a_span"], &[]);
    assert_eq!(guest.logged, alone.logged);
    warned(&guest);
    // It was ours by then.
    assert_eq!(names(&guest), ["outer"]);
}

#[test]
fn one_that_is_tried() {
    warned(&check("try_init"));
}

#[test]
fn one_that_is_made_long_before_it_is_set() {
    warned(&check("set_global_default"));
}

#[test]
fn one_of_a_part_of_main() {
    let ran = check("scoped");
    assert!(ran.said.is_empty() && !ran.foreign, "{}", ran.said);
    // Before and after it, ours.
    assert_eq!(names(&ran), ["bill", "bill", "order", "order"]);
}

#[test]
fn one_on_a_current_thread_runtime() {
    warned(&check("current_thread"));
}

#[test]
fn with_our_layer_all_is_recorded_and_nothing_said() {
    for kind in ["layered", "reloaded", "on_fmt"] {
        let ran = check(kind);
        assert!(ran.said.is_empty() && !ran.foreign, "{kind}: {}", ran.said);
        assert_eq!(names(&ran), ["bill", "bill", "bill", "blocking", "order", "order", "order"], "{kind}");
    }
}

#[test]
fn without_any_subscriber_our_spans_are_recorded() {
    let ran = check("none");
    assert!(ran.logged.is_empty() && ran.said.is_empty() && !ran.foreign, "{}{}", ran.logged, ran.said);
    assert_eq!(names(&ran), ["bill", "bill", "bill", "blocking", "order", "order", "order"]);
}

#[cfg(feature = "log")]
#[test]
fn a_logger_gets_what_tracing_would_give_it() {
    for level in ["info", "debug"] {
        let alone = run(&["env_logger", level], &[("POLLSCOPE", "off")]);
        let guest = run(&["env_logger", level], &[]);
        assert_eq!(guest.logged, alone.logged);
        assert!(guest.logged.contains("taken sum=5"), "{}", guest.logged);
        assert!(guest.said.is_empty(), "{}", guest.said);
        assert_eq!(names(&guest), ["order"]);
    }
}

#[cfg(feature = "log")]
#[test]
fn a_logger_at_its_lowest_level_gets_the_lives_of_spans() {
    let of_spans = |ran: &Ran| -> Vec<String> {
        ran.logged.lines().filter(|line| line.contains("order;")).map(str::to_owned).collect()
    };
    let alone = run(&["env_logger", "trace"], &[("POLLSCOPE", "off")]);
    let guest = run(&["env_logger", "trace"], &[]);
    assert_eq!(of_spans(&guest), of_spans(&alone));
    assert!(of_spans(&alone).len() >= 4, "{}", alone.logged);
}
