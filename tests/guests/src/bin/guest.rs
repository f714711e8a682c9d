//! Services with a subscriber of their own: `guest KIND`. What they log goes to standard output, without times.

#[cfg(feature = "log")]
use std::future::Future;
use std::time::Duration;
use tracing::{Dispatch, Instrument, debug, error, info, info_span};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

fn main() {
    let kind = std::env::args().nth(1).expect("a kind");
    match kind.as_str() {
        "first_in_main" => first_in_main(),
        "before_main" => {
            init();
            plain();
        }
        "after_an_await" => after_an_await(),
        "in_a_span" => in_a_span(),
        "try_init" => try_init(),
        "set_global_default" => set_global_default(),
        "scoped" => scoped(),
        "current_thread" => current_thread(),
        "layered" => layered(),
        "reloaded" => reloaded(),
        "on_fmt" => on_fmt(),
        "none" => plain(),
        #[cfg(feature = "log")]
        "env_logger" => with_env_logger(),
        other => panic!("no guest {other}"),
    }
}

/// What `tracing_subscriber::fmt::init()` makes, on standard output and without times.
fn subscriber()
-> impl tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a> + Send + Sync {
    fmt::fmt()
        .without_time()
        .with_ansi(false)
        .with_env_filter(EnvFilter::new("info"))
        .with_writer(std::io::stdout)
        .finish()
}

fn init() {
    subscriber().init();
}

/// The service: it works in main, in a task, on a blocking thread and on one that nobody told pollscope of.
async fn work() {
    info!("works");
    order(1).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    pollscope::spawn(order(2)).await.expect("it ends");
    tokio::spawn(order(3)).await.expect("it ends");
    let blocking = tokio::task::spawn_blocking(|| info_span!("blocking").in_scope(|| info!("blocks")));
    blocking.await.expect("it ends");
    std::thread::spawn(|| info!("on a thread of its own")).join().expect("it ends");
    error!(code = 7, reason = "none", "ends");
}

async fn order(number: u32) {
    let work = async {
        info!("taken");
        debug!("not to be seen");
        tokio::time::sleep(Duration::from_millis(1)).await;
        info!(parent: &info_span!("bill", sum = number), "sent");
        info!(current = tracing::Span::current().metadata().map(|of| of.name()), "done");
    };
    work.instrument(info_span!("order", number)).await
}

#[pollscope::main(worker_threads = 2)]
async fn plain() {
    work().await;
}

#[pollscope::main(worker_threads = 2)]
async fn first_in_main() {
    init();
    work().await;
}

#[pollscope::main(worker_threads = 2)]
async fn after_an_await() {
    tokio::time::sleep(Duration::from_millis(5)).await;
    init();
    work().await;
}

/// It comes while other threads are within spans.
#[pollscope::main(worker_threads = 2)]
async fn in_a_span() {
    let (open, opened) = std::sync::mpsc::channel();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let busy = tokio::spawn(async move {
        let outer = info_span!("outer");
        let _entered = outer.enter();
        open.send(()).expect("main waits");
        gone.recv().expect("main sends");
        // The same poll: nothing could take our default away.
        info!("in a span that the subscriber does not know");
        info_span!("inner").in_scope(|| info!("in one that it knows"));
        info!(parent: &outer, "told of the first");
        info_span!(parent: &outer, "child").in_scope(|| info!("below the first"));
    });
    opened.recv().expect("it is open");
    init();
    go.send(()).expect("the task waits");
    busy.await.expect("it ends");
    work().await;
}

#[pollscope::main(worker_threads = 2)]
async fn try_init() {
    info!("too early");
    subscriber().try_init().expect("the slot is free");
    work().await;
}

#[pollscope::main(worker_threads = 2)]
async fn set_global_default() {
    // Some time passes between the two, and others log meanwhile.
    let made = Dispatch::new(subscriber());
    tokio::spawn(async { info!("too early") }).await.expect("it ends");
    tokio::time::sleep(Duration::from_millis(5)).await;
    tracing::dispatcher::set_global_default(made).expect("the slot is free");
    tokio::time::sleep(Duration::from_millis(5)).await;
    work().await;
}

/// Never a global one: a default for a part of main.
#[pollscope::main(worker_threads = 2)]
async fn scoped() {
    order(7).await;
    let guard = tracing::subscriber::set_default(subscriber());
    info!("in scope");
    tokio::time::sleep(Duration::from_millis(1)).await;
    order(8).await;
    drop(guard);
    tokio::time::sleep(Duration::from_millis(1)).await;
    order(9).await;
}

#[pollscope::main(flavor = "current_thread")]
async fn current_thread() {
    tokio::time::sleep(Duration::from_millis(1)).await;
    init();
    work().await;
}

#[pollscope::main(worker_threads = 2)]
async fn layered() {
    tracing_subscriber::registry().with(pollscope::layer()).with(subscriber_layer()).init();
    work().await;
}

/// Nobody sees from outside which layer it is.
#[pollscope::main(worker_threads = 2)]
async fn reloaded() {
    let (layer, _handle) = tracing_subscriber::reload::Layer::new(pollscope::layer());
    tracing_subscriber::registry().with(layer).with(subscriber_layer()).init();
    work().await;
}

#[pollscope::main(worker_threads = 2)]
async fn on_fmt() {
    subscriber().with(pollscope::layer()).init();
    work().await;
}

fn subscriber_layer<S>() -> impl tracing_subscriber::Layer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let layer = fmt::layer().without_time().with_ansi(false).with_writer(std::io::stdout);
    layer.with_filter(EnvFilter::new("info"))
}

#[cfg(feature = "log")]
#[pollscope::main(worker_threads = 2)]
async fn with_env_logger() {
    let mut logger = env_logger::Builder::new();
    let level =
        std::env::args().nth(2).and_then(|level| level.parse().ok()).unwrap_or(log::LevelFilter::Info);
    logger.filter_level(level).target(env_logger::Target::Stdout).init();
    log::info!("by log itself");
    let span = info_span!("order", number = 1, later = tracing::field::Empty);
    span.record("later", "now");
    span.in_scope(|| info!(sum = 5, name = "x", "taken"));
    tracing::warn!(code = 3);
    debug!("only at a lower level");
    let task = pollscope::spawn(async { info!("in a task") });
    quiet(task).await.expect("it ends");
}

/// Without what pollscope's own work adds to a trace level.
#[cfg(feature = "log")]
fn quiet<F: Future>(future: F) -> F {
    future
}
