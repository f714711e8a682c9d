//! `shop ROLE [--listen ADDR] [--orders ADDR] [--inventory ADDR] [--fault NAME]..`

use anyhow::{Context, Result, bail};
use shop::{Options, Role};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let role: Role = arguments.next().context("name a service: gateway, orders or inventory")?.parse()?;
    let mut options =
        Options { listen: ([127, 0, 0, 1], 0).into(), orders: None, inventory: None, faults: Vec::new() };
    while let Some(flag) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--listen" => options.listen = value.parse()?,
            "--orders" => options.orders = Some(value.parse()?),
            "--inventory" => options.inventory = Some(value.parse()?),
            "--fault" => options.faults.push(value.parse()?),
            other => bail!("no flag {other}"),
        }
    }
    shop::run(role, &options)
}
