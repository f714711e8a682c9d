//! What a session's records say is what the model gets: every fact once, whole and at its time.

mod common;

use common::{Place, kill, read_all, worker, write_poll};
use pollscope_model::event::{
    Attribute, Callsite, Event, LocalSpanId, Location, Poll, PollOutcome, SessionEnd, SpanEnd, SpanId,
    SpanIds, SpanOpen, SpanSource, Status, TaskBirth, TaskEnd, TaskId, TaskKind, TaskOutcome, TaskTotals,
    ThreadId, ThreadKind, TraceId, Value, Waker,
};
use pollscope_model::{Nanos, UnixNanos};
use pollscope_wire::ids::Who;
use pollscope_wire::layout::{pack, span, task};
use pollscope_wire::reader::SessionFiles;
use pollscope_wire::record::{self, kind, poll, source, task_kind, value};
use pollscope_wire::session::{Registration, Session};
use pollscope_wire::table::{CallsiteDef, KeyDef};
use pollscope_wire::{layout::RowKind, sys};
use std::sync::atomic::Ordering;

/// When a tick of a session killed by [`kill`] was.
fn at(session: &Session, tick: u64) -> UnixNanos {
    let header = SessionFiles::open(session.dir()).unwrap().header().unwrap();
    UnixNanos(header.start_realtime + (tick - header.start_tick))
}

fn spawn_location() -> Location {
    Location { file: "src/orders.rs".into(), line: 41, column: 9 }
}

fn key(session: &Session, runtime: u32) -> u32 {
    let location = session.callsite(&CallsiteDef {
        kind: 1,
        severity: 0,
        line: 41,
        column: 9,
        file: "src/orders.rs",
        name: "",
        target: "",
    });
    let name = session.string("a name that is far longer than the thirty-two bytes of a slot");
    let future = session.string("orders::place::{{closure}}");
    session.key(KeyDef { kind: RowKind::Task as u8, callsite: location, name, future, runtime, what: 0 })
}

fn span_site(session: &Session) -> (u32, Callsite) {
    let id = session.callsite(&CallsiteDef {
        kind: 2,
        severity: 9,
        line: 7,
        column: 1,
        file: "src/db.rs",
        name: "query",
        target: "shop::db",
    });
    let callsite = Callsite {
        name: "query".into(),
        target: "shop::db".into(),
        location: Location { file: "src/db.rs".into(), line: 7, column: 1 },
        severity: 9,
    };
    (id, callsite)
}

