//! `pollscope doctor`: what is wrong with this set-up, and how to mend it.

mod otlp;

use crate::cli::DoctorArgs;
use crate::debug_info::{self, Lines};
use crate::missing;
use crate::observe::Observed;
use crate::settings;
use crate::show;
use anyhow::Result;
use pollscope_collect::{Rings, SessionStatus, State};
use pollscope_export::{Config, Signal};
use pollscope_model::event::SessionInfo;
use pollscope_model::text::clean;
use pollscope_wire::reader::{OpenError, SessionFiles};
use pollscope_wire::{place, sys};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ok,
    Warn,
    Fail,
}

struct Check {
    level: Level,
    what: String,
    mend: Option<String>,
}

fn check(level: Level, what: impl Into<String>, mend: Option<&str>) -> Check {
    Check { level, what: what.into(), mend: mend.map(str::to_owned) }
}

/// `pollscope doctor`.
pub async fn main(arguments: &DoctorArgs) -> Result<ExitCode> {
    let mut observed = Observed::new(&arguments.which);
    observed.look();
    let mut checks = vec![clock()];
    checks.extend(places(&observed));
    checks.extend(sessions(&observed));
    checks.extend(backends(arguments).await);
    if arguments.json {
        let all: Vec<_> = checks
            .iter()
            .map(|check| serde_json::json!({"level": word(check.level), "what": check.what, "mend": check.mend}))
            .collect();
        show::print(&format!("{}\n", serde_json::json!({ "checks": all })))?;
    } else {
        let mut text = String::new();
        for check in &checks {
            text += &format!("{:<5} {}\n", word(check.level), clean(&check.what));
            if let Some(mend) = &check.mend {
                text += &format!("      {}\n", clean(mend));
            }
        }
        show::print(&text)?;
    }
    let worst = checks.iter().map(|check| check.level).max();
    Ok(if worst == Some(Level::Fail) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Warn => "warn",
        Level::Fail => "fail",
    }
}

fn clock() -> Check {
    use pollscope_wire::layout::ClockKind;
    match sys::clock_kind() {
        ClockKind::Tsc => check(Level::Ok, "clock: the time stamp counter, about 10 ns a reading", None),
        ClockKind::Cntvct => check(Level::Ok, "clock: cntvct_el0", None),
        ClockKind::Monotonic => check(
            Level::Warn,
            "clock: CLOCK_MONOTONIC, about 20 ns a reading: the kernel does not trust the time stamp counter here",
            Some("a poll costs some 20 ns more; the kernel's log says why (clocksource)"),
        ),
    }
}

/// Where a service of this user would write.
fn places(observed: &Observed) -> Vec<Check> {
    let mut checks = Vec::new();
    for place in place::candidates(|name| std::env::var(name).ok()) {
        let path = place.path.display();
        if !place.path.exists() {
            continue;
        }
        checks.push(match sys::space(&place.path) {
            Ok(space) if !space.tmpfs => check(
                Level::Warn,
                format!("{path} is not on tmpfs: mapped writes may stall the service"),
                Some("set POLLSCOPE_DIR to a directory on tmpfs, such as one below /dev/shm"),
            ),
            Ok(space) if space.free < 16 << 20 => check(
                Level::Warn,
                format!("{path} has only {} MiB free: rings will be small, or missing", space.free >> 20),
                Some("give it more room (a container: --shm-size, or an emptyDir of medium Memory)"),
            ),
            Ok(space) => check(Level::Ok, format!("{path}: tmpfs, {} MiB free", space.free >> 20), None),
            Err(error) => check(
                Level::Fail,
                format!("{path} cannot be read: {error}"),
                Some("run as the service's user or root, or set POLLSCOPE_GROUP for the service"),
            ),
        });
    }
    for (path, why) in &observed.refused {
        let mend = match SessionFiles::open(path) {
            Err(OpenError::Newer { .. }) => {
                "install the version of pollscope that the service is built with, or a newer one"
            }
            Err(OpenError::Io(_, error)) if error.kind() == ErrorKind::PermissionDenied => {
                "run as the service's user or root, or set POLLSCOPE_GROUP for the service to a group of this user's"
            }
            _ => "if no service of yours left it there, remove the directory",
        };
        checks.push(check(Level::Fail, format!("{} cannot be followed: {why}", path.display()), Some(mend)));
    }
    checks
}

