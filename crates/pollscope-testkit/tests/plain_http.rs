//! Without a session layers, executor and `tracing` pass on what they get, as if they were not there.

use axum::http::{HeaderMap, HeaderValue, Request, Response};
use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};
use hyper::rt::Executor as _;
use pollscope::http::{ClientLayer, MakeSpan, ServerLayer, extract, inject};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{self, Poll};
use tower::{Layer, ServiceExt, service_fn};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// What a service with `POLLSCOPE=off` has.
static OFF: LazyLock<pollscope::Guard> = LazyLock::new(|| {
    // SAFETY: whoever reads it waits here first.
    unsafe { std::env::set_var("POLLSCOPE", "off") };
    pollscope::init()
});

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn request(headers: &[(&'static str, &'static str)]) -> Request<Empty<Bytes>> {
    let mut request = Request::get("http://till.example:8080/orders/7?x=1").body(Empty::new()).unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    request
}

/// Two frames and a trailer.
#[derive(Default)]
struct Frames(usize);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0 += 1;
        let trailer =
            || HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("13"))]);
        Poll::Ready(match self.0 {
            1 => Some(Ok(Frame::data(Bytes::from("one")))),
            2 => Some(Ok(Frame::data(Bytes::from("two")))),
            3 => Some(Ok(Frame::trailers(trailer()))),
            _ => None,
        })
    }
}

/// A request goes through a layer to a service, which answers with the headers it got, two frames and a trailer.
async fn through<L, S, B>(layer: L, headers: &[(&'static str, &'static str)])
where
    L: Layer<tower::util::BoxCloneService<Request<Empty<Bytes>>, Response<Frames>, String>, Service = S>,
    S: tower::Service<Request<Empty<Bytes>>, Response = Response<B>, Error = String>,
    B: Body<Data = Bytes, Error = Infallible> + Unpin,
{
    assert!(!OFF.is_recording());
    let echo = service_fn(|request: Request<Empty<Bytes>>| async move {
        tokio::task::yield_now().await;
        assert_eq!(request.uri(), "http://till.example:8080/orders/7?x=1");
        assert!(request.extensions().is_empty(), "{:?}", request.extensions());
        assert_eq!(pollscope::current().task_id(), None);
        if request.headers().contains_key("fail") {
            return Err("as it was asked to".to_owned());
        }
        let mut response = Response::new(Frames::default());
        *response.headers_mut() = request.headers().clone();
        Ok(response)
    });
    let service = layer.layer(tower::util::BoxCloneService::new(echo));
    let answer = service.oneshot(request(headers)).await;
    if headers.iter().any(|(name, _)| *name == "fail") {
        assert_eq!(answer.map(drop), Err("as it was asked to".to_owned()));
        return;
    }
    let (head, mut body) = answer.unwrap().into_parts();
    assert_eq!(head.headers, *request(headers).headers());
    let mut seen = Vec::new();
    while let Some(frame) = body.frame().await {
        seen.push(match frame.unwrap().into_data() {
            Ok(data) => format!("{data:?}"),
            Err(frame) => format!("{:?}", frame.into_trailers().unwrap()),
        });
    }
    assert_eq!(seen, ["b\"one\"", "b\"two\"", "{\"grpc-status\": \"13\"}"]);
}

#[tokio::test]
async fn requests_pass_the_layers_as_they_are() {
    for headers in [
        &[("accept", "text/html")][..],
        &[("traceparent", CALLER), ("tracestate", "a=1"), ("baggage", "k=v")],
        &[("content-type", "application/grpc")],
        &[("fail", "yes")],
    ] {
        through(ServerLayer::new(), headers).await;
        through(ClientLayer::new(), headers).await;
        through((ServerLayer::new(), ClientLayer::new()), headers).await;
    }
}

#[tokio::test]
async fn a_body_is_as_long_as_it_says() {
    LazyLock::force(&OFF);
    let service =
        service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("seven b"))));
    let response = ServerLayer::new().layer(service).oneshot(Request::new(())).await.unwrap();
    assert_eq!((response.body().size_hint().exact(), response.body().is_end_stream()), (Some(7), false));
    let service =
        service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())));
    let response = ClientLayer::new().layer(service).oneshot(Request::new(())).await.unwrap();
    assert!(response.body().is_end_stream());
}

#[tokio::test]
async fn an_executor_spawns() {
    LazyLock::force(&OFF);
    let (tell, told) = tokio::sync::oneshot::channel();
    pollscope::Executor::new().execute(async { tell.send(tokio::task::try_id()).unwrap() });
    assert!(told.await.unwrap().is_some(), "in a task of its own");
}

/// Names of the spans and targets of the events that a subscriber gets.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Seen {
    fn on_new_span(&self, attributes: &tracing::span::Attributes<'_>, _: &tracing::Id, _: Context<'_, S>) {
        self.0.lock().unwrap().push(attributes.metadata().name().to_owned());
    }

    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        let within = context.event_span(event).map_or("nothing", |span| span.name());
        self.0.lock().unwrap().push(format!("{} in {within}", event.metadata().target()));
    }
}

#[test]
fn the_layer_leaves_all_to_the_others() {
    LazyLock::force(&OFF);
    let seen = Seen::default();
    let subscriber = tracing_subscriber::registry().with(pollscope::layer()).with(seen.clone());
    tracing::subscriber::with_default(subscriber, || {
        let span = tracing::trace_span!(target: "h2", "quiet").entered();
        tracing::trace!(target: "below our filter", "said");
        let current = pollscope::current();
        assert_eq!((current.trace_id(), current.span_id(), current.sampled()), (None, None, false));
        let mut headers = HeaderMap::new();
        inject(&mut headers);
        assert!(headers.is_empty());
        drop(span);
        // tower-http's layer has its span all the same, for the others.
        assert!(!MakeSpan::new().span(&request(&[("traceparent", CALLER)])).is_disabled());
    });
    assert_eq!(*seen.0.lock().unwrap(), ["quiet", "below our filter in quiet", "HTTP request"]);
    // Reading a header needs no session.
    let caller = extract(request(&[("traceparent", CALLER)]).headers()).unwrap();
    assert_eq!((caller.trace_id() >> 64, caller.span_id()), (0x4bf9_2f35_77b3_4da6, 0x00f0_67aa_0ba9_02b7));
}
