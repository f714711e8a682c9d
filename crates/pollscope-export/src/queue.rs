//! The bounded queue between the agent's loop and the backend, as a pure state machine.
//!
//! Spans, or log records, gather in an open batch; it is sealed (encoded) when it is full or old; sealed batches wait, fly, and
//! are settled by an answer. A batch that may succeed later goes back to its place. Whatever was put in is open,
//! waiting, flying, or counted in [`Stats`]: there is no other way out. Time comes in as an argument, nothing
//! is sent here, and no lock is taken.

use crate::answer::Answer;
use crate::backoff::Backoff;
use crate::signal::Signal;
use crate::stats::{Noted, Stats};
use crate::to_otlp;
use bytes::Bytes;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use pollscope_model::SessionId;
use prost::Message;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// An encoded request that is not acknowledged yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// What it carries.
    pub signal: Signal,
    /// Unique among those of its signal in its journal, in order of sealing; a retry and a restart keep it.
    pub id: u64,
    /// Spans or log records in it.
    pub items: u32,
    /// The encoded `ExportTraceServiceRequest` or `ExportLogsServiceRequest`.
    pub payload: Bytes,
}

/// The end of a batch: it needs no journal any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// What it carried.
    pub signal: Signal,
    /// Which.
    pub id: u64,
    /// Spans or log records in it.
    pub items: u32,
    /// How it ended.
    pub how: Settlement,
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The backend has it, but for `rejected` spans or log records.
    Sent {
        /// What the backend did not take (partial success).
        rejected: u32,
    },
    /// The backend refused it for good.
    Refused,
    /// The queue was full.
    Dropped,
}

/// What goes when the queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The batch that waited longest: after a long outage the recent past is what people look at.
    #[default]
    DropOldest,
    /// The batch that was sealed last.
    DropNewest,
}

/// Bounds of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A batch is sealed at this many spans or log records: what OpenTelemetry's batch processors send.
    pub batch_items: usize,
    /// A batch has at most this many bytes, unless a single item has more: gRPC servers take 4 MiB in one message unless told otherwise.
    pub batch_bytes: usize,
    /// A batch is sealed at this age.
    pub delay: Duration,
    /// Sealed items kept, waiting and flying.
    pub queue_items: usize,
    /// Sealed bytes kept. At about 500 bytes a span, the default holds a minute of 2,000 spans a second.
    pub queue_bytes: usize,
    /// What goes when the queue is full.
    pub when_full: WhenFull,
    /// Requests under way at once, while the backend is well.
    pub lanes: usize,
    /// Waits while it is not.
    pub backoff: Backoff,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            batch_items: 512,
            batch_bytes: 1024 * 1024,
            delay: Duration::from_secs(1),
            queue_items: 1_000_000,
            queue_bytes: 64 * 1024 * 1024,
            when_full: WhenFull::default(),
            lanes: 2,
            backoff: Backoff::default(),
        }
    }
}

/// What a lane does next.
#[derive(Debug, PartialEq)]
#[must_use]
pub(crate) enum Step {
    /// Send this; it counts as flying until it is settled.
    Send(Batch),
    /// Nothing to do before then, or before the queue changes.
    Wait(Option<Instant>),
}

/// What a batch is made of.
#[allow(clippy::large_enum_variant, reason = "a queue holds items of one kind")]
pub(crate) enum Item {
    Span(Span),
    Log(LogRecord),
}

impl Item {
    fn encoded_len(&self) -> usize {
        match self {
            Item::Span(span) => span.encoded_len(),
            Item::Log(log) => log.encoded_len(),
        }
    }

    fn span(self) -> Option<Span> {
        match self {
            Item::Span(span) => Some(span),
            Item::Log(_) => None,
        }
    }

    fn log(self) -> Option<LogRecord> {
        match self {
            Item::Span(_) => None,
            Item::Log(log) => Some(log),
        }
    }
}

/// Items of one service in the open batch.
struct Service {
    resource: Arc<Resource>,
    items: Vec<Item>,
}

/// See the module.
pub(crate) struct Queue {
    signal: Signal,
    limits: Limits,
    open: BTreeMap<SessionId, Service>,
    open_items: usize,
    open_bytes: usize,
    open_since: Option<Instant>,
    waiting: VecDeque<Batch>,
    flying: BTreeMap<u64, Batch>,
    /// Of waiting and flying batches together.
    items: usize,
    bytes: usize,
    next_id: u64,
    /// Failures in a row; above 0 only one request flies at a time.
    failures: u32,
    /// Our own wait, which a flush cuts short.
    backoff_until: Option<Instant>,
    /// The server's, which nothing cuts short.
    hint_until: Option<Instant>,
    flushing: bool,
    /// Counters; the gauges are filled in by [`Queue::stats`].
    counted: Stats,
}

