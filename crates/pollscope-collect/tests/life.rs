//! Sessions appear, end in one of three ways, and go; one process exports each.

mod common;

use common::{NOBODY, Place, kill, patch, read_all, worker, write_poll};
use pollscope_collect::{Claim, Notice, Options, State};
use pollscope_model::event::{Event, SessionEnd, SessionId};
use pollscope_wire::layout::{State as WireState, header, pack};
use pollscope_wire::sys;
use std::fs;
use std::time::{Duration, SystemTime};

fn ends(facts: &[Event]) -> Vec<SessionEnd> {
    let ends = facts.iter().filter_map(|event| match event {
        Event::SessionEnded(end, _) => Some(*end),
        _ => None,
    });
    ends.collect()
}

#[test]
fn a_session_is_found_followed_and_closed() {
    let place = Place::new();
    let mut collector = place.collector();
    assert_eq!(collector.discover(), []);
    let session = place.session();
    let id = SessionId(session.id());
    let mut thread = worker(session);
    write_poll(&mut thread, 1, sys::tick(), 1);

    let (notices, facts, round) = read_all(&mut collector);
    assert_eq!(notices, [Notice::Found(id, session.dir().to_owned())]);
    assert!(matches!(&facts[0], Event::SessionBegan(info) if info.service() == "till"), "{:?}", facts[0]);
    // A thread's ring begins with a record of the thread, the span ring and the poll ring alike.
    assert_eq!((round.records, round.lost), (3, 0));
    assert_eq!(collector.sessions()[0].state, State::Live);
    assert!(!collector.remove(id), "a live session is never removed");

    write_poll(&mut thread, 2, sys::tick(), 1);
    session.end(WireState::Closed);
    let (notices, facts, round) = read_all(&mut collector);
    assert_eq!(notices, [Notice::Ended(id, SessionEnd::Closed)]);
    assert_eq!((round.records, ends(&facts)), (1, vec![SessionEnd::Closed]));
    let (notices, facts, _) = read_all(&mut collector);
    assert_eq!((notices, facts), (vec![], vec![]), "an end is told once");

    assert!(collector.remove(id));
    assert!(!session.dir().exists());
    assert_eq!(collector.discover(), []);
}

#[test]
fn who_never_said_that_it_ends_has_died() {
    let place = Place::new();
    let session = place.session();
    let mut thread = worker(session);
    write_poll(&mut thread, 1, session.start_tick() + 5_000, 1);
    kill(session);
    let mut collector = place.collector();
    let (notices, facts, _) = read_all(&mut collector);
    assert!(notices.contains(&Notice::Ended(SessionId(session.id()), SessionEnd::Died)));
    assert_eq!(ends(&facts), [SessionEnd::Died]);
    let Some(Event::SessionEnded(_, at)) = facts.last() else { panic!("the end comes last") };
    let now = sys::realtime();
    assert!(at.0 <= now && now - at.0 < 600_000_000_000, "it ended when it was last heard of");
    fs::remove_dir_all(session.dir()).unwrap();
    assert_eq!(collector.discover(), [Notice::Gone(SessionId(session.id()))]);
}

#[test]
fn a_live_process_keeps_its_session_alive_though_its_lock_was_dropped() {
    let place = Place::new();
    let session = place.session();
    // This process's own lock looks free to itself, as if it had been dropped; but it maps `control`.
    let mut collector = place.collector();
    for _ in 0..3 {
        read_all(&mut collector);
    }
    assert_eq!(collector.sessions()[0].state, State::Live);
    // The same pid with another start time is another process.
    patch(session.dir(), "control", header::PROCESS_START as u64, 1);
    let (notices, ..) = read_all(&mut collector);
    assert_eq!(notices, [Notice::Ended(SessionId(session.id()), SessionEnd::Died)]);
}

#[test]
fn many_sessions_are_followed_at_once_and_chosen_by_name() {
    let place = Place::new();
    let sessions: Vec<_> = (0..5).map(|_| place.session()).collect();
    for (n, session) in sessions.iter().enumerate() {
        let mut thread = worker(session);
        for task in 0..n as u64 {
            write_poll(&mut thread, task + 1, sys::tick(), 1);
        }
        if n % 2 == 0 {
            patch(session.dir(), "control", header::PID as u64, pack(NOBODY, 0));
        }
    }
    let mut collector = place.collector();
    collector.discover();
    let mut polls = std::collections::HashMap::new();
    collector
        .round(&mut |id, event| *polls.entry(id).or_insert(0) += matches!(event, Event::Polled(_)) as u64);
    let expected = sessions.iter().enumerate().map(|(n, session)| (SessionId(session.id()), n as u64));
    assert_eq!(polls, expected.collect());
    let living = collector.sessions().iter().filter(|status| status.state == State::Live).count();
    assert_eq!(living, 2);

    let id = SessionId(sessions[3].id());
    let prefix = id.to_string()[..12].to_owned();
    let only = |session: Option<String>, service: Option<String>| {
        let mut collector =
            pollscope_collect::Collector::new(Options { session, service, ..place.options() });
        collector.discover();
        collector.sessions().iter().map(|status| status.id).collect::<Vec<_>>()
    };
    assert_eq!(only(Some(prefix), None), [id]);
    assert_eq!(only(None, Some("till".into())).len(), 5);
    assert_eq!(only(None, Some("shop".into())), []);
    assert_eq!(only(Some("last".into()), None).len(), 1);
}

#[test]
fn the_rest_of_a_start_that_failed_is_removed_when_it_is_old() {
    let place = Place::new();
    let make = |name: &str, age: u64| {
        let dir = place.path().join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("lock"), "").unwrap();
        fs::write(dir.join("control"), "half").unwrap();
        let then = SystemTime::now() - Duration::from_secs(age);
        fs::File::open(&dir).unwrap().set_modified(then).unwrap();
        dir
    };
    let old = make(".new-s-1-1-old", 120);
    let fresh = make(".new-s-1-1-fresh", 5);
    assert_eq!(place.collector().discover(), []);
    assert!(!old.exists() && fresh.exists());
}

#[test]
fn one_process_exports_a_session() {
    let place = Place::new();
    let session = place.session();
    let id = SessionId(session.id());
    let (mut first, mut second) = (place.collector(), place.collector());
    first.discover();
    second.discover();
    assert_eq!(first.claim(id).unwrap(), Claim::Exporter);
    assert_eq!(first.claim(id).unwrap(), Claim::Exporter, "it is still the one");
    assert_eq!(second.claim(id).unwrap(), Claim::HeldBy(Some(std::process::id())));
    drop(first);
    assert_eq!(second.claim(id).unwrap(), Claim::Exporter);
}
