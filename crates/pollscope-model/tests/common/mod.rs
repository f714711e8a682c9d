//! Facts in few words, for scripted histories. Times are in milliseconds after the session's beginning.
#![allow(dead_code, reason = "each test uses its part")]

use pollscope_model::event::*;
use pollscope_model::{Nanos, UnixNanos};
use std::sync::Arc;

pub const MS: u64 = 1_000_000;
pub const SESSION: SessionId = SessionId(0x5e55);
/// When the session began.
pub const BEGAN: u64 = 1_700_000_000_000_000_000;

pub fn at(ms: f64) -> UnixNanos {
    UnixNanos(BEGAN + (ms * MS as f64).round() as u64)
}

pub fn ms(ms: f64) -> Nanos {
    Nanos((ms * MS as f64).round() as u64)
}

pub fn text(key: &str, value: &str) -> Attribute {
    Attribute { key: key.into(), value: Value::Str(value.into()), cut: None }
}

pub fn location(line: u32) -> Location {
    Location { file: "src/shop.rs".into(), line, column: 5 }
}

pub fn began(service: &str) -> Event {
    Event::SessionBegan(SessionInfo {
        resource: vec![("service.name".into(), Value::Str(service.into()))],
        pid: 42,
        started: at(0.0),
        exe: "/bin/shop".into(),
        slow_poll: ms(10.0),
        tracing_layer: false,
        foreign_subscriber: false,
        apart: false,
        withheld: false,
        withheld_logs: false,
    })
}

pub fn birth(task: u64, name: &str, line: u32, born: f64) -> TaskBirth {
    TaskBirth {
        task: TaskId(task),
        kind: TaskKind::Spawned,
        name: (!name.is_empty()).then(|| name.into()),
        location: location(line),
        future: "shop::work::{{closure}}".into(),
        size: 128,
        parent: None,
        span: None,
        runtime: "main".into(),
        tokio_id: task,
        born: at(born),
    }
}

/// A poll of `task` on thread 1 from `start` for `busy`, after `scheduled` of waiting.
pub fn poll(task: u64, start: f64, busy: f64, scheduled: f64) -> Poll {
    Poll {
        task: TaskId(task),
        thread: ThreadId(1),
        start: at(start),
        busy: ms(busy),
        nested: Nanos(0),
        scheduled: ms(scheduled),
        woken_by: Some(Waker::Unknown),
        wakes: 1,
        outcome: PollOutcome::Pending,
        ordinal: 0,
    }
}

pub fn totals(polls: u64, busy: f64, scheduled: f64, idle: f64) -> TaskTotals {
    TaskTotals {
        polls,
        busy: ms(busy),
        scheduled: ms(scheduled),
        idle: ms(idle),
        wakes: polls,
        waker_clones: polls,
        waker_drops: polls,
        ..TaskTotals::default()
    }
}

pub fn callsite(name: &str, line: u32) -> Arc<Callsite> {
    Arc::new(Callsite { name: name.into(), target: "shop".into(), location: location(line), severity: 9 })
}

pub fn ids(trace: u128, span: u64, parent: u64) -> SpanIds {
    SpanIds {
        trace: TraceId(trace),
        span: SpanId(span),
        parent: (parent != 0).then_some(SpanId(parent)),
        parent_remote: false,
        sampled: true,
        foreign: false,
    }
}

/// A span of trace 1 whose OpenTelemetry id is 100 times its local one.
pub fn open(span: u64, parent: u64, name: &str, opened: f64) -> SpanOpen {
    SpanOpen {
        span: LocalSpanId(span),
        parent: (parent != 0).then_some(LocalSpanId(parent)),
        ids: Some(ids(1, span * 100, parent * 100)),
        callsite: callsite(name, span as u32),
        source: SpanSource::Code,
        opened: at(opened),
        task: None,
    }
}

pub fn end(open: SpanOpen, ended: f64, busy: f64, scheduled: f64) -> SpanEnd {
    SpanEnd {
        open,
        ended: at(ended),
        closed: at(ended),
        busy: ms(busy),
        scheduled: ms(scheduled),
        polls: 1,
        status: Status::Unset,
        cancelled: false,
        detached: false,
        estimated: false,
        attributes: 0,
        dropped_attributes: 0,
        dropped_events: 0,
        dropped_links: 0,
    }
}

/// The same small pseudo-random numbers on every machine.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % below
    }
}

/// Merges the threads' facts into one order, each thread's own order kept.
pub fn interleaved(threads: &[Vec<Event>], dice: &mut Dice) -> Vec<Event> {
    let mut next = vec![0; threads.len()];
    let mut all = Vec::new();
    loop {
        let open: Vec<usize> = (0..threads.len()).filter(|n| next[*n] < threads[*n].len()).collect();
        if open.is_empty() {
            return all;
        }
        let thread = open[dice.next(open.len() as u64) as usize];
        all.push(threads[thread][next[thread]].clone());
        next[thread] += 1;
    }
}
