//! axum under tower-http's layer, tonic's own server, and the clients of hyper-util, reqwest and tonic: one trace from
//! each client to its server, whatever subscriber the service has.

use pollscope_model::Model;
use pollscope_model::event::{SpanId, Status, TaskKind, TraceId, Value};
use pollscope_model::span::{FinishedSpan, SpanKind};
use pollscope_testkit::Place;
use std::collections::BTreeSet;
use std::process::Command;

const CHECK: &str = "grpc.health.v1.Health/Check";
const WATCH: &str = "grpc.health.v1.Health/Watch";
const TALK: &str = "guest.Echo/Talk";

struct Ran {
    spans: Vec<FinishedSpan>,
    theirs: BTreeSet<(TraceId, SpanId)>,
    model: Model,
    said: String,
}

fn run(subscriber: &str) -> Ran {
    let place = Place::new();
    let output = Command::new(env!("CARGO_BIN_EXE_web"))
        .arg(subscriber)
        .env("POLLSCOPE_DIR", place.path())
        .env_remove("RUST_LOG")
        .output()
        .expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it is text");
    let (told, said) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{subscriber}: {}\n{told}\n{said}", output.status);
    let theirs = told.lines().map(|line| {
        let mut words = line.split(' ').map(|word| u128::from_str_radix(word, 16).expect("it is a number"));
        let mut next = || words.next().expect("there are three");
        (TraceId(next()), SpanId(next() as u64))
    });
    let theirs: Vec<_> = theirs.collect();
    let once: BTreeSet<_> = theirs.iter().copied().collect();
    assert_eq!(once.len(), theirs.len(), "each span once");
    let mut model = pollscope_testkit::model(&place);
    Ran { spans: model.take_finished(usize::MAX), theirs: once, model, said }
}

fn value<'a>(span: &'a FinishedSpan, key: &str) -> Option<&'a str> {
    span.attributes.iter().find(|attribute| &*attribute.key == key).and_then(|of| match &of.value {
        Value::Str(text) => Some(&**text),
        _ => None,
    })
}

impl Ran {
    fn all(&self, kind: SpanKind, is_it: impl Fn(&FinishedSpan) -> bool) -> Vec<&FinishedSpan> {
        self.spans.iter().filter(|span| span.kind == kind && is_it(span)).collect()
    }

    /// A server's spans, each with its client's.
    #[track_caller]
    fn pairs(&self, name: &str, status: &str, times: usize) -> Vec<[&FinishedSpan; 2]> {
        let is_it = |span: &FinishedSpan| {
            &*span.name == name && value(span, "rpc.response.status_code").unwrap_or("") == status
        };
        let servers = self.all(SpanKind::Server, is_it);
        assert_eq!(servers.len(), times, "{name} {status} in {:#?}", self.names());
        let client = |server: &FinishedSpan| {
            let client = self.all(SpanKind::Client, |of| Some(of.ids.span) == server.ids.parent).pop();
            let client = client.unwrap_or_else(|| panic!("no client of {server:#?}"));
            assert_eq!(client.ids.trace, server.ids.trace, "{name}");
            assert!(server.ids.parent_remote && is_it(client), "{client:#?}");
            client
        };
        servers.into_iter().map(|server| [server, client(server)]).collect()
    }

    fn names(&self) -> Vec<(&str, SpanKind, &[pollscope_model::event::Attribute])> {
        self.spans.iter().map(|span| (&*span.name, span.kind, &*span.attributes)).collect()
    }

    /// gRPC as it is with any subscriber.
    #[track_caller]
    fn grpc(&self) {
        for pair in self.pairs(CHECK, "OK", 1).into_iter().chain(self.pairs(TALK, "OK", 1)) {
            for span in pair {
                assert_eq!((span.status, span.cancelled), (Status::Unset, false), "{span:#?}");
                assert_eq!(value(span, "rpc.system.name"), Some("grpc"));
                assert_eq!(value(span, "rpc.method"), Some(&*span.name));
            }
        }
        let [[server, client]] = self.pairs(CHECK, "NOT_FOUND", 1)[..] else { unreachable!() };
        assert_eq!((server.status, client.status), (Status::Unset, Status::Error), "the client's own fault");
        // By the trailers, after messages that went well.
        let [[server, client]] = self.pairs(TALK, "INTERNAL", 1)[..] else { unreachable!() };
        assert_eq!((server.status, client.status), (Status::Error, Status::Error));
        // They last as long as their streams: three pauses of 10 ms, though the response's head came at once.
        for [server, client] in self.pairs(TALK, "OK", 1) {
            for span in [server, client] {
                assert!(span.end.since(span.start).0 >= 25_000_000, "{span:#?}");
            }
        }
        let [[server, client]] = self.pairs(WATCH, "", 1)[..] else { unreachable!() };
        assert!(server.cancelled && client.cancelled, "nobody read to its end: {server:#?} {client:#?}");
        assert!(client.end.since(client.start).0 >= 20_000_000, "{client:#?}");
    }