fn sessions(observed: &Observed) -> Vec<Check> {
    let all = observed.sessions();
    let reasons = missing::reasons(observed);
    if all.is_empty() && !reasons.is_empty() {
        // What was refused is told with the places.
        let told = |reason: &String| {
            observed.refused.iter().any(|(path, _)| reason.contains(&*path.to_string_lossy()))
        };
        let new = reasons.into_iter().filter(|reason| !told(reason));
        return new.map(|reason| check(Level::Fail, reason, None)).collect();
    }
    if all.is_empty() {
        let dirs: Vec<String> =
            observed.collector.dirs().iter().map(|dir| dir.display().to_string()).collect();
        return vec![check(
            Level::Fail,
            format!("no session found in {}", dirs.join(", ")),
            Some(
                "does the service use #[pollscope::main], as this user, with the same POLLSCOPE_DIR? is POLLSCOPE=off set? its standard error says why nothing is recorded",
            ),
        )];
    }
    all.iter().flat_map(|status| session(observed, status)).collect()
}

fn session(observed: &Observed, status: &SessionStatus) -> Vec<Check> {
    let service = status.info.service();
    let mut checks = Vec::new();
    match status.state {
        State::Live => checks.push(check(
            Level::Ok,
            format!("{service} (pid {}): live, {}", status.info.pid, rings(status)),
            None,
        )),
        State::Over(_) => checks.push(check(
            Level::Ok,
            format!("{service} (pid {}): {}", status.info.pid, crate::json::state(status.state)),
            None,
        )),
    }
    let lost: u64 = status.lost.iter().sum();
    let read: u64 = status.read.iter().sum();
    if lost > 0 {
        let [polls, ends, others] = status.lost;
        checks.push(check(
            Level::Warn,
            format!("{service}: {lost} of {} records were overwritten before they were read ({polls} polls, {ends} span ends, {others} others)", lost + read),
            Some("keep an agent running beside it, or set POLLSCOPE_RING_BYTES higher; counters stay exact"),
        ));
    }
    for (name, count) in &status.refused {
        let mend = match *name {
            "attributes_dropped" => "raise OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT for the service, or record fewer",
            "values_cut" => {
                "texts are cut at 16 KiB, and at OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT: record shorter ones"
            }
            _ => "raise POLLSCOPE_MAX_TASKS, _MAX_THREADS or _MAX_ROWS, or give the directory more room",
        };
        checks.push(check(Level::Warn, format!("{service}: {name}: {count}"), Some(mend)));
    }
    if let Some(model) = observed.model.session(status.id) {
        let all = model.coverage();
        if all.is_empty() {
            let text = format!(
                "{service}: no runtime has said how many tasks are alive: what runs beside pollscope is not seen"
            );
            checks.push(check(Level::Warn, text, Some(NO_RUNTIME)));
        }
        for coverage in all {
            let text = format!("{service}: {coverage}");
            let low = coverage.alive.is_some_and(|alive| alive > 1 && coverage.recorded * 2 < alive);
            checks.push(if low {
                check(Level::Warn, text, Some(COVER))
            } else {
                check(Level::Ok, text, None)
            });
        }
        let spans = status.read[1] > 0 || model.open_span_count() > 0;
        checks.extend(spans_of(service, spans, &status.info));
        if !status.info.foreign_subscriber && !status.info.apart {
            let bound = observed.bound.contains(&status.id);
            checks.extend(otlp::unjoined(service, &executable(status), spans, bound));
        }
    }
    if status.info.withheld {
        checks.push(check(
            Level::Ok,
            format!("{service}: its spans are not exported: it runs with OTEL_SDK_DISABLED=true or OTEL_TRACES_EXPORTER=none"),
            Some("unset it for the service; what is recorded can be seen here all the same"),
        ));
    }
    checks.extend(access(service, status));
    checks.extend(line_tables(service, status));
    checks
}

/// Who may read it, and what works from another user. `None`: it is gone.
fn access(service: &str, status: &SessionStatus) -> Option<Check> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(&status.dir).ok()?;
    let (owner, group, own) = (meta.uid(), meta.gid(), sys::uid());
    let shared = meta.mode() & 0o050 == 0o050;
    let whose = match shared {
        true => format!("{service}: for uid {owner} and group {group}"),
        false => format!("{service}: for uid {owner} alone"),
    };
    if own == owner || own == 0 {
        return Some(check(Level::Ok, whose, None));
    }
    // What may not be read is no session here.
    let dir = sys::open_dir(&status.dir).ok()?;
    Some(match sys::open_in(&dir, "request", true) {
        Ok(_) => check(
            Level::Ok,
            format!(
                "{whose}: uid {own} reads all and may make requests; the service's next start removes it"
            ),
            None,
        ),
        Err(error) => check(
            Level::Warn,
            format!("{whose}: uid {own} reads all, and may make no requests: {error}"),
            Some(
                "run as the service's user or root, or in the group that POLLSCOPE_GROUP names for the service",
            ),
        ),
    })
}

