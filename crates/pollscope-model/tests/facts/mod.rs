//! Short ways to say facts, in milliseconds, and a fixed stream of random numbers to shuffle them with.
#![allow(dead_code, reason = "each test file uses its own share")]

use pollscope_model::event::*;
use pollscope_model::{Limits, Model, Nanos, UnixNanos};
use std::sync::Arc;

pub const SESSION: SessionId = SessionId(7);
const MS: u64 = 1_000_000;

pub fn at(ms: u64) -> UnixNanos {
    UnixNanos((1_000_000 + ms) * MS)
}

pub fn ms(ms: u64) -> Nanos {
    Nanos(ms * MS)
}

pub fn model() -> Model {
    with(Limits::default())
}

pub fn with(limits: Limits) -> Model {
    let mut model = Model::new(limits);
    let name = (Arc::from("service.name"), Value::Str("shop".into()));
    let info = SessionInfo { resource: vec![name], started: at(0), ..SessionInfo::default() };
    model.apply(SESSION, Event::SessionBegan(info));
    model
}

pub fn apply(model: &mut Model, facts: impl IntoIterator<Item = Event>) {
    facts.into_iter().for_each(|fact| model.apply(SESSION, fact));
}

pub fn place(line: u32) -> Location {
    Location { file: "src/shop.rs".into(), line, column: 5 }
}

pub fn birth(task: u64, line: u32, born: u64) -> TaskBirth {
    TaskBirth {
        task: TaskId(task),
        kind: TaskKind::Spawned,
        name: None,
        location: place(line),
        future: "shop::work::{{closure}}".into(),
        size: 64,
        parent: None,
        span: None,
        runtime: "main".into(),
        tokio_id: task + 100,
        born: at(born),
    }
}

pub fn poll(task: u64, thread: u64, start: u64, busy: u64, scheduled: u64) -> Event {
    Event::Polled(Poll {
        task: TaskId(task),
        thread: ThreadId(thread),
        start: at(start),
        busy: ms(busy),
        nested: ms(0),
        scheduled: ms(scheduled),
        woken_by: Some(Waker::Unknown),
        wakes: 1,
        outcome: PollOutcome::Pending,
        ordinal: 0,
    })
}

pub fn totals(polls: u64, busy: u64, scheduled: u64, idle: u64) -> TaskTotals {
    TaskTotals { polls, busy: ms(busy), scheduled: ms(scheduled), idle: ms(idle), ..TaskTotals::default() }
}

pub fn end(birth: TaskBirth, outcome: TaskOutcome, totals: TaskTotals, ended: u64) -> Event {
    Event::TaskEnded(TaskEnd { birth, outcome, totals, ended: at(ended) })
}

/// A slot of a task that waits for something since `last_end`.
pub fn idle(totals: TaskTotals, last_end: u64) -> TaskState {
    TaskState { totals, last_end: at(last_end), polling_since: None, woken: None, moving: false }
}

pub fn ids(span: u64, parent: Option<u64>) -> SpanIds {
    SpanIds {
        trace: TraceId(0xabc),
        span: SpanId(0x100 + span),
        parent: parent.map(|parent| SpanId(0x100 + parent)),
        parent_remote: false,
        sampled: true,
        foreign: false,
    }
}

pub fn open(span: u64, parent: Option<u64>, opened: u64) -> SpanOpen {
    let callsite = Callsite { name: format!("span {span}").into(), ..Callsite::default() };
    SpanOpen {
        span: LocalSpanId(span),
        parent: parent.map(LocalSpanId),
        ids: None,
        callsite: Arc::new(callsite),
        source: SpanSource::Code,
        opened: at(opened),
        task: None,
    }
}

/// The end of a span of which `attributes` were recorded, busy 3 ms and scheduled 2 ms.
pub fn span_end(open: SpanOpen, ended: u64, attributes: u32) -> SpanEnd {
    SpanEnd {
        open,
        ended: at(ended),
        closed: at(ended),
        busy: ms(3),
        scheduled: ms(2),
        polls: 2,
        status: Status::Unset,
        cancelled: false,
        detached: false,
        estimated: false,
        attributes,
        dropped_attributes: 0,
        dropped_events: 0,
        dropped_links: 0,
    }
}

pub fn attribute(span: u64, when: u64, key: &str, value: &str) -> Event {
    let attribute = Attribute { key: key.into(), value: Value::Str(value.into()), cut: None };
    Event::SpanAttribute(LocalSpanId(span), at(when), attribute)
}

pub fn event(span: u64, when: u64, message: &str) -> Event {
    let message = Attribute { key: "message".into(), value: Value::Str(message.into()), cut: None };
    Event::SpanEvent {
        span: Some(LocalSpanId(span)),
        at: at(when),
        callsite: Arc::default(),
        attributes: vec![message],
        dropped_attributes: 0,
        beyond: false,
        exported: false,
    }
}

/// xorshift64: the same numbers in every run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most as u64) as usize
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for n in (1..items.len()).rev() {
            items.swap(n, self.below(n + 1));
        }
    }
}
