//! Tasks in every place that they can be in: `tasked SCENARIO`. Each prints `ready` and ends when its input is closed.

use pollscope::FutureExt;
use pollscope::task::Builder;
use std::future::{Future, pending, poll_fn};
use std::io::{Read, Write};
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::LocalSet;

fn main() {
    let scenario = std::env::args().nth(1).expect("a scenario is named");
    let session = pollscope::Config::from_env().service(scenario.as_str()).init();
    match scenario.as_str() {
        "builders" => runtime(2).block_on(builders()),
        "foreign" => foreign(),
        "wakers" => runtime(1).block_on(wakers()),
        "counts" => runtime(1).block_on(counts()),
        "blocking_inside" => runtime(2).block_on(blocking_inside()),
        "runtimes" => runtimes(),
        "panics" => runtime(1).block_on(panics()),
        "destructors" => destructors(),
        "workers" => workers(),
        "given_up" => given_up(),
        "many_polls" => runtime(1).block_on(many_polls()),
        "outliving" => {
            outliving(session);
            return;
        }
        other => panic!("no scenario {other}"),
    }
    say("ready");
    asked_to_end();
    drop(session);
}

fn runtime(workers: usize) -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let builder = builder.worker_threads(workers).enable_all();
    pollscope::runtime(builder).build().expect("a runtime can be built")
}

fn say(word: &str) {
    println!("{word}");
    std::io::stdout().flush().expect("the test reads what is printed");
}

fn asked_to_end() {
    let _ = std::io::stdin().read(&mut [0]);
}

const SHORT: Duration = Duration::from_millis(10);

/// One task by each way to spawn, in a parent.
async fn builders() {
    let handle = tokio::runtime::Handle::current();
    let parent = pollscope::spawn_named("parent", async move {
        let here = Builder::new().name("spawn").spawn(async {
            let held = std::hint::black_box([0u8; 100]);
            tokio::task::yield_now().await;
            std::hint::black_box(held).len()
        });
        let on = Builder::new().name("spawn_on").spawn_on(async {}, &handle);
        let blocking = Builder::new().name("spawn_blocking").spawn_blocking(|| std::thread::sleep(SHORT));
        let blocking_on = Builder::new().name("spawn_blocking_on").spawn_blocking_on(|| (), &handle);
        assert_eq!(here.await.expect("it ends"), 100);
        on.await.expect("it ends");
        blocking.await.expect("it ends");
        blocking_on.await.expect("it ends");
        pollscope::spawn(async {}).await.expect("it ends");
    });
    parent.await.expect("it ends");
    let local = LocalSet::new();
    let on = Builder::new().name("spawn_local_on").spawn_local_on(async {}, &local);
    let inside = local.run_until(async {
        let rc = std::rc::Rc::new(1);
        Builder::new().name("spawn_local").spawn_local(async move { *rc }).await.expect("it ends")
    });
    assert_eq!(inside.await, 1);
    local.await;
    on.await.expect("it ended with its set");
}

/// A runtime of ten lines: the thread parks until it is woken.
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Ready once a thread has slept and woken it.
async fn slept(length: Duration) {
    let (tell, told) = mpsc::channel();
    let mut started = false;
    poll_fn(move |cx| {
        if told.try_recv().is_ok() {
            return Poll::Ready(());
        }
        if !std::mem::replace(&mut started, true) {
            let (waker, tell) = (cx.waker().clone(), tell.clone());
            std::thread::spawn(move || {
                std::thread::sleep(length);
                let _ = tell.send(());
                waker.wake();
            });
        }
        Poll::Pending
    })
    .await
}

/// Tasks without tokio: one waits 50 ms for a thread, and has another inside.
fn foreign() {
    let inside = async {
        slept(Duration::from_millis(50)).await;
        async { std::thread::sleep(SHORT) }.in_task("inside").await;
    };
    block_on(inside.in_task("foreign"));
}

/// Tasks woken by a timer, by io, by a thread outside any task, by another task, by the runtime after a yield, and by
/// themselves.
async fn wakers() {
    pollscope::spawn_named("by timer", tokio::time::sleep(SHORT)).await.expect("it ends");

    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket can be had");
    let address = socket.local_addr().expect("it is bound");
    let by_io = pollscope::spawn_named("by io", async move { socket.recv(&mut [0; 8]).await });
    tokio::time::sleep(SHORT).await;
    std::net::UdpSocket::bind("127.0.0.1:0")
        .and_then(|from| from.send_to(b"x", address))
        .expect("it is sent");
    by_io.await.expect("it ends").expect("it received");

    pollscope::spawn_named("by thread", slept(SHORT)).await.expect("it ends");

    let bell = Arc::new(tokio::sync::Notify::new());
    let heard = bell.clone();
    let by_task = pollscope::spawn_named("by task", async move { heard.notified().await });
    tokio::time::sleep(SHORT).await;
    pollscope::spawn_named("ringer", async move { bell.notify_one() }).await.expect("it ends");
    by_task.await.expect("it ends");

    pollscope::spawn_named("by yield", tokio::task::yield_now()).await.expect("it ends");

    let mut left = 3;
    let by_itself = poll_fn(move |cx| {
        left -= 1;
        if left == 0 {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    });
    pollscope::spawn_named("by itself", by_itself).await.expect("it ends");

    // One idle period, five wakes of a thread.
    let (send, receive) = mpsc::channel::<Waker>();
    let mut polled = false;
    let woken_often = poll_fn(move |cx| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        let _ = send.send(cx.waker().clone());
        Poll::Pending
    });
    let woken_often = pollscope::spawn_named("woken often", woken_often);
    // The worker is busy meanwhile: the wakes all come before the next poll.
    let blocks = pollscope::spawn_named("blocks", async move {
        let waker = receive.recv().expect("a waker comes");
        let wakes = std::thread::spawn(move || (0..5).for_each(|_| waker.wake_by_ref()));
        wakes.join().expect("it wakes");
    });
    blocks.await.expect("it ends");
    woken_often.await.expect("it ends");
}

