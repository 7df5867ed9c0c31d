"""What a server takes in memory under hours of mixed load, and with thousands of connections that say nothing."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from anacrusis.bench.promises import at_least, at_most
from benchmarks.soak import world
from benchmarks.soak.journal import Journal
from benchmarks.soak.load import Load
from benchmarks.soak.processes import Process, pause
from grpc_service.client import Client

# Few new tracks, so that what grows is not the catalogue: those that are there change, again and again.
MIXTURE = {"ingest": 0.02, "update": 3.0, "feedback": 0.5, "ask": 20.0, "refresh": 0.05}
SAMPLES = 60
WARMING_UP = 0.25  # of the time, which does not count
MOST_GROWTH_MIB_PER_HOUR = 64.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # and empty settings
_SPARE_FILES = 200


def steady(folder: Path, seconds: float, idle: int) -> dict[str, Any]:
    """Load a server steadily, and then hold connections open that ask nothing.

    Parameters
    ----------
    folder : Path
        Empty.
    seconds : float
        Of load.
    idle : int
        Connections, if the system lets one process have so many.
    """
    folder.mkdir(parents=True, exist_ok=True)
    home, journal = folder / "home", Journal()
    world.make_home(home)
    process = Process()
    try:
        process.tell("--home", home, "serve", "--port", 0, "--json", "-")
        address = process.address()
        samples: list[tuple[float, int]] = []
        with Load(address, journal, MIXTURE, 1):
            for number in range(1, SAMPLES + 1):
                pause(seconds / SAMPLES)
                samples.append((number * seconds / SAMPLES, process.resident_bytes()))
        before = process.resident_bytes()
        with idle_connections(address, idle) as held, Client(address, timeout_s=60.0) as client:
            answered = bool(client.status().snapshot_id)
            during = process.resident_bytes()
        code = process.stop()
    finally:
        process.close()
    counted = np.array([sample for sample in samples if sample[0] >= WARMING_UP * seconds])
    slope = float(np.polyfit(counted[:, 0], counted[:, 1], 1)[0]) * 3600 / 2**20
    return {
        "seconds": seconds,
        "acknowledged": dict(journal.acknowledged),
        "answers_checked": journal.answers,
        "unanswered": dict(journal.unanswered),
        "faults": dict(journal.faults),
        "examples": journal.examples,
        "resident_mib": [round(size / 2**20, 1) for _, size in samples],
        "growth_mib_per_hour": round(slope, 2),
        "idle_connections": held,
        "idle_wanted": idle,
        "idle_bytes_each": round((during - before) / max(held, 1)),
        "checks": [
            at_most("mixed load: faults", sum(journal.faults.values()), 0),
            at_most("mixed load: calls without an answer", journal.unanswered.total(), 0),
            at_most("mixed load: growth of resident memory, MiB an hour", slope, MOST_GROWTH_MIB_PER_HOUR),
            at_least("idle connections held while a query is answered", held if answered else 0, idle),
            at_most("exit code of the server that had them", code, 0),
        ],
    }


def greet(connection: socket.socket) -> bool:
    """Begin HTTP/2, and say whether the server took the connection up: its settings come, rather than the end."""
    try:
        connection.sendall(_PREFACE)
        return bool(connection.recv(1))
    except ConnectionError:
        return False


@contextmanager
def idle_connections(address: str, count: int) -> Iterator[int]:
    """Open connections that greet as HTTP/2 does and then say nothing; gives how many were taken up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, count + _SPARE_FILES), hard), hard))
    host, _, port = address.rpartition(":")
    taken_up, allowed = 0, min(count, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_FILES)
    try:
        with ExitStack() as stack:
            for _ in range(allowed):
                connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
                taken_up += greet(connection)
            yield taken_up
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
