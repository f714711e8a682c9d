//! The agent's own pages, and its own telemetry.

use crate::support::{Agent, ask, pollscope, service, service_with, signal, wait_for};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use pollscope_testkit::Place;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

#[test]
fn pages_answer_on_loopback() {
    let place = Place::new();
    let _service = service(&place, "calm");
    let agent = Agent::start(&place, &["--no-export"]);
    assert!(agent.address.starts_with("127.0.0.1:"));
    assert_eq!(agent.page("GET", "/healthz").0, 200);
    wait_for("readiness", || (agent.page("GET", "/readyz").0 == 200).then_some(()));
    let (status, head, body) = agent.page("GET", "/metrics");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    well_formed(&body);
    assert_eq!(agent.page("GET", "/").0, 404);
    let (status, head, _) = agent.page("POST", "/metrics");
    assert!(status == 405 && head.contains("allow: get, head"), "{head}");
    assert_eq!(agent.page("HEAD", "/metrics").2, "");
    assert_eq!(agent.end(), Some(0));
}

/// Prometheus's text: each metric has its help and type before its values, and no value stands twice.
fn well_formed(page: &str) {
    let (mut typed, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for line in page.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(typed.insert(name) && ["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(typed.contains(series.split('{').next().unwrap()), "{line}: no type");
            assert!(seen.insert(series) && value.parse::<u64>().is_ok(), "{line}");
        }
    }
    for name in [
        "pollscope_agent_records_read_total",
        "pollscope_agent_records_lost_total{class=\"polls\"}",
        "pollscope_agent_sessions{state=\"live\"}",
        "pollscope_agent_sessions_refused_total",
        "pollscope_agent_queue_spans",
        "pollscope_agent_queue_size_bytes",
        "pollscope_agent_spans_sent_total",
        "pollscope_agent_spans_dropped_total{reason=\"queue_full\"}",
        "pollscope_agent_export_requests_total",
        "pollscope_agent_export_retries_total",
    ] {
        assert!(seen.contains(name), "no {name} in\n{page}");
    }
}

#[test]
fn counts_are_those_of_the_sessions() {
    let place = Place::new();
    let _service = service_with(&place, "spinning", &[("POLLSCOPE_RING_BYTES", "262144")]);
    std::fs::create_dir(place.path().join("s-1-1-0000000000000000")).unwrap();
    let agent = Agent::start(&place, &["--no-export"]);
    let lost = wait_for("polls lost", || {
        agent.metric("pollscope_agent_records_lost_total{class=\"polls\"}").filter(|lost| *lost > 0)
    });
    let json = ask(&place, &["sessions", "--json"]).json();
    assert_eq!(json["sessions"][0]["lost"]["polls"].as_u64(), Some(lost), "both read the same rings");
    assert_eq!(agent.metric("pollscope_agent_sessions{state=\"live\"}"), Some(1));
    assert_eq!(agent.metric("pollscope_agent_sessions_refused_total"), Some(1));
    assert!(agent.metric("pollscope_agent_records_read_total").unwrap() > 1000);
}

#[test]
fn an_address_in_use_costs_the_pages_and_nothing_else() {
    let place = Place::new();
    let _service = service(&place, "calm");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = crate::support::pollscope(&["agent", "--no-export", "--listen", &address]);
    command.arg("--dir").arg(place.path()).arg("--state").arg(place.path().join("state"));
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let said = lines.find(|line| line.contains("cannot listen")).expect("it says so");
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
    lines.find(|line| line.contains("following")).expect("and goes on");
    crate::support::signal(child.id(), "TERM");
    assert!(wait_for("the end", || child.try_wait().unwrap()).success());
}

#[test]
fn an_address_that_is_none_is_refused_at_the_start() {
    let place = Place::new();
    let _service = service(&place, "silent");
    for address in ["nonsense", "127.0.0.1", "127.0.0.1:99999", ":::", "no-such-host.invalid:80"] {
        let state = place.path().join("state");
        let mut command = crate::support::pollscope(&["agent", "--no-export", "--listen", address]);
        command.arg("--dir").arg(place.path()).arg("--state").arg(&state);
        let asked = crate::support::Asked::of(command.output().unwrap());
        assert_eq!(asked.code, Some(1), "{asked:?}");
        assert!(
            asked.err.contains(&format!("--listen {address}:")) && asked.err.contains("off"),
            "{asked:?}"
        );
        assert!(!asked.err.contains("following"), "{asked:?}");
    }
}

/// Paths and bodies of requests.
type Seen = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A backend that takes everything by HTTP, on a thread for each connection.
fn backend() -> (String, Seen) {
    backend_that_answers(ExportTraceServiceResponse::default())
}

fn backend_that_answers(answer: ExportTraceServiceResponse) -> (String, Seen) {
    let answer = answer.encode_to_vec();
    let head_of_answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        answer.len()
    );
    let answer: Arc<[u8]> = [head_of_answer.as_bytes(), &answer].concat().into();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let all = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(100) {
            let (mut stream, all, answer) = (stream.unwrap(), all.clone(), answer.clone());
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while let Some((path, length)) = head(&mut reader) {
                    let mut body = vec![0; length];
                    reader.read_exact(&mut body).unwrap();
                    all.lock().unwrap().push((path, body));
                    stream.write_all(&answer).unwrap();
                }
            });
        }
    });
    (address, seen)
}

