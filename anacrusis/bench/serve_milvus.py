"""Our service and milvus-lite, each over its own gRPC with its own client library."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from anacrusis.bench.errors import BenchError
from anacrusis.bench.load_clients import CALLERS, CLIENT_PROCESSES, K
from anacrusis.bench.processes import Worker
from anacrusis.bench.promises import at_least, at_most

LEAST_RECALL = 0.99
MIN_RATE, MAX_P99 = 20.0, 0.1
_MILVUS, _OURS = "anacrusis.bench.milvus", "anacrusis.bench.our_clients"


def beside_milvus(folder: Path, address: str, repeats: int, seconds: float, python: str) -> dict[str, Any]:
    """Measure eight clients of each, in turns.

    Parameters
    ----------
    folder : Path
        With the vectors, the queries and their true neighbours.
    address : str
        Of this service.
    repeats : int
    seconds : float
        Of each turn.
    python : str
        The interpreter of an environment with milvus-lite.

    Returns
    -------
    dict
        With `checks`; where milvus-lite is not there, with nothing but `skipped`, which says why.
    """
    why = _missing(python)
    if why:
        return {"skipped": why, "checks": []}
    with ExitStack() as stack:
        try:
            server = stack.enter_context(Worker(_MILVUS, python=python))
            served = server.ask("serve", folder=str(folder))
            theirs = _connected(stack, _MILVUS, served["address"], folder, python)
            tuned = theirs[0].ask("tune", folder=str(folder), least_recall=LEAST_RECALL)
        except BenchError as error:
            return {"skipped": f"milvus-lite failed: {error}", "checks": []}
        ours = _connected(stack, _OURS, address, folder, sys.executable)
        recall = ours[0].ask("recall", folder=str(folder))
        rounds = [(_turn(ours, seconds), _turn(theirs, seconds, effort=int(tuned["effort"]))) for _ in range(repeats)]
    rate = statistics.median(mine["per_s"] / other["per_s"] for mine, other in rounds)
    p99 = statistics.median(mine["p99_ms"] / other["p99_ms"] for mine, other in rounds)
    at = f"{CLIENT_PROCESSES * CALLERS} clients at recall@{K} of {recall:.4f}, milvus-lite at {tuned['recall']:.4f}"
    return {
        "version": served["version"],
        "build_s": served["build_s"],
        "effort": tuned["effort"],
        "recall": tuned["recall"],
        "our_recall": recall,
        "ours": _median([mine for mine, _ in rounds]),
        "theirs": _median([other for _, other in rounds]),
        "checks": [
            at_least(f"{at}: calls a second, times as many", rate, MIN_RATE),
            at_most(f"{at}: p99 beside milvus-lite's", p99, MAX_P99),
        ],
    }


def _missing(python: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603
            [python, "-c", "import milvus_lite, pymilvus, numpy"], capture_output=True, text=True, check=False
        )
    except OSError as error:
        return f"{python} cannot be run: {error.strerror}"
    if done.returncode == 0:
        return ""
    said = done.stderr.strip().splitlines()
    return (
        f"{Path(python).name} has no milvus-lite ({said[-1] if said else done.returncode}): it brings faiss-cpu, which "
        "cannot stand beside faiss-gpu, so make another environment with pip install milvus-lite pymilvus, and name "
        "its interpreter with --milvus-python"
    )


def _connected(stack: ExitStack, module: str, address: str, folder: Path, python: str) -> list[Worker]:
    workers = [stack.enter_context(Worker(module, python=python)) for _ in range(CLIENT_PROCESSES)]
    for worker in workers:
        worker.ask("connect", address=address, folder=str(folder), k=K, threads=CALLERS)
    return workers


def _turn(workers: Sequence[Worker], seconds: float, **arguments: Any) -> dict[str, float]:
    for worker in workers:
        worker.tell("closed", seconds=seconds, **arguments)
    took = np.array([one for worker in workers for one in worker.answer()])
    return {
        "per_s": len(took) / seconds,
        "p50_ms": float(np.quantile(took, 0.5)),
        "p99_ms": float(np.quantile(took, 0.99)),
    }


def _median(turns: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}
