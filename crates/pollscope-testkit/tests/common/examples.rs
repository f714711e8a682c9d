// What tokio's documentation shows of `spawn`, `JoinHandle`, `JoinSet`, `AbortHandle`, `spawn_blocking` and
// `spawn_local`, as tests. Included where `spawn` and `task` are imported, from tokio or from us, and `set_up` is.

use std::collections::HashSet;
use std::future::{pending, poll_fn, ready};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::time::Duration;
use task::{AbortHandle, JoinError, JoinHandle, JoinSet, LocalSet};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

const SHORT: Duration = Duration::from_millis(5);

/// Another runtime, which may be let go of within this one.
struct Other(Option<Runtime>);

impl Other {
    fn new() -> Other {
        Other(Some(tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap()))
    }

    fn handle(&self) -> &Handle {
        self.0.as_ref().unwrap().handle()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.0.take().unwrap().shutdown_background();
    }
}

#[test]
fn handles_are_what_tokios_are() {
    fn is<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe>() {}
    fn shown<T: std::fmt::Debug>() {}
    is::<JoinHandle<u8>>();
    is::<AbortHandle>();
    shown::<JoinHandle<u8>>();
    shown::<JoinSet<Rc<u8>>>();
    fn sent<T: Send + Sync + Unpin>() {}
    sent::<JoinSet<u8>>();
}

#[tokio::test]
async fn spawn_runs_a_future_and_its_handle_gives_what_it_returns() {
    set_up();
    let handle: JoinHandle<Result<i32, std::io::Error>> = spawn(async { Ok(5 + 3) });
    assert_eq!(handle.await.unwrap().unwrap(), 8);
    let all: Vec<JoinHandle<u32>> = (0..5).map(|i| spawn(async move { 2 * i })).collect();
    let mut doubled = Vec::new();
    for one in all {
        doubled.push(one.await.unwrap());
    }
    assert_eq!(doubled, [0, 2, 4, 6, 8]);
}

#[tokio::test]
async fn what_is_not_send_may_be_used_between_two_awaits() {
    set_up();
    let handle = spawn(async {
        {
            let held = Rc::new(());
            drop(held);
        }
        task::yield_now().await;
    });
    handle.await.unwrap();
}

#[test]
#[should_panic = "no reactor running"]
fn without_a_runtime_spawn_panics() {
    set_up();
    drop(spawn(async {}));
}

#[tokio::test]
async fn a_panic_is_an_error_of_the_handle() {
    set_up();
    let error: JoinError = spawn(async { panic!("boom") }).await.unwrap_err();
    assert!(error.is_panic() && !error.is_cancelled());
    assert_eq!(*error.into_panic().downcast::<&str>().unwrap(), "boom");
}

#[tokio::test]
async fn a_task_outlives_its_handle() {
    set_up();
    let (tell, told) = oneshot::channel();
    drop(spawn(async move {
        sleep(SHORT).await;
        tell.send("still here").unwrap();
    }));
    assert_eq!(told.await.unwrap(), "still here");
}

