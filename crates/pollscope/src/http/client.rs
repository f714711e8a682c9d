//! The layer for clients: each request is a client span, and carries it to the server.

use super::body::{ResponseBody, Rest};
use super::context::write;
use super::grpc::{self, Side};
use super::names;
use super::span::RequestSpan;
use crate::span::direct::DirectSpan;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use pollscope_wire::record::source;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tower_layer::Layer;
use tower_service::Service;

/// A tower layer that records each outgoing request as a client span and writes `traceparent`.
///
/// The span ends with the head of the response; that of a gRPC request with its trailers, where its status is.
///
/// It goes around any tower service of `http` requests: hyper-util's clients, tonic's channels. reqwest has types of its
/// own, which convert:
///
/// ```ignore
/// let client = reqwest::Client::new();
/// let client = ClientLayer::new().layer(tower::service_fn(move |request: http::Request<reqwest::Body>| {
///     let client = client.clone();
///     async move { client.execute(request.try_into()?).await.map(http::Response::<reqwest::Body>::from) }
/// }));
/// ```
///
/// Or [`inject`](crate::http::inject) writes the current span into the headers of its `Request`.
#[derive(Clone, Copy, Debug)]
pub struct ClientLayer {
    location: &'static Location<'static>,
}

impl ClientLayer {
    /// The layer; requests are shown as made where this is called.
    #[track_caller]
    pub fn new() -> ClientLayer {
        ClientLayer { location: Location::caller() }
    }
}

impl Default for ClientLayer {
    #[track_caller]
    fn default() -> Self {
        ClientLayer::new()
    }
}

impl<S> Layer<S> for ClientLayer {
    type Service = ClientService<S>;

    fn layer(&self, inner: S) -> ClientService<S> {
        ClientService { inner, location: self.location }
    }
}

/// A client whose requests are recorded: what [`ClientLayer`] makes.
#[derive(Clone, Debug)]
pub struct ClientService<S> {
    inner: S,
    location: &'static Location<'static>,
}

impl<S> ClientService<S> {
    fn span<B>(&self, request: &Request<B>) -> DirectSpan {
        if !crate::state::is_recording() {
            return DirectSpan::NONE;
        }
        let fields = match grpc::method(request) {
            Some(method) => grpc::of_client(request, method),
            None => names::of_client(request),
        };
        DirectSpan::of_request(self.location, source::CLIENT, None, &fields)
    }
}

impl<S, B, R> Service<Request<B>> for ClientService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ClientFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> ClientFuture<S::Future> {
        let span = self.span(&request);
        if let Some(context) = span.context() {
            write(request.headers_mut(), context.trace, context.span, context.sampled);
        }
        let grpc = span.is_recorded() && grpc::method(&request).is_some();
        let inner = {
            let _entered = span.enter();
            self.inner.call(request)
        };
        ClientFuture { inner: Some(inner), grpc, span }
    }
}

pin_project! {
    /// The response to come, within its client span.
    pub struct ClientFuture<F> {
        // Dropped within the span, as soon as it is over.
        #[pin]
        inner: Option<F>,
        grpc: bool,
        span: DirectSpan,
    }

    impl<F> PinnedDrop for ClientFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.inner.is_some() {
                this.span.cancelled();
                let _entered = this.span.enter();
                this.inner.set(None);
            }
        }
    }
}

impl<F, R, E> Future for ClientFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { panic!("polled after it was over") };
        let entered = this.span.enter();
        let result = ready!(inner.poll(cx));
        this.inner.set(None);
        drop(entered);
        let span = RequestSpan::Own(std::mem::replace(this.span, DirectSpan::NONE));
        Poll::Ready(match result {
            Ok(response) if *this.grpc => {
                Ok(Rest::of_grpc(span, None, Side::Client, &response).keep_in(response, false))
            }
            Ok(response) => {
                if let Some(version) = names::version(response.version()) {
                    span.record("network.protocol.version", version.into());
                }
                let status = response.status();
                let is_error = status.is_client_error() || status.is_server_error();
                names::record_status(&span, status, is_error);
                Ok(response.map(ResponseBody::over))
            }
            Err(error) => {
                names::record_failure(&span, std::any::type_name::<E>());
                Err(error)
            }
        })
    }
}
