//! Inventory: the stock under a lock, and a reconciler that looks it over.

use crate::faults::Fault;
use crate::net::{self, Answer, Asked};
use anyhow::{Context, Result};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

/// Pieces by product.
type Stock = Arc<Mutex<HashMap<u64, i64>>>;

pub(crate) async fn serve(listener: TcpListener) -> Result<()> {
    let stock = Stock::default();
    pollscope::spawn_named("reconciler", reconcile(stock.clone()));
    net::serve(listener, move |asked| {
        let stock = stock.clone();
        async move { reserve(asked, stock).await }
    })
    .await
}

#[pollscope::instrument(skip_all, fields(path = %asked.path), err)]
async fn reserve(asked: Asked, stock: Stock) -> Answer {
    let product: u64 = asked.path.trim_start_matches("/stock/").parse().context("no such product")?;
    check_price(product).await;
    let mut stock = stock.lock().await;
    let left = stock.entry(product).or_insert(1_000_000);
    *left -= 1;
    let left = *left;
    if Fault::LockAcrossAwait.is_on() {
        // Everybody else waits for this, too.
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    Ok(json!({"product": product, "left": left}))
}

#[pollscope::instrument]
async fn check_price(product: u64) {
    tokio::time::sleep(Duration::from_millis(1 + product % 3)).await;
}

/// Fills up what runs low, for ever.
async fn reconcile(stock: Stock) {
    let mut every = tokio::time::interval(Duration::from_millis(250));
    loop {
        every.tick().await;
        for left in stock.lock().await.values_mut() {
            if *left < 1_000 {
                *left += 1_000_000;
            }
        }
    }
}
