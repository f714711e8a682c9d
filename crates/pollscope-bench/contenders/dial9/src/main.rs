//! dial9 with its tokio instrumentation, writing to files below `BENCH_DIR`; spans are one event of its own each.

use dial9::core::clock_monotonic_ns;
use dial9::format::TraceEvent;
use dial9::{Dial9HandleTokioExt, DiskBuffer, TokioAttachOptions};
use std::future::Future;
use tokio::runtime::{Builder, Runtime};
use workloads::Kit;

#[derive(TraceEvent)]
struct Charge {
    #[traceevent(timestamp)]
    timestamp_ns: u64,
    order: u64,
    customer: &'static str,
    amount: f64,
}

struct Dial9 {
    recorder: dial9::Recorder,
}

impl Kit for Dial9 {
    const SPANS: bool = true;

    fn runtime(&self, builder: Builder) -> Runtime {
        let options = TokioAttachOptions::builder().runtime_name("main").task_tracking_enabled(true).build();
        self.recorder.handle().attach_tokio_runtime(builder, options).expect("a runtime can be built")
    }

    fn spawn<F>(&self, future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = dial9::spawn(future);
        async move { task.await.expect("a task does not panic") }
    }

    fn span(&self, order: u64, customer: &'static str, amount: f64) {
        self.recorder.handle().record_event(Charge {
            timestamp_ns: clock_monotonic_ns(),
            order,
            customer,
            amount,
        });
    }
}

fn main() {
    let dir = std::env::var_os("BENCH_DIR").expect("BENCH_DIR names a directory for traces");
    let writer = DiskBuffer::builder()
        .base_path(std::path::Path::new(&dir).join("trace.bin"))
        .max_total_size(64 << 20)
        .build()
        .expect("traces can be written");
    workloads::run(Dial9 { recorder: dial9::recorder(writer).build() });
}
