//! Each fault of the shop, switched on by itself, shows in what is read from outside, with its place.

use pollscope_collect::{Collector, Options};
use pollscope_model::event::{Location, SpanSource, Value};
use pollscope_model::span::FinishedSpan;
use pollscope_model::summary::{Summary, Suspicion};
use pollscope_model::traces::{TraceLimits, Traces};
use pollscope_model::{Limits, Model, Nanos, UnixNanos};
use pollscope_testkit::{Place, Service};
use shop::load::{Done, Load};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What was read of the three services under load.
struct Seen {
    model: Model,
    spans: Vec<FinishedSpan>,
    summary: Summary,
    done: Done,
}

/// Starts one of the services; gives it with its address.
fn start(place: &Place, role: &str, arguments: &[String]) -> (Service, SocketAddr) {
    let mut all = vec![role];
    all.extend(arguments.iter().map(String::as_str));
    let mut service = Service::start(env!("CARGO_BIN_EXE_shop"), place, &all);
    let line = service.line();
    let address = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{role} says {line:?}"));
    (service, address.parse().expect("an address"))
}

/// Long enough for a leak to be one, and a task to be waiting in vain.
const STEADY: (f64, Duration) = (50.0, Duration::from_millis(2_500));

/// The shop without a fault, run once.
fn sound() -> &'static Seen {
    static SOUND: OnceLock<Seen> = OnceLock::new();
    SOUND.get_or_init(|| run(None, STEADY))
}

/// Runs the shop with a fault, or without any, under so many requests a second for so long.
fn run(fault: Option<&str>, (rate, length): (f64, Duration)) -> Seen {
    let place = Place::new();
    let faults: Vec<String> =
        fault.into_iter().flat_map(|name| ["--fault".to_owned(), name.to_owned()]).collect();
    let (orders, orders_at) = start(&place, "orders", &faults);
    let (inventory, inventory_at) = start(&place, "inventory", &faults);
    let mut arguments = faults;
    for (flag, address) in [("--orders", orders_at), ("--inventory", inventory_at)] {
        arguments.extend([flag.to_owned(), address.to_string()]);
    }
    let (gateway, gateway_at) = start(&place, "gateway", &arguments);

    let load = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let load = Load { gateway: gateway_at, rate, length };
        runtime.block_on(load.run())
    });
    let mut collector = Collector::new(Options { dirs: vec![place.path().to_owned()], ..Options::default() });
    let mut model = Model::new(Limits::default());
    let (mut spans, mut traces) = (Vec::new(), Traces::new(TraceLimits::default()));
    let mut read = |collector: &mut Collector, model: &mut Model| {
        collector.discover();
        while collector.round(&mut |session, event| model.apply(session, event)).more {}
        model.end_round();
        for span in model.take_finished(usize::MAX) {
            let service = model.session(span.session).map_or("", |session| session.info().service()).into();
            traces.add(&service, &span);
            spans.push(span);
        }
    };
    while !load.is_finished() {
        read(&mut collector, &mut model);
        std::thread::sleep(Duration::from_millis(20));
    }
    for _ in 0..3 {
        read(&mut collector, &mut model);
    }
    // What waits is told from its slot, while its service lives.
    collector.slots(&mut |session, event| model.apply(session, event));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
    let summary = model.summary(UnixNanos(now as u64), &traces, 50);
    let done = load.join().expect("the load ends");
    for service in [gateway, inventory, orders] {
        assert!(service.finish().success());
    }
    Seen { model, spans, summary, done }
}

/// Line of the first place in a source of the shop where `text` stands.
#[track_caller]
fn line(source: &str, text: &str) -> u32 {
    let at = source.lines().position(|line| line.contains(text));
    at.unwrap_or_else(|| panic!("no line with {text:?}")) as u32 + 1
}

#[track_caller]
fn stands(location: &Location, file: &str, line: u32) {
    assert!(location.file.ends_with(&format!("examples/shop/src/{file}")), "{location}");
    assert_eq!(location.line, line, "{location}");
}

const FAULTS: &str = include_str!("../src/faults.rs");

fn leaks(summary: &Summary) -> Vec<&pollscope_model::summary::Suspect> {
    summary.suspects.iter().filter(|suspect| matches!(suspect.what, Suspicion::Leak { .. })).collect()
}

