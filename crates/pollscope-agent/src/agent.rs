//! `pollscope agent`: one loop that reads sessions, feeds the model, exports what is finished, and keeps the
//! journal.

use crate::cli::{AgentArgs, Events};
use crate::counts::{Counts, Covered, Unshown};
use crate::journal::open::{self, Open};
use crate::journal::{Journal, Left, Restored};
use crate::observe::{now, service_of};
use crate::outlet::Outlet;
use crate::retention::{Dead, Retention};
use crate::server;
use crate::settings::Settings;
use crate::show;
use crate::throttle::Throttle;
use anyhow::{Context, Result};
use pollscope_collect::{Claim, Collector, Notice, Options, Positions, SessionStatus, Start, State};
use pollscope_export::own::{Own, Step};
use pollscope_export::pipeline::Leftover;
use pollscope_export::{Batch, Config, Settled, Signal};
use pollscope_model::event::{Event as Fact, SessionEnd};
use pollscope_model::text::clean;
use pollscope_model::traces::{TraceLimits, Traces};
use pollscope_model::{Limits, Model, SessionId, UnixNanos};
use std::collections::{HashMap, HashSet};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Time between two rounds while records come in.
const BUSY: Duration = Duration::from_millis(50);
/// The longest time between two rounds, when none came for a while.
const IDLE: Duration = Duration::from_millis(400);
/// Time between two looks for sessions.
const DISCOVER: Duration = Duration::from_millis(250);
/// Time between two looks at the slots of live tasks.
const SLOTS: Duration = Duration::from_secs(1);
/// Passes in a row that left something unread, after which a round ends all the same.
const PASSES: u32 = 16;
/// Time between two writes of the journal while no batch is full; then the open batch is sealed too.
const WRITE: Duration = Duration::from_secs(1);
/// Spans taken from the model at a time.
const TAKE: usize = 10_000;
/// Log records kept in the model: all are taken at each turn, but for those that wait for their ids.
const LOGS: usize = 65_536;

/// All that can wake the loop.
enum Event {
    /// It is time for a round.
    Round,
    /// A batch is acknowledged, refused or dropped: the journal need not keep it.
    Settled(Settled),
    /// The agent was asked to end.
    Stop,
}

/// What an agent tells on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// All that it finds and does.
    All,
    /// What keeps spans from leaving.
    Export,
    /// Nothing.
    Nothing,
}

/// The agent.
pub struct Agent {
    pub collector: Collector,
    pub model: Model,
    pub traces: Traces,
    spans_out: Option<Outlet>,
    logs_out: Option<Outlet>,
    events: Events,
    journal: Option<Journal>,
    /// Where the readers stood before the last round: all span ends before it have left the model.
    before: Positions,
    /// Where those of an earlier agent stood.
    restored: Positions,
    /// Batches that it left.
    earlier: HashSet<(Signal, u64)>,
    /// Where they stood when the last round ended.
    at_round: Positions,
    /// Passes since then.
    passes: u32,
    /// Something is to be written, and when that was last done, with how many batches sealed.
    unwritten: bool,
    written: Option<(Instant, u64)>,
    /// Open spans of the journal whose sessions were not found yet.
    open: Open,
    throttle: Option<Throttle>,
    exporting: HashSet<SessionId>,
    held: HashMap<SessionId, Option<u32>>,
    retention: Retention,
    /// When sessions were first seen to be dead by an earlier agent; each until it is found.
    dead: HashMap<SessionId, UnixNanos>,
    discovered: Option<Instant>,
    slots: Option<Instant>,
    counts: Arc<Counts>,
    settled: mpsc::UnboundedReceiver<Settled>,
    own: Option<Own>,
    says: Says,
}

/// `pollscope agent`.
pub async fn main(arguments: AgentArgs) -> Result<ExitCode> {
    let settings = Settings::resolve(&arguments)?;
    let pages = match &settings.listen {
        Some(address) => server::resolve(address).await?,
        None => Vec::new(),
    };
    let mut stop = stop_signal()?;
    let mut agent = Agent::start(&arguments, &settings, Says::All)?;
    if let Some(address) = &settings.listen {
        // The page is a convenience: a port in use must not keep traces from leaving.
        match server::start(&pages, agent.counts.clone()).await {
            Ok(address) => {
                show::say(format_args!("/healthz, /readyz and /metrics on http://{address}"));
            }
            Err(error) => show::say(format_args!(
                "no page of our own: cannot listen on {address}: {error}; choose another with --listen"
            )),
        }
    }
    agent.run(&mut stop).await;
    agent.finish(settings.grace).await?;
    Ok(ExitCode::SUCCESS)
}

