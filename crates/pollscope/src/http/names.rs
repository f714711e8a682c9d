//! What is said of a request, as semantic conventions want it: few methods, no secrets.

use http::{Method, Uri};

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

/// The span's name, and the attribute `http.request.method`: the method, or stand-ins for one that is not known.
pub(super) fn method(method: &Method) -> (&str, &str) {
    if KNOWN.contains(method) { (method.as_str(), method.as_str()) } else { ("HTTP", "_OTHER") }
}

/// A request's whole address, without the password that may stand in it.
pub(super) fn full(uri: &Uri) -> String {
    let text = uri.to_string();
    let Some((_, host)) = uri.authority().and_then(|authority| authority.as_str().rsplit_once('@')) else {
        return text;
    };
    let Some((scheme, rest)) = text.split_once("://") else { return text };
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    format!("{scheme}://REDACTED:REDACTED@{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_told() {
        let told = |text: &str| full(&text.parse().unwrap());
        assert_eq!(told("http://me:secret@host:81/a?b=1"), "http://REDACTED:REDACTED@host:81/a?b=1");
        assert_eq!(told("http://host/a@b"), "http://host/a@b");
        assert_eq!(told("/a?to=me@host"), "/a?to=me@host");
    }

    #[test]
    fn a_made_up_method_is_one_of_the_others() {
        assert_eq!(method(&Method::GET), ("GET", "GET"));
        assert_eq!(method(&Method::from_bytes(b"BREW").unwrap()), ("HTTP", "_OTHER"));
    }
}
