//! The runtime's hooks: pollscope's and the service's own, side by side.

mod common;

use common::facts::facts;
use pollscope_model::event::{Event, TaskKind, ThreadKind};
use pollscope_testkit::Place;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::runtime::Builder;

#[test]
fn the_services_own_callbacks_run_beside_ours() {
    let place = Place::new();
    let session = pollscope::Config::from_env().dir(place.path()).init();
    let counts: [Arc<AtomicU64>; 8] = Default::default();
    let count = |which: usize| {
        let count = counts[which].clone();
        move || {
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    let mut builder = Builder::new_multi_thread();
    let builder = pollscope::runtime(builder.worker_threads(1).enable_all())
        .on_thread_start(count(0))
        .on_thread_stop(count(1))
        .on_thread_park(count(2))
        .on_thread_unpark(count(3));
    #[cfg(tokio_unstable)]
    let builder = {
        let count = |which| {
            let count = count(which);
            move |_: &tokio::runtime::TaskMeta<'_>| count()
        };
        builder
            .on_task_spawn(count(4))
            .on_before_task_poll(count(5))
            .on_after_task_poll(count(6))
            .on_task_terminate(count(7))
    };
    let runtime = builder.build().unwrap();
    runtime.block_on(async {
        // One that only the hooks see, one that is wrapped: the service's callbacks see both.
        tokio::spawn(tokio::task::yield_now()).await.unwrap();
        pollscope::spawn(tokio::task::yield_now()).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    });
    drop(runtime);
    drop(session);
    let [started, stopped, parked, unparked, tasks @ ..] =
        counts.each_ref().map(|count| count.load(Ordering::Relaxed));
    assert_eq!((started, stopped), (1, 1));
    assert!(parked > 0 && unparked > 0, "{parked} {unparked}");
    // The worker itself is a job of tokio's blocking pool, whose end is told too.
    assert_eq!(tasks, if cfg!(tokio_unstable) { [2, 4, 4, 3] } else { [0; 4] });

    let facts = facts(&place);
    let any = |is: fn(&Event) -> bool| facts.iter().any(is);
    assert!(any(|event| matches!(event, Event::Thread { kind: ThreadKind::Worker, .. })));
    assert!(any(|event| matches!(event, Event::Parked { .. })));
    let mut ends: Vec<_> = facts
        .iter()
        .filter_map(|event| match event {
            Event::TaskEnded(end) => Some((end.birth.kind == TaskKind::Hooked, end.totals.polls)),
            _ => None,
        })
        .collect();
    ends.sort_unstable();
    let all = [(false, 2), (true, 2)];
    assert_eq!(ends, if cfg!(tokio_unstable) { &all[..] } else { &all[..1] });
}