/// Becomes ready when the process is asked to end.
pub fn stop_signal() -> Result<mpsc::Receiver<()>> {
    let (tell, told) = mpsc::channel(1);
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = tell.send(()).await;
    });
    Ok(told)
}

impl Agent {
    /// Reads the journal and begins to follow.
    pub fn start(arguments: &AgentArgs, settings: &Settings, says: Says) -> Result<Agent> {
        let (tell, settled) = mpsc::unbounded_channel();
        let mut options = Options {
            dirs: settings.dirs.clone(),
            service: arguments.which.service.clone(),
            session: arguments.which.session.clone(),
            since: arguments.which.since,
            ..Options::default()
        };
        let mut journal = None;
        let (mut spans_out, mut logs_out) = (None, None);
        let mut before = Positions::new();
        let mut earlier = HashSet::new();
        let mut open = Open::new();
        let mut dead = HashMap::new();
        let as_logs = settings.events == Events::Logs;
        let exports = settings.export.is_some() || as_logs && settings.logs.is_some();
        if !arguments.export.no_export {
            if settings.export.is_none() {
                let what = if exports { "no span" } else { "nothing" };
                show::say(format_args!(
                    "{what} is exported: OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER or pollscope.toml says so"
                ));
            }
            if as_logs && settings.logs.is_none() && settings.export.is_some() {
                show::say(format_args!("no event is exported: OTEL_LOGS_EXPORTER says so"));
            }
        }
        if exports {
            let Restored { journal: restored, positions, batches, open: left, dead: seen, damaged } =
                Journal::open(&settings.state)?;
            for path in damaged {
                show::say(format_args!("the journal's {} is damaged and was left out", path.display()));
            }
            before.clone_from(&positions);
            earlier = batches.iter().map(|batch| (batch.signal, batch.id)).collect();
            open = left;
            dead = seen;
            options.start = Start::Resume(positions);
            let (spans, logs): (Vec<Batch>, Vec<Batch>) =
                batches.into_iter().partition(|batch| batch.signal == Signal::Traces);
            // Batches are sealed with the journal, once a second: no batch may leave before it is in there.
            let start = |config: &Config, batches| Outlet::start(config, 60 * WRITE, batches, tell.clone());
            if let Some(config) = &settings.export {
                spans_out = Some(start(config, spans)?);
            }
            if let Some(config) = &settings.logs
                && (as_logs || !logs.is_empty())
            {
                logs_out = Some(start(config, logs)?);
            }
            journal = Some(restored);
        }
        let counts = Arc::<Counts>::default();
        let own = match &settings.export {
            Some(config) if settings.own_telemetry => {
                let counts = counts.clone();
                Some(Own::start(config, move || counts.readings())?)
            }
            _ => None,
        };
        Ok(Agent {
            collector: Collector::new(options),
            model: Model::new(Limits { logs: if as_logs { LOGS } else { 0 }, ..Limits::default() }),
            traces: Traces::new(TraceLimits::default()),
            spans_out,
            logs_out,
            events: settings.events,
            journal,
            at_round: before.clone(),
            restored: before.clone(),
            earlier,
            before,
            passes: 0,
            unwritten: false,
            written: None,
            open,
            throttle: settings.max_spans_per_second.map(|most| Throttle::new(most.get(), Instant::now())),
            exporting: HashSet::new(),
            held: HashMap::new(),
            dead,
            retention: Retention::new(settings.keep_dead, settings.keep_dead_bytes),
            discovered: None,
            slots: None,
            counts,
            settled,
            own,
            says,
        })
    }

    fn say(&self, text: std::fmt::Arguments<'_>) {
        if self.says == Says::All {
            show::say(format_args!("{}", clean(&text.to_string())));
        }
    }

    fn say_of_export(&self, text: std::fmt::Arguments<'_>) {
        if self.says != Says::Nothing {
            show::say(format_args!("{}", clean(&text.to_string())));
        }
    }

