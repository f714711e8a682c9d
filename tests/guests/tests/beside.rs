//! Beside a tracing-opentelemetry layer each span has one exporter, and all hang together.

use pollscope_model::event::{SpanId, SpanSource, TraceId};
use pollscope_model::span::FinishedSpan;
use pollscope_testkit::Place;
use std::collections::HashMap;
use std::process::Command;

/// A span as the SDK exported it.
#[derive(Debug)]
struct Theirs {
    name: String,
    trace: TraceId,
    span: SpanId,
    parent: Option<SpanId>,
    told: Vec<String>,
}

struct Ran {
    /// What `current()` said in the request.
    current: String,
    /// Whether our traceparent was that of the SDK's propagator.
    same: bool,
    theirs: Vec<Theirs>,
    ours: Vec<FinishedSpan>,
    said: String,
}

/// A kind that exports by itself: what it prints are log lines.
fn run_logged(kind: &str) -> Ran {
    // Nobody listens there, and nothing is sent.
    run(kind, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"), ("POLLSCOPE_RING_BYTES", "1048576")])
}

fn run(kind: &str, environment: &[(&str, &str)]) -> Ran {
    let place = Place::new();
    let output = Command::new(env!("CARGO_BIN_EXE_beside"))
        .arg(kind)
        .env("POLLSCOPE_DIR", place.path())
        .envs(environment.iter().copied())
        .output()
        .expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it is text");
    let (told, said) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{kind}: {}\n{told}\n{said}", output.status);
    let number = |text: &str| u64::from_str_radix(text, 16).expect("it is a number");
    let (mut current, mut theirs, mut same) = (String::new(), Vec::new(), false);
    for line in told.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["current", ..] => line.trim_start_matches("current ").clone_into(&mut current),
            ["span", name, trace, span, parent, told] => theirs.push(Theirs {
                name: name.to_owned(),
                trace: TraceId(u128::from_str_radix(trace, 16).expect("it is a number")),
                span: SpanId(number(span)),
                parent: Some(SpanId(number(parent))).filter(|parent| parent.0 != 0),
                told: told.split(',').map(str::to_owned).collect(),
            }),
            ["same", told] => same = told == "true",
            _ if line.starts_with('{') => {}
            _ => panic!("{line}"),
        }
    }
    let mut model = pollscope_testkit::model(&place);
    Ran { current, same, theirs, ours: model.take_finished(usize::MAX), said }
}

impl Ran {
    fn their(&self, name: &str) -> &Theirs {
        self.theirs.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name}"))
    }

    fn our(&self, name: &str) -> &FinishedSpan {
        self.ours.iter().find(|span| &*span.name == name).unwrap_or_else(|| panic!("no {name}"))
    }

    /// What leaves in all: from the SDK, and from the agent.
    fn leaving(&self) -> Vec<(TraceId, SpanId, Option<SpanId>)> {
        let agent = self.ours.iter().filter(|span| span.ids.sampled && !span.ids.foreign);
        let agent = agent.map(|span| (span.ids.trace, span.ids.span, span.ids.parent));
        agent.chain(self.theirs.iter().map(|span| (span.trace, span.span, span.parent))).collect()
    }

    /// Every span once, and every parent there but those from afar.
    #[track_caller]
    fn hangs_together(&self) {
        let leaving = self.leaving();
        let mut counts: HashMap<(TraceId, SpanId), u32> = HashMap::new();
        leaving.iter().for_each(|(trace, span, _)| *counts.entry((*trace, *span)).or_default() += 1);
        assert!(counts.values().all(|count| *count == 1), "{leaving:x?}");
        for (trace, _, parent) in &leaving {
            let Some(parent) = parent.filter(|parent| parent.0 != 7) else { continue };
            assert!(counts.contains_key(&(*trace, parent)), "no parent {parent:x?} in {leaving:x?}");
        }
    }
}

/// A function with our attribute is a span of tracing.
#[test]
fn instrumented_functions_are_the_sdks_spans_too() {
    let ran = run("bound", &[]);
    let (request, fetch) = (ran.their("request"), ran.their("fetch"));
    assert_eq!(fetch.parent, Some(request.span));
    assert_eq!(ran.their("count").parent, Some(fetch.span));
    assert_eq!(ran.their("connect").parent, Some(fetch.span));
    let told = |span: &Theirs, what: &str| span.told.iter().any(|told| told.contains(what));
    for what in ["number=3", "table=orders", "Error", "event:", "pollscope.busy_ns"] {
        assert!(told(fetch, what), "{what} in {:?}", fetch.told);
    }
    assert!(told(ran.their("count"), "return=4"), "{:?}", ran.their("count").told);
    let ours = ran.our("fetch");
    assert!(ours.ids.foreign && ours.ids.span == fetch.span);
    assert_eq!(ours.status, pollscope_model::event::Status::Error);
    assert!(ours.callsite.location.file.ends_with("beside.rs"));
}

impl Theirs {
    fn says(&self, what: &str) -> bool {
        self.told.iter().any(|told| told == what)
    }
}

