//! Traces as trees and as text, compared whole.
mod common;
use common::*;
use pollscope_model::event::*;
use pollscope_model::render::{Style, render_trace};
use pollscope_model::span::FinishedSpan;
use pollscope_model::traces::{TraceLimits, TraceQuery, Traces};
use pollscope_model::{Model, Nanos};
use std::sync::Arc;

const PLAIN: Style = Style { unicode: true, color: false };

/// A finished span of trace `trace`, from `start` to `end`.
#[allow(clippy::too_many_arguments, reason = "a line of a trace is eight facts")]
fn span(
    trace: u128,
    id: u64,
    parent: u64,
    name: &str,
    start: f64,
    end_: f64,
    busy: f64,
    scheduled: f64,
) -> FinishedSpan {
    let mut model = Model::default();
    let opened = SpanOpen { ids: Some(ids(trace, id, parent)), ..open(id, 0, name, start) };
    model.apply(SESSION, Event::SpanEnded(end(opened, end_, busy, scheduled)));
    model.end_round();
    model.end_round();
    model.take_finished(1).pop().expect("it has ended")
}

fn shop() -> Traces {
    let mut traces = Traces::default();
    let (gateway, orders, inventory): (Arc<str>, Arc<str>, Arc<str>) =
        ("gateway".into(), "orders".into(), "inventory".into());
    traces.add(&orders, &span(7, 3, 2, "place", 90.0, 780.0, 20.0, 500.0));
    traces.add(&gateway, &span(7, 1, 0, "POST /checkout", 0.0, 812.0, 6.0, 40.0));
    traces.add(&gateway, &span(7, 2, 1, "POST", 60.0, 800.0, 2.0, 1.0));
    let mut sold_out = span(7, 5, 3, "reserve", 640.0, 700.0, 50.0, 0.0);
    sold_out.status = Status::Error;
    sold_out.status_message = Some("sold out".into());
    traces.add(&inventory, &sold_out);
    traces.add(&orders, &span(7, 4, 3, "SELECT orders, customers, items", 600.0, 640.0, 1.0, 0.0));
    let mut receipt = span(7, 6, 1, "receipt", 805.0, 812.0, 7.0, 0.0);
    receipt.estimated = true;
    traces.add(&gateway, &receipt);
    traces
}

fn check(drawn: String, width: usize, expected: &str) {
    assert!(drawn.lines().all(|line| line.chars().count() <= width), "wider than {width}:\n{drawn}");
    assert_eq!(drawn.trim_end(), expected.trim_matches('\n'), "got:\n{drawn}");
}

#[test]
fn a_trace_over_three_services_at_100_columns() {
    let tree = shop().get(TraceId(7)).expect("it is here");
    check(
        render_trace(&tree, 100, PLAIN),
        100,
        r#"
trace 00000000000000000000000000000007  3 services  812ms  6 spans  1 error
                                                      0              406ms      812ms
POST /checkout                    gateway      812ms  ▒▒─────────────────────────────  src/shop.rs:1
├─ POST                           gateway      740ms    ────────────────────────────   src/shop.rs:2
│  └─ place                       orders       690ms     █▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒──────    src/shop.rs:3
│     ├─ SELECT orders, custome…  orders      40.0ms                        ──         src/shop.rs:4
│     └─ reserve                  inventory   60.0ms                          ██       src/shop.rs:5
│        ✗ sold out
└─ receipt                        gateway    ~7.00ms                                █  src/shop.rs:6
█ busy  ▒ scheduled  ─ idle  ~ estimated
"#,
    );
}

/// However narrow the column of names is, a tree that fits in it is drawn whole.
#[test]
fn short_names_stand_deep() {
    let mut traces = Traces::default();
    let service: Arc<str> = "till".into();
    for (id, name) in [(1, "GET"), (2, "hi"), (3, "job"), (4, "cpu")] {
        traces.add(&service, &span(7, id, id - 1, name, id as f64, 10.0, 1.0, 0.0));
    }
    let drawn = render_trace(&traces.get(TraceId(7)).expect("it is here"), 80, PLAIN);
    for (line, begins) in drawn.lines().skip(2).zip(["GET", "└─ hi", "   └─ job", "      └─ cpu"])
    {
        assert!(line.starts_with(begins), "{drawn}");
    }
}

