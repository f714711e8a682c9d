//! The smallest real service under pollscope: `curl http://127.0.0.1:3000/hello/world`.

use axum::{Router, extract::Path, routing::get};
use std::time::Duration;

#[pollscope::main(service = "quickstart")]
async fn main() -> std::io::Result<()> {
    let app = Router::new().route("/hello/{name}", get(hello)).layer(pollscope::http::ServerLayer::new());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app).await
}

#[pollscope::instrument]
async fn hello(Path(name): Path<String>) -> String {
    tokio::time::sleep(Duration::from_millis(5)).await;
    format!("hello, {name}\n")
}
