//! What a backend made of a request, and which failures may be tried again.
//!
//! The rules are those of the OTLP specification: gRPC codes and HTTP statuses that pass are retried, with the
//! delay that the server asks for (`RetryInfo`, `Retry-After`); everything else would fail again and is final.

use crate::signal::Signal;
use http::StatusCode;
use http::header::{HeaderMap, RETRY_AFTER};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use std::time::{Duration, SystemTime};
use thiserror::Error;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

/// The longest delay that a server's hint may ask for: beyond it, a wrong clock is likelier than a plan.
pub const LONGEST_HINT: Duration = Duration::from_secs(600);

/// What became of one request.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum Answer {
    /// All of it was taken.
    Accepted,
    /// It was taken but for `rejected` spans or log records, which must not be sent again. With 0 it is a warning only.
    Partial {
        /// How many were not taken.
        rejected: u64,
        /// The server's words.
        message: String,
    },
    /// It may succeed later.
    Retry {
        /// The least delay that the server asked for.
        after: Option<Duration>,
        /// Why it failed now.
        error: SendError,
    },
    /// It would fail again.
    Refused(SendError),
}

/// Why a request failed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("cannot send {} to {endpoint}: {why}; {fix}", signal.items())]
pub struct SendError {
    /// What was sent.
    pub signal: Signal,
    /// Where it was sent to.
    pub endpoint: String,
    /// Why it failed.
    pub why: String,
    /// What to do.
    pub fix: &'static str,
}

/// A 2xx over HTTP, or OK over gRPC. A response of the logs service is read as one of the trace service: both have
/// the same fields under the same numbers, `rejected_log_records` as `rejected_spans`.
pub(crate) fn accepted(response: ExportTraceServiceResponse) -> Answer {
    let partial = response.partial_success.unwrap_or_default();
    let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0);
    let message = shortened(&partial.error_message);
    if rejected > 0 || !message.is_empty() { Answer::Partial { rejected, message } } else { Answer::Accepted }
}

/// Any other status over HTTP.
pub(crate) fn http_failure(
    signal: Signal,
    endpoint: String,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    packed: bool,
    now: SystemTime,
) -> Answer {
    let mut why = format!("the server answered {status}");
    if let Some(told) = told_in(headers, body) {
        why.push_str(": ");
        why.push_str(&told);
    }
    let fix = match status.as_u16() {
        401 | 403 => FIX_CREDENTIALS,
        400 | 415 if packed => {
            "see the backend's log, or try OTEL_EXPORTER_OTLP_COMPRESSION=none: not every backend takes gzip"
        }
        404 | 405 | 415 if signal == Signal::Logs => FIX_NO_LOGS,
        404 | 405 | 415 => "check the path of the endpoint (usually /v1/traces) and the protocol",
        413 => "send smaller batches, or gzip by OTEL_EXPORTER_OTLP_COMPRESSION=gzip",
        429 | 502..=504 => "it is tried again; look at the backend if this stays",
        300..=399 => "name the endpoint it moved to",
        _ => "see the backend's log for what it did not like",
    };
    let error = SendError { signal, endpoint, why, fix };
    match status.as_u16() {
        429 | 502..=504 => Answer::Retry { after: retry_after(headers, now), error },
        _ => Answer::Refused(error),
    }
}

const FIX_NO_LOGS: &str = "name an endpoint that takes logs by OTEL_EXPORTER_OTLP_LOGS_ENDPOINT, or leave events in \
                           their spans by --events span";
const FIX_CREDENTIALS: &str = "check the credentials in OTEL_EXPORTER_OTLP_HEADERS";

/// An HTTP answer where one by gRPC should have come: of a proxy before the backend, or of another service.
pub(crate) fn no_grpc(
    signal: Signal,
    endpoint: String,
    status: StatusCode,
    headers: &HeaderMap,
    now: SystemTime,
) -> Answer {
    let why = format!("the server answered {status} by plain HTTP, not by gRPC");
    // gRPC's own mapping of HTTP statuses has these four as UNAVAILABLE.
    match status.as_u16() {
        429 | 502..=504 => {
            let fix = "it is tried again; look at the backend and the proxy before it if this stays";
            Answer::Retry {
                after: retry_after(headers, now),
                error: SendError { signal, endpoint, why, fix },
            }
        }
        _ => {
            let fix =
                "check that this port takes gRPC; for HTTP set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf";
            Answer::Refused(SendError { signal, endpoint, why, fix })
        }
    }
}

/// The status that a gRPC server sent, if one is there.
pub(crate) fn grpc_status(headers: &HeaderMap) -> Option<Status> {
    const DETAILS: &str = "grpc-status-details-bin";
    let mut metadata = MetadataMap::from_headers(headers.clone());
    // tonic panics at details that are no base64.
    if metadata.get_bin(DETAILS).is_some_and(|details| details.to_bytes().is_err()) {
        metadata.remove_bin(DETAILS);
    }
    Status::from_header_map(&metadata.into_headers())
}

/// A gRPC status other than OK.
pub(crate) fn grpc_failure(signal: Signal, endpoint: String, status: &Status) -> Answer {
    let after = retry_info(status.details());
    let fix = match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => FIX_CREDENTIALS,
        Code::Unimplemented if signal == Signal::Logs => FIX_NO_LOGS,
        Code::Unimplemented => {
            "check that this port takes OTLP traces by gRPC, or set OTEL_EXPORTER_OTLP_PROTOCOL"
        }
        Code::ResourceExhausted if after.is_none() => {
            "send smaller batches, or raise what the backend takes in one message"
        }
        code if passes(code, after) => "it is tried again; look at the backend if this stays",
        _ => "see the backend's log for what it did not like",
    };
    let why = match status.message() {
        "" => format!("the server answered {:?}", status.code()),
        message => format!("the server answered {:?}: {}", status.code(), shortened(message)),
    };
    let error = SendError { signal, endpoint, why, fix };
    if passes(status.code(), after) { Answer::Retry { after, error } } else { Answer::Refused(error) }
}

/// The retryable codes of the specification; an exhausted resource only when the server says that it recovers.
fn passes(code: Code, after: Option<Duration>) -> bool {
    match code {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted => after.is_some(),
        _ => false,
    }
}

/// `Retry-After`: seconds or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let delay = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(delay.min(LONGEST_HINT))
}

/// The delay in a `google.rpc.RetryInfo` among a status' details; none if it is zero or absent.
fn retry_info(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let info = status.details.iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay?;
    let delay =
        Duration::new(u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?.min(999_999_999));
    (!delay.is_zero()).then_some(delay.min(LONGEST_HINT))
}

/// The server's own words in an error body, if it is readable.
fn told_in(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let told = if kind.starts_with("application/x-protobuf") {
        RpcStatus::decode(body).ok()?.message
    } else if kind.starts_with("text/plain") || kind.starts_with("application/json") {
        String::from_utf8_lossy(body).into_owned()
    } else {
        return None;
    };
    let told = shortened(&told);
    (!told.is_empty()).then_some(told)
}

/// One line that fits a terminal: the server's text is not ours to trust.
fn shortened(text: &str) -> String {
    const LINE: usize = 300;
    let line: String = text.trim().chars().take(LINE).map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.trim().to_owned()
}

/// `google.rpc.Status`, as much as is used here.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<RpcAny>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RpcAny {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(crate) retry_delay: Option<RpcDuration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct RpcDuration {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
