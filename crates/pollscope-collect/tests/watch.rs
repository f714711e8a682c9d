//! A poll is seen from outside while it lasts.

mod common;

use common::{Place, worker};
use pollscope_model::event::{LocalSpanId, TaskId, ThreadId};
use pollscope_wire::layout::words;
use pollscope_wire::{seq, sys};
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a_poll_under_way_is_seen_with_its_task_and_start() {
    let place = Place::new();
    let session = place.session();
    let thread = worker(session);
    let mut collector = place.collector();
    collector.discover();
    assert_eq!(collector.watch().iter().filter(|now| now.polling.is_some()).count(), 0);

    let before = sys::realtime();
    let start = sys::tick();
    seq::write(&thread.words[words::SEQ], || {
        for (word, value) in
            [(words::TASK, 7), (words::POLL_START, start), (words::OUTER_START, start), (words::SPAN, 3)]
        {
            thread.words[word].store(value, Ordering::Relaxed);
        }
    });
    let now = collector.watch();
    assert_eq!(now.len(), 1);
    let now = now[0];
    assert_eq!(
        (now.session.0, now.thread, now.span, now.moving),
        (session.id(), ThreadId(1), Some(LocalSpanId(3)), false)
    );
    let (task, since) = now.polling.expect("it polls");
    assert_eq!((task, now.outermost, now.outermost_tick), (TaskId(7), Some(since), start));
    assert!(since.0.abs_diff(before) < 50_000_000, "{since:?} is not {before}");

    let parked = (start - session.start_tick()) << 8 | 1;
    seq::write(&thread.words[words::SEQ], || {
        for word in [words::TASK, words::POLL_START, words::OUTER_START, words::SPAN] {
            thread.words[word].store(0, Ordering::Relaxed);
        }
        thread.words[words::PARK].store(parked, Ordering::Relaxed);
    });
    let now = collector.watch()[0];
    assert_eq!((now.polling, now.outermost, now.parked), (None, None, Some(since)));
}

#[test]
fn words_that_never_stand_still_claim_no_task_that_never_was() {
    let place = Place::new();
    let session = place.session();
    let mut collector = place.collector();
    let stop = AtomicBool::new(false);
    let thread = worker(session);
    collector.discover();
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| {
            for task in 1..u64::MAX {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                // A task and a span of the same number: any other pair is torn.
                seq::write(&thread.words[words::SEQ], || {
                    for word in [words::TASK, words::SPAN, words::POLL_START, words::OUTER_START] {
                        thread.words[word].store(task, Ordering::Relaxed);
                    }
                });
            }
        });
        let seen: Vec<_> = (0..20_000).flat_map(|_| collector.watch()).collect();
        stop.store(true, Ordering::Relaxed);
        seen
    });
    assert_eq!(seen.len(), 20_000);
    for now in seen {
        match now.polling {
            Some((task, _)) => {
                assert_eq!((Some(LocalSpanId(task.0)), task.0), (now.span, now.outermost_tick));
            }
            None => assert!(now.moving || now.outermost.is_none(), "{now:?}"),
        }
    }
}