    /// Runs until it is asked to end.
    pub async fn run(&mut self, stop: &mut mpsc::Receiver<()>) {
        let mut wait = BUSY;
        loop {
            let event = tokio::select! {
                _ = stop.recv() => Event::Stop,
                Some(settled) = self.settled.recv() => Event::Settled(settled),
                () = tokio::time::sleep(wait) => Event::Round,
            };
            match event {
                // One pass over all rings; the next one comes later when there is little to read.
                Event::Round => {
                    let records = self.turn();
                    wait = if records > 16 { BUSY } else { (wait * 2).min(IDLE) };
                }
                // The file of that batch can go.
                Event::Settled(settled) => self.settle(settled),
                // The caller flushes.
                Event::Stop => return,
            }
        }
    }

    fn settle(&mut self, settled: Settled) {
        if let Some(journal) = &mut self.journal {
            journal.settled(settled.signal, settled.id);
        }
    }

    /// One turn: sessions, a round, what is finished, the journal. Gives the records read.
    pub fn turn(&mut self) -> u64 {
        let at = Instant::now();
        let mut steps = Steps::begin();
        if self.discovered.is_none_or(|last| at - last >= DISCOVER) {
            self.discovered = Some(at);
            self.discover();
            steps.done("discover");
        }
        let round = self.collector.round(&mut |session, fact| {
            if let Fact::Lost { class, records, .. } = &fact {
                self.counts.lost(*class, *records);
            }
            self.model.apply(session, fact);
        });
        if self.slots.is_none_or(|last| at - last >= SLOTS) {
            self.slots = Some(at);
            self.collector.slots(&mut |session, event| self.model.apply(session, event));
            self.counts.cover(Covered::of(&self.model));
        }
        self.passes += 1;
        let whole = !round.more || self.passes >= PASSES;
        if whole {
            self.passes = 0;
            self.model.end_round();
        }
        self.counts.read(round.records);
        steps.done("read");
        let sent = self.export();
        steps.done("export");
        if whole {
            // What was read before the round that ended last has now left the model.
            let before = std::mem::replace(&mut self.at_round, self.collector.positions());
            self.unwritten |= before != self.before;
            self.before = before;
        }
        self.unwritten |= sent || self.retention.any(|id| self.is_held(id));
        let sealed = self.sealed();
        let due = self.written.is_none_or(|(last, then)| then != sealed || at - last >= WRITE);
        if self.unwritten && due {
            self.write_journal();
            steps.done("write journal");
        }
        self.report();
        if let Some(own) = &self.own
            && (round.records > 0 || sent)
        {
            let counts = [("pollscope.records.read", round.records), ("pollscope.records.lost", round.lost)];
            own.turn(steps.whole("turn"), &steps.done, counts);
        }
        round.records
    }

    fn discover(&mut self) {
        // One moment for all: of those that are found dead together the oldest began first.
        let now = now();
        for notice in self.collector.discover() {
            match notice {
                Notice::Found(id, path) => {
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    self.say(format_args!("following {name}"));
                    if let Some(spans) = self.open.remove(&id) {
                        self.model.restore(id, spans);
                    }
                    self.claim(id);
                    if self.exporting.contains(&id) && self.withheld(id) {
                        self.say(format_args!(
                            "{name} wants no spans exported (OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER): it is only shown here"
                        ));
                    }
                    if self.events == Events::Logs && self.exporting.contains(&id) && self.withheld_logs(id) {
                        self.say(format_args!(
                            "{name} wants no log records exported (OTEL_SDK_DISABLED, OTEL_LOGS_EXPORTER): its events are only shown here"
                        ));
                    }
                }
                Notice::Refused(path, why) => {
                    self.say(format_args!("cannot follow {}: {why}", path.display()));
                    self.counts.refuse();
                }
                Notice::Ended(id, how) => {
                    // One that was dead when it was found is not in the model yet.
                    let sessions = self.collector.sessions();
                    let found = sessions.iter().find(|status| status.id == id);
                    let service = found.map_or("a service", |status| status.info.service());
                    if let Some(SessionStatus { info, bytes, .. }) = found {
                        let since = self.dead.remove(&id).unwrap_or(now);
                        self.unwritten = true;
                        self.retention.died(id, Dead { since, started: info.started, bytes: *bytes });
                    }
                    let how = match how {
                        SessionEnd::Closed => "closed",
                        SessionEnd::Panicked => "panicked",
                        SessionEnd::Exited => "exited",
                        SessionEnd::Died => "died",
                        SessionEnd::Detached => "was let go",
                    };
                    self.say(format_args!("{service} {how}"));
                }
                Notice::Gone(id) => self.gone(id),
            }
        }
        // Another exporter may have gone.
        for id in self.held.keys().copied().collect::<Vec<_>>() {
            self.claim(id);
        }
        for id in self.retention.due(now, |id| self.is_held(id)) {
            if self.collector.remove(id) {
                self.gone(id);
            }
        }
    }

