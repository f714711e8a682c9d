"""Beside an OpenTelemetry SDK, with one Jaeger for both: every span id once, every parent present."""

import collections
import json
import subprocess
import time
import unittest

from world import BESIDE, LOGS, POLLSCOPE, World, parent_of, tags, wait_for

# Of the caller that the service makes up.
AFAR = f"{7:016x}"
TRACINGS = {"request", "parse", "fetch", "connect", "count", "query", "row", "never_entered", "called", "back"}
ROUNDS = 20
# Of requests under our layers: two servers' and a client's.
REQUESTS = "GET"
TIMES = collections.defaultdict(lambda: ROUNDS, {REQUESTS: 4 * ROUNDS})


class OneJaeger(unittest.TestCase):
    def run_beside(self, kind, spans):
        """All spans that arrive, by name. What the service logged leads to them."""
        with World() as world:
            jaeger = world.jaeger()
            agent = world.agent(jaeger.grpc)
            env = {"POLLSCOPE_SPANS": spans, "OTEL_EXPORTER_OTLP_ENDPOINT": jaeger.grpc}
            service = world.start([BESIDE, kind], env=env, stdout=subprocess.PIPE, text=True)
            logged = [line for line in service.communicate(timeout=60)[0].splitlines() if line[0] == "{"]
            self.assertEqual(service.returncode, 0)
            self.assertEqual(agent.stop(), 0)
            known = lambda: [span for trace in jaeger.traces("beside") for span in trace["spans"]]
            found = wait_for("spans", known)
            while True:
                time.sleep(1)
                if len(known()) == len(found):
                    break
                found = known()
            by_name = collections.defaultdict(list)
            ids = collections.Counter((span["traceID"], span["spanID"]) for span in found)
            self.assertEqual([of for of, times in ids.items() if times > 1], [], "span ids that came twice")
            logged = [line for line in map(json.loads, logged) if line["fields"].get("message") == "parsed"]
            self.assertEqual(len(logged), ROUNDS)
            names = {(span["traceID"], span["spanID"]): span["operationName"] for span in found}
            for line in logged:
                where = (line.get("trace_id"), line.get("span_id"))
                self.assertEqual(names.get(where), None if spans == "off" else "parse", line)
            for span in found:
                by_name[span["operationName"]].append(span)
                parent = parent_of(span)
                if parent and parent != AFAR:
                    self.assertIn((span["traceID"], parent), ids, f"the parent of {span['operationName']}")
            return by_name

    def test_the_example_logs(self):
        with World() as world:
            jaeger = world.jaeger()
            agent = world.agent(jaeger.grpc)
            service = world.start([LOGS], stdout=subprocess.PIPE, text=True)
            lines = [json.loads(line) for line in service.communicate(timeout=60)[0].splitlines()]
            self.assertEqual(agent.stop(), 0)
            traces = wait_for("three traces", lambda: len(jaeger.traces("logs")) == 3 and jaeger.traces("logs"))
            spans = {(s["traceID"], s["spanID"]): s["operationName"] for trace in traces for s in trace["spans"]}
            told = [(line["fields"]["message"], spans.get((line.get("trace_id"), line.get("span_id")))) for line in lines]
            self.assertEqual(told, [("started", None)] + [("taken", "order"), ("packed", "pack")] * 3)
            self.assertEqual([line.get("task") for line in lines], [None] + ["main", "pack"] * 3)

    def test_join(self):
        spans = self.run_beside("exports", "join")
        self.assertEqual(set(spans), TRACINGS | {"lookup", REQUESTS})
        for name, all_of_it in spans.items():
            self.assertEqual(len(all_of_it), TIMES[name], name)
            for span in all_of_it:
                self.assertIn("pollscope.busy_ns", tags(span), name)
        parents = {span["spanID"]: span["operationName"] for all_of_it in spans.values() for span in all_of_it}
        above = lambda name: {parents.get(parent_of(span)) for span in spans[name]}
        self.assertEqual(above("lookup"), {"request"})
        self.assertEqual((above("parse"), above("count"), above("row")), ({"request"}, {"fetch"}, {"query"}))
        self.assertEqual(above("query"), {None})
        self.assertEqual((above("called"), above("back")), ({REQUESTS}, {REQUESTS}))
        kinds = collections.Counter(tags(span)["span.kind"] for span in spans[REQUESTS])
        self.assertEqual(kinds, {"server": 3 * ROUNDS, "client": ROUNDS})
        self.assertEqual(sum(parent_of(span) == AFAR for span in spans[REQUESTS]), ROUNDS)

    def test_export(self):
        spans = self.run_beside("no_exporter", "export")
        self.assertEqual(set(spans), TRACINGS | {"lookup", REQUESTS})
        self.assertEqual({name for name, all_of_it in spans.items() if len(all_of_it) != TIMES[name]}, set())

    def doctor_says(self, kind, spans="join"):
        """What the doctor says of the service's own export, when it has ended; no backend takes part."""
        with World() as world:
            service = world.start([BESIDE, kind], env={"POLLSCOPE_SPANS": spans}, stdout=subprocess.DEVNULL)
            self.assertEqual(service.wait(timeout=60), 0)
            asked = [POLLSCOPE, "doctor", "--no-export", "--json", "--dir", world.place]
            checks = json.loads(subprocess.run(asked, stdout=subprocess.PIPE, check=True).stdout)["checks"]
            return [check for check in checks if "it can export OTLP itself" in check["what"]]

    def test_doctor_tells_of_ids_that_could_not_be_read(self):
        (said,) = self.doctor_says("unread")
        self.assertEqual(said["level"], "warn")
        self.assertRegex(said["what"], r"tracing-opentelemetry 0\.3[34]\.")
        self.assertIn("tracing-opentelemetry-0_34", said["mend"])
        self.assertIn("with_context", said["mend"])
        self.assertEqual(self.doctor_says("no_exporter"), [])
        self.assertEqual(self.doctor_says("no_exporter", "export"), [], "it asked for that")

    def test_of_a_service_that_never_samples(self):
        with World() as world:
            tap = world.tap()
            agent = world.agent(tap.endpoint, protocol="http/protobuf")
            env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
            service = world.start([BESIDE, "never_samples"], env=env, stdout=subprocess.DEVNULL)
            self.assertEqual(service.wait(timeout=60), 0)
            told = subprocess.check_output([POLLSCOPE, "traces", "--json", "--dir", world.place], text=True)
            self.assertEqual(agent.stop(), 0)
            self.assertEqual(tap.spans, [])
            for name in ["request", "lookup", "query"]:
                self.assertIn(f'"{name}"', told)

    def test_off(self):
        spans = self.run_beside("exports", "off")
        self.assertEqual(set(spans), TRACINGS - {"fetch", "count"})
