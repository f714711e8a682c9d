//! The binary `pollscope`: follows instrumented services from outside, shows and exports what they do.
#![forbid(unsafe_code)]

mod agent;
mod cli;
mod doctor;
mod journal;
mod json;
mod observe;
mod run;
mod server;
mod settings;
mod show;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("pollscope: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(cli.run()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("pollscope: {error:#}");
            ExitCode::FAILURE
        }
    }
}
