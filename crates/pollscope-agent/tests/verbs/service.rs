//! Services for these tests: this test binary again, as a child that plays one of them until its input is closed.

use crate::support::SERVICE;
use std::io::Write;
use std::time::Duration;
use tracing_subscriber::prelude::*;

/// The child's way in. In the tests' own run there is nothing to play.
#[test]
fn plays_a_service() {
    let Ok(play) = std::env::var(SERVICE) else { return };
    let _session = pollscope::Config::from_env().service("till").init();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = pollscope::runtime(builder.worker_threads(1).enable_all()).build().unwrap();
    runtime.block_on(async {
        match play.as_str() {
            "calm" => calm().await,
            "busy" => busy().await,
            "names" => names().await,
            "silent" => silent().await,
            "foreign" => foreign().await,
            "uncovered" => uncovered().await,
            "spinning" => spinning().await,
            "vanishing" => vanishing().await,
            "stuck" => stuck().await,
            "holding" => holding().await,
            "panicking" => {
                println!("ready");
                panic!("as the script says");
            }
            other => panic!("no service {other}"),
        }
        println!("ready");
        std::io::stdout().flush().unwrap();
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
        end.await.unwrap().unwrap();
    });
}

/// One task has waited since it began, one was busy for 30 ms; there were two requests, one of them failed.
async fn calm() {
    pollscope::spawn_named("waiter", std::future::pending::<()>());
    let busy = async {
        std::thread::sleep(Duration::from_millis(30));
        std::future::pending::<()>().await;
    };
    pollscope::spawn_named("blocker", busy);
    assert_eq!(order(1).await, Ok(1));
    assert!(order(2).await.is_err());
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Says under which ids a span is known: what is recorded of it is held against that.
fn tell(name: &str) {
    let current = pollscope::current();
    println!("{name} {:032x} {:016x}", current.trace_id().unwrap_or(0), current.span_id().unwrap_or(0));
}

#[pollscope::instrument(err)]
async fn order(n: u64) -> Result<u64, String> {
    if n > 0 {
        tell("order");
    }
    price(n).await;
    if n == 1 { Ok(n) } else { Err("sold out".to_owned()) }
}

#[pollscope::instrument]
async fn price(n: u64) {
    tokio::time::sleep(Duration::from_millis(20 * n)).await;
}

/// Fifty requests of two spans each, which its rings hold.
async fn busy() {
    for _ in 0..50 {
        order(0).await.unwrap_err();
    }
}

/// Names that would spoil a table.
async fn names() {
    let long = "long".repeat(100);
    for name in ["\x1b[2J\x07clear", "日本語のタスク", long.as_str(), ""] {
        pollscope::spawn_named(name, std::future::pending::<()>());
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Tasks, and no span.
async fn silent() {
    pollscope::spawn_named("waiter", std::future::pending::<()>());
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// A subscriber that lacks our layer.
async fn foreign() {
    tracing_subscriber::registry().with(tracing_subscriber::filter::LevelFilter::INFO).init();
    assert_eq!(order(1).await, Ok(1));
    silent().await;
}

/// Most tasks are spawned beside pollscope.
async fn uncovered() {
    pollscope::spawn_named("seen", std::future::pending::<()>());
    for _ in 0..9 {
        tokio::spawn(std::future::pending::<()>());
    }
    // A worker tells the number of tasks alive when it parks.
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Polls that overrun the rings of this service, which are small.
async fn spinning() {
    let spin = async {
        for _ in 0..200_000 {
            tokio::task::yield_now().await;
        }
    };
    pollscope::spawn_named("spinner", spin).await.unwrap();
}

/// Ten tasks whose births stand in this thread's ring, which nothing overruns, and whose ends stood in the
/// worker's, which others overran.
async fn vanishing() {
    for _ in 0..10 {
        pollscope::spawn_named("short", async {}).await.unwrap();
    }
    let crowd = async {
        for _ in 0..100_000 {
            pollscope::spawn_named("crowd", async {}).await.unwrap();
        }
    };
    pollscope::spawn_named("source", crowd).await.unwrap();
}

/// The span of a task that is over is held open by somebody else.
async fn holding() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let connect = async {
        let span = tracing::info_span!("connection");
        span.in_scope(|| ());
        tell.send(span).unwrap();
    };
    pollscope::spawn_named("connect", connect).await.unwrap();
    std::mem::forget(told.await.unwrap());
}

/// Its only worker is in a poll that does not end, while one task waits in an open span and another for nothing.
pub async fn stuck() {
    pollscope::spawn_named("waiter", std::future::pending::<()>());
    pollscope::spawn_named("shopper", checkout(7));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (tell, told) = tokio::sync::oneshot::channel();
    pollscope::spawn_named("blocker", async {
        tell.send(()).unwrap();
        loop {
            std::thread::sleep(Duration::from_secs(60));
        }
    });
    told.await.unwrap();
    std::thread::sleep(STUCK);
    // The last that is heard of it.
    pollscope::job("sign of life", || ());
}

/// For so long the worker was in its poll, at least, when something else was last heard.
pub const STUCK: Duration = Duration::from_millis(100);

#[pollscope::instrument]
async fn checkout(cart: u64) {
    tell("checkout");
    price(1).await;
    std::future::pending::<()>().await;
}