    /// Whether a dead session is still needed: not all of it was read, or not all that is to be exported stands in the
    /// journal.
    fn is_held(&self, id: SessionId) -> bool {
        let read = self.model.session(id).is_some_and(|session| session.ended().is_some());
        let journal = self.journal.as_ref().filter(|_| self.exporting.contains(&id));
        !read || journal.is_some_and(|journal| !journal.done.contains(&id.0))
    }

    /// A session stands there no more: nothing of it is needed.
    fn gone(&mut self, id: SessionId) {
        self.retention.gone(id);
        self.exporting.remove(&id);
        self.held.remove(&id);
        if let Some(journal) = &mut self.journal {
            journal.done.remove(&id.0);
        }
        self.outlets().for_each(|outlet| outlet.pipeline.forget(id));
        self.model.forget(id);
    }

    /// Whether a service wants none of its spans exported.
    fn withheld(&self, id: SessionId) -> bool {
        self.collector.sessions().iter().any(|status| status.id == id && status.info.withheld)
    }

    /// Whether a service wants none of its events exported as log records.
    fn withheld_logs(&self, id: SessionId) -> bool {
        self.collector.sessions().iter().any(|status| status.id == id && status.info.withheld_logs)
    }

    fn outlets(&self) -> impl Iterator<Item = &Outlet> {
        self.spans_out.iter().chain(&self.logs_out)
    }

    /// A number that grows with each batch that was sealed.
    fn sealed(&self) -> u64 {
        self.outlets().map(|outlet| outlet.pipeline.sealed()).sum()
    }

    fn claim(&mut self, id: SessionId) {
        if self.outlets().next().is_none() || self.exporting.contains(&id) {
            return;
        }
        match self.collector.claim(id) {
            Ok(Claim::Exporter) => {
                self.held.remove(&id);
                self.exporting.insert(id);
            }
            Ok(Claim::HeldBy(holder)) => {
                if self.held.insert(id, holder).is_none() {
                    let who = holder.map_or_else(
                        || "another agent".to_owned(),
                        |pid| format!("the agent with pid {pid}"),
                    );
                    self.say(format_args!("session {id} is exported by {who}: it is only shown here"));
                }
            }
            Err(error) => {
                if self.held.insert(id, None).is_none() {
                    self.say(format_args!("cannot claim session {id}: {error}: it is only shown here"));
                }
            }
        }
    }

    /// Moves log records into their pipeline; whether there were any.
    fn export_logs(&mut self) -> bool {
        let logs = self.model.take_logs();
        let Some(outlet) = &self.logs_out else { return false };
        let done = self.journal.as_ref().map(|journal| &journal.done);
        let withheld = |id| self.model.session(id).is_some_and(|session| session.info().withheld_logs);
        let (held, ours): (Vec<_>, Vec<_>) = logs
            .iter()
            .filter(|log| self.exporting.contains(&log.session))
            .filter(|log| done.is_none_or(|done| !done.contains(&log.session.0)))
            .partition(|log| withheld(log.session));
        self.counts.withhold_logs(held.len() as u64);
        let sessions: HashSet<SessionId> = ours.iter().map(|log| log.session).collect();
        for session in sessions.into_iter().filter_map(|id| self.model.session(id)) {
            outlet.pipeline.session(session.id(), session.info());
        }
        let any = !ours.is_empty();
        outlet.pipeline.add_logs(ours);
        any
    }

