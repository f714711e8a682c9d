//! How a span leaves the model: when, with what, and what becomes of one that cannot.

mod facts;

use facts::*;
use pollscope_model::event::*;
use pollscope_model::span::{FinishedSpan, Log, SpanKind};
use pollscope_model::{Limits, Model};

fn known(span: u64, opened: u64) -> SpanOpen {
    SpanOpen { ids: Some(ids(span, None)), ..open(span, None, opened) }
}

/// What leaves at the end of this round.
fn leaves(model: &mut Model) -> Vec<FinishedSpan> {
    model.end_round();
    model.take_finished(usize::MAX)
}

fn only(facts: Vec<Event>) -> FinishedSpan {
    let mut model = model();
    apply(&mut model, facts);
    assert!(leaves(&mut model).is_empty());
    let mut spans = leaves(&mut model);
    assert_eq!(spans.len(), 1);
    spans.remove(0)
}

fn died(at_ms: u64, how: SessionEnd) -> Event {
    Event::SessionEnded(how, at(at_ms))
}

#[test]
fn a_span_leaves_one_whole_round_after_its_end_was_read_and_once() {
    let mut model = model();
    apply(&mut model, [Event::SpanEnded(span_end(known(1, 0), 10, 0))]);
    assert!(leaves(&mut model).is_empty());
    // What another ring held back is in before it leaves.
    apply(&mut model, [event(1, 5, "late but in time")]);
    assert_eq!(leaves(&mut model).iter().map(|span| span.events.len()).collect::<Vec<_>>(), [1]);
    apply(&mut model, [event(1, 6, "too late")]);
    for _ in 0..60 {
        assert!(leaves(&mut model).is_empty());
    }
    assert_eq!(model.session(SESSION).expect("it began").span_counters().late, 1);
}

#[test]
fn a_span_waits_fifty_rounds_for_its_ids_and_is_then_dropped_and_counted() {
    let ended = || Event::SpanEnded(span_end(open(1, None, 0), 10, 0));
    let mut patient = model();
    apply(&mut patient, [ended()]);
    for _ in 0..49 {
        assert!(leaves(&mut patient).is_empty());
    }
    apply(&mut patient, [Event::SpanIds(LocalSpanId(1), ids(1, None))]);
    assert_eq!(leaves(&mut patient).len(), 1);

    let mut vain = model();
    apply(&mut vain, [ended()]);
    for _ in 0..60 {
        assert!(leaves(&mut vain).is_empty());
    }
    let session = vain.session(SESSION).expect("it began");
    assert_eq!((session.span_counters().no_ids, session.open_spans().len()), (1, 0));
}

#[test]
fn idle_is_what_busy_and_scheduled_leave_and_never_less_than_nothing() {
    let span = only(vec![Event::SpanEnded(span_end(known(1, 0), 10, 0))]);
    assert_eq!((span.busy, span.scheduled, span.idle), (ms(3), ms(2), ms(5)));
    // Entered on four threads at once: more busy time than there was time.
    let crowded = SpanEnd { busy: ms(30), ..span_end(known(1, 0), 10, 0) };
    let span = only(vec![Event::SpanEnded(crowded)]);
    assert_eq!((span.busy, span.scheduled, span.idle), (ms(30), ms(0), ms(0)));
    assert!(span.estimated);
}

#[test]
fn special_fields_speak_and_are_no_attributes() {
    let span = only(vec![
        attribute(1, 1, "order", "7"),
        attribute(1, 2, "otel.name", "GET /orders"),
        attribute(1, 3, "otel.kind", "server"),
        attribute(1, 4, "otel.status_code", "error"),
        attribute(1, 5, "otel.status_message", "sold out"),
        Event::SpanEnded(span_end(known(1, 0), 10, 5)),
    ]);
    assert_eq!((&*span.name, span.kind, span.status), ("GET /orders", SpanKind::Server, Status::Error));
    assert_eq!(span.status_message.as_deref(), Some("sold out"));
    assert_eq!(span.attributes.iter().map(|a| &*a.key).collect::<Vec<_>>(), ["order"]);
    assert!(!span.incomplete);
}

#[test]
fn a_span_is_incomplete_when_fewer_attributes_came_than_were_recorded() {
    let of = |recorded| {
        let end = Event::SpanEnded(span_end(known(1, 0), 10, recorded));
        only(vec![attribute(1, 1, "a", "1"), attribute(1, 2, "a", "2"), end])
    };
    // A value that replaces another was recorded too.
    assert!(!of(2).incomplete);
    assert!(of(3).incomplete);
    assert_eq!(of(2).attributes[0].value, Value::Str("2".into()));
}

