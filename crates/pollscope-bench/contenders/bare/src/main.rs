//! tokio alone.

use std::future::Future;
use workloads::Kit;

struct Bare;

impl Kit for Bare {
    const SPANS: bool = true;
    const OPEN_SPANS: bool = true;
    const JOBS: bool = true;

    fn spawn<F>(&self, future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = tokio::spawn(future);
        async move { task.await.expect("a task does not panic") }
    }

    #[inline(never)]
    fn span(&self, order: u64, customer: &'static str, amount: f64) {
        std::hint::black_box((order, customer, amount));
    }
}

fn main() {
    workloads::run(Bare);
}
