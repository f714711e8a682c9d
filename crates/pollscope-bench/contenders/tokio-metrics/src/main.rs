//! tokio-metrics: one monitor for all tasks, as its documentation has it for tasks of one kind.

use std::future::Future;
use tokio_metrics::TaskMonitor;
use workloads::Kit;

struct Metrics(TaskMonitor);

impl Kit for Metrics {
    fn spawn<F>(&self, future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = tokio::spawn(self.0.instrument(future));
        async move { task.await.expect("a task does not panic") }
    }
}

fn main() {
    workloads::run(Metrics(TaskMonitor::new()));
}
