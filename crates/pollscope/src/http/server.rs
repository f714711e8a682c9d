//! The layer for servers: each request is a task inside its connection's, and a server span.

use super::around::Around;
use super::body::{ResponseBody, Rest};
use super::context::{Remote, extract};
use super::grpc::{self, Side};
use super::names;
use super::span::RequestSpan;
use super::state::Carried;
use crate::span::direct::DirectSpan;
use crate::task::{Birth, Recorded, Within};
use http::{Method, Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use pollscope_wire::record::{source, task_kind};
use std::borrow::Cow;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use tower_layer::Layer;
use tower_service::Service;

/// A tower layer that records each request as a task and a server span, child of its caller's.
///
/// Requests of gRPC are named by their method, and their status is that of gRPC.
///
/// Where a server span of `tracing` is open around the request (a field `otel.kind = "server"`, recorded by
/// [`layer`](crate::layer())), that is the request's span, and no second one is opened.
///
/// Where another of these layers is around it, both record one request: that of the outer one, which the inner one
/// tells of the route.
///
/// The task ends with the head of the response. The span ends with its body, whether that is sent to its end,
/// fails or is dropped before; the body is polled by the task of the connection.
///
/// With the feature `axum`, added by `Router::layer`, it names both after the route: `GET /users/{id}`.
#[derive(Clone, Copy, Debug)]
pub struct ServerLayer {
    location: &'static Location<'static>,
}

impl ServerLayer {
    /// The layer; requests are shown as spawned where this is called.
    #[track_caller]
    pub fn new() -> ServerLayer {
        ServerLayer { location: Location::caller() }
    }
}

impl Default for ServerLayer {
    #[track_caller]
    fn default() -> Self {
        ServerLayer::new()
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = ServerService<S>;

    fn layer(&self, inner: S) -> ServerService<S> {
        ServerService { inner, location: self.location }
    }
}

/// A service whose requests are recorded: what [`ServerLayer`] makes.
#[derive(Clone, Debug)]
pub struct ServerService<S> {
    inner: S,
    location: &'static Location<'static>,
}

impl<S> ServerService<S> {
    /// The request's span: the one that is open around it, else a new one.
    fn span<B>(
        &self,
        request: &Request<B>,
        remote: Option<Remote>,
        grpc: Option<&str>,
        name: &str,
    ) -> RequestSpan {
        if !crate::state::is_recording() {
            return RequestSpan::NONE;
        }
        let fields = match grpc {
            Some(method) => grpc::of_server(request, method),
            None => names::of_server(request, name),
        };
        if let Some(around) = Around::find(remote.as_ref()) {
            return RequestSpan::around(around, &fields);
        }
        let parent = remote.map(|remote| remote.parent);
        RequestSpan::Own(DirectSpan::of_request(self.location, source::SERVER, parent, &fields))
    }
}

impl<S, B, R> Service<Request<B>> for ServerService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ServerFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> ServerFuture<S::Future> {
        if let Some(served) = request.extensions().get::<Served>() {
            served.tell_route(&request);
            let inner = Spanned::unrecorded(self.inner.call(request));
            return ServerFuture { inner: Polled::Within { inner } };
        }
        let remote = extract(request.headers());
        let recording = crate::state::is_recording();
        let grpc = recording.then(|| grpc::method(&request)).flatten();
        let name = match grpc {
            Some(method) => Cow::from(method),
            None if recording => names::name(&request),
            None => Cow::from(""),
        };
        let carried = remote.as_ref().and_then(Remote::carried);
        let span = self.span(&request, remote, grpc, &name);
        let name = grpc.map_or(name, |method| grpc::name(method).into()).into_owned();
        let grpc = grpc.filter(|_| span.is_recorded()).map(Box::from);
        let is_head = request.method() == Method::HEAD;
        let served = span.is_recorded().then(Served::default);
        if let Some(served) = &served {
            request.extensions_mut().insert(served.clone());
        }
        let inner = span.as_current(|| self.inner.call(request));
        let spanned = Spanned { inner: Some(inner), is_head, grpc, span, carried, served };
        let birth = Birth {
            kind: task_kind::REQUEST,
            name: &name,
            location: self.location,
            within: Within::Child,
            on: None,
        };
        ServerFuture { inner: Polled::AsTask { inner: Recorded::unborn(spanned, birth, None) } }
    }
}

/// In the extensions of a request that has its server span: where a layer further in tells the route.
#[derive(Clone, Default)]
pub(super) struct Served {
    /// The name with the route, and the route.
    route: Arc<OnceLock<(Box<str>, Box<str>)>>,
}

impl Served {
    fn tell_route<B>(&self, request: &Request<B>) {
        if let Some(route) = names::route(request) {
            self.route.get_or_init(|| (names::name(request).into(), route.into()));
        }
    }
}

pin_project! {
    /// The response to come, recorded as a task.
    pub struct ServerFuture<F> {
        #[pin]
        inner: Polled<F>,
    }
}

pin_project! {
    /// How it is polled.
    #[project = PolledPinned]
    enum Polled<F> {
        AsTask {
            #[pin]
            inner: Recorded<Spanned<F>>,
        },
        /// Within the request of a layer around.
        Within {
            #[pin]
            inner: Spanned<F>,
        },
    }
}

impl<F, R, E> Future for ServerFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().inner.project() {
            PolledPinned::AsTask { inner } => inner.poll(cx),
            PolledPinned::Within { inner } => inner.poll(cx),
        }
    }
}

pin_project! {
    /// Enters the server span at each poll, records what the response says, and gives the span to its body.
    struct Spanned<F> {
        // Dropped within the span, as soon as it is over.
        #[pin]
        inner: Option<F>,
        is_head: bool,
        // The method, until it is told.
        grpc: Option<Box<str>>,
        span: RequestSpan,
        carried: Option<Carried>,
        served: Option<Served>,
    }

    impl<F> PinnedDrop for Spanned<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.inner.is_some() {
                this.span.cancelled();
                if let Some(method) = this.grpc.take() {
                    grpc::record_method(this.span, &method, None);
                }
                let _entered = this.span.enter();
                this.inner.set(None);
            }
        }
    }
}

impl<F> Spanned<F> {
    /// One that passes all on.
    fn unrecorded(inner: F) -> Spanned<F> {
        let (span, grpc, carried, served) = (RequestSpan::NONE, None, None, None);
        Spanned { inner: Some(inner), is_head: false, grpc, span, carried, served }
    }
}

impl<F, R, E> Future for Spanned<F>
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
        let span = std::mem::replace(this.span, RequestSpan::NONE);
        let grpc = this.grpc.take();
        if let Some((name, route)) = this.served.as_ref().and_then(|served| served.route.get())
            && grpc.is_none()
        {
            if span.is_named_by_us() {
                span.record("otel.name", (&**name).into());
            }
            span.record("http.route", (&**route).into());
        }
        if let Some(method) = &grpc {
            grpc::record_method(&span, method, result.as_ref().ok().map(Response::headers));
        }
        Poll::Ready(match result {
            Ok(response) => {
                let carried = this.carried.take();
                let rest = if grpc.is_some() {
                    Rest::of_grpc(span, carried, Side::Server, &response)
                } else {
                    let status = response.status();
                    names::record_status(&span, status, status.is_server_error());
                    Rest::new(span, carried)
                };
                Ok(rest.keep_in(response, *this.is_head))
            }
            Err(error) => {
                names::record_failure(&span, std::any::type_name::<E>());
                Err(error)
            }
        })
    }
}
