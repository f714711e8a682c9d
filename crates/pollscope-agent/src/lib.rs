//! The binary `pollscope`: follows instrumented services from outside, shows and exports what they do. It is empty where
//! no sessions are.
#![forbid(unsafe_code)]
#![cfg(any(target_os = "linux", target_os = "macos"))]

mod agent;
mod cli;
mod counts;
mod debug_info;
#[cfg(feature = "demo")]
mod demo;
mod doctor;
mod journal;
mod json;
mod missing;
mod observe;
mod outlet;
mod retention;
mod run;
mod server;
mod settings;
mod show;
mod table;
mod throttle;

use clap::Parser;
use std::process::ExitCode;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    // A service of the demo brings a runtime of its own.
    #[cfg(feature = "demo")]
    if let Some(service) = cli.demo_service() {
        return match demo::service(service) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                show::say(format_args!("demo: {error:#}"));
                ExitCode::FAILURE
            }
        };
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return cli.without_runtime(&error),
    };
    match runtime.block_on(cli.run()) {
        Ok(code) => code,
        Err(error) => {
            show::say(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