/// How large its rings are: those who came later may have less.
fn rings(status: &SessionStatus) -> String {
    let Rings { least, most, all } = status.rings;
    let workers = match (least >> 10, most >> 10) {
        (0, _) => format!("{} KiB of rings a worker at most", status.worker_ring_bytes >> 10),
        (least, most) if least == most => format!("{most} KiB of rings a worker"),
        (least, most) => format!("{least} to {most} KiB of rings a worker"),
    };
    format!("{workers}, {} KiB in all; {} KiB of files", all >> 10, status.bytes >> 10)
}

const NO_RUNTIME: &str =
    "use #[pollscope::main], or build each runtime with pollscope::runtime(&mut builder)";

/// The cheapest steps first.
const COVER: &str = "\
    add pollscope::http::ServerLayer, which makes tasks of requests; give hyper pollscope::Executor; \
    spawn with pollscope::spawn: in clippy.toml, \
    disallowed-methods = [{ path = \"tokio::spawn\", replacement = \"pollscope::spawn\" }, \
    { path = \"tokio::task::spawn_blocking\", replacement = \"pollscope::spawn_blocking\" }] \
    finds what is left; or build with RUSTFLAGS=\"--cfg tokio_unstable\", which needs no change";

/// Whether spans are recorded, and whether those of `tracing` can be.
fn spans_of(service: &str, any: bool, info: &SessionInfo) -> Option<Check> {
    if info.foreign_subscriber {
        let text = format!(
            "{service}: its `tracing` subscriber lacks pollscope's layer: only requests, tasks and #[pollscope::instrument] are spans"
        );
        return Some(check(Level::Warn, text, Some(ADD_LAYER)));
    }
    Some(match (any, info.tracing_layer) {
        (true, true) => return None,
        (true, false) => check(
            Level::Ok,
            format!(
                "{service}: it was built without `tracing`: its spans are requests and #[pollscope::instrument]"
            ),
            None,
        ),
        (false, true) => check(
            Level::Warn,
            format!("{service}: no span was recorded yet"),
            Some("has there been a request? does POLLSCOPE_FILTER let its spans pass?"),
        ),
        (false, false) => check(
            Level::Warn,
            format!("{service}: no span was recorded, and it was built without `tracing`"),
            Some("use pollscope's default features, or add #[pollscope::instrument] to its functions"),
        ),
    })
}

const ADD_LAYER: &str = "tracing_subscriber::registry().with(pollscope::layer()).with(tracing_subscriber::fmt::layer()\
     .with_filter(tracing_subscriber::filter::LevelFilter::INFO)).init()";

/// The file that a service runs, or ran.
fn executable(status: &SessionStatus) -> PathBuf {
    let running = PathBuf::from(format!("/proc/{}/exe", status.info.pid));
    match status.state {
        State::Live if running.exists() => running,
        _ => PathBuf::from(&*status.info.exe),
    }
}

/// Whether its executable names files and lines inside stacks.
fn line_tables(service: &str, status: &SessionStatus) -> Option<Check> {
    let exe = &status.info.exe;
    Some(match debug_info::lines(&executable(status), Path::new(&**exe))? {
        Lines::Within => check(Level::Ok, format!("{service}: {exe} has line tables"), None),
        Lines::In(file) => {
            check(Level::Ok, format!("{service}: {exe} has line tables in {}", file.display()), None)
        }
        Lines::Nowhere => check(
            Level::Warn,
            format!("{service}: {exe} has no line tables: stacks would name functions without file and line"),
            Some("set `debug = 1` in [profile.release]; spawn locations and spans need none"),
        ),
    })
}

async fn backends(arguments: &DoctorArgs) -> Vec<Check> {
    let configs = match settings::export(&arguments.export) {
        Ok(configs) if configs.is_empty() => return vec![check(Level::Ok, "export is off", None)],
        Ok(configs) => configs,
        Err(error) => return vec![check(Level::Fail, format!("export settings: {error:#}"), None)],
    };
    let mut checks = Vec::new();
    for config in configs {
        checks.push(backend(&config).await);
    }
    checks
}

async fn backend(config: &Config) -> Check {
    let takes = match config.signal {
        Signal::Traces => "traces",
        Signal::Logs => "logs",
    };
    match pollscope_export::health::probe(config).await {
        Ok(()) => check(Level::Ok, format!("backend {} takes {takes}", config.endpoint), None),
        Err(error) => {
            let level = if config.endpoint_given { Level::Fail } else { Level::Warn };
            let mend =
                "name one with --endpoint or OTEL_EXPORTER_OTLP_ENDPOINT; `pollscope traces` needs none";
            check(level, format!("{error}"), Some(mend))
        }
    }
}
