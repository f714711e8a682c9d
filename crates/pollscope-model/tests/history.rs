//! A scripted history of a small service, told in many orders: what the model makes of it must be the script's
//! truth, and the same each time.
mod common;
use common::*;
use pollscope_model::event::*;
use pollscope_model::traces::{TraceQuery, Traces};
use pollscope_model::view::{TaskFilter, TaskSort};
use pollscope_model::{Model, Nanos, UnixNanos};
use std::collections::BTreeMap;
use std::fmt::Write;

const THREADS: u64 = 4;

/// What the script says of a task.
#[derive(Clone, Copy, Debug, Default)]
struct Truth {
    born: u64,
    last_end: u64,
    busy: u64,
    scheduled: u64,
    idle: u64,
    polls: u64,
    ended: bool,
}

/// Facts with their times, by the thread that writes them.
struct History {
    threads: Vec<Vec<(u64, Event)>>,
    truth: BTreeMap<u64, Truth>,
    /// When all is over.
    until: u64,
}

impl History {
    /// `tasks` tasks that are born, polled on any thread, and mostly end; every third one is a span with
    /// attributes set from other threads.
    fn new(tasks: u64, seed: u64) -> History {
        let mut dice = Dice(seed);
        let mut history =
            History { threads: vec![Vec::new(); THREADS as usize], truth: BTreeMap::new(), until: 0 };
        for task in 1..=tasks {
            history.play(task, &mut dice);
        }
        for thread in 0..THREADS {
            let kind = ThreadKind::Worker;
            let name = format!("worker-{thread}").into();
            let registered = Event::Thread {
                thread: ThreadId(thread),
                os_id: 100 + thread as u32,
                kind,
                name,
                runtime: None,
            };
            history.tell(thread, 0, registered);
            history.tell(
                thread,
                1 + thread,
                Event::Read { thread: ThreadId(thread), class: Class::Polls, records: 9 },
            );
            history.tell(
                thread,
                2 + thread,
                Event::Lost { thread: ThreadId(thread), class: Class::Others, records: thread },
            );
            history.tell(thread, 3, Event::Refused("tasks", 10 * thread));
        }
        for thread in &mut history.threads {
            thread.sort_by_key(|(at, _)| *at);
        }
        history
    }

    fn tell(&mut self, thread: u64, at: u64, event: Event) {
        self.threads[thread as usize].push((at, event));
        self.until = self.until.max(at);
    }

    fn play(&mut self, task: u64, dice: &mut Dice) {
        let born = 1_000 + dice.next(200) * MS + task;
        let is_span = task.is_multiple_of(3);
        let mut birth = birth(task, ["", "order", "sweep"][(task % 3) as usize], 10 + (task % 5) as u32, 0.0);
        birth.born = UnixNanos(BEGAN + born);
        birth.span = is_span.then_some(LocalSpanId(task));
        birth.parent = (task > 5).then(|| TaskId(1 + dice.next(task - 1)));
        self.tell(dice.next(THREADS), born, Event::TaskBorn(birth.clone()));
        let open = SpanOpen {
            opened: birth.born,
            source: SpanSource::Task,
            task: Some(TaskId(task)),
            ids: None,
            ..open(task, 0, "order", 0.0)
        };
        let mut told = 0;
        if is_span {
            self.tell(dice.next(THREADS), born, Event::SpanOpened(open.clone()));
            self.tell(
                dice.next(THREADS),
                born + 5,
                Event::SpanIds(LocalSpanId(task), ids(1, task * 100, 300)),
            );
        }

        let mut truth = Truth { born, last_end: born, ..Truth::default() };
        let ends = !task.is_multiple_of(4);
        let polls = 1 + dice.next(12);
        for n in 0..polls {
            // The first poll waits for a worker only: a task is ready from its birth on.
            let idle = if n == 0 { 0 } else { dice.next(20 * MS) };
            let scheduled = dice.next(3 * MS);
            let busy = dice.next(4 * MS) * (1 + dice.next(8));
            let start = truth.last_end + idle + scheduled;
            truth.idle += idle;
            truth.scheduled += scheduled;
            truth.busy += busy;
            truth.polls += 1;
            truth.last_end = start + busy;
            let thread = dice.next(THREADS);
            let last = n + 1 == polls && ends;
            let poll = Poll {
                task: TaskId(task),
                thread: ThreadId(thread),
                start: UnixNanos(BEGAN + start),
                busy: Nanos(busy),
                nested: Nanos(0),
                scheduled: Nanos(scheduled),
                woken_by: (n > 0).then_some(Waker::Task(TaskId(1 + dice.next(task)))),
                wakes: 1,
                outcome: if last { PollOutcome::Ready } else { PollOutcome::Pending },
                ordinal: n as u8,
            };
            self.tell(thread, start + busy, Event::Polled(poll));
            if is_span {
                told += 1;
                let set = Event::SpanAttribute(
                    LocalSpanId(task),
                    UnixNanos(BEGAN + start),
                    Attribute { key: format!("key{}", n % 4).into(), value: Value::U64(n), cut: None },
                );
                self.tell(dice.next(THREADS), start, set);
            }
        }
        if ends {
            truth.ended = true;
            let totals = TaskTotals {
                polls: truth.polls,
                busy: Nanos(truth.busy),
                scheduled: Nanos(truth.scheduled),
                idle: Nanos(truth.idle),
                ..TaskTotals::default()
            };
            let outcome = if task.is_multiple_of(7) { TaskOutcome::Panicked } else { TaskOutcome::Finished };
            let ended = UnixNanos(BEGAN + truth.last_end);
            let thread = dice.next(THREADS);
            self.tell(thread, truth.last_end, Event::TaskEnded(TaskEnd { birth, outcome, totals, ended }));
            if is_span {
                let end = SpanEnd {
                    open,
                    ended,
                    closed: ended,
                    attributes: told,
                    polls: truth.polls,
                    busy: Nanos(truth.busy),
                    scheduled: Nanos(truth.scheduled),
                    ..end(crate::open(task, 0, "order", 0.0), 0.0, 0.0, 0.0)
                };
                self.tell(dice.next(THREADS), truth.last_end, Event::SpanEnded(end));
            }
        }
        self.truth.insert(task, truth);
    }

