//! The runtime's task hooks: pollscope's and the service's own, side by side.
#![cfg(tokio_unstable)]

mod common;

use common::facts::facts;
use pollscope_model::event::{Event, TaskKind};
use pollscope_testkit::Place;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::runtime::{Builder, TaskMeta};

#[test]
fn the_services_own_task_callbacks_run_beside_ours() {
    let place = Place::new();
    let session = pollscope::Config::from_env().dir(place.path()).init();
    let counts: [Arc<AtomicU64>; 4] = Default::default();
    let count = |which: usize| {
        let count = counts[which].clone();
        move |_: &TaskMeta<'_>| {
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    let runtime = pollscope::runtime(&mut Builder::new_current_thread())
        .on_task_spawn(count(0))
        .on_before_task_poll(count(1))
        .on_after_task_poll(count(2))
        .on_task_terminate(count(3))
        .build()
        .unwrap();
    runtime.block_on(async {
        // One that only the hooks see, one that is wrapped: the service's callbacks see both.
        tokio::spawn(tokio::task::yield_now()).await.unwrap();
        pollscope::spawn(tokio::task::yield_now()).await.unwrap();
    });
    assert_eq!(counts.each_ref().map(|count| count.load(Ordering::Relaxed)), [2, 4, 4, 2]);
    drop(runtime);
    drop(session);
    let ends: Vec<_> = facts(&place)
        .into_iter()
        .filter_map(|event| match event {
            Event::TaskEnded(end) => Some((end.birth.kind, end.totals.polls)),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [(TaskKind::Hooked, 2), (TaskKind::Spawned, 2)]);
}
