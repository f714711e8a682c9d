"""The README's services: each is taken from its section, built in an empty folder, asked, and looked at by the agent.

`tests/run readme` runs all; `tests/readme/run.py Readme.test_tonic` one.
"""

import json
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))
from world import POLLSCOPE, World, free_port, listens, wait_for

ADDRESS = "127.0.0.1:3000"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
HEADERS = {"traceparent": f"00-{TRACE}-{CALLER}-01"}


def sections():
    """The services that the README has: heading to Cargo.toml and main.rs."""
    text = (ROOT / "README.md").read_text().split("\n## Add it to your service\n")[1].split("\n## ")[0]
    found = {}
    for part in text.split("\n### ")[1:]:
        blocks = dict(re.findall(r"^```(toml|rust)\n(.*?)^```$", part, re.M | re.S))
        if blocks:
            found[part.splitlines()[0]] = blocks["toml"], blocks["rust"]
    return found


def section(word):
    [found] = [code for heading, code in sections().items() if word in heading]
    return found


def get(port, path):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=HEADERS)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def call(port, path):
    """One call of gRPC with an empty message; gives the frames that came, up to the trailers."""
    text = lambda text: bytes([len(text)]) + text.encode()
    frame = lambda kind, flags, on, of: struct.pack(">I", len(of))[1:] + struct.pack(">BBI", kind, flags, on) + of
    headers = {":method": "POST", ":scheme": "http", ":path": path, ":authority": f"127.0.0.1:{port}"}
    headers |= {"content-type": "application/grpc", "te": "trailers", **HEADERS}
    block = b"".join(b"\0" + text(name) + text(value) for name, value in headers.items())
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
        connection.sendall(frame(1, 4, 1, block) + frame(0, 1, 1, bytes(5)))
        stream, frames = connection.makefile("rb"), []
        while True:
            head = stream.read(9)
            assert len(head) == 9, f"the connection ended after {frames}"
            kind, flags, number = struct.unpack(">BBI", head[3:])
            frames.append((kind, stream.read(int.from_bytes(head[:3]))))
            if number == 1 and kind == 1 and flags & 1:
                return frames


DEBUG = "\n[profile.release]\ndebug = 1\n"


def build(name, manifest, code, release=False):
    """A program in an empty folder."""
    target = ROOT / "target/readme"
    # Always the same one, so that nothing piles up beside it in the target directory.
    folder = target / "services" / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "src").mkdir(parents=True)
    package = f'[package]\nname = "{name}"\nversion = "0.0.0"\nedition = "2024"\n\n'
    (folder / "Cargo.toml").write_text(package + manifest + "\n[workspace]\n")
    (folder / "src/main.rs").write_text(code)
    shutil.copy(ROOT / "Cargo.lock", folder)
    env = {**os.environ, "CARGO_TARGET_DIR": str(target), "CARGO_PROFILE_DEV_DEBUG": "line-tables-only"}
    env |= {"RUSTFLAGS": "-D warnings"}
    subprocess.run(["cargo", "build", "-q", *["--release"] * release], cwd=folder, env=env, check=True, timeout=1200)
    return target / ("release" if release else "debug") / name


class Service:
    """One of them, in a folder of its own, built; `plain`: by `cargo build --release`, without the lines for stacks."""

    def __init__(self, word, plain=False, change=lambda code: code):
        self.name = re.sub(r"\W+", "-", f"readme-{word}{'-plain' * plain}").lower()
        self.manifest, self.code = section(word)
        self.code = change(self.code)
        self.plain = plain
        assert self.code.count(ADDRESS) == 1, "the address that the test puts another in the place of"
        self.port = free_port()
        self.binary = self.build()

    def build(self):
        here = f'pollscope = {{ path = "{ROOT / "crates/pollscope"}"'
        manifest, named = re.subn(r'^pollscope = \{ version = "[^"]*"', here, self.manifest, flags=re.M)
        manifest, bare = re.subn(r'^pollscope = "[^"]*"$', here + " }", manifest, flags=re.M)
        assert named + bare == 1 and DEBUG in manifest
        if self.plain:
            manifest = manifest.replace(DEBUG, "")
        return build(self.name, manifest, self.code.replace(ADDRESS, f"127.0.0.1:{self.port}"), self.plain)