    /// HTTP as it is with any subscriber.
    #[track_caller]
    fn http(&self) {
        let servers = self.all(SpanKind::Server, |span| value(span, "url.path").is_some());
        let routed = servers.iter().filter(|span| &*span.name == "GET /users/{id}");
        assert_eq!((servers.len(), routed.count()), (4, 4), "one a request: {:#?}", self.names());
        for server in servers {
            assert_eq!(value(server, "http.route"), Some("/users/{id}"));
            assert!(!server.cancelled && server.task.is_some() && server.idle.0 > 0, "{server:#?}");
            let client = self.all(SpanKind::Client, |of| Some(of.ids.span) == server.ids.parent);
            let by_hand = value(server, "url.query") == Some("by=hand");
            assert_eq!(client.len(), usize::from(!by_hand), "{server:#?}");
            for client in client {
                assert_eq!((&*client.name, client.ids.trace), ("GET", server.ids.trace));
                assert_eq!(value(client, "server.address"), Some("127.0.0.1"));
            }
        }
        let session = self.model.sessions().next().expect("a session");
        let requests = session.groups().iter().filter(|group| group.key.kind == TaskKind::Request);
        assert_eq!(requests.map(|group| group.spawned).sum::<u64>(), 4 + 5, "each is a task");
    }

    /// And where `tracing`'s spans are recorded.
    #[track_caller]
    fn traced(&self) {
        let named = |name: &str| self.spans.iter().filter(|span| &*span.name == name).collect::<Vec<_>>();
        let [asks] = named("asks")[..] else { panic!("one span asks") };
        for span in self.spans.iter().filter(|span| span.kind != SpanKind::Internal) {
            assert_eq!(span.ids.trace, asks.ids.trace, "one trace: {span:#?}");
        }
        let by_hand = self.all(SpanKind::Server, |span| value(span, "url.query") == Some("by=hand"));
        assert_eq!(by_hand[0].ids.parent, Some(named("by hand")[0].ids.span));
        let servers = self.all(SpanKind::Server, |span| value(span, "url.path").is_some());
        let above: BTreeSet<_> = named("handler").iter().map(|span| span.ids.parent).collect();
        assert_eq!(above, servers.iter().map(|span| Some(span.ids.span)).collect(), "handlers are below");
    }
}

/// Nothing but `#[pollscope::main]`.
#[test]
fn with_the_macro_alone() {
    let ran = run("macro");
    assert!(ran.said.is_empty(), "{}", ran.said);
    ran.grpc();
    ran.http();
    ran.traced();
}

/// The macro, and a subscriber of its own without our layer: requests and their traces need none.
#[test]
fn with_the_macro_and_a_foreign_subscriber() {
    let ran = run("fmt");
    assert!(ran.said.contains("lacks our layer"), "{}", ran.said);
    assert!(ran.model.sessions().all(|session| session.info().foreign_subscriber));
    ran.grpc();
    ran.http();
    assert!(
        ran.spans.iter().all(|span| span.kind != SpanKind::Internal || span.task.is_some()),
        "{:?}",
        ran.names()
    );
}

#[test]
fn with_the_layer() {
    let ran = run("layer");
    assert!(ran.said.is_empty(), "{}", ran.said);
    ran.grpc();
    ran.http();
    ran.traced();
}

#[test]
fn beside_an_opentelemetry_layer() {
    let ran = run("otel");
    assert!(ran.said.is_empty(), "{}", ran.said);
    ran.grpc();
    ran.http();
    ran.traced();
    let foreign =
        ran.spans.iter().filter(|span| span.ids.foreign).map(|span| (span.ids.trace, span.ids.span));
    assert_eq!(foreign.collect::<BTreeSet<_>>(), ran.theirs, "the same spans here and there");
    assert!(ran.spans.iter().all(|span| span.ids.foreign || span.kind == SpanKind::Internal));
}
