//! pollscope: tasks, spans by its own attribute, jobs. With `POLLSCOPE=off` what is left of it.

use std::future::Future;
use tokio::runtime::{Builder, Runtime};
use workloads::Kit;

struct Pollscope {
    _session: pollscope::Guard,
}

#[pollscope::instrument]
#[inline(never)]
fn charge(order: u64, customer: &'static str, amount: f64) {
    std::hint::black_box((order, customer, amount));
}

#[pollscope::instrument(name = "request", skip_all)]
async fn request<F: Future>(future: F) -> F::Output {
    future.await
}

impl Kit for Pollscope {
    const SPANS: bool = true;
    const OPEN_SPANS: bool = true;
    const JOBS: bool = true;

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

    fn span(&self, order: u64, customer: &'static str, amount: f64) {
        charge(order, customer, amount);
    }

    fn in_span<F>(&self, future: F) -> impl Future<Output = F::Output> + Send
    where
        F: Future + Send,
        F::Output: Send,
    {
        request(future)
    }

    fn job<R: Send + 'static>(
        &self,
        run: impl FnOnce() -> R + Send + 'static,
    ) -> impl Future<Output = R> + Send {
        let job = pollscope::spawn_blocking(run);
        async move { job.await.expect("a job does not panic") }
    }
}

fn main() {
    workloads::run(Pollscope { _session: pollscope::init() });
}
