//! Out of the model: OTLP by gRPC and HTTP.