#[test]
fn the_same_at_80_columns() {
    let tree = shop().get(TraceId(7)).expect("it is here");
    check(
        render_trace(&tree, 80, PLAIN),
        80,
        r#"
trace 00000000000000000000000000000007  3 services  812ms  6 spans  1 error
                                               0                812ms
POST /checkout             gateway      812ms  ▒─────────────────────  shop.rs:1
├─ POST                    gateway      740ms   ────────────────────   shop.rs:2
│  └─ place                orders       690ms    █▒▒▒▒▒▒▒▒▒▒▒▒▒─────   shop.rs:3
│     ├─ SELECT orders, …  orders      40.0ms                  ─       shop.rs:4
│     └─ reserve           inventory   60.0ms                   █      shop.rs:5
│        ✗ sold out
└─ receipt                 gateway    ~7.00ms                       █  shop.rs:6
█ busy  ▒ scheduled  ─ idle  ~ estimated
"#,
    );
}

#[test]
fn the_same_in_ascii() {
    let tree = shop().get(TraceId(7)).expect("it is here");
    let drawn = render_trace(&tree, 80, Style { unicode: false, color: false });
    assert!(drawn.is_ascii());
    check(
        drawn,
        80,
        r#"
trace 00000000000000000000000000000007  3 services  812ms  6 spans  1 error
                                               0                812ms
POST /checkout             gateway      812ms  =---------------------  shop.rs:1
|- POST                    gateway      740ms   --------------------   shop.rs:2
|  `- place                orders       690ms    #=============-----   shop.rs:3
|     |- SELECT orders, ~  orders      40.0ms                  -       shop.rs:4
|     `- reserve           inventory   60.0ms                   #      shop.rs:5
|        ! sold out
`- receipt                 gateway    ~7.00ms                       #  shop.rs:6
# busy  = scheduled  - idle  ~ estimated
"#,
    );
}

#[test]
fn colours_change_nothing_but_colours() {
    let tree = shop().get(TraceId(7)).expect("it is here");
    let colored = render_trace(&tree, 100, Style { unicode: true, color: true });
    let mut plain = String::new();
    let mut rest = colored.as_str();
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.split_once('m').expect("a colour ends").1;
    }
    plain.push_str(rest);
    assert_ne!(colored, plain);
    let trimmed: String = plain.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    assert_eq!(trimmed, render_trace(&tree, 100, PLAIN));
}

#[test]
fn a_name_gives_the_terminal_no_orders() {
    let mut traces = Traces::default();
    traces.add(&"svc\x1b[2J".into(), &span(7, 1, 0, "a\x1b]0;title\x07\nb\u{202e}", 0.0, 1.0, 1.0, 0.0));
    let drawn = render_trace(&traces.get(TraceId(7)).expect("it is here"), 80, PLAIN);
    assert!(drawn.chars().all(|c| c == '\n' || !c.is_control()), "{drawn:?}");
    assert_eq!(drawn.lines().count(), 4);
}

#[test]
fn a_missing_parent_makes_a_root_and_is_said() {
    let mut traces = Traces::default();
    traces.add(&"orders".into(), &span(7, 3, 2, "place", 0.0, 10.0, 1.0, 0.0));
    let tree = traces.get(TraceId(7)).expect("it is here");
    assert_eq!((tree.nodes[0].depth, tree.orphans()), (0, 1));
    assert!(render_trace(&tree, 80, PLAIN).contains("1 span whose parent is not here"));
}

#[test]
fn spans_in_a_circle_are_shown_once_each() {
    let mut traces = Traces::default();
    for (id, parent) in [(1, 3), (2, 1), (3, 2), (4, 4), (5, 9)] {
        traces.add(&"odd".into(), &span(7, id, parent, "loop", id as f64, 10.0, 1.0, 0.0));
    }
    let tree = traces.get(TraceId(7)).expect("it is here");
    let shown: Vec<u64> = tree.nodes.iter().map(|node| node.of.span.ids.span.0).collect();
    assert_eq!(shown, [4, 5, 1, 2, 3]);
}

#[test]
fn a_chain_of_a_thousand_spans_is_drawn_within_the_page() {
    let mut traces = Traces::default();
    for id in 1..=1_000 {
        traces.add(&"deep".into(), &span(7, id, id - 1, "call", id as f64, 2_000.0, 1.0, 0.0));
    }
    let tree = traces.get(TraceId(7)).expect("it is here");
    assert_eq!(tree.nodes.last().expect("there are nodes").depth, 999);
    let drawn = render_trace(&tree, 80, PLAIN);
    assert!(drawn.lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn children_stand_in_order_of_their_start_whatever_order_they_came_in() {
    let tree = shop().get(TraceId(7)).expect("it is here");
    let order: Vec<&str> = tree.nodes.iter().map(|node| &*node.of.span.name).collect();
    let expected =
        ["POST /checkout", "POST", "place", "SELECT orders, customers, items", "reserve", "receipt"];
    assert_eq!(order, expected);
    assert_eq!(tree.services(), ["gateway", "orders", "inventory"]);
    assert_eq!((tree.duration(), tree.errors), (ms(812.0), 1));
}

#[test]
fn traces_are_found_by_what_is_asked() {
    let mut traces = shop();
    traces.add(&"gateway".into(), &span(8, 1, 0, "GET /", 900.0, 905.0, 1.0, 0.0));
    traces.add(&"orders".into(), &span(0xab << 120, 1, 0, "sweep", 950.0, 1_950.0, 1.0, 0.0));
    let found =
        |query: TraceQuery| -> Vec<u128> { traces.find(&query, 10).iter().map(|tree| tree.id.0).collect() };
    assert_eq!(found(TraceQuery::default()), [0xab << 120, 8, 7]);
    assert_eq!(found(TraceQuery { slowest: true, ..TraceQuery::default() }), [0xab << 120, 7, 8]);
    assert_eq!(found(TraceQuery { min: Some(ms(500.0)), ..TraceQuery::default() }), [0xab << 120, 7]);
    assert_eq!(found(TraceQuery { errors: true, ..TraceQuery::default() }), [7]);
    let of_orders = TraceQuery { service: Some("orders".into()), ..TraceQuery::default() };
    assert_eq!(found(of_orders), [0xab << 120, 7]);
    assert_eq!(traces.by_prefix("AB").len(), 1);
    assert_eq!(traces.find(&TraceQuery::default(), 1).len(), 1);
}

#[test]
fn the_store_stays_within_its_bounds_and_keeps_the_slowest() {
    let limits = TraceLimits { traces: 100, spans: 150, spans_per_trace: 3, slowest: 5 };
    let mut traces = Traces::new(limits);
    for n in 1..=1_000u128 {
        let start = n as f64;
        let length = if n <= 3 { 5_000.0 } else { 2.0 };
        traces.add(&"shop".into(), &span(n, 1, 0, "request", start, start + length, 1.0, 0.0));
        traces.add(&"shop".into(), &span(n, 2, 1, "query", start, start + 1.0, 1.0, 0.0));
    }
    assert!(traces.len() <= 100 && traces.spans() <= 150, "{} {}", traces.len(), traces.spans());
    assert_eq!(traces.evicted() as usize, 1_000 - traces.len());
    for slow in 1..=3 {
        assert!(traces.get(TraceId(slow)).is_some(), "trace {slow}");
    }
    assert!(traces.get(TraceId(500)).is_none() && traces.get(TraceId(1_000)).is_some());
    for id in 3..=9 {
        traces.add(&"shop".into(), &span(1_000, id, 1, "query", 1.0, 2.0, 1.0, 0.0));
    }
    let tree = traces.get(TraceId(1_000)).expect("it is the newest");
    assert_eq!((tree.nodes.len(), tree.dropped), (3, 6));
}

#[test]
fn a_span_that_comes_twice_is_there_once() {
    let mut traces = shop();
    let before = (traces.spans(), traces.get(TraceId(7)).expect("it is here"));
    traces.add(&"gateway".into(), &span(7, 1, 0, "POST /checkout", 0.0, 812.0, 6.0, 40.0));
    assert_eq!((traces.spans(), traces.get(TraceId(7)).expect("it is here")), before);
    assert_eq!(before.1.duration(), Nanos(812 * MS));
}
