//! Hello over HTTP/1.1: every connection is a task, every request a task and a span.

use crate::Kit;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io::{Read, Write};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// Serves on a free port, which it prints, until standard input ends.
pub fn serve<K: Kit>(kit: &'static K, runtime: &Runtime) {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = stop.send(());
    });
    let accept = async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        println!("{}", listener.local_addr().expect("it is bound").port());
        let _ = std::io::stdout().flush();
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            let service = service_fn(move |_: Request<Incoming>| async move {
                let answer = kit.in_span(async { Response::new(Full::new(Bytes::from_static(b"hello"))) });
                Ok::<_, Infallible>(kit.spawn(answer).await)
            });
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            drop(kit.spawn(async move { drop(connection.await) }));
        }
    };
    runtime.block_on(async move {
        tokio::select! {
            () = kit.spawn(accept) => {}
            _ = stopped => {}
        }
    });
}
