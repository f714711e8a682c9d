//! The spans of one session while they are put together.
//!
//! A span arrives in pieces that may come in any order: its open, ids, attributes, events, links, its end. It
//! leaves at the end of the round after the one in which its end was read, so that pieces in other rings have
//! had a whole pass to come in; without ids it waits longer, then it is dropped and counted. When its session
//! has died it leaves as unfinished.

mod counters;
mod detached;
mod finish;
mod journal;
mod open;

pub use counters::SpanCounters;
pub use open::{LinkTo, OpenSpan, TimedAttribute};

use crate::event::{
    Attribute, LocalSpanId, SessionEnd, SessionId, SpanEnd, SpanIds, SpanOpen, SpanSource, SpanState, TaskId,
    TaskTotals, ThreadId, TraceId,
};
use crate::held::{Held, Leaving};
use crate::limits::Limits;
use crate::span::{FinishedSpan, Log, SpanEvent};
use crate::time::UnixNanos;
use finish::Over;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// For so many rounds a span that has left is known as such: what comes later than this is none of its pieces.
const ROUNDS_KNOWN: usize = 4;

/// What a span that leaves needs to know from elsewhere.
pub(crate) struct Surroundings<'a> {
    pub(crate) session: crate::event::SessionId,
    /// The thread's kernel id and name.
    pub(crate) thread: &'a dyn Fn(ThreadId) -> Option<(u32, Arc<str>)>,
    /// The totals of the live task that is this span.
    pub(crate) task: &'a dyn Fn(LocalSpanId) -> Option<TaskTotals>,
}

#[derive(Clone, Debug)]
pub(crate) struct Spans {
    limits: Limits,
    open: HashMap<LocalSpanId, OpenSpan>,
    /// Bytes of their attributes and events, about.
    bytes: usize,
    /// The bits that ids of spans without a slot have; 0 until the slots were read once.
    slotless: u64,
    /// The round in which room was last made.
    made_room: Option<u64>,
    /// Spans whose end was read, and in which round.
    ending: Vec<(u64, LocalSpanId)>,
    /// Spans of which only pieces were seen, and since which round.
    headless: VecDeque<(u64, LocalSpanId)>,
    /// Open spans that no longer stand in a slot: since which round, and in how many readings of all slots.
    missing: HashMap<LocalSpanId, (u64, u32)>,
    left: [HashSet<LocalSpanId>; ROUNDS_KNOWN],
    /// Open spans of tasks, by trace.
    tasks: HashMap<TraceId, Vec<LocalSpanId>>,
    /// Local roots that have left while tasks of theirs went on: when they ended.
    roots: VecDeque<(UnixNanos, TraceId, LocalSpanId)>,
    /// Tasks that went on for so long after their root that they leave now, and when that ended.
    detaching: Vec<(LocalSpanId, UnixNanos)>,
    held: Held,
    /// Spans that leave now because they are held.
    leaving: Vec<Leaving>,
    /// Those that have left before their end. What comes of them is no news.
    detached: HashSet<LocalSpanId>,
    /// Events that have not left by themselves: the round in which they were read, and their span.
    logs: Vec<(u64, Option<LocalSpanId>, SpanEvent)>,
    remembered: HashMap<LocalSpanId, SpanIds>,
    remembered_order: VecDeque<LocalSpanId>,
    pub(crate) counters: SpanCounters,
}

impl Spans {
    pub(crate) fn new(limits: Limits) -> Spans {
        Spans {
            limits,
            open: HashMap::new(),
            bytes: 0,
            slotless: 0,
            made_room: None,
            ending: Vec::new(),
            headless: VecDeque::new(),
            missing: HashMap::new(),
            left: Default::default(),
            tasks: HashMap::new(),
            roots: VecDeque::new(),
            detaching: Vec::new(),
            held: Held::default(),
            leaving: Vec::new(),
            detached: HashSet::new(),
            logs: Vec::new(),
            remembered: HashMap::new(),
            remembered_order: VecDeque::new(),
            counters: SpanCounters::default(),
        }
    }

    /// The span being put together, made if need be; `None` (counted) if it has left or there are too many.
    fn piece(&mut self, span: LocalSpanId, round: u64) -> Option<&mut OpenSpan> {
        if self.detached.contains(&span) {
            return None;
        }
        if !self.open.contains_key(&span) {
            if self.left.iter().any(|left| left.contains(&span)) {
                self.counters.late += 1;
                return None;
            }
            if self.open.len() >= self.limits.open_spans {
                self.make_room(round);
            }
            if self.open.len() >= self.limits.open_spans {
                self.counters.refused += 1;
                return None;
            }
            self.headless.push_back((round, span));
        }
        Some(self.open.entry(span).or_insert_with(|| OpenSpan::new(span)))
    }