impl Queue {
    pub(crate) fn new(
        signal: Signal,
        limits: Limits,
        restored: Vec<Batch>,
        settled: &mut Vec<Settled>,
    ) -> Queue {
        let mut queue = Queue {
            signal,
            limits,
            open: BTreeMap::new(),
            open_items: 0,
            open_bytes: 0,
            open_since: None,
            waiting: VecDeque::new(),
            flying: BTreeMap::new(),
            items: 0,
            bytes: 0,
            next_id: restored.iter().map(|batch| batch.id.saturating_add(1)).max().unwrap_or(1),
            failures: 0,
            backoff_until: None,
            hint_until: None,
            flushing: false,
            counted: Stats::default(),
        };
        let mut restored = restored;
        restored.sort_by_key(|batch| batch.id);
        restored.dedup_by_key(|batch| batch.id);
        for batch in restored {
            queue.counted.restored += u64::from(batch.items);
            queue.enqueue(batch, settled);
        }
        queue
    }

    pub(crate) fn count_unsampled(&mut self, spans: u64) {
        self.counted.unsampled += spans;
    }

    /// Adds an item to the open batch. Seals that before, if the item would make it too large, and after, if it is
    /// full then.
    pub(crate) fn add(
        &mut self,
        session: SessionId,
        resource: &Arc<Resource>,
        item: Item,
        now: Instant,
        settled: &mut Vec<Settled>,
    ) {
        let length = item.encoded_len();
        let length = 1 + prost::length_delimiter_len(length) + length;
        let known = self.open.contains_key(&session);
        let mut bytes = length + if known { 0 } else { overhead(resource) };
        if self.open_bytes + bytes > self.limits.batch_bytes && self.open_items > 0 {
            self.seal(settled);
            bytes = length + overhead(resource);
        }
        self.open_items += 1;
        self.open_bytes += bytes;
        self.open_since.get_or_insert(now);
        let service = self.open.entry(session);
        service
            .or_insert_with(|| Service { resource: Arc::clone(resource), items: Vec::new() })
            .items
            .push(item);
        if self.open_items >= self.limits.batch_items || self.open_bytes >= self.limits.batch_bytes {
            self.seal(settled);
        }
    }

    /// Encodes the open batch, if it holds anything, and queues it.
    pub(crate) fn seal(&mut self, settled: &mut Vec<Settled>) {
        if self.open_items == 0 {
            return;
        }
        let services = std::mem::take(&mut self.open);
        let services = services
            .into_values()
            .map(|service| (Resource::clone(&service.resource), service.items.into_iter()));
        let payload = match self.signal {
            Signal::Traces => {
                to_otlp::request(services.map(|(of, items)| (of, items.filter_map(Item::span).collect())))
                    .encode_to_vec()
            }
            Signal::Logs => to_otlp::logs::request(
                services.map(|(of, items)| (of, items.filter_map(Item::log).collect())),
            )
            .encode_to_vec(),
        };
        let batch = Batch {
            signal: self.signal,
            id: self.next_id,
            items: u32::try_from(self.open_items).unwrap_or(u32::MAX),
            payload: payload.into(),
        };
        self.next_id += 1;
        (self.open_items, self.open_bytes, self.open_since) = (0, 0, None);
        self.enqueue(batch, settled);
    }

    fn enqueue(&mut self, batch: Batch, settled: &mut Vec<Settled>) {
        self.items += batch.items as usize;
        self.bytes += batch.payload.len();
        self.waiting.push_back(batch);
        while self.items > self.limits.queue_items || self.bytes > self.limits.queue_bytes {
            let dropped = match self.limits.when_full {
                WhenFull::DropOldest => self.waiting.pop_front(),
                WhenFull::DropNewest => self.waiting.pop_back(),
            };
            // What flies cannot be called back.
            let Some(batch) = dropped else { break };
            self.counted.dropped_queue_full += u64::from(batch.items);
            settled.push(self.left(&batch, Settlement::Dropped));
        }
    }

    /// A batch leaves for good.
    fn left(&mut self, batch: &Batch, how: Settlement) -> Settled {
        self.items -= batch.items as usize;
        self.bytes -= batch.payload.len();
        Settled { signal: batch.signal, id: batch.id, items: batch.items, how }
    }

