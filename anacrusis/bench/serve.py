"""How near a running server comes to what the machine can do: clients in other processes, over gRPC."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anacrusis.bench.load_clients import (
    BATCH,
    BATCH_SEARCH,
    CALLERS,
    CLIENT_PROCESSES,
    SEARCH,
    K,
    clients,
    together,
    write_requests,
)
from anacrusis.bench.our_index import build_home
from anacrusis.bench.processes import Worker
from anacrusis.bench.promises import at_least, at_most
from anacrusis.bench.serve_ingest import HEARD, given_content, while_ingesting
from anacrusis.bench.serve_milvus import beside_milvus
from anacrusis.bench.vectors import nearest, write_vectors
from anacrusis.server_process import running_server
from jobs.progress import OnProgress, Progress

QUERIES = 300
BATCH_CALLERS = 2
SATURATING = (4, 8, 16)  # callers in each process: the best of them find the top rate; more only wait, and are refused
OFFERED = (0.1, 0.3, 0.5, 0.7, 0.85, 1.0, 1.5)  # of the top rate
BELOW, ABOVE = 0.7, 1.5
LONGER = 3.0  # times as long above the top rate: the surplus has to fill the queue first
MIN_UNARY, MIN_BATCH, MAX_P99 = 0.75, 0.85, 5.0


def bench_serve(
    tracks: int,
    *,
    factors: NDArray[np.float32] | None = None,
    workers: int = 1,
    repeats: int = 5,
    seconds: float = 2.0,
    milvus_python: str = sys.executable,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """Measure a server of its own process.

    Parameters
    ----------
    tracks : int
        In its home.
    factors : ndarray of float32, shape (n, dim), optional
        A recommender's item vectors; see `anacrusis.bench.vectors.write_vectors`.
    workers : int
        Processes of the server.
    repeats : int
        Of each measurement; what is compared takes turns, and medians count.
    seconds : float
        Of each turn.
    milvus_python : str
        The interpreter of an environment with milvus-lite and pymilvus.
    on_progress : callable

    Returns
    -------
    dict
        In JSON's types, with `checks`.
    """
    with tempfile.TemporaryDirectory(prefix="anacrusis-bench-") as name:
        folder = Path(name)
        on_progress(Progress("build", 0, tracks))
        made = write_vectors(folder, tracks, queries=QUERIES, factors=factors)
        np.save(folder / "truth.npy", nearest(made.queries, made.tracks, K), allow_pickle=False)
        np.save(folder / "tuning_truth.npy", nearest(made.tuning, made.tracks, K), allow_pickle=False)
        build_home(folder / "home", made.tracks, given_content(np.array(made.tracks[:HEARD])))
        on_progress(Progress("build", tracks, tracks))
        write_requests(folder, np.array(made.queries))
        with running_server(folder / "home", *(("--workers", str(workers)) if workers > 1 else ())) as server:
            on_progress(Progress("unary", 0, repeats))
            unary = _unary(folder, server.address, repeats, seconds)
            on_progress(Progress("batch", 0, repeats))
            batch = _batch(folder, server.address, workers, repeats, seconds)
            on_progress(Progress("load", 0, len(OFFERED)))
            load = _load(folder, server.address, repeats, seconds, on_progress)
            on_progress(Progress("milvus-lite", 0, repeats))
            milvus = beside_milvus(folder, server.address, repeats, seconds, milvus_python)
        on_progress(Progress("ingest", 0, repeats))
        ingest = while_ingesting(folder, repeats, seconds)
        on_progress(Progress("ingest", repeats, repeats))
        dim, source = made.tracks.shape[1], made.source
    parts = {"unary": unary, "batch": batch, "load": load, "milvus": milvus, "ingest": ingest}
    return {
        "tracks": tracks,
        "dim": dim,
        "k": K,
        "source": source,
        "workers": workers,
        "repeats": repeats,
        "seconds": seconds,
        "machine_cores": len(os.sched_getaffinity(0)),
        **parts,
        "checks": [check for part in parts.values() for check in part.pop("checks")],
    }


@contextmanager
def _echo(reply: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "anacrusis.bench.echo", str(reply)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None  # opened as a pipe above
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def _unary(folder: Path, address: str, repeats: int, seconds: float) -> dict[str, Any]:
    """Single queries, beside a server that looks nothing up and answers with the bytes of a reply."""
    import grpc

    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        request = bytes.fromhex((folder / "unary").read_text(encoding="ascii").split()[0])
        (folder / "reply").write_bytes(channel.unary_unary(SEARCH)(request, timeout=30.0))
    ours: list[dict[str, Any]] = []
    echoed: list[dict[str, Any]] = []
    with (
        _echo(folder / "reply") as echo_address,
        clients(address, SEARCH, folder / "unary") as asking_us,
        clients(echo_address, SEARCH, folder / "unary") as asking_echo,
    ):
        for _ in range(repeats):
            ours.append(together(asking_us, "closed", seconds=seconds, callers=CALLERS))
            echoed.append(together(asking_echo, "closed", seconds=seconds, callers=CALLERS))
    share = statistics.median(mine["per_s"] / other["per_s"] for mine, other in zip(ours, echoed, strict=True))
    count = CLIENT_PROCESSES * CALLERS
    name = f"{count} clients, one query a call: calls a second beside an echo server of the same bytes"
    return {
        "reply_bytes": (folder / "reply").stat().st_size,
        "per_s": statistics.median(one["per_s"] for one in ours),
        "p50_ms": statistics.median(one["p50_ms"] for one in ours),
        "p99_ms": statistics.median(one["p99_ms"] for one in ours),
        "echo_per_s": statistics.median(one["per_s"] for one in echoed),
        "echo_p50_ms": statistics.median(one["p50_ms"] for one in echoed),
        "share": share,
        "rounds": {"ours": ours, "echo": echoed},
        "checks": [at_least(name, share, MIN_UNARY)],
    }


def _search_threads(workers: int) -> int:
    from grpc_service.options import ServerOptions, share_cores
    from index import usable_threads

    return workers * share_cores(ServerOptions(workers=workers), usable_threads(), encodes=True)[0]


def _batch(folder: Path, address: str, workers: int, repeats: int, seconds: float) -> dict[str, Any]:
    """Batches over gRPC, beside the same index and as many threads without anything around them."""
    threads = _search_threads(workers)
    ours, direct = [], []
    with (
        Worker("anacrusis.bench.faiss_direct", str(folder), str(threads)) as faiss,
        clients(address, BATCH_SEARCH, folder / "batch", processes=workers) as asking,
    ):
        for _ in range(repeats):
            ours.append(BATCH * together(asking, "closed", seconds=seconds, callers=BATCH_CALLERS)["per_s"])
            direct.append(faiss.ask("search", batch=BATCH, k=K, seconds=seconds))
    share = statistics.median(mine / one["queries_per_s"] for mine, one in zip(ours, direct, strict=True))
    name = f"batches of {BATCH}: queries a second beside FAISS called directly with the same threads"
    return {
        "queries_per_s": statistics.median(ours),
        "faiss_queries_per_s": statistics.median(one["queries_per_s"] for one in direct),
        "faiss_threads": threads,
        "share": share,
        "checks": [at_least(name, share, MIN_BATCH)],
    }


def _load(folder: Path, address: str, repeats: int, seconds: float, on_progress: OnProgress) -> dict[str, Any]:
    """Latency against offered load, up to and beyond what the server answers at most."""
    with clients(address, SEARCH, folder / "unary") as asking:
        top = max(
            statistics.median(
                together(asking, "closed", seconds=seconds, callers=callers)["per_s"] for _ in range(repeats)
            )
            for callers in SATURATING
        )
        curve = []
        for number, share in enumerate(OFFERED):
            runs = [
                together(
                    asking, "offered", per_s=share * top / len(asking), seconds=seconds * (LONGER if share > 1 else 1)
                )
                for _ in range(repeats if share in (BELOW, ABOVE) else 1)
            ]
            curve.append({"share": share, "offered_per_s": share * top, "runs": runs, **_middle(runs)})
            on_progress(Progress("load", number + 1, len(OFFERED)))
    at = {one["share"]: one for one in curve}
    refused = sum(sum(run["failed"].values()) for run in at[ABOVE]["runs"])
    exhausted = sum(run["failed"].get("RESOURCE_EXHAUSTED", 0) for run in at[ABOVE]["runs"])
    hinted = sum(run["hinted"] for run in at[ABOVE]["runs"])
    p99_below = statistics.median(run["p99_ms"] / run["p50_ms"] for run in at[BELOW]["runs"])
    p99_above = at[ABOVE]["p99_ms"] / at[BELOW]["p50_ms"]
    return {
        "top_per_s": top,
        "offered": curve,
        "checks": [
            at_most(f"at {BELOW:.0%} of the top rate: p99 beside the median, times", p99_below, MAX_P99),
            at_least(f"at {ABOVE:.0%} of the top rate: calls refused", refused, 1),
            at_least(
                f"at {ABOVE:.0%} of the top rate: of the refused, RESOURCE_EXHAUSTED with a hint when to retry",
                min(exhausted, hinted) / refused if refused else 0.0,
                1.0,
            ),
            at_most(
                f"at {ABOVE:.0%} of the top rate: p99 of what is accepted beside the median at {BELOW:.0%}, times",
                p99_above,
                MAX_P99,
            ),
        ],
    }


def _middle(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    keys = ("per_s", "p50_ms", "p90_ms", "p99_ms", "late_p99_ms")
    return {key: statistics.median(run[key] for run in runs) for key in keys}