#[test]
fn a_task_is_told_from_birth_to_end() {
    let place = Place::new();
    let session = place.session();
    let runtime = session.runtime("main-rt", true, 4);
    let key = key(session, runtime);
    let mut thread = worker(session);
    let born = sys::tick() + 1_000;
    let birth = record::Birth {
        task: 77,
        kind: task_kind::SPAWNED,
        parent: 5,
        key,
        size: 320,
        born,
        span: 0,
        tokio_id: 12,
        name: record::name_words("a name"),
        runtime,
    };
    thread.poll.write(kind::TASK_BIRTH, 0, born, &birth.encode());
    let told = record::Poll {
        task: 77,
        flags: poll::READY,
        ordinal: 1,
        busy: 5_000,
        scheduled: 2_000,
        nested: 400,
        who: Who::new(Who::DRIVER, 1),
        wakes: 2,
        last_who: Some(Who::new(Who::TASK, 5)),
    };
    let (flags, body, n) = told.encode();
    thread.poll.write_slice(kind::POLL, flags, born + 8_000, &body[..n]);
    let totals = record::Totals {
        polls: 1,
        busy: 5_000,
        nested: 400,
        scheduled: 2_000,
        idle: 1_000,
        wakes: 2,
        self_wakes: 3,
        clones: 4,
        drops: 4,
    };
    let (flags, body) = record::TaskEnd { birth, outcome: record::outcome::FINISHED, totals }.encode();
    thread.poll.write(kind::TASK_END, flags, born + 8_000, &body);
    thread.poll.write(kind::JOIN, 0, born + 9_000, &[5, 77]);
    thread.poll.write(kind::PARK, 0, born + 20_000, &[10_000]);
    let job =
        record::Job { key, outcome: record::outcome::PANICKED, busy: 300, queued: 50, parent: 77, span: 0 };
    let (flags, body) = job.encode();
    thread.poll.write(kind::JOB, flags, born + 30_000, &body);
    kill(session);

    let (_, facts, _) = read_all(&mut place.collector());
    let model_birth = TaskBirth {
        task: TaskId(77),
        kind: TaskKind::Spawned,
        name: Some("a name that is far longer than the thirty-two bytes of a slot".into()),
        location: spawn_location(),
        future: "orders::place::{{closure}}".into(),
        size: 320,
        parent: Some(TaskId(5)),
        span: None,
        runtime: "main-rt".into(),
        tokio_id: 12,
        born: at(session, born),
    };
    let expected = [
        Event::TaskBorn(model_birth.clone()),
        Event::Polled(Poll {
            task: TaskId(77),
            thread: ThreadId(1),
            start: at(session, born + 3_000),
            busy: Nanos(5_000),
            nested: Nanos(400),
            scheduled: Nanos(2_000),
            woken_by: Some(Waker::Driver(ThreadId(1))),
            wakes: 2,
            outcome: PollOutcome::Ready,
            ordinal: 1,
        }),
        Event::TaskEnded(TaskEnd {
            birth: model_birth,
            outcome: TaskOutcome::Finished,
            totals: TaskTotals {
                polls: 1,
                busy: Nanos(5_000),
                nested: Nanos(400),
                scheduled: Nanos(2_000),
                idle: Nanos(1_000),
                wakes: 2,
                self_wakes: 3,
                waker_clones: 4,
                waker_drops: 4,
            },
            ended: at(session, born + 8_000),
        }),
        Event::Joined { joiner: TaskId(5), joined: TaskId(77), at: at(session, born + 9_000) },
        Event::Parked { thread: ThreadId(1), start: at(session, born + 10_000), length: Nanos(10_000) },
        Event::Job {
            thread: ThreadId(1),
            name: Some("a name that is far longer than the thirty-two bytes of a slot".into()),
            location: spawn_location(),
            parent: Some(TaskId(77)),
            span: None,
            start: at(session, born + 29_700),
            busy: Nanos(300),
            queued: Nanos(50),
            outcome: TaskOutcome::Panicked,
        },
    ];
    let told: Vec<&Event> = facts
        .iter()
        .filter(|event| {
            matches!(
                event,
                Event::TaskBorn(_)
                    | Event::Polled(_)
                    | Event::TaskEnded(_)
                    | Event::Joined { .. }
                    | Event::Parked { .. }
                    | Event::Job { .. }
            )
        })
        .collect();
    assert_eq!(told, expected.iter().collect::<Vec<_>>());
    let last = facts.last().unwrap();
    assert!(matches!(last, Event::SessionEnded(SessionEnd::Died, _)), "{last:?}");
}

