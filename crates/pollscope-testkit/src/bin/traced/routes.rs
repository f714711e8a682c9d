//! A server of axum on loopback, its routes under pollscope's layer.

use axum::Router;
use axum::routing::{any, get};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use pollscope::http::ServerLayer;
use std::net::SocketAddr;
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
    ] {
        let request = Request::builder().method(method).uri(format!("http://{address}{path}"));
        let response =
            client.request(request.body(Empty::new()).expect("a request")).await.expect("an answer");
        response.into_body().collect().await.expect("a body");
    }
}

fn router() -> Router {
    let orders = Router::new().route("/orders/{id}", get(async || "an order"));
    Router::new()
        .route("/users/{id}", any(async || "a user"))
        .nest("/shop", orders)
        .nest_service("/files", get(async || "a file"))
        .fallback(async || "nothing")
        .layer(ServerLayer::new())
}

/// Serves by HTTP/1 and HTTP/2 until the process ends.
pub async fn serve(router: Router<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    pollscope::task::Builder::new().name("server").detached().spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(router.clone());
            pollscope::task::Builder::new().name("connection").detached().spawn(async move {
                let server = auto::Builder::new(pollscope::Executor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}