fn spins(summary: &Summary) -> Vec<&pollscope_model::summary::Suspect> {
    summary.suspects.iter().filter(|suspect| matches!(suspect.what, Suspicion::SelfWake { .. })).collect()
}

fn lost_wakes(summary: &Summary) -> Vec<&pollscope_model::summary::Suspect> {
    summary.suspects.iter().filter(|suspect| matches!(suspect.what, Suspicion::LostWake { .. })).collect()
}

#[test]
fn without_a_fault_the_shop_works_and_nothing_is_suspected() {
    let seen = sound();
    assert_eq!(seen.done.failed, 0, "{:?}", seen.done);
    assert!(seen.done.good >= 50, "{:?}", seen.done);
    assert!(
        seen.summary.panicked.is_empty() && seen.summary.suspects.is_empty(),
        "{:?}",
        seen.summary.suspects
    );
    let most = seen.summary.slowest.iter().map(|trace| trace.services).max();
    assert_eq!(most, Some(3), "one request is one trace over three services");
}

#[test]
fn a_blocking_call_is_a_poll_that_held_its_thread() {
    let seen = run(Some("blocking_call"), STEADY);
    let worst = seen.summary.worst_polls.iter().find(|poll| &*poll.who.service == "gateway");
    let worst = worst.expect("a long poll");
    assert_eq!(&*worst.who.label, "GET");
    assert!(worst.own >= Nanos(40_000_000), "{worst}");
    stands(&worst.who.location, "net.rs", line(include_str!("../src/net.rs"), "ServerLayer::new()"));
    // And the function in which it happened is busy, not idle, for that long.
    let show = seen.spans.iter().find(|span| &*span.name == "show").expect("a span");
    assert!(show.busy >= Nanos(40_000_000), "{show:?}");
    assert!(show.callsite.location.file.ends_with("examples/shop/src/gateway.rs"));
}

#[test]
fn a_lock_held_across_an_await_makes_the_others_idle() {
    // 67 orders in half a second, of which each has the lock for 15 ms: the last ones wait for all before them.
    let seen = run(Some("lock_across_await"), (200.0, Duration::from_millis(500)));
    let reserve = |span: &&FinishedSpan| {
        &*span.name == "reserve" && span.callsite.location.file.ends_with("inventory.rs")
    };
    let waited = seen.spans.iter().filter(reserve).max_by_key(|span| span.idle).expect("a span");
    assert!(waited.idle >= Nanos(100_000_000), "{waited:?}");
    assert!(waited.busy < waited.idle, "{waited:?}");
    // The request that had to wait is among the slowest traces.
    assert!(seen.summary.slowest.iter().any(|slow| slow.trace == waited.ids.trace && slow.services >= 2));
}

#[test]
fn a_task_that_wakes_itself_is_told() {
    let seen = run(Some("self_wake_spin"), STEADY);
    let spins = spins(&seen.summary);
    let spun = spins.iter().find(|suspect| &*suspect.who.label == "GET").expect("a spinning request");
    stands(&spun.who.location, "net.rs", line(include_str!("../src/net.rs"), "ServerLayer::new()"));
}

#[test]
fn leaked_tasks_are_told_with_their_place() {
    let seen = run(Some("leaked_tasks"), STEADY);
    let leaks = leaks(&seen.summary);
    let leak = leaks.iter().find(|suspect| &*suspect.who.label == "forgotten").expect("a leak");
    stands(&leak.who.location, "faults.rs", line(FAULTS, "\"forgotten\""));
}

#[test]
fn a_slow_disk_is_long_jobs_that_others_wait_for() {
    let seen = run(Some("slow_disk"), STEADY);
    let orders = seen.model.sessions().find(|session| session.info().service() == "orders");
    let orders = orders.expect("its session");
    for what in ["insert order", "select order"] {
        let (key, jobs) = orders
            .jobs()
            .find(|((name, _), _)| name.as_deref() == Some(what))
            .unwrap_or_else(|| panic!("no job {what}"));
        assert!(jobs.count >= 5, "{what}: {}", jobs.count);
        stands(&key.1, "orders.rs", line(include_str!("../src/orders.rs"), ".spawn_blocking("));
    }
    let insert = seen.spans.iter().find(|span| &*span.name == "insert order").expect("a span");
    assert!(insert.busy >= Nanos(30_000_000), "{insert:?}");
    let keep = seen.spans.iter().find(|span| Some(span.ids.span) == insert.ids.parent).expect("its parent");
    assert_eq!(&*keep.name, "keep");
    assert!(keep.end.since(keep.start) >= Nanos(30_000_000), "{keep:?}");
}