/// Requests under our layers are spans of tracing, too: below their caller, and above what is opened in them.
#[track_caller]
fn requests_are_the_sdks(ran: &Ran) {
    let of = |kind: &str, what: &str| {
        let mut found = ran.theirs.iter().filter(|span| span.says(kind) && span.says(what));
        let span = found.next().unwrap_or_else(|| panic!("no {kind} {what} in {:?}", ran.theirs));
        assert!(found.next().is_none(), "one {kind} {what}");
        assert_eq!((&*span.name, span.says("http.response.status_code=200")), ("GET", true), "{span:?}");
        span
    };
    let front = of("kind=Server", "url.path=/front");
    let asked = of("kind=Client", "url.full=http://back/back");
    let back = of("kind=Server", "url.path=/back");
    assert_eq!((front.trace, front.parent), (TraceId(0xfeb), Some(SpanId(7))));
    assert_eq!(ran.their("called").parent, Some(front.span));
    assert_eq!((asked.trace, asked.parent), (front.trace, Some(ran.their("called").span)));
    assert_eq!(
        (back.trace, back.parent),
        (front.trace, Some(asked.span)),
        "by the traceparent that went out"
    );
    assert_eq!(ran.their("back").parent, Some(back.span));
    for theirs in [front, asked, back] {
        let ours = ran.ours.iter().find(|ours| ours.ids.span == theirs.span).expect("it is recorded");
        assert!(ours.ids.foreign && ours.polls >= 1 && !ours.estimated, "{ours:?}");
        assert!(ours.callsite.location.file.ends_with("beside.rs"), "{ours:?}");
    }
    // One that another thread was in at first: what came after that counts.
    let mut found = ran.theirs.iter().filter(|span| span.says("url.path=/elsewhere"));
    let elsewhere = found.next().expect("it is theirs");
    let ours = ran.ours.iter().find(|ours| ours.ids.span == elsewhere.span).expect("it is recorded");
    assert!(ours.polls >= 2, "{ours:?}");
    let task = |span: &Theirs| ran.ours.iter().find(|ours| ours.ids.span == span.span).and_then(|of| of.task);
    assert_eq!(task(front), task(ran.their("called")), "it is of its request's task");
    assert_ne!(task(front), task(back));
    assert!(!ran.ours.iter().any(|span| matches!(span.source, SpanSource::Server | SpanSource::Client)));
}

/// Whatever parent the attribute names, both sides know it.
#[test]
fn parents_that_are_not_the_current_span_are_told_to_the_sdk() {
    for kind in ["bound", "older"] {
        let ran = run(kind, &[]);
        ran.hangs_together();
        let above = ran.their("above");
        let known = |name: &str| {
            let (ours, theirs) = (ran.our(name), ran.their(name));
            assert!(
                ours.ids.foreign && (ours.ids.trace, ours.ids.span) == (theirs.trace, theirs.span),
                "{name}"
            );
            (theirs.trace, theirs.parent)
        };
        let below = |name: &str| (ran.their(name).trace, Some(ran.their(name).span));
        for name in ["below_span", "below_id", "below_captured"] {
            assert_eq!(known(name), below("above"), "{kind}: {name}");
            assert!(!ran.our("above").links.iter().any(|link| link.1 == ran.our(name).ids.span), "{name}");
        }
        assert_eq!(known("deeper"), below("below_span"));
        assert_eq!(known("deeper_still"), below("below_captured"));
        assert_eq!(known("below_remote"), (TraceId(0xfed), Some(SpanId(7))));
        assert!(ran.our("below_remote").ids.parent_remote);
        // What our filter leaves out is there all the same.
        assert_eq!(known("below_unseen"), below("unseen"));
        assert_eq!(known("below_none").1, None);
        let links = |name: &str| -> Vec<String> {
            let told = ran.their(name).told.iter();
            told.filter_map(|told| told.strip_prefix("link:")).map(str::to_owned).collect()
        };
        let to_above = format!("{:032x}:{:016x}:false", above.trace.0, above.span.0);
        assert_eq!(links("follows_span"), [to_above.clone(), to_above.clone()]);
        assert_eq!(links("follows_captured"), [to_above]);
        assert_eq!(links("follows_remote"), [format!("{:032x}:{:016x}:true", 0xfed, 7)]);
        assert_eq!(known("follows_span"), below("here"));
        assert_eq!(ran.our("follows_captured").links, [(above.trace, above.span)]);
    }
}

