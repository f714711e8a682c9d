//! Reading sessions for a view: a collector and a model, without an agent.

use crate::cli::{Sort, TasksArgs, Which};
use crate::show;
use anyhow::Result;
use pollscope_collect::{Collector, Notice, Options, SessionStatus, Start};
use pollscope_model::traces::{TraceLimits, Traces};
use pollscope_model::view::{TaskFilter, TaskSort};
use pollscope_model::{Limits, Model, Session, SessionId, UnixNanos};
use std::collections::HashSet;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Rounds in one look at most: a writer may be faster than we are.
const ROUNDS: usize = 64;

/// For so many rounds the model waits for the end of a task or span that its slot does not show any more.
const GONE_ROUNDS: usize = 4;

/// A collector and what came of it.
pub struct Observed {
    /// What was asked for.
    pub which: Which,
    pub collector: Collector,
    pub model: Model,
    pub traces: Traces,
    pub refused: Vec<(PathBuf, String)>,
    /// Sessions with spans under the ids of an OpenTelemetry layer.
    pub bound: HashSet<SessionId>,
}

impl Observed {
    /// Nothing read yet.
    pub fn new(which: &Which) -> Observed {
        let options = Options {
            dirs: which.dir.clone(),
            service: which.service.clone(),
            session: which.session.clone(),
            since: which.since,
            start: Start::Oldest,
            own: None,
        };
        Observed {
            which: which.clone(),
            collector: Collector::new(options),
            model: Model::new(Limits::default()),
            traces: Traces::new(TraceLimits::default()),
            refused: Vec::new(),
            bound: HashSet::new(),
        }
    }

    /// Looks for sessions and reads what stands there, live tasks too.
    pub fn look(&mut self) {
        for notice in self.collector.discover() {
            if let Notice::Refused(path, why) = notice {
                self.refused.push((path, why));
            }
        }
        for _ in 0..ROUNDS {
            let more = self.round();
            if !more {
                break;
            }
        }
        self.slots();
        // A task is given up when a second reading misses it too, and its end did not come in between.
        for _ in 0..GONE_ROUNDS {
            self.round();
        }
        self.slots();
        self.round();
        // A span leaves the model a round after its end was read.
        for _ in 0..2 {
            self.model.end_round();
            self.keep_traces();
        }
    }

    fn slots(&mut self) {
        self.collector.slots(&mut |session, event| self.model.apply(session, event));
    }

    fn round(&mut self) -> bool {
        let round = self.collector.round(&mut |session, event| self.model.apply(session, event));
        if !round.more {
            self.model.end_round();
            self.keep_traces();
        }
        round.more
    }

    fn keep_traces(&mut self) {
        for span in self.model.take_finished(usize::MAX) {
            let service: Arc<str> = service_of(&self.model, span.session);
            if span.ids.foreign {
                self.bound.insert(span.session);
            }
            self.traces.add(&service, &span);
        }
    }

    /// The sessions read.
    pub fn sessions(&self) -> Vec<SessionStatus> {
        self.collector.sessions()
    }
}

/// Tasks of a session that are over without their ends having been read.
pub fn vanished(session: &Session) -> u64 {
    session.groups().iter().map(|group| group.vanished).sum()
}

/// A session's service.
pub fn service_of(model: &Model, session: SessionId) -> Arc<str> {
    model.session(session).map_or_else(|| "unknown_service".into(), |session| session.info().service().into())
}

/// The time now.
pub fn now() -> UnixNanos {
    UnixNanos(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64))
}

/// The model's order.
fn order(sort: Sort) -> TaskSort {
    match sort {
        Sort::State => TaskSort::Doing,
        Sort::Busy => TaskSort::Busy,
        Sort::Scheduled => TaskSort::Scheduled,
        Sort::Idle => TaskSort::Idle,
        Sort::Polls => TaskSort::Polls,
        Sort::Wakes => TaskSort::Wakes,
        Sort::Age => TaskSort::Age,
        Sort::Name => TaskSort::Name,
    }
}

/// `pollscope tasks`.
pub async fn tasks(arguments: &TasksArgs) -> Result<ExitCode> {
    let mut observed = Observed::new(&arguments.which);
    loop {
        observed.look();
        let list =
            observed.model.tasks(now(), &TaskFilter::default(), order(arguments.sort), arguments.limit);
        let none = observed.sessions().is_empty();
        let drawn = arguments.watch && !arguments.json && std::io::stdout().is_terminal();
        let height = drawn.then(|| show::size().1.saturating_sub(1));
        let text = match (arguments.json, none) {
            (true, _) => show::tasks_json(&observed, &list),
            (false, false) => show::tasks(&observed, &list, height),
            (false, true) if arguments.watch => show::nothing_found(&observed),
            (false, true) => String::new(),
        };
        show::print(&if drawn { show::redrawn(&text) } else { text })?;
        if !arguments.watch {
            return Ok(if none { show::nothing(&show::nothing_found(&observed)) } else { ExitCode::SUCCESS });
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
        }
    }
}