/// A request's path and the length of its body.
fn head(reader: &mut impl BufRead) -> Option<(String, usize)> {
    let (mut path, mut length) = (None, 0);
    for line in reader.lines() {
        let line = line.ok()?.to_lowercase();
        if line.is_empty() {
            return Some((path?, length));
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        path = path.or_else(|| line.split(' ').nth(1).map(str::to_owned));
    }
    None
}

fn service_name(resource: Option<&Resource>) -> String {
    let name = resource.unwrap().attributes.iter().find(|one| one.key == "service.name").unwrap();
    let value = name.value.clone().unwrap().value.unwrap();
    match value {
        opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue(name) => name,
        other => panic!("{other:?}"),
    }
}

#[test]
fn its_own_spans_and_metrics_go_out_when_they_are_asked_for() {
    let place = Place::new();
    let _service = service(&place, "calm");
    for asked_for in [true, false] {
        let (endpoint, seen) = backend();
        let mut flags = vec!["--endpoint", &endpoint, "--protocol", "http/protobuf"];
        flags.extend(asked_for.then_some("--own-telemetry"));
        let agent = Agent::start(&place, &flags);
        wait_for("a round", || agent.metric("pollscope_agent_records_read_total").filter(|n| *n > 0));
        // What is left goes out at the end.
        assert_eq!(agent.end(), Some(0));
        let seen = seen.lock().unwrap();
        let (mut steps, mut metrics) = (BTreeSet::new(), BTreeSet::new());
        for (path, body) in seen.iter() {
            if path == "/v1/traces" {
                for all in ExportTraceServiceRequest::decode(&**body).unwrap().resource_spans {
                    if service_name(all.resource.as_ref()) == "pollscope-agent" {
                        steps.extend(
                            all.scope_spans.into_iter().flat_map(|of| of.spans).map(|span| span.name),
                        );
                    }
                }
            } else {
                assert_eq!(path, "/v1/metrics");
                for all in ExportMetricsServiceRequest::decode(&**body).unwrap().resource_metrics {
                    assert_eq!(service_name(all.resource.as_ref()), "pollscope-agent");
                    metrics
                        .extend(all.scope_metrics.into_iter().flat_map(|of| of.metrics).map(|one| one.name));
                }
            }
        }
        if asked_for {
            for step in ["turn", "discover", "read", "export"] {
                assert!(steps.contains(step), "no {step} in {steps:?}");
            }
            assert!(metrics.contains("pollscope.agent.records.read"), "{metrics:?}");
            assert!(metrics.contains("pollscope.agent.sessions"), "{metrics:?}");
        } else {
            assert!(steps.is_empty() && metrics.is_empty(), "{steps:?} {metrics:?}");
        }
    }
}

#[test]
fn a_backend_that_warns_is_told_once() {
    let place = Place::new();
    let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: "too old".into() };
    let (endpoint, seen) =
        backend_that_answers(ExportTraceServiceResponse { partial_success: Some(partial) });
    let mut command = crate::support::pollscope(&["agent", "--listen", "off", "--endpoint", &endpoint]);
    command.arg("--dir").arg(place.path()).arg("--state").arg(place.path().join("state"));
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let said = std::thread::spawn(move || lines.collect::<Vec<_>>());
    let mut services = Vec::new();
    for batches in 1..=3 {
        services.push(service(&place, "calm"));
        wait_for("a batch", || (seen.lock().unwrap().len() >= batches).then_some(()));
    }
    crate::support::signal(child.id(), "TERM");
    assert!(wait_for("the end", || child.try_wait().unwrap()).success());
    let said = said.join().unwrap();
    let warnings = said.iter().filter(|line| *line == "pollscope: the backend rejects spans: too old");
    assert_eq!(warnings.count(), 1, "{said:?}");
}

