//! `#[pollscope::main]` in its kinds: what is recorded of it, and how the process ends.

mod common;

use common::model;
use pollscope_model::event::{SessionEnd, TaskKind};
use pollscope_model::session::Session;
use pollscope_model::view::{TaskFilter, TaskSort};
use pollscope_model::{Model, UnixNanos};
use pollscope_testkit::{Place, Service};
use std::time::{Duration, Instant};

struct Ran {
    model: Model,
    code: Option<i32>,
}

/// Runs a main that says `ready` and waits, reads it while it waits, and lets it end.
fn run(kind: &str) -> Ran {
    let place = Place::new();
    let mut service = Service::start(env!("CARGO_BIN_EXE_mains"), &place, &[kind]);
    service.ready();
    let until = Instant::now() + Duration::from_secs(20);
    let model = loop {
        let model = model(&place);
        let known = |session: &Session| session.coverage().iter().any(|coverage| coverage.alive.is_some());
        if model.sessions().any(known) {
            break model;
        }
        assert!(Instant::now() < until, "no runtime is known after 20 s");
        std::thread::sleep(Duration::from_millis(20));
    };
    Ran { model, code: service.finish().code() }
}

/// Holds what is recorded of a main against what its attribute says.
#[track_caller]
fn check(kind: &str, service: &str, runtime: &str, workers: u32) {
    let Ran { model, code } = run(kind);
    assert_eq!(code, Some(0));
    let session = model.sessions().next().expect("a session");
    assert_eq!(session.info().service(), service);
    let coverage = session.coverage();
    assert_eq!(coverage.len(), 1, "one runtime: {coverage:?}");
    assert_eq!((&*coverage[0].runtime, coverage[0].workers), (runtime, workers));
    let tasks = model.tasks(UnixNanos(0), &TaskFilter::default(), TaskSort::Busy, 100).rows;
    let main = tasks.iter().find(|task| task.kind == TaskKind::Main).expect("main is a task");
    assert_eq!(main.name.as_deref(), Some("main"));
    assert!(main.location.file.ends_with("testkit/src/bin/mains.rs"), "{}", main.location.file);
    assert!(main.location.line > 0);
}

#[test]
fn a_plain_main_is_named_after_its_file_and_has_a_worker_for_each_core() {
    let cores = std::thread::available_parallelism().expect("they can be counted").get() as u32;
    check("plain", "unknown_service:mains", "main", cores);
}

#[test]
fn all_of_tokios_arguments_and_a_name() {
    check("several", "several", "threads", 3);
}

#[test]
fn a_main_that_is_not_send() {
    let cores = std::thread::available_parallelism().expect("they can be counted").get() as u32;
    check("not_send", "not_send", "main", cores);
}

#[test]
fn a_main_on_one_thread_with_a_clock_that_stands() {
    check("current_thread", "unknown_service:mains", "main", 1);
}

#[test]
fn a_local_runtime_takes_tasks_that_are_not_send() {
    check("local", "local", "main", 1);
}

/// How a main ends that says nothing before.
#[track_caller]
fn ends(kind: &str, code: i32, how: SessionEnd) {
    let place = Place::new();
    let mut service = Service::start(env!("CARGO_BIN_EXE_mains"), &place, &[kind]);
    assert_eq!(service.line(), "");
    assert_eq!(service.finish().code(), Some(code));
    let model = model(&place);
    let session = model.sessions().next().expect("a session");
    assert_eq!(session.ended().map(|(how, _)| how), Some(how), "{kind}");
}

#[test]
fn what_main_returns_is_what_the_process_returns() {
    ends("failing", 7, SessionEnd::Closed);
    ends("returning", 9, SessionEnd::Closed);
    ends("panicking", 101, SessionEnd::Panicked);
    #[cfg(tokio_unstable)]
    ends("shutting_down", 101, SessionEnd::Panicked);
}
