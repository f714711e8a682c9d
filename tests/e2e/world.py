"""What the end-to-end tests run in: a Jaeger, services, agents, each on free ports, each ended by its pid."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
POLLSCOPE = ROOT / "target/release/pollscope"
SCRIPTED = ROOT / "target/debug/scripted"
CONFIG = ROOT / "tests/tools/jaeger/config.yaml"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(url, timeout=5):
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return json.load(answer)


def wait_for(what, look, seconds=20):
    """Looks again and again, for a bounded time, until `look` gives something true; gives that."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            found = look()
            if found:
                return found
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds} s")


class World:
    """Everything one test starts; leaving it ends and removes all of it."""

    def __enter__(self):
        self.processes = []
        base = "/dev/shm" if os.path.isdir("/dev/shm") else None
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="pollscope-e2e-", dir=base))
        self.state = pathlib.Path(tempfile.mkdtemp(prefix="pollscope-e2e-state-"))
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.rmtree(self.state, ignore_errors=True)

    def start(self, command, **options):
        env = {**os.environ, "POLLSCOPE_DIR": str(self.place), **options.pop("env", {})}
        process = subprocess.Popen([str(part) for part in command], env=env, **options)
        self.processes.append(process)
        return process

    def service(self, *command, ready):
        """Starts a service that prints a line when it is ready; gives the process and that line."""
        pipe = subprocess.PIPE
        process = self.start(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        line = process.stdout.readline().strip()
        assert line.startswith(ready), f"{command} said {line!r}"
        return process, line

    def jaeger(self):
        return Jaeger(self)

    def agent(self, endpoint, *arguments, protocol="grpc", state=None):
        command = [POLLSCOPE, "agent", "--dir", self.place, "--endpoint", endpoint, "--protocol", protocol]
        command += ["--state", state or self.state, "--listen", "127.0.0.1:0", *arguments]
        return self.start(command, stderr=subprocess.DEVNULL)

    def shop(self):
        """The shop's three services; gives the gateway's address."""
        _, line = self.service(POLLSCOPE, "demo-service", "orders", ready="listening on ")
        orders = line.split()[-1]
        _, line = self.service(POLLSCOPE, "demo-service", "inventory", ready="listening on ")
        inventory = line.split()[-1]
        addresses = ["--orders", orders, "--inventory", inventory]
        _, line = self.service(POLLSCOPE, "demo-service", "gateway", *addresses, ready="listening on ")
        return line.split()[-1]


def stop(process, seconds=15):
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=seconds)


class Jaeger:
    """A real Jaeger with memory storage."""

    def __init__(self, world):
        self.world = world
        self.ports = {name: free_port() for name in ("query", "query_grpc", "grpc", "http")}
        text = CONFIG.read_text()
        for old, name in (("26686", "query"), ("26685", "query_grpc"), ("24317", "grpc"), ("24318", "http")):
            text = text.replace(f"127.0.0.1:{old}", f"127.0.0.1:{self.ports[name]}")
        path = world.state / f"jaeger-{self.ports['query']}.yaml"
        path.write_text(text)
        self.command = [os.environ["JAEGER"], "--config", f"file:{path}"]
        self.run()

    def run(self):
        quiet = subprocess.DEVNULL
        self.process = self.world.start(self.command, stdout=quiet, stderr=quiet)
        wait_for("Jaeger answers", lambda: self.ask("/api/services") is not None, 30)

    @property
    def grpc(self):
        return f"http://127.0.0.1:{self.ports['grpc']}"

    @property
    def http(self):
        return f"http://127.0.0.1:{self.ports['http']}"

    def ask(self, path):
        return get(f"http://127.0.0.1:{self.ports['query']}{path}")["data"] or []

    def traces(self, service, operation=None, limit=2000):
        operation = f"&operation={operation}" if operation else ""
        return self.ask(f"/api/traces?service={service}&limit={limit}{operation}")


def tags(span):
    return {tag["key"]: tag["value"] for tag in span["tags"]}


def service_of(trace, span):
    return trace["processes"][span["processID"]]["serviceName"]


def parent_of(span):
    parents = [r["spanID"] for r in span.get("references") or [] if r["refType"] == "CHILD_OF"]
    return parents[0] if parents else None
