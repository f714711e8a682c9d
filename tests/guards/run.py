#!/usr/bin/env python3
"""What the hot operations cost, counted, not timed: instructions (callgrind), allocations (dhat) and system calls
(strace) of `ops OPERATION TIMES`, by the difference of two runs. Instructions are held against baseline.json.

    tests/guards/run.py              compares
    tests/guards/run.py --write      writes a new baseline
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OPS = ROOT / "target/release/ops"
BASELINE = HERE / "baseline.json"
# Addresses differ from one build to another, and some maps are keyed by them: a span's count moves by a few per cent.
TOLERANCE = 0.08

# Operation, variables, times, and the allocations that one has at most. tokio allocates one for a spawned task, we one.
OPERATIONS = {
    "poll": ("poll", {}, 20_000, 0),
    "wake": ("wake", {}, 10_000, 0),
    "ping-pong": ("ping-pong", {}, 10_000, 0),
    "span": ("span", {}, 10_000, 0),
    "open-span": ("open-span", {}, 10_000, 0),
    "spawn": ("spawn", {}, 10_000, 2),
    "poll, off": ("poll", {"POLLSCOPE": "off"}, 20_000, 0),
    "spawn, off": ("spawn", {"POLLSCOPE": "off"}, 10_000, 1),
    "span, off": ("span", {"POLLSCOPE": "off"}, 10_000, 0),
}


def run(command, variables):
    """What a command writes on standard error; it runs with a session directory of its own."""
    parent = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="pollscope-guards-", dir=parent) as place:
        environment = {**os.environ, "POLLSCOPE_DIR": place, **variables}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        sys.exit(f"{command}: exit code {done.returncode}\n{done.stderr}")
    return done.stderr


def number(text, pattern):
    found = re.search(pattern, text)
    if not found:
        sys.exit(f"nothing like {pattern!r} in what was told:\n{text}")
    return int(found.group(1).replace(",", ""))


def instructions(operation, times, variables):
    tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    return number(run([*tool, OPS, operation, str(times)], variables), r"Collected : (\d+)")


def allocations(operation, times, variables):
    tool = ["valgrind", "--tool=dhat", "--dhat-out-file=/dev/null"]
    return number(run([*tool, OPS, operation, str(times)], variables), r"Total:\s+[\d,]+ bytes in ([\d,]+) blocks")


def calls(operation, times, variables):
    with tempfile.NamedTemporaryFile("r") as told:
        run(["strace", "-f", "-qq", "-o", told.name, OPS, operation, str(times)], variables)
        return sum(1 for line in told if "(" in line)


def per_operation(count, operation, variables, times):
    once, twice = (count(operation, n, variables) for n in (times, 2 * times))
    return (twice - once) / times


def main():
    for tool in ("valgrind", "strace"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing: apt-get install {tool}")
    counted, wrong = {}, []
    known = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    for name, (operation, variables, times, allowed) in OPERATIONS.items():
        spent = round(per_operation(instructions, operation, variables, times), 1)
        allocated = per_operation(allocations, operation, variables, times)
        # A clock that is read, a block that is entered: few calls that do not depend on the operation alone.
        called = per_operation(calls, operation, variables, times)
        counted[name] = spent
        print(f"{name:12} {spent:8.1f} instructions {allocated:6.2f} allocations {called:6.3f} system calls", flush=True)
        if allocated > allowed + 0.01:
            wrong.append(f"{name}: {allocated:.2f} allocations, {allowed} allowed")
        if called > 0.01:
            wrong.append(f"{name}: {called:.3f} system calls an operation, none allowed")
        before = known.get(name)
        if "--write" in sys.argv[1:]:
            continue
        if before is None:
            wrong.append(f"{name}: not in {BASELINE.name}; --write writes it")
        elif spent > before * (1 + TOLERANCE) + 2:
            wrong.append(f"{name}: {spent:.1f} instructions, {before:.1f} before")
        elif spent < before * (1 - TOLERANCE) - 2:
            print(f"  fewer than the {before:.1f} before: --write keeps that")
    if "--write" in sys.argv[1:]:
        BASELINE.write_text(json.dumps(counted, indent=2) + "\n")
    for line in wrong:
        print(f"wrong: {line}")
    print(f"{len(OPERATIONS) - len(wrong)} passed, {len(wrong)} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
