//! A connection that polls many requests in one poll of its own.

use std::time::{Duration, Instant};
use tower::{Layer, ServiceExt, service_fn};

/// A connection that has a thousand requests of 50 µs and one of 20 ms in one poll.
pub async fn run() {
    let served = async |request: hyper::Request<String>| {
        let (length, began) =
            (Duration::from_micros(if *request.uri() == "/slow" { 20_000 } else { 50 }), Instant::now());
        while began.elapsed() < length {
            std::hint::spin_loop();
        }
        Ok::<_, std::convert::Infallible>(hyper::Response::new(String::new()))
    };
    let server = pollscope::http::ServerLayer::new().layer(service_fn(served));
    let connection = pollscope::spawn_named("connection", async move {
        for n in 0..1001 {
            let method = if n == 500 { "PUT" } else { "GET" };
            let uri = if n == 500 { "/slow" } else { "/short" };
            let request =
                hyper::Request::builder().method(method).uri(uri).body(String::new()).expect("a request");
            let Ok(_) = server.clone().oneshot(request).await;
        }
    });
    connection.await.expect("it ends");
}