#[test]
fn a_span_is_told_with_all_its_attributes_events_and_links() {
    let place = Place::new();
    let session = place.session();
    let (callsite, site) = span_site(session);
    let mut thread = worker(session);
    let opened = sys::tick() + 1_000;
    let open = record::SpanOpen { span: 9, parent: 8, callsite, name: 0, task: 77, source: source::SERVER };
    let ids = record::SpanIds { trace: 1 << 100 | 3, span: 0xabc, parent: 0xdef };
    let bits = record::span::IDS | record::span::SAMPLED | record::span::REMOTE_PARENT;
    let ring = &mut thread.span;
    ring.write(kind::SPAN_OPEN, 0, opened, &open.encode());
    ring.write(kind::SPAN_IDS, bits, opened + 1, &[9, 3, 1 << 36, 0xabc, 0xdef]);
    let key = session.string("rows");
    ring.write(kind::ATTRIBUTE, 0, opened + 2, &[9, pack(key, value::U64 as u32), 40]);

    // 2,000 bytes stand here of 20,000: in two parts.
    let text: Vec<u8> = (0..2_000).map(|n| b'a' + (n % 26) as u8).collect();
    let words: Vec<u64> = text.chunks(8).map(|c| u64::from_le_bytes(c.try_into().unwrap())).collect();
    let (first, rest) = words.split_at(128);
    let mut body = vec![9, pack(session.string("statement"), value::STR as u32), pack(20_000, 2_000)];
    body.extend_from_slice(first);
    ring.write_slice(kind::ATTRIBUTE, 0, opened + 3, &body);
    ring.write_slice(kind::MORE, 0, opened + 3, rest);

    ring.write(kind::EVENT, 0, opened + 4, &[9, pack(callsite, 2), 5]);
    let hello = u64::from_le_bytes(*b"hello\0\0\0");
    let message = session.string("message");
    let of_event = value::OF_EVENT;
    ring.write(
        kind::ATTRIBUTE,
        of_event,
        opened + 4,
        &[9, pack(message, value::STR as u32), pack(5, 5), hello],
    );
    let ratio = session.string("ratio");
    ring.write(kind::ATTRIBUTE, of_event, opened + 4, &[9, pack(ratio, value::F64 as u32), 0.5f64.to_bits()]);
    ring.write(kind::LINK, 0, opened + 5, &[9, 0, 7, 0, 6]);
    let end = record::SpanEnd {
        open,
        flags: bits | record::span::ERROR | record::span::ESTIMATED,
        opened,
        ended: opened + 900,
        busy: 500,
        scheduled: 100,
        polls: 3,
        attributes: 2,
        dropped: 1,
        dropped_events: 2,
        dropped_links: 3,
        ids,
    };
    let (flags, body, _) = end.encode();
    ring.write(kind::SPAN_END, flags, opened + 1_000, &body);
    kill(session);

    let (_, facts, _) = read_all(&mut place.collector());
    let id = LocalSpanId(9);
    let ids = SpanIds {
        trace: TraceId(1 << 100 | 3),
        span: SpanId(0xabc),
        parent: Some(SpanId(0xdef)),
        parent_remote: true,
        sampled: true,
        foreign: false,
    };
    let model_open = SpanOpen {
        span: id,
        parent: Some(LocalSpanId(8)),
        ids: None,
        callsite: site.clone().into(),
        source: SpanSource::Server,
        opened: at(session, opened),
        task: Some(TaskId(77)),
    };
    let attribute = |key: &str, value, cut| Attribute { key: key.into(), value, cut };
    let statement = String::from_utf8(text).unwrap();
    let expected = [
        Event::SpanOpened(model_open.clone()),
        Event::SpanIds(id, ids),
        Event::SpanAttribute(id, at(session, opened + 2), attribute("rows", Value::U64(40), None)),
        Event::SpanAttribute(
            id,
            at(session, opened + 3),
            attribute("statement", Value::Str(statement.as_str().into()), Some(20_000)),
        ),
        Event::SpanEvent {
            span: Some(id),
            at: at(session, opened + 4),
            callsite: site.into(),
            dropped_attributes: 5,
            beyond: false,
            exported: false,
            attributes: vec![
                attribute("message", Value::Str("hello".into()), None),
                attribute("ratio", Value::F64(0.5), None),
            ],
        },
        Event::SpanLink { span: id, to: None, remote: Some((TraceId(7), SpanId(6))) },
        Event::SpanEnded(SpanEnd {
            open: SpanOpen { ids: Some(ids), ..model_open },
            ended: at(session, opened + 900),
            closed: at(session, opened + 1_000),
            busy: Nanos(500),
            scheduled: Nanos(100),
            polls: 3,
            status: Status::Error,
            cancelled: false,
            detached: false,
            estimated: true,
            attributes: 2,
            dropped_attributes: 1,
            dropped_events: 2,
            dropped_links: 3,
        }),
    ];
    let told: Vec<&Event> = facts
        .iter()
        .filter(|event| {
            matches!(
                event,
                Event::SpanOpened(_)
                    | Event::SpanIds(..)
                    | Event::SpanAttribute(..)
                    | Event::SpanEvent { .. }
                    | Event::SpanLink { .. }
                    | Event::SpanEnded(_)
            )
        })
        .collect();
    assert_eq!(told, expected.iter().collect::<Vec<_>>());
}

