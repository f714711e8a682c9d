//! HTTP in and out, under pollscope's layers.

use crate::faults::Fault;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use pollscope::http::{ClientLayer, ClientService, ServerLayer};
use serde_json::{Value, json};
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt, service_fn};

/// What a handler is asked.
pub struct Asked {
    /// Method.
    pub method: Method,
    /// Path.
    pub path: String,
}

/// What a handler answers.
pub type Answer = Result<Value>;

/// Serves until the process is interrupted or its input is closed.
pub async fn serve<H, F>(listener: TcpListener, handler: H) -> Result<()>
where
    H: Fn(Asked) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let accept = async {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let handler = handler.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let handler = handler.clone();
                async move { Ok::<_, std::convert::Infallible>(answer(request, handler).await) }
            });
            let service = TowerToHyperService::new(ServerLayer::new().layer(service));
            pollscope::spawn_named("connection", async move {
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                let _ = connection.await;
            });
        }
    };
    tokio::select! {
        () = accept => Ok(()),
        () = asked_to_end() => Ok(()),
    }
}

/// Ready when the process is interrupted, or when whoever started it has closed its input.
async fn asked_to_end() {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        let _ = std::io::Read::read_to_end(&mut std::io::stdin(), &mut rest);
        let _ = tell.send(());
    });
    tokio::select! {
        _ = told => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

async fn answer<H, F>(request: Request<Incoming>, handler: H) -> Response<Full<Bytes>>
where
    H: Fn(Asked) -> F,
    F: Future<Output = Answer>,
{
    let asked = Asked { method: request.method().clone(), path: request.uri().path().to_owned() };
    let switched = switch(&asked, request.uri().query());
    let result = match switched {
        Some(result) => result,
        None => handler(asked).await,
    };
    let (status, body) = match result {
        Ok(value) => (StatusCode::OK, value),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, json!({"error": format!("{error:#}")})),
    };
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response
}

/// `POST /faults/NAME?on=1`.
fn switch(asked: &Asked, query: Option<&str>) -> Option<Answer> {
    let name = asked.path.strip_prefix("/faults/")?;
    Some(name.parse().map(|fault: Fault| {
        let on = query != Some("on=0");
        fault.switch(on);
        json!({"fault": fault.name(), "on": on})
    }))
}

/// A client of another service, its requests recorded and carried on.
#[derive(Clone)]
pub struct Client {
    inner: ClientService<HyperClient<HttpConnector, Full<Bytes>>>,
    base: String,
}

impl Client {
    /// For the service at an address.
    pub fn new(address: SocketAddr) -> Client {
        let inner = HyperClient::builder(pollscope::Executor::new()).build_http();
        Client { inner: ClientLayer::new().layer(inner), base: format!("http://{address}") }
    }

    /// Sends a request without a body; gives the answer's JSON.
    pub async fn send(&self, method: Method, path: &str) -> Result<Value> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .body(Full::new(Bytes::new()))?;
        let response =
            self.inner.clone().oneshot(request).await.with_context(|| format!("cannot ask {}", self.base))?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{}{path} answered {status}: {}", self.base, String::from_utf8_lossy(&body));
        }
        Ok(serde_json::from_slice(&body)?)
    }
}
