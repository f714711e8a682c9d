//! pollscope behind `tracing`: tasks as ever, spans by tracing's macros through pollscope's layer on a registry.

use std::future::Future;
use tokio::runtime::{Builder, Runtime};
use tracing::Instrument;
use tracing_subscriber::prelude::*;
use workloads::Kit;

struct Traced {
    _session: pollscope::Guard,
}

impl Kit for Traced {
    const SPANS: bool = true;
    const OPEN_SPANS: bool = true;

    fn runtime(&self, mut builder: Builder) -> Runtime {
        pollscope::runtime(&mut builder).build().expect("a runtime can be built")
    }

    fn spawn<F>(&self, future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = pollscope::spawn(future);
        async move { task.await.expect("a task does not panic") }
    }

    #[inline(never)]
    fn span(&self, order: u64, customer: &'static str, amount: f64) {
        let _entered = tracing::info_span!("charge", order, customer, amount).entered();
    }

    fn in_span<F>(&self, future: F) -> impl Future<Output = F::Output> + Send
    where
        F: Future + Send,
        F::Output: Send,
    {
        future.instrument(tracing::info_span!("request"))
    }
}

fn main() {
    let session = pollscope::init();
    tracing_subscriber::registry().with(pollscope::layer()).init();
    workloads::run(Traced { _session: session });
}
