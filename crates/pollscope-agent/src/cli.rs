//! What can be said on the command line.

use crate::{agent, doctor, observe, run, show};
use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use pollscope_model::UnixNanos;
use serde::Deserialize;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Shows and exports what instrumented async services do, read from shared memory.
#[derive(Debug, Parser)]
#[command(name = "pollscope", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Follow services and export their traces by OTLP
    Agent(AgentArgs),
    /// Start a command with an agent beside it, for the sessions that begin from then on
    Run(RunArgs),
    /// List sessions, live and dead
    Sessions(SessionsArgs),
    /// List live tasks
    Tasks(TasksArgs),
    /// Show recent traces as trees
    Traces(TracesArgs),
    /// Say what is wrong with this set-up, and how to mend it
    Doctor(DoctorArgs),
    /// Show everything on a bundled shop of three services
    #[cfg(feature = "demo")]
    Demo(crate::demo::DemoArgs),
    /// One service of the demo
    #[cfg(feature = "demo")]
    #[command(hide = true)]
    DemoService(crate::demo::ServiceArgs),
}

/// Which sessions.
#[derive(Args, Clone, Debug, Default)]
pub struct Which {
    /// Directory of sessions, or one session's [default: those found by rule]
    #[arg(long, value_name = "PATH")]
    pub dir: Vec<PathBuf>,
    /// Only services of this name
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Only this session: part of its id or of its directory's name, or `last`
    #[arg(long, value_name = "ID|last")]
    pub session: Option<String>,
    /// Only sessions that began then or later: what `run` starts.
    #[arg(skip)]
    pub since: Option<UnixNanos>,
}

/// Where traces go.
#[derive(Args, Clone, Debug, Default)]
pub struct Export {
    /// OTLP endpoint, as OTEL_EXPORTER_OTLP_ENDPOINT [default: the standard local one]
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// `grpc` or `http/protobuf`, as OTEL_EXPORTER_OTLP_PROTOCOL
    #[arg(long)]
    pub protocol: Option<String>,
    /// Headers `key=value,..`, as OTEL_EXPORTER_OTLP_HEADERS
    #[arg(long)]
    pub headers: Option<String>,
    /// `gzip` or `none`, as OTEL_EXPORTER_OTLP_COMPRESSION
    #[arg(long)]
    pub compression: Option<String>,
    /// Export nothing
    #[arg(long)]
    pub no_export: bool,
    /// Settings file [default: pollscope.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// How events are exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Events {
    /// As span events, with their span when that has ended
    #[default]
    Span,
    /// As log records, at once, with the ids of their span
    Logs,
}

/// `pollscope agent`.
#[derive(Args, Clone, Debug, Default)]
pub struct AgentArgs {
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub export: Export,
    /// Where the journal is kept [default: $XDG_STATE_HOME/pollscope]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Address of /healthz, /readyz and /metrics [default: 127.0.0.1:9464; `off`: none]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Seconds that a flush may take at the end [default: 5]
    #[arg(long, value_name = "SECONDS")]
    pub grace: Option<f64>,
    /// Seconds that dead sessions are kept [default: 3600]
    #[arg(long, value_name = "SECONDS")]
    pub keep_dead: Option<f64>,
    /// MiB of dead sessions that are kept: beyond it the oldest go, but never the newest [default: 256]
    #[arg(long, value_name = "MIB")]
    pub keep_dead_mib: Option<u64>,
    /// Spans exported a second at most, about: beyond it whole traces are dropped, by their ids; log records stay
    #[arg(long, value_name = "N")]
    pub max_spans_per_second: Option<NonZeroU32>,
    /// How events are exported: in their spans, or each as an OTLP log record [default: span]
    #[arg(long, value_enum, value_name = "WAY")]
    pub events: Option<Events>,
    /// Export the agent's own spans and metrics too, as service `pollscope-agent`
    #[arg(long)]
    pub own_telemetry: bool,
}

/// `pollscope run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    pub agent: AgentArgs,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    pub command: Vec<std::ffi::OsString>,
}

