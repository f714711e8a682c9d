//! A service with a layer that wants tokio's own spans, as a console's does. tokio has them with `tokio_unstable` alone.

use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tracing::span::{Attributes, Id};
use tracing::{Instrument, Subscriber, info_span};
use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;

static SEEN: AtomicU64 = AtomicU64::new(0);

/// Takes all there is, and counts tokio's.
struct Console;

impl<S: Subscriber> tracing_subscriber::Layer<S> for Console {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        if attributes.metadata().name().starts_with("runtime.") {
            SEEN.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[pollscope::main(worker_threads = 2, service = "console")]
async fn main() {
    tracing_subscriber::registry().with(pollscope::layer()).with(Console).init();
    let order = async {
        // tokio's span of this is a child of ours, and open as long as it blocks; those of tasks and locks are none.
        let (end, ended) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || ended.recv());
        let endless = tokio::spawn(std::future::pending::<()>());
        let lock = tokio::sync::Mutex::new(end);
        drop(lock.lock().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
        info_span!("below").in_scope(|| std::thread::sleep(Duration::from_millis(2)));
        (lock, endless)
    };
    let order = pollscope::spawn_named("order", order.instrument(info_span!("order")));
    let (lock, endless) = order.await.expect("it ends");
    println!("{}", SEEN.load(Ordering::Relaxed));
    std::io::stdout().flush().expect("the test reads what is printed");
    let wait = tokio::task::spawn_blocking(|| std::io::stdin().lock().read_line(&mut String::new()));
    let _ = wait.await;
    endless.abort();
    drop(lock);
}
