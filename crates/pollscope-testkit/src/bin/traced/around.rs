//! Servers under tower-http's layer and pollscope's, in either order.

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use pollscope::http::{MakeSpan, ServerLayer};
use std::convert::Infallible;
use std::time::Duration;
use tower::{Layer, ServiceExt};
use tower_http::trace::TraceLayer;

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

pub async fn run() {
    let trace = TraceLayer::new_for_http().make_span_with(MakeSpan::new());
    let outside = routes("/outside/{id}").layer(ServerLayer::new());
    let outside = crate::routes::serve(trace.clone().layer(outside)).await;
    let inside = routes("/inside/{id}").layer(trace.clone()).layer(ServerLayer::new());
    let inside = crate::routes::serve(inside).await;
    let alone = crate::routes::serve(routes("/alone/{id}").layer(trace)).await;
    let own = TraceLayer::new_for_http()
        .make_span_with(|_: &Request<_>| tracing::info_span!("mine", otel.kind = "server"));
    let mine = crate::routes::serve(own.layer(routes("/mine/{id}").layer(ServerLayer::new()))).await;

    let nested = routes("/nested/{id}").layer(ServerLayer::new());
    let nested = crate::routes::serve(ServerLayer::new().layer(nested)).await;

    let client: Client<_, Empty<Bytes>> = Client::builder(pollscope::Executor::new()).build_http();
    for (address, path) in [
        (outside, "/outside/1"),
        (inside, "/inside/1"),
        (alone, "/alone/1"),
        (mine, "/mine/1"),
        (nested, "/nested/1"),
    ] {
        let request = Request::get(format!("http://{address}{path}")).header("traceparent", CALLER);
        let response = client.request(request.body(Empty::new()).expect("a request")).await;
        response.expect("an answer").into_body().collect().await.expect("a body");
    }
}

fn routes(path: &str) -> Router {
    Router::new().route(path, get(answer))
}

/// Works on and waits, opens a span, and asks another service within the process.
async fn answer() -> &'static str {
    tracing::info_span!("handler").in_scope(|| std::thread::sleep(Duration::from_millis(5)));
    tokio::time::sleep(Duration::from_millis(20)).await;
    let other =
        tower::service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())));
    let request = Request::get("/other").body(()).expect("a request");
    let Ok(_) = ServerLayer::new().layer(other).oneshot(request).await;
    "done"
}