    /// Gives up the oldest of the spans that have no slot: should their ends have been lost, nothing else would
    /// tell that they are over. At most once a round, for it looks at all spans.
    fn make_room(&mut self, round: u64) {
        if self.slotless == 0 || self.made_room.replace(round) == Some(round) {
            return;
        }
        let slotless = |span: &&OpenSpan| span.end.is_none() && span.span.0 & self.slotless == self.slotless;
        let mut oldest: Vec<(UnixNanos, LocalSpanId)> = self
            .open
            .values()
            .filter(slotless)
            .filter_map(|span| Some((span.open.as_ref()?.opened, span.span)))
            .collect();
        oldest.sort_unstable();
        oldest.truncate(self.limits.open_spans / 16 + 1);
        for (_, id) in oldest {
            self.take(id);
            self.left[0].insert(id);
            self.counters.evicted += 1;
        }
    }

    /// Takes a span out.
    fn take(&mut self, id: LocalSpanId) -> Option<OpenSpan> {
        let span = self.open.remove(&id)?;
        if let Some(open) = span.opened().filter(|open| open.source == SpanSource::Task)
            && let Some(ids) = open.ids
            && let Some(tasks) = self.tasks.get_mut(&ids.trace)
        {
            tasks.retain(|task| *task != id);
            if tasks.is_empty() {
                self.tasks.remove(&ids.trace);
            }
        }
        self.bytes = self.bytes.saturating_sub(span.bytes());
        Some(span)
    }

    pub(crate) fn opened(&mut self, open: SpanOpen, round: u64) {
        // A slot that was read before the end shows an open that is old news afterwards: nothing is late.
        if self.left.iter().any(|left| left.contains(&open.span)) {
            return;
        }
        self.missing.remove(&open.span);
        if open.source == SpanSource::Task
            && let Some(ids) = open.ids
            && self.open.get(&open.span).is_none_or(|known| known.open.is_none() && known.end.is_none())
            && !self.detached.contains(&open.span)
        {
            self.tasks.entry(ids.trace).or_default().push(open.span);
        }
        if let Some(span) = self.piece(open.span, round) {
            match &mut span.open {
                Some(known) => known.ids = known.ids.or(open.ids),
                none => *none = Some(open),
            }
        }
    }

    pub(crate) fn ids(&mut self, span: LocalSpanId, ids: SpanIds, round: u64) {
        if let Some(span) = self.piece(span, round) {
            // Two are never meant; should they come, the order of rings must not matter.
            span.ids = span.ids.max(Some(ids));
        }
    }

    pub(crate) fn attribute(&mut self, span: LocalSpanId, at: UnixNanos, attribute: Attribute, round: u64) {
        let most = self.limits.attributes;
        let full = self.bytes >= self.limits.open_bytes;
        if let Some(span) = self.piece(span, round) {
            let (dropped, bytes) = (span.dropped_attributes, span.bytes());
            if full {
                span.seen_attributes = span.seen_attributes.saturating_add(1);
                span.dropped_attributes = span.dropped_attributes.saturating_add(1);
            } else {
                span.attribute(at, attribute, most);
            }
            let (dropped, grown) = (span.dropped_attributes - dropped, span.bytes());
            self.bytes = (self.bytes + grown).saturating_sub(bytes);
            self.counters.dropped_attributes += u64::from(dropped);
        }
    }

    pub(crate) fn event(&mut self, span: Option<LocalSpanId>, event: SpanEvent, round: u64) {
        let most = self.limits.events;
        let Some(span) = span else {
            self.counters.outside += 1;
            return;
        };
        let full = self.bytes >= self.limits.open_bytes;
        if let Some(span) = self.piece(span, round) {
            let bytes = span.bytes();
            if !full {
                let place = span.events.partition_point(|known| known.at <= event.at);
                span.events.insert(place, event);
            }
            let dropped = full || span.events.len() > most && span.events.pop().is_some();
            span.dropped_events = span.dropped_events.saturating_add(u32::from(dropped));
            let grown = span.bytes();
            self.bytes = (self.bytes + grown).saturating_sub(bytes);
            self.counters.dropped_events += u64::from(dropped);
        }
    }

    /// An event that is to leave by itself too.
    pub(crate) fn log(&mut self, span: Option<LocalSpanId>, event: &SpanEvent, round: u64) {
        if self.logs.len() < self.limits.logs {
            self.logs.push((round, span, event.clone()));
        } else if self.limits.logs > 0 {
            self.counters.refused_logs += 1;
        }
    }