    fn now(&self) -> UnixNanos {
        UnixNanos(BEGAN + self.until + MS)
    }
}

fn fresh() -> Model {
    let mut model = Model::default();
    model.apply(SESSION, began("shop"));
    model
}

/// Everything that the model shows, as text.
fn whole(model: &mut Model, now: UnixNanos) -> String {
    for _ in 0..4 {
        model.end_round();
    }
    let mut out = String::new();
    let mut spans = model.take_finished(usize::MAX);
    spans.sort_by_key(|span| (span.end, span.ids.span));
    let mut traces = Traces::default();
    for span in &spans {
        writeln!(out, "{span:?}").unwrap();
        traces.add(&"shop".into(), span);
    }
    for tree in traces.find(&TraceQuery::default(), 10) {
        writeln!(out, "{tree:?}").unwrap();
    }
    for row in model.tasks(now, &TaskFilter::default(), TaskSort::Doing, usize::MAX).rows {
        writeln!(out, "{row:?}").unwrap();
    }
    for row in model.task_groups(&TaskFilter::default()) {
        writeln!(out, "{row:?}").unwrap();
    }
    let session = model.session(SESSION).expect("it began");
    session.finished_tasks().for_each(|task| writeln!(out, "{task:?}").unwrap());
    session.panicked_tasks().for_each(|task| writeln!(out, "{task:?}").unwrap());
    session.worst_polls().for_each(|poll| writeln!(out, "{poll:?}").unwrap());
    session.longest_waits().for_each(|wait| writeln!(out, "{:?} {:?}", wait.waited, wait.behind).unwrap());
    session.threads().for_each(|thread| writeln!(out, "{thread:?}").unwrap());
    writeln!(out, "{:?} {:?}", session.records(), session.refused().collect::<Vec<_>>()).unwrap();
    writeln!(out, "{:?} {:?}", session.coverage(), session.span_counters()).unwrap();
    writeln!(out, "{:?} {:?}", session.open_spans(), session.last_fact()).unwrap();
    out
}

fn assert_same(one: &str, other: &str, order: &str) {
    for (one, other) in one.lines().zip(other.lines()) {
        assert_eq!(one, other, "{order}");
    }
    assert_eq!(one.lines().count(), other.lines().count(), "{order}");
}

#[test]
fn whatever_the_order_of_the_threads_the_model_is_the_same() {
    let history = History::new(60, 1);
    let threads: Vec<Vec<Event>> =
        history.threads.iter().map(|facts| facts.iter().map(|(_, event)| event.clone()).collect()).collect();
    let mut in_time: Vec<&(u64, Event)> = history.threads.iter().flatten().collect();
    in_time.sort_by_key(|(at, _)| *at);
    let mut model = fresh();
    in_time.iter().for_each(|(_, event)| model.apply(SESSION, event.clone()));
    let expected = whole(&mut model, history.now());
    assert!(expected.lines().count() > 200);

    for seed in 0..100 {
        let mut model = fresh();
        for event in interleaved(&threads, &mut Dice(seed)) {
            model.apply(SESSION, event);
        }
        assert_same(&whole(&mut model, history.now()), &expected, &format!("seed {seed}"));
    }
    // One thread whole before the next, both ways round.
    for order in [[0, 1, 2, 3], [3, 2, 1, 0]] {
        let mut model = fresh();
        for thread in order {
            threads[thread].iter().for_each(|event| model.apply(SESSION, event.clone()));
        }
        assert_same(&whole(&mut model, history.now()), &expected, &format!("{order:?}"));
    }
}

