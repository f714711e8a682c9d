"""End to end: real services, a real agent, a real Jaeger. Run by `tests/run e2e`."""

import time
import unittest
import urllib.request

from world import SCRIPTED, World, parent_of, service_of, stop, tags, wait_for


def place_order(gateway, order):
    request = urllib.request.Request(f"http://{gateway}/orders/{order}", method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


class OneRequestIsOneTrace(unittest.TestCase):
    def check(self, protocol):
        with World() as world:
            jaeger = world.jaeger()
            gateway = world.shop()
            world.agent(jaeger.grpc if protocol == "grpc" else jaeger.http, protocol=protocol)
            place_order(gateway, 7)

            def whole():
                traces = jaeger.traces("gateway")
                if len(traces) == 1 and len(traces[0]["spans"]) >= 12:
                    return traces[0]

            trace = wait_for("the order's trace, whole", whole)
            time.sleep(1)
            self.assertEqual(len(jaeger.traces("orders")), 1, "one request is one trace")
            spans = {span["spanID"]: span for span in trace["spans"]}
            self.assertEqual(len(spans), len(trace["spans"]), "every span once")
            services = {service_of(trace, span) for span in spans.values()}
            self.assertEqual(services, {"gateway", "orders", "inventory"})

            roots = [span for span in spans.values() if parent_of(span) is None]
            self.assertEqual([root["operationName"] for root in roots], ["POST"])
            by_name = {(service_of(trace, s), s["operationName"], tags(s).get("span.kind")): s for s in spans.values()}
            path = [
                ("orders", "insert order", "internal"),
                ("orders", "keep", "internal"),
                ("orders", "POST", "server"),
                ("gateway", "POST", "client"),
                ("gateway", "place", "internal"),
                ("gateway", "POST", "server"),
            ]
            # The job in orders leads, parent by parent, to the gateway's server span.
            at = by_name[path[0]]
            for step in path[1:]:
                at = spans[parent_of(at)]
                found = (service_of(trace, at), at["operationName"], tags(at).get("span.kind"))
                self.assertEqual(found, step)
            # The task that the handler spawned is a span below the handler's, and its request is below it.
            reserve = by_name["gateway", "reserve", "internal"]
            self.assertEqual(spans[parent_of(reserve)]["operationName"], "place")
            self.assertIn("pollscope.task.id", tags(reserve))

            for span in spans.values():
                tag = tags(span)
                parts = [tag[f"pollscope.{part}_ns"] for part in ("busy", "scheduled", "idle")]
                self.assertIn("pollscope.polls", tag)
                self.assertIn("code.file.path", tag)
                # Jaeger shows whole microseconds.
                self.assertAlmostEqual(sum(parts) / 1000, span["duration"], delta=2, msg=span["operationName"])
                parent = spans.get(parent_of(span))
                if parent and service_of(trace, span) == service_of(trace, parent):
                    self.assertGreaterEqual(span["startTime"], parent["startTime"] - 2)

    def test_by_grpc(self):
        self.check("grpc")

    def test_by_http(self):
        self.check("http/protobuf")


class NothingLostNothingTwice(unittest.TestCase):
    STEPS = 600

    def steps(self, jaeger):
        """The numbers of all `step` spans that Jaeger has, repeats included."""
        traces = jaeger.traces("steps", "step")
        return sorted(tags(span)["n"] for trace in traces for span in trace["spans"])

    def check(self, jaeger):
        wanted = list(range(self.STEPS))
        try:
            wait_for("all steps", lambda: len(self.steps(jaeger)) >= self.STEPS, 20)
        finally:
            time.sleep(1.5)
        self.assertEqual(self.steps(jaeger), wanted)

    def test_agent_stopped_and_started_under_load(self):
        with World() as world:
            jaeger = world.jaeger()
            pipe = -1
            world.start([SCRIPTED, "steps", self.STEPS], stdin=pipe, stdout=pipe)
            for _ in range(4):
                agent = world.agent(jaeger.grpc)
                time.sleep(0.7)
                self.assertEqual(stop(agent), 0)
            world.agent(jaeger.grpc)
            self.check(jaeger)

    def test_backend_that_comes_late(self):
        with World() as world:
            jaeger = world.jaeger()
            jaeger.process.kill()
            jaeger.process.wait()
            pipe = -1
            world.start([SCRIPTED, "steps", self.STEPS], stdin=pipe, stdout=pipe)
            world.agent(jaeger.grpc)
            time.sleep(4)
            jaeger.run()
            self.check(jaeger)

    def test_a_service_that_ends_at_once(self):
        with World() as world:
            jaeger = world.jaeger()
            world.agent(jaeger.grpc)
            time.sleep(0.5)
            quick = 40
            service, _ = world.service(SCRIPTED, "steps", quick, ready="ready")
            service.stdin.close()
            self.assertEqual(service.wait(timeout=10), 0)
            wait_for("all steps", lambda: len(self.steps(jaeger)) >= quick)
            self.assertEqual(self.steps(jaeger), list(range(quick)))

    def test_two_agents(self):
        with World() as world:
            jaeger = world.jaeger()
            pipe = -1
            world.start([SCRIPTED, "steps", self.STEPS], stdin=pipe, stdout=pipe)
            world.agent(jaeger.grpc)
            time.sleep(0.5)
            second = world.state / "second"
            world.agent(jaeger.grpc, state=second)
            self.check(jaeger)


class AKilledService(unittest.TestCase):
    def test_open_spans_are_exported_as_unfinished(self):
        with World() as world:
            jaeger = world.jaeger()
            service, _ = world.service(SCRIPTED, "stuck", ready="ready")
            world.agent(jaeger.grpc)
            time.sleep(1)
            service.kill()
            service.wait()
            traces = wait_for("the open spans", lambda: jaeger.traces("stuck"))
            spans = {span["operationName"]: tags(span) for span in traces[0]["spans"]}
            self.assertEqual(set(spans), {"outer", "inner"})
            for tag in spans.values():
                self.assertEqual(tag["otel.status_code"], "ERROR")
                self.assertTrue(tag["pollscope.unfinished"])
            self.assertEqual(spans["outer"]["order"], 7)


if __name__ == "__main__":
    unittest.main(verbosity=2)
