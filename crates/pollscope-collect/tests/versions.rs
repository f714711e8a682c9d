//! A newer minor only adds: whatever it adds is skipped by its length, and all that this version knows is read as ever.

mod common;

use common::{NOBODY, Place, kill, patch, read_all, worker, write_poll};
use pollscope_collect::Notice;
use pollscope_model::event::Event;
use pollscope_wire::layout::{
    ABI_MAJOR, ENDIAN_TAG, RowKind, SECTIONS, Section, header, pack, section, task,
};
use pollscope_wire::record::{self, kind, task_kind};
use pollscope_wire::session::{InfoValue, Session};
use pollscope_wire::sys;
use pollscope_wire::table::{CallsiteDef, KeyDef};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::Ordering;

/// A task that is alive, and the number of its row key.
fn birth(session: &Session, born: u64) -> record::Birth {
    let callsite = session.callsite(&CallsiteDef {
        kind: 1,
        severity: 0,
        line: 41,
        column: 9,
        file: "src/orders.rs",
        name: "",
        target: "",
    });
    let runtime = session.runtime("main-rt", true, 4);
    let (name, future) = (session.string("a name"), session.string("orders::place::{{closure}}"));
    let key = session.key(KeyDef { kind: RowKind::Task as u8, callsite, name, future, runtime, what: 0 });
    let name = record::name_words("a name");
    let kind = task_kind::SPAWNED;
    record::Birth {
        task: 1 << 18,
        kind,
        parent: 5,
        key,
        size: 320,
        born,
        span: 0,
        tokio_id: 12,
        name,
        runtime,
    }
}

/// A session that died, with a task in a slot, a birth and polls in a ring; between these what `more` writes.
fn sample(place: &Place, more: impl Fn(&mut pollscope_wire::session::ThreadHandle, u64)) -> &'static Session {
    let session = place.session_with(4 << 20);
    session.info(false, "exe", &InfoValue::Str("/usr/bin/till".into()));
    let mut thread = worker(session);
    let born = sys::tick() + 1_000;
    let birth = birth(session, born);
    thread.poll.write(kind::TASK_BIRTH, 0, born, &birth.encode());
    let mut numbers = Vec::new();
    session.take_slots(session.tasks(), 1, &mut numbers);
    let slot = session.task(numbers[0]).unwrap();
    for (word, value) in
        [(task::STATE, 1), (task::BORN, born), (task::KEY, pack(birth.key, 320)), (task::ID, 1 << 18)]
    {
        slot[word].store(value, Ordering::Relaxed);
    }
    for n in 1..=300 {
        write_poll(&mut thread, n, born + n * 10, 1);
        more(&mut thread, born + n * 10);
    }
    kill(session);
    session
}

/// All facts but the numbers of records, for the unknown ones count too, and the end.
#[track_caller]
fn facts(place: &Place) -> Vec<Event> {
    let (notices, mut facts, _) = read_all(&mut place.collector());
    assert!(matches!(notices[..], [Notice::Found(..), Notice::Ended(..)]), "{notices:?}");
    // Its ticks are taken for nanoseconds: the last one may still lie ahead.
    facts.retain(|event| !matches!(event, Event::Read { .. } | Event::SessionEnded(..)));
    facts
}

fn polls(facts: &[Event]) -> usize {
    facts.iter().filter(|event| matches!(event, Event::Polled(_))).count()
}

#[test]
fn unknown_kinds_of_records_are_passed_over() {
    let place = Place::new();
    let unknown = std::cell::Cell::new(0);
    sample(&place, |thread, tick| {
        // Of all lengths, with bodies that would be anything to a reader that took them for what they are not.
        for (kind, length) in [(200, 0), (255, 1), (201, 7), (250, 254)] {
            let body = vec![u64::MAX; length];
            thread.poll.write_slice(kind, 0xffff, tick, &body);
            unknown.set(unknown.get() + 1);
        }
    });
    let (_, facts, round) = read_all(&mut place.collector());
    assert_eq!(round.lost, 0, "the ring holds all of them");
    assert_eq!(polls(&facts), 300);
    let told: u64 =
        facts.iter().map(|event| if let Event::Read { records, .. } = event { *records } else { 0 }).sum();
    assert!(told >= 301 + unknown.get(), "they are counted: {told}");
}

#[test]
fn a_record_that_has_become_longer_is_read_as_far_as_it_is_known() {
    let place = Place::new();
    sample(&place, |thread, tick| {
        let told = record::Poll { task: 9, busy: 7, flags: record::poll::UNWOKEN, ..record::Poll::default() };
        let (flags, body) = told.encode_short();
        let longer = [body.as_slice(), &[u64::MAX; 3]].concat();
        thread.poll.write_slice(kind::POLL, flags, tick, &longer);
    });
    let facts = facts(&place);
    assert_eq!(polls(&facts), 600);
    let of_nine = facts.iter().filter(|event| matches!(event, Event::Polled(poll) if poll.task.0 == 9));
    assert!(of_nine.count() >= 300);
}

