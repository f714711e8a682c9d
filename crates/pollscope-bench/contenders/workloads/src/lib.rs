//! What every contender does, and how long it takes: `CONTENDER WORKLOAD OPERATIONS WORKERS` prints nanoseconds
//! per operation on standard output. Workers 0 is a current-thread runtime.
//!
//! A contender is a [`Kit`]: how it makes a runtime, spawns, opens spans. Everything else is the same code.

mod http;

use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Poll, Waker};
use std::time::Instant;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};

/// What spawning gives.
pub type Joined<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How a contender does what all do.
pub trait Kit: Send + Sync + 'static {
    /// Has spans of a function with three fields.
    const SPANS: bool = false;
    /// Has spans that a future enters at each poll.
    const OPEN_SPANS: bool = false;
    /// Records jobs of the blocking pool.
    const JOBS: bool = false;

    /// A runtime of this builder, recorded.
    fn runtime(&self, builder: Builder) -> Runtime {
        let mut builder = builder;
        builder.build().expect("a runtime can be built")
    }

    /// Spawns a recorded task.
    fn spawn<F>(&self, future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;

    /// Opens and closes one span with three fields.
    fn span(&self, _order: u64, _customer: &'static str, _amount: f64) {}

    /// The future inside one open span, entered at each poll.
    fn in_span<F>(&self, future: F) -> impl Future<Output = F::Output> + Send
    where
        F: Future + Send,
        F::Output: Send,
    {
        future
    }

    /// Runs a job on the blocking pool.
    fn job<R: Send + 'static>(
        &self,
        run: impl FnOnce() -> R + Send + 'static,
    ) -> impl Future<Output = R> + Send {
        let job = tokio::task::spawn_blocking(run);
        async move { job.await.expect("a job does not panic") }
    }
}

/// Runs the workload that the arguments name.
pub fn run<K: Kit>(kit: K) {
    let kit: &'static K = Box::leak(Box::new(kit));
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().unwrap_or_else(|| panic!("an argument is missing: {what}"));
    let workload = next("the workload");
    let operations: u64 = next("the number of operations").parse().expect("operations: a number");
    let workers: usize = next("the number of workers").parse().expect("workers: a number");
    let mut builder = if workers == 0 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    if workers > 0 {
        builder.worker_threads(workers);
    }
    builder.enable_all();
    let runtime = kit.runtime(builder);
    // Whoever follows from outside finds the process first.
    if let Some(wait) = std::env::var("BENCH_WAIT_MS").ok().and_then(|text| text.parse().ok()) {
        std::thread::sleep(std::time::Duration::from_millis(wait));
    }
    let begin = |work: Joined<u64>| {
        // In a task of the runtime, since main is none: what is measured is what tasks cost.
        let spawned = runtime.block_on(async { kit.spawn(work) });
        runtime.block_on(spawned)
    };
    let nanos = match workload.as_str() {
        "poll" => begin(Box::pin(poll(kit, operations))),
        "wake" => begin(Box::pin(wake(kit, operations))),
        "spawn" => begin(Box::pin(spawn(kit, operations))),
        "ping-pong" => begin(Box::pin(ping_pong(kit, operations))),
        "span" => begin(Box::pin(span(kit, operations))),
        "open-span" => begin(Box::pin(open_span(kit, operations))),
        "job" => begin(Box::pin(job(kit, operations))),
        "live" => begin(Box::pin(live(kit, operations))),
        "http" => return http::serve(kit, &runtime),
        other => panic!("no workload {other}"),
    };
    println!("{:.2}", nanos as f64 / operations as f64);
}