    /// Gives out the events that were read in the round before or earlier, in order of time: as spans do, so that
    /// one journal fits both. Those whose span has no ids yet wait as long as an ended span does; `all`: nothing
    /// waits.
    pub(crate) fn end_logs(&mut self, session: SessionId, all: bool, round: u64) -> Vec<Log> {
        let mut left = Vec::new();
        for (since, span, event) in std::mem::take(&mut self.logs) {
            let ids = span.and_then(|span| self.ids_of(span));
            let waits = span.is_some() && ids.is_none() && since + self.limits.rounds_to_wait > round;
            if all || since < round && !waits {
                left.push(Log { session, ids, event });
            } else {
                self.logs.push((since, span, event));
            }
        }
        left.sort_by_key(|log| log.event.at);
        left
    }

    pub(crate) fn link(&mut self, span: LocalSpanId, to: LinkTo, round: u64) {
        let most = self.limits.links;
        // The other span may be forgotten by the time this one ends.
        let to = match to {
            LinkTo::Local(local) => self.ids_of(local).map_or(to, |ids| LinkTo::Remote(ids.trace, ids.span)),
            remote => remote,
        };
        if let Some(span) = self.piece(span, round) {
            if span.links.contains(&to) {
                return;
            }
            if span.links.len() < most {
                span.links.push(to);
            } else {
                span.dropped_links = span.dropped_links.saturating_add(1);
                self.counters.dropped_links += 1;
            }
        }
    }

    pub(crate) fn thread(&mut self, span: LocalSpanId, thread: ThreadId, round: u64) {
        if let Some(span) = self.piece(span, round) {
            span.thread = Some(thread);
        }
    }

    pub(crate) fn ended(&mut self, end: SpanEnd, round: u64) {
        let id = end.open.span;
        // An end alone is a whole span, and it leaves soon: it is never refused for want of room.
        let full = self.open.len() >= self.limits.open_spans && !self.open.contains_key(&id);
        if self.detached.remove(&id) {
            self.left[0].insert(id);
            return;
        }
        let late = || self.left.iter().any(|left| left.contains(&id));
        let span = match full && !late() {
            true => Some(self.open.entry(id).or_insert_with(|| OpenSpan::new(id))),
            false => self.piece(id, round),
        };
        if let Some(span) = span
            && span.end.is_none()
        {
            span.end = Some(end);
            self.ending.push((round, id));
        }
    }

    pub(crate) fn state(&mut self, span: LocalSpanId, state: SpanState) {
        if self.open.contains_key(&span) {
            self.held.state(span, state);
        }
    }

    /// All slots were read: open spans that should stand in one and do not are over.
    pub(crate) fn alive(
        &mut self,
        began: UnixNanos,
        found: &HashSet<LocalSpanId>,
        runs: &dyn Fn(TaskId) -> bool,
        slotless: u64,
        round: u64,
    ) {
        self.slotless = slotless;
        // The end of one that is gone may still be on its way; of one without a slot nothing else tells that it is.
        let gone = self.detached.extract_if(|id| id.0 & slotless != slotless && !found.contains(id));
        self.left[0].extend(gone);
        self.find_detached(began);
        self.leaving.extend(self.held.leaving(began, runs, &self.open));
        for (id, span) in &self.open {
            let before = span.open.as_ref().is_some_and(|open| open.opened < began);
            let should = before && span.end.is_none() && id.0 & slotless != slotless;
            if should && !found.contains(id) {
                self.missing.entry(*id).or_insert((round, 0)).1 += 1;
            } else {
                self.missing.remove(id);
            }
        }
    }

    /// Gives up waiting for the ends of spans that are over.
    fn forget_missing(&mut self, round: u64) {
        let open = &self.open;
        self.missing.retain(|id, _| open.get(id).is_some_and(|span| span.end.is_none()));
        let over = |(since, readings): (u64, u32)| readings >= 2 && since + ROUNDS_KNOWN as u64 <= round;
        let over: Vec<LocalSpanId> =
            self.missing.extract_if(|_, missing| over(*missing)).map(|(id, _)| id).collect();
        for id in over {
            self.take(id);
            self.left[0].insert(id);
            self.counters.lost_ends += 1;
        }
    }