class Readme(unittest.TestCase):
    def seen(self, service, ask, server, env=None):
        """Runs a service and asks it: the trace of the first request, as the agent shows it, and what was printed."""
        with World() as world:
            printed = world.state / "printed"
            with printed.open("w") as file:
                process = world.start([service.binary], stdout=file, env=env or {})
            wait_for("it listens", lambda: listens(service.port))
            ask(service.port)

            def show(what):
                command = [POLLSCOPE, what, "--dir", world.place, "--json"]
                return json.loads(subprocess.check_output(command, timeout=20))[what]

            def ended():
                traces = show("traces")
                names = {span["name"] for trace in traces for span in trace["spans"] if not span["unfinished"]}
                return server in names and traces

            [trace] = wait_for("the request's span", ended)
            self.assertTrue(self.lives_while_asked(lambda: ask(service.port), lambda: show("tasks"), server))
            self.assertIsNone(process.poll(), "it still runs")
            return trace, printed.read_text()

    def lives_while_asked(self, ask, tasks, name):
        """A task of this name is alive at some time while requests come one after another."""
        over, until = threading.Event(), time.monotonic() + 30

        def load():
            while not over.is_set() and time.monotonic() < until:
                ask()

        thread = threading.Thread(target=load)
        thread.start()
        try:
            return wait_for(f"the task {name}", lambda: name in {task["name"] for task in tasks()})
        finally:
            over.set()
            thread.join()

    def check(self, trace, server, own, caller=CALLER):
        """Two spans: the server's below the caller's and with a task, the service's own below it. Gives both."""
        spans = {span["name"]: span for span in trace["spans"]}
        self.assertEqual((set(spans), len(trace["spans"])), ({server, own}, 2))
        self.assertEqual((trace["trace_id"] == TRACE, spans[server]["parent_span_id"]), (caller is not None, caller))
        self.assertEqual(spans[own]["parent_span_id"], spans[server]["span_id"])
        self.assertIsNotNone(spans[own]["task"], "it ran in the request's task")
        # It slept for 5 ms; on a busy machine some of that is the time until it was polled again.
        self.assertGreater(spans[own]["idle"], 0)
        lasted = sum(spans[own][part] for part in ("busy", "scheduled", "idle"))
        self.assertGreaterEqual(lasted, 4_900_000)
        return spans[server], spans[own]

    def test_the_quickstart(self):
        example = (ROOT / "examples/quickstart/src/main.rs").read_text()
        self.assertEqual(example.split("\n\n", 1)[1], section("new service")[1], "it is examples/quickstart")
        ask = lambda port: self.assertEqual(get(port, "/hello/world"), "hello, world\n")
        trace, _ = self.seen(Service("new service"), ask, "GET /hello/{name}")
        server, own = self.check(trace, "GET /hello/{name}", "hello")
        self.assertEqual(server["attributes"]["http.route"], "/hello/{name}")
        self.assertIn("world", own["attributes"]["name"])

    def test_a_plain_release_build(self):
        spawn = 'pollscope::spawn_named("waiter", std::future::pending::<()>());'
        serve = "    axum::serve(listener"
        service = Service("new service", plain=True, change=lambda code: code.replace(serve, f"    {spawn}\n{serve}"))
        self.tells_all_but_stacks(service, spawn)
        subprocess.run(["strip", service.binary], check=True)
        self.tells_all_but_stacks(service, spawn)

    def tells_all_but_stacks(self, service, spawn):
        """What the README says of a plain release build."""
        place = lambda code: f"src/main.rs:{service.code[:service.code.index(code)].count(chr(10)) + 1}"
        with World() as world:
            world.start([service.binary])
            wait_for("it listens", lambda: listens(service.port))
            self.assertEqual(get(service.port, "/hello/world"), "hello, world\n")

            def show(*what):
                command = [POLLSCOPE, *what, "--dir", world.place, "--json"]
                return json.loads(subprocess.run(command, stdout=subprocess.PIPE, timeout=20).stdout)

            def ended():
                spans = [span for trace in show("traces")["traces"] for span in trace["spans"]]
                return {span["name"]: span for span in spans if not span["unfinished"]}

            spans = wait_for("the request's spans", lambda: len(ended()) == 2 and ended())
            server, own = spans["GET /hello/{name}"], spans["hello"]
            self.assertEqual(own["parent_span_id"], server["span_id"])
            self.assertTrue(own["location"].endswith(place("async fn hello")), own["location"])
            self.assertTrue(server["location"].endswith(place("let app")), server["location"])
            self.assertGreaterEqual(own["busy"] + own["scheduled"] + own["idle"], 4_900_000)
            self.assertGreater(own["busy"], 0)

            whole = show("tasks")
            tasks = {task["name"]: task for task in whole["tasks"]}
            self.assertTrue(tasks["waiter"]["location"].endswith(place(spawn)), tasks["waiter"])
            self.assertIn("Pending<()>", tasks["waiter"]["future"])
            self.assertEqual((tasks["waiter"]["polls"], tasks["waiter"]["state"]), (1, "idle"))
            # Recorded are main and the waiter; of the rest the runtime knows the number.
            [coverage] = whole["sessions"][0]["coverage"]
            self.assertGreaterEqual(coverage["alive"], 1)

            [lines] = [c for c in show("doctor", "--no-export")["checks"] if "line tables" in c["what"]]
            self.assertEqual(lines["level"], "warn")
            self.assertIn("debug = 1", lines["mend"])

    def test_fmt(self):
        ask = lambda port: self.assertEqual(get(port, "/hello/world"), "hello, world\n")
        trace, printed = self.seen(Service("fmt"), ask, "GET /hello/{name}")
        _, own = self.check(trace, "GET /hello/{name}", "hello")
        self.assertEqual(len(own["events"]), 1)
        self.assertIn("only one greeting left", printed)

    def test_the_macro_alone_mutes_no_logs(self):
        """With tracing-subscriber's default features: one that pollscope turned on would be the service's, too."""
        said = {}
        for macro, dependency in [("tokio", ""), ("pollscope", f'pollscope = {{ path = "{ROOT / "crates/pollscope"}" }}')]:
            manifest = f"""[dependencies]
{dependency}
tokio = {{ version = "1.54", features = ["macros", "rt-multi-thread"] }}
tracing = "0.1"
tracing-subscriber = "0.3"
"""
            code = f"""#[{macro}::main]
async fn main() {{
    tracing_subscriber::fmt::init();
    tracing::info!(target: "shop", "starting");
    tracing::info_span!("work", n = 7).in_scope(|| tracing::warn!(target: "shop", "low"));
    tracing::debug!("not shown");
}}
"""
            program = build(f"readme-logs-{macro}", manifest, code)
            environment = {key: value for key, value in os.environ.items() if key not in ("RUST_LOG", "NO_COLOR")}
            with tempfile.TemporaryDirectory(prefix="pollscope-readme-") as place:
                environment["POLLSCOPE_DIR"] = place
                done = subprocess.run([program], env=environment, stdout=subprocess.PIPE, check=True, text=True, timeout=60)
            # All but the times.
            said[macro] = [line.split("Z", 1)[1] for line in done.stdout.splitlines()]
        self.assertEqual(len(said["tokio"]), 2, said)
        self.assertEqual(said["pollscope"], said["tokio"])

    def test_opentelemetry(self):
        service, name = Service("OpenTelemetry"), "GET /orders/{id}"
        ask = lambda port: self.assertEqual(get(port, "/orders/7"), "order 7\n")
        # Nobody listens there.
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
        # The trace is the caller's, of which the OpenTelemetry layer was told.
        self.check(self.seen(service, ask, name, env)[0], name, "order")
        self.check(self.seen(service, ask, name, env | {"POLLSCOPE_SPANS": "export"})[0], name, "order")

    def test_tonic(self):
        method = "grpc.health.v1.Health/Check"
        ask = lambda port: self.assertIn((0, b"\0\0\0\0\2\x08\1"), call(port, f"/{method}"))
        trace, _ = self.seen(Service("tonic"), ask, method)
        server, _ = self.check(trace, method, "check")
        self.assertEqual(server["attributes"]["rpc.response.status_code"], "OK")


if __name__ == "__main__":
    unittest.main(verbosity=2)
