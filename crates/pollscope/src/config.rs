//! Options, from code and environment, and the opening of the session.

use crate::span::{Sampler, SpanLimits, Traces};
use crate::state::{self, Guard, say};
use pollscope_wire::modules;
use pollscope_wire::place::{self, Place, RingSizes};
use pollscope_wire::session::{self, InfoValue, Options};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};

/// Bytes of a worker's rings at most: a reader reads no longer ones.
const LARGEST_RINGS: u64 = 128 << 20;

/// How to record.
///
/// | variable | meaning | default |
/// | --- | --- | --- |
/// | `POLLSCOPE` | `off`: nothing is recorded, all functions are plain tokio | on |
/// | `POLLSCOPE_DIR` | directory for sessions, the only one that is tried | `$XDG_RUNTIME_DIR/pollscope`, else `/dev/shm/pollscope-$UID` |
/// | `POLLSCOPE_GROUP` | group id that may read the session | the directory's, if it is setgid |
/// | `POLLSCOPE_MAX_TASKS` | tasks (and open spans) recorded at one time | 262143 |
/// | `POLLSCOPE_MAX_ROWS` | counter rows | 3100 (16 MiB) |
/// | `POLLSCOPE_MAX_THREADS` | threads recorded at one time | 1024 |
/// | `POLLSCOPE_RING_BYTES` | bytes of rings for each worker | 64 KiB to 4 MiB: all workers and main take at most a quarter of the free space and 5 % of the memory limit, all other threads (64 KiB each) as much again |
/// | `POLLSCOPE_SLOW_POLL_MS` | poll time from which a poll counts as slow | 10 |
/// | `POLLSCOPE_FILTER` | which `tracing` spans and events are recorded: `target=level,..`; with the feature `env-filter` all that `EnvFilter` takes | `info,tower_http=debug`, libraries off |
/// | `POLLSCOPE_SPANS` | `join`: beside an OpenTelemetry layer, spans of `tracing` have its ids and its exporter; `export`: the agent exports them; `off`: none are recorded | `join` |
/// | `POLLSCOPE_MAX_TASK_SPANS` | tasks of one trace that are spans; further ones are counted on their parent, as `pollscope.tasks.unspanned` | 256 |
/// | `POLLSCOPE_EVENTS` | the level from which `tracing` events that pass the filter are recorded, or `off` | `warn` |
/// | `OTEL_SERVICE_NAME` | the service's name | `service` of the macro, else `unknown_service:<exe>` |
/// | `OTEL_RESOURCE_ATTRIBUTES` | more resource attributes, `key=value,..` | none |
/// | `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` | which traces are exported | `parentbased_always_on` |
/// | `OTEL_PROPAGATORS` | without `tracecontext` in it, or with `none`, `traceparent` is neither read nor written. Baggage is never touched | `tracecontext,baggage` |
/// | `OTEL_SDK_DISABLED`, `OTEL_TRACES_EXPORTER`, `OTEL_LOGS_EXPORTER` | `true`, or `none`: no agent exports the spans, or the events as log records; all is recorded and shown as before | exported |
/// | `OTEL_ATTRIBUTE_COUNT_LIMIT`, `OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT`, `OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT` | attributes of a span, of an event; the first where the others are not set. The agent keeps up to 1024 | 128 |
/// | `OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT`, `OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT` | characters of a text; the first where the other is not set | none: 16 KiB are recorded |
/// | `OTEL_SPAN_EVENT_COUNT_LIMIT`, `OTEL_SPAN_LINK_COUNT_LIMIT` | events and links of a span. The agent keeps up to 1024 | 128 |
/// | `OTEL_LINK_ATTRIBUTE_COUNT_LIMIT` | attributes of a link, of which there are none | 128 |
#[derive(Clone, Debug)]
pub struct Config {
    off: bool,
    service: Option<String>,
    resource: Vec<(String, InfoValue)>,
    places: Vec<Place>,
    group: Option<u32>,
    max_tasks: u32,
    max_rows: u32,
    max_threads: u32,
    ring_bytes: Option<u64>,
    slow_poll_ns: u64,
    spans: Option<Spans>,
    traces: Traces,
    /// Facts that say what no agent is to export.
    withheld: Vec<&'static str>,
    warnings: Vec<String>,
}

