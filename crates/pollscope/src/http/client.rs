//! The layer for clients: each request is a client span, and carries it to the server.

use super::context::write;
use super::names;
use crate::span::direct::DirectSpan;
use http::{Request, Response};
use pin_project_lite::pin_project;
use pollscope_wire::record::source;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tower_layer::Layer;
use tower_service::Service;

/// A tower layer that records each outgoing request as a client span and writes `traceparent`.
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
        DirectSpan::of_request(self.location, source::CLIENT, None, &names::of_client(request))
    }
}

impl<S, B, R> Service<Request<B>> for ClientService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
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
        let inner = {
            let _entered = span.enter();
            self.inner.call(request)
        };
        ClientFuture { inner: Some(inner), span }
    }
}

pin_project! {
    /// The response to come, within its client span.
    pub struct ClientFuture<F> {
        // Dropped within the span, as soon as it is over.
        #[pin]
        inner: Option<F>,
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
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { panic!("polled after it was over") };
        let entered = this.span.enter();
        let result = ready!(inner.poll(cx));
        this.inner.set(None);
        drop(entered);
        match &result {
            Ok(response) => {
                if let Some(version) = names::version(response.version()) {
                    this.span.record("network.protocol.version", version.into());
                }
                let status = response.status();
                let is_error = status.is_client_error() || status.is_server_error();
                names::record_status(this.span, status, is_error);
            }
            Err(_) => names::record_failure(this.span, std::any::type_name::<E>()),
        }
        Poll::Ready(result)
    }
}