    pub(crate) fn get(&self, span: LocalSpanId) -> Option<&OpenSpan> {
        self.open.get(&span)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Spans that have not ended, as far as is known.
    pub(crate) fn open_count(&self) -> usize {
        let missing =
            self.missing.keys().filter(|id| self.open.get(id).is_some_and(|span| span.end.is_none()));
        self.open.len() - self.ending.len() - missing.count()
    }

    /// Ends a round: gives out the spans that are ready, in order of their ends.
    pub(crate) fn end_round(&mut self, round: u64, around: &Surroundings<'_>) -> Vec<FinishedSpan> {
        self.left.rotate_right(1);
        self.left[0].clear();
        self.forget_headless(round);
        self.forget_missing(round);
        let mut ready = Vec::new();
        let ending = std::mem::take(&mut self.ending);
        for (since, id) in ending {
            let known = self.open.get(&id).is_some_and(|span| span.known_ids().is_some());
            if since < round && known {
                ready.push(id);
            } else if since + self.limits.rounds_to_wait <= round {
                self.drop_without_ids(id);
            } else {
                self.ending.push((since, id));
            }
        }
        let mut finished = self.release(&ready, None, around);
        finished.extend(self.release_detached(around));
        for Leaving { span, state, end, held } in std::mem::take(&mut self.leaving) {
            let on =
                self.open.get(&span).is_some_and(|open| open.end.is_none() && open.known_ids().is_some());
            if on && self.detached.len() < self.limits.open_spans {
                self.detached.insert(span);
                finished.extend(self.release(&[span], Some((Over::Held(state, held), end)), around));
            }
        }
        finished
    }

    /// Gives out spans, at most so many: the session is over and all of it was read.
    pub(crate) fn end_session(
        &mut self,
        how: SessionEnd,
        at: UnixNanos,
        most: usize,
        around: &Surroundings<'_>,
    ) -> Vec<FinishedSpan> {
        // The last reading of the slots is of the moment of the end: what is missing there had ended before.
        for (id, _) in std::mem::take(&mut self.missing) {
            if self.open.get(&id).is_some_and(|span| span.end.is_none()) {
                self.take(id);
                self.counters.lost_ends += 1;
            }
        }
        let (mut ready, mut lost, mut orphans) = (Vec::new(), Vec::new(), Vec::new());
        for span in self.open.values() {
            match (span.opened(), span.known_ids()) {
                (Some(_), Some(_)) => ready.push(span.span),
                (Some(_), None) => lost.push(span.span),
                (None, _) => orphans.push(span.span),
            }
        }
        lost.into_iter().for_each(|id| self.drop_without_ids(id));
        for id in orphans {
            self.take(id);
            self.counters.orphans += 1;
        }
        self.ending.clear();
        self.headless.clear();
        // All that leave may name one another, in whichever portion.
        for id in &ready {
            if let Some(ids) = self.open.get(id).and_then(OpenSpan::known_ids) {
                self.remember(*id, ids);
            }
        }
        ready.sort_unstable();
        ready.truncate(most);
        self.release(&ready, Some((Over::Session(how), at)), around)
    }

    fn forget_headless(&mut self, round: u64) {
        while let Some((since, id)) = self.headless.front().copied() {
            if since + self.limits.rounds_to_wait > round {
                break;
            }
            self.headless.pop_front();
            if self.open.get(&id).is_some_and(OpenSpan::headless) {
                self.take(id);
                self.counters.orphans += 1;
            }
        }
    }

    fn drop_without_ids(&mut self, id: LocalSpanId) {
        self.take(id);
        self.left[0].insert(id);
        self.counters.no_ids += 1;
    }

    fn release(
        &mut self,
        ready: &[LocalSpanId],
        over: Option<(Over, UnixNanos)>,
        around: &Surroundings<'_>,
    ) -> Vec<FinishedSpan> {
        // All ids first: spans that leave together may name one another.
        for id in ready {
            if let Some(ids) = self.open.get(id).and_then(OpenSpan::known_ids) {
                self.remember(*id, ids);
            }
        }
        let mut finished = Vec::with_capacity(ready.len());
        for id in ready {
            if let Some(span) = self.take(*id) {
                self.left[0].insert(*id);
                finished.extend(self.finish(span, over, around).map(|span| (*id, span)));
            }
        }
        for (id, span) in &finished {
            let root = span.ids.parent.is_none() || span.ids.parent_remote;
            if root && self.tasks.contains_key(&span.ids.trace) && self.roots.len() < self.limits.open_spans {
                self.roots.push_back((span.end, span.ids.trace, *id));
            }
        }
        finished.sort_by_key(|(id, span)| (span.end, *id));
        self.counters.released += finished.len() as u64;
        finished.into_iter().map(|(_, span)| span).collect()
    }

    fn remember(&mut self, id: LocalSpanId, ids: SpanIds) {
        if self.remembered.insert(id, ids).is_none() {
            self.remembered_order.push_back(id);
        }
        if self.remembered_order.len() > self.limits.remembered_ids
            && let Some(oldest) = self.remembered_order.pop_front()
        {
            self.remembered.remove(&oldest);
        }
    }

    fn ids_of(&self, span: LocalSpanId) -> Option<SpanIds> {
        self.open.get(&span).and_then(OpenSpan::known_ids).or_else(|| self.remembered.get(&span).copied())
    }
}
