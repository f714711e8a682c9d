//! What was overwritten is counted, by class, to the record: read + lost == written.

mod common;

use common::{Place, counts, read_all, worker, write_poll, written};
use pollscope_collect::{Collector, Options, Start};
use pollscope_model::event::{Event, SpanEnd};
use pollscope_wire::layout::{State, pack};
use pollscope_wire::record::{self, kind, span, value};
use pollscope_wire::session::{Session, ThreadHandle};
use pollscope_wire::sys;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

fn write_span(session: &Session, thread: &mut ThreadHandle, number: u64) {
    let _ = session;
    let open = record::SpanOpen { span: number, ..record::SpanOpen::default() };
    let now = sys::tick();
    let ids = record::SpanIds { trace: number as u128, span: number, parent: 0 };
    let end = record::SpanEnd {
        open,
        flags: span::IDS | span::SAMPLED,
        opened: now,
        ended: now,
        ids,
        ..record::SpanEnd::default()
    };
    let (flags, body, _) = end.encode();
    thread.span.write(kind::SPAN_END, flags, now, &body);
}

fn spans(facts: &[Event]) -> Vec<&SpanEnd> {
    let ends = facts.iter().filter_map(|event| match event {
        Event::SpanEnded(end) => Some(end),
        _ => None,
    });
    ends.collect()
}

/// Numbers of the spans that would be exported: ids that come by themselves count for more than the end's.
fn sampled(facts: &[Event]) -> Vec<u64> {
    let mut late = HashMap::new();
    for event in facts {
        if let Event::SpanIds(span, ids) = event {
            late.insert(*span, ids.sampled);
        }
    }
    let is_sampled = |end: &SpanEnd| {
        late.get(&end.open.span).copied().unwrap_or(end.open.ids.is_some_and(|ids| ids.sampled))
    };
    let mut numbers: Vec<u64> =
        spans(facts).into_iter().filter(|end| is_sampled(end)).map(|end| end.open.span.0).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_ring_that_ran_over_says_what_is_gone() {
    let place = Place::new();
    let session = place.session();
    let mut thread = worker(session);
    let mut collector = place.collector();
    let (mut read, mut lost) = ([0; 3], [0; 3]);
    for pass in 0..5u64 {
        // Some passes fit into the rings, some run over them many times.
        for n in 0..10u64.pow(pass as u32 + 1) {
            write_poll(&mut thread, n + 1, sys::tick(), 1);
            if n % 7 == 0 {
                write_span(session, &mut thread, n + 1);
            }
            if n % 11 == 0 {
                thread.poll.write(kind::JOIN, 0, sys::tick(), &[1, 2]);
            }
        }
        let (_, facts, sum) = read_all(&mut collector);
        let (now_read, now_lost) = counts(&facts);
        assert_eq!(sum.records, now_read.iter().sum::<u64>());
        assert_eq!(sum.lost, now_lost.iter().sum::<u64>());
        for class in 0..3 {
            read[class] += now_read[class];
            lost[class] += now_lost[class];
            assert_eq!(read[class] + lost[class], written(&thread)[class], "class {class}, pass {pass}");
        }
        assert_eq!(now_lost.iter().sum::<u64>() > 0, pass >= 2, "pass {pass}: {now_lost:?}");
    }
    let status = &collector.sessions()[0];
    assert_eq!((status.read, status.lost), (read, lost));
}

#[test]
fn parts_of_two_values_are_never_put_together() {
    let place = Place::new();
    let session = place.session();
    let mut thread = worker(session);
    let mut collector = place.collector();
    let key = session.string("statement");
    let part = |letter: u8| [u64::from_le_bytes([letter; 8]); 128];
    let mut body = vec![9, pack(key, value::STR as u32), pack(2_048, 2_048)];
    body.extend_from_slice(&part(b'a'));
    thread.span.write_slice(kind::ATTRIBUTE, 0, sys::tick(), &body);
    let (_, facts, _) = read_all(&mut collector);
    assert!(
        !facts.iter().any(|event| matches!(event, Event::SpanAttribute(..))),
        "the second part is missing"
    );

    // The second part is overwritten before it is read; what stands there now is of other values.
    for _ in 0..100 {
        thread.span.write(kind::MORE, 0, sys::tick(), &part(b'b'));
    }
    let (_, facts, sum) = read_all(&mut collector);
    assert!(sum.lost > 0);
    assert!(!facts.iter().any(|event| matches!(event, Event::SpanAttribute(..))), "no value is made of two");
}

#[test]
fn read_and_lost_are_all_that_was_written_also_while_it_is_written() {
    let place = Place::new();
    let session = place.session();
    let stop = AtomicBool::new(false);
    let mut collector = place.collector();
    let (written, read, lost) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut thread = worker(session);
            for n in 1..=1_000_000u64 {
                write_poll(&mut thread, n, sys::tick(), 1);
                if n % 50 == 0 {
                    write_span(session, &mut thread, n);
                }
            }
            stop.store(true, Ordering::Release);
            written(&thread)
        });
        let (mut read, mut lost) = ([0; 3], [0; 3]);
        let mut last = 0;
        loop {
            let over = stop.load(Ordering::Acquire);
            let (_, facts, _) = read_all(&mut collector);
            let (now_read, now_lost) = counts(&facts);
            for class in 0..3 {
                read[class] += now_read[class];
                lost[class] += now_lost[class];
            }
            for event in &facts {
                if let Event::Polled(poll) = event {
                    assert!(poll.task.0 > last, "{} after {last}: in order, and none twice", poll.task.0);
                    last = poll.task.0;
                }
            }
            if over {
                break;
            }
        }
        assert_eq!(last, 1_000_000, "the newest is always read");
        (writer.join().unwrap(), read, lost)
    });
    for class in 0..3 {
        assert_eq!(read[class] + lost[class], written[class], "class {class}");
    }
}

