"""More is written than can be read: spans come first, and what is lost is counted."""

import os
import pathlib
import signal
import subprocess
import time
import unittest

from world import SCRIPTED, World, tags, wait_for


class AnAgentHeldToATenthOfACore(unittest.TestCase):
    def test_loses_polls_and_no_span(self):
        with World() as world:
            jaeger = world.jaeger()
            agent = world.agent(jaeger.grpc)
            number = 1000
            with agent.held_to_a_tenth():
                service, _ = world.service(SCRIPTED, "storm", number, ready="ready")
            steps = lambda: sorted(tags(s)["n"] for t in jaeger.traces("storm", "step") for s in t["spans"])
            wait_for("all spans", lambda: len(steps()) >= number, 30)
            self.assertEqual(steps(), list(range(number)), "no span is lost")
            lost = agent.metric('pollscope_agent_records_lost_total{class="polls"}')
            self.assertGreater(lost, 100_000, "the spinner writes millions a second")
            self.assertEqual(agent.metric('pollscope_agent_records_lost_total{class="span_ends"}'), 0)
            print(f"{lost} polls lost and counted; ", end="", flush=True)


class AHostileNeighbour(unittest.TestCase):
    def test_does_not_disturb_a_good_session(self):
        with World() as world:
            jaeger = world.jaeger()
            bad = lambda n: world.place / f"s-{n}-1-0000000{n}"
            for n in range(1, 7):
                bad(n).mkdir()
            (bad(1) / "control").write_bytes(os.urandom(1 << 20))
            os.mkfifo(bad(2) / "control")
            (bad(3) / "control").symlink_to("/dev/zero")
            (bad(4) / "control").write_bytes(b"")
            with open(bad(5) / "control", "wb") as file:
                file.truncate(1 << 40)
            # A copy of a real one, cut off in the middle; and a directory that leads elsewhere.
            service, _ = world.service(SCRIPTED, "steps", 50, ready="ready")
            good = [path for path in world.sessions() if f"-{service.pid}-" in path.name][0]
            for file in good.iterdir():
                if file.name != "lock":
                    data = file.read_bytes()
                    (bad(6) / file.name).write_bytes(data[: len(data) // 2])
            (world.place / "s-8-1-00000008").symlink_to("/")
            agent = world.agent(jaeger.grpc)
            steps = lambda: sorted(tags(s)["n"] for t in jaeger.traces("steps", "step") for s in t["spans"])
            wait_for("the good one's spans", lambda: len(steps()) >= 50)
            time.sleep(1)
            self.assertEqual(steps(), list(range(50)))
            self.assertIsNone(agent.process.poll())
            refused = [line for line in agent.said if "cannot follow" in line]
            self.assertEqual(len(refused), len(set(refused)), "each is said once")
            for n in (1, 2, 3, 4, 5):
                self.assertTrue([line for line in refused if bad(n).name in line], f"{n} in {refused}")
            status = pathlib.Path(f"/proc/{agent.pid}/status").read_text()
            peak = int(status.split("VmHWM:")[1].split()[0])
            self.assertLess(peak, 100 * 1024, "KiB of memory at most")


class SteadyState(unittest.TestCase):
    def test_pollscope_makes_no_system_calls(self):
        # Spans at an even pace, where numbers can be compared; then tasks and spans as fast as they go, where only
        # kinds can.
        for scenario in ("steps", "busy"):
            with self.subTest(scenario), World() as world:
                with_it, without = self.traced(world, scenario, "on"), self.traced(world, scenario, "off")
                # The heap's top moves a step now and then, by how threads meet; a leak would move it by many.
                added = set(with_it) - set(without) - ({"brk"} if with_it.get("brk", 0) <= 3 else set())
                self.assertEqual(added, set(), f"calls that only pollscope makes: {with_it}, without: {without}")
                if scenario == "steps":
                    totals = sum(with_it.values()), sum(without.values())
                    self.assertLess(totals[0], totals[1] * 1.5 + 50, (with_it, without))
                    print(f"{totals[0]} calls in 2 s with pollscope, {totals[1]} without; ", end="", flush=True)

    def traced(self, world, scenario, mode):
        """The kinds of system calls that a service makes in two seconds, and how many of each."""
        pipe = subprocess.PIPE
        env = {"POLLSCOPE": mode}
        service = world.start([SCRIPTED, scenario, 5000], stdin=pipe, stdout=pipe, env=env)
        # All threads, rings and rows are there by then.
        time.sleep(1.5)
        out = world.state / f"strace-{mode}"
        tracer = world.start(["strace", "-f", "-c", "-o", out, "-p", service.pid], stderr=subprocess.DEVNULL)
        time.sleep(2)
        tracer.send_signal(signal.SIGINT)
        tracer.wait(timeout=20)
        service.kill()
        # % time, seconds, microseconds a call, calls, perhaps errors, name
        rows = [line.split() for line in out.read_text().splitlines()]
        calls = {row[-1]: int(row[3]) for row in rows if len(row) >= 5 and row[3].isdigit() and row[-1] != "total"}
        self.assertTrue(calls, "strace saw something")
        return calls


if __name__ == "__main__":
    unittest.main(verbosity=2)
