//! Without a session every function is its plain counterpart of tokio or std.

use pollscope::FutureExt;
use pollscope::{spawn, task};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

/// What a service with `POLLSCOPE=off` has. Unit tests have not even that.
static OFF: LazyLock<pollscope::Guard> = LazyLock::new(|| {
    // SAFETY: whoever reads it waits here first.
    unsafe { std::env::set_var("POLLSCOPE", "off") };
    pollscope::init()
});

fn set_up() {
    assert!(!OFF.is_recording() && OFF.session_dir().is_none());
}

include!("common/examples.rs");

#[tokio::test]
async fn names_change_nothing() {
    set_up();
    let here = Handle::current();
    let build = || task::Builder::new().name("named").detached();
    assert_eq!(pollscope::spawn_named("named", async { 1 }).await.unwrap(), 1);
    assert_eq!(build().spawn(async { 2 }).await.unwrap(), 2);
    assert_eq!(build().spawn_on(async { 3 }, &here).await.unwrap(), 3);
    assert_eq!(build().spawn_blocking(|| 4).await.unwrap(), 4);
    assert_eq!(build().spawn_blocking_on(|| 5, &here).await.unwrap(), 5);
    assert_eq!(pollscope::spawn_blocking(|| 6).await.unwrap(), 6);
    assert_eq!(async { 7 }.in_task("named").await, 7);
    let local = LocalSet::new();
    let on = build().spawn_local_on(async { 8 }, &local);
    let inside = local.run_until(async {
        (build().spawn_local(async { 9 }).await.unwrap(), pollscope::spawn_local(async { 10 }).await.unwrap())
    });
    assert_eq!((inside.await, on.await.unwrap()), ((9, 10), 8));

    let mut set = JoinSet::new();
    set.build_task().name("named").spawn(async { 11 }).unwrap();
    set.build_task().name("named").spawn_blocking(|| 12).unwrap();
    assert_eq!(set.join_all().await.into_iter().sum::<u32>(), 23);
}

#[test]
fn a_runtime_has_the_services_callbacks() {
    set_up();
    let (started, stopped, parked): (Arc<AtomicU32>, Arc<AtomicU32>, Arc<AtomicU32>) = Default::default();
    let count = |count: &Arc<AtomicU32>| {
        let count = count.clone();
        move || {
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = pollscope::runtime(builder.worker_threads(2).enable_all())
        .name("named")
        .on_thread_start(count(&started))
        .on_thread_stop(count(&stopped))
        .on_thread_park(count(&parked))
        .on_thread_unpark(|| ())
        .build()
        .unwrap();
    assert_eq!(runtime.block_on(async { spawn(async { 1 }).await.unwrap() }), 1);
    runtime.block_on(async { sleep(SHORT).await });
    drop(runtime);
    assert_eq!((started.load(Ordering::Relaxed), stopped.load(Ordering::Relaxed)), (2, 2));
    assert!(parked.load(Ordering::Relaxed) > 0);

    let local = pollscope::runtime(&mut tokio::runtime::Builder::new_current_thread()).build_local().unwrap();
    assert_eq!(local.block_on(async { pollscope::spawn_local(async { 2 }).await.unwrap() }), 2);
}

#[pollscope::main(flavor = "local", service = "plain")]
async fn local_main() -> u32 {
    let held = Rc::new(3);
    pollscope::spawn_local(async move { *held }).await.unwrap()
}

#[pollscope::main(worker_threads = 2)]
async fn other_main() -> u32 {
    spawn(instrumented(2)).await.unwrap()
}

#[pollscope::instrument]
async fn instrumented(n: u32) -> u32 {
    let _ = pollscope::current();
    n
}

#[test]
fn mains_run() {
    set_up();
    assert_eq!((local_main(), other_main()), (3, 2));
}

#[test]
fn threads_and_jobs_run() {
    set_up();
    assert_eq!(pollscope::job("job", || 1), 1);
    assert_eq!(pollscope::thread::spawn(|| 2).join().unwrap(), 2);
    let named = pollscope::thread::Builder::new().name("named").stack_size(1 << 20);
    let name = named.spawn(|| std::thread::current().name().map(str::to_owned)).unwrap();
    assert_eq!(name.join().unwrap().as_deref(), Some("named"));
    let held = 3;
    let scoped = std::thread::scope(|scope| {
        pollscope::thread::Builder::new().spawn_scoped(scope, || held).unwrap().join().unwrap()
    });
    assert_eq!(scoped, 3);
    let pool =
        rayon_core::ThreadPoolBuilder::new().num_threads(1).spawn_handler(pollscope::thread::spawn_rayon);
    assert_eq!(pool.build().unwrap().install(|| 4), 4);
}