#[test]
fn a_collector_that_takes_up_again_exports_each_span_once() {
    let place = Place::new();
    let session = place.session();
    // Ids that came late stand in the ring of any thread, read before the end's or after it.
    let mut threads = [worker(session), worker(session), worker(session)];
    let mut exported = Vec::new();
    let mut start = Start::Oldest;
    let mut next = 1;
    for pass in 0..4 {
        let mut collector = Collector::new(Options { start: std::mem::take(&mut start), ..place.options() });
        collector.discover();
        // A stop before the first round must not forget where the one before stood.
        if pass == 2 {
            start = Start::Resume(collector.positions());
            continue;
        }
        for _ in 0..20 {
            let bits = span::IDS | span::SAMPLED;
            let late = &mut threads[next as usize % 3];
            late.span.write(kind::SPAN_IDS, bits, sys::tick(), &[next, next, 0, next, 0]);
            write_span(session, &mut threads[1], next);
            next += 1;
        }
        // This one's ids came before a restart, its end comes after it.
        let open = 1_000 + pass;
        threads[2].span.write(kind::SPAN_IDS, span::IDS | span::SAMPLED, sys::tick(), &[open, 1, 0, open, 0]);
        if pass == 3 {
            write_span(session, &mut threads[0], 1_000);
        }
        let (_, facts, _) = read_all(&mut collector);
        exported.extend(sampled(&facts));
        start = Start::Resume(collector.positions());
    }
    assert_eq!(exported, (1..next).chain([1_000]).collect::<Vec<_>>());
}

#[test]
fn a_restarted_collector_says_the_same_times() {
    let place = Place::new();
    let session = place.session();
    let mut thread = worker(session);
    for n in 1..=50 {
        write_span(session, &mut thread, n);
    }
    let mut first = place.collector();
    let (_, facts, _) = read_all(&mut first);
    let options = Options { start: Start::Resume(first.positions()), ..place.options() };
    let (_, again, _) = read_all(&mut Collector::new(options));
    let times = |facts: &[Event]| -> Vec<(u64, u64)> {
        spans(facts).iter().map(|end| (end.open.opened.0, end.closed.0)).collect()
    };
    assert_eq!(times(&facts).len(), 50);
    assert_eq!(times(&facts), times(&again));
}

#[test]
fn what_a_takeover_leaves_is_counted() {
    let place = Place::new();
    let session = place.session();
    let mut thread = worker(session);
    for n in 1..=500 {
        write_poll(&mut thread, n, sys::tick(), 1);
    }
    let before = written(&thread);
    let mut collector = Collector::new(Options { start: Start::Head, ..place.options() });
    collector.discover();
    for n in 501..=510 {
        write_poll(&mut thread, n, sys::tick(), 1);
    }
    let (_, facts, _) = read_all(&mut collector);
    let (read, lost) = counts(&facts);
    assert_eq!((read[0], lost), (10, before));

    // One that begins later is no takeover: it is read from its first record.
    let later = place.session();
    let mut thread = worker(later);
    write_poll(&mut thread, 1, sys::tick(), 1);
    later.end(State::Closed);
    let (_, facts, _) = read_all(&mut collector);
    assert_eq!(counts(&facts), (written(&thread), [0; 3]));
}
