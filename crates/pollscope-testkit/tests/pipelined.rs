//! A connection whose poll is long by the many short requests in it.

mod common;

use common::facts::{end_of, facts, sums_are_lifetimes};
use pollscope_model::event::{Event, TaskKind};
use pollscope_testkit::{Place, Service};

#[test]
fn a_connection_that_polls_many_short_requests_in_one_poll_blocks_by_its_own_doing() {
    let place = Place::new();
    let mut service = Service::start(env!("CARGO_BIN_EXE_traced"), &place, &["pipelined"]);
    service.ready();
    let facts = facts(&place);
    sums_are_lifetimes(&facts);
    let connection = end_of(&facts, "connection");
    let (task, totals) = (connection.birth.task, &connection.totals);
    assert_eq!(totals.polls, 1);
    let inside: u64 = facts
        .iter()
        .filter_map(|event| match event {
            Event::TaskEnded(end) if end.birth.parent == Some(task) => {
                assert_eq!(end.birth.kind, TaskKind::Request);
                Some(end.totals.busy.0)
            }
            _ => None,
        })
        .sum();
    // All of it is counted once: inside the requests, or as the connection's own.
    assert!(totals.nested.0 >= 1000 * 50_000 + 20_000_000 && totals.busy > totals.nested, "{totals:?}");
    assert!(inside.abs_diff(totals.nested.0) <= totals.nested.0 / 100, "{inside} and {totals:?}");

    // What held the thread is told of who did it: no request of those was long.
    let model = common::model(&place);
    let session = model.sessions().next().expect("a session");
    let worst: Vec<_> = session.worst_polls().collect();
    let of_it = worst.iter().find(|noted| noted.poll.task == task).expect("the connection's poll");
    let own = of_it.own().0;
    // A short one from which the machine took its thread may be slow.
    assert!(own >= 45_000_000 && own + 20_000_000 <= totals.busy.0, "{own} of {totals:?}");
    let slow = worst.iter().find(|noted| &*noted.shape.label() == "PUT");
    assert!(slow.expect("the slow one answers for itself").own().0 >= 20_000_000);
    assert!(service.finish().success());
}
