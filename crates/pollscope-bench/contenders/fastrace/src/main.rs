//! fastrace, with a reporter that throws away. Each task is a span: it has nothing else for tasks.

use fastrace::collector::{Config, Reporter, SpanContext, SpanRecord};
use fastrace::prelude::*;
use std::future::Future;
use workloads::Kit;

struct Fastrace;

impl Kit for Fastrace {
    const SPANS: bool = true;
    const OPEN_SPANS: bool = true;

    fn spawn<F>(&self, future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = tokio::spawn(future.in_span(Span::root("task", SpanContext::random())));
        async move { task.await.expect("a task does not panic") }
    }

    #[inline(never)]
    fn span(&self, order: u64, customer: &'static str, amount: f64) {
        let _span = LocalSpan::enter_with_local_parent("charge").with_properties(|| {
            [("order", order.to_string()), ("customer", customer.to_owned()), ("amount", amount.to_string())]
        });
    }

    fn in_span<F>(&self, future: F) -> impl Future<Output = F::Output> + Send
    where
        F: Future + Send,
        F::Output: Send,
    {
        future.in_span(Span::root("request", SpanContext::random()))
    }
}

struct Nothing;

impl Reporter for Nothing {
    fn report(&mut self, spans: Vec<SpanRecord>) {
        std::hint::black_box(spans);
    }
}

fn main() {
    fastrace::set_reporter(Nothing, Config::default());
    workloads::run(Fastrace);
}
