//! What pollscope costs, beside what people would use instead: builds one small program per contender, runs the
//! same workloads in each, paired and interleaved, and prints Markdown tables.
//!
//!     cargo run --release -p pollscope-bench -- table
//!
//! Nothing here is part of the tests: it needs the network once (to build the contenders), `wrk`, and minutes.
#![forbid(unsafe_code)]

mod agents;
mod contenders;
mod follow;
mod http;
mod report;
mod sink;
mod stats;
mod table;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "pollscope-bench", about = "What pollscope costs, beside what people would use instead")]
struct Cli {
    #[command(subcommand)]
    what: What,
    /// Rounds; in each every contender runs once beside tokio alone
    #[arg(long, global = true, default_value_t = 5)]
    rounds: usize,
    /// Operations of each run, in per cent of what is usual
    #[arg(long, global = true, default_value_t = 100)]
    size: u64,
}

#[derive(Subcommand)]
enum What {
    /// Contenders and workloads: what each adds to tokio alone
    Table {
        /// Only these contenders
        #[arg(long, value_delimiter = ',')]
        contenders: Vec<String>,
        /// Only these workloads
        #[arg(long, value_delimiter = ',')]
        workloads: Vec<String>,
    },
    /// HTTP on hyper, driven by `wrk`: requests per second against tokio alone
    Http {
        /// Only these contenders
        #[arg(long, value_delimiter = ',')]
        contenders: Vec<String>,
        /// Seconds of each run
        #[arg(long, default_value_t = 5)]
        seconds: u32,
    },
    /// pollscope with an agent attached, behind, and held to a tenth of a core
    Agents,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match cli.what {
        What::Table { contenders, workloads } => table::run(cli.rounds, cli.size, &contenders, &workloads),
        What::Http { contenders, seconds } => http::run(cli.rounds, seconds, &contenders),
        What::Agents => agents::run(cli.rounds, cli.size),
    }
}
