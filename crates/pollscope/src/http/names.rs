//! What is said of requests and responses, by the HTTP part of OpenTelemetry's semantic conventions 1.42: few
//! methods, no secrets.

use super::span::RequestSpan;
use crate::span::direct::FieldValue;
use http::header::{HOST, HeaderName, USER_AGENT};
use http::uri::Authority;
use http::{Method, Request, StatusCode, Uri, Version};
use std::borrow::Cow;

/// Attributes on their way.
pub(super) type Fields<'a> = Vec<(&'static str, FieldValue<'a>)>;

/// The values of these keys of a query are not told: those that the conventions list.
const SECRET: [&str; 5] =
    ["X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "sig", "X-Goog-Signature"];

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The methods that are told as they are.
const KNOWN: [Method; 9] = [
    Method::CONNECT,
    Method::DELETE,
    Method::GET,
    Method::HEAD,
    Method::OPTIONS,
    Method::PATCH,
    Method::POST,
    Method::PUT,
    Method::TRACE,
];

/// The name of a request's span and task. It must have few values: the route or nothing, never the path.
pub(super) fn name<B>(request: &Request<B>) -> Cow<'_, str> {
    let (name, _) = method(request.method());
    match route(request) {
        Some(route) => format!("{name} {route}").into(),
        None => name.into(),
    }
}

/// The route that a router found before it called the layer.
pub(super) fn route<B>(request: &Request<B>) -> Option<&str> {
    #[cfg(feature = "axum")]
    return request.extensions().get::<axum::extract::MatchedPath>().map(axum::extract::MatchedPath::as_str);
    #[cfg(not(feature = "axum"))]
    {
        let _ = request;
        None
    }
}

/// What a server span says of its request.
pub(super) fn of_server<'a, B>(request: &'a Request<B>, name: &'a str) -> Fields<'a> {
    let uri = request.uri();
    let mut fields = methods("server", name, request.method());
    if let Some(route) = route(request) {
        fields.push(("http.route", route.into()));
    }
    fields.push(("url.path", uri.path().into()));
    fields.push(("url.scheme", scheme(request).into()));
    if let Some(query) = uri.query() {
        fields.push(("url.query", FieldValue::Str(without_secrets(query))));
    }
    if let Some(version) = version(request.version()) {
        fields.push(("network.protocol.version", version.into()));
    }
    of_host(request, &mut fields);
    if let Some(agent) = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok()) {
        fields.push(("user_agent.original", agent.into()));
    }
    fields
}

/// What a client span says of its request.
pub(super) fn of_client<B>(request: &Request<B>) -> Fields<'_> {
    let uri = request.uri();
    let (name, _) = method(request.method());
    let mut fields = methods("client", name, request.method());
    fields.push(("url.full", full(uri).into()));
    of_server_asked(uri, &mut fields);
    fields
}

/// The server that a client asks.
pub(super) fn of_server_asked<'a>(uri: &'a Uri, fields: &mut Fields<'a>) {
    if let Some(host) = uri.host() {
        fields.push(("server.address", without_brackets(host).into()));
        let port = uri.port_u16().or(match uri.scheme_str() {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        });
        if let Some(port) = port {
            fields.push(("server.port", port.into()));
        }
    }
}

/// The host that a server was asked for: `:authority`, else `Host`.
pub(super) fn of_host<'a, B>(request: &'a Request<B>, fields: &mut Fields<'a>) {
    let (host, port) = match request.uri().authority() {
        Some(authority) => (Cow::Borrowed(without_brackets(authority.host())), authority.port_u16()),
        None => {
            let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
            let Some(host) = host.and_then(|host| host.parse::<Authority>().ok()) else { return };
            (Cow::Owned(without_brackets(host.host()).to_owned()), host.port_u16())
        }
    };
    fields.push(("server.address", FieldValue::Str(host)));
    if let Some(port) = port {
        fields.push(("server.port", port.into()));
    }
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn methods<'a>(kind: &'static str, name: &'a str, told: &'a Method) -> Fields<'a> {
    let (_, known) = method(told);
    let mut fields = Vec::with_capacity(14);
    fields.push(("otel.name", name.into()));
    fields.push(("otel.kind", kind.into()));
    fields.push(("http.request.method", known.into()));
    if known != told.as_str() {
        fields.push(("http.request.method_original", told.as_str().into()));
    }
    fields
}

