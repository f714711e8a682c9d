//! Finished spans as OTLP messages: pure conversion, nothing is sent and no clock is read here.
//!
//! One request carries many services: each session is one `ResourceSpans` with the resource that the service
//! itself stated, never the agent's. Decisions that the OpenTelemetry specification leaves open:
//!
//! - The scope is `pollscope` with its version. The callsite's module goes into the attribute `target`, as
//!   `tracing-opentelemetry` has it, so that one service does not fall apart into a scope for each module.
//! - `code.function.name` is `{target}::{name}` for spans opened by code whose name is a Rust identifier: exact
//!   for `#[instrument]`, and for a span macro as close as static facts allow. A value recorded by the service
//!   itself always wins.
//! - An event's name is its message, as in `tracing-opentelemetry`. A message over [`EVENT_NAME_LIMIT`] bytes
//!   is cut in the name and stands whole in the attribute `message`.
//! - An event that has a field `error` and no message is an `exception` event, and the field its
//!   `exception.message`, as in `tracing-opentelemetry`.
//! - `level`, `target` and where the code stands are told of an event unless it has fields of these names.
//! - `u64` values above `i64::MAX` become strings: OTLP has signed integers only.
//! - A value that was cut counts as one dropped attribute of its span or event.

pub mod logs;

use crate::names;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{self as proto, ResourceSpans, ScopeSpans, SpanFlags};
use pollscope_model::SessionId;
use pollscope_model::event::{Attribute, Location, SessionInfo, SpanSource, Status, Value};
use pollscope_model::span::{FinishedSpan, SpanEvent, SpanKind};

/// Longest event name in bytes: backends show names in one line and index them.
pub const EVENT_NAME_LIMIT: usize = 256;

/// The schema of all names exported here: the version of the semantic conventions crate in use.
pub const SCHEMA_URL: &str = opentelemetry_semantic_conventions::SCHEMA_URL;

/// W3C trace flag: sampled.
const SAMPLED: u32 = 1;

/// The resource of a session: what the service says of itself, completed by what its session knows.
pub fn resource(session: SessionId, info: &SessionInfo) -> Resource {
    let mut attributes = Attributes::default();
    for (key, value) in &info.resource {
        attributes.add(key, any(value));
    }
    attributes.add(names::SERVICE_NAME, text(&unknown_service(&info.exe)));
    attributes.add(names::SERVICE_INSTANCE_ID, text(&uuid(session)));
    if info.pid != 0 {
        attributes.add(names::PROCESS_PID, int(u64::from(info.pid)));
    }
    if !info.exe.is_empty() {
        attributes.add(names::PROCESS_EXECUTABLE_PATH, text(&info.exe));
    }
    attributes.add(names::TELEMETRY_SDK_NAME, text(names::SCOPE));
    attributes.add(names::TELEMETRY_SDK_LANGUAGE, text("rust"));
    attributes.add(names::TELEMETRY_SDK_VERSION, text(names::VERSION));
    Resource { attributes: attributes.0, ..Resource::default() }
}

/// One span, or nothing when its trace is not sampled.
pub fn span(span: &FinishedSpan) -> Option<proto::Span> {
    if !span.ids.sampled {
        return None;
    }
    let cut = span.attributes.iter().filter(|attribute| attribute.cut.is_some()).count();
    Some(proto::Span {
        trace_id: span.ids.trace.0.to_be_bytes().to_vec(),
        span_id: span.ids.span.0.to_be_bytes().to_vec(),
        parent_span_id: span.ids.parent.map(|id| id.0.to_be_bytes().to_vec()).unwrap_or_default(),
        flags: flags(span.ids.parent_remote),
        name: span.name.to_string(),
        kind: kind(span.kind) as i32,
        start_time_unix_nano: span.start.0,
        end_time_unix_nano: span.end.max(span.start).0,
        attributes: attributes(span),
        dropped_attributes_count: span.dropped_attributes.saturating_add(cut as u32),
        dropped_events_count: span.dropped_events,
        dropped_links_count: span.dropped_links,
        events: span.events.iter().map(event).collect(),
        links: span.links.iter().map(|(trace, id)| link(trace.0, id.0)).collect(),
        status: status(span),
        ..proto::Span::default()
    })
}