/// Each layer names a backend of its own: the topmost one that is there gets the traces, the others nothing.
#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let place = Place::new();
    let _service = service(&place, "calm");
    let (of_file, by_file) = backend();
    let (of_variable, by_variable) = backend();
    let (of_flag, by_flag) = backend();
    let file = place.path().join("settings.toml");
    std::fs::write(&file, format!("[otlp]\nendpoint = \"{of_file}\"\nprotocol = \"http/protobuf\"\n"))
        .unwrap();
    let file = file.to_str().unwrap();
    for (layers, seen) in [(1, &by_file), (2, &by_variable), (3, &by_flag)] {
        let state = place.path().join(format!("state-{layers}"));
        let mut command = crate::support::pollscope(&["agent", "--listen", "off", "--config", file]);
        command.arg("--dir").arg(place.path()).arg("--state").arg(state);
        if layers > 1 {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &of_variable);
        }
        if layers > 2 {
            command.args(["--endpoint", &of_flag]);
        }
        let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        wait_for("the traces", || (!seen.lock().unwrap().is_empty()).then_some(()));
        crate::support::signal(child.id(), "TERM");
        assert!(wait_for("the end", || child.try_wait().unwrap()).success());
        let all =
            [&by_file, &by_variable, &by_flag].map(|seen| std::mem::take(&mut *seen.lock().unwrap()).len());
        assert_eq!(all.iter().filter(|requests| **requests > 0).count(), 1, "{layers} layers: {all:?}");
    }
}

#[test]
fn what_a_service_wants_not_exported_is_counted_and_shown_here_alone() {
    for (name, value) in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
        let place = Place::new();
        let _service = service_with(&place, "calm", &[(name, value)]);
        let (endpoint, seen) = backend();
        let agent = Agent::start(&place, &["--endpoint", &endpoint, "--protocol", "http/protobuf"]);
        let withheld = || agent.metric("pollscope_agent_spans_withheld_total").filter(|spans| *spans >= 4);
        wait_for("withheld spans", withheld);
        assert_eq!(agent.end(), Some(0));
        assert!(seen.lock().unwrap().is_empty(), "{name}");
        assert!(ask(&place, &["traces"]).out.contains("order"));
    }
}

#[test]
fn an_agent_whose_own_environment_says_so_exports_nothing_and_says_it_once() {
    let place = Place::new();
    let _service = service(&place, "calm");
    let (endpoint, seen) = backend();
    for (name, value) in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "None")] {
        let mut command = crate::support::pollscope(&["agent", "--listen", "off"]);
        command.arg("--dir").arg(place.path()).arg("--state").arg(place.path().join("state"));
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint).env(name, value);
        let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let first = lines.next().unwrap();
        assert!(first.contains("nothing is exported") && first.contains(name), "{first}");
        lines.find(|line| line.contains("following")).expect("it follows all the same");
        crate::support::signal(child.id(), "TERM");
        assert!(wait_for("the end", || child.try_wait().unwrap()).success());
    }
    assert!(seen.lock().unwrap().is_empty());
}

