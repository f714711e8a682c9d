//! The body of a response: the span of its request goes on until all of it is sent.

use super::grpc::{self, Side};
use super::names;
use super::span::RequestSpan;
use super::state::Carried;
use bytes::Buf;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pin_project! {
    /// The body of a response, within the span of its request.
    pub struct ResponseBody<B> {
        // Dropped within the span.
        #[pin]
        inner: Option<B>,
        rest: Option<Rest>,
    }

    impl<B> PinnedDrop for ResponseBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let Some(rest) = this.rest.take() else { return };
            if rest.expected != Some(0) {
                rest.span.cancelled();
            }
            let _entered = rest.span.follow();
            this.inner.set(None);
        }
    }
}

impl<B> ResponseBody<B> {
    /// A body whose span is over already.
    pub(super) fn over(inner: B) -> ResponseBody<B> {
        ResponseBody { inner: Some(inner), rest: None }
    }
}

impl<B: fmt::Debug> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResponseBody").field(&self.inner).finish()
    }
}

/// What stays open as long as the body is sent.
pub(super) struct Rest {
    span: RequestSpan,
    _carried: Option<Carried>,
    /// Bytes to come, where that is known: after the last of them a server need not ask for the end.
    expected: Option<u64>,
    /// Whose status is still to come, and what there will be instead.
    grpc: Option<(Side, u32)>,
}

impl Rest {
    pub fn new(span: RequestSpan, carried: Option<Carried>) -> Rest {
        Rest { span, _carried: carried, expected: None, grpc: None }
    }

    /// The same for gRPC: how it went is told by what ends the response.
    pub fn of_grpc<B>(
        span: RequestSpan,
        carried: Option<Carried>,
        side: Side,
        response: &Response<B>,
    ) -> Rest {
        let missing = grpc::status_of_http(response.status());
        let mut rest = Rest { grpc: Some((side, missing)), ..Rest::new(span, carried) };
        rest.take_status(response.headers());
        rest
    }

    fn take_status(&mut self, headers: &HeaderMap) {
        if let Some((side, _)) = self.grpc
            && let Some(code) = grpc::status(headers)
        {
            grpc::record_status(&self.span, side, code);
            self.grpc = None;
        }
    }

    /// All of it was sent.
    fn end(self) {
        if let Some((side, missing)) = self.grpc {
            grpc::record_status(&self.span, side, missing);
        }
    }

    /// Goes on in the response's body, or is over where there is none to be sent.
    pub fn keep_in<B: Body>(mut self, response: Response<B>, is_head: bool) -> Response<ResponseBody<B>> {
        let sent = !is_head && has_body(response.status()) && !response.body().is_end_stream();
        self.expected = length(&response);
        let rest = if sent && self.span.is_recorded() {
            Some(self)
        } else {
            self.end();
            None
        };
        response.map(|inner| ResponseBody { inner: Some(inner), rest })
    }
}

/// Whether a response of this status is sent with its body.
fn has_body(status: StatusCode) -> bool {
    !status.is_informational() && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

fn length<B: Body>(response: &Response<B>) -> Option<u64> {
    let told = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    told.or_else(|| response.body().size_hint().exact())
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(mut inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let Some(rest) = this.rest else { return inner.poll_frame(cx) };
        let polled = {
            let _entered = rest.span.follow();
            ready!(inner.as_mut().poll_frame(cx))
        };
        let over = match &polled {
            None => true,
            Some(Err(_)) => {
                names::record_failure(&rest.span, std::any::type_name::<B::Error>());
                rest.grpc = None;
                true
            }
            Some(Ok(frame)) => {
                if let (Some(data), Some(expected)) = (frame.data_ref(), &mut rest.expected) {
                    *expected = expected.saturating_sub(data.remaining() as u64);
                }
                if let Some(trailers) = frame.trailers_ref() {
                    rest.take_status(trailers);
                }
                frame.is_trailers() || inner.is_end_stream()
            }
        };
        if over && let Some(rest) = this.rest.take() {
            rest.end();
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), B::size_hint)
    }
}
