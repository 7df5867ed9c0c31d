"""Queries at a steady rate while a training is imported, published, refitted, refreshed and rolled back.

Run it with ``python -m benchmarks.retrain_under_load [--json FILE]``. Server, commands and clients share the cores.

A server runs in a process of its own on a made home; clients ask it by track, by vector and by user, one by one and in
batches, send tracks in and withdraw some. In quiet first, and then while the command line, in another process again,
brings a second training (rotated, rescaled, with noise), and a third of another dimension. Every answer is checked
against the space that it names (`benchmarks.reply_checks`); a call that names the old space after the switch has to be
refused, and no other one may be.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from anacrusis.server_process import running_server
from benchmarks.made_trainings import MadeCatalogue, Training
from benchmarks.reply_checks import Timeline, Truth, fault_of
from benchmarks.retrain_clients import QUERIES, Clients, K
from benchmarks.steady_load import Call, SteadyLoad
from grpc_service.client import Client
from index import Store

SWITCH_TIMEOUT_S = 60.0
TRAINING = "training-"
FIRST = f"{TRAINING}0"
QUIET = "quiet"


@dataclass(frozen=True)
class Options:
    """How much of everything.

    Attributes
    ----------
    artists : int
        With eight tracks each.
    dims : tuple of int
        Of the trainings, the served one first.
    rate_per_s : float
        Query calls a second; a fifth of them are batches.
    writes_per_s : float
        Tracks sent in, and half as many withdrawals.
    quiet_s : float
        How long it stays quiet before the first training comes; afterwards half as long again.
    steps : tuple of str
        What is done with each training.
    method : str
        Of ``anacrusis train``; the first training is fitted with it, too. Empty: nothing is fitted.
    """

    artists: int = 500
    dims: tuple[int, ...] = (64, 64, 48)
    rate_per_s: float = 30.0
    writes_per_s: float = 0.25
    quiet_s: float = 20.0
    steps: tuple[str, ...] = ("import", "publish", "train", "refresh", "rollback", "rollback")
    method: str = "artist_mean"


SHORT = Options(
    method="",
    artists=60,
    dims=(16, 16),
    rate_per_s=20.0,
    writes_per_s=1.0,
    quiet_s=1.0,
    steps=("import", "publish", "rollback"),
)


@dataclass
class Steps:
    """What another process does meanwhile, and when.

    Attributes
    ----------
    home : Path
    timeline : Timeline
    spans : list of (str, float, float)
        Name, begin and end of each step.
    """

    home: Path
    timeline: Timeline = field(default_factory=Timeline)
    spans: list[tuple[str, float, float]] = field(default_factory=list)

    def pause(self, name: str, seconds: float) -> None:
        """Do nothing for a while."""
        begun = time.monotonic()
        time.sleep(seconds)
        self.spans.append((name, begun, time.monotonic()))

    def run(self, name: str, arguments: Sequence[str], client: Client, *, switches_to: Sequence[str] = ()) -> None:
        """Run a command of ``anacrusis``, and wait until the server serves what it has published.

        Parameters
        ----------
        switches_to : sequence of str
            Spaces that may be served from its beginning on.
        """
        begun = time.monotonic()
        before = client.status().space_id
        if switches_to:
            self.timeline.change(begun, before, *switches_to)
        command = [sys.executable, "-m", "anacrusis", "--home", str(self.home), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        ended = time.monotonic()
        with Store.open(self.home, create=False) as store:
            published = store.published()
        assert published is not None  # the home was served before
        while client.status().snapshot_id != published.snapshot_id:
            if time.monotonic() > ended + SWITCH_TIMEOUT_S:
                raise RuntimeError(f"The server has not adopted snapshot {published.snapshot_id} after {name}.")
            time.sleep(0.05)
        if switches_to:
            self.timeline.change(time.monotonic(), published.space_id)
        self.spans.append((name, begun, time.monotonic()))


def run(folder: Path, options: Options) -> dict[str, Any]:
    """Do everything.

    Parameters
    ----------
    folder : Path
        For the home and for the trainings' files.

    Returns
    -------
    dict
        The figures, in JSON's types.
    """
    catalogue = MadeCatalogue(options.artists, options.dims[0])
    trainings = [catalogue.training(f"{TRAINING}{seed}", dim, seed) for seed, dim in enumerate(options.dims)]
    home = folder / "home"
    catalogue.serve(home, trainings[0], options.method)
    clients, steps = Clients(catalogue, trainings), Steps(home)
    with running_server(home) as server, Client(server.address, timeout_s=60.0) as client:
        client.neighbors_of_user(str(catalogue.user_ids[0]), K)
        steps.timeline.change(time.monotonic(), trainings[0].space_id)
        with SteadyLoad(server.address, clients.streams(options.rate_per_s, options.writes_per_s)) as load:
            steps.pause(QUIET, options.quiet_s)
            for number, training in enumerate(trainings[1:], start=2):
                _bring(steps, training, number, options, client, folder)
            steps.pause(f"{QUIET} again", options.quiet_s / 2)
    with Store.open(home, create=False) as store:
        return _report(options, clients, steps, load.calls, Truth(store), catalogue)


def _bring(steps: Steps, training: Training, number: int, options: Options, client: Client, folder: Path) -> None:
    items, users = training.write(folder)
    name = training.space_id
    commands = {
        "import": ["space", "import", name, str(items), "--users", str(users)],
        "publish": ["space", "publish", name],
        "train": ["train", "--space", name, "--method", options.method],
        "refresh": ["refresh"],
        "rollback": ["space", "rollback"],
    }
    for step in options.steps:
        everything = [name, FIRST] if step in ("publish", "rollback") else []
        steps.run(f"{step} {number}", commands[step], client, switches_to=everything)


def _report(
    options: Options, clients: Clients, steps: Steps, calls: Sequence[Call], truth: Truth, catalogue: MadeCatalogue
) -> dict[str, Any]:
    failures = Counter(f"{call.name}: {error.code.name} {error.reason}" for call in calls for error in call.errors)
    # Right where another space may have been served.
    wrong = sum(steps.timeline.during(one.sent_s, one.received_s) == {one.space_id} for one in clients.refusals)
    if wrong:
        failures["vector: refused although its space was served"] = wrong
    faults = [
        fault
        for call in calls
        for reply in call.replies
        if (fault := fault_of(reply, truth, steps.timeline, clients.withdrawals))
    ]
    kinds = Counter(fault.partition(":")[0] for fault in faults)
    timed = [_span(name, begun, ended, calls) for name, begun, ended in steps.spans]
    quiet = _latencies([(begun, ended) for name, begun, ended in steps.spans if name.startswith(QUIET)], calls)
    for one in timed:
        one["p99_ratio"] = round(one["p99_ms"] / quiet["p99_ms"], 2)
    spaces = Counter(reply.space_id for call in calls for reply in call.replies)
    measured = {"failed requests": sum(failures.values())}
    measured |= {f"{kind} answers": kinds[kind] for kind in ("mixed", "withdrawn", "short")}
    return {
        "tracks": len(catalogue.warm_ids) + len(catalogue.cold_ids),
        "cold_tracks": len(catalogue.cold_ids),
        "dims": list(options.dims),
        "rate_per_s": options.rate_per_s,
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[1], 1),  # of five minutes: what else the machine did
        "omp_threads": faiss.omp_get_max_threads(),
        "calls": len(calls),
        "answers": sum(len(call.replies) for call in calls),
        "answers_by_space": dict(sorted(spaces.items())),
        "refused_rightly": len(clients.refusals) - wrong,
        "ingested": len(clients.ingested),
        "withdrawn": len(clients.withdrawals),
        "failures": dict(failures),
        "first_faults": faults[:5],
        "steps": timed,
        "quiet": quiet,
        "p99_ratio": max(one["p99_ratio"] for one in timed if not one["name"].startswith(QUIET)),
        "checks": [
            {"name": name, "measured": count, "bound": 0, "holds": count == 0} for name, count in measured.items()
        ],
    }


def _span(name: str, begun: float, ended: float, calls: Sequence[Call]) -> dict[str, Any]:
    return {"name": name, "seconds": round(ended - begun, 2), **_latencies([(begun, ended)], calls)}


def _latencies(spans: Sequence[tuple[float, float]], calls: Sequence[Call]) -> dict[str, Any]:
    found = [
        1e3 * call.latency_s
        for call in calls
        if call.name in QUERIES and any(begun <= call.planned_s < ended for begun, ended in spans)
    ]
    p50, p99 = np.percentile(found, [50, 99]) if found else (float("nan"), float("nan"))
    return {"queries": len(found), "p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}


def show(result: dict[str, Any]) -> None:
    """Print the figures."""
    print(
        f"{result['calls']} calls with {result['answers']} answers ({result['answers_by_space']}), "
        f"{result['ingested']} tracks sent in, {result['withdrawn']} withdrawn; "
        f"{result['refused_rightly']} refused for the space that they named"
    )
    print(f"{'step':<12} {'s':>6} {'queries':>8} {'p50 ms':>8} {'p99 ms':>8} {'p99 ratio':>9}")
    for one in result["steps"]:
        figures = f"{one['seconds']:6.1f} {one['queries']:8} {one['p50_ms']:8.1f} {one['p99_ms']:8.1f}"
        print(f"{one['name']:<12} {figures} {one['p99_ratio']:9.1f}")
    for check in result["checks"]:
        print(f"{check['name']}: {check['measured']}")
    for failure, count in result["failures"].items():
        print(f"{count} x {failure}")
    print(*result["first_faults"], sep="\n")


def main() -> None:
    """Measure, print, and fail where a check does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer tracks, seconds and steps")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(Path(folder), SHORT if arguments.short else Options())
    show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if not all(check["holds"] for check in result["checks"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