    /// Moves finished spans into traces and pipeline, and log records; whether any was put into a pipeline.
    fn export(&mut self) -> bool {
        let mut sent = self.export_logs();
        loop {
            let mut finished = self.model.take_finished(TAKE);
            if finished.is_empty() {
                return sent;
            }
            for span in &mut finished {
                let service = service_of(&self.model, span.session);
                self.traces.add(&service, span);
                if self.events == Events::Logs {
                    span.events.clear();
                    // As log records none of them is beyond a span's limit.
                    span.dropped_events = 0;
                }
            }
            if let Some(Outlet { pipeline, .. }) = &self.spans_out {
                let done = self.journal.as_ref().map(|journal| &journal.done);
                let withheld = |id| self.model.session(id).is_some_and(|session| session.info().withheld);
                let (held, mut ours): (Vec<_>, Vec<_>) = finished
                    .iter()
                    .filter(|span| self.exporting.contains(&span.session))
                    .filter(|span| done.is_none_or(|done| !done.contains(&span.session.0)))
                    .filter(|span| {
                        self.counts.foreign(u64::from(span.ids.foreign));
                        !span.ids.foreign
                    })
                    .partition(|span| withheld(span.session));
                self.counts.withhold(held.len() as u64);
                if let Some(throttle) = &mut self.throttle {
                    let (all, at) = (ours.len(), Instant::now());
                    ours.retain(|span| !span.ids.sampled || throttle.admits(span.ids.trace.0, at));
                    if self.counts.throttle((all - ours.len()) as u64) {
                        self.say(format_args!(
                            "there are more spans than --max-spans-per-second: whole traces are not exported, and shown here alone"
                        ));
                    }
                }
                let sessions: HashSet<SessionId> = ours.iter().map(|span| span.session).collect();
                for id in sessions {
                    if let Some(session) = self.model.session(id) {
                        pipeline.session(id, session.info());
                    }
                }
                sent |= !ours.is_empty();
                pipeline.add(ours);
            }
        }
    }

    fn write_journal(&mut self) {
        let batches: Vec<Batch> =
            self.outlets().flat_map(|outlet| outlet.pipeline.unacknowledged()).collect();
        let sealed = self.sealed();
        let Some(journal) = &mut self.journal else { return };
        let mut positions = remembered(&self.before, self.collector.positions(), &self.exporting);
        let exporting = &self.exporting;
        for (id, _) in self.collector.states().filter(|(_, state)| matches!(state, State::Over(_))) {
            let told = self.model.session(id).is_some_and(|session| session.ended().is_some());
            // One turn after its end all of it has left the model.
            if told && session_is_empty(&self.model, id) && exporting.contains(&id) {
                journal.done.insert(id.0);
            }
        }
        let mut gone = gone(&self.model, exporting);
        let others = Others::of(&self.collector, &self.restored, &self.open, &self.dead);
        gone.extend(others.left);
        positions.extend(others.positions);
        let dead = self.retention.since().chain(others.dead);
        let written = journal.write(&positions, &gone, dead, &batches);
        self.unwritten = false;
        self.written = Some((Instant::now(), sealed));
        if let Err(error) = written
            && !self.counts.journal_failed()
        {
            show::say(format_args!("{error:#}: after a restart, spans may be sent twice"));
        }
    }

    fn report(&mut self) {
        let mut news = Vec::new();
        let mut stats_of = |outlet: &mut Option<Outlet>| {
            outlet.as_mut().map_or_else(Default::default, |outlet| {
                let stats = outlet.pipeline.stats();
                news.extend(outlet.news(&stats));
                stats
            })
        };
        let (spans, logs) = (stats_of(&mut self.spans_out), stats_of(&mut self.logs_out));
        news.iter().for_each(|text| self.say_of_export(format_args!("{text}")));
        let (live, dead): (Vec<_>, Vec<_>) =
            self.collector.states().partition(|(_, state)| *state == State::Live);
        self.counts.publish(live.len(), dead.len(), spans, logs, Unshown::of(&self.model));
    }