/// A request of many services: one `ResourceSpans` for each.
pub fn request(
    services: impl IntoIterator<Item = (Resource, Vec<proto::Span>)>,
) -> ExportTraceServiceRequest {
    let resource_spans = services
        .into_iter()
        .filter(|(_, spans)| !spans.is_empty())
        .map(|(resource, spans)| ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans { scope: Some(scope()), spans, schema_url: SCHEMA_URL.into() }],
            schema_url: SCHEMA_URL.into(),
        })
        .collect();
    ExportTraceServiceRequest { resource_spans }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: names::SCOPE.into(),
        version: names::VERSION.into(),
        ..InstrumentationScope::default()
    }
}

/// Keys are unique in OTLP: the first value of a key stays.
#[derive(Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn add(&mut self, key: &str, value: AnyValue) {
        if self.0.iter().all(|known| known.key != key) {
            self.0.push(KeyValue { key: key.into(), value: Some(value), ..KeyValue::default() });
        }
    }

    fn location(&mut self, location: &Location) {
        if !location.file.is_empty() {
            self.add(names::CODE_FILE_PATH, text(&location.file));
        }
        if location.line > 0 {
            self.add(names::CODE_LINE_NUMBER, int(u64::from(location.line)));
        }
    }

    /// A flag that is only told when it is true.
    fn flag(&mut self, key: &str, value: bool) {
        if value {
            self.add(key, AnyValue { value: Some(any_value::Value::BoolValue(true)) });
        }
    }
}

/// pollscope's own numbers first (nothing may replace them), then the service's, then what is only a default.
fn attributes(span: &FinishedSpan) -> Vec<KeyValue> {
    let mut all = Attributes::default();
    all.add(names::BUSY, int(span.busy.0));
    all.add(names::SCHEDULED, int(span.scheduled.0));
    all.add(names::IDLE, int(span.idle.0));
    all.add(names::POLLS, int(span.polls));
    if let Some(task) = span.task {
        all.add(names::TASK_ID, int(task.0));
    }
    if span.held.0 > 0 {
        all.add(names::HELD, int(span.held.0));
    }
    all.flag(names::CANCELLED, span.cancelled);
    all.flag(names::DETACHED, span.detached);
    all.flag(names::INCOMPLETE, span.incomplete);
    all.flag(names::ESTIMATED, span.estimated);
    all.flag(names::UNFINISHED, span.unfinished);

    for attribute in &span.attributes {
        all.add(&attribute.key, any(&attribute.value));
    }

    let callsite = &span.callsite;
    if span.source == SpanSource::Code && !callsite.target.is_empty() && is_identifier(&callsite.name) {
        all.add(names::CODE_FUNCTION_NAME, text(&format!("{}::{}", callsite.target, callsite.name)));
    }
    all.location(&callsite.location);
    if !callsite.target.is_empty() {
        all.add(names::TARGET, text(&callsite.target));
    }
    let (thread, name) = &span.thread;
    if *thread != 0 {
        all.add(names::THREAD_ID, int(u64::from(*thread)));
    }
    if !name.is_empty() {
        all.add(names::THREAD_NAME, text(name));
    }
    all.0
}

