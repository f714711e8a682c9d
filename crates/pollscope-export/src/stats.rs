//! What the pipeline did, for `/metrics`, `doctor` and the journal: every span, or log record, that was put
//! in is counted once as open, queued, sent, rejected, dropped or unsampled.

use std::time::SystemTime;

/// A snapshot of counters and gauges. Copying it costs two short strings and no encoding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Spans (or log records, here and below) in the batch that is not sealed yet.
    pub open: u64,
    /// Batches waiting and in flight.
    pub queued_batches: u64,
    /// Spans in them.
    pub queued: u64,
    /// Encoded bytes in them.
    pub queued_bytes: u64,
    /// Requests under way.
    pub in_flight: u64,
    /// Whether the last request failed in a way that may pass.
    pub failing: bool,

    /// Spans that the journal brought back at start.
    pub restored: u64,
    /// Spans that the backend took.
    pub sent: u64,
    /// Spans that it rejected in a partial success.
    pub rejected: u64,
    /// Spans dropped because the queue was full.
    pub dropped_queue_full: u64,
    /// Spans dropped because the backend refused their batch for good.
    pub dropped_refused: u64,
    /// Spans of traces that are not sampled: never meant to leave.
    pub unsampled: u64,
    /// Requests begun, retries among them.
    pub requests: u64,
    /// Requests that failed and are tried again.
    pub retries: u64,

    /// The last failure.
    pub last_error: Option<Noted>,
    /// The last partial success, which is no failure.
    pub last_warning: Option<Noted>,
    /// When the backend last took a batch.
    pub last_success: Option<SystemTime>,
}

impl Stats {
    /// Spans dropped, for whatever reason: why, and how many.
    pub fn dropped(&self) -> [(&'static str, u64); 2] {
        [("queue_full", self.dropped_queue_full), ("refused", self.dropped_refused)]
    }
}

/// Something to tell, and when it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// When, by the agent's clock.
    pub at: SystemTime,
    /// What.
    pub text: String,
}
