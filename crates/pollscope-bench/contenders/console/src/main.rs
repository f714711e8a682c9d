//! console-subscriber, on a free port; `BENCH_CLIENT=1` follows it as tokio-console does. Needs `--cfg tokio_unstable`.

use std::future::Future;
use workloads::Kit;

struct Console;

impl Kit for Console {
    fn spawn<F>(&self, future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = tokio::spawn(future);
        async move { task.await.expect("a task does not panic") }
    }
}

fn main() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    console_subscriber::ConsoleLayer::builder().server_addr(([127, 0, 0, 1], port)).init();
    if std::env::var_os("BENCH_CLIENT").is_some() {
        std::thread::spawn(move || follow(port));
    }
    workloads::run(Console);
}

/// Reads the stream of updates to the end of the process.
fn follow(port: u16) {
    use console_api::instrument::{InstrumentRequest, instrument_client::InstrumentClient};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for _ in 0..50 {
            if let Ok(mut client) = InstrumentClient::connect(format!("http://127.0.0.1:{port}")).await
                && let Ok(updates) = client.watch_updates(InstrumentRequest {}).await
            {
                let mut updates = updates.into_inner();
                while let Ok(Some(_)) = updates.message().await {}
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        eprintln!("the client found no server");
    });
}
