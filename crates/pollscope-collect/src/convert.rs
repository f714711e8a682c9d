//! One record, one fact: from ticks and numbers to the model's events.

use crate::clock::ClockLine;
use crate::names::Names;
use crate::text::Open;
use pollscope_model::UnixNanos;
use pollscope_model::event::{
    Event, LocalSpanId, Poll, PollOutcome, SpanEnd, SpanId, SpanIds, SpanOpen, SpanSource, Status, TaskBirth,
    TaskEnd, TaskId, TaskKind, TaskOutcome, TaskTotals, ThreadId, ThreadKind, TraceId, Waker,
};
use pollscope_wire::ids::{ID_MASK, Who};
use pollscope_wire::reader::SessionFiles;
use pollscope_wire::record::{self, Raw, Record, outcome, poll, source, span as flags, task_kind};

/// What is needed to understand a session's records.
pub(crate) struct Converter<'a> {
    pub files: &'a SessionFiles,
    pub names: &'a mut Names,
    pub line: &'a mut ClockLine,
}

fn task(id: u64) -> Option<TaskId> {
    (id & ID_MASK != 0).then_some(TaskId(id & ID_MASK))
}

fn local(id: u64) -> Option<LocalSpanId> {
    (id != 0).then_some(LocalSpanId(id))
}

/// Who a waker was.
pub(crate) fn waker(who: Who) -> Waker {
    let payload = who.payload();
    match who.kind() {
        Who::TASK => Waker::Task(TaskId(payload)),
        Who::DRIVER => Waker::Driver(ThreadId(payload)),
        Who::THREAD => Waker::Thread(ThreadId(payload)),
        Who::ITSELF => Waker::Itself,
        Who::YIELD => Waker::Yield(ThreadId(payload)),
        Who::COMPLETING => Waker::Completing(TaskId(payload)),
        Who::DROPPING => Waker::Dropping(TaskId(payload)),
        _ => Waker::Unknown,
    }
}

/// A task's kind.
pub(crate) fn kind_of_task(kind: u8) -> TaskKind {
    match kind {
        task_kind::LOCAL => TaskKind::Local,
        task_kind::MAIN => TaskKind::Main,
        task_kind::WRAPPED => TaskKind::Wrapped,
        task_kind::REQUEST => TaskKind::Request,
        task_kind::HOOKED => TaskKind::Hooked,
        _ => TaskKind::Spawned,
    }
}

/// Why a span exists.
pub(crate) fn source_of_span(source: u8) -> SpanSource {
    match source {
        source::TASK => SpanSource::Task,
        source::JOB => SpanSource::Job,
        source::SERVER => SpanSource::Server,
        source::CLIENT => SpanSource::Client,
        _ => SpanSource::Code,
    }
}

/// What a thread does.
pub(crate) fn kind_of_thread(kind: u8) -> ThreadKind {
    match kind {
        1 => ThreadKind::Main,
        2 => ThreadKind::Worker,
        3 => ThreadKind::Blocking,
        4 => ThreadKind::ThreadWorker,
        _ => ThreadKind::Other,
    }
}

fn outcome_of(how: u16) -> TaskOutcome {
    match how {
        outcome::CANCELLED => TaskOutcome::Cancelled,
        outcome::PANICKED => TaskOutcome::Panicked,
        _ => TaskOutcome::Finished,
    }
}

/// OpenTelemetry's ids, if the flags say that they are known and they are none of zero.
pub(crate) fn ids_of(bits: u16, ids: &record::SpanIds) -> Option<SpanIds> {
    let known = bits & flags::IDS != 0 && ids.trace != 0 && ids.span != 0;
    known.then_some(SpanIds {
        trace: TraceId(ids.trace),
        span: SpanId(ids.span),
        parent: (ids.parent != 0).then_some(SpanId(ids.parent)),
        parent_remote: bits & flags::REMOTE_PARENT != 0,
        sampled: bits & flags::SAMPLED != 0,
        foreign: bits & flags::FOREIGN != 0,
    })
}

