"""The serving side of `benchmarks.unit_costs`: a process that opens a home and searches, and a server's transport.

``python -m benchmarks.unit_costs_serving HOME [--scan]`` prints one JSON object; `benchmarks.unit_costs` runs it in a
process of its own, so that nothing else is in its memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from grpc_service.client import Client

K = 100
SCAN_BATCHES = {1: 40, 256: 5}  # queries a call, and calls
CALLERS, UNARY_S, BATCH, BATCH_CALLS = 8, 6.0, 256, 40


def memory() -> dict[str, int]:
    """Resident bytes of this process, now and at most."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return {
        "resident_bytes": int(lines["VmRSS"].split()[0]) * 1024,
        "peak_bytes": int(lines["VmHWM"].split()[0]) * 1024,
    }


def processor_s(pid: int) -> float:
    """Seconds that a process has spent on the processor, all threads together."""
    # The name in parentheses may hold anything; utime and stime are the 12th and 13th field behind it.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def opened(home: Path, *, scan: bool) -> dict[str, Any]:
    """Open a home, answer a query, and say what that took; with `scan`, what searches take."""
    from index import Searcher, Store
    from jobs import Engine

    rng = np.random.default_rng(0)
    cpu = time.process_time()
    with Engine.open(home, device="cpu") as engine:
        view = engine.searcher.view()
        view.search(rng.standard_normal((1, view.dim), np.float32), K)
        found: dict[str, Any] = {
            "rows": engine.status().tracks,
            "open.cpu": time.process_time() - cpu,
            **memory(),
        }
    if scan:
        found["scan"] = {}
        # A thread: more of them answer more queries, but no query sooner, and wait for each other on the processor.
        with Store.open(home, create=False) as store, Searcher.open(store, device="cpu", threads=1) as searcher:
            view = searcher.view()
            for batch, calls in SCAN_BATCHES.items():
                took = []
                for _ in range(calls):
                    queries = rng.standard_normal((batch, view.dim), np.float32)
                    wall, cpu = time.perf_counter(), time.process_time()
                    view.search(queries, K)
                    took.append((time.perf_counter() - wall, time.process_time() - cpu))
                found["scan"][batch] = {
                    "wall_s": statistics.median(one[0] for one in took) / batch,
                    "cpu_s": statistics.median(one[1] for one in took) / batch,
                }
    return found


def transport(address: str, pid: int, dim: int) -> Iterator[tuple[str, float, str, str]]:
    """Ask a server by vector, in single calls and in batches; give name, value, unit and what it is."""
    with Client(address, timeout_s=60.0) as client:
        client.wait_until_ready()
        vectors = np.random.default_rng(0).standard_normal((BATCH, dim), np.float32)
        client.neighbors_of_vector(vectors[0], k=K)
        counts = [0] * CALLERS
        until = time.perf_counter() + UNARY_S

        def call(caller: int) -> None:
            while time.perf_counter() < until:
                client.neighbors_of_vector(vectors[caller], k=K)
                counts[caller] += 1

        wall, cpu = _measured(pid, lambda: _together(call))
        asked = f"one query a call, k = {K}, {CALLERS} callers beside it on the same cores"
        yield "unary.wall", wall / sum(counts), "s/query", f"a server, {asked}"
        yield "unary.cpu", cpu / sum(counts), "core s/query", f"the server's own processor time, {asked}"

        def batches() -> None:
            for _ in range(BATCH_CALLS):
                client.neighbors_of_vectors(vectors, k=K)

        wall, cpu = _measured(pid, batches)
        asked = f"{BATCH} queries a call, k = {K}, one caller beside it on the same cores"
        yield "batched.wall", wall / (BATCH * BATCH_CALLS), "s/query", f"a server, {asked}"
        yield "batched.cpu", cpu / (BATCH * BATCH_CALLS), "core s/query", f"the server's own processor time, {asked}"


def _together(call: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _measured(pid: int, work: Callable[[], None]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), processor_s(pid)
    work()
    return time.perf_counter() - wall, processor_s(pid) - cpu


def main() -> None:
    """Print what `opened` finds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("home", type=Path)
    parser.add_argument("--scan", action="store_true")
    arguments = parser.parse_args()
    print(json.dumps(opened(arguments.home, scan=arguments.scan)))


if __name__ == "__main__":
    main()
