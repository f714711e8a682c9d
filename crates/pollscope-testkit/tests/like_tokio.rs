//! tokio's examples with only the import changed; and what tokio has as unstable, or has not.

mod common;

use common::facts::{end_of, facts};
use pollscope::task::JoinSet;
use pollscope_model::event::{Event, TaskKind};
use pollscope_testkit::Place;
use std::sync::LazyLock;

/// The one session of this process.
static SESSION: LazyLock<(Place, pollscope::Guard)> = LazyLock::new(|| {
    let place = Place::new();
    let guard = pollscope::Config::from_env().dir(place.path()).init();
    assert!(guard.is_recording());
    (place, guard)
});

/// They say what tokio does.
mod of_tokio {
    use tokio::{spawn, task};
    fn set_up() {}
    include!("common/examples.rs");
}

mod ours {
    use pollscope::{spawn, task};
    fn set_up() {
        std::sync::LazyLock::force(&super::SESSION);
    }
    include!("common/examples.rs");
}

#[tokio::test]
async fn handles_and_sets_become_tokios() {
    LazyLock::force(&SESSION);
    let handle: tokio::task::JoinHandle<u8> = pollscope::spawn(async { 1 }).into();
    assert_eq!(handle.await.unwrap(), 1);
    let set: tokio::task::JoinSet<u8> = JoinSet::from_iter([async { 2 }]).into();
    assert_eq!(set.join_all().await, [2]);
    let abort: tokio::task::AbortHandle = pollscope::spawn(async {}).abort_handle();
    abort.abort();
}

/// With tokio they are unstable, and need its feature `tracing`.
#[tokio::test]
async fn tasks_of_a_set_can_have_names() {
    let (place, _) = &*SESSION;
    let mut set = JoinSet::new();
    let runtime = tokio::runtime::Handle::current();
    set.build_task().name("here").spawn(async {}).unwrap();
    set.build_task().name("on").spawn_on(async {}, &runtime).unwrap();
    set.build_task().name("blocking").spawn_blocking(|| ()).unwrap();
    set.build_task().name("blocking on").spawn_blocking_on(|| (), &runtime).unwrap();
    let local = tokio::task::LocalSet::new();
    set.build_task().name("local on").spawn_local_on(async {}, &local).unwrap();
    let inside = local.run_until(async {
        set.build_task().name("local").spawn_local(async {}).unwrap();
        set.join_all().await.len()
    });
    assert_eq!(inside.await, 6);

    let facts = facts(place);
    let kind = |name| end_of(&facts, name).birth.kind;
    assert_eq!(["here", "on"].map(kind), [TaskKind::Spawned; 2]);
    assert_eq!(["local", "local on"].map(kind), [TaskKind::Local; 2]);
    assert!(end_of(&facts, "here").birth.location.file.ends_with("like_tokio.rs"));
    let jobs = facts
        .iter()
        .filter(|event| matches!(event, Event::Job { name: Some(name), .. } if name.starts_with("blocking")));
    assert_eq!(jobs.count(), 2);
}