impl Converter<'_> {
    /// A birth, from its record or its slot.
    pub fn birth(&mut self, raw: &record::Birth) -> Option<TaskBirth> {
        let key = self.names.key(self.files, raw.key);
        // The key's name is whole; the 32 bytes in the slot serve where the key found no room.
        let short = || Some(record::name_text(&raw.name)).filter(|name| !name.is_empty()).map(Into::into);
        Some(TaskBirth {
            task: task(raw.task)?,
            kind: kind_of_task(raw.kind),
            name: key.name.clone().or_else(short),
            location: key.location.clone(),
            future: key.future.clone(),
            size: raw.size as u64,
            parent: task(raw.parent),
            span: local(raw.span),
            runtime: self.names.runtime(self.files, raw.runtime),
            tokio_id: raw.tokio_id,
            born: self.line.time(raw.born),
        })
    }

    /// Totals up to `ended`. Idle is the rest, so that the sum is the lifetime in nanoseconds too.
    pub fn totals(&mut self, raw: &record::Totals, born: UnixNanos, ended: UnixNanos) -> TaskTotals {
        let lifetime = ended.since(born);
        let busy = self.line.ticks(raw.busy).min(lifetime);
        let scheduled = self.line.ticks(raw.scheduled).min(lifetime - busy);
        TaskTotals {
            polls: raw.polls,
            busy,
            nested: self.line.ticks(raw.nested).min(busy),
            scheduled,
            idle: lifetime - busy - scheduled,
            wakes: raw.wakes,
            self_wakes: raw.self_wakes,
            waker_clones: raw.clones,
            waker_drops: raw.drops,
        }
    }

    pub fn span_open(&mut self, raw: &record::SpanOpen, opened: u64, ids: Option<SpanIds>) -> SpanOpen {
        SpanOpen {
            span: LocalSpanId(raw.span),
            parent: local(raw.parent),
            ids,
            callsite: self.names.callsite(self.files, raw.callsite, raw.name),
            source: source_of_span(raw.source),
            opened: self.line.time(opened),
            task: task(raw.task),
        }
    }

    fn poll(&mut self, raw: &record::Poll, writer: u64, end: u64) -> Option<Event> {
        let start_tick = end.saturating_sub(raw.busy);
        // The newest first: it may renew the line, which begins behind it then.
        self.line.time(end);
        let start = self.line.time(start_tick);
        let outcome = match raw.flags & poll::OUTCOME {
            poll::READY => PollOutcome::Ready,
            poll::PANICKED => PollOutcome::Panicked,
            _ => PollOutcome::Pending,
        };
        Some(Event::Polled(Poll {
            task: task(raw.task)?,
            thread: ThreadId(writer),
            start,
            busy: self.line.length(raw.busy, end),
            nested: self.line.length(raw.nested, end),
            scheduled: self.line.length(raw.scheduled, start_tick),
            woken_by: (raw.flags & poll::UNWOKEN == 0).then(|| waker(raw.who)),
            wakes: raw.wakes,
            outcome,
            ordinal: raw.ordinal,
        }))
    }

    fn span_end(&mut self, raw: &record::SpanEnd, closed: u64) -> Option<Event> {
        if raw.open.span == 0 {
            return None;
        }
        let open = self.span_open(&raw.open, raw.opened, ids_of(raw.flags, &raw.ids));
        let ended = self.line.time(raw.ended.max(raw.opened));
        let duration = ended.since(open.opened);
        let busy = self.line.ticks(raw.busy).min(duration);
        let status = match (raw.flags & flags::ERROR != 0, raw.flags & flags::OK != 0) {
            (true, _) => Status::Error,
            (_, true) => Status::Ok,
            _ => Status::Unset,
        };
        Some(Event::SpanEnded(SpanEnd {
            open,
            ended,
            closed: self.line.time(closed),
            busy,
            scheduled: self.line.ticks(raw.scheduled).min(duration - busy),
            polls: raw.polls,
            status,
            cancelled: raw.flags & flags::CANCELLED != 0,
            detached: raw.flags & flags::DETACHED != 0,
            estimated: raw.flags & flags::ESTIMATED != 0,
            attributes: raw.attributes,
            dropped_attributes: raw.dropped,
            dropped_events: raw.dropped_events,
            dropped_links: raw.dropped_links,
        }))
    }

    /// Tells of a thread from its record.
    pub fn thread(&mut self, raw: &Raw<'_>, sink: &mut dyn FnMut(Event)) {
        let Record::Thread { writer, os_id, runtime, name } = Record::decode(raw) else { return };
        sink(Event::Thread {
            thread: ThreadId(writer),
            os_id: os_id as u32,
            kind: kind_of_thread((os_id >> 32) as u8),
            name: record::name_text(&name).into(),
            runtime: (runtime != 0).then(|| self.names.runtime(self.files, runtime)),
        });
    }

    /// Tells what one record says; `open` is what its ring was in the middle of.
    pub fn record(&mut self, writer: u64, raw: &Raw<'_>, open: &mut Open, sink: &mut dyn FnMut(Event)) {
        let tick = raw.tick;
        let decoded = Record::decode(raw);
        if !matches!(decoded, Record::Text { .. } | Record::Number { .. } | Record::More(_)) {
            open.finish(sink);
        }
        let event = match decoded {
            Record::Poll(poll) => self.poll(&poll, writer, tick),
            Record::TaskBirth(birth) => self.birth(&birth).map(Event::TaskBorn),
            Record::TaskEnd(end) => self.birth(&end.birth).map(|birth| {
                let ended = self.line.time(tick);
                let totals = self.totals(&end.totals, birth.born, ended);
                Event::TaskEnded(TaskEnd { birth, outcome: outcome_of(end.outcome), totals, ended })
            }),
            Record::Join { joiner, joined } => match (task(joiner), task(joined)) {
                (Some(joiner), Some(joined)) => {
                    Some(Event::Joined { joiner, joined, at: self.line.time(tick) })
                }
                _ => None,
            },
            Record::Park(length) => Some(Event::Parked {
                thread: ThreadId(writer),
                start: self.line.time(tick.saturating_sub(length)),
                length: self.line.length(length, tick),
            }),
            Record::Job(job) => {
                let key = self.names.key(self.files, job.key);
                let start = tick.saturating_sub(job.busy);
                Some(Event::Job {
                    thread: ThreadId(writer),
                    name: key.name.clone(),
                    location: key.location.clone(),
                    parent: task(job.parent),
                    span: local(job.span),
                    start: self.line.time(start),
                    busy: self.line.length(job.busy, tick),
                    queued: self.line.length(job.queued, start),
                    outcome: outcome_of(job.outcome),
                })
            }
            Record::SpanOpen(raw) if raw.span != 0 => {
                Some(Event::SpanOpened(self.span_open(&raw, tick, None)))
            }
            Record::SpanIds(span, bits, ids) => {
                local(span).zip(ids_of(bits, &ids)).map(|(span, ids)| Event::SpanIds(span, ids))
            }
            Record::SpanEnd(end) => self.span_end(&end, tick),
            Record::Link { span, local: to, ids } => local(span).map(|span| Event::SpanLink {
                span,
                to: local(to),
                remote: (ids.trace != 0 && ids.span != 0).then_some((TraceId(ids.trace), SpanId(ids.span))),
            }),
            Record::Event { span, callsite, attributes, dropped, beyond } => {
                let at = self.line.time(tick);
                let callsite = self.names.callsite(self.files, callsite, 0);
                open.begin_event(span, at, callsite, attributes, (dropped, beyond), sink);
                None
            }
            Record::Text { span, key, length, stored, part, of_event } => {
                let at = self.line.time(tick);
                open.begin_text(self.files, self.names, span, key, length, stored, part, of_event, at, sink);
                None
            }
            Record::Number { span, key, ty, bits, of_event } => {
                let at = self.line.time(tick);
                open.number(self.files, self.names, span, key, ty, bits, of_event, at, sink);
                None
            }
            Record::More(part) => {
                open.more(self.files, self.names, part, sink);
                None
            }
            // Threads are told from their slots, or by `thread`; stacks and samples have no view yet.
            Record::Thread { .. } | Record::Stack { .. } | Record::Sample { .. } => None,
            Record::SpanOpen(_) | Record::Unknown => None,
        };
        if let Some(event) = event {
            sink(event);
        }
    }
}
