//! The gateway: takes an order, asks inventory and orders at the same time, and tells the auditor.

use crate::faults;
use crate::net::{self, Answer, Asked, Client};
use anyhow::{Result, bail};
use hyper::Method;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What the gateway works with.
#[derive(Clone)]
struct Gateway {
    orders: Client,
    inventory: Client,
    audit: mpsc::Sender<u64>,
}

pub(crate) async fn serve(listener: TcpListener, orders: SocketAddr, inventory: SocketAddr) -> Result<()> {
    let (audit, mut audited) = mpsc::channel::<u64>(64);
    pollscope::spawn_named("auditor", async move {
        while let Some(_order) = audited.recv().await {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    });
    let gateway = Gateway { orders: Client::new(orders), inventory: Client::new(inventory), audit };
    net::serve(listener, move |asked| {
        let gateway = gateway.clone();
        async move { gateway.handle(asked).await }
    })
    .await
}

impl Gateway {
    async fn handle(&self, asked: Asked) -> Answer {
        match (asked.method, asked.path.strip_prefix("/orders/").map(str::parse)) {
            (Method::POST, Some(Ok(order))) => self.place(order).await,
            (Method::GET, Some(Ok(order))) => self.show(order).await,
            (method, _) => bail!("{method} {} is not known here", asked.path),
        }
    }

    #[pollscope::instrument(skip(self), err)]
    async fn place(&self, order: u64) -> Answer {
        faults::leave_behind();
        // Both at once: the order waits for the slower one.
        let stock = {
            let inventory = self.inventory.clone();
            pollscope::spawn_named("reserve", async move {
                inventory.send(Method::POST, &format!("/stock/{}", order % 10)).await
            })
        };
        let kept = self.orders.send(Method::POST, &format!("/orders/{order}")).await?;
        let stock = stock.await??;
        self.audit.send(order).await?;
        Ok(json!({"order": order, "stock": stock, "kept": kept}))
    }

    #[pollscope::instrument(skip(self), err)]
    async fn show(&self, order: u64) -> Answer {
        faults::blocking_call();
        faults::self_wake_spin().await;
        self.orders.send(Method::GET, &format!("/orders/{order}")).await
    }
}
