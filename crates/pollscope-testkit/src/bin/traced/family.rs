//! Tasks and jobs that are spawned inside traces, outside of any, and detached from theirs.

use pollscope::FutureExt;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::{Instrument, info_span};

pub async fn run() {
    let (release, released) = oneshot::channel::<()>();
    // It outlives the span in which it was spawned.
    let outliving = request(released).instrument(info_span!("request")).await;
    drop(release);
    outliving.await.expect("it ends");
    direct().await;
    outside().await;
    left_within().await;
}

/// A span that is left in a poll that began within it.
async fn left_within() {
    let outer = info_span!("left early").entered();
    let mut outer = Some(outer);
    let task = FutureExt::in_task(
        std::future::poll_fn(|_| {
            drop(outer.take());
            std::task::Poll::Ready(())
        }),
        "leaves",
    );
    let mut task = std::pin::pin!(task);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(std::future::Future::poll(task.as_mut(), &mut cx).is_ready());
    info_span!("after what was left").in_scope(|| ());
}

/// Busy in a span for 20 ms when it is dropped.
struct AtLast;

impl Drop for AtLast {
    fn drop(&mut self) {
        info_span!("in the drop").in_scope(|| std::thread::sleep(Duration::from_millis(20)));
    }
}

async fn request(released: oneshot::Receiver<()>) -> pollscope::task::JoinHandle<()> {
    let child = pollscope::spawn_named("child", async {
        info_span!("in the child").in_scope(|| std::thread::sleep(Duration::from_millis(10)));
        let grandchild = pollscope::spawn_named("grandchild", async {
            sleep(Duration::from_millis(200)).await;
            info_span!("in the grandchild").in_scope(|| ());
        });
        grandchild.await.expect("it ends");
    });
    child.await.expect("it ends");

    let detached = pollscope::task::Builder::new().name("detached").detached().spawn(async {
        info_span!("in the detached").in_scope(|| ());
    });
    detached.await.expect("it ends");

    async { sleep(Duration::from_millis(5)).await }.in_task("wrapped").await;

    let mut set = pollscope::JoinSet::new();
    set.spawn(async { info_span!("in the set").in_scope(|| ()) });
    while set.join_next().await.is_some() {}

    let job = pollscope::task::Builder::new().name("a job").spawn_blocking(|| {
        info_span!("in the job").in_scope(|| std::thread::sleep(Duration::from_millis(10)));
    });
    job.await.expect("it ends");

    let here = pollscope::current();
    let elsewhere = std::thread::spawn(move || {
        here.in_scope(|| info_span!("on another thread").in_scope(|| ()));
        info_span!("on another thread, outside").in_scope(|| ());
    });
    elsewhere.join().expect("it ends");

    let (tell, polled) = oneshot::channel();
    let aborted = pollscope::spawn_named("aborted", async {
        let _last = AtLast;
        let _ = tell.send(());
        std::future::pending::<()>().await;
    });
    polled.await.expect("it is polled");
    aborted.abort();
    let _ = aborted.await;
    let _ = pollscope::spawn_named("panicked", async { panic!("as the script says") }).await;

    pollscope::spawn_named("outliving", async {
        let _ = released.await;
    })
}

#[pollscope::instrument]
async fn direct() {
    let child = pollscope::spawn_named("child of a function", async {
        info_span!("in the child of a function").in_scope(|| ());
    });
    child.await.expect("it ends");
}

async fn outside() {
    let free = pollscope::spawn_named("free", async {
        info_span!("in the free").in_scope(|| ());
    });
    free.await.expect("it ends");
}