    /// Reads what is left, sends it for at most `grace`, and writes the journal.
    pub async fn finish(&mut self, grace: Duration) -> Result<()> {
        self.discover();
        self.turn();
        // Two ends of rounds without reading: what was read leaves the model.
        let now = self.collector.positions();
        for _ in 0..2 {
            self.model.end_round();
            self.export();
        }
        self.model.release_logs();
        self.export_logs();
        self.before = now;
        self.write_journal();
        let (spans, logs) = (self.spans_out.take(), self.logs_out.take());
        let own = self.own.take();
        let own = async {
            if let Some(own) = own {
                own.shutdown(grace).await;
            }
        };
        let (spans, logs, ()) = tokio::join!(shut(spans, grace), shut(logs, grace), own);
        while let Ok(settled) = self.settled.try_recv() {
            self.settle(settled);
        }
        let left: Vec<Batch> = [spans.batches, logs.batches].concat();
        for signal in [Signal::Traces, Signal::Logs] {
            // Beside a command, what was left before it is not its.
            let ours =
                |batch: &&Batch| self.says == Says::All || !self.earlier.contains(&(batch.signal, batch.id));
            let of_signal = left.iter().filter(|batch| batch.signal == signal).filter(ours);
            let items: u64 = of_signal.map(|batch| u64::from(batch.items)).sum();
            if items > 0 {
                self.say_of_export(format_args!(
                    "{items} {} could not be sent; they wait in the journal",
                    signal.items()
                ));
            }
        }
        if let Some(journal) = &mut self.journal {
            let mut positions = remembered(&self.before, self.collector.positions(), &self.exporting);
            let mut gone = gone(&self.model, &self.exporting);
            let others = Others::of(&self.collector, &self.restored, &self.open, &self.dead);
            positions.extend(others.positions);
            gone.extend(others.left);
            journal.write(&positions, &gone, self.retention.since().chain(others.dead), &left)?;
            let mut entries = open::entries(&self.model, self.exporting.iter().copied());
            entries.extend(others.open);
            journal.write_open(&entries)?;
        }
        Ok(())
    }
}

/// Sends what is left, for at most `grace`.
async fn shut(outlet: Option<Outlet>, grace: Duration) -> Leftover {
    match outlet {
        Some(outlet) => outlet.pipeline.shutdown(grace).await,
        None => Leftover::default(),
    }
}

/// When the steps of a turn began and ended.
struct Steps {
    begin: SystemTime,
    last: SystemTime,
    done: Vec<Step>,
}

impl Steps {
    fn begin() -> Steps {
        let now = SystemTime::now();
        Steps { begin: now, last: now, done: Vec::with_capacity(4) }
    }

    /// What was done since the step before.
    fn done(&mut self, name: &'static str) {
        let begin = std::mem::replace(&mut self.last, SystemTime::now());
        self.done.push(Step { name, begin, end: self.last });
    }

    fn whole(&self, name: &'static str) -> Step {
        Step { name, begin: self.begin, end: SystemTime::now() }
    }
}

/// What the journal keeps: of the sessions that this agent exports, where the readers stood before the last round,
/// and the clock line as it is now, so that a tick is told the same nanosecond after a restart.
fn remembered(before: &Positions, now: Positions, exporting: &HashSet<SessionId>) -> Positions {
    now.into_iter()
        .filter(|(id, _)| exporting.contains(&SessionId(*id)))
        .map(|(id, mut at)| {
            at.rings = before.get(&id).map(|before| before.rings.clone()).unwrap_or_default();
            (id, at)
        })
        .collect()
}

/// What an earlier agent left of sessions that stand there and that this one does not follow: it stays in the journal, so
/// that nothing of them leaves twice when an agent comes that does.
struct Others {
    positions: Positions,
    left: Left,
    open: Vec<open::Entry>,
    dead: Vec<(SessionId, UnixNanos)>,
}

impl Others {
    fn of(
        collector: &Collector,
        restored: &Positions,
        open: &Open,
        dead: &HashMap<SessionId, UnixNanos>,
    ) -> Others {
        let (mut positions, mut left, mut entries) = (Positions::new(), Left::new(), Vec::new());
        let mut since = Vec::new();
        for (id, _) in collector.unwanted() {
            positions.extend(restored.get(&id.0).map(|at| (id.0, at.clone())));
            since.extend(dead.get(&id).map(|at| (id, *at)));
            let spans = open.get(&id).map_or(&[][..], Vec::as_slice);
            let gone: Vec<u64> = spans.iter().filter(|span| span.left).map(|span| span.span.0).collect();
            if !gone.is_empty() {
                left.insert(id, gone);
            }
            entries.extend(open::kept(id, spans));
        }
        Others { positions, left, open: entries, dead: since }
    }
}

/// Spans of the sessions that this agent exports which left before their end.
fn gone(model: &Model, exporting: &HashSet<SessionId>) -> Left {
    let of = |id: &SessionId| {
        let mut spans: Vec<u64> = model.session(*id)?.gone_spans().map(|span| span.0).collect();
        spans.sort_unstable();
        (!spans.is_empty()).then_some((*id, spans))
    };
    exporting.iter().filter_map(of).collect()
}

/// Whether all spans of a session have left the model.
fn session_is_empty(model: &Model, id: SessionId) -> bool {
    model.session(id).is_none_or(|session| session.open_span_count() == 0)
}