/// What a newer minor's service would write into `control`; the facts stay the same.
#[track_caller]
fn reads_the_same_after(change: impl Fn(&Path)) {
    let place = Place::new();
    let session = sample(&place, |_, _| ());
    let before = facts(&place);
    assert!(polls(&before) == 300 && before.iter().any(|event| matches!(event, Event::TaskState(..))));
    change(session.dir());
    let after = facts(&place);
    let differ = before.iter().zip(&after).find(|(before, after)| before != after);
    assert!(
        after.len() == before.len() && differ.is_none(),
        "{} facts, {} before: {differ:?}",
        after.len(),
        before.len()
    );
}

#[test]
fn a_newer_minor_is_read() {
    reads_the_same_after(|dir| {
        let version = pack(ENDIAN_TAG, ABI_MAJOR as u32 | 9 << 16);
        patch(dir, "control", header::VERSION as u64, version);
    });
}

#[test]
fn a_newer_major_is_refused_and_an_older_process_id_changes_nothing_about_it() {
    let place = Place::new();
    let session = sample(&place, |_, _| ());
    patch(session.dir(), "control", header::VERSION as u64, pack(ENDIAN_TAG, ABI_MAJOR as u32 + 1));
    patch(session.dir(), "control", header::PID as u64, pack(NOBODY - 1, sys::uid()));
    let mut collector = place.collector();
    let notices = collector.discover();
    assert!(
        matches!(&notices[..], [Notice::Refused(_, why)] if why.contains("use a newer one")),
        "{notices:?}"
    );
    assert_eq!(collector.discover(), [], "once");
}

/// The words of a section's descriptor.
fn descriptor(dir: &Path, index: usize) -> (u64, [u64; section::WORDS]) {
    let at = (header::FIRST_SECTION + index * section::WORDS) as u64;
    let control = File::open(dir.join("control")).unwrap();
    let mut bytes = [0; section::WORDS * 8];
    control.read_exact_at(&mut bytes, at * 8).unwrap();
    let word = |i: usize| u64::from_le_bytes(bytes[i * 8..i * 8 + 8].try_into().unwrap());
    (at, std::array::from_fn(word))
}

#[test]
fn an_unknown_section_is_passed_over() {
    reads_the_same_after(|dir| {
        let at = (header::FIRST_SECTION + SECTIONS.len() * section::WORDS) as u64;
        // It may lie anywhere: nobody here knows how long it is.
        for (word, value) in [pack(99, 24), u64::MAX - 7, u64::MAX, 3].into_iter().enumerate() {
            patch(dir, "control", at + word as u64, value);
        }
        patch(dir, "control", header::SECTIONS as u64, SECTIONS.len() as u64 + 1);
    });
}

#[test]
fn entries_that_have_become_longer_are_read_as_far_as_they_are_known() {
    for (index, (kind, stride, _)) in SECTIONS.into_iter().enumerate() {
        // These are no entries but rows of words.
        if matches!(kind, Section::Strings | Section::Info) {
            continue;
        }
        reads_the_same_after(|dir| {
            println!("{kind:?}");
            let (at, [_, offset, count, _]) = descriptor(dir, index);
            let path = dir.join("control");
            let mut control = fs::read(&path).unwrap();
            let new = control.len().next_multiple_of(64);
            control.resize(new, 0);
            for entry in 0..count as usize {
                let from = offset as usize + entry * stride;
                control.extend_from_within(from..from + stride);
                control.extend([0xff; 16]);
            }
            fs::write(&path, control).unwrap();
            patch(dir, "control", at + section::KIND as u64, pack(kind as u32, stride as u32 + 16));
            patch(dir, "control", at + section::OFFSET as u64, new as u64);
        });
    }
}

#[test]
fn an_unknown_kind_of_chunk_is_passed_over() {
    reads_the_same_after(|dir| {
        let index = SECTIONS.iter().position(|(kind, ..)| *kind == Section::Chunks).unwrap();
        let (at, [_, offset, _, used]) = descriptor(dir, index);
        let stride = (SECTIONS[index].1 / 8) as u64;
        for word in 0..stride {
            patch(dir, "control", offset / 8 + used * stride + word, u64::MAX);
        }
        patch(dir, "control", at + section::USED as u64, used + 1);
    });
}

#[test]
fn an_unknown_fact_is_passed_over() {
    let place = Place::new();
    let session = place.session();
    session.info(false, "a fact of tomorrow", &InfoValue::Str("x".repeat(3000)));
    session.info(false, "tracing.layer", &InfoValue::Bool(true));
    worker(session);
    kill(session);
    let infos = facts(&place).into_iter().filter_map(|event| match event {
        Event::SessionBegan(info) => Some(info),
        _ => None,
    });
    assert!(infos.last().is_some_and(|info| info.tracing_layer && info.service() == "till"));
}
