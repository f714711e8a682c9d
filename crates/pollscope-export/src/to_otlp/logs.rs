//! Events as OTLP log records. What holds of span events holds here, but for the message, which is the body:
//!
//! - `target` and where the code stands are told unless the event has fields of these names; the level is the severity.
//! - An event with a field `error` and no message has no body, and the field is its `exception.message`.
//! - Logs are not sampled: a record of a trace that is not sampled goes out with the flags 0.

use super::{Attributes, SAMPLED, SCHEMA_URL, any, level, scope};
use crate::names;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use pollscope_model::span::Log;
use pollscope_model::time::UnixNanos;

/// One event as a log record; `observed`: when the agent saw it.
pub fn record(log: &Log, observed: UnixNanos) -> LogRecord {
    let event = &log.event;
    let has = |key: &str| event.attributes.iter().any(|attribute| &*attribute.key == key);
    let exception = has(names::ERROR) && !has(names::MESSAGE);
    let mut body = None;
    let mut all = Attributes::default();
    for attribute in &event.attributes {
        match &*attribute.key {
            names::MESSAGE if body.is_none() => body = Some(any(&attribute.value)),
            names::ERROR if exception => all.add(names::EXCEPTION_MESSAGE, any(&attribute.value)),
            key => all.add(key, any(&attribute.value)),
        }
    }
    let callsite = &event.callsite;
    if !callsite.target.is_empty() {
        all.add(names::TARGET, super::text(&callsite.target));
    }
    all.location(&callsite.location);
    let cut = event.attributes.iter().filter(|attribute| attribute.cut.is_some()).count();
    LogRecord {
        time_unix_nano: event.at.0,
        observed_time_unix_nano: observed.0,
        severity_number: i32::from(callsite.severity),
        severity_text: level(callsite.severity).into(),
        body,
        attributes: all.0,
        dropped_attributes_count: event.dropped_attributes.saturating_add(cut as u32),
        trace_id: log.ids.map(|ids| ids.trace.0.to_be_bytes().to_vec()).unwrap_or_default(),
        span_id: log.ids.map(|ids| ids.span.0.to_be_bytes().to_vec()).unwrap_or_default(),
        flags: log.ids.map_or(0, |ids| if ids.sampled { SAMPLED } else { 0 }),
        ..LogRecord::default()
    }
}

/// A request of many services: one `ResourceLogs` for each.
pub fn request(services: impl IntoIterator<Item = (Resource, Vec<LogRecord>)>) -> ExportLogsServiceRequest {
    let resource_logs = services
        .into_iter()
        .filter(|(_, records)| !records.is_empty())
        .map(|(resource, log_records)| ResourceLogs {
            resource: Some(resource),
            scope_logs: vec![ScopeLogs { scope: Some(scope()), log_records, schema_url: SCHEMA_URL.into() }],
            schema_url: SCHEMA_URL.into(),
        })
        .collect();
    ExportLogsServiceRequest { resource_logs }
}
