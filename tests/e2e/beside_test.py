"""Beside an OpenTelemetry SDK, with one Jaeger for both: every span id once, every parent present."""

import collections
import subprocess
import time
import unittest

from world import BESIDE, World, parent_of, tags, wait_for

# Of the caller that the service makes up.
AFAR = f"{7:016x}"
TRACINGS = {"request", "parse", "fetch", "connect", "count", "query", "row", "never_entered"}
ROUNDS = 20


class OneJaeger(unittest.TestCase):
    def run_beside(self, kind, spans):
        """All spans that arrive, by name."""
        with World() as world:
            jaeger = world.jaeger()
            agent = world.agent(jaeger.grpc)
            env = {"POLLSCOPE_SPANS": spans, "OTEL_EXPORTER_OTLP_ENDPOINT": jaeger.grpc}
            service = world.start([BESIDE, kind], env=env, stdout=subprocess.DEVNULL)
            self.assertEqual(service.wait(60), 0)
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
            for span in found:
                by_name[span["operationName"]].append(span)
                parent = parent_of(span)
                if parent and parent != AFAR:
                    self.assertIn((span["traceID"], parent), ids, f"the parent of {span['operationName']}")
            return by_name

    def test_join(self):
        spans = self.run_beside("exports", "join")
        self.assertEqual(set(spans), TRACINGS | {"lookup"})
        for name, all_of_it in spans.items():
            self.assertEqual(len(all_of_it), ROUNDS, name)
            for span in all_of_it:
                self.assertIn("pollscope.busy_ns", tags(span), name)
        parents = {span["spanID"]: span["operationName"] for all_of_it in spans.values() for span in all_of_it}
        above = lambda name: {parents.get(parent_of(span)) for span in spans[name]}
        self.assertEqual(above("lookup"), {"request"})
        self.assertEqual((above("parse"), above("count"), above("row")), ({"request"}, {"fetch"}, {"query"}))
        self.assertEqual(above("query"), {None})

    def test_export(self):
        spans = self.run_beside("no_exporter", "export")
        self.assertEqual(set(spans), TRACINGS | {"lookup"})
        self.assertEqual({name for name, all_of_it in spans.items() if len(all_of_it) != ROUNDS}, set())

    def test_off(self):
        spans = self.run_beside("exports", "off")
        self.assertEqual(set(spans), TRACINGS - {"fetch", "count"})
