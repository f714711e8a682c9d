//! A server of axum on loopback, its routes under pollscope's layer.

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::{any, get};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::HeaderName;
use hyper::{HeaderMap, Method, Request, StatusCode, Version};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use pollscope::http::ServerLayer;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;

type Http = Client<HttpConnector, Empty<Bytes>>;

pub async fn run() {
    let address = serve(router()).await;
    let client: Http = Client::builder(pollscope::Executor::new()).build_http();
    for (method, path) in [
        (Method::GET, "/users/7"),
        (Method::GET, "/shop/orders/8"),
        (Method::GET, "/files/a/b"),
        (Method::GET, "/nowhere"),
        (Method::from_bytes(b"BREW").expect("a method"), "/users/9"),
        (Method::GET, "/stream"),
        (Method::GET, "/exact"),
        (Method::HEAD, "/head"),
        (Method::GET, "/empty"),
        (Method::GET, "/fails"),
    ] {
        let response = ask(&client, method, address, path, Version::HTTP_11).await;
        let _ = response.into_body().collect().await;
    }
    // One who goes away amid the answer, and one before it.
    let mut response = ask(&client, Method::GET, address, "/endless", Version::HTTP_11).await;
    response.frame().await.expect("a frame").expect("of data");
    drop(response);
    let slow = ask(&client, Method::GET, address, "/slow", Version::HTTP_11);
    assert!(tokio::time::timeout(Duration::from_millis(30), slow).await.is_err());

    // Trailers, and what the body says of itself, come through the layer.
    let second: Http = Client::builder(pollscope::Executor::new()).http2_only(true).build_http();
    let response = ask(&second, Method::GET, address, "/trailers", Version::HTTP_2).await;
    let body = response.into_body().collect().await.expect("a body");
    println!("trailers {:?}", body.trailers().and_then(|trailers| trailers.get("sum")));
    let layered = tower::service_fn(async |_: Request<()>| {
        Ok::<_, std::convert::Infallible>(Response::new(Parts::new(3, "")))
    });
    let layered = tower::Layer::layer(&ServerLayer::new(), layered);
    let response = tower::ServiceExt::oneshot(layered, Request::new(())).await.expect("an answer");
    let hint = http_body::Body::size_hint(response.body());
    println!("hint {} {:?}", hint.lower(), hint.upper());
    // What was dropped at the far end is known here a little later.
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn ask(
    client: &Http,
    method: Method,
    address: SocketAddr,
    path: &str,
    version: Version,
) -> Response<Incoming> {
    let request = Request::builder().method(method).uri(format!("http://{address}{path}")).version(version);
    client.request(request.body(Empty::new()).expect("a request")).await.expect("an answer")
}

/// A body that takes its time: parts of one byte, then an end of some kind.
pub struct Parts {
    left: usize,
    end: &'static str,
    timer: Pin<Box<tokio::time::Sleep>>,
}

impl Parts {
    const PAUSE: Duration = Duration::from_millis(10);

    pub fn new(left: usize, end: &'static str) -> Parts {
        Parts { left, end, timer: Box::pin(tokio::time::sleep(Parts::PAUSE)) }
    }
}

impl http_body::Body for Parts {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        std::task::ready!(self.timer.as_mut().poll(cx));
        self.timer.as_mut().reset(tokio::time::Instant::now() + Parts::PAUSE);
        tracing::info_span!("part").in_scope(|| ());
        if self.left > 0 {
            self.left -= 1;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b".")))));
        }
        Poll::Ready(match std::mem::take(&mut self.end) {
            "" => None,
            "fails" => Some(Err(std::io::Error::other("no more"))),
            sum => {
                let trailers =
                    HeaderMap::from_iter([(HeaderName::from_static("sum"), sum.parse().expect("a value"))]);
                Some(Ok(Frame::trailers(trailers)))
            }
        })
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(self.left as u64);
        hint.set_upper((self.left as u64).saturating_add(4));
        hint
    }
}

fn router() -> Router {
    let orders = Router::new().route("/orders/{id}", get(async || "an order"));
    Router::new()
        .route("/users/{id}", any(async || "a user"))
        .nest("/shop", orders)
        .nest_service("/files", get(async || "a file"))
        .route("/stream", get(async || Body::new(Parts::new(3, ""))))
        .route("/exact", get(async || ([("content-length", "3")], Body::new(Parts::new(3, "")))))
        .route("/head", get(async || Body::new(Parts::new(3, ""))))
        .route("/empty", get(async || StatusCode::NO_CONTENT))
        .route("/fails", get(async || Body::new(Parts::new(1, "fails"))))
        .route("/endless", get(async || Body::new(Parts::new(1 << 20, ""))))
        .route("/slow", get(async || tokio::time::sleep(Duration::from_secs(60)).await))
        .route("/trailers", get(async || Body::new(Parts::new(1, "4"))))
        .fallback(async || "nothing")
        .layer(ServerLayer::new())
}

/// Serves by HTTP/1 and HTTP/2 until the process ends.
pub async fn serve<S, B>(service: S) -> SocketAddr
where
    S: tower::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<axum::BoxError> + Send + Sync,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError> + Send + Sync,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    pollscope::task::Builder::new().name("server").detached().spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            pollscope::task::Builder::new().name("connection").detached().spawn(async move {
                let server = auto::Builder::new(pollscope::Executor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}