#[tokio::test(start_paused = true)]
async fn aborted_tasks_are_cancelled() {
    set_up();
    let handles = [
        spawn(async {
            sleep(Duration::from_secs(10)).await;
            true
        }),
        spawn(async {
            sleep(Duration::from_secs(10)).await;
            false
        }),
    ];
    let aborts: Vec<AbortHandle> = handles.iter().map(|handle| handle.abort_handle()).collect();
    aborts.iter().for_each(AbortHandle::abort);
    for handle in handles {
        assert!(handle.await.unwrap_err().is_cancelled());
    }
    let handle = spawn(pending::<()>());
    handle.abort();
    assert!(handle.await.unwrap_err().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn is_finished_tells_whether_the_task_has_ended() {
    set_up();
    let first = spawn(async {});
    let second = spawn(sleep(Duration::from_secs(1)));
    sleep(Duration::from_millis(10)).await;
    assert!(first.is_finished() && !second.is_finished());
    let abort = second.abort_handle();
    assert!(!abort.is_finished());
    second.await.unwrap();
    assert!(abort.is_finished());
}

#[tokio::test]
async fn ids_are_one_and_the_same_everywhere() {
    set_up();
    let handle = spawn(async { task::id() });
    let (id, of_abort) = (handle.id(), handle.abort_handle().clone().id());
    assert_eq!((id, id), (of_abort, handle.await.unwrap()));
    let failed = spawn(async { panic!("boom") });
    let id = failed.id();
    assert_eq!(failed.await.unwrap_err().id(), id);
}

#[tokio::test]
async fn spawn_blocking_runs_a_closure_apart() {
    set_up();
    let (tell, mut told) = mpsc::channel(2);
    let job = task::spawn_blocking(move || {
        for n in 0..10 {
            tell.blocking_send(n).unwrap();
        }
        "done"
    });
    let mut sum = 0;
    while let Some(n) = told.recv().await {
        sum += n;
    }
    assert_eq!((sum, job.await.unwrap()), (45, "done"));
    assert!(task::spawn_blocking(|| panic!("boom")).await.unwrap_err().is_panic());
}

#[tokio::test(flavor = "multi_thread")]
async fn block_in_place_hands_the_worker_over() {
    set_up();
    let result = spawn(async { task::block_in_place(|| "blocking completed") });
    assert_eq!(result.await.unwrap(), "blocking completed");
}

#[tokio::test]
async fn spawn_local_runs_what_is_not_send() {
    set_up();
    let held = Rc::new("held");
    let local = LocalSet::new();
    let of_set = held.clone();
    let on_set = local.spawn_local(async move { *of_set });
    let inside = local.run_until(async move {
        let twin = held.clone();
        task::spawn_local(async move { *twin }).await.unwrap()
    });
    assert_eq!(inside.await, "held");
    local.await;
    assert_eq!(on_set.await.unwrap(), "held");
}

#[test]
#[should_panic = "spawn_local"]
fn without_a_local_set_spawn_local_panics() {
    set_up();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { drop(task::spawn_local(async {})) });
}

#[tokio::test]
async fn unconstrained_futures_do_not_yield() {
    set_up();
    let ready = async {
        let (tell, mut told) = mpsc::unbounded_channel();
        for _ in 0..1000 {
            tell.send(()).unwrap();
            told.recv().await;
        }
    };
    spawn(task::unconstrained(ready)).await.unwrap();
}

tokio::task_local! {
    static NUMBER: u32;
}

#[tokio::test]
async fn values_of_a_task_are_its_own() {
    set_up();
    let number: &'static task::LocalKey<u32> = &NUMBER;
    let scoped: task::futures::TaskLocalFuture<u32, _> = number.scope(1, async { number.get() + 1 });
    assert_eq!(spawn(scoped).await.unwrap(), 2);
    assert!(spawn(async { number.try_with(|n| *n) }).await.unwrap().is_err());
    let inside: task::coop::Unconstrained<_> = task::coop::unconstrained(number.scope(3, async {
        task::coop::consume_budget().await;
        number.get()
    }));
    assert_eq!(inside.await, 3);
}

#[tokio::test]
async fn a_set_is_joined_in_the_order_of_the_ends() {
    set_up();
    let mut set = JoinSet::new();
    for i in 0..10 {
        set.spawn(async move { i });
    }
    assert_eq!((set.len(), set.is_empty()), (10, false));
    assert_eq!(format!("{set:?}"), "JoinSet { len: 10 }");
    let mut seen = [false; 10];
    while let Some(result) = set.join_next().await {
        seen[result.unwrap()] = true;
    }
    assert_eq!(seen, [true; 10]);
    assert!(set.is_empty() && set.join_next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn join_all_gives_results_in_the_order_of_the_ends() {
    set_up();
    let mut set = JoinSet::new();
    for i in 0..3 {
        set.spawn(async move {
            sleep(Duration::from_secs(3 - i)).await;
            i
        });
    }
    assert_eq!(set.join_all().await, [2, 1, 0]);
}

#[tokio::test]
#[should_panic = "boom"]
async fn join_all_goes_on_with_a_panic() {
    set_up();
    let mut set: JoinSet<()> = JoinSet::default();
    set.spawn(async { panic!("boom") });
    set.join_all().await;
}

#[tokio::test]
async fn sets_are_collected_and_extended() {
    set_up();
    let mut set: JoinSet<_> = (0..5).map(|i| async move { i }).collect();
    set.extend((5..10).map(ready));
    let mut all = set.join_all().await;
    all.sort_unstable();
    assert_eq!(all, (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_set_takes_tasks_of_every_kind() {
    set_up();
    let other = Other::new();
    let local = LocalSet::new();
    let mut set = JoinSet::new();
    set.spawn_on(async { "on a runtime" }, other.handle());
    set.spawn_local_on(async { "on a local set" }, &local);
    set.spawn_blocking(|| "blocking");
    set.spawn_blocking_on(|| "blocking on a runtime", other.handle());
    let seen = local.run_until(async {
        let held = Rc::new("local");
        set.spawn_local(async move { *held });
        set.spawn(async { "here" });
        set.join_all().await.into_iter().collect::<HashSet<_>>()
    });
    assert_eq!(seen.await.len(), 6);
}

#[tokio::test]
async fn a_sets_results_come_with_ids() {
    set_up();
    let mut set = JoinSet::new();
    let good = set.spawn(async { 1 }).id();
    assert_eq!(set.join_next_with_id().await.unwrap().unwrap(), (good, 1));
    let bad = set.spawn(async { panic!("boom") }).id();
    assert_eq!(set.join_next_with_id().await.unwrap().unwrap_err().id(), bad);
    let polled = set.spawn(async { 2 }).id();
    let result = poll_fn(|cx| set.poll_join_next_with_id(cx)).await;
    assert_eq!(result.unwrap().unwrap(), (polled, 2));
    assert!(poll_fn(|cx| set.poll_join_next(cx)).await.is_none());
}

#[tokio::test]
async fn what_has_ended_can_be_taken_without_waiting() {
    set_up();
    let mut set = JoinSet::new();
    assert!(set.try_join_next().is_none());
    let id = set.spawn(async { 1 }).id();
    assert!(set.try_join_next_with_id().is_none());
    task::yield_now().await;
    assert_eq!(set.try_join_next_with_id().unwrap().unwrap(), (id, 1));
    set.spawn(async { 2 });
    task::yield_now().await;
    assert_eq!(set.try_join_next().unwrap().unwrap(), 2);
}

#[tokio::test]
async fn a_set_aborts_its_tasks() {
    set_up();
    let mut set: JoinSet<()> = JoinSet::new();
    set.spawn(pending());
    let one = set.spawn(pending());
    one.abort();
    assert!(set.join_next().await.unwrap().unwrap_err().is_cancelled());
    set.abort_all();
    assert!(set.join_next().await.unwrap().unwrap_err().is_cancelled());
    set.spawn(pending());
    set.shutdown().await;
    assert!(set.is_empty());
    let dropped = set.spawn(pending());
    drop(set);
    while !dropped.is_finished() {
        task::yield_now().await;
    }
}

#[tokio::test]
async fn detached_tasks_run_on() {
    set_up();
    let (tell, told) = oneshot::channel();
    let mut set = JoinSet::new();
    set.spawn(async move {
        sleep(SHORT).await;
        tell.send("still here").unwrap();
    });
    set.detach_all();
    assert!(set.is_empty());
    drop(set);
    assert_eq!(told.await.unwrap(), "still here");
}