#[test]
fn what_is_beyond_the_limits_is_dropped_and_counted() {
    let mut facts = vec![Event::SpanEnded(span_end(known(1, 0), 900, 130))];
    for n in 0..130 {
        facts.push(attribute(1, 1 + n, &format!("key {n}"), "x"));
        facts.push(event(1, 1 + n, "tick"));
        facts.push(Event::SpanLink {
            span: LocalSpanId(1),
            to: None,
            remote: Some((TraceId(9), SpanId(1 + n))),
        });
    }
    Random(99).shuffle(&mut facts);
    let mut model = with(Limits { attributes: 128, events: 128, links: 128, ..Limits::default() });
    apply(&mut model, facts);
    model.end_round();
    let span = leaves(&mut model).remove(0);
    assert_eq!((span.attributes.len(), span.events.len(), span.links.len()), (128, 128, 128));
    assert_eq!(span.dropped_attributes, 2);
    assert_eq!(&*span.attributes[127].key, "key 127", "the latest go");
    assert!(!span.incomplete, "beyond the limit is dropped, not lost");
    let counters = model.session(SESSION).expect("it began").span_counters();
    assert_eq!((counters.dropped_attributes, counters.dropped_events, counters.dropped_links), (2, 2, 2));
}

#[test]
fn a_death_makes_unfinished_spans_of_open_ones() {
    for (how, said) in [
        (SessionEnd::Died, "process died while this span was open"),
        (SessionEnd::Panicked, "process panicked while this span was open"),
        (SessionEnd::Closed, "process ended while this span was open"),
        (SessionEnd::Exited, "process ended while this span was open"),
    ] {
        let mut model = model();
        let ended = Event::SpanEnded(span_end(known(2, 1), 9, 0));
        apply(&mut model, [Event::SpanOpened(known(1, 0)), ended, died(20, how)]);
        let spans = leaves(&mut model);
        let seen: Vec<_> = spans.iter().map(|span| (span.ids.span.0, span.unfinished, span.status)).collect();
        assert_eq!(seen, [(0x102, false, Status::Unset), (0x101, true, Status::Error)]);
        assert_eq!((spans[1].status_message.as_deref(), spans[1].end), (Some(said), at(20)));
        assert!(leaves(&mut model).is_empty(), "once");
    }
}

#[test]
fn letting_go_of_a_live_session_finishes_nothing() {
    let mut model = model();
    apply(&mut model, [Event::SpanOpened(known(1, 0)), died(20, SessionEnd::Detached)]);
    assert!(leaves(&mut model).is_empty());
    assert!(leaves(&mut model).is_empty());
    assert_eq!(model.open_spans(SESSION).len(), 1);
}

#[test]
fn a_span_in_the_journal_goes_on_as_if_nothing_had_happened() {
    let before = || {
        vec![
            Event::SpanOpened(open(1, None, 0)),
            Event::SpanIds(LocalSpanId(1), ids(1, None)),
            attribute(1, 1, "a", "oldest"),
            attribute(1, 2, "a", "old"),
            attribute(1, 3, "b", "1"),
            event(1, 4, "before"),
            Event::SpanLink { span: LocalSpanId(1), to: None, remote: Some((TraceId(9), SpanId(9))) },
        ]
    };
    let after = || {
        vec![
            attribute(1, 5, "a", "new"),
            event(1, 6, "after"),
            Event::SpanEnded(span_end(open(1, None, 0), 10, 4)),
        ]
    };
    let expected = only(before().into_iter().chain(after()).collect());
    assert!(!expected.incomplete, "the value that was replaced counts too");

    let mut first = model();
    apply(&mut first, before());
    first.end_round();
    let journal = first.open_spans(SESSION);
    for restored_last in [false, true] {
        let mut second = model();
        if restored_last {
            apply(&mut second, after());
            second.restore(SESSION, journal.clone());
        } else {
            second.restore(SESSION, journal.clone());
            apply(&mut second, after());
        }
        second.end_round();
        let got = leaves(&mut second);
        assert_eq!(got, std::slice::from_ref(&expected), "restored last: {restored_last}");
    }
}

#[test]
fn a_span_that_had_ended_when_the_journal_was_written_leaves_after_it_was_read_back() {
    let mut first = model();
    apply(&mut first, [Event::SpanEnded(span_end(known(1, 0), 10, 0))]);
    let journal = first.open_spans(SESSION);
    let mut second = model();
    second.restore(SESSION, journal);
    assert!(leaves(&mut second).is_empty());
    assert_eq!(leaves(&mut second).len(), 1);
}

