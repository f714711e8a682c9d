//! A server and a client of hyper on loopback, under pollscope's layers and by hand.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Incoming};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use pollscope::http::{ClientLayer, ClientService, ServerLayer};
use std::convert::Infallible;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt, service_fn};
use tracing::Instrument;

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

type Http = Client<HttpConnector, Empty<Bytes>>;

pub async fn run() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    let server = pollscope::task::Builder::new().name("server").detached().spawn(serve(listener));
    let plain: Http = Client::builder(pollscope::Executor::new()).build_http();
    let client = ClientLayer::new().layer(plain.clone());

    // As a foreign caller asks: with what header, and what comes of it.
    for (path, traceparent, tracestate) in [
        ("/known", Some(CALLER), Some("vendor=1")),
        ("/unsampled", Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"), None),
        ("/later", Some("cc-0af7651916cd43dd8448eb211c80319d-b7ad6b7169203332-01-more"), None),
        ("/malformed", Some("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"), Some("vendor=2")),
        ("/zero", Some("00-00000000000000000000000000000000-b7ad6b7169203331-01"), None),
        ("/absent", None, None),
        ("/broken", None, None),
        ("/relay", Some(CALLER), Some("vendor=3")),
        ("/spawned", Some(CALLER), Some("vendor=5")),
        ("/by-hand", Some(CALLER), Some("vendor=4")),
        ("/by-hand-in-a-function", Some(CALLER), None),
    ] {
        let mut request = Request::get(format!("http://{address}{path}"));
        if let Some(value) = traceparent {
            request = request.header("traceparent", value);
        }
        if let Some(value) = tracestate {
            request = request.header("tracestate", value);
        }
        let response =
            plain.request(request.body(Empty::new()).expect("a request")).await.expect("an answer");
        println!("{path} {}", body(response).await);
    }

    let asked = Request::builder()
        .method("BREW")
        .uri(format!("http://{address}/asked?color=blue&sig=secret"))
        .header("user-agent", "curl/8");
    let asked = plain.request(asked.body(Empty::new()).expect("a request")).await.expect("an answer");
    println!("/asked {}", body(asked).await);

    // As a client under the layer asks, within a span and outside of any.
    let within = ask(&client, address, "/echo").instrument(tracing::info_span!("caller")).await;
    println!("within {within}");
    println!("alone {}", ask(&client, address, "/echo").await);
    let request = Request::get(format!("http://{address}/baggage"));
    let request = request.header("baggage", "a=1;p=2").header("baggage", "b=%20").header("b3", "0");
    let response = client.clone().oneshot(request.body(Empty::new()).expect("a request")).await;
    println!("baggage {}", body(response.expect("an answer")).await);
    let refused = free_address().await;
    let request = Request::get(format!("http://{refused}/nobody")).body(Empty::new()).expect("a request");
    println!("refused {}", client.clone().oneshot(request).await.is_err());
    server.abort();
}

/// An address on which nobody listens.
async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.and_then(|listener| listener.local_addr()).expect("a free port")
}

async fn ask(client: &ClientService<Http>, address: SocketAddr, path: &str) -> String {
    let request = Request::get(format!("http://{address}{path}")).body(Empty::new()).expect("a request");
    body(client.clone().oneshot(request).await.expect("an answer")).await
}

async fn body<B: Body<Data = Bytes, Error = hyper::Error>>(response: Response<B>) -> String {
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn serve(listener: TcpListener) {
    let address = listener.local_addr().expect("it is bound");
    let plain: Http = Client::builder(pollscope::Executor::new()).build_http();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let plain = plain.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let plain = plain.clone();
            async move { Ok::<_, Infallible>(answer(request, plain, address).await) }
        });
        // By hand: no layer, the headers are read and written by the service itself.
        let layered = ServerLayer::new().layer(service.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (layered, bare) = (layered.clone(), service.clone());
            async move {
                if request.uri().path().starts_with("/by-hand") {
                    bare.oneshot(request).await.map(|response| response.map(BodyExt::boxed))
                } else {
                    layered.oneshot(request).await.map(|response| response.map(BodyExt::boxed))
                }
            }
        });
        pollscope::task::Builder::new().name("connection").detached().spawn(async move {
            let server = auto::Builder::new(pollscope::Executor::new());
            let _ = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).await;
        });
    }
}

fn seen(headers: &HeaderMap) -> String {
    let of = |name: &str| headers.get(name).map_or("none", |value| value.to_str().unwrap_or("no text"));
    format!("{} {}", of("traceparent"), of("tracestate"))
}

async fn answer(request: Request<Incoming>, plain: Http, address: SocketAddr) -> Response<Full<Bytes>> {
    let text = match request.uri().path() {
        "/broken" => {
            let mut response = Response::new(Full::new(Bytes::from("broken")));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return response;
        }
        "/baggage" => {
            let headers = request.headers();
            let all = headers.get_all("baggage").iter().chain(headers.get_all("b3"));
            all.map(|value| value.to_str().unwrap_or("no text")).collect::<Vec<_>>().join(" ")
        }
        // Asks on, under the client's layer: what the next one sees is told.
        "/relay" => ask(&ClientLayer::new().layer(plain), address, "/echo").await,
        "/spawned" => {
            let asking = async move { ask(&ClientLayer::new().layer(plain), address, "/echo").await };
            pollscope::spawn(asking).await.expect("it ends")
        }
        "/by-hand-in-a-function" => by_function(&request, pollscope::http::extract(request.headers())).await,
        "/by-hand" => {
            let span = tracing::info_span!("by hand", otel.kind = "server");
            if let Some(remote) = pollscope::http::extract(request.headers()) {
                remote.attach(&span);
            }
            let inside = async {
                let mut next = Request::get(format!("http://{address}/echo"));
                if let Some(headers) = next.headers_mut() {
                    pollscope::http::inject(headers);
                }
                body(plain.request(next.body(Empty::new()).expect("a request")).await.expect("an answer"))
                    .await
            };
            inside.instrument(span).await
        }
        _ => {
            tracing::info_span!("handler", path = request.uri().path()).in_scope(|| ());
            seen(request.headers())
        }
    };
    Response::new(Full::new(Bytes::from(text)))
}

#[pollscope::instrument(skip_all, parent = caller, follows_from = [&caller], fields(otel.kind = "server"))]
async fn by_function(request: &Request<Incoming>, caller: Option<pollscope::http::Remote>) -> String {
    seen(request.headers())
}
