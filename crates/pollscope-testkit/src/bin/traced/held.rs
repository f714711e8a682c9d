//! Spans that somebody else holds open: a pool's connections, a loop that reconnects, a clone kept for a while.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use pollscope::http::{MakeSpan, ServerLayer};
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tower::Layer;
use tower_http::trace::TraceLayer;
use tracing::{Instrument, Span, info_span};

type Http = Client<HttpConnector, Empty<Bytes>>;

/// Spawns within the span that is current just then, as many do: a connection holds its first request's span.
#[derive(Clone)]
struct WithinSpan;

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for WithinSpan {
    fn execute(&self, future: F) {
        tokio::spawn(future.instrument(Span::current()));
    }
}

fn pool() -> Http {
    Client::builder(WithinSpan).pool_idle_timeout(None).build_http()
}

async fn ask(client: &Http, address: SocketAddr, path: &str) -> Response<Incoming> {
    let request = Request::get(format!("http://{address}{path}")).body(Empty::new()).expect("a request");
    client.request(request).await.expect("an answer")
}

/// What holds spans until it is dropped.
pub struct Kept {
    _pools: [Http; 3],
    _unread: Response<Incoming>,
}

pub async fn run() -> Kept {
    let back = crate::routes::serve(Router::new().route("/", get(async || "done"))).await;

    // A task whose request opens a connection of the pool.
    let first = pool();
    let order = {
        let client = first.clone();
        async move {
            let response = ask(&client, back, "/").await;
            response.into_body().collect().await.expect("a body");
            tokio::time::sleep(Duration::from_millis(20)).await;
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    pollscope::spawn_named("order", order.instrument(info_span!("order"))).await.expect("it ends");

    // A loop that goes on for ever, entering the span again and again.
    let setup = async {
        let (again, is_again) = tokio::sync::oneshot::channel();
        let reconnect = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let _ = again.send(());
            loop {
                let _ = tokio::net::TcpStream::connect("127.0.0.1:1").await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::spawn(reconnect.in_current_span());
        is_again.await.expect("it goes on");
    };
    pollscope::spawn_named("setup", setup.instrument(info_span!("setup"))).await.expect("it ends");

    // A server span of tower-http's layer whose handler does the same, and one whose response is still sent.
    let second = pool();
    let handler = {
        let client = second.clone();
        async move || {
            let response = ask(&client, back, "/").await;
            response.into_body().collect().await.expect("a body");
            "done"
        }
    };
    let endless = async || Body::new(crate::routes::Parts::new(1 << 20, ""));
    let routes = Router::new().route("/held/{id}", get(handler)).route("/sent", get(endless));
    let trace = TraceLayer::new_for_http().make_span_with(MakeSpan::new());
    let front = crate::routes::serve(trace.layer(routes.layer(ServerLayer::new()))).await;
    let third = Client::builder(pollscope::Executor::new()).build_http();
    ask(&third, front, "/held/1").await.into_body().collect().await.expect("a body");
    let mut unread = ask(&third, front, "/sent").await;
    unread.frame().await.expect("a frame").expect("of data");

    // A clone that is kept for a moment.
    let brief = async {
        let span = info_span!("brief");
        span.in_scope(|| std::thread::sleep(Duration::from_millis(2)));
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    pollscope::spawn_named("brief", brief).await.expect("it ends");
    Kept { _pools: [first, second, third], _unread: unread }
}
