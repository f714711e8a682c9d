//! A service whose log lines carry `trace_id` and `span_id`, so that a line leads to its trace.

mod with_ids;

use std::time::Duration;
use tracing::{info, instrument};
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;
use with_ids::WithIds;

#[pollscope::main(service = "logs")]
async fn main() {
    let json = WithIds(fmt::format().json());
    let lines = fmt::layer().json().event_format(json).with_writer(std::io::stdout);
    tracing_subscriber::registry().with(pollscope::layer()).with(lines).init();
    info!("started");
    for number in 1..=3 {
        order(number).await;
    }
}

#[instrument]
async fn order(number: u64) {
    info!("taken");
    let packed = pollscope::spawn_named("pack", async {
        tokio::time::sleep(Duration::from_millis(2)).await;
        info!("packed");
    });
    packed.await.expect("it does not panic");
}