#[test]
fn a_panic_is_told_with_its_place() {
    let seen = run(Some("panic"), (10.0, Duration::from_millis(500)));
    let panicked = seen.summary.panicked.first().expect("a panic");
    assert_eq!((&*panicked.who.label, &*panicked.who.service), ("careless", "gateway"));
    stands(&panicked.who.location, "faults.rs", line(FAULTS, "panic!(\"the fault"));
    assert_eq!(seen.done.failed, 0, "nobody else is hurt");
}

#[test]
fn a_lost_wake_is_told_with_its_place() {
    let seen = run(Some("lost_wake"), STEADY);
    let lost = lost_wakes(&seen.summary);
    let lost = lost.iter().find(|suspect| &*suspect.who.label == "unheard").expect("a lost wake");
    stands(&lost.who.location, "faults.rs", line(FAULTS, "\"unheard\""));
}

#[test]
fn an_order_goes_through_the_database_a_printer_and_back() {
    let seen = sound();
    let render = seen.spans.iter().find(|span| &*span.name == "render").expect("a span");
    assert!(render.callsite.location.file.ends_with("orders.rs"));
    let orders = seen.model.sessions().find(|session| session.info().service() == "orders");
    let orders = orders.expect("its session");
    let rendered = orders.jobs().find(|((name, _), _)| name.as_deref() == Some("render receipt"));
    assert!(rendered.is_some_and(|(_, jobs)| jobs.count >= 10), "the printers work");
    let receipt = seen.spans.iter().find(|span| span.ids.parent == Some(render.ids.span)).expect("a job");
    assert_eq!((&*receipt.name, receipt.source), ("render receipt", SpanSource::Job), "in the order's trace");
    let client = seen.spans.iter().find(|span| {
        span.attributes.iter().any(|each| {
            &*each.key == "url.full" && matches!(&each.value, Value::Str(url) if url.contains("/stock/"))
        })
    });
    assert!(client.is_some_and(|client| client.callsite.location.file.ends_with("net.rs")));
}

/// Asks a service, without a body; gives the answer's first line.
fn ask(address: SocketAddr, what: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
    let request = format!("{what} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_fault_is_switched_on_and_off_while_the_service_runs() {
    let place = Place::new();
    let (service, address) = start(&place, "inventory", &[]);
    assert_eq!(ask(address, "POST /stock/1"), "HTTP/1.1 200 OK");
    assert_eq!(ask(address, "POST /faults/lock_across_await?on=1"), "HTTP/1.1 200 OK");
    assert_eq!(ask(address, "POST /stock/1"), "HTTP/1.1 200 OK");
    assert_eq!(ask(address, "POST /faults/lock_across_await?on=0"), "HTTP/1.1 200 OK");
    assert_eq!(ask(address, "POST /stock/1"), "HTTP/1.1 200 OK");
    assert_eq!(ask(address, "POST /faults/no_such_fault"), "HTTP/1.1 500 Internal Server Error");
    let mut collector = Collector::new(Options { dirs: vec![place.path().to_owned()], ..Options::default() });
    let mut model = Model::new(Limits::default());
    collector.discover();
    for _ in 0..3 {
        collector.round(&mut |session, event| model.apply(session, event));
        model.end_round();
    }
    let mut reserves: Vec<FinishedSpan> = model.take_finished(usize::MAX);
    reserves.retain(|span| &*span.name == "reserve");
    reserves.sort_by_key(|span| span.start);
    let [before, with, after] = &reserves[..] else { panic!("{reserves:?}") };
    // One wait for the price, and, with the fault, one of 15 ms with the lock held.
    assert!(with.end.since(with.start) >= Nanos(15_000_000), "{with:?}");
    assert!(before.polls <= 2 && after.polls <= 2, "{before:?} {after:?}");
    assert!(service.finish().success());
}