#[test]
fn a_parent_and_a_link_by_local_id_become_ids() {
    let child = SpanOpen { parent: Some(LocalSpanId(1)), ..known(2, 1) };
    let mut model = model();
    apply(
        &mut model,
        [
            Event::SpanEnded(span_end(known(1, 0), 10, 0)),
            Event::SpanEnded(span_end(child, 9, 0)),
            Event::SpanLink { span: LocalSpanId(2), to: Some(LocalSpanId(1)), remote: None },
            Event::SpanLink { span: LocalSpanId(2), to: Some(LocalSpanId(77)), remote: None },
        ],
    );
    model.end_round();
    let spans = leaves(&mut model);
    assert_eq!(spans[0].ids.parent, Some(SpanId(0x101)));
    assert_eq!(spans[0].links, [(TraceId(0xabc), SpanId(0x101))]);
    assert_eq!(model.session(SESSION).expect("it began").span_counters().unresolved_links, 1);
}

#[test]
fn spans_that_nobody_takes_do_not_pile_up() {
    let mut model = with(Limits { finished_spans: 10, ..Limits::default() });
    apply(&mut model, (1..=25).map(|n| Event::SpanEnded(span_end(known(n, n), n + 10, 0))));
    (0..2).for_each(|_| model.end_round());
    assert_eq!((model.finished_waiting(), model.finished_overflow()), (10, 15));
    assert_eq!(model.take_finished(4).len(), 4);
    assert_eq!(model.finished_waiting(), 6);
}

fn logs_of(model: &mut Model) -> Vec<(String, Option<SpanIds>)> {
    let message = |log: &Log| match &log.event.attributes[0].value {
        Value::Str(message) => message.to_string(),
        other => panic!("no message: {other:?}"),
    };
    model.take_logs().iter().map(|log| (message(log), log.ids)).collect()
}

fn outside(when: u64, message: &str) -> Event {
    match event(1, when, message) {
        Event::SpanEvent { at, callsite, attributes, dropped_attributes, beyond, exported, .. } => {
            Event::SpanEvent { span: None, at, callsite, attributes, dropped_attributes, beyond, exported }
        }
        other => other,
    }
}

#[test]
fn an_event_leaves_by_itself_a_round_after_it_was_read_and_stays_with_its_open_span() {
    let mut model = Model::new(Limits { logs: 10, ..Limits::default() });
    apply(&mut model, [event(1, 5, "in a span"), outside(3, "outside"), Event::SpanOpened(known(1, 0))]);
    model.end_round();
    assert!(model.take_logs().is_empty());
    model.end_round();
    let expected = [("outside".to_owned(), None), ("in a span".to_owned(), Some(ids(1, None)))];
    assert_eq!(logs_of(&mut model), expected);
    model.end_round();
    assert!(model.take_logs().is_empty(), "once");
    apply(&mut model, [Event::SpanEnded(span_end(known(1, 0), 10, 0))]);
    assert!(leaves(&mut model).is_empty());
    assert_eq!(leaves(&mut model)[0].events.len(), 1);
}

#[test]
fn an_event_waits_for_the_ids_of_its_span_and_leaves_without_them_in_the_end() {
    let mut model = Model::new(Limits { logs: 2, ..Limits::default() });
    let told = |event| match event {
        Event::SpanEvent { span, at, callsite, attributes, dropped_attributes, beyond, .. } => {
            Event::SpanEvent { span, at, callsite, attributes, dropped_attributes, beyond, exported: true }
        }
        other => other,
    };
    let third = event(3, 7, "one too many");
    apply(&mut model, [told(event(1, 4, "told before")), event(1, 5, "later"), event(2, 6, "never"), third]);
    for _ in 0..40 {
        model.end_round();
    }
    apply(&mut model, [Event::SpanIds(LocalSpanId(1), ids(1, None))]);
    model.end_round();
    assert_eq!(logs_of(&mut model), [("later".to_owned(), Some(ids(1, None)))]);
    for _ in 0..10 {
        model.end_round();
    }
    assert_eq!(logs_of(&mut model), [("never".to_owned(), None)]);
    assert_eq!(model.lost_logs(), 1);
}

#[test]
fn nothing_waits_where_a_session_is_over_and_nothing_leaves_unless_it_is_wanted() {
    for (most, left) in [(10, 1), (0, 0)] {
        let mut model = Model::new(Limits { logs: most, ..Limits::default() });
        apply(&mut model, [event(1, 5, "last words"), died(6, SessionEnd::Died)]);
        model.end_round();
        assert_eq!((logs_of(&mut model).len(), model.lost_logs()), (left, 0));
    }
}
