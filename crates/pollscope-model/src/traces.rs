//! Recent traces, put together from finished spans of all services.
//!
//! Bounded by traces and by spans. When room is needed the trace that has been quiet longest goes, but for the
//! slowest ones, which are kept as long as they are the slowest: they are what people come for.

use crate::event::{SpanId, Status, TraceId};
use crate::span::FinishedSpan;
use crate::time::{Nanos, UnixNanos};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Bounds of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceLimits {
    /// Traces.
    pub traces: usize,
    /// Spans in all traces together.
    pub spans: usize,
    /// Spans of one trace, and twice as many if they are roots; further ones are counted.
    pub spans_per_trace: usize,
    /// The slowest traces, which are not thrown out for being old.
    pub slowest: usize,
}

impl Default for TraceLimits {
    fn default() -> Self {
        TraceLimits { traces: 2_000, spans: 50_000, spans_per_trace: 2_000, slowest: 50 }
    }
}

/// A span in a trace, and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSpan {
    /// `service.name`.
    pub service: Arc<str>,
    /// The span.
    pub span: FinishedSpan,
}

/// One trace, as far as its spans have come in.
#[derive(Clone, Debug)]
struct Trace {
    spans: HashMap<SpanId, Arc<TraceSpan>>,
    start: UnixNanos,
    end: UnixNanos,
    errors: usize,
    dropped: u64,
    /// When the store last heard of it, in spans added.
    touched: u64,
}

impl Trace {
    fn duration(&self) -> Nanos {
        self.end.since(self.start)
    }
}

/// A node of a [`TraceTree`].
#[derive(Clone, Debug, PartialEq)]
pub struct TraceNode {
    /// The span and its service.
    pub of: Arc<TraceSpan>,
    /// 0 for a root.
    pub depth: usize,
    /// The parent's place in the list.
    pub parent: Option<usize>,
    /// Whether siblings follow below.
    pub last: bool,
}

/// A trace as a tree, parents before children, siblings by start.
///
/// A span is a root when it has no parent or when its parent is not here: not read yet, lost, not recorded by
/// pollscope.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceTree {
    /// Which.
    pub id: TraceId,
    /// Its spans in the order in which a tree is printed.
    pub nodes: Vec<TraceNode>,
    /// The earliest start.
    pub start: UnixNanos,
    /// The latest end.
    pub end: UnixNanos,
    /// Spans with status error.
    pub errors: usize,
    /// Spans beyond the limit, which are not shown.
    pub dropped: u64,
}

impl TraceTree {
    /// From the earliest start to the latest end.
    pub fn duration(&self) -> Nanos {
        self.end.since(self.start)
    }

    /// The names of its services, in order of appearance.
    pub fn services(&self) -> Vec<&str> {
        let mut services: Vec<&str> = Vec::new();
        for node in &self.nodes {
            if !services.contains(&&*node.of.service) {
                services.push(&node.of.service);
            }
        }
        services
    }

    /// The span that stands for the trace: its first root.
    pub fn root(&self) -> Option<&TraceSpan> {
        self.nodes.first().map(|node| &*node.of)
    }

    /// Roots whose parent is known by id but not here.
    pub fn orphans(&self) -> usize {
        self.nodes.iter().filter(|node| node.depth == 0 && node.of.span.ids.parent.is_some()).count()
    }
}

/// Which traces to give out.
#[derive(Clone, Debug, Default)]
pub struct TraceQuery {
    /// With a span of this service.
    pub service: Option<String>,
    /// At least this long.
    pub min: Option<Nanos>,
    /// With an error in it.
    pub errors: bool,
    /// Slowest first; else the newest first.
    pub slowest: bool,
}

/// The store.
#[derive(Clone, Debug)]
pub struct Traces {
    limits: TraceLimits,
    traces: HashMap<TraceId, Trace>,
    /// By last touch: the first goes first.
    order: BTreeMap<u64, TraceId>,
    /// The slowest, by duration.
    slowest: BTreeSet<(Nanos, TraceId)>,
    spans: usize,
    added: u64,
    evicted: u64,
}

impl Default for Traces {
    fn default() -> Self {
        Traces::new(TraceLimits::default())
    }
}

impl Traces {
    /// An empty store.
    pub fn new(limits: TraceLimits) -> Traces {
        Traces {
            limits,
            traces: HashMap::new(),
            order: BTreeMap::new(),
            slowest: BTreeSet::new(),
            spans: 0,
            added: 0,
            evicted: 0,
        }
    }

    /// Adds a finished span of a service. The same span once more replaces it.
    pub fn add(&mut self, service: &Arc<str>, span: &FinishedSpan) {
        self.added += 1;
        let id = span.ids.trace;
        let new = || Trace {
            spans: HashMap::new(),
            start: span.start,
            end: span.end,
            errors: 0,
            dropped: 0,
            touched: 0,
        };
        let trace = self.traces.entry(id).or_insert_with(new);
        self.order.remove(&trace.touched);
        trace.touched = self.added;
        self.order.insert(self.added, id);
        self.slowest.remove(&(trace.duration(), id));
        trace.start = trace.start.min(span.start);
        trace.end = trace.end.max(span.end);
        // A root ends last, and without it the others hang in the air.
        let root = span.ids.parent.is_none() || span.ids.parent_remote;
        let most = self.limits.spans_per_trace * if root { 2 } else { 1 };
        if trace.spans.len() >= most && !trace.spans.contains_key(&span.ids.span) {
            trace.dropped += 1;
            self.note_duration(id);
            return;
        }
        let added = Arc::new(TraceSpan { service: service.clone(), span: span.clone() });
        let is_error = |of: &TraceSpan| usize::from(of.span.status == Status::Error);
        trace.errors += is_error(&added);
        match trace.spans.insert(span.ids.span, added) {
            Some(replaced) => trace.errors -= is_error(&replaced),
            None => self.spans += 1,
        }
        self.note_duration(id);
        self.make_room(id);
    }

