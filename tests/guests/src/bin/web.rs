//! A service on axum and one on tonic, and those that ask them, all in one process: `web SUBSCRIBER`. At its end it
//! prints what an OpenTelemetry layer exported, a line a span: trace, span, parent.

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use pollscope::http::{ClientLayer, MakeSpan, ServerLayer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::transport::{Channel, Server};
use tonic::{Code, Status, Streaming};
use tonic_health::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http::trace::TraceLayer;
use tracing::{Instrument, info_span};
use tracing_subscriber::prelude::*;

#[pollscope::main(worker_threads = 2, service = "web")]
async fn main() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    match std::env::args().nth(1).as_deref() {
        Some("macro") => {}
        Some("fmt") => tracing_subscriber::fmt().with_writer(std::io::sink).init(),
        Some("layer") => tracing_subscriber::registry().with(pollscope::layer()).init(),
        Some("otel") => {
            let theirs = tracing_opentelemetry::layer().with_tracer(provider.tracer("web"));
            let theirs = theirs.with_filter(tracing_subscriber::filter::LevelFilter::INFO);
            tracing_subscriber::registry().with(pollscope::layer()).with(theirs).init();
        }
        other => panic!("no subscriber {other:?}"),
    }
    // As a request or a job does it: not in main itself.
    pollscope::spawn_named("asks", asks().instrument(info_span!("asks"))).await.expect("it ends");
    // What was dropped at one end is known at the other a little later.
    tokio::time::sleep(Duration::from_millis(200)).await;
    for span in exporter.get_finished_spans().expect("they can be read") {
        println!("{} {} {}", span.span_context.trace_id(), span.span_context.span_id(), span.parent_span_id);
    }
}

async fn asks() {
    let address = serve_http().await;
    pooled(address).await;
    by_reqwest(address).await;
    let address = serve_grpc().await;
    let channel = Channel::from_shared(format!("http://{address}")).expect("an address");
    let channel = channel.connect().await.expect("it listens");
    unary(channel.clone()).await;
    watched(channel.clone()).await;
    talked(channel).await;
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

async fn serve_http() -> SocketAddr {
    let handler = async || {
        info_span!("handler").in_scope(|| ());
        tokio::time::sleep(Duration::from_millis(2)).await;
        "a user"
    };
    let layers = tower::ServiceBuilder::new()
        .layer(TraceLayer::new_for_http().make_span_with(MakeSpan::new()))
        .layer(ServerLayer::new());
    let routes = Router::new().route("/users/{id}", get(handler)).layer(layers);
    let (listener, address) = listen().await;
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

/// Two requests by one connection of hyper-util's pool.
async fn pooled(address: SocketAddr) {
    let client: Client<_, Empty<Bytes>> = Client::builder(pollscope::Executor::new()).build_http();
    let client = ClientLayer::new().layer(client);
    for id in 1..=2 {
        let request = http::Request::get(format!("http://{address}/users/{id}?by=pool")).body(Empty::new());
        let response = client.clone().oneshot(request.expect("a request")).await.expect("an answer");
        response.into_body().collect().await.expect("a body");
    }
}

/// Under our layer by way of a service, and with the header by hand.
async fn by_reqwest(address: SocketAddr) {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let own = client.clone();
    let asks = ClientLayer::new().layer(service_fn(move |request: http::Request<reqwest::Body>| {
        let client = own.clone();
        async move { client.execute(request.try_into()?).await.map(http::Response::<reqwest::Body>::from) }
    }));
    let request = http::Request::get(format!("http://{address}/users/3?by=service"));
    let response = asks.oneshot(request.body(reqwest::Body::default()).expect("a request")).await;
    response.expect("an answer").into_body().collect().await.expect("a body");

    let by_hand = async {
        let mut request = client.get(format!("http://{address}/users/4?by=hand")).build().expect("a request");
        pollscope::http::inject(request.headers_mut());
        client.execute(request).await.expect("an answer").bytes().await.expect("a body");
    };
    by_hand.instrument(info_span!("by hand")).await;
}

async fn serve_grpc() -> SocketAddr {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("changing", ServingStatus::Serving).await;
    let (listener, address) = listen().await;
    let server = Server::builder().layer(ServerLayer::new()).add_service(health).add_service(Echo);
    tokio::spawn(async move { server.serve_with_incoming(TcpListenerStream::new(listener)).await });
    address
}

type Asks = pollscope::http::ClientService<Channel>;

fn health(channel: Channel) -> HealthClient<Asks> {
    HealthClient::new(ClientLayer::new().layer(channel))
}

async fn unary(channel: Channel) {
    let mut health = health(channel);
    health.check(HealthCheckRequest::default()).await.expect("it is well");
    let unknown = HealthCheckRequest { service: "nobody".to_owned() };
    assert_eq!(health.check(unknown).await.expect_err("it is not there").code(), Code::NotFound);
}

/// A stream of the server's that its client drops.
async fn watched(channel: Channel) {
    let request = HealthCheckRequest { service: "changing".to_owned() };
    let mut changes = health(channel).watch(request).await.expect("it can be watched").into_inner();
    changes.message().await.expect("it is well").expect("there is one");
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Streams both ways, one that ends well and one that fails.
async fn talked(channel: Channel) {
    for last in ["bye", "fail"] {
        let mut grpc = tonic::client::Grpc::new(ClientLayer::new().layer(channel.clone()));
        grpc.ready().await.expect("a connection");
        let (say, said) = tokio::sync::mpsc::channel(1);
        let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
        let path = http::uri::PathAndQuery::from_static("/guest.Echo/Talk");
        let answers = grpc.streaming(tonic::Request::new(ReceiverStream::new(said)), path, codec).await;
        let mut answers = answers.expect("it answers").into_inner();
        for word in ["hello", "and", last] {
            tokio::time::sleep(Duration::from_millis(10)).await;
            say.send(HealthCheckRequest { service: word.to_owned() }).await.expect("it listens");
            let answer = answers.message().await;
            assert_eq!(answer.is_err(), word == "fail", "{answer:?}");
        }
        drop(say);
        if last == "bye" {
            assert!(answers.message().await.expect("it ends well").is_none());
        }
    }
}

/// Answers each message of a stream; fails when it is asked to.
#[derive(Clone)]
struct Echo;

impl tonic::server::NamedService for Echo {
    const NAME: &'static str = "guest.Echo";
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Boxed<Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let codec = tonic_prost::ProstCodec::<HealthCheckResponse, HealthCheckRequest>::default();
            Ok(tonic::server::Grpc::new(codec).streaming(Talk, request).await)
        })
    }
}

struct Talk;

impl tonic::server::StreamingService<HealthCheckRequest> for Talk {
    type Response = HealthCheckResponse;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;
    type Future = Boxed<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<HealthCheckRequest>>) -> Self::Future {
        let answers = request.into_inner().map(|asked| match &*asked?.service {
            "fail" => Err(Status::internal("as asked")),
            _ => Ok(HealthCheckResponse { status: 1 }),
        });
        Box::pin(async move { Ok(tonic::Response::new(Box::pin(answers) as Self::ResponseStream)) })
    }
}