/// What becomes of the spans of `tracing`: `POLLSCOPE_SPANS`, or [`Config::spans`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spans {
    /// Beside an OpenTelemetry layer its ids are used and it exports them; else the agent does.
    #[default]
    Join,
    /// The agent exports them, whatever else there is.
    Export,
    /// None are recorded: tasks alone.
    Off,
}

/// Of this process; 0: not told yet.
static SPANS: AtomicU8 = AtomicU8::new(0);

/// What becomes of spans in this process.
pub(crate) fn spans() -> Spans {
    match SPANS.load(Ordering::Relaxed) {
        0 => {
            let told = spans_of(std::env::var("POLLSCOPE_SPANS").ok().as_deref()).unwrap_or_default();
            set_spans(told);
            told
        }
        1 => Spans::Join,
        2 => Spans::Export,
        _ => Spans::Off,
    }
}

fn set_spans(spans: Spans) {
    SPANS.store(1 + spans as u8, Ordering::Relaxed);
}

fn spans_of(text: Option<&str>) -> Result<Spans, String> {
    match text.map(str::trim) {
        None | Some("") | Some("join") => Ok(Spans::Join),
        Some("export") => Ok(Spans::Export),
        Some("off") => Ok(Spans::Off),
        Some(other) => Err(format!("POLLSCOPE_SPANS is {other:?}, not join, export or off: join is used")),
    }
}