#[test]
fn above_the_rate_whole_traces_are_dropped_and_counted() {
    let place = Place::new();
    let _service = service(&place, "busy");
    let (endpoint, seen) = backend();
    let file = place.path().join("settings.toml");
    std::fs::write(&file, "[agent]\nmax_spans_per_second = 5\n").unwrap();
    let flags = ["--endpoint", &endpoint, "--protocol", "http/protobuf", "--config", file.to_str().unwrap()];
    let agent = Agent::start(&place, &flags);
    let metric = |name: &str| agent.metric(&format!("pollscope_agent_spans_{name}_total")).unwrap();
    wait_for("all spans", || (metric("sent") + metric("throttled") == 100).then_some(()));
    let throttled = metric("throttled");
    assert_eq!(agent.end(), Some(0));
    let mut traces: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for (_, body) in seen.lock().unwrap().iter() {
        let all = ExportTraceServiceRequest::decode(&**body).unwrap().resource_spans;
        for span in all.into_iter().flat_map(|all| all.scope_spans).flat_map(|of| of.spans) {
            *traces.entry(span.trace_id).or_default() += 1;
        }
    }
    assert!(traces.values().all(|spans| *spans == 2), "no trace in parts: {traces:?}");
    assert_eq!(traces.values().sum::<u64>() + throttled, 100);
    assert!((1..=35).contains(&traces.len()), "{}", traces.len());
    assert_eq!(
        ask(&place, &["traces", "--json", "--limit", "300"]).json()["traces"].as_array().unwrap().len(),
        50
    );
}

#[test]
fn what_is_not_sampled_is_shown_here_and_not_exported() {
    let place = Place::new();
    let _service = service_with(&place, "calm", &[("OTEL_TRACES_SAMPLER", "always_off")]);
    let (endpoint, seen) = backend();
    let agent = Agent::start(&place, &["--endpoint", &endpoint, "--protocol", "http/protobuf"]);
    let unsampled = || agent.metric("pollscope_agent_spans_unsampled_total").filter(|spans| *spans == 4);
    wait_for("unsampled spans", unsampled);
    assert_eq!(agent.end(), Some(0));
    assert!(seen.lock().unwrap().is_empty());
    assert_eq!(ask(&place, &["traces", "--json"]).json()["traces"].as_array().unwrap().len(), 2);
}

/// It stands in its slot still, and what the second agent finds there is what the first one found.
#[test]
fn a_span_that_is_held_open_is_exported_once_over_a_kill_of_the_agent() {
    let place = Place::new();
    let (endpoint, seen) = backend();
    let flags = ["--endpoint", &endpoint, "--protocol", "http/protobuf"];
    let connections = || {
        let seen = seen.lock().unwrap();
        let decoded = seen.iter().map(|(_, body)| ExportTraceServiceRequest::decode(&**body).unwrap());
        let scopes = decoded.flat_map(|of| of.resource_spans).flat_map(|of| of.scope_spans);
        let spans = scopes.flat_map(|of| of.spans).filter(|span| span.name == "connection");
        spans.map(|span| span.span_id).collect::<Vec<_>>()
    };
    let _first = service(&place, "holding");
    let agent = Agent::start(&place, &flags);
    wait_for("the span", || (connections().len() == 1).then_some(()));
    let in_flight = || {
        let files = std::fs::read_dir(place.path().join("state")).unwrap();
        files.flatten().any(|file| file.path().extension().is_some_and(|ending| ending == "otlp"))
    };
    wait_for("its acknowledgement", || (!in_flight()).then_some(()));
    drop(agent);
    let agent = Agent::start(&place, &flags);
    let live = || agent.metric("pollscope_agent_sessions{state=\"live\"}");
    wait_for("the session", || (live() == Some(1)).then_some(()));
    // That of another service leaves as soon as the first one's could leave again.
    let _second = service(&place, "holding");
    wait_for("the other's span", || (connections().len() > 1).then_some(()));
    assert_eq!(agent.end(), Some(0));
    let all = connections();
    assert_eq!(all.len(), BTreeSet::from_iter(&all).len(), "{all:02x?}");
    assert_eq!(all.len(), 2, "{all:02x?}");
}

