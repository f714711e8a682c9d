//! tokio's own spans are none of the service's, whoever wants them, and hold none of its spans open.

use pollscope_collect::{Collector, Options};
use pollscope_model::span::FinishedSpan;
use pollscope_model::{Limits, Model};
use pollscope_testkit::{Place, Service};
use std::time::{Duration, Instant};

#[test]
fn tokios_own_spans_are_not_recorded_and_hold_nothing_open() {
    for filter in ["", "trace"] {
        let place = Place::new();
        let binary = env!("CARGO_BIN_EXE_console");
        let mut service = Service::start_with(binary, &place, &[], &[("POLLSCOPE_FILTER", filter)]);
        let seen: u64 = service.line().parse().expect("it prints how many there were");
        assert_eq!(seen > 0, cfg!(tokio_unstable), "the layer beside ours saw {seen}");

        let mut collector =
            Collector::new(Options { dirs: vec![place.path().to_owned()], ..Options::default() });
        collector.discover();
        let mut model = Model::new(Limits::default());
        let mut spans: Vec<FinishedSpan> = Vec::new();
        let until = Instant::now() + Duration::from_secs(20);
        // While there is what tokio has opened in it.
        while !spans.iter().any(|span| &*span.name == "order") {
            collector.round(&mut |session, event| model.apply(session, event));
            collector.slots(&mut |session, event| model.apply(session, event));
            model.end_round();
            spans.extend(model.take_finished(usize::MAX));
            assert!(Instant::now() < until, "{spans:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(service.finish().success());
        for _ in 0..4 {
            collector.round(&mut |session, event| model.apply(session, event));
            model.end_round();
        }
        spans.extend(model.take_finished(usize::MAX));
        let named = |name: &str| spans.iter().filter(|span| &*span.name == name).collect::<Vec<_>>();
        let ([order], [below]) = (&named("order")[..], &named("below")[..]) else { panic!("{spans:#?}") };
        assert_eq!((below.ids.parent, below.task), (Some(order.ids.span), order.task));
        assert!(!order.unfinished && !order.cancelled, "{order:#?}");
        let length = order.end.since(order.start).0;
        assert!(length >= 22_000_000 && order.end >= below.end, "up to its last exit: {order:#?}");
        assert_eq!(order.held.0 >= 1_000_000_000, cfg!(tokio_unstable), "{order:#?}");
        assert!(!spans.iter().any(|span| span.name.starts_with("runtime.")), "{spans:#?}");
    }
}