impl Config {
    /// What the environment says.
    pub fn from_env() -> Config {
        Config::from_lookup(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_lookup(get: impl Fn(&str) -> Option<String>) -> Config {
        let mut warnings = Vec::new();
        let mut number = |name: &str, default: u64| match get(name) {
            None => default,
            Some(text) => text.trim().parse().unwrap_or_else(|_| {
                warnings.push(format!("{name} is {text:?}, which is no number: {default} is used"));
                default
            }),
        };
        let short = |number: u64| number.min(u32::MAX as u64) as u32;
        let max_tasks = short(number("POLLSCOPE_MAX_TASKS", (pollscope_wire::ids::MAX_SLOTS - 1) as u64));
        let max_rows = short(number("POLLSCOPE_MAX_ROWS", 3100));
        let max_threads = short(number("POLLSCOPE_MAX_THREADS", pollscope_wire::layout::MAX_THREADS as u64));
        let slow_poll_ns = number("POLLSCOPE_SLOW_POLL_MS", 10).saturating_mul(1_000_000);
        let ring_bytes = match number("POLLSCOPE_RING_BYTES", 0) {
            0 => None,
            bytes => Some(bytes.min(LARGEST_RINGS)),
        };
        let group = match number("POLLSCOPE_GROUP", u64::MAX) {
            u64::MAX => None,
            group => Some(group as u32),
        };
        let (sampler, warning) = Sampler::from_lookup(&get);
        warnings.extend(warning);
        let spans = match (get("POLLSCOPE_SPANS"), spans_of(get("POLLSCOPE_SPANS").as_deref())) {
            (None, _) => None,
            (Some(_), Ok(spans)) => Some(spans),
            (Some(_), Err(warning)) => {
                warnings.push(warning);
                None
            }
        };
        let limits = SpanLimits::from_lookup(&get, &mut warnings);
        let (propagated, warning) =
            propagators(&get("OTEL_PROPAGATORS").unwrap_or("tracecontext".to_owned()));
        warnings.extend(warning);
        let says = |name, value: &str| get(name).is_some_and(|said| said.trim().eq_ignore_ascii_case(value));
        let withheld = [("export.traces", "OTEL_TRACES_EXPORTER"), ("export.logs", "OTEL_LOGS_EXPORTER")]
            .into_iter()
            .filter(|(_, exporter)| says("OTEL_SDK_DISABLED", "true") || says(exporter, "none"))
            .map(|(fact, _)| fact)
            .collect();
        let mut resource = Vec::new();
        for pair in get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default().split(',') {
            if let Some((key, value)) = pair.split_once('=') {
                resource.push((percent_decoded(key.trim()), InfoValue::Str(percent_decoded(value.trim()))));
            } else if !pair.trim().is_empty() {
                warnings
                    .push(format!("OTEL_RESOURCE_ATTRIBUTES has {pair:?}, which is not key=value: left out"));
            }
        }
        Config {
            off: get("POLLSCOPE").is_some_and(|value| matches!(value.as_str(), "off" | "0" | "false")),
            service: get("OTEL_SERVICE_NAME"),
            resource,
            places: place::candidates(&get),
            group,
            max_tasks,
            max_rows,
            max_threads,
            ring_bytes,
            slow_poll_ns,
            spans,
            traces: Traces { sampler, limits, propagated },
            withheld,
            warnings,
        }
    }

    /// The service's name, unless the environment gives one.
    pub fn service(mut self, name: impl Into<String>) -> Self {
        if self.service.is_none() && !self.resource.iter().any(|(key, _)| key == "service.name") {
            self.service = Some(name.into());
        }
        self
    }

    /// One more resource attribute, unless the environment gives it.
    pub fn resource(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let key = key.into();
        if !self.resource.iter().any(|(known, _)| *known == key) {
            self.resource.push((key, InfoValue::Str(value.into())));
        }
        self
    }

    /// The directory for sessions, before all others.
    pub fn dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.places.insert(0, Place { path: path.into(), named: true });
        self
    }

    /// What becomes of the spans of `tracing`, unless the environment says it.
    pub fn spans(mut self, spans: Spans) -> Self {
        self.spans.get_or_insert(spans);
        self
    }

    /// Tasks recorded at one time.
    pub fn max_tasks(mut self, tasks: u32) -> Self {
        self.max_tasks = tasks;
        self
    }

    /// Opens the session. Never fails: where nothing can be recorded, one line on standard error says why.
    pub fn init(self) -> Guard {
        for warning in &self.warnings {
            say(format_args!("{warning}"));
        }
        if self.off || state::global().is_some() {
            return Guard { owner: false };
        }
        if let Some(dir) = session::of_another_copy() {
            say(format_args!(
                "nothing is recorded by this copy: another copy of pollscope in this process records in {}; \
                 `cargo tree -d` shows why there are two",
                dir.display()
            ));
            return Guard { owner: false };
        }
        set_spans(self.spans.unwrap_or_default());
        let workers = std::thread::available_parallelism().map_or(1, |n| n.get());
        let mut reasons = Vec::new();
        // A place that was named is the only one: elsewhere nobody would look for the session.
        let named = self.places.iter().any(|place| place.named);
        let places: Vec<Place> = self.places.iter().filter(|place| place.named || !named).cloned().collect();
        let resource = self.all_resource();
        let session = session::open_first(
            &places,
            self.group,
            |place, space| Options {
                place: place.path.clone(),
                group: self.group,
                max_tasks: self.max_tasks,
                max_rows: self.max_rows,
                max_threads: self.max_threads,
                rings: self
                    .ring_bytes
                    .map_or_else(|| RingSizes::of(space, place::memory_limit(), workers), RingSizes::fixed),
                slow_poll_ns: self.slow_poll_ns,
                resource: resource.clone(),
                facts: facts(&self.withheld),
            },
            |reason| reasons.push(reason),
        );
        let Some(session) = session else {
            say(format_args!("nothing is recorded: {}", reasons.join("; ")));
            return Guard { owner: false };
        };
        if let Some(group) = self.group
            && session.group() != Some(group)
        {
            say(format_args!("group {group} cannot read what is recorded: {}", reasons.join("; ")));
        }
        if !resource.iter().any(|(key, _)| key == "service.instance.id") {
            session.info(true, "service.instance.id", &InfoValue::Str(uuid(session.id())));
        }
        if spans() != Spans::Join {
            session.info(false, "tracing.apart", &InfoValue::Bool(true));
        }
        for module in modules::loaded() {
            session.module(&module);
        }
        match state::install(session, self.slow_poll_ns, self.traces) {
            Ok(installed) => {
                #[cfg(feature = "tracing")]
                crate::scoped::install();
                Guard { owner: installed.is_some() }
            }
            Err(error) => {
                say(format_args!("nothing is recorded: no page for the enable word: {error}"));
                Guard { owner: false }
            }
        }
    }

    /// Resource attributes, the service's name first.
    fn all_resource(&self) -> Vec<(String, InfoValue)> {
        let named =
            self.resource.iter().find(|(key, _)| key == "service.name").map(|(_, value)| value.clone());
        let name = match (&self.service, named) {
            (Some(name), _) => InfoValue::Str(name.clone()),
            (None, Some(name)) => name,
            (None, None) => InfoValue::Str(format!("unknown_service:{}", exe_name())),
        };
        let mut all = vec![("service.name".to_owned(), name)];
        all.extend(self.resource.iter().filter(|(key, _)| key != "service.name").cloned());
        let mut add = |key: &str, value: InfoValue| {
            if !all.iter().any(|(known, _)| known == key) {
                all.push((key.to_owned(), value));
            }
        };
        if let Ok(host) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
            add("host.name", InfoValue::Str(host.trim().to_owned()));
        }
        if let Some(id) = container_id() {
            add("container.id", InfoValue::Str(id));
        }
        add("process.pid", InfoValue::I64(std::process::id() as i64));
        if let Ok(exe) = std::env::current_exe() {
            add("process.executable.name", InfoValue::Str(exe_name()));
            add("process.executable.path", InfoValue::Str(exe.display().to_string()));
        }
        add("process.runtime.name", InfoValue::Str("rust".to_owned()));
        all
    }
}

