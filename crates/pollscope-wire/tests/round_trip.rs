//! What a service writes is what a reader sees: one session, one thread, all through files.
#![cfg(not(loom))]

use pollscope_wire::ids::Who;
use pollscope_wire::layout::{RINGS, RingKind, Section, State};
use pollscope_wire::record::{Poll, Record, kind};
use pollscope_wire::ring::RingReader;
use pollscope_wire::session::{InfoValue, Options, Registration, Session};
use pollscope_wire::{reader, reader::SessionFiles, sys};
use std::path::PathBuf;

fn place(name: &str) -> PathBuf {
    let base = if cfg!(target_os = "linux") { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
    let place = base.join(format!("pollscope-test-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    place
}

fn options(place: PathBuf) -> Options {
    Options {
        place,
        group: None,
        max_tasks: 10_000,
        max_rows: 100,
        max_threads: 64,
        rings: pollscope_wire::place::RingSizes::fixed(64 << 10),
        slow_poll_ns: 10_000_000,
        resource: vec![("service.name".into(), InfoValue::Str("till".into()))],
        facts: vec![("exe".into(), "/usr/bin/till".into())],
    }
}

#[test]
fn a_session_reads_back_through_its_files() {
    let place = place("round");
    let session = Session::create(&options(place.clone())).unwrap();
    let registration = Registration { kind: 2, name: "worker-0", runtime: 1, worker: Some(0) };
    let mut thread = session.register(&registration).unwrap();
    let start = sys::tick();
    for n in 0..10_000u64 {
        let poll = Poll { task: n + 1, busy: n, who: Who::new(Who::TASK, n), wakes: 1, ..Poll::default() };
        let (flags, body) = poll.encode_short();
        thread.poll.write(kind::POLL, flags, start + n * 10, &body);
    }

    let mut files = SessionFiles::open(session.dir()).unwrap();
    let header = files.header().unwrap();
    assert_eq!(
        (header.id, header.pid, header.state),
        (session.id(), std::process::id(), State::Running as u32)
    );
    let info = files.info().unwrap();
    assert!(
        info.iter()
            .any(|i| i.resource && i.key == "service.name" && i.value == InfoValue::Str("till".into()))
    );
    assert_eq!(files.used(Section::Threads).unwrap(), 1);
    let slot = files.thread(0).unwrap();
    assert_eq!((slot.name.as_str(), slot.kind, slot.worker, slot.live), ("worker-0", 2, Some(0), true));

    let place_of_ring = slot.rings[RingKind::Poll as usize];
    let mut ring = RingReader::new(place_of_ring.blocks);
    let (mut read, mut lost) = ([0u64; 3], [0u64; 3]);
    let mut last = 0;
    loop {
        let mut source = files.ring(0, RingKind::Poll, place_of_ring).unwrap();
        let batch = ring
            .read(&mut source, |writer, raw| {
                assert_eq!(writer, thread.writer);
                if let Record::Poll(poll) = Record::decode(&raw) {
                    assert!(poll.task > last, "in order");
                    assert_eq!(raw.tick, start + (poll.task - 1) * 10);
                    last = poll.task;
                }
            })
            .unwrap();
        for class in 0..3 {
            read[class] += batch.read[class];
            lost[class] += batch.lost[class];
        }
        if !batch.more {
            break;
        }
    }
    assert_eq!(last, 10_000, "the newest is there");
    assert!(lost[0] > 0, "the ring is too small for all");
    for class in 0..3 {
        assert_eq!(read[class] + lost[class], thread.poll.totals()[class]);
    }
    assert_eq!(RINGS.len(), 3);

    session.retire(thread);
    assert!(!files.thread(0).unwrap().live);
    session.end(State::Closed);
    assert_eq!(files.header().unwrap().state, State::Closed as u32);
    assert!(reader::looks_dead(session.dir()), "closed by this very process");
    assert!(reader::remove(session.dir()));
    std::fs::remove_dir(place).unwrap();
}
