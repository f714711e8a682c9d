"""A service that dies: its last records are read, its open spans exported, its session removed in time."""

import subprocess
import time
import unittest

from world import SCRIPTED, World, kill, tags, wait_for


class AKilledService(unittest.TestCase):
    def left(self, service, jaeger):
        """Kills it when it was read for a while: the tags of its spans that were open."""
        time.sleep(1)
        kill(service)
        [trace] = wait_for("the open spans", lambda: jaeger.traces("stuck"))
        return {span["operationName"]: tags(span) for span in trace["spans"]}

    def test_open_spans_are_exported_as_unfinished(self):
        with World() as world:
            jaeger = world.jaeger()
            service, _ = world.service(SCRIPTED, "stuck", ready="ready")
            world.agent(jaeger.grpc)
            spans = self.left(service, jaeger)
            self.assertEqual(set(spans), {"outer", "inner"})
            for tag in spans.values():
                self.assertEqual(tag["otel.status_code"], "ERROR")
                self.assertTrue(tag["pollscope.unfinished"])
            self.assertEqual(spans["outer"]["order"], 7)

    def test_what_one_agent_read_of_open_spans_is_known_to_the_next(self):
        with World() as world:
            jaeger = world.jaeger()
            service, _ = world.service(SCRIPTED, "stuck", ready="ready")
            for _ in range(2):
                agent = world.agent(jaeger.grpc)
                time.sleep(1)
                self.assertEqual(agent.stop(), 0)
            world.agent(jaeger.grpc)
            spans = self.left(service, jaeger)
            self.assertEqual(spans["outer"]["order"], 7)

    def test_its_last_records_are_read_and_its_session_goes_after_a_while(self):
        with World() as world:
            jaeger = world.jaeger()
            pipe = subprocess.PIPE
            dying = world.start([SCRIPTED, "steps", 5000], stdin=pipe, stdout=pipe)
            live, _ = world.service(SCRIPTED, "stuck", ready="ready")
            agent = world.agent(jaeger.grpc, "--keep-dead", "3")
            wait_for("both are followed", lambda: agent.metric("pollscope_agent_sessions") == 2)
            time.sleep(1)
            kill(dying)
            died = time.monotonic()
            wait_for("its death is seen", lambda: agent.metric('pollscope_agent_sessions{state="dead"}') == 1)
            self.assertEqual(len(world.sessions()), 2, "it stays for a while")

            def whole():
                numbers = sorted(tags(s)["n"] for t in jaeger.traces("steps", "step") for s in t["spans"])
                return numbers if len(numbers) > 100 and numbers == list(range(len(numbers))) else None

            # One after the other up to the kill, without a hole.
            wait_for("all that it had done", whole)
            gone = wait_for("its session is removed", lambda: len(world.sessions()) == 1)
            self.assertTrue(gone)
            self.assertGreater(time.monotonic() - died, 2.5)
            self.assertIn(f"-{live.pid}-", world.sessions()[0].name, "a live one is never touched")
            self.assertEqual(agent.metric('pollscope_agent_sessions{state="live"}'), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
