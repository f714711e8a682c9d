//! A bounded load: orders placed and looked up, at a steady rate, for a given time.

use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Where the gateway listens.
    pub gateway: SocketAddr,
    /// Requests a second.
    pub rate: f64,
    /// For how long.
    pub length: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Answered well.
    pub good: u64,
    /// Not answered, or answered with an error.
    pub failed: u64,
}

impl Load {
    /// Sends requests until the time is over. The load itself is plain tokio: it is not what is watched.
    pub async fn run(self) -> Done {
        self.run_until(std::future::pending()).await
    }

    /// The same, or until `stop` is ready: what is under way then is not waited for.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Done {
        let mut stop = std::pin::pin!(stop);
        let mut done = Done::default();
        let begin = Instant::now();
        let mut running = tokio::task::JoinSet::new();
        let mut every = tokio::time::interval(Duration::from_secs_f64(1.0 / self.rate.clamp(0.1, 10_000.0)));
        let mut order = 0u64;
        while begin.elapsed() < self.length {
            tokio::select! {
                _ = every.tick() => {}
                () = &mut stop => return done,
            }
            order += 1;
            // Every third request looks an order up, the others place one.
            let method = if order.is_multiple_of(3) { "GET" } else { "POST" };
            running.spawn(request(self.gateway, method, order));
            while let Some(result) = running.try_join_next() {
                done.count(&result);
            }
        }
        let rest = async {
            while let Some(result) = running.join_next().await {
                done.count(&result);
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(5), rest).await;
        done
    }
}

impl Done {
    fn count(&mut self, result: &Result<Result<()>, tokio::task::JoinError>) {
        match result {
            Ok(Ok(())) => self.good += 1,
            _ => self.failed += 1,
        }
    }
}

async fn request(gateway: SocketAddr, method: &str, order: u64) -> Result<()> {
    let mut stream = TcpStream::connect(gateway).await.context("the gateway does not listen")?;
    let request = format!(
        "{method} /orders/{order} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await??;
    if !answer.starts_with(b"HTTP/1.1 200") {
        bail!("the gateway answered {}", String::from_utf8_lossy(&answer[..answer.len().min(40)]));
    }
    Ok(())
}