#[test]
fn live_tasks_and_open_spans_stand_in_their_slots_after_a_death() {
    let place = Place::new();
    let session = place.session();
    let key = key(session, 0);
    let (callsite, site) = span_site(session);
    let thread = worker(session);
    let born = sys::tick() + 1_000;
    let mut numbers = Vec::new();
    session.take_slots(session.tasks(), 1, &mut numbers);
    let slot = session.task(numbers[0]).unwrap();
    let words = [
        (task::ID, 1 << 18),
        (task::POLLS, 3),
        (task::BUSY, 600),
        (task::SCHEDULED, 300),
        (task::LAST_END, born + 1_000),
        (task::WAKE_TICK, (born + 1_500 - session.start_tick()) << 8 | 3),
        (task::WAKE_WHO, Who::new(Who::THREAD, 1).0 << 8 | 3),
        (task::KEY, pack(key, 64)),
        (task::BORN, born),
        (task::STATE, 1),
    ];
    for (word, value) in words {
        slot[word].store(value, Ordering::Relaxed);
    }
    numbers.clear();
    session.take_slots(session.spans(), 1, &mut numbers);
    let slot = session.span(numbers[0]).unwrap();
    for (word, value) in [(span::ID, 4), (span::CALLSITE, pack(callsite, 0)), (span::OPENED, born)] {
        slot[word].store(value, Ordering::Relaxed);
    }
    // It died in its fourth poll.
    thread.words[pollscope_wire::layout::words::TASK].store(1 << 18, Ordering::Relaxed);
    thread.words[pollscope_wire::layout::words::POLL_START].store(born + 1_700, Ordering::Relaxed);
    kill(session);

    let (_, facts, _) = read_all(&mut place.collector());
    let state = facts
        .iter()
        .find_map(|event| match event {
            Event::TaskState(TaskId(id), state) if *id == 1 << 18 => Some(state),
            _ => None,
        })
        .expect("the task's slot is told");
    assert_eq!(
        (state.totals.busy, state.totals.scheduled, state.totals.idle),
        (Nanos(600), Nanos(300), Nanos(100))
    );
    assert_eq!(state.last_end, at(session, born + 1_000));
    assert_eq!(state.polling_since, Some(at(session, born + 1_700)));
    let polling = Event::Polling(ThreadId(1), Some((TaskId(1 << 18), at(session, born + 1_700))));
    assert!(facts.contains(&polling), "and the thread that was in it");
    assert_eq!(state.woken, Some((at(session, born + 1_500), Waker::Thread(ThreadId(1)))));
    let open = facts.iter().find_map(|event| match event {
        Event::SpanOpened(open) => Some(open),
        _ => None,
    });
    assert_eq!(open.map(|open| (open.span, open.callsite.name.clone())), Some((LocalSpanId(4), site.name)));
    let alive = Event::Alive {
        began: UnixNanos(u64::MAX),
        tasks: vec![TaskId(1 << 18)],
        spans: vec![LocalSpanId(4)],
        slotless: (1 << 18) - 1,
    };
    assert!(facts.contains(&alive), "these and no others were alive at the end");
}

#[test]
fn a_living_sessions_slots_tell_who_was_alive_when_they_were_read() {
    let place = Place::new();
    let session = place.session();
    let mut numbers = Vec::new();
    session.take_slots(session.tasks(), 3, &mut numbers);
    // One waits, one has ended and not let go of its slot, one slot is free again.
    for (number, (id, state)) in numbers.iter().zip([(1 << 18, 1), (2 << 18, 2), (0, 1)]) {
        let slot = session.task(*number).unwrap();
        slot[task::ID].store(id, Ordering::Relaxed);
        slot[task::STATE].store(state, Ordering::Relaxed);
        slot[task::BORN].store(sys::tick(), Ordering::Relaxed);
    }
    let mut collector = place.collector();
    read_all(&mut collector);
    let mut facts = Vec::new();
    collector.slots(&mut |_, event| facts.push(event));
    let alive = facts.iter().find_map(|event| match event {
        Event::Alive { began, tasks, .. } => Some((*began, tasks.clone())),
        _ => None,
    });
    let (began, tasks) = alive.expect("a whole reading is told as one");
    assert_eq!(tasks, [TaskId(1 << 18)]);
    let now = sys::realtime();
    assert!(began.0 <= now + 1_000_000 && began.0 + 60_000_000_000 > now, "{began:?} is now, {now}");
}

#[test]
fn threads_that_came_and_went_between_two_looks_are_told() {
    let place = Place::new();
    let session = place.session();
    for n in 0..5u64 {
        let name = format!("short-{n}");
        let registration = Registration { kind: 5, name: &name, runtime: 0, worker: None };
        let mut thread = session.register(&registration).unwrap();
        write_poll(&mut thread, n + 1, sys::tick(), 1);
        session.retire(thread);
    }
    let (_, facts, _) = read_all(&mut place.collector());
    let mut told: Vec<(u64, String, ThreadKind)> = facts
        .iter()
        .filter_map(|event| match event {
            Event::Thread { thread, name, kind, .. } => Some((thread.0, name.to_string(), *kind)),
            _ => None,
        })
        .collect();
    told.sort();
    told.dedup();
    let expected: Vec<_> = (0..5).map(|n| (n + 1, format!("short-{n}"), ThreadKind::Other)).collect();
    assert_eq!(told, expected);
    let polled: Vec<(u64, u64)> = facts
        .iter()
        .filter_map(|event| match event {
            Event::Polled(poll) => Some((poll.task.0, poll.thread.0)),
            _ => None,
        })
        .collect();
    assert_eq!(polled, (1..=5).map(|n| (n, n)).collect::<Vec<_>>(), "each poll on its own thread");
    let ended = facts.iter().filter(|event| matches!(event, Event::ThreadEnded(..))).count();
    assert_eq!(ended, 5, "and all of them are over");
}