/// A task whose waker is cloned seven times and dropped so: four times in its polls, twice by a thread, one stays.
async fn counts() {
    let (send, receive) = mpsc::channel::<Waker>();
    let dropping = std::thread::spawn(move || receive.into_iter().for_each(drop));
    let counted = async move {
        poll_fn(|cx| {
            let mine: Vec<Waker> = (0..4).map(|_| cx.waker().clone()).collect();
            drop(mine);
            let two = [cx.waker().clone(), cx.waker().clone()];
            let [one, other] = two;
            send.send(one).expect("the thread is there");
            send.send(other).expect("the thread is there");
            Poll::Ready(())
        })
        .await;
        poll_fn(|cx| {
            std::mem::forget(cx.waker().clone());
            Poll::Ready(())
        })
        .await;
        // Both are dropped before it ends.
        drop(send);
        dropping.join().expect("it drops");
    };
    pollscope::spawn_named("counted", counted).await.expect("it ends");
}

/// `block_on` inside a task: what runs in it is a part of its poll.
async fn blocking_inside() {
    let outer = pollscope::spawn_named("outer", async {
        tokio::task::block_in_place(|| {
            let handle = tokio::runtime::Handle::current();
            handle.block_on(async {
                tokio::time::sleep(Duration::from_millis(30)).await;
                async { std::thread::sleep(SHORT) }.in_task("inner").await;
                pollscope::spawn_named("child", async {}).await.expect("it ends");
            });
        });
        tokio::task::yield_now().await;
    });
    outer.await.expect("it ends");
}

/// A runtime of one thread inside a thread worker, beside one of two workers.
fn runtimes() {
    let many = runtime(2);
    let alone = pollscope::thread::Builder::new().name("alone").spawn(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = pollscope::runtime(builder.enable_all()).name("single").build().expect("it is built");
        runtime.block_on(async { pollscope::spawn_named("on one", tokio::time::sleep(SHORT)).await })
    });
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let builder = builder.worker_threads(1).enable_all().name("by tokio");
    let named = pollscope::runtime(builder).build().expect("it is built");
    // One that was built without us.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let foreign = builder.worker_threads(1).enable_all().name("foreign").build().expect("it is built");
    for (runtime, name) in [(&named, "on named"), (&foreign, "on foreign"), (&many, "on many")] {
        let on = runtime.spawn(async move {
            pollscope::spawn_named(name, tokio::time::sleep(SHORT)).await?;
            pollscope::spawn_named("on each", tokio::time::sleep(SHORT)).await
        });
        runtime.block_on(on).expect("it ends").expect("it ends");
    }
    alone.expect("a thread").join().expect("it ends").expect("it ends");
    for runtime in [many, named, foreign] {
        runtime.shutdown_background();
    }
}

/// Panics unwind through polls and destructors.
async fn panics() {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// Panics when it is dropped.
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("as the script says");
        }
    }

    let outer = pollscope::spawn_named("outer", async {
        let mut inner = pin!(async { panic!("as the script says") }.in_task("inner"));
        let caught = poll_fn(|cx| {
            let poll = AssertUnwindSafe(|| inner.as_mut().poll(cx));
            Poll::Ready(catch_unwind(poll).is_err())
        });
        assert!(caught.await);
        tokio::time::sleep(SHORT).await;
    });
    outer.await.expect("it caught the panic");

    let ends = pollscope::spawn_named("bomb at the end", async {
        let _bomb = Bomb;
    });
    assert!(ends.await.is_err());
    let aborted = pollscope::spawn_named("bomb when dropped", async {
        let _bomb = Bomb;
        pending::<()>().await;
    });
    tokio::time::sleep(SHORT).await;
    aborted.abort();
    assert!(aborted.await.is_err());
    pollscope::spawn_named("after all", async {}).await.expect("it ends");
}