#[test]
fn rounds_that_cut_the_threads_at_different_moments_change_nothing() {
    let history = History::new(60, 2);
    let mut model = fresh();
    history.threads.iter().flatten().for_each(|(_, event)| model.apply(SESSION, event.clone()));
    let expected = whole(&mut model, history.now());
    for seed in 0..50 {
        let mut dice = Dice(seed);
        let mut model = fresh();
        let mut next = vec![0; history.threads.len()];
        let length = 10 * MS;
        for round in 0..history.until / length + 3 {
            // A round reads one ring after the other while time goes on.
            let first = dice.next(THREADS) as usize;
            for step in 0..history.threads.len() {
                let thread = (first + step) % history.threads.len();
                let upto = round * length + step as u64 * length / THREADS;
                let facts = &history.threads[thread];
                while next[thread] < facts.len() && facts[next[thread]].0 <= upto {
                    model.apply(SESSION, facts[next[thread]].1.clone());
                    next[thread] += 1;
                }
            }
            model.end_round();
        }
        assert_eq!(next.iter().sum::<usize>(), history.threads.iter().map(Vec::len).sum::<usize>());
        assert_same(&whole(&mut model, history.now()), &expected, &format!("seed {seed}"));
    }
}

#[test]
fn busy_and_scheduled_and_idle_are_the_lifetime_exactly() {
    let history = History::new(200, 3);
    let mut model = fresh();
    history.threads.iter().flatten().for_each(|(_, event)| model.apply(SESSION, event.clone()));
    let now = history.now();
    let rows = model.tasks(now, &TaskFilter::default(), TaskSort::Age, usize::MAX).rows;
    assert_eq!(rows.len(), history.truth.values().filter(|truth| !truth.ended).count());
    for row in &rows {
        let truth = &history.truth[&row.task.0];
        assert!(!truth.ended);
        let sums = row.totals.busy + row.totals.scheduled + row.totals.idle;
        assert_eq!(sums, row.age, "{row:?}");
        assert_eq!((row.totals.busy, row.totals.scheduled), (Nanos(truth.busy), Nanos(truth.scheduled)));
        // Idle since its last poll.
        let waiting = now.since(UnixNanos(BEGAN + truth.last_end));
        assert_eq!((row.totals.idle, row.totals.polls), (Nanos(truth.idle) + waiting, truth.polls));
        assert_eq!(row.since(now), waiting);
    }
    let session = model.session(SESSION).expect("it began");
    let mut finished = 0;
    for task in session.finished_tasks() {
        let truth = &history.truth[&task.task.0];
        let lifetime = task.ended.since(task.born);
        assert_eq!(task.totals.busy + task.totals.scheduled + task.totals.idle, lifetime);
        assert_eq!(lifetime, Nanos(truth.last_end - truth.born));
        finished += 1;
    }
    assert_eq!(finished + rows.len(), 200);
}

#[test]
fn sums_by_spawn_group_are_the_sums_of_their_tasks() {
    let history = History::new(200, 4);
    let mut model = fresh();
    history.threads.iter().flatten().for_each(|(_, event)| model.apply(SESSION, event.clone()));
    let groups = model.task_groups(&TaskFilter::default());
    assert_eq!(groups.len(), 15);
    let sum = |of: &dyn Fn(&Truth) -> u64| history.truth.values().map(of).sum::<u64>();
    assert_eq!(groups.iter().map(|row| row.totals.busy.0).sum::<u64>(), sum(&|truth| truth.busy));
    assert_eq!(groups.iter().map(|row| row.totals.idle.0).sum::<u64>(), sum(&|truth| truth.idle));
    assert_eq!(groups.iter().map(|row| row.poll_time.count()).sum::<u64>(), sum(&|truth| truth.polls));
    assert_eq!(groups.iter().map(|row| row.poll_time.sum().0).sum::<u64>(), sum(&|truth| truth.busy));
    assert_eq!(
        groups.iter().map(|row| row.scheduled_time.sum().0).sum::<u64>(),
        sum(&|truth| truth.scheduled)
    );
    assert_eq!(groups.iter().map(|row| row.live).sum::<u64>(), sum(&|truth| u64::from(!truth.ended)));
    for row in &groups {
        let (finished, cancelled, panicked) = row.ended;
        assert_eq!(row.spawned, row.live + finished + cancelled + panicked);
    }
}
