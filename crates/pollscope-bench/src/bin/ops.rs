//! One hot operation, so often: `ops OPERATION TIMES`. `tests/guards/run.py` counts instructions, allocations and
//! system calls of two runs that differ in times alone: their difference is the operation's.
#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::hint::black_box;
use std::task::Poll;
use tokio::sync::mpsc;

#[pollscope::instrument]
#[inline(never)]
fn charge(order: u64, customer: &'static str, amount: f64) {
    black_box((order, customer, amount));
}

#[pollscope::instrument]
async fn inside(times: u64) {
    self_waking(times).await;
}

async fn self_waking(times: u64) {
    let mut left = times;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let operation = arguments.next().expect("an operation is named");
    let times: u64 = arguments.next().and_then(|text| text.parse().ok()).expect("the times are a number");
    let session = pollscope::init();
    assert!(
        session.is_recording() != (std::env::var_os("POLLSCOPE").is_some()),
        "recorded, unless it is off"
    );
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = pollscope::runtime(&mut builder).build().expect("a runtime can be built");
    runtime.block_on(async {
        match operation.as_str() {
            "poll" => pollscope::spawn(self_waking(times)).await.unwrap(),
            "spawn" => {
                for n in 0..times {
                    black_box(pollscope::spawn(async move { n }).await.unwrap());
                }
            }
            "ping-pong" => ping_pong(times).await,
            "wake" => wake(times).await,
            "span" => pollscope::spawn(root(times)).await.unwrap(),
            "open-span" => pollscope::spawn(inside(times)).await.unwrap(),
            "traced" => pollscope::spawn(traced(times)).await.unwrap(),
            other => panic!("no operation {other}"),
        }
    });
}

async fn ping_pong(times: u64) {
    let (ping, mut pings) = mpsc::channel::<u64>(1);
    let (pong, mut pongs) = mpsc::channel::<u64>(1);
    let echo = pollscope::spawn(async move {
        while let Some(n) = pings.recv().await {
            pong.send(n).await.unwrap();
        }
    });
    let rounds = pollscope::spawn(async move {
        for n in 0..times {
            ping.send(n).await.unwrap();
            pongs.recv().await;
        }
    });
    rounds.await.unwrap();
    echo.await.unwrap();
}

/// Wakes of another task that waits, each followed by its poll.
async fn wake(times: u64) {
    let notify = std::sync::Arc::new(tokio::sync::Notify::new());
    let woken = notify.clone();
    let sleeper = pollscope::spawn(async move {
        for _ in 0..times {
            woken.notified().await;
        }
    });
    let waker = pollscope::spawn(async move {
        for _ in 0..times {
            notify.notify_one();
            tokio::task::yield_now().await;
        }
    });
    waker.await.unwrap();
    sleeper.await.unwrap();
}

#[pollscope::instrument]
async fn root(times: u64) {
    for n in 0..times {
        charge(black_box(n), black_box("ada"), black_box(1.5));
    }
}

#[pollscope::instrument]
async fn traced(times: u64) {
    for order in 0..times {
        let _entered = tracing::info_span!("charge", order, customer = "ada", amount = 1.5).entered();
    }
}
