//! A service and a client of tonic on loopback, both under pollscope's layers.

use hyper_util::client::legacy::Client;
use opentelemetry_proto::tonic::collector::trace::v1 as proto;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use pollscope::http::{ClientLayer, ServerLayer};
use proto::trace_service_client::TraceServiceClient;
use proto::trace_service_server::{TraceService, TraceServiceServer};
use proto::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tonic::{Code, Request, Response, Status};
use tower::Layer;

/// Answers with the code that is the number of what it is given.
struct Answers;

#[tonic::async_trait]
impl TraceService for Answers {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        match request.into_inner().resource_spans.len() {
            0 => Ok(Response::new(ExportTraceServiceResponse::default())),
            code => Err(Status::new(Code::from(code as i32), "as asked")),
        }
    }
}

pub async fn run() {
    let service = ServerLayer::new().layer(TraceServiceServer::new(Answers));
    let address = crate::routes::serve(service).await;
    let client = Client::builder(pollscope::Executor::new()).http2_only(true).build_http();
    let client = ClientLayer::new().layer(client);
    let origin: hyper::Uri = format!("http://{address}").parse().expect("an address");
    let mut exporter = TraceServiceClient::with_origin(client.clone(), origin.clone());
    for code in [Code::Ok, Code::NotFound, Code::Internal] {
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans::default(); code as i32 as usize],
        };
        let answer = exporter.export(request).await.err().map_or(Code::Ok, |status| status.code());
        assert_eq!(answer, code);
    }
    let mut other = tonic::client::Grpc::with_origin(client, origin);
    other.ready().await.expect("a connection");
    let codec = tonic_prost::ProstCodec::<ExportTraceServiceRequest, ExportTraceServiceResponse>::default();
    let path = hyper::http::uri::PathAndQuery::from_static("/made.Up/Method");
    let request = Request::new(ExportTraceServiceRequest::default());
    let answer = other.unary(request, path, codec).await.expect_err("no such method");
    assert_eq!(answer.code(), Code::Unimplemented);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
}
