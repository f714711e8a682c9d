//! Services whose times are known, one scenario a run: `scripted SCENARIO [NUMBER]`. Each prints `ready` and
//! goes on until its input is closed, unless its script ends by itself.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::Notify;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let scenario = arguments.next().expect("a scenario is named");
    let number = arguments.next().map_or(0, |n| n.parse().expect("the second argument is a number"));
    use tracing_subscriber::prelude::*;
    tracing_subscriber::registry().with(pollscope::layer()).init();
    let guard = pollscope::Config::from_env().service(&scenario).init();
    match scenario.as_str() {
        "times" => runtime(1).block_on(times()),
        "fates" => runtime(2).block_on(fates()),
        "spans" => runtime(1).block_on(spans()),
        "unwrapped" => runtime(2).block_on(unwrapped()),
        "thread_local_runtime" => thread_local_runtime(),
        "exit" => runtime(1).block_on(exit()),
        "steps" => runtime(1).block_on(steps(number)),
        "spin" => runtime(2).block_on(spin(number)),
        "storm" => runtime(2).block_on(storm(number)),
        "tasks" => runtime(2).block_on(tasks(number)),
        "threads" => threads(number),
        "wide" => runtime(number as usize).block_on(wide(number as usize)),
        "stuck" => runtime(1).block_on(stuck()),
        "busy" => runtime(2).block_on(pollscope::FutureExt::in_task(busy(), "driver")),
        other => panic!("no scenario {other}"),
    }
    drop(guard);
}

/// A runtime with so many workers.
fn runtime(workers: usize) -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(workers).enable_all();
    pollscope::runtime(&mut builder).build().expect("a runtime can be built")
}

fn say(word: &str) {
    use std::io::Write;
    println!("{word}");
    std::io::stdout().flush().expect("the test reads what is printed");
}

/// Until the input is closed, on a thread that is not pollscope's.
async fn asked_to_end() {
    let ended = Arc::new(Notify::new());
    let tell = ended.clone();
    std::thread::spawn(move || {
        let mut rest = String::new();
        let _ = std::io::stdin().read_line(&mut rest);
        tell.notify_one();
    });
    ended.notified().await;
}

