//! From finished spans, or log records, to an acknowledged request: batching, retry, bounds and the journal's hooks.
//!
//! A pipeline serves one signal. The agent's loop puts spans or log records in without waiting; lanes (tasks on the agent's runtime) seal batches and send
//! them one request at a time. While the backend fails, one lane tries and the others wait. All decisions are
//! those of the module `queue`, which is pure; here are the lock, the clock and the tasks.
//!
//! **Journal.** [`Pipeline::unacknowledged`] gives all that is not settled, as encoded batches with ids.
//! `on_settled` tells when one needs no journal any more. After a restart, `restored` goes to
//! [`Pipeline::start`], ids and all, and is sent before anything new.
//!
//! ```no_run
//! # use pollscope_export::{Client, Limits, Options, Pipeline, Signal};
//! # async fn example(finished: Vec<pollscope_model::span::FinishedSpan>) -> Result<(), Box<dyn std::error::Error>> {
//! let options = Options::from_env(Signal::Traces, |name| std::env::var(name).ok())?;
//! if let Some(config) = options.resolve(Signal::Traces)? {
//!     let (limits, client) = (Limits::default(), Client::new(&config)?);
//!     let pipeline = Pipeline::start(Signal::Traces, limits, client, vec![], Box::new(|_settled| {}));
//!     pipeline.add(&finished);
//!     let left = pipeline.shutdown(std::time::Duration::from_secs(5)).await;
//!     println!("{} batches for the journal", left.batches.len());
//! }
//! # Ok(())
//! # }
//! ```

use crate::backoff::dice;
use crate::client::Transport;
pub use crate::queue::{Batch, Limits, Settled, Settlement, WhenFull};
use crate::queue::{Item, Queue, Step};
use crate::signal::Signal;
use crate::stats::Stats;
use crate::to_otlp;
use opentelemetry_proto::tonic::resource::v1::Resource;
use pollscope_model::SessionId;
use pollscope_model::event::SessionInfo;
use pollscope_model::span::{FinishedSpan, Log};
use pollscope_model::time::UnixNanos;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

/// Called for each settled batch, outside all locks, from whichever task settled it. It must not block: hand
/// the fact to a channel.
pub type OnSettled = Box<dyn Fn(Settled) + Send + Sync>;

/// A running pipeline. Dropping it stops the lanes at once; [`Pipeline::shutdown`] does it in order.
pub struct Pipeline {
    shared: Arc<Shared>,
    resources: Mutex<Resources>,
    lanes: Mutex<JoinSet<()>>,
}

/// Sessions that are over and whose resource is still kept for their last spans.
const FORGOTTEN: usize = 64;

#[derive(Default)]
struct Resources {
    known: HashMap<SessionId, Arc<Resource>>,
    /// Longest first.
    forgotten: VecDeque<SessionId>,
}

/// What a shutdown left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftover {
    /// Batches that are not settled, oldest first: for the journal.
    pub batches: Vec<Batch>,
    /// Those whose request was under way: the backend may have them already.
    pub in_flight: Vec<u64>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Something changed: a batch was sealed or settled, or a flush began.
    changed: Notify,
    on_settled: OnSettled,
}

impl Pipeline {
    /// Starts the lanes on the current tokio runtime. `restored` is what an earlier agent left unacknowledged of this
    /// signal.
    pub fn start(
        signal: Signal,
        limits: Limits,
        transport: impl Transport,
        restored: Vec<Batch>,
        on_settled: OnSettled,
    ) -> Pipeline {
        let mut settled = Vec::new();
        let queue = Mutex::new(Queue::new(signal, limits, restored, &mut settled));
        let shared = Arc::new(Shared { queue, changed: Notify::new(), on_settled });
        shared.tell(settled);
        let transport = Arc::new(transport);
        let mut lanes = JoinSet::new();
        for _ in 0..limits.lanes.max(1) {
            lanes.spawn(lane(Arc::clone(&shared), Arc::clone(&transport)));
        }
        Pipeline { shared, resources: Mutex::default(), lanes: Mutex::new(lanes) }
    }

    /// Makes a session's resource known; to be called before its spans are added.
    pub fn session(&self, session: SessionId, info: &SessionInfo) {
        let resource = Arc::new(to_otlp::resource(session, info));
        let mut resources = lock(&self.resources);
        resources.forgotten.retain(|other| *other != session);
        resources.known.insert(session, resource);
    }

