//! Settings in layers: flags over environment over `pollscope.toml` over defaults.

use crate::cli::{AgentArgs, Events, Export};
use anyhow::{Context, Result, bail};
use pollscope_export::{Config, Options, Signal};
use serde::Deserialize;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `pollscope.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    agent: AgentFile,
    otlp: Options,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AgentFile {
    dirs: Vec<PathBuf>,
    state: Option<PathBuf>,
    listen: Option<String>,
    grace_seconds: Option<f64>,
    keep_dead_seconds: Option<f64>,
    keep_dead_mib: Option<u64>,
    max_spans_per_second: Option<NonZeroU32>,
    events: Option<Events>,
    own_telemetry: bool,
}

/// What the agent runs with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directories to look in; empty: by rule.
    pub dirs: Vec<PathBuf>,
    /// Where traces go; `None`: nowhere.
    pub export: Option<Config>,
    /// How events leave.
    pub events: Events,
    /// Where log records go; `None`: nowhere.
    pub logs: Option<Config>,
    /// Where the journal is kept.
    pub state: PathBuf,
    /// Address of the agent's own pages.
    pub listen: Option<String>,
    /// How long a flush may take at the end.
    pub grace: Duration,
    /// How long dead sessions are kept.
    pub keep_dead: Duration,
    /// Bytes of dead sessions that are kept.
    pub keep_dead_bytes: u64,
    /// Spans exported a second at most; `None`: all.
    pub max_spans_per_second: Option<NonZeroU32>,
    /// Whether the agent's own spans and metrics are exported too.
    pub own_telemetry: bool,
}

fn read(path: Option<&Path>) -> Result<File> {
    let (path, named) = match path {
        Some(path) => (path, true),
        None => (Path::new("pollscope.toml"), false),
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if !named && error.kind() == std::io::ErrorKind::NotFound => return Ok(File::default()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read settings from {}", path.display()));
        }
    };
    toml::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))
}

fn export_of(signal: Signal, flags: &Export, file: &File) -> Result<Option<Config>> {
    if flags.no_export {
        return Ok(None);
    }
    // A flag is read as its variable would be: one reading of each.
    let lookup = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => flags.endpoint.clone(),
        "OTEL_EXPORTER_OTLP_PROTOCOL" => flags.protocol.clone(),
        "OTEL_EXPORTER_OTLP_HEADERS" => flags.headers.clone(),
        "OTEL_EXPORTER_OTLP_COMPRESSION" => flags.compression.clone(),
        _ => None,
    };
    let said = Options::from_env(signal, lookup)?;
    let env = Options::from_env(signal, |name| std::env::var(name).ok())?;
    Ok(said.over(env).over(file.otlp.clone()).resolve(signal)?)
}

/// Where traces go, and where log records go if the settings file wants them, for verbs that only export.
pub fn export(flags: &Export) -> Result<Vec<Config>> {
    let file = read(flags.config.as_deref())?;
    let mut all: Vec<Config> = export_of(Signal::Traces, flags, &file)?.into_iter().collect();
    if file.agent.events == Some(Events::Logs) {
        all.extend(export_of(Signal::Logs, flags, &file)?);
    }
    Ok(all)
}

fn seconds(given: Option<f64>, default: f64, name: &str) -> Result<Duration> {
    let seconds = given.unwrap_or(default);
    match Duration::try_from_secs_f64(seconds) {
        Ok(length) => Ok(length),
        Err(_) => bail!("{name} is {seconds}, which is no length of time in seconds"),
    }
}

impl Settings {
    /// All layers, resolved.
    pub fn resolve(arguments: &AgentArgs) -> Result<Settings> {
        let file = read(arguments.export.config.as_deref())?;
        let state =
            arguments.state.clone().or_else(|| file.agent.state.clone()).unwrap_or_else(default_state);
        let listen = arguments.listen.clone().or_else(|| file.agent.listen.clone());
        let listen = listen.unwrap_or_else(|| "127.0.0.1:9464".to_owned());
        let dirs = if arguments.which.dir.is_empty() {
            file.agent.dirs.clone()
        } else {
            arguments.which.dir.clone()
        };
        let events = arguments.events.or(file.agent.events).unwrap_or_default();
        let logs = match (events, export_of(Signal::Logs, &arguments.export, &file)) {
            (Events::Logs, logs) => logs?,
            // For what an earlier agent left.
            (Events::Span, logs) => logs.unwrap_or_default(),
        };
        Ok(Settings {
            dirs,
            export: export_of(Signal::Traces, &arguments.export, &file)?,
            events,
            logs,
            state,
            listen: (listen != "off").then_some(listen),
            grace: seconds(arguments.grace.or(file.agent.grace_seconds), 5.0, "grace")?,
            keep_dead: seconds(arguments.keep_dead.or(file.agent.keep_dead_seconds), 3600.0, "keep-dead")?,
            keep_dead_bytes: arguments
                .keep_dead_mib
                .or(file.agent.keep_dead_mib)
                .unwrap_or(256)
                .saturating_mul(1 << 20),
            max_spans_per_second: arguments.max_spans_per_second.or(file.agent.max_spans_per_second),
            own_telemetry: arguments.own_telemetry || file.agent.own_telemetry,
        })
    }
}

fn default_state() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
    base.unwrap_or_else(|| PathBuf::from("/var/lib")).join("pollscope")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_a_word_that_means_nothing_is_refused() {
        let error = toml::from_str::<File>("[agent]\nlisten = \"off\"\nspeed = 3\n").unwrap_err();
        assert!(error.to_string().contains("speed"), "{error}");
    }

    #[test]
    fn events_leave_as_the_flag_says_then_as_the_file_says_then_in_spans() {
        let path = std::env::temp_dir().join(format!("pollscope-events-{}.toml", std::process::id()));
        std::fs::write(&path, "[agent]\nevents = \"logs\"\n[otlp]\nlogs_endpoint = \"http://l:1/l\"\n")
            .unwrap();
        let resolved = |events| {
            let export = Export { config: Some(path.clone()), ..Export::default() };
            Settings::resolve(&AgentArgs { events, export, ..AgentArgs::default() }).unwrap()
        };
        let by_file = resolved(None);
        assert_eq!(by_file.events, Events::Logs);
        assert_eq!(by_file.logs.unwrap().endpoint.to_string(), "http://l:1/l");
        assert_eq!(resolved(Some(Events::Span)).events, Events::Span);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(Events::default(), Events::Span);
        assert!(toml::from_str::<File>("[agent]\nevents = \"both\"\n").is_err());
    }

    #[test]
    fn flags_win_over_the_file() {
        let file: File = toml::from_str("[otlp]\nendpoint = \"http://file:4317\"\n").unwrap();
        let flags = Export { endpoint: Some("http://flag:4317".to_owned()), ..Export::default() };
        let config = export_of(Signal::Traces, &flags, &file).unwrap().unwrap();
        assert_eq!(config.endpoint.host(), Some("flag"));
    }
}