    /// What a free lane does now.
    pub(crate) fn next(&mut self, now: Instant, settled: &mut Vec<Settled>) -> Step {
        let due = self.open_since.map(|since| since + self.limits.delay);
        if self.flushing || due.is_some_and(|due| due <= now) {
            self.seal(settled);
        }
        if self.waiting.is_empty() {
            return Step::Wait(self.open_since.map(|since| since + self.limits.delay));
        }
        // While the backend fails, one request is enough to learn when it is back.
        if self.failures > 0 && !self.flying.is_empty() {
            return Step::Wait(None);
        }
        match self.backoff_until.max(self.hint_until) {
            Some(until) if until > now => Step::Wait(Some(until)),
            _ => match self.waiting.pop_front() {
                Some(batch) => {
                    self.counted.requests += 1;
                    self.flying.insert(batch.id, batch.clone());
                    Step::Send(batch)
                }
                None => Step::Wait(None),
            },
        }
    }

    /// What became of a flying batch.
    pub(crate) fn answered(
        &mut self,
        id: u64,
        answer: Answer,
        now: Instant,
        clock: SystemTime,
        dice: u64,
    ) -> Option<Settled> {
        let batch = self.flying.remove(&id)?;
        let items = u64::from(batch.items);
        let note = |text| Some(Noted { at: clock, text });
        let how = match answer {
            Answer::Accepted => {
                self.counted.sent += items;
                self.counted.last_success = Some(clock);
                Settlement::Sent { rejected: 0 }
            }
            Answer::Partial { rejected, message } => {
                // A server that rejects more than it got is not believed.
                let rejected = rejected.min(items);
                self.counted.sent += items - rejected;
                self.counted.rejected += rejected;
                self.counted.last_success = Some(clock);
                let text = match rejected {
                    0 => format!("the backend warns: {message}"),
                    _ => format!("the backend rejects {}: {message}", self.signal.items()),
                };
                self.counted.last_warning = note(text);
                Settlement::Sent { rejected: rejected as u32 }
            }
            Answer::Refused(error) => {
                self.counted.dropped_refused += items;
                self.counted.last_error = note(error.to_string());
                Settlement::Refused
            }
            Answer::Retry { after, error } => {
                self.counted.retries += 1;
                self.counted.last_error = note(error.to_string());
                self.failures = self.failures.saturating_add(1);
                self.backoff_until = Some(now + self.limits.backoff.wait(self.failures, None, dice));
                if after.is_some() {
                    let hinted = now + self.limits.backoff.wait(self.failures, after, dice);
                    self.hint_until = self.hint_until.max(Some(hinted));
                }
                let place = self.waiting.partition_point(|other| other.id < batch.id);
                self.waiting.insert(place, batch);
                return None;
            }
        };
        // A hint holds until it passes, whatever another lane is told meanwhile.
        (self.failures, self.backoff_until) = (0, None);
        Some(self.left(&batch, how))
    }

    /// From now on batches are sealed at once, and the first attempt does not wait for our own backoff.
    pub(crate) fn flush(&mut self, flushing: bool) {
        self.flushing = flushing;
        if flushing {
            self.backoff_until = None;
            // Still failing, but the waits start over: a flush has seconds.
            self.failures = self.failures.min(1);
        }
    }

    /// Whether all that was put in is settled.
    pub(crate) fn is_empty(&self) -> bool {
        self.open_items == 0 && self.waiting.is_empty() && self.flying.is_empty()
    }

    /// All that is sealed and not settled, oldest first.
    pub(crate) fn unacknowledged(&self) -> Vec<Batch> {
        let mut all: Vec<Batch> = self.flying.values().chain(&self.waiting).cloned().collect();
        all.sort_by_key(|batch| batch.id);
        all
    }

    /// Changes when a lane has to look again: a batch was sealed, or an open one began to age.
    pub(crate) fn mark(&self) -> (u64, bool) {
        (self.next_id, self.open_since.is_some())
    }

    /// Ids of the requests under way.
    pub(crate) fn flying(&self) -> impl Iterator<Item = u64> {
        self.flying.keys().copied()
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            open: self.open_items as u64,
            queued_batches: (self.waiting.len() + self.flying.len()) as u64,
            queued: self.items as u64,
            queued_bytes: self.bytes as u64,
            in_flight: self.flying.len() as u64,
            failing: self.failures > 0,
            ..self.counted.clone()
        }
    }
}

/// The most bytes that a service takes in a request beside its items: the same for both signals.
fn overhead(resource: &Resource) -> usize {
    let alone = to_otlp::request([(resource.clone(), vec![Span::default()])]).encoded_len();
    // Two lengths grow with the spans, each to five bytes at most.
    alone + 10
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
