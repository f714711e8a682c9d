//! hotpath: futures by `future!`, functions by `measure`. Its report goes nowhere.

use std::future::Future;
use workloads::Kit;

struct Hotpath;

#[hotpath::measure]
#[inline(never)]
fn charge(order: u64, customer: &'static str, amount: f64) {
    std::hint::black_box((order, customer, amount));
}

impl Kit for Hotpath {
    const SPANS: bool = true;

    fn spawn<F>(&self, future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = tokio::spawn(hotpath::future!(future));
        async move { task.await.expect("a task does not panic") }
    }

    fn span(&self, order: u64, customer: &'static str, amount: f64) {
        charge(order, customer, amount);
    }
}

fn main() {
    let _guard = hotpath::HotpathGuardBuilder::new("bench").output_path("/dev/null").build();
    workloads::run(Hotpath);
}