/// Spans are the SDK's; tasks are the agent's.
#[track_caller]
fn joined(kind: &str, told: bool) {
    let ran = run(kind, &[]);
    assert!(ran.said.is_empty(), "{}", ran.said);
    ran.hangs_together();
    requests_are_the_sdks(&ran);
    assert!(ran.same, "one traceparent, whoever writes it");
    for name in ["request", "parse", "query", "row", "never_entered"] {
        let (ours, theirs) = (ran.our(name), ran.their(name));
        assert!(ours.ids.foreign, "{name}");
        assert_eq!((ours.ids.trace, ours.ids.span), (theirs.trace, theirs.span), "{name}");
        let numbers = ["pollscope.busy_ns", "pollscope.idle_ns", "pollscope.polls", "pollscope.scheduled_ns"];
        let all = numbers.iter().all(|key| theirs.told.iter().any(|told| told == key));
        assert_eq!(all, told, "{name}: {:?}", theirs.told);
    }
    let request = ran.their("request");
    assert_eq!(ran.current, format!("{} {} true", request.trace, request.span));
    assert_eq!(
        (ran.their("parse").parent, ran.their("row").parent),
        (Some(request.span), Some(ran.their("query").span))
    );
    // The task is a child of the request, and what it opens by itself a root there, to which it links.
    let lookup = ran.our("lookup");
    assert_eq!((lookup.source, lookup.ids.foreign), (SpanSource::Task, false));
    assert_eq!((lookup.ids.trace, lookup.ids.parent), (request.trace, Some(request.span)));
    let query = ran.their("query");
    assert_eq!((query.parent, query.trace == request.trace), (None, false));
    assert_eq!(lookup.links, [(query.trace, query.span)]);
    let back = format!("link:{:032x}:{:016x}:false", lookup.ids.trace.0, lookup.ids.span.0);
    assert_eq!(query.says(&back), told, "{:?}", query.told);
    // The caller's decision is kept, in spans of ours too.
    let afar: Vec<&FinishedSpan> = ran.ours.iter().filter(|span| &*span.name == "from_afar").collect();
    let after: Vec<&FinishedSpan> = ran.ours.iter().filter(|span| &*span.name == "after").collect();
    assert_eq!(
        afar.iter().map(|span| (span.ids.trace.0, span.ids.sampled)).collect::<Vec<_>>(),
        [(0xabc, true), (0xdef, false)]
    );
    assert_eq!(
        after.iter().map(|span| (span.ids.trace.0, span.ids.sampled)).collect::<Vec<_>>(),
        [(0xabc, true), (0xdef, false)]
    );
    assert_eq!(ran.theirs.iter().filter(|span| span.name == "from_afar").count(), 1);
    let attached = ran.their("attached");
    assert_eq!((attached.trace, attached.parent), (TraceId(0xfed), Some(SpanId(7))));
    assert_eq!(after[0].ids.parent, Some(ran.their("from_afar").span));
}

#[test]
fn with_the_newest_minor() {
    joined("bound", true);
}

#[test]
fn with_the_one_before() {
    joined("older", true);
}

#[test]
fn with_a_closure_for_any_version() {
    joined("given", false);
}

/// The SDK decided: nothing leaves, and all is recorded.
#[test]
fn a_sampler_that_never_samples_is_heeded() {
    let ran = run_logged("never_samples");
    for name in ["request", "fetch", "lookup", "query"] {
        assert!(!ran.our(name).ids.sampled, "{name}");
    }
    assert!(ran.our("request").ids.foreign && !ran.our("lookup").ids.foreign);
    assert_eq!(ran.our("lookup").ids.parent, Some(ran.our("request").ids.span));
    let agents = ran.ours.iter().filter(|span| span.ids.sampled).count();
    assert!(agents == 0 && ran.ours.len() >= 20 * 9, "{agents} of {}", ran.ours.len());
}

#[test]
fn export_gives_all_to_the_agent_with_ids_of_our_own() {
    let ran = run("bound", &[("POLLSCOPE_SPANS", "export")]);
    assert!(ran.ours.iter().all(|span| !span.ids.foreign));
    let (request, lookup) = (ran.our("request"), ran.our("lookup"));
    assert_ne!(request.ids.trace, ran.their("request").trace);
    assert_eq!((lookup.ids.trace, lookup.ids.parent), (request.ids.trace, Some(request.ids.span)));
    assert_eq!(ran.our("query").ids.parent, Some(lookup.ids.span));
    let requests = |source| ran.ours.iter().filter(move |span| span.source == source).count();
    assert_eq!((requests(SpanSource::Server), requests(SpanSource::Client)), (3, 1));
}

#[test]
fn off_records_none() {
    let ran = run("bound", &[("POLLSCOPE_SPANS", "off")]);
    assert!(ran.ours.is_empty(), "{:?}", ran.ours);
    let without = ["fetch", "count", "below_", "follows_"];
    assert!(!ran.theirs.iter().any(|span| without.iter().any(|name| span.name.starts_with(name))));
    assert_eq!(ran.theirs.iter().filter(|span| span.name == "deeper").count(), 1);
}

#[test]
fn another_word_is_said() {
    let ran = run("bound", &[("POLLSCOPE_SPANS", "both")]);
    assert!(ran.said.contains("POLLSCOPE_SPANS is \"both\""), "{}", ran.said);
    assert!(ran.our("request").ids.foreign);
}

#[test]
fn the_wrong_order_of_layers_is_said_once() {
    let ran = run("wrong_order", &[]);
    assert_eq!(ran.said.matches("put .with(pollscope::layer()) before it").count(), 1, "{}", ran.said);
    // Ids were read in time, but of spans that were never entered.
    ran.hangs_together();
    assert!(ran.our("request").ids.foreign);
    assert!(!ran.their("request").told.iter().any(|told| told.starts_with("pollscope.")));
    assert!(!ran.ours.iter().any(|span| &*span.name == "never_entered"));
}