fn event(event: &SpanEvent) -> proto::span::Event {
    let message = event.attributes.iter().find_map(|attribute| match &attribute.value {
        Value::Str(message) if &*attribute.key == names::MESSAGE && !message.is_empty() => Some(&**message),
        _ => None,
    });
    let has = |key: &str| event.attributes.iter().any(|attribute| &*attribute.key == key);
    let exception = message.is_none() && has(names::ERROR);
    let whole = match message {
        Some(message) => message,
        None if exception => names::EXCEPTION,
        None => &event.callsite.name,
    };
    let name = &whole[..whole.floor_char_boundary(EVENT_NAME_LIMIT)];
    let named_whole = message.is_some() && name.len() == whole.len();

    let cut = event.attributes.iter().filter(|each| each.cut.is_some()).count();
    let mut all = Attributes::default();
    for Attribute { key, value, .. } in &event.attributes {
        match &**key {
            names::MESSAGE if named_whole => {}
            names::ERROR if exception => all.add(names::EXCEPTION_MESSAGE, any(value)),
            key => all.add(key, any(value)),
        }
    }
    all.add(names::LEVEL, text(level(event.callsite.severity)));
    all.add(names::TARGET, text(&event.callsite.target));
    all.location(&event.callsite.location);
    proto::span::Event {
        time_unix_nano: event.at.0,
        name: name.into(),
        attributes: all.0,
        dropped_attributes_count: event.dropped_attributes.saturating_add(cut as u32),
    }
}

fn link(trace: u128, span: u64) -> proto::span::Link {
    proto::span::Link {
        trace_id: trace.to_be_bytes().to_vec(),
        span_id: span.to_be_bytes().to_vec(),
        ..proto::span::Link::default()
    }
}

fn status(span: &FinishedSpan) -> Option<proto::Status> {
    use proto::status::StatusCode;
    let code = match span.status {
        Status::Unset => StatusCode::Unset,
        Status::Ok => StatusCode::Ok,
        Status::Error => StatusCode::Error,
    };
    // A description is for errors only (specification, `SetStatus`).
    let message = match (&span.status_message, code) {
        (Some(message), StatusCode::Error) => message.to_string(),
        _ => String::new(),
    };
    (code != StatusCode::Unset).then_some(proto::Status { code: code as i32, message })
}

fn kind(kind: SpanKind) -> proto::span::SpanKind {
    match kind {
        SpanKind::Internal => proto::span::SpanKind::Internal,
        SpanKind::Server => proto::span::SpanKind::Server,
        SpanKind::Client => proto::span::SpanKind::Client,
        SpanKind::Producer => proto::span::SpanKind::Producer,
        SpanKind::Consumer => proto::span::SpanKind::Consumer,
    }
}

/// The W3C flags in the low byte (only sampled spans come here), then whether the parent is remote.
fn flags(parent_remote: bool) -> u32 {
    let remote = if parent_remote { SpanFlags::ContextIsRemoteMask as u32 } else { 0 };
    SAMPLED | SpanFlags::ContextHasIsRemoteMask as u32 | remote
}

/// Severity numbers of the model are those of OpenTelemetry; the words are those of `tracing`.
fn level(severity: u8) -> &'static str {
    match severity {
        0..=4 => "TRACE",
        5..=8 => "DEBUG",
        9..=12 => "INFO",
        13..=16 => "WARN",
        _ => "ERROR",
    }
}

fn any(value: &Value) -> AnyValue {
    let value = match value {
        Value::Str(value) => return text(value),
        Value::U64(value) => return int(*value),
        Value::I64(value) => any_value::Value::IntValue(*value),
        Value::F64(value) => any_value::Value::DoubleValue(*value),
        Value::Bool(value) => any_value::Value::BoolValue(*value),
    };
    AnyValue { value: Some(value) }
}

fn text(value: &str) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(value.into())) }
}

fn int(value: u64) -> AnyValue {
    match i64::try_from(value) {
        Ok(value) => AnyValue { value: Some(any_value::Value::IntValue(value)) },
        Err(_) => text(&value.to_string()),
    }
}

fn is_identifier(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first == '_' || first.is_alphabetic())
        && letters.all(|letter| letter == '_' || letter.is_alphanumeric())
}

fn unknown_service(exe: &str) -> String {
    match exe.rsplit(['/', '\\']).next() {
        Some(name) if !name.is_empty() => format!("unknown_service:{name}"),
        _ => "unknown_service".into(),
    }
}

/// The session's id as the UUID that the service itself makes of it (version 4, variant 1).
fn uuid(session: SessionId) -> String {
    let hex = format!("{:032x}", session.0 & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
#[path = "to_otlp_tests.rs"]
mod tests;
