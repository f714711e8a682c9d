//! W3C trace context: `traceparent` and `tracestate`.

use super::state::{Carried, state_of};
use crate::span::{RemoteParent, current};
use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The caller's span, as its headers name it. It may be the `parent` of `#[pollscope::instrument]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    pub(crate) parent: RemoteParent,
    pub(crate) state: Option<HeaderValue>,
}

impl Remote {
    /// Makes it the parent of a tracing span; call it before the span is entered or has children. While the span
    /// is open, its `tracestate` goes out with requests of this trace.
    #[cfg(feature = "tracing")]
    pub fn attach(&self, span: &tracing::Span) {
        crate::layer::attach(span, self.parent);
        if let Some(carried) = self.carried() {
            crate::layer::carry(span, carried);
        }
    }

    pub(super) fn carried(&self) -> Option<Carried> {
        self.state.clone().map(|state| Carried::new(self.parent.trace, state))
    }

    /// The trace id.
    pub fn trace_id(&self) -> u128 {
        self.parent.trace
    }

    /// The caller's span id.
    pub fn span_id(&self) -> u64 {
        self.parent.span
    }

    /// Its `tracestate`, to be passed on where neither the server's layer nor [`Remote::attach`] does it.
    pub fn state(&self) -> Option<&HeaderValue> {
        self.state.as_ref()
    }

    /// Whether the caller's trace is sampled.
    pub fn sampled(&self) -> bool {
        self.parent.sampled
    }
}

/// Reads the caller's span from its headers. `None`: there is none, it is not well formed, or `OTEL_PROPAGATORS`
/// is without trace context.
pub fn extract(headers: &HeaderMap) -> Option<Remote> {
    if !is_propagated() {
        return None;
    }
    let mut values = headers.get_all(TRACEPARENT).iter();
    let parent = parse(values.next()?.to_str().ok()?.trim())?;
    if values.next().is_some() {
        return None;
    }
    Some(Remote { parent, state: state(headers) })
}

/// Whether `OTEL_PROPAGATORS` has trace context among them.
fn is_propagated() -> bool {
    crate::state::global().is_none_or(|global| global.traces.propagated)
}

/// The members of all `tracestate` headers, which are one list.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(TRACESTATE).iter();
    let first = values.next()?;
    let rest: Vec<&HeaderValue> = values.collect();
    if rest.is_empty() {
        return Some(first.clone());
    }
    let all = rest.iter().fold(first.as_bytes().to_vec(), |mut all, next| {
        all.push(b',');
        all.extend_from_slice(next.as_bytes());
        all
    });
    HeaderValue::from_bytes(&all).ok()
}

/// Writes the current span into the headers of a request that goes out, and the `tracestate` that came with its
/// trace. A `traceparent` that stands there already is left alone, and so are all headers where there is no
/// current span.
pub fn inject(headers: &mut HeaderMap) {
    let current = current();
    if let (Some(trace), Some(span)) = (current.trace_id(), current.span_id()) {
        write(headers, trace, span, current.sampled());
    }
}

pub(crate) fn write(headers: &mut HeaderMap, trace: u128, span: u64, sampled: bool) {
    if headers.contains_key(TRACEPARENT) || !is_propagated() {
        return;
    }
    if !headers.contains_key(TRACESTATE)
        && let Some(state) = state_of(trace)
    {
        headers.insert(TRACESTATE, state);
    }
    let text = format!("00-{trace:032x}-{span:016x}-{:02x}", sampled as u8);
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(TRACEPARENT, value);
    }
}

fn parse(text: &str) -> Option<RemoteParent> {
    let lower = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lengths = (version.len(), trace.len(), span.len(), flags.len()) == (2, 32, 16, 2);
    if !lengths || ![version, trace, span, flags].into_iter().all(lower) || version == "ff" {
        return None;
    }
    // A later version may have more parts; this one has four.
    if version == "00" && parts.next().is_some() {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok()?;
    let span = u64::from_str_radix(span, 16).ok()?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    (trace != 0 && span != 0).then_some(RemoteParent { trace, span, sampled: flags & 1 == 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn parsed(text: &str) -> Option<RemoteParent> {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::try_from(text).unwrap());
        extract(&headers).map(|remote| remote.parent)
    }

    #[test]
    fn a_traceparent_reads_as_the_recommendation_says() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let expected = RemoteParent {
            trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            span: 0xb7ad_6b71_6920_3331,
            sampled: true,
        };
        assert_eq!(parsed(good), Some(expected));
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-what-ever";
        assert_eq!(parsed(later), Some(RemoteParent { sampled: false, ..expected }));
    }

    #[test]
    fn what_is_not_well_formed_is_no_parent() {
        for bad in [
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "",
        ] {
            assert_eq!(parsed(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn several_tracestates_are_one_list() {
        let mut headers = HeaderMap::new();
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        headers.insert(TRACEPARENT, HeaderValue::from_static(parent));
        headers.append(TRACESTATE, HeaderValue::from_static("a=1,b=2"));
        headers.append(TRACESTATE, HeaderValue::from_static("c=3"));
        assert_eq!(extract(&headers).unwrap().state.unwrap(), "a=1,b=2,c=3");
    }

    #[test]
    fn other_headers_are_not_touched() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("baggage", "a=1;p=2"), ("baggage", "b=%20"), ("b3", "0")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let before = headers.clone();
        write(&mut headers, 7, 9, true);
        assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1);
        headers.remove(TRACEPARENT);
        assert_eq!(headers, before);
    }

    #[test]
    fn what_is_written_reads_back_and_what_stands_there_stays() {
        let mut headers = HeaderMap::new();
        write(&mut headers, 7, 9, true);
        write(&mut headers, 8, 10, false);
        let remote = extract(&headers).unwrap();
        assert_eq!((remote.trace_id(), remote.span_id(), remote.sampled()), (7, 9, true));
    }
}
