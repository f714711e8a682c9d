"""What the end-to-end tests run in: a Jaeger, services, agents, each on free ports, each ended by its pid."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
POLLSCOPE = ROOT / "target/release/pollscope"
SCRIPTED = ROOT / "target/debug/scripted"
TRACED = ROOT / "target/debug/traced"
LOGS = ROOT / "target/debug/logs"
BESIDE = ROOT / "target/guests/debug/beside"
CONFIG = ROOT / "tests/tools/jaeger/config.yaml"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(url, timeout=10):
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


def kill(process):
    process.kill()
    process.wait()


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
            for pipe in (process.stdin, process.stdout, process.stderr):
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

    def sessions(self):
        return sorted(path for path in self.place.iterdir() if path.name.startswith("s-"))

    def jaeger(self):
        return Jaeger(self)

    def agent(self, endpoint, *arguments, protocol="grpc", state=None):
        command = [POLLSCOPE, "agent", "--dir", self.place, "--endpoint", endpoint, "--protocol", protocol]
        command += ["--state", state or self.state, "--listen", "127.0.0.1:0", *arguments]
        return Agent(self, command)

    def tap(self, onward=None):
        return Tap(self, onward)

    def rotel(self, onward=None):
        return Rotel(self, onward)

    def shop(self):
        """The shop's three services; gives the gateway's address."""
        _, line = self.service(POLLSCOPE, "demo-service", "orders", ready="listening on ")
        orders = line.split()[-1]
        _, line = self.service(POLLSCOPE, "demo-service", "inventory", ready="listening on ")
        inventory = line.split()[-1]
        addresses = ["--orders", orders, "--inventory", inventory]
        _, line = self.service(POLLSCOPE, "demo-service", "gateway", *addresses, ready="listening on ")
        return line.split()[-1]


class Agent:
    """An agent with its pages; what it says is kept."""

    def __init__(self, world, command):
        self.said = []
        self.process = world.start(command, stderr=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self._listen, daemon=True)
        self.reader.start()

    def _listen(self):
        for line in self.process.stderr:
            self.said.append(line.rstrip())

    @property
    def pid(self):
        return self.process.pid

    def page(self, path):
        said = wait_for("the agent's address", lambda: [line for line in self.said if " on http://" in line])
        with urllib.request.urlopen(said[0].split()[-1] + path, timeout=5) as answer:
            return answer.read().decode()

    def metric(self, name):
        """The sum of a metric over its labels."""
        lines = [line.rsplit(" ", 1) for line in self.page("/metrics").splitlines() if not line.startswith("#")]
        return sum(int(value) for series, value in lines if series.split("{")[0] == name or series == name)

    def kill(self):
        kill(self.process)

    def stop(self, seconds=15):
        """Asks it to end; gives its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=seconds)

    def processor_seconds(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @contextlib.contextmanager
    def held_to_a_tenth(self):
        """Lets it run for 10 ms in each 100: a tenth of a core at most."""
        over = threading.Event()

        def hold():
            while not over.is_set():
                self.process.send_signal(signal.SIGCONT)
                time.sleep(0.010)
                self.process.send_signal(signal.SIGSTOP)
                over.wait(0.090)
            self.process.send_signal(signal.SIGCONT)

        thread = threading.Thread(target=hold)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


class Tap:
    """oteltap: OTLP over HTTP. Keeps what it decoded, and sends spans on."""

    def __init__(self, world, onward):
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        command = [os.environ["RECEIVERS"], ROOT / "tests/tools/receivers/tap.py", port]
        command += [f"{onward}/v1/traces"] if onward else []
        self.spans, self.logs = [], []
        self.process = world.start(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline().strip() == "ready"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                item = json.loads(line)
                (self.spans if "startTimeUnixNano" in item else self.logs).append(item)


class Rotel:
    """rotel, a collector: OTLP over gRPC. Sends all on; with nowhere to send to, it tells the log records it decoded."""

    def __init__(self, world, onward):
        ports = free_port(), free_port()
        self.endpoint = f"http://127.0.0.1:{ports[0]}"
        find = "import pathlib, rotel; print(pathlib.Path(rotel.__file__).parent / 'rotel-agent')"
        binary = subprocess.check_output([os.environ["RECEIVERS"], "-c", find], text=True).strip()
        command = [binary, "start", "--otlp-grpc-endpoint", f"127.0.0.1:{ports[0]}"]
        command += ["--otlp-http-endpoint", f"127.0.0.1:{ports[1]}", "--exporter", "otlp" if onward else "blackhole"]
        if onward:
            command += ["--otlp-exporter-endpoint", onward, "--otlp-exporter-protocol", "grpc"]
        else:
            command += ["--debug-log", "logs", "--debug-log-verbosity", "detailed"]
        command += ["--pid-file", world.state / "rotel.pid", "--log-file", world.state / "rotel.log"]
        self.told = world.state / "rotel.told"
        with self.told.open("w") as told:
            self.process = world.start(command, stdout=told, stderr=subprocess.DEVNULL)
        wait_for("rotel listens", lambda: listens(ports[0]))


def listens(port):
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


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

    def kill(self):
        kill(self.process)

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
