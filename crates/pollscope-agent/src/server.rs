//! The agent's own pages: `/healthz`, `/readyz`, `/metrics`.

use anyhow::Result;
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use pollscope_export::Stats;
use std::convert::Infallible;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;

/// What the pages show.
#[derive(Default)]
pub struct Shared {
    records: AtomicU64,
    lost: AtomicU64,
    refused: AtomicU64,
    rounds: AtomicU64,
    journal_failed: AtomicBool,
    page: Mutex<(usize, usize, Stats)>,
}

impl Shared {
    /// Counts a round.
    pub fn read(&self, records: u64, lost: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.lost.fetch_add(lost, Ordering::Relaxed);
        self.rounds.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a refused session.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that the journal could not be written; whether that was known.
    pub fn journal_failed(&self) -> bool {
        self.journal_failed.swap(true, Ordering::Relaxed)
    }

    /// Takes the state after a turn.
    pub fn publish(&self, live: usize, dead: usize, stats: Stats) {
        *self.page.lock().unwrap_or_else(PoisonError::into_inner) = (live, dead, stats);
    }

    fn metrics(&self) -> String {
        let (live, dead, stats) = self.page.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut page = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, values: &[(&str, u64)]| {
            let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in values {
                let _ = writeln!(page, "{name}{labels} {value}");
            }
        };
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        metric(
            "pollscope_agent_records_read_total",
            "counter",
            "Records read from sessions.",
            &[("", load(&self.records))],
        );
        metric(
            "pollscope_agent_records_lost_total",
            "counter",
            "Records overwritten before they were read.",
            &[("", load(&self.lost))],
        );
        metric(
            "pollscope_agent_rounds_total",
            "counter",
            "Passes over all rings.",
            &[("", load(&self.rounds))],
        );
        metric(
            "pollscope_agent_sessions",
            "gauge",
            "Sessions followed.",
            &[("{state=\"live\"}", live as u64), ("{state=\"dead\"}", dead as u64)],
        );
        metric(
            "pollscope_agent_sessions_refused_total",
            "counter",
            "Directories that are no session this agent can read.",
            &[("", load(&self.refused))],
        );
        metric(
            "pollscope_agent_queue_spans",
            "gauge",
            "Spans that wait to be sent.",
            &[("", stats.queued_spans + stats.open_spans)],
        );
        metric(
            "pollscope_agent_queue_bytes",
            "gauge",
            "Encoded bytes that wait to be sent.",
            &[("", stats.queued_bytes)],
        );
        metric(
            "pollscope_agent_spans_sent_total",
            "counter",
            "Spans that the backend took.",
            &[("", stats.sent_spans)],
        );
        metric(
            "pollscope_agent_spans_rejected_total",
            "counter",
            "Spans that the backend rejected in a partial success.",
            &[("", stats.rejected_spans)],
        );
        let [full, refused] = stats.dropped();
        metric(
            "pollscope_agent_spans_dropped_total",
            "counter",
            "Spans that were given up.",
            &[("{reason=\"queue_full\"}", full.1), ("{reason=\"refused\"}", refused.1)],
        );
        metric(
            "pollscope_agent_spans_unsampled_total",
            "counter",
            "Spans of traces that are not sampled.",
            &[("", stats.unsampled_spans)],
        );
        metric(
            "pollscope_agent_export_requests_total",
            "counter",
            "Export requests begun, retries among them.",
            &[("", stats.requests)],
        );
        metric(
            "pollscope_agent_export_retries_total",
            "counter",
            "Export requests that failed and were tried again.",
            &[("", stats.retries)],
        );
        page
    }

    fn answer(&self, path: &str) -> (StatusCode, &'static str, String) {
        const TEXT: &str = "text/plain; charset=utf-8";
        match path {
            "/healthz" => (StatusCode::OK, TEXT, "ok\n".to_owned()),
            "/readyz" if self.rounds.load(Ordering::Relaxed) > 0 => {
                (StatusCode::OK, TEXT, "ready\n".to_owned())
            }
            "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, TEXT, "no round has been made yet\n".to_owned()),
            "/metrics" => (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", self.metrics()),
            _ => (StatusCode::NOT_FOUND, TEXT, "there are /healthz, /readyz and /metrics\n".to_owned()),
        }
    }
}

/// Serves the pages; gives the address that is listened on.
pub async fn start(address: &str, shared: Arc<Shared>) -> Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let local = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors, say: no reason to spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let shared = shared.clone();
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let (status, kind, text) = shared.answer(request.uri().path());
                let mut response = Response::new(Full::new(Bytes::from(text)));
                *response.status_mut() = status;
                response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
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