/// On one worker: `sleeper` sleeps 50 ms; `blocker` blocks its worker for 30 ms in one poll; `victim` is woken
/// at the beginning of a 40 ms block by `hog` and has to wait behind it.
async fn times() {
    let sleeper =
        pollscope::spawn_named("sleeper", async { tokio::time::sleep(Duration::from_millis(50)).await });
    sleeper.await.expect("the sleeper ends");
    let blocker = pollscope::spawn_named("blocker", async { std::thread::sleep(Duration::from_millis(30)) });
    blocker.await.expect("the blocker ends");

    let bell = Arc::new(Notify::new());
    let heard = bell.clone();
    let victim = pollscope::spawn_named("victim", async move { heard.notified().await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let hog = pollscope::spawn_named("hog", async move {
        bell.notify_one();
        std::thread::sleep(Duration::from_millis(40));
    });
    hog.await.expect("the hog ends");
    victim.await.expect("the victim ends");
    say("ready");
    asked_to_end().await;
}

/// One task on each of so many workers, all polled at one time.
async fn wide(workers: usize) {
    let all = Arc::new(std::sync::Barrier::new(workers));
    let tasks: Vec<_> = (0..workers)
        .map(|_| {
            let all = all.clone();
            pollscope::spawn_named("wide", async move { all.wait().is_leader() })
        })
        .collect();
    // A task that waits behind one that blocks is stolen by a worker that wakes up: each spawn wakes one.
    while tasks.iter().any(|task| !task.is_finished()) {
        pollscope::spawn(async {});
        std::thread::sleep(Duration::from_millis(1));
    }
    say("ready");
    asked_to_end().await;
}

/// So many spans, numbered, one every 5 ms.
async fn steps(number: u64) {
    for n in 0..number {
        tracing::info_span!("step", n).in_scope(|| ());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    say("ready");
    asked_to_end().await;
}

/// A task that wakes itself for ever; counts its polls.
fn spinner() -> Arc<AtomicU64> {
    let polls = Arc::new(AtomicU64::new(0));
    let counted = polls.clone();
    pollscope::spawn_named(
        "spinner",
        poll_fn(move |cx| -> Poll<()> {
            counted.fetch_add(1, Ordering::Relaxed);
            cx.waker().wake_by_ref();
            Poll::Pending
        }),
    );
    polls
}

/// The same spinner, and spans at an even pace.
async fn storm(number: u64) {
    spinner();
    steps(number).await;
}

/// A task that wakes itself for ever, at least 100,000 times, and `number` spans one after the other beside it.
async fn spin(number: u64) {
    let polls = spinner();
    for n in 0..number {
        tracing::info_span!("step", n).in_scope(|| ());
        if n % 16 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    while polls.load(Ordering::Relaxed) < 100_000 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    say("ready");
    asked_to_end().await;
}

/// So many tasks alive at once, each waiting for good.
async fn tasks(number: u64) {
    for _ in 0..number {
        pollscope::spawn_named("waiting", std::future::pending::<()>());
    }
    // Each has had its first poll when this one, spawned last, is over and the queues are empty.
    tokio::time::sleep(Duration::from_millis(200)).await;
    say("ready");
    asked_to_end().await;
}

/// So many threads, one after the other, with one job each.
fn threads(number: u64) {
    for n in 0..number {
        let thread = pollscope::thread::spawn(move || pollscope::job("short", || n));
        thread.join().expect("the thread ends");
    }
    say("ready");
    runtime(1).block_on(asked_to_end());
}

/// A span within a span, and in it a poll that never ends.
async fn stuck() {
    use tracing::Instrument;
    let outer = tracing::info_span!("outer", order = 7);
    let work = async {
        let inner = tracing::info_span!("inner");
        let _entered = inner.enter();
        say("ready");
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    };
    let _ = pollscope::spawn_named("stuck", work.instrument(outer)).await;
}

/// Tasks that come, wait, wake one another and go, with spans around it, until the process ends.
async fn busy() {
    use tracing::Instrument;
    say("ready");
    let mut round = 0u64;
    loop {
        round += 1;
        let pair = async {
            let (tell, told) = tokio::sync::oneshot::channel::<u64>();
            let teller = pollscope::spawn_named("teller", async move {
                tokio::task::yield_now().await;
                let _ = tell.send(round);
            });
            let _ = told.await;
            let _ = teller.await;
        };
        pair.instrument(tracing::info_span!("round", round, label = "busy")).await;
    }
}

/// A task of each fate: one finishes, one is aborted, one panics, one is joined in a set, one runs in another,
/// one is local, and one hands its waker to a thread that outlives it.
async fn fates() {
    use pollscope::FutureExt;
    let _ = pollscope::spawn_named("finisher", async { 7 }).await;
    let waiting = pollscope::spawn_named("aborted", std::future::pending::<()>());
    tokio::time::sleep(Duration::from_millis(10)).await;
    waiting.abort();
    let _ = waiting.await;
    let _ = pollscope::spawn_named("panicker", async { panic!("as the script says") }).await;

    let outer = pollscope::spawn_named("joiner", async {
        let mut set = pollscope::JoinSet::new();
        set.spawn(async { tokio::time::sleep(Duration::from_millis(5)).await });
        while set.join_next().await.is_some() {}
    });
    let _ = outer.await;

    let outer = pollscope::spawn_named("outer", async {
        let inner = async { std::thread::sleep(Duration::from_millis(20)) };
        inner.in_task("inner").await;
        std::thread::sleep(Duration::from_millis(10));
    });
    let _ = outer.await;

    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let _ = pollscope::spawn_local(async { tokio::task::yield_now().await }).await;
        })
        .await;

    // The waker lives on in a thread after its task has ended, and wakes it then.
    let (send, receive) = std::sync::mpsc::channel::<std::task::Waker>();
    let late = std::thread::spawn(move || {
        let waker = receive.recv().expect("a waker comes");
        std::thread::sleep(Duration::from_millis(20));
        waker.wake_by_ref();
        drop(waker);
    });
    let _ = pollscope::spawn_named(
        "outlived",
        poll_fn(move |cx| {
            let _ = send.send(cx.waker().clone());
            Poll::Ready(())
        }),
    )
    .await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    late.join().expect("a late wake harms nobody");
    let _ = pollscope::spawn_blocking(|| std::thread::sleep(Duration::from_millis(15))).await;
    say("ready");
    asked_to_end().await;
}

/// Holds a runtime in a thread-local, which drops its tasks when other thread-locals are gone already.
fn thread_local_runtime() {
    thread_local! {
        static HELD: std::cell::RefCell<Option<tokio::runtime::Runtime>> = const { std::cell::RefCell::new(None) };
    }
    let thread = std::thread::spawn(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = pollscope::runtime(&mut builder).build().expect("a runtime can be built");
        runtime.block_on(async {
            pollscope::spawn_named("held", std::future::pending::<()>());
            tokio::task::yield_now().await;
        });
        HELD.with(|held| *held.borrow_mut() = Some(runtime));
    });
    thread.join().expect("the thread ends without a panic");
    say("ready");
}

/// Leaves by `exit`, with the guard still held.
async fn exit() {
    let _ = pollscope::spawn_named("before", async {}).await;
    say("ready");
    std::process::exit(3);
}

/// A task that is spawned as a library would, and one that is wrapped, both for 30 ms of their worker's time.
async fn unwrapped() {
    let library = tokio::spawn(async {
        std::thread::sleep(Duration::from_millis(30));
        tokio::task::yield_now().await;
    });
    let own = pollscope::spawn_named("own", async { std::thread::sleep(Duration::from_millis(30)) });
    let _ = library.await;
    let _ = own.await;
    say("ready");
    asked_to_end().await;
}

/// Spans of every make: with attributes of every type, recorded later, events, links, errors; direct ones within
/// tracing's and the other way round; a task within a span, and a span within that task.
async fn spans() {
    use tracing::Instrument;
    let root = tracing::info_span!(
        "root",
        text = "words",
        signed = -3i64,
        unsigned = 3u64,
        share = 0.5,
        truth = true,
        shown = ?Some(1),
        later = tracing::field::Empty,
        "otel.name" = "renamed",
        "otel.kind" = "producer",
    );
    root.record("later", "x".repeat(5_000).as_str());
    let other = tracing::info_span!("other");
    root.follows_from(other.id());
    drop(other);
    async {
        tracing::warn!(code = 7, "something happened");
        tracing::debug!("this is below the level");
        let _ = direct(1).await;
        let _ = failing(2);
        let task = pollscope::spawn_named("child", async {
            tracing::info_span!("below").in_scope(|| std::thread::sleep(Duration::from_millis(5)));
            tokio::time::sleep(Duration::from_millis(200)).await;
        });
        let _ = task.await;
    }
    .instrument(root)
    .await;
    // Entered by two threads at once: busy is the time in which anybody was in it.
    let shared = tracing::info_span!("shared");
    let twin = shared.clone();
    let thread = std::thread::spawn(move || twin.in_scope(|| std::thread::sleep(Duration::from_millis(40))));
    shared.in_scope(|| std::thread::sleep(Duration::from_millis(40)));
    thread.join().expect("the twin ends");
    drop(shared);
    say("ready");
    asked_to_end().await;
}

#[pollscope::instrument(fields(double = n * 2))]
async fn direct(n: u64) -> u64 {
    let _inside = tracing::info_span!("inside").entered();
    n
}

#[pollscope::instrument(err, name = "failure")]
fn failing(n: u64) -> Result<u64, String> {
    Err(format!("no {n}"))
}