    fn note_duration(&mut self, id: TraceId) {
        let Some(trace) = self.traces.get(&id) else { return };
        self.slowest.insert((trace.duration(), id));
        if self.slowest.len() > self.limits.slowest {
            self.slowest.pop_first();
        }
    }

    fn make_room(&mut self, newest: TraceId) {
        while self.traces.len() > self.limits.traces || self.spans > self.limits.spans {
            let duration = |id: &TraceId| self.traces.get(id).map_or(Nanos(0), Trace::duration);
            let quiet = |id: &&TraceId| **id != newest && !self.slowest.contains(&(duration(id), **id));
            // Should the slowest ones alone fill the store, the fastest of them has to go.
            let victim = self
                .order
                .values()
                .find(quiet)
                .copied()
                .or_else(|| self.slowest.iter().map(|(_, id)| *id).find(|id| *id != newest));
            let Some(victim) = victim else { return };
            self.slowest.remove(&(duration(&victim), victim));
            if let Some(trace) = self.traces.remove(&victim) {
                self.order.remove(&trace.touched);
                self.spans -= trace.spans.len();
                self.evicted += 1;
            }
        }
    }

    /// Traces held.
    pub fn len(&self) -> usize {
        self.traces.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.traces.is_empty()
    }

    /// Spans held.
    pub fn spans(&self) -> usize {
        self.spans
    }

    /// Traces that had to go for newer ones.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// One trace.
    pub fn get(&self, id: TraceId) -> Option<TraceTree> {
        self.traces.get(&id).map(|trace| tree(id, trace))
    }

    /// The traces whose id begins with these hexadecimal digits, by id.
    pub fn by_prefix(&self, digits: &str) -> Vec<TraceTree> {
        let digits = digits.to_ascii_lowercase();
        let mut found: Vec<&TraceId> =
            self.traces.keys().filter(|id| id.to_string().starts_with(&digits)).collect();
        found.sort();
        found.into_iter().filter_map(|id| self.get(*id)).collect()
    }

    /// The traces asked for, at most so many.
    pub fn find(&self, query: &TraceQuery, most: usize) -> Vec<TraceTree> {
        let mut found: Vec<(&TraceId, &Trace)> = self
            .traces
            .iter()
            .filter(|(_, trace)| query.min.is_none_or(|min| trace.duration() >= min))
            .filter(|(_, trace)| !query.errors || trace.errors > 0)
            .filter(|(_, trace)| {
                let of = |service: &str| trace.spans.values().any(|span| &*span.service == service);
                query.service.as_deref().is_none_or(of)
            })
            .collect();
        if query.slowest {
            found.sort_by_key(|(id, trace)| (Reverse(trace.duration()), **id));
        } else {
            found.sort_by_key(|(id, trace)| (Reverse(trace.start), **id));
        }
        found.into_iter().take(most).map(|(id, trace)| tree(*id, trace)).collect()
    }
}

/// Puts the spans in order. Parents may be missing or, from a hostile service, in a circle: each span is shown
/// exactly once all the same.
fn tree(id: TraceId, trace: &Trace) -> TraceTree {
    let mut by_start: Vec<&Arc<TraceSpan>> = trace.spans.values().collect();
    by_start.sort_by_key(|of| (of.span.start, Reverse(of.span.end), of.span.ids.span));
    let mut children: HashMap<SpanId, Vec<&Arc<TraceSpan>>> = HashMap::new();
    let mut roots = Vec::new();
    for of in &by_start {
        match of.span.ids.parent {
            Some(parent) if trace.spans.contains_key(&parent) && parent != of.span.ids.span => {
                children.entry(parent).or_default().push(of);
            }
            _ => roots.push(*of),
        }
    }
    let mut nodes: Vec<TraceNode> = Vec::with_capacity(by_start.len());
    let mut shown = std::collections::HashSet::new();
    // What no root leads to stands in a circle: its earliest span is taken for a root.
    for (nth, of) in roots.iter().chain(&by_start).enumerate() {
        let mut stack = vec![(*of, 0, None, nth + 1 >= roots.len())];
        while let Some((of, depth, parent, last)) = stack.pop() {
            if !shown.insert(of.span.ids.span) {
                continue;
            }
            let place = nodes.len();
            nodes.push(TraceNode { of: of.clone(), depth, parent, last });
            let below = children.get(&of.span.ids.span).map_or(&[][..], Vec::as_slice);
            for (nth, child) in below.iter().enumerate().rev() {
                stack.push((child, depth + 1, Some(place), nth + 1 == below.len()));
            }
        }
    }
    TraceTree { id, nodes, start: trace.start, end: trace.end, errors: trace.errors, dropped: trace.dropped }
}