/// Tasks recorded of tasks alive, also under a name that would spoil the page.
#[test]
fn coverage_is_a_metric_by_service_and_runtime() {
    let place = Place::new();
    let _some = service(&place, "uncovered");
    let _all = service_with(&place, "silent", &[("OTEL_SERVICE_NAME", "a \"b\\\nc")]);
    let agent = Agent::start(&place, &["--no-export"]);
    let metric = |what: &str, service: &str| {
        agent.metric(&format!("pollscope_coverage_tasks_{what}{{service=\"{service}\",runtime=\"main\"}}"))
    };
    // Ten of its own, one of them by pollscope, and the one that waits for the test.
    wait_for("the tasks alive", || metric("alive", "till").filter(|alive| *alive >= 10));
    assert_eq!(metric("recorded", "till"), Some(1));
    wait_for("the other's", || metric("alive", r#"a \"b\\\nc"#).filter(|alive| *alive >= 1));
    assert_eq!(metric("recorded", r#"a \"b\\\nc"#), Some(1));
    well_formed(&agent.page("GET", "/metrics").2);
}

/// Three sessions that died, the oldest first.
fn three_dead(place: &Place) -> Vec<std::path::PathBuf> {
    let small = [("POLLSCOPE_RING_BYTES", "65536")];
    // Started before any of them dies: a service removes its own dead ones.
    let mut all = [(); 3].map(|()| service_with(place, "silent", &small));
    all.iter_mut().for_each(|service| service.kill());
    let stand = place.sessions();
    assert_eq!(stand.len(), 3);
    stand
}

#[test]
fn dead_sessions_beyond_their_room_go_oldest_first_and_the_newest_stays() {
    for export in [false, true] {
        let place = Place::new();
        let dead = three_dead(&place);
        let (endpoint, _) = backend();
        let flags = ["--endpoint", &endpoint, "--protocol", "http/protobuf"];
        let flags: &[&str] = if export { &flags } else { &["--no-export"] };
        let _agent = Agent::start(&place, &[flags, &["--keep-dead-mib", "1"]].concat());
        wait_for("room", || (place.sessions() == dead[2..]).then_some(()));
    }
    // There is room for all of them by default, for an hour.
    let place = Place::new();
    let dead = three_dead(&place);
    let agent = Agent::start(&place, &["--no-export"]);
    wait_for("three dead", || (agent.metric("pollscope_agent_sessions{state=\"dead\"}")? == 3).then_some(()));
    let rounds = || agent.metric("pollscope_agent_rounds_total").unwrap();
    let seen = rounds();
    wait_for("a few rounds", || (rounds() > seen + 3).then_some(()));
    assert_eq!(place.sessions(), dead);
}

/// Its hour does not begin anew with each agent.
#[test]
fn since_when_a_session_is_dead_is_known_to_the_next_agent() {
    let place = Place::new();
    three_dead(&place);
    let (endpoint, _) = backend();
    let told = || {
        let agent = Agent::start(&place, &["--endpoint", &endpoint, "--protocol", "http/protobuf"]);
        let dead = || agent.metric("pollscope_agent_sessions{state=\"dead\"}") == Some(3);
        wait_for("three dead", || dead().then_some(()));
        assert_eq!(agent.end(), Some(0));
        let text = std::fs::read(place.path().join("state/positions.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&text).unwrap()["dead"].clone()
    };
    let first = told();
    assert_eq!(first.as_object().unwrap().len(), 3, "{first}");
    assert_eq!(told(), first);
}

#[test]
fn a_dead_session_that_another_agent_exports_stays() {
    let place = Place::new();
    let dead = three_dead(&place);
    let (endpoint, _) = backend();
    let exporter = Agent::start(&place, &["--endpoint", &endpoint, "--protocol", "http/protobuf"]);
    let claimed = |agent: &Agent| agent.metric("pollscope_agent_sessions{state=\"dead\"}") == Some(3);
    wait_for("the exporter", || claimed(&exporter).then_some(()));
    let impatient = Agent::start(&place, &["--no-export", "--keep-dead", "0"]);
    wait_for("the other one", || claimed(&impatient).then_some(()));
    let rounds = || impatient.metric("pollscope_agent_rounds_total").unwrap();
    let seen = rounds();
    wait_for("a few rounds", || (rounds() > seen + 5).then_some(()));
    assert_eq!(place.sessions(), dead, "they are the exporter's");
    assert_eq!(exporter.end(), Some(0));
    wait_for("their end", || place.sessions().is_empty().then_some(()));
    wait_for("nothing followed", || {
        (impatient.metric("pollscope_agent_sessions{state=\"dead\"}")? == 0).then_some(())
    });
}

/// One line and one metric, however often it is looked at, and the session beside it is exported.
#[test]
fn a_refused_session_is_told_once_and_disturbs_no_other() {
    let place = Place::new();
    let mut newer = service(&place, "silent");
    newer.kill();
    let at = (pollscope_wire::layout::header::VERSION * 8 + 4) as u64;
    let control = std::fs::OpenOptions::new().write(true).open(place.sessions()[0].join("control")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&control, &2u16.to_ne_bytes(), at).unwrap();
    let _healthy = service(&place, "calm");
    let (endpoint, seen) = backend();
    let mut command = pollscope(&["agent", "--listen", "127.0.0.1:0", "--protocol", "http/protobuf"]);
    command.args(["--endpoint", &endpoint, "--dir"]).arg(place.path());
    command.arg("--state").arg(place.path().join("state"));
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let said = std::thread::spawn(move || lines.collect::<Vec<_>>());
    wait_for("the healthy one's spans", || (!seen.lock().unwrap().is_empty()).then_some(()));
    // It comes by again and again: another service is found later.
    let _later = service(&place, "calm");
    wait_for("the later one's spans", || (seen.lock().unwrap().len() > 1).then_some(()));
    crate::support::signal(child.id(), "TERM");
    assert!(wait_for("the end", || child.try_wait().unwrap()).success());
    let said = said.join().unwrap();
    let refusals: Vec<_> = said.iter().filter(|line| line.contains("cannot follow")).collect();
    assert!(refusals.len() == 1 && refusals[0].contains("it is of version 2.0"), "{said:?}");
    let agent = Agent::start(&place, &["--no-export"]);
    wait_for("both", || (agent.metric("pollscope_agent_sessions{state=\"live\"}")? == 2).then_some(()));
    assert_eq!(agent.metric("pollscope_agent_sessions_refused_total"), Some(1));
}

/// `pollscope agent 2>&1 | head -1`: whoever heard the first line hears no more, and spans must leave all the same.
#[test]
fn an_agent_whose_listener_has_gone_goes_on() {
    let place = Place::new();
    let flags = ["agent", "--listen", "off", "--endpoint", "http://127.0.0.1:1", "--grace", "0.1", "--state"];
    let mut command = pollscope(&flags);
    command.arg(place.path().join("state")).arg("--dir").arg(place.path());
    let mut agent = command.stderr(Stdio::piped()).spawn().unwrap();
    drop(agent.stderr.take());
    // It says of each that it follows it, and that nobody takes its spans.
    let _service = service(&place, "calm");
    let journal = place.path().join("state/positions.json");
    wait_for("the journal", || journal.exists().then_some(()));
    signal(agent.id(), "TERM");
    assert_eq!(wait_for("the end", || agent.try_wait().unwrap()).code(), Some(0));
    // No verb minds either.
    for verb in ["sessions", "tasks", "traces"] {
        let mut asked = pollscope(&[verb, "--dir", "/nonexistent"]).stderr(Stdio::piped()).spawn().unwrap();
        drop(asked.stderr.take());
        assert_eq!(asked.wait().unwrap().code(), Some(1), "{verb}");
    }
}