/// What the client used, as far as headers tell: HTTP/1 over TLS without a proxy looks like plain `http`.
fn scheme<B>(request: &Request<B>) -> &str {
    let forwarded = request.headers().get(FORWARDED_PROTO).and_then(|proto| proto.to_str().ok());
    let known = |proto: &&str| matches!(*proto, "http" | "https");
    forwarded.filter(known).or(request.uri().scheme_str()).unwrap_or("http")
}

pub(super) fn version(version: Version) -> Option<&'static str> {
    Some(match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => return None,
    })
}

/// Records how it went by the response's status; `is_error` where the conventions see one.
pub(super) fn record_status(span: &RequestSpan, status: StatusCode, is_error: bool) {
    span.record("http.response.status_code", status.as_u16().into());
    if is_error {
        record_failure(span, status.as_str());
    }
}

/// Records an error by its type.
pub(super) fn record_failure(span: &RequestSpan, what: &str) {
    span.fail();
    span.record("error.type", what.into());
}

/// What stands for it in a name, and the attribute `http.request.method`: the method, or stand-ins for one that is not known.
pub(super) fn method(method: &Method) -> (&str, &str) {
    if KNOWN.contains(method) { (method.as_str(), method.as_str()) } else { ("HTTP", "_OTHER") }
}

/// A request's whole address, without the secrets that may stand in it.
fn full(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", Authority::as_str);
    let mut text = uri.scheme_str().map_or(String::new(), |scheme| format!("{scheme}://"));
    match authority.rsplit_once('@') {
        Some((_, host)) => text.extend(["REDACTED:REDACTED@", host]),
        None => text.push_str(authority),
    }
    // The path of `*` and of an authority alone is not told as `/`.
    text.push_str(uri.path_and_query().map_or("", |_| uri.path()));
    if let Some(query) = uri.query() {
        text.push('?');
        text.push_str(&without_secrets(query));
    }
    text
}

fn without_secrets(query: &str) -> Cow<'_, str> {
    let is_secret = |pair: &str| pair.split_once('=').is_some_and(|(key, _)| SECRET.contains(&key));
    if !query.split('&').any(is_secret) {
        return query.into();
    }
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((key, _)) if SECRET.contains(&key) => format!("{key}=REDACTED"),
        _ => pair.to_owned(),
    });
    pairs.collect::<Vec<_>>().join("&").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_told() {
        let told = |text: &str| full(&text.parse().unwrap());
        assert_eq!(told("http://me:secret@host:81/a?b=1"), "http://REDACTED:REDACTED@host:81/a?b=1");
        assert_eq!(told("http://host/a@b"), "http://host/a@b");
        assert_eq!(told("/a?to=me@host"), "/a?to=me@host");
        assert_eq!(told("host:443"), "host:443");
        assert_eq!(told("http://host/a?b=1&sig=secret&c"), "http://host/a?b=1&sig=REDACTED&c");
        assert_eq!(without_secrets("Sig=told"), "Sig=told");
    }

    fn told_of(request: &Request<()>) -> Vec<(&'static str, String)> {
        let text = |value: &FieldValue<'_>| match value {
            FieldValue::Str(text) => text.to_string(),
            other => format!("{other:?}"),
        };
        of_server(request, "GET").iter().skip(3).map(|(key, value)| (*key, text(value))).collect()
    }

    #[test]
    fn a_server_is_known_by_its_authority_or_its_host() {
        let request = Request::get("/a").header("host", "[::1]:81").header("x-forwarded-proto", "https");
        let expected = [
            ("url.path", "/a"),
            ("url.scheme", "https"),
            ("network.protocol.version", "1.1"),
            ("server.address", "::1"),
            ("server.port", "U64(81)"),
        ];
        assert_eq!(told_of(&request.body(()).unwrap()), expected.map(|(key, text)| (key, text.to_owned())));
        let request = Request::get("https://shop/a?b").version(Version::HTTP_2).header("host", "no");
        let expected = [
            ("url.path", "/a"),
            ("url.scheme", "https"),
            ("url.query", "b"),
            ("network.protocol.version", "2"),
            ("server.address", "shop"),
        ];
        assert_eq!(told_of(&request.body(()).unwrap()), expected.map(|(key, text)| (key, text.to_owned())));
    }

    #[test]
    fn a_made_up_method_is_one_of_the_others() {
        assert_eq!(method(&Method::GET), ("GET", "GET"));
        assert_eq!(method(&Method::from_bytes(b"BREW").unwrap()), ("HTTP", "_OTHER"));
    }
}