/// A future that wakes itself so many times.
fn self_waking(times: u64) -> impl Future<Output = ()> + Send {
    let mut left = times;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

async fn poll<K: Kit>(kit: &'static K, times: u64) -> u64 {
    kit.spawn(self_waking(times / 10)).await;
    let begin = Instant::now();
    kit.spawn(self_waking(times)).await;
    elapsed(begin)
}

/// Wakes of a task that is scheduled already, from a thread that polls nothing.
async fn wake<K: Kit>(kit: &'static K, times: u64) -> u64 {
    let (give, waker) = oneshot::channel::<Waker>();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut give = Some(give);
    let mut stopped = Box::pin(stopped);
    let woken = kit.spawn(poll_fn(move |cx| {
        if let Some(give) = give.take() {
            let _ = give.send(cx.waker().clone());
        }
        stopped.as_mut().poll(cx).map(drop)
    }));
    let waker = waker.await.expect("the task gives its waker");
    let (told, spent) = oneshot::channel();
    let thread = std::thread::spawn(move || {
        for _ in 0..times / 10 {
            black_box(&waker).wake_by_ref();
        }
        let begin = Instant::now();
        for _ in 0..times {
            black_box(&waker).wake_by_ref();
        }
        let _ = told.send(elapsed(begin));
    });
    let spent = spent.await.expect("the thread tells its time");
    thread.join().expect("the thread does not panic");
    let _ = stop.send(());
    woken.await;
    spent
}

async fn spawn<K: Kit>(kit: &'static K, times: u64) -> u64 {
    let rounds = async |times: u64| {
        for n in 0..times {
            black_box(kit.spawn(async move { black_box(n) }).await);
        }
    };
    rounds(times / 10).await;
    let begin = Instant::now();
    rounds(times).await;
    elapsed(begin)
}

async fn ping_pong<K: Kit>(kit: &'static K, times: u64) -> u64 {
    let (ping, mut pings) = mpsc::channel::<u64>(1);
    let (pong, mut pongs) = mpsc::channel::<u64>(1);
    let echo = kit.spawn(async move {
        while let Some(n) = pings.recv().await {
            if pong.send(n).await.is_err() {
                break;
            }
        }
    });
    let rounds = kit.spawn(async move {
        let mut begin = Instant::now();
        for n in 0..times / 10 + times {
            if n == times / 10 {
                begin = Instant::now();
            }
            ping.send(n).await.expect("the other end is there");
            pongs.recv().await;
        }
        elapsed(begin)
    });
    let spent = rounds.await;
    echo.await;
    spent
}

async fn span<K: Kit>(kit: &'static K, times: u64) -> u64 {
    assert!(K::SPANS, "this contender has no spans");
    // A hundred below one root, as the spans of a request are: some keep no more below one.
    let roots = async |times: u64| {
        for root in 0..times.div_ceil(100) {
            kit.in_span(async {
                for n in 0..100 {
                    kit.span(black_box(root * 100 + n), black_box("ada"), black_box(1.5));
                }
            })
            .await;
        }
    };
    roots(times / 10).await;
    let begin = Instant::now();
    roots(times).await;
    elapsed(begin)
}

async fn open_span<K: Kit>(kit: &'static K, times: u64) -> u64 {
    assert!(K::OPEN_SPANS, "this contender has no spans that a future enters");
    let begin = Instant::now();
    kit.spawn(kit.in_span(self_waking(times))).await;
    elapsed(begin)
}

async fn job<K: Kit>(kit: &'static K, times: u64) -> u64 {
    assert!(K::JOBS, "this contender records no jobs");
    let rounds = async |times: u64| {
        for n in 0..times {
            black_box(kit.job(move || black_box(n)).await);
        }
    };
    rounds(times / 10).await;
    let begin = Instant::now();
    rounds(times).await;
    elapsed(begin)
}

/// So many tasks alive at once, each polled ten times in turn: time per poll is a tenth of what is told.
async fn live<K: Kit>(kit: &'static K, tasks: u64) -> u64 {
    let mut joins = Vec::with_capacity(tasks as usize);
    let begin = Instant::now();
    for _ in 0..tasks {
        joins.push(Box::pin(kit.spawn(self_waking(9))));
    }
    for join in joins {
        join.await;
    }
    elapsed(begin)
}

fn elapsed(begin: Instant) -> u64 {
    begin.elapsed().as_nanos() as u64
}