/// `pollscope sessions`.
#[derive(Args, Clone, Debug)]
pub struct SessionsArgs {
    #[command(flatten)]
    pub which: Which,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Order of tasks.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Sort {
    /// Running, then scheduled, then idle; longest first
    #[default]
    State,
    /// Time inside polls
    Busy,
    /// Time ready and waiting for a worker
    Scheduled,
    /// Time waiting for something
    Idle,
    /// Polls
    Polls,
    /// Wakes
    Wakes,
    /// Age
    Age,
    /// Name
    Name,
}

/// `pollscope tasks`.
#[derive(Args, Clone, Debug)]
pub struct TasksArgs {
    #[command(flatten)]
    pub which: Which,
    /// Show again every second until interrupted
    #[arg(long)]
    pub watch: bool,
    /// Order
    #[arg(long, value_enum, default_value_t)]
    pub sort: Sort,
    /// Rows at most
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `pollscope traces`.
#[derive(Args, Clone, Debug)]
pub struct TracesArgs {
    #[command(flatten)]
    pub which: Which,
    /// Only this trace: its id, or the beginning of it
    #[arg(value_name = "TRACE_ID", value_parser = trace_id)]
    pub trace: Option<String>,
    /// The N slowest
    #[arg(long, value_name = "N")]
    pub slowest: Option<NonZeroUsize>,
    /// Traces of at least this long: `500ms`, `2s`
    #[arg(long, value_name = "TIME", value_parser = length_with_unit)]
    pub min: Option<Duration>,
    /// Traces with an error in them
    #[arg(long)]
    pub errors: bool,
    /// Traces at most
    #[arg(long, default_value_t = 10)]
    pub limit: usize,
    /// Columns [default: the terminal's]
    #[arg(long)]
    pub width: Option<usize>,
    /// No characters beyond ASCII
    #[arg(long)]
    pub ascii: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `pollscope doctor`.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub export: Export,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl Cli {
    /// The demo's service that this process is to be, if it is one.
    #[cfg(feature = "demo")]
    pub fn demo_service(&self) -> Option<&crate::demo::ServiceArgs> {
        match &self.verb {
            Verb::DemoService(arguments) => Some(arguments),
            _ => None,
        }
    }

    /// What is left to do where no runtime can be made.
    pub fn without_runtime(&self, why: &std::io::Error) -> ExitCode {
        match &self.verb {
            Verb::Run(arguments) => run::instead(arguments, why),
            _ => {
                show::say(format_args!("cannot start: {why}"));
                ExitCode::FAILURE
            }
        }
    }

    /// Does what was asked.
    pub async fn run(self) -> Result<ExitCode> {
        match self.verb {
            Verb::Agent(arguments) => agent::main(arguments).await,
            Verb::Run(arguments) => run::main(arguments).await,
            Verb::Sessions(arguments) => show::sessions(&arguments),
            Verb::Tasks(arguments) => observe::tasks(&arguments).await,
            Verb::Traces(arguments) => show::traces(&arguments),
            Verb::Doctor(arguments) => doctor::main(&arguments).await,
            #[cfg(feature = "demo")]
            Verb::Demo(arguments) => crate::demo::main(arguments).await,
            #[cfg(feature = "demo")]
            Verb::DemoService(_) => unreachable!("main runs a demo's service before there is a runtime"),
        }
    }
}

/// The same, but nobody has to guess the unit.
fn length_with_unit(text: &str) -> Result<Duration, String> {
    if text.parse::<f64>().is_ok_and(|number| number >= 0.0) {
        return Err(format!("{text:?} lacks its unit: `{text}ms` and `{text}s` are lengths of time"));
    }
    length(text)
}

/// The digits of a trace's id, or the first of them.
fn trace_id(text: &str) -> Result<String, String> {
    if text.is_empty() || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err("a trace id is hexadecimal: digits and the letters a to f".to_owned());
    }
    if text.len() > 32 {
        return Err(format!("a trace id has 32 digits, and this has {}", text.len()));
    }
    Ok(text.to_owned())
}

/// A length of time: a number and `ns`, `us`, `ms`, `s` or `m`; a bare number is seconds.
pub fn length(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is no length of time: `500ms` is one"))?;
    let scale = match unit.trim() {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        other => return Err(format!("{other:?} is no unit: ns, us, ms, s and m are")),
    };
    Duration::try_from_secs_f64(number * scale).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lengths_of_time_are_read_with_their_units() {
        assert_eq!(length("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(length("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(length("20"), Ok(Duration::from_secs(20)));
        assert!(length("soon").is_err() && length("5 parsecs").is_err());
        assert_eq!(length_with_unit("5ms"), Ok(Duration::from_millis(5)));
        assert!(length_with_unit("5").is_err() && length_with_unit("0.5").is_err());
    }
}
