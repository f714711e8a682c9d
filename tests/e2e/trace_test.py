"""One request of the shop is one trace over three services, whichever backend takes it."""

import time
import unittest
import urllib.request

from world import World, parent_of, service_of, tags, wait_for


def place_order(gateway, order):
    request = urllib.request.Request(f"http://{gateway}/orders/{order}", method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


class OneRequestIsOneTrace(unittest.TestCase):
    def check(self, world, jaeger, endpoint, protocol):
        """The agent sends to an endpoint, and what it sends comes out in Jaeger; gives the trace."""
        gateway = world.shop()
        world.agent(endpoint, protocol=protocol)
        place_order(gateway, 7)

        def whole():
            traces = jaeger.traces("gateway")
            if len(traces) == 1 and len(traces[0]["spans"]) >= 13:
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
        # What a printer's thread renders is below the span that asked for it.
        receipt = by_name["orders", "render receipt", "internal"]
        self.assertEqual(spans[parent_of(receipt)]["operationName"], "render")
        # The task that the handler spawned is a span below the handler's, and its request is below it.
        reserve = by_name["gateway", "reserve", "internal"]
        self.assertEqual(spans[parent_of(reserve)]["operationName"], "place")
        self.assertIn("pollscope.task.id", tags(reserve))

        for span in spans.values():
            tag = tags(span)
            parts = [tag[f"pollscope.{part}_ns"] for part in ("busy", "scheduled", "idle")]
            self.assertIn("pollscope.polls", tag)
            self.assertTrue(tag["code.file.path"].startswith("examples/shop/"), tag["code.file.path"])
            # Jaeger shows whole microseconds.
            self.assertAlmostEqual(sum(parts) / 1000, span["duration"], delta=2, msg=span["operationName"])
            parent = spans.get(parent_of(span))
            if parent and service_of(trace, span) == service_of(trace, parent):
                self.assertGreaterEqual(span["startTime"], parent["startTime"] - 2)
        return trace

    def test_in_jaeger_by_grpc(self):
        with World() as world:
            jaeger = world.jaeger()
            self.check(world, jaeger, jaeger.grpc, "grpc")

    def test_in_jaeger_by_http(self):
        with World() as world:
            jaeger = world.jaeger()
            self.check(world, jaeger, jaeger.http, "http/protobuf")

    def test_in_oteltap_by_http(self):
        with World() as world:
            jaeger = world.jaeger()
            tap = world.tap(onward=jaeger.http)
            trace = self.check(world, jaeger, tap.endpoint, "http/protobuf")
            # What it decoded itself is the same.
            wanted = {span["spanID"]: span["operationName"] for span in trace["spans"]}
            decoded = {span["spanId"]: span for span in tap.spans if span["traceId"] == trace["traceID"]}
            self.assertEqual({id: span["name"] for id, span in decoded.items()}, wanted)
            for span in decoded.values():
                keys = [attribute["key"] for attribute in span["attributes"]]
                self.assertEqual(len(keys), len(set(keys)), "every key once")
                self.assertLessEqual(int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"]))

    def test_in_rotel_by_grpc(self):
        with World() as world:
            jaeger = world.jaeger()
            rotel = world.rotel(onward=jaeger.grpc)
            self.check(world, jaeger, rotel.endpoint, "grpc")


if __name__ == "__main__":
    unittest.main(verbosity=2)
