//! `pollscope traces`: trees with bars, the questions that can be asked, and JSON.

use crate::support::{ask, service};
use pollscope_testkit::Place;

#[test]
fn a_trace_is_a_tree_with_bars() {
    let place = Place::new();
    let _service = service(&place, "calm");
    let asked = ask(&place, &["traces", "--width", "100"]);
    assert_eq!(asked.code, Some(0));
    assert_eq!(asked.out.matches("2 spans").count(), 2, "{}", asked.out);
    let order = asked.line("order ");
    let price = asked.line("price");
    assert!(price.contains("└─ price") && price.contains("service.rs:"), "{price}");
    assert!(order.contains('─') && order.contains("service.rs:"), "idle, and where: {order}");
    assert!(asked.line("busy").contains("scheduled"), "what the bars mean");
    assert!(asked.out.lines().all(|line| line.chars().count() <= 100), "{}", asked.out);
}

#[test]
fn ascii_is_ascii() {
    let place = Place::new();
    let _service = service(&place, "calm");
    assert!(ask(&place, &["traces", "--ascii"]).out.is_ascii());
}

#[test]
fn traces_are_asked_for_by_length_error_and_id() {
    let place = Place::new();
    let _service = service(&place, "calm");
    let durations = |more: &[&str]| -> Vec<u64> {
        let mut arguments = vec!["traces", "--json"];
        arguments.extend_from_slice(more);
        let json = ask(&place, &arguments).json();
        json["traces"].as_array().unwrap().iter().map(|trace| trace["duration"].as_u64().unwrap()).collect()
    };
    let slowest = durations(&["--slowest", "2"]);
    assert!(slowest.len() == 2 && slowest[0] >= slowest[1] && slowest[0] >= 40_000_000, "{slowest:?}");
    assert_eq!(durations(&["--slowest", "1"]).len(), 1);
    assert_eq!(durations(&["--min", "40ms"]).len(), slowest.iter().filter(|d| **d >= 40_000_000).count());
    assert!(durations(&["--min", "1m"]).is_empty());

    let json = ask(&place, &["traces", "--json", "--errors"]).json();
    assert_eq!(json["traces"].as_array().unwrap().len(), 1);
    let trace = &json["traces"][0];
    let root = trace["spans"].as_array().unwrap().iter().find(|span| span["name"] == "order").unwrap();
    assert_eq!(root["status"], "error");
    assert_eq!(root["attributes"]["n"], 2);
    let number = |key: &str| root[key].as_u64().unwrap();
    assert_eq!(number("busy") + number("scheduled") + number("idle"), number("end") - number("start"));

    let id = trace["trace_id"].as_str().unwrap();
    let one = ask(&place, &["traces", &id[..12]]);
    assert!(one.out.contains(id) && one.out.matches("2 spans").count() == 1, "{one:?}");
    let none = ask(&place, &["traces", "ffff"]);
    assert_eq!(none.code, Some(1));
    assert!(none.err.contains("no trace ffff"), "{none:?}");
}

#[test]
fn no_trace_names_who_can_say_why() {
    let place = Place::new();
    let _service = service(&place, "silent");
    let asked = ask(&place, &["traces"]);
    assert_eq!(asked.code, Some(1));
    assert!(asked.err.contains("pollscope doctor") && asked.out.is_empty(), "{asked:?}");
    let json = ask(&place, &["traces", "--json"]);
    assert!(json.code == Some(1) && json.err == asked.err, "{json:?}");
    assert_eq!(json.json()["traces"], serde_json::json!([]));
}