/// Whether trace context is among them and nothing forbids it, and a warning of those that we lack.
fn propagators(list: &str) -> (bool, Option<String>) {
    let named: Vec<&str> = list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let lacking: Vec<&str> =
        named.iter().copied().filter(|name| !["tracecontext", "baggage", "none"].contains(name)).collect();
    let warning = (!lacking.is_empty())
        .then(|| format!("OTEL_PROPAGATORS names {}, which pollscope lacks: left out", lacking.join(", ")));
    (named.contains(&"tracecontext") && !named.contains(&"none"), warning)
}

fn facts(withheld: &[&str]) -> Vec<(String, String)> {
    let exe = std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let mut facts = vec![("exe".to_owned(), exe), ("pollscope.version".to_owned(), version)];
    facts.extend(withheld.iter().map(|fact| ((*fact).to_owned(), "false".to_owned())));
    facts
}

fn exe_name() -> String {
    let exe = std::env::current_exe().ok();
    let name = exe.as_deref().and_then(|path| path.file_name());
    name.map_or_else(|| "unknown".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn container_id() -> Option<String> {
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    container_in(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"))
}

/// 64 hexadecimal digits: in the last part of a cgroup's path (`docker-<id>.scope`, `<id>`), or in the path of the
/// files that container runtimes mount into theirs. Layers of images look the same, elsewhere in the mounts.
fn container_in(cgroup: &str, mounts: &str) -> Option<String> {
    let is_id = |part: &&str| part.len() == 64 && part.bytes().all(|b| b.is_ascii_hexdigit());
    let in_name =
        |name: &str| name.split(|c: char| !c.is_ascii_alphanumeric()).find(is_id).map(str::to_owned);
    let of_cgroup = || cgroup.lines().find_map(|line| in_name(line.rsplit('/').next()?));
    let of_mounts = || {
        mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(3);
            let (from, to) = (fields.next()?, fields.next()?);
            let known = ["/etc/hostname", "/etc/resolv.conf", "/etc/hosts"].contains(&to);
            let (_, after) =
                known.then(|| from.split_once("/containers/").or(from.split_once("/sandboxes/")))??;
            in_name(after.split('/').next()?)
        })
    };
    of_cgroup().or_else(of_mounts)
}

fn uuid(id: u128) -> String {
    // Version 4, variant 1.
    let id = id & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{id:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|two| two.iter().all(u8::is_ascii_hexdigit));
        let hex = hex.and_then(|two| std::str::from_utf8(two).ok());
        match hex.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Config {
        let pairs: Vec<(String, String)> =
            pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Config::from_lookup(|name| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()))
    }

    #[test]
    fn the_environments_name_wins_over_the_macros() {
        let named = config(&[("OTEL_SERVICE_NAME", "till")]).service("macro");
        assert_eq!(named.all_resource()[0], ("service.name".to_owned(), InfoValue::Str("till".to_owned())));
        let unnamed = config(&[]).service("macro");
        assert_eq!(unnamed.all_resource()[0].1, InfoValue::Str("macro".to_owned()));
    }

    #[test]
    fn resource_attributes_are_percent_decoded() {
        let config = config(&[("OTEL_RESOURCE_ATTRIBUTES", "team=a%2Cb,service.name=x,broken")]);
        assert!(config.all_resource().contains(&("team".to_owned(), InfoValue::Str("a,b".to_owned()))));
        assert_eq!(config.all_resource()[0].1, InfoValue::Str("x".to_owned()));
        assert_eq!(config.warnings.len(), 1);
    }

    #[test]
    fn what_is_no_percent_encoding_stays_as_it_is() {
        for (text, decoded) in [
            ("a%20b", "a b"),
            ("%C3%a9", "é"),
            ("100%", "100%"),
            ("%2", "%2"),
            ("%zz%+1%-1", "%zz%+1%-1"),
            ("%2541", "%41"),
            ("a+b", "a+b"),
        ] {
            assert_eq!(percent_decoded(text), decoded);
        }
    }

    #[test]
    fn propagators_are_trace_context_or_nothing() {
        for (list, on) in [
            ("tracecontext,baggage", true),
            (" tracecontext ", true),
            ("none", false),
            ("baggage", false),
            ("tracecontext,none", false),
        ] {
            assert_eq!(propagators(list), (on, None), "{list}");
        }
        assert!(config(&[]).traces.propagated);
        let lacking = config(&[("OTEL_PROPAGATORS", "b3,jaeger")]);
        assert!(!lacking.traces.propagated);
        assert_eq!(lacking.warnings, ["OTEL_PROPAGATORS names b3, jaeger, which pollscope lacks: left out"]);
    }

    #[test]
    fn what_is_no_number_is_said_and_the_default_used() {
        let config = config(&[("POLLSCOPE_MAX_TASKS", "many")]);
        assert_eq!(config.max_tasks, pollscope_wire::ids::MAX_SLOTS - 1);
        assert!(config.warnings[0].contains("POLLSCOPE_MAX_TASKS"));
    }

    #[test]
    fn a_container_is_told_from_the_layers_of_its_image() {
        let (id, layer) = ("0123456789abcdef".repeat(4), "f".repeat(64));
        let docker = format!("0::/system.slice/docker-{id}.scope\n");
        assert_eq!(container_in(&docker, ""), Some(id.clone()));
        let mounts = format!(
            "21 20 0:20 / / rw - overlay overlay rw,upperdir=/var/lib/docker/overlay2/{layer}/diff\n\
             22 21 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/sda rw\n"
        );
        assert_eq!(container_in("0::/\n", &mounts), Some(id));
        let host = format!("22 21 0:20 / /var/lib/docker/overlay2/{layer}/merged rw - overlay overlay rw\n");
        assert_eq!(container_in("0::/user.slice\n", &host), None);
    }

    #[test]
    fn an_instance_id_is_a_uuid() {
        let id = uuid(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(id, "01234567-89ab-4def-8123-456789abcdef");
    }
}
