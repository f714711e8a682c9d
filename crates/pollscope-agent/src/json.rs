//! The views as JSON: plain objects, times in nanoseconds since the Unix epoch, lengths in nanoseconds.

use crate::observe::{Observed, now, vanished};
use pollscope_collect::{SessionStatus, State};
use pollscope_model::Session;
use pollscope_model::event::{Attribute, SessionEnd, SpanSource, Status, Value};
use pollscope_model::session::Coverage;
use pollscope_model::tasks::Doing;
use pollscope_model::traces::{TraceSpan, TraceTree};
use pollscope_model::view::{PollNow, TaskRow};
use serde_json::{Map, Value as Json, json};

/// How a session stands, in one word.
pub fn state(state: State) -> &'static str {
    match state {
        State::Live => "live",
        State::Over(SessionEnd::Closed) => "closed",
        State::Over(SessionEnd::Panicked) => "panicked",
        State::Over(SessionEnd::Exited) => "exited",
        State::Over(SessionEnd::Died) => "died",
        State::Over(SessionEnd::Detached) => "detached",
    }
}

/// What was asked for, with the sessions that it was read from and the directories that could not be read.
pub fn answer(observed: &Observed, asked: Json) -> String {
    let mut whole = json!({
        "sessions": observed.sessions().iter().map(|status| session(observed, status)).collect::<Vec<_>>(),
        "refused_sessions": observed.refused.iter().map(|(path, why)| json!({
            "dir": path.to_string_lossy(),
            "why": why,
        })).collect::<Vec<_>>(),
    });
    if let (Json::Object(whole), Json::Object(asked)) = (&mut whole, asked) {
        whole.extend(asked);
    }
    format!("{whole}\n")
}

fn coverage(of: &Coverage) -> Json {
    json!({
        "runtime": &*of.runtime,
        "workers": of.workers,
        "recorded": of.recorded,
        "alive": of.alive,
    })
}

fn poll(of: &PollNow) -> Json {
    json!({
        "thread": &*of.thread,
        "os_id": of.os_id,
        "task": of.task.0,
        "name": of.label.as_deref(),
        "since": of.since.0,
        "length": of.length.0,
    })
}

fn session(observed: &Observed, status: &SessionStatus) -> Json {
    let model = observed.model.session(status.id);
    let classes = |counts: [u64; 3]| json!({"polls": counts[0], "span_ends": counts[1], "others": counts[2]});
    json!({
        "id": status.id.to_string(),
        "dir": status.dir.to_string_lossy(),
        "service": status.info.service(),
        "pid": status.info.pid,
        "state": state(status.state),
        "started": status.info.started.0,
        "exe": &*status.info.exe,
        "read": classes(status.read),
        "lost": classes(status.lost),
        "refused": status.refused.iter().map(|(name, n)| ((*name).to_owned(), json!(n))).collect::<Map<_, _>>(),
        "coverage": model.map_or_else(Vec::new, |model| model.coverage().iter().map(coverage).collect()),
        "live": model.map_or(0, Session::live_tasks),
        "polling": model.map_or_else(Vec::new, |model| model.polls_now(now()).iter().map(poll).collect()),
        "vanished": model.map_or(0, vanished),
        "bytes": status.bytes,
        "worker_ring_bytes": status.worker_ring_bytes,
        "rings": { "least": status.rings.least, "most": status.rings.most, "all": status.rings.all },
    })
}

/// A live task's doing: running, scheduled or idle.
pub fn doing(doing: Doing) -> (&'static str, u64) {
    match doing {
        Doing::Running(at) => ("running", at.0),
        Doing::Scheduled(at, _) => ("scheduled", at.0),
        Doing::Idle(at) => ("idle", at.0),
    }
}

/// A live task.
pub fn task(row: &TaskRow) -> Json {
    let (state, since) = doing(row.doing);
    json!({
        "session": row.session.to_string(),
        "service": &*row.service,
        "id": row.task.0,
        "name": row.name.as_deref(),
        "state": state,
        "since": since,
        "thread": row.thread.as_deref(),
        "location": row.location.to_string(),
        "future": &*row.future,
        "size": row.size,
        "runtime": &*row.runtime,
        "age": row.age.0,
        "polls": row.totals.polls,
        "busy": row.totals.busy.0,
        "nested": row.totals.nested.0,
        "scheduled": row.totals.scheduled.0,
        "idle": row.totals.idle.0,
        "wakes": row.totals.wakes,
        "self_wakes": row.totals.self_wakes,
        "wakers": row.wakers,
        "parent": row.parent.map(|task| task.0),
    })
}

fn value(value: &Value) -> Json {
    match value {
        Value::Str(text) => json!(&**text),
        Value::I64(n) => json!(n),
        Value::U64(n) => json!(n),
        Value::F64(n) => json!(n),
        Value::Bool(b) => json!(b),
    }
}

fn attributes(attributes: &[Attribute]) -> Json {
    let pairs = attributes.iter().map(|attribute| (attribute.key.to_string(), value(&attribute.value)));
    Json::Object(pairs.collect())
}

fn span(of: &TraceSpan) -> Json {
    let span = &of.span;
    let status = match span.status {
        Status::Unset => "unset",
        Status::Ok => "ok",
        Status::Error => "error",
    };
    let source = match span.source {
        SpanSource::Code => "code",
        SpanSource::Task => "task",
        SpanSource::Job => "job",
        SpanSource::Server => "server",
        SpanSource::Client => "client",
    };
    json!({
        "service": &*of.service,
        "span_id": span.ids.span.to_string(),
        "parent_span_id": span.ids.parent.map(|parent| parent.to_string()),
        "name": &*span.name,
        "source": source,
        "location": span.callsite.location.to_string(),
        "start": span.start.0,
        "end": span.end.0,
        "busy": span.busy.0,
        "scheduled": span.scheduled.0,
        "idle": span.idle.0,
        "polls": span.polls,
        "status": status,
        "unfinished": span.unfinished,
        "cancelled": span.cancelled,
        "detached": span.detached,
        "task": span.task.map(|task| task.0),
        "attributes": attributes(&span.attributes),
        "events": span.events.iter().map(|event| json!({
            "at": event.at.0,
            "name": &*event.callsite.name,
            "attributes": attributes(&event.attributes),
        })).collect::<Vec<_>>(),
    })
}

/// A trace.
pub fn trace(tree: &TraceTree) -> Json {
    json!({
        "trace_id": tree.id.to_string(),
        "start": tree.start.0,
        "duration": tree.duration().0,
        "errors": tree.errors,
        "spans": tree.nodes.iter().map(|node| span(&node.of)).collect::<Vec<_>>(),
    })
}
