//! A shop of three services, each a process of its own: gateway, orders, inventory. Real HTTP, a real
//! database, a pool of threads that render receipts, and faults that can be switched on one by one.
//!
//! It is what `pollscope demo` runs, and an example of a service under pollscope: look at [`gateway`] first.
#![forbid(unsafe_code)]

pub mod faults;
pub mod gateway;
pub mod inventory;
pub mod load;
mod net;
pub mod orders;

use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::str::FromStr;

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes orders from outside.
    Gateway,
    /// Keeps orders, renders receipts.
    Orders,
    /// Keeps the stock.
    Inventory,
}

impl Role {
    /// Its name, which is the service's.
    pub fn name(self) -> &'static str {
        match self {
            Role::Gateway => "gateway",
            Role::Orders => "orders",
            Role::Inventory => "inventory",
        }
    }
}

impl FromStr for Role {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Role> {
        match name {
            "gateway" => Ok(Role::Gateway),
            "orders" => Ok(Role::Orders),
            "inventory" => Ok(Role::Inventory),
            other => bail!("no service {other:?}: there are gateway, orders and inventory"),
        }
    }
}

/// How to run one.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 is any free one. The address is printed as `listening on ADDRESS`.
    pub listen: SocketAddr,
    /// Where orders listens, for the gateway.
    pub orders: Option<SocketAddr>,
    /// Where inventory listens, for the gateway.
    pub inventory: Option<SocketAddr>,
    /// Faults that are on from the start.
    pub faults: Vec<faults::Fault>,
}

/// Runs a service until it is interrupted or its input is closed.
pub fn run(role: Role, options: &Options) -> Result<()> {
    use tracing_subscriber::prelude::*;
    // A second subscriber in one process, as a test may have, is no reason not to run.
    let _ = tracing_subscriber::registry().with(pollscope::layer()).try_init();
    let _session = pollscope::Config::from_env().service(role.name()).init();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all();
    let runtime = pollscope::runtime(&mut builder).build().context("cannot build a runtime")?;
    faults::switch_on(&options.faults);
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("cannot listen on {}", options.listen))?;
        println!("listening on {}", listener.local_addr()?);
        match role {
            Role::Gateway => {
                let (Some(orders), Some(inventory)) = (options.orders, options.inventory) else {
                    bail!("the gateway needs to know where orders and inventory listen");
                };
                gateway::serve(listener, orders, inventory).await
            }
            Role::Orders => orders::serve(listener).await,
            Role::Inventory => inventory::serve(listener).await,
        }
    })
}
