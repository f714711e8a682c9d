//! gRPC, by the RPC part of the same conventions: requests are named by their method, and how they went is told by
//! a status that comes last, in trailers, or in the headers where there is nothing else.

use super::names::{self, Fields};
use super::span::RequestSpan;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, StatusCode};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// Names of the status codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
const UNIMPLEMENTED: u32 = 12;

/// Methods that requests are named by, at most: clients make them up, and names are kept for the life of the process.
const METHODS: usize = 256;
/// Of these, so many that no service has answered to. Whoever makes up more takes no name from one that exists.
const UNPROVEN: usize = 128;

/// Who a span is of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
}

/// `package.Service/Method`, if it is a request of gRPC.
pub(super) fn method<B>(request: &Request<B>) -> Option<&str> {
    let rest = request.headers().get(CONTENT_TYPE)?.as_bytes().strip_prefix(b"application/grpc")?;
    // gRPC-Web, which begins like it, has its status elsewhere.
    if !matches!(rest.first(), None | Some(b'+' | b';')) {
        return None;
    }
    let path = request.uri().path().strip_prefix('/')?;
    path.split_once('/').filter(|(service, method)| !service.is_empty() && !method.is_empty())?;
    Some(path)
}

/// What a server span says of its request; its method is told when it is known to be one.
pub(super) fn of_server<'a, B>(request: &'a Request<B>, method: &'a str) -> Fields<'a> {
    let mut fields = system("server", method);
    names::of_host(request, &mut fields);
    fields
}

/// What a client span says of its request.
pub(super) fn of_client<'a, B>(request: &'a Request<B>, method: &'a str) -> Fields<'a> {
    let mut fields = system("client", method);
    fields.push(("rpc.method", method.into()));
    names::of_server_asked(request.uri(), &mut fields);
    fields
}

fn system<'a>(kind: &'static str, name: &'a str) -> Fields<'a> {
    vec![("otel.name", name.into()), ("otel.kind", kind.into()), ("rpc.system.name", "grpc".into())]
}

/// Methods that names are made of.
#[derive(Default)]
struct Known {
    /// A service has answered to them.
    served: HashSet<Box<str>>,
    /// Seen before anybody had.
    tried: HashSet<Box<str>>,
}

fn known() -> MutexGuard<'static, Known> {
    static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Default::default);
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Known {
    /// Whether requests may be named by it.
    fn names(&mut self, method: &str) -> bool {
        self.served.contains(method)
            || self.tried.contains(method)
            || self.tried.len() < UNPROVEN && self.tried.insert(method.into())
    }

    fn serves(&mut self, method: &str) {
        if self.served.len() < METHODS - UNPROVEN && !self.served.contains(method) {
            self.served.insert(method.into());
        }
    }
}

/// What a request is named by before it is answered: its method, or what stands for one too many.
pub(super) fn name(method: &str) -> &str {
    if known().names(method) { method } else { "grpc" }
}

/// What `rpc.method` says of a method that may be made up: it, or a stand-in and the original.
#[cfg(feature = "tower-http")]
pub(super) fn untold(method: &str) -> [(&'static str, &str); 2] {
    match name(method) == method {
        true => [("rpc.method", method), ("rpc.method_original", "")],
        false => [("rpc.method", "_OTHER"), ("rpc.method_original", method)],
    }
}

/// Tells the method of a request served, once the head of its response is there. `None`: there is none.
pub(super) fn record_method(span: &RequestSpan, method: &str, response: Option<&HeaderMap>) {
    // Nothing but this status: the service does not know the method.
    let served = response.is_some_and(|response| status(response) != Some(UNIMPLEMENTED));
    let is_known = {
        let mut known = known();
        if served {
            known.serves(method);
        }
        served || known.served.contains(method)
    };
    if is_known {
        if span.is_named_by_us() {
            span.record("otel.name", method.into());
        }
        span.record("rpc.method", method.into());
    } else {
        if span.is_named_by_us() {
            span.record("otel.name", "grpc".into());
        }
        span.record("rpc.method", "_OTHER".into());
        span.record("rpc.method_original", method.into());
    }
}

/// The status in trailers or headers.
pub(super) fn status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// What a response without a status of gRPC stands for.
pub(super) fn status_of_http(status: StatusCode) -> u32 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => UNIMPLEMENTED,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// Records how it went.
pub(super) fn record_status(span: &RequestSpan, side: Side, code: u32) {
    let name = CODES.get(code as usize).map_or_else(|| Cow::from(code.to_string()), |name| Cow::from(*name));
    span.record("rpc.response.status_code", (&*name).into());
    if is_error(side, code) {
        names::record_failure(span, &name);
    }
}

/// A server answers for its own failures only.
fn is_error(side: Side, code: u32) -> bool {
    match side {
        Side::Server => matches!(code, 2 | 4 | UNIMPLEMENTED | 13..=15),
        Side::Client => code != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_of_grpc_by_its_content() {
        let told = |content: &str, path: &str| {
            let request = Request::post(path).header(CONTENT_TYPE, content).body(()).unwrap();
            method(&request).map(str::to_owned)
        };
        for content in ["application/grpc", "application/grpc+proto", "application/grpc;a=b"] {
            assert_eq!(told(content, "/a.B/C").as_deref(), Some("a.B/C"), "{content}");
        }
        for content in ["application/grpc-web", "application/grpcs", "text/plain"] {
            assert_eq!(told(content, "/a.B/C"), None, "{content}");
        }
        assert_eq!((told("application/grpc", "/a"), told("application/grpc", "/a/")), (None, None));
    }

    #[test]
    fn a_server_is_at_fault_by_some_codes_and_a_client_fails_by_all_but_one() {
        let at_fault = |side| (0..17).filter(|code| is_error(side, *code)).collect::<Vec<_>>();
        let names: Vec<&str> = at_fault(Side::Server).iter().map(|code| CODES[*code as usize]).collect();
        let expected =
            ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];
        assert_eq!(names, expected);
        assert_eq!(at_fault(Side::Client), (1..17).collect::<Vec<_>>());
    }

    #[test]
    fn requests_have_few_names_and_those_of_methods_that_exist_stay() {
        let names: HashSet<String> =
            (0..2 * METHODS).map(|n| name(&format!("made.Up/{n}")).to_owned()).collect();
        assert!(names.len() <= UNPROVEN + 1 && names.contains("grpc"), "{}", names.len());
        assert_eq!(name("a.Real/Method"), "grpc", "so many were made up before");
        #[cfg(feature = "tower-http")]
        assert_eq!(
            untold("a.Real/Method"),
            [("rpc.method", "_OTHER"), ("rpc.method_original", "a.Real/Method")]
        );
        record_method(&RequestSpan::NONE, "a.Real/Method", Some(&HeaderMap::new()));
        assert_eq!(name("a.Real/Method"), "a.Real/Method", "but it was answered to");
        let refused = HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            http::HeaderValue::from_static("12"),
        )]);
        record_method(&RequestSpan::NONE, "made.Up/Last", Some(&refused));
        record_method(&RequestSpan::NONE, "made.Up/Last", None);
        assert_eq!(name("made.Up/Last"), "grpc");
        (0..2 * METHODS).for_each(|n| known().serves(&format!("a.Real/{n}")));
        assert!(known().served.len() <= METHODS - UNPROVEN);
    }
}