    /// Forgets a session that is over. Spans that come after all have its resource, unless many more sessions
    /// were forgotten since.
    pub fn forget(&self, session: SessionId) {
        let mut resources = lock(&self.resources);
        if resources.known.contains_key(&session) && !resources.forgotten.contains(&session) {
            resources.forgotten.push_back(session);
        }
        if resources.forgotten.len() > FORGOTTEN
            && let Some(longest) = resources.forgotten.pop_front()
        {
            resources.known.remove(&longest);
        }
    }

    /// Puts spans in, where the signal is traces. Never waits: what does not fit is dropped and counted.
    pub fn add<'a>(&self, spans: impl IntoIterator<Item = &'a FinishedSpan>) {
        self.put(spans.into_iter().map(|span| (span.session, to_otlp::span(span).map(Item::Span))));
    }

    /// Puts log records in, where the signal is logs: as [`Pipeline::add`]. They are not sampled.
    pub fn add_logs<'a>(&self, logs: impl IntoIterator<Item = &'a Log>) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let observed = UnixNanos(now.as_nanos() as u64);
        self.put(
            logs.into_iter().map(|log| (log.session, Some(Item::Log(to_otlp::logs::record(log, observed))))),
        );
    }

    fn put(&self, items: impl Iterator<Item = (SessionId, Option<Item>)>) {
        let now = Instant::now();
        let mut settled = Vec::new();
        let mut unsampled = 0;
        let changed = {
            let resources = lock(&self.resources);
            let mut queue = self.shared.queue();
            let before = queue.mark();
            for (session, item) in items {
                let Some(item) = item else {
                    unsampled += 1;
                    continue;
                };
                match resources.known.get(&session) {
                    Some(resource) => queue.add(session, resource, item, now, &mut settled),
                    None => {
                        let unknown = Arc::new(to_otlp::resource(session, &SessionInfo::default()));
                        queue.add(session, &unknown, item, now, &mut settled);
                    }
                }
            }
            queue.count_unsampled(unsampled);
            queue.mark() != before
        };
        if changed {
            self.shared.changed.notify_waiters();
        }
        self.shared.tell(settled);
    }

    /// All that is not acknowledged, oldest first. Seals the open batch, so that nothing is left out: not to be
    /// called for each span.
    pub fn unacknowledged(&self) -> Vec<Batch> {
        let mut settled = Vec::new();
        let batches = {
            let mut queue = self.shared.queue();
            queue.seal(&mut settled);
            queue.unacknowledged()
        };
        self.shared.changed.notify_waiters();
        self.shared.tell(settled);
        batches
    }

    /// A number that grows with each batch that was sealed.
    pub fn sealed(&self) -> u64 {
        self.shared.queue().mark().0
    }

    /// Counters and gauges.
    pub fn stats(&self) -> Stats {
        self.shared.queue().stats()
    }

    /// Sends all that was put in, for at most `within`. Whether everything is settled.
    pub async fn flush(&self, within: Duration) -> bool {
        let settled = async {
            loop {
                let changed = self.shared.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.shared.queue().is_empty() {
                    return;
                }
                changed.await;
            }
        };
        self.shared.queue().flush(true);
        self.shared.changed.notify_waiters();
        let done = timeout(within, settled).await.is_ok();
        self.shared.queue().flush(false);
        done
    }

    /// Flushes for at most `within`, then stops for good. What is left belongs into the journal; spans added
    /// from now on wait for the journal too, in vain for a lane.
    pub async fn shutdown(&self, within: Duration) -> Leftover {
        self.flush(within).await;
        let mut lanes = std::mem::take(&mut *lock(&self.lanes));
        lanes.shutdown().await;
        let in_flight = self.shared.queue().flying().collect();
        Leftover { batches: self.unacknowledged(), in_flight }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    fn tell(&self, settled: Vec<Settled>) {
        for each in settled {
            (self.on_settled)(each);
        }
    }
}

/// A panic elsewhere must not end the export: the queue's counts are changed without a panic in between.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request at a time, until the task is aborted.
async fn lane(shared: Arc<Shared>, transport: Arc<impl Transport>) {
    loop {
        // Registered before the look at the queue: no change in between is missed.
        let changed = shared.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let mut settled = Vec::new();
        let step = shared.queue().next(Instant::now(), &mut settled);
        shared.tell(settled);
        match step {
            Step::Send(batch) => {
                let answer = transport.send(batch.payload).await;
                let now = Instant::now();
                let settled = shared.queue().answered(batch.id, answer, now, SystemTime::now(), dice());
                shared.tell(settled.into_iter().collect());
                shared.changed.notify_waiters();
            }
            Step::Wait(None) => changed.await,
            // Either way the queue is asked again.
            Step::Wait(Some(until)) => drop(timeout_at(until, changed).await),
        }
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
