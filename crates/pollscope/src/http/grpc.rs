//! gRPC, by the RPC part of the same conventions: requests are named by their method, and how they went is told by
//! a status that comes last, in trailers, or in the headers where there is nothing else.

use super::names::{self, Fields};
use super::span::RequestSpan;
use crate::recorder::Mix;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, StatusCode};
use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

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

/// Methods that a table has room for: clients make them up, and names are kept for the life of the process.
const METHODS: usize = 128;
/// Methods that a service has answered to.
static SERVED: Methods = Methods::new();
/// Those that were seen before anybody had: whoever makes up more takes no name from one that exists.
static TRIED: Methods = Methods::new();

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

/// Methods that names are made of: added and never removed, so that finding one takes no lock.
struct Methods {
    places: [OnceLock<Box<str>>; METHODS],
}

impl Methods {
    const fn new() -> Methods {
        Methods { places: [const { OnceLock::new() }; METHODS] }
    }

    /// The places where it may stand: from its own one on.
    fn places(&self, method: &str) -> impl Iterator<Item = &OnceLock<Box<str>>> {
        let mut hasher = Mix::default().build_hasher();
        hasher.write(method.as_bytes());
        let (before, from) = self.places.split_at(hasher.finish() as usize % METHODS);
        from.iter().chain(before)
    }

    fn has(&self, method: &str) -> bool {
        self.places(method).map_while(OnceLock::get).any(|known| **known == *method)
    }

    /// Whether it has it now: there may be no room.
    fn add(&self, method: &str) -> bool {
        self.places(method).any(|place| **place.get_or_init(|| method.into()) == *method)
    }
}

/// What a request is named by before it is answered: its method, or what stands for one too many.
pub(super) fn name(method: &str) -> &str {
    if SERVED.has(method) || TRIED.add(method) { method } else { "grpc" }
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
    if served {
        SERVED.add(method);
    }
    if served || SERVED.has(method) {
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
    use std::collections::HashSet;

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
            (0..3 * METHODS).map(|n| name(&format!("made.Up/{n}")).to_owned()).collect();
        // What other tests tried is among them.
        assert!(names.len() <= METHODS + 1 && names.contains("grpc"), "{}", names.len());
        let again: HashSet<String> =
            (0..3 * METHODS).map(|n| name(&format!("made.Up/{n}")).to_owned()).collect();
        assert_eq!(names, again);
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
    }

    #[test]
    fn a_table_of_methods_has_what_was_added_until_it_is_full() {
        static TABLE: Methods = Methods::new();
        let methods: Vec<String> = (0..METHODS).map(|n| format!("a.Real/Method{n}")).collect();
        for (n, method) in methods.iter().enumerate() {
            assert!(!TABLE.has(method) && TABLE.add(method) && TABLE.add(method), "{n}");
            assert!(methods[..=n].iter().all(|method| TABLE.has(method)), "{n}");
        }
        assert!(!TABLE.add("a.Real/Other") && !TABLE.has("a.Real/Other"));
        assert!(methods.iter().all(|method| TABLE.has(method)));
    }

    #[test]
    fn threads_that_add_the_same_methods_agree() {
        static TABLE: Methods = Methods::new();
        let add = || (0..2 * METHODS).filter(|n| TABLE.add(&format!("a.Real/{n}"))).collect::<Vec<_>>();
        let kept: Vec<Vec<usize>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(add)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(kept[0].len(), METHODS);
        assert!(kept.iter().all(|one| *one == kept[0]), "{kept:?}");
    }
}
