"""Events go out in their spans, or each as a log record."""

import subprocess
import time
import unittest

from world import POLLSCOPE, TRACED, World, wait_for


def values(attributes):
    """Attributes by key, each with its one value."""
    return {each["key"]: next(iter(each["value"].values())) for each in attributes}


class Events(unittest.TestCase):
    def logged(self, world, **env):
        """A service that warns in a span and fails outside of all."""
        pipe = subprocess.PIPE
        process = world.start([TRACED, "logged"], stdin=pipe, stdout=pipe, text=True, env=env)
        self.assertEqual(process.stdout.readline().strip(), "ready")

    def check_log_records(self, tap, agent):
        wait_for("two log records and a span", lambda: len(tap.logs) >= 2 and tap.spans)
        time.sleep(1)
        (span,) = tap.spans
        self.assertEqual((span["name"], span.get("events", [])), ("placing", []))
        warned, outside = sorted(tap.logs, key=lambda log: int(log["timeUnixNano"]))
        self.assertEqual((warned["traceId"], warned["spanId"]), (span["traceId"], span["spanId"]))
        self.assertEqual((warned["severityText"], warned["body"]["stringValue"]), ("WARN", "out of stock"))
        self.assertEqual(warned["flags"], 1)
        told = values(warned["attributes"])
        self.assertEqual((told["sku"], told["target"]), ("3", "traced"))
        self.assertTrue(told["code.file.path"].endswith("traced.rs"), told)
        self.assertEqual((outside["severityText"], outside["body"]["stringValue"]), ("ERROR", "outside"))
        self.assertFalse(outside.get("traceId") or outside.get("spanId"))
        self.assertLessEqual(int(span["startTimeUnixNano"]), int(warned["timeUnixNano"]))
        self.assertLess(int(warned["timeUnixNano"]), int(warned["observedTimeUnixNano"]))
        sent = lambda: agent.metric("pollscope_agent_logs_sent_total") == 2
        wait_for("the count of what was sent", sent)
        self.assertEqual(agent.metric("pollscope_agent_queue_logs"), 0)

    def test_as_log_records_by_http(self):
        with World() as world:
            tap = world.tap()
            self.logged(world)
            agent = world.agent(tap.endpoint, "--events", "logs", protocol="http/protobuf")
            self.check_log_records(tap, agent)
            # What went out is not sent again by the agent that comes after.
            self.assertEqual(agent.stop(), 0)
            agent = world.agent(tap.endpoint, "--events", "logs", protocol="http/protobuf")
            wait_for("a second look", lambda: agent.metric("pollscope_agent_records_read_total") > 0)
            time.sleep(2)
            self.assertEqual(agent.stop(), 0)
            self.assertEqual((len(tap.logs), len(tap.spans)), (2, 1))

    def test_as_log_records_by_grpc_in_rotel(self):
        with World() as world:
            rotel = world.rotel()
            self.logged(world)
            agent = world.agent(rotel.endpoint, "--events", "logs")
            wait_for("sent log records", lambda: agent.metric("pollscope_agent_logs_sent_total") == 2)
            told = wait_for("two log records", lambda: rotel.told.read_text().split("LogRecord #")[1:])
            self.assertEqual(len(told), 2)
            self.assertIn("SEVERITY_NUMBER_WARN(13)", told[0])
            self.assertIn("Body: Str(out of stock)", told[0])
            self.assertRegex(told[0], r"Trace ID +: [0-9a-f]{32}\n +Span ID +: [0-9a-f]{16}\nFlags: 1")
            self.assertRegex(told[1], r"Body: Str\(outside\)[^#]*Trace ID +: \n +Span ID +: \nFlags: 0")

    def test_of_a_trace_that_is_not_sampled(self):
        with World() as world:
            tap = world.tap()
            self.logged(world, OTEL_TRACES_SAMPLER="always_off")
            world.agent(tap.endpoint, "--events", "logs", protocol="http/protobuf")
            wait_for("two log records", lambda: len(tap.logs) >= 2)
            warned = min(tap.logs, key=lambda log: int(log["timeUnixNano"]))
            self.assertEqual((len(warned["traceId"]), len(warned["spanId"])), (32, 16))
            self.assertEqual((warned.get("flags", 0), tap.spans), (0, []))

    def played(self, scenario, *arguments, **env):
        """What arrives of a scenario: spans and log records."""
        with World() as world:
            tap = world.tap()
            pipe = subprocess.PIPE
            process = world.start([TRACED, scenario], stdin=pipe, stdout=pipe, text=True, env=env)
            self.assertEqual(process.stdout.readline().strip(), "ready")
            agent = world.agent(tap.endpoint, *arguments, protocol="http/protobuf")
            wait_for("spans", lambda: tap.spans)
            time.sleep(2)
            self.assertEqual(agent.stop(), 0)
            return tap.spans, tap.logs

    def test_a_spans_limit_of_events(self):
        env = {"OTEL_SPAN_EVENT_COUNT_LIMIT": "1"}
        told = lambda spans: [(len(s.get("events", [])), s.get("droppedEventsCount", 0)) for s in spans if s["name"] == "crowded"]
        spans, logs = self.played("crowded", **env)
        self.assertEqual((told(spans), logs), ([(1, 2)], []))
        spans, logs = self.played("crowded", "--events", "logs", **env)
        self.assertEqual((told(spans), len(logs)), ([(0, 0)], 3))

    def test_of_traces_that_are_too_many(self):
        arguments = ["--events", "logs"]
        env = {"POLLSCOPE_RING_BYTES": "1048576"}
        spans, logs = self.played("fields", *arguments, **env)
        some, same = self.played("fields", *arguments, "--max-spans-per-second", "1", **env)
        self.assertLess(len(some), len(spans))
        self.assertEqual((len(same), len(logs) > 5), (len(logs), True))

    def test_of_a_service_that_wants_none(self):
        with World() as world:
            tap = world.tap()
            self.logged(world, OTEL_LOGS_EXPORTER="none")
            agent = world.agent(tap.endpoint, "--events", "logs", protocol="http/protobuf")
            wait_for("the span", lambda: tap.spans)
            wait_for("the count", lambda: agent.metric("pollscope_agent_logs_withheld_total") == 2)
            self.assertEqual(tap.logs, [])

    def test_of_an_agent_that_wants_none(self):
        with World() as world:
            tap = world.tap()
            self.logged(world)
            env = {"OTEL_LOGS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": tap.endpoint}
            command = [POLLSCOPE, "agent", "--dir", world.place, "--state", world.state, "--listen", "off"]
            world.start([*command, "--events", "logs"], env=env, stderr=subprocess.DEVNULL)
            (span,) = wait_for("the span", lambda: tap.spans)
            time.sleep(1)
            self.assertEqual((span.get("events", []), tap.logs), ([], []))
            told = subprocess.check_output([POLLSCOPE, "traces", "--json", "--dir", world.place], text=True)
            self.assertIn("out of stock", told)

    def test_a_receiver_that_comes_late(self):
        with World() as world:
            tap = world.tap()
            tap.process.kill()
            self.logged(world)
            arguments = ["--events", "logs", "--grace", "1"]
            agent = world.agent(tap.endpoint, *arguments, protocol="http/protobuf")
            wait_for("log records in the queue", lambda: agent.metric("pollscope_agent_queue_logs") == 2)
            time.sleep(1.5)
            agent.kill()
            # Events in spans from now on: what waits in the journal is sent all the same.
            late = world.tap()
            world.agent(late.endpoint, protocol="http/protobuf")
            wait_for("two log records and a span", lambda: len(late.logs) >= 2 and late.spans)
            time.sleep(1)
            self.assertEqual((len(late.logs), len(late.spans)), (2, 1))
            self.assertEqual(late.spans[0].get("events", []), [])

    def test_in_their_span(self):
        with World() as world:
            tap = world.tap()
            self.logged(world)
            world.agent(tap.endpoint, protocol="http/protobuf")
            (span,) = wait_for("the span", lambda: tap.spans)
            time.sleep(1)
            self.assertEqual([event["name"] for event in span["events"]], ["out of stock"])
            self.assertEqual((len(tap.spans), tap.logs), (1, []))


if __name__ == "__main__":
    unittest.main(verbosity=2)
