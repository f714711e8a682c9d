//! A service whose spans are known, one scenario a run: `traced SCENARIO`. It prints `ready` when its script is
//! over, and ends when its input is closed.

#[path = "traced/around.rs"]
mod around;
#[path = "traced/detached.rs"]
mod detached;
#[path = "traced/family.rs"]
mod family;
#[path = "traced/fields.rs"]
mod fields;
#[path = "traced/grpc.rs"]
mod grpc;
#[path = "traced/held.rs"]
mod held;
#[path = "traced/instrumented.rs"]
mod instrumented;
#[path = "traced/pipelined.rs"]
mod pipelined;
#[path = "traced/routes.rs"]
mod routes;
#[path = "traced/web.rs"]
mod web;

use std::io::{BufRead, Write};

/// A span of each library that services are built of.
fn libraries() {
    macro_rules! of {
        ($($target:literal),*) => {
            $(tracing::info_span!(target: $target, "a span", otel.name = $target).in_scope(|| ());)*
        };
    }
    of!(
        "h2::client",
        "hyper::proto",
        "hyper_util::client",
        "tonic::transport",
        "tower::buffer",
        "rustls::conn"
    );
    of!("tokio::task", "runtime.spawn", "tower_http::trace", "sqlx::query", "my_service");
    tracing::debug_span!(target: "tower_http::trace::make_span", "request").in_scope(|| ());
    tracing::trace_span!(target: "tower_http::trace::make_span", "too much").in_scope(|| ());
    tracing::debug_span!("a debug span").in_scope(|| ());
}

/// Traces that begin here, and some that come from callers who have decided.
fn sampled() {
    for _ in 0..200 {
        tracing::info_span!("root").in_scope(|| tracing::info_span!("child").in_scope(|| ()));
    }
    for n in 0..200_u64 {
        let low = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let trace = 1 << 100 | u128::from(n) << 64 | u128::from(low);
        let text = format!("00-{trace:032x}-000000000000002a-{:02x}", n % 2);
        let mut headers = hyper::HeaderMap::new();
        headers.insert("traceparent", text.parse().expect("it is a header's value"));
        let caller = pollscope::http::extract(&headers).expect("there is a caller");
        let span = tracing::info_span!("called");
        caller.attach(&span);
        span.in_scope(|| ());
    }
}

fn main() {
    let scenario = std::env::args().nth(1).expect("a scenario is named");
    use tracing_subscriber::prelude::*;
    tracing_subscriber::registry().with(pollscope::layer()).init();
    let config = pollscope::Config::from_env();
    let config = match scenario.as_str() {
        "unnamed" => config.resource("team", "of code").resource("deployment.environment.name", "of code"),
        name => config.service(name),
    };
    let guard = config.init();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all();
    let runtime = pollscope::runtime(&mut builder).build().expect("a runtime can be built");
    let mut kept = None;
    match scenario.as_str() {
        "crowded" => {
            use tracing::field::Empty;
            let other = tracing::info_span!("other");
            let span = tracing::info_span!(
                "crowded",
                otel.kind = "client",
                a = "äöüß",
                b = 2,
                c = 3,
                progress = Empty
            );
            span.record("a", "wxyz");
            span.record("progress", 1);
            (0..3).for_each(|_| {
                span.follows_from(&other);
            });
            span.in_scope(|| {
                (0..3).for_each(|n| tracing::warn!(n, shown = "long enough", last = true, "warned"))
            });
        }
        "around" => runtime.block_on(around::run()),
        "detached" => runtime.block_on(detached::run()),
        "family" => runtime.block_on(family::run()),
        "fields" => fields::run(),
        "grpc" => runtime.block_on(grpc::run()),
        "held" => kept = Some(runtime.block_on(held::run())),
        "instrumented" => runtime.block_on(instrumented::run()),
        "logged" => {
            tracing::info_span!("placing", order = 7).in_scope(|| {
                tracing::info!("placed");
                tracing::warn!(sku = 3, "out of stock");
            });
            tracing::error!("outside");
        }
        "quiet" => {
            tracing::info_span!("an info span").in_scope(|| {
                tracing::debug!("a debug event");
                tracing::info!("an info event");
                tracing::warn!("a warning");
            });
            tracing::debug_span!("a debug span").in_scope(|| ());
            tracing::info_span!(target: "hyper::proto", "of hyper").in_scope(|| ());
        }
        "libraries" => libraries(),
        "sampled" => sampled(),
        "unnamed" => {}
        "pipelined" => runtime.block_on(pipelined::run()),
        "routes" => runtime.block_on(routes::run()),
        "web" => runtime.block_on(web::run()),
        other => panic!("no scenario {other}"),
    }
    println!("ready");
    std::io::stdout().flush().expect("the test reads what is printed");
    let _ = std::io::stdin().lock().read_line(&mut String::new());
    drop(kept);
    drop(runtime);
    drop(guard);
}