/// Other thread-locals wake and drop tasks when ours are gone, or are not yet there.
fn destructors() {
    struct Late {
        waker: Option<Waker>,
        task: Option<std::pin::Pin<Box<dyn Future<Output = ()>>>>,
    }
    impl Drop for Late {
        fn drop(&mut self) {
            if let Some(waker) = self.waker.take() {
                waker.wake_by_ref();
                drop(waker.clone());
            }
            drop(self.task.take());
            // And new ones begin.
            block_on(async {}.in_task("too late"));
            pollscope::job("too late", || ());
        }
    }
    thread_local! {
        static FIRST: std::cell::RefCell<Option<Late>> = const { std::cell::RefCell::new(None) };
        static LAST: std::cell::RefCell<Option<Late>> = const { std::cell::RefCell::new(None) };
    }
    let late = || {
        let mut task: std::pin::Pin<Box<dyn Future<Output = ()>>> = Box::pin(pending::<()>().in_task("held"));
        let mut waker = None;
        let keeper = poll_fn(|cx| {
            let _ = task.as_mut().poll(cx);
            waker = Some(cx.waker().clone());
            Poll::Ready(())
        });
        block_on(keeper.in_task("keeper"));
        Late { waker, task: Some(task) }
    };
    let thread = std::thread::spawn(move || {
        // One is registered before our thread-local, the other after it.
        FIRST.with(|first| *first.borrow_mut() = None);
        let first = late();
        FIRST.with(|slot| *slot.borrow_mut() = Some(first));
        let last = late();
        LAST.with(|slot| *slot.borrow_mut() = Some(last));
    });
    thread.join().expect("no panic in a destructor");
}

/// Jobs on threads of every make.
fn workers() {
    let sleep = || std::thread::sleep(SHORT);
    let named = pollscope::thread::Builder::new().name("named").stack_size(256 << 10);
    let named = named.spawn(move || pollscope::job("on named", sleep)).expect("a thread");
    pollscope::thread::spawn(move || pollscope::job("on unnamed", sleep)).join().expect("it ends");
    named.join().expect("it ends");
    std::thread::scope(|scope| {
        let scoped = pollscope::thread::Builder::new().name("scoped");
        scoped.spawn_scoped(scope, || pollscope::job("on scoped", sleep)).expect("a thread");
    });
    let pool = rayon_core::ThreadPoolBuilder::new()
        .num_threads(2)
        .thread_name(|n| format!("pool-{n}"))
        .spawn_handler(pollscope::thread::spawn_rayon)
        .build()
        .expect("a pool");
    pool.install(|| {
        rayon_core::join(|| pollscope::job("on pool", sleep), || pollscope::job("on pool", sleep))
    });
    let panicking = pollscope::thread::spawn(|| pollscope::job("panicking", || panic!("as the script says")));
    assert!(panicking.join().is_err());
}

/// A job that waits behind another, in a trace, and is aborted before it began.
fn given_up() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let builder = builder.worker_threads(1).max_blocking_threads(1).enable_all();
    let runtime = pollscope::runtime(builder).build().expect("it is built");
    runtime.block_on(async {
        let (go, wait) = mpsc::channel::<()>();
        let first = Builder::new().name("first").spawn_blocking(move || wait.recv());
        let queued = Builder::new().name("queued").spawn_blocking(|| ());
        tokio::time::sleep(Duration::from_millis(40)).await;
        traced(async {
            let second = Builder::new().name("given up").spawn_blocking(|| ());
            second.abort();
        })
        .await;
        go.send(()).expect("it waits");
        first.await.expect("it ends").expect("it was told");
        queued.await.expect("it ends");
    });
}

#[pollscope::instrument(skip_all)]
async fn traced(inside: impl Future<Output = ()>) {
    inside.await
}

/// A task that is polled 600 times by an outer one that nobody wakes for it, after one real wake.
async fn many_polls() {
    let mut inner = pin!(
        async {
            // Its waker is used once: in the first poll's idle time.
            let mut polls = 0;
            poll_fn(|cx| {
                polls += 1;
                if polls == 1 {
                    let waker = cx.waker().clone();
                    std::thread::spawn(move || waker.wake()).join().expect("it wakes");
                }
                if polls < 600 { Poll::Pending } else { Poll::Ready(()) }
            })
            .await
        }
        .in_task("polled often")
    );
    let mut left = 600;
    poll_fn(|cx| {
        left -= 1;
        if left % 100 == 0 {
            std::thread::sleep(SHORT);
        }
        cx.waker().wake_by_ref();
        inner.as_mut().poll(cx)
    })
    .await;
}

/// Wakers outlive their task, their runtime and the session.
fn outliving(session: pollscope::Guard) {
    let (send, receive) = mpsc::channel::<Waker>();
    let runtime = runtime(1);
    let task = runtime.spawn(async move {
        let keeper = poll_fn(move |cx| {
            send.send(cx.waker().clone()).expect("main is there");
            Poll::Ready(())
        });
        pollscope::spawn_named("keeper", keeper).await.expect("it ends");
    });
    runtime.block_on(task).expect("it ends");
    let waker = receive.recv().expect("a waker");
    waker.wake_by_ref();
    runtime.shutdown_background();
    waker.wake_by_ref();
    say("ready");
    asked_to_end();
    drop(session);
    let clone = waker.clone();
    clone.wake();
    waker.wake_by_ref();
    drop(waker);
    block_on(async {}.in_task("unrecorded"));
}
