//! The model: facts of many sessions in, finished spans and views out.
//!
//! The reader applies all facts of one pass over all rings and then ends the round. Rounds are the model's only
//! clock: how long to wait for late pieces is counted in them.

use crate::event::{Event, SessionId};
use crate::limits::Limits;
use crate::session::Session;
use crate::span::{FinishedSpan, Log};
use crate::spans::{OpenSpan, SpanCounters};
use std::collections::{BTreeMap, VecDeque};

/// What happened in all sessions.
///
/// ```
/// use pollscope_model::event::{Event, SessionId, SessionInfo};
/// use pollscope_model::Model;
///
/// let mut model = Model::default();
/// model.apply(SessionId(7), Event::SessionBegan(SessionInfo { pid: 42, ..SessionInfo::default() }));
/// model.end_round();
/// assert_eq!(model.session(SessionId(7)).expect("it began").info().pid, 42);
/// assert!(model.take_finished(1_000).is_empty());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Model {
    limits: Limits,
    round: u64,
    sessions: BTreeMap<SessionId, Session>,
    finished: VecDeque<FinishedSpan>,
    overflow: u64,
    logs: VecDeque<Log>,
    log_overflow: u64,
    /// Of sessions that were let go.
    gone: SpanCounters,
    gone_polls_of_unknown: u64,
    gone_refused_births: u64,
}

impl Model {
    /// A model with bounds of one's own.
    pub fn new(limits: Limits) -> Model {
        Model { limits, ..Model::default() }
    }

    /// Takes in one fact. The session's [`Event::SessionBegan`] comes first; all others in any order.
    pub fn apply(&mut self, session: SessionId, event: Event) {
        let limits = self.limits;
        let known = self.sessions.entry(session).or_insert_with(|| Session::new(session, limits));
        known.apply(event, self.round);
    }

    /// To be called after each whole pass over all rings. Spans whose end was read in the pass before are
    /// finished now; so are all spans of sessions that have ended.
    pub fn end_round(&mut self) {
        for session in self.sessions.values_mut() {
            self.logs.extend(session.end_logs(self.round, false));
            self.finished.extend(session.end_round(self.round));
        }
        while self.logs.len() > self.limits.logs {
            self.logs.pop_front();
            self.log_overflow += 1;
        }
        while self.finished.len() > self.limits.finished_spans {
            self.finished.pop_front();
            self.overflow += 1;
        }
        self.leave();
        self.round += 1;
    }

    /// Gives out what ended sessions left, as far as there is room: it waits where it is.
    fn leave(&mut self) {
        for session in self.sessions.values_mut() {
            let room = self.limits.finished_spans.saturating_sub(self.finished.len());
            if room == 0 {
                return;
            }
            self.finished.extend(session.leave(room));
        }
    }

    /// The finished spans that were not taken yet, oldest first, at most so many.
    pub fn take_finished(&mut self, most: usize) -> Vec<FinishedSpan> {
        let mut taken = Vec::new();
        loop {
            let count = self.finished.len().min(most - taken.len());
            if count == 0 {
                return taken;
            }
            let full = self.finished.len() >= self.limits.finished_spans;
            taken.extend(self.finished.drain(..count));
            if full {
                self.leave();
            }
        }
    }

    /// Events that leave by themselves and were not taken yet, oldest first. Spans have them all the same.
    pub fn take_logs(&mut self) -> Vec<Log> {
        self.logs.drain(..).collect()
    }

    /// Makes ready to be taken all events that still wait for their ids: nobody will read on.
    pub fn release_logs(&mut self) {
        for session in self.sessions.values_mut() {
            self.logs.extend(session.end_logs(self.round, true));
        }
    }

    /// Events that did not leave by themselves: too many waited, for their ids or for being taken.
    pub fn lost_logs(&self) -> u64 {
        self.span_counters().refused_logs + self.log_overflow
    }

    /// Finished spans that nobody has taken yet.
    pub fn finished_waiting(&self) -> usize {
        self.finished.len()
    }

    /// Finished spans thrown away because nobody took them.
    pub fn finished_overflow(&self) -> u64 {
        self.overflow
    }

    /// What could not be shown of spans, of all sessions that ever were.
    pub fn span_counters(&self) -> SpanCounters {
        let mut sum = self.gone;
        self.sessions.values().for_each(|session| sum.add(&session.span_counters()));
        sum
    }

    /// Polls of tasks whose birth was never read, of all sessions that ever were.
    pub fn polls_of_unknown_tasks(&self) -> u64 {
        let known: u64 = self.sessions.values().map(Session::polls_of_unknown_tasks).sum();
        self.gone_polls_of_unknown + known
    }

    /// Births refused because too many tasks were alive, of all sessions that ever were.
    pub fn refused_births(&self) -> u64 {
        self.gone_refused_births + self.sessions.values().map(Session::refused_births).sum::<u64>()
    }

    /// Rounds that have ended.
    pub fn rounds(&self) -> u64 {
        self.round
    }

    /// One session.
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    /// All sessions, by id.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values()
    }

    /// Everything known of a session's spans that have not left, for a journal. Empty if there is no such
    /// session.
    pub fn open_spans(&self, session: SessionId) -> Vec<OpenSpan> {
        self.session(session).map(Session::open_spans).unwrap_or_default()
    }

    /// Puts spans back that [`Model::open_spans`] gave to a journal. What was read since is kept beside.
    pub fn restore(&mut self, session: SessionId, spans: impl IntoIterator<Item = OpenSpan>) {
        let limits = self.limits;
        let known = self.sessions.entry(session).or_insert_with(|| Session::new(session, limits));
        spans.into_iter().for_each(|span| known.restore(span, self.round));
    }

    /// Lets go of a session. Its finished spans can still be taken.
    pub fn forget(&mut self, session: SessionId) {
        if let Some(gone) = self.sessions.remove(&session) {
            self.gone.add(&gone.span_counters());
            self.gone_polls_of_unknown += gone.polls_of_unknown_tasks();
            self.gone_refused_births += gone.refused_births();
        }
    }
}
