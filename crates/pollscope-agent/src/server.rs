//! The agent's own pages: `/healthz`, `/readyz`, `/metrics`.

use crate::counts::Counts;
use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use pollscope_export::own::Reading;
use std::convert::Infallible;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Readings as Prometheus has them: dots become underscores, the unit and `_total` are said in the name.
fn prometheus(readings: &[Reading]) -> String {
    let mut page = String::new();
    for reading in readings {
        let mut name = reading.name.replace('.', "_");
        if reading.unit == "By" {
            name += "_bytes";
        }
        if reading.counter {
            name += "_total";
        }
        let kind = if reading.counter { "counter" } else { "gauge" };
        let _ = writeln!(page, "# HELP {name} {}\n# TYPE {name} {kind}", reading.help);
        for (labels, value) in &reading.values {
            let labels: Vec<String> =
                labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(page, "{name}{labels} {value}");
        }
    }
    page
}

/// A label's value: services name themselves as they like.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn answer(method: &Method, path: &str, counts: &Counts) -> (StatusCode, &'static str, String) {
    let (status, kind, text) = match path {
        "/healthz" => (StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/readyz" if counts.ready() => (StatusCode::OK, TEXT, "ready\n".to_owned()),
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, TEXT, "no round has been made yet\n".to_owned()),
        "/metrics" => (StatusCode::OK, PROMETHEUS, prometheus(&counts.readings())),
        _ => {
            return (StatusCode::NOT_FOUND, TEXT, "there are /healthz, /readyz and /metrics\n".to_owned());
        }
    };
    if [Method::GET, Method::HEAD].contains(method) {
        (status, kind, text)
    } else {
        (StatusCode::METHOD_NOT_ALLOWED, TEXT, format!("{path} is read by GET\n"))
    }
}

fn respond(request: &Request<hyper::body::Incoming>, counts: &Counts) -> Response<Full<Bytes>> {
    let (status, kind, text) = answer(request.method(), request.uri().path(), counts);
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// What an address means. One that means nothing is a mistake, which waiting does not mend.
pub async fn resolve(address: &str) -> Result<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host(address).await.with_context(|| {
        format!("cannot understand --listen {address}: it is HOST:PORT, such as 127.0.0.1:9464, or `off`")
    })?;
    Ok(found.collect())
}

/// Serves the pages; gives the address that is listened on.
pub async fn start(address: &[SocketAddr], counts: Arc<Counts>) -> Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let local = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors, say: no reason to spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let counts = counts.clone();
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let response = respond(&request, &counts);
                async move { Ok::<_, Infallible>(response) }
            });
            tokio::spawn(async move {
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(hyper_util::rt::TokioTimer::new())
                    .header_read_timeout(Duration::from_secs(10))
                    .serve_connection(TokioIo::new(stream), service);
                let _ = connection.await;
            });
        }
    });
    Ok(local)
}
