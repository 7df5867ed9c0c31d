"""How fast, how exact, how large and how soon: the search in process, beside the libraries that do the same."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anacrusis.bench.contenders import OURS, Listed, all_contenders, contender, missing, version
from anacrusis.bench.errors import BenchError
from anacrusis.bench.processes import Worker
from anacrusis.bench.promises import at_least, at_most
from anacrusis.bench.vectors import nearest, write_vectors
from index.kinds import FLAT_FP16
from jobs.progress import OnProgress, Progress

K = 100
LEAST_RECALL = 0.99
BESIDE_PEERS_FROM = 100_000
"""Tracks from which a single query has to be as fast as the fastest peer's. Below, most of a query's time goes not into
the search but into names, filters and fresh rows, which peers leave to their callers."""

REPEATS = 5
SEARCH_CORES = 1  # for everybody alike
QUERIES = 300  # of each kind; a round asks them all once
FILTER_SHARES = (0.5, 0.1, 0.01, 0.001)
FILTER_QUERIES, FILTER_REPEATS = 60, 5
FRESH_ROWS = 10_000
MAX_MEMORY = 1.3  # resident bytes of the flat kind for each further vector, beside those of the float16 vector itself
FEW_TRACKS = 1000  # what opening so few takes is the libraries', not the vectors'
MEMORY_FROM = 1_000_000  # tracks; below, what every process needs weighs more than the vectors
_CONTENDING, _HOME = "anacrusis.bench.contending", "anacrusis.bench.home_costs"


def bench_index(
    tracks: Sequence[int],
    *,
    libraries: Sequence[str] | None = None,
    factors: NDArray[np.float32] | None = None,
    repeats: int = REPEATS,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """Measure single queries in process at each size.

    Parameters
    ----------
    tracks : sequence of int
        How many to search.
    libraries : sequence of str, optional
        Which peers take part, by name; None: all.
    factors : ndarray of float32, shape (n, dim), optional
        A recommender's item vectors; see `anacrusis.bench.vectors.write_vectors`.
    repeats : int
        Rounds; medians count. Whoever takes part is asked in turns, on one core.
    on_progress : callable

    Returns
    -------
    dict
        In JSON's types: `sizes`, `growth` where there are several, and `checks`.

    Raises
    ------
    BenchError
    """
    asked = libraries if libraries is not None else all_contenders()
    peers = [one for one in map(contender, asked) if one.peer]
    sizes = [_size(count, peers, factors, repeats, on_progress) for count in sorted(set(tracks))]
    checks = [check for size in sizes for check in size["checks"]]
    return {
        "k": K,
        "least_recall": LEAST_RECALL,
        "repeats": repeats,
        "queries": QUERIES,
        "machine_cores": len(os.sched_getaffinity(0)),
        "search_cores": SEARCH_CORES,
        "sizes": sizes,
        "growth": _growth(sizes),
        "checks": checks,
    }


def _size(
    tracks: int, peers: list[Listed], factors: NDArray[np.float32] | None, repeats: int, on_progress: OnProgress
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="anacrusis-bench-") as name:
        folder = Path(name)
        made = write_vectors(folder, tracks, queries=QUERIES, factors=factors)
        np.save(folder / "truth.npy", nearest(made.queries, made.tracks, K), allow_pickle=False)
        np.save(folder / "tuning_truth.npy", nearest(made.tuning, made.tracks, K), allow_pickle=False)
        skipped = [{"name": peer.name, "reason": reason} for peer in peers if (reason := missing(peer))]
        ours = [one for one in all_contenders().values() if not one.peer]
        taking_part = [*ours, *(peer for peer in peers if not missing(peer))]
        found, failed = _contest(folder, taking_part, repeats, on_progress)
        home = _home(folder, on_progress)
        dim = made.tracks.shape[1]
        few_peak_bytes = _few_peak_bytes(Path(name) / "few", factors)
    flat = next(one for one in found if one["name"] == f"{OURS} {FLAT_FP16}")
    size: dict[str, Any] = {
        "tracks": tracks,
        "dim": dim,
        "source": made.source,
        "kind": home["kind"],
        "vector_bytes": tracks * dim * 2,
        "contenders": found,
        "skipped": skipped + failed,
        **home,
    }
    size["few_peak_bytes"] = few_peak_bytes
    size["memory_ratio"] = (flat["peak_bytes"] - few_peak_bytes) / size["vector_bytes"]
    size["checks"] = _checks(size)
    return size


def _few_peak_bytes(folder: Path, factors: NDArray[np.float32] | None) -> int:
    """Measure what a process takes that opens the flat kind with hardly any vectors."""
    folder.mkdir()
    made = write_vectors(folder, FEW_TRACKS, queries=QUERIES, factors=factors)
    for kind, queries in (("truth", made.queries), ("tuning_truth", made.tuning)):
        np.save(folder / f"{kind}.npy", nearest(queries, made.tracks, K), allow_pickle=False)
    flat = f"{OURS} {FLAT_FP16}"
    with Worker(_CONTENDING, flat, str(folder)) as builder:
        builder.ask("build")
    with Worker(_CONTENDING, flat, str(folder), cores=SEARCH_CORES) as worker:
        return int(worker.ask("open", k=K)["peak_bytes"])


def _contest(
    folder: Path, taking_part: list[Listed], repeats: int, on_progress: OnProgress
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Build, tune and measure; who fails is left out with what it said, unless that is us."""
    found: dict[str, dict[str, Any]] = {}
    failed: list[dict[str, str]] = []
    with ExitStack() as open_until_measured:
        workers: dict[str, Worker] = {}
        for number, one in enumerate(taking_part):
            on_progress(Progress("build", number, len(taking_part), one.name))
            try:
                found[one.name], workers[one.name] = _opened(one, folder, open_until_measured)
            except BenchError as error:
                if not one.peer:
                    raise
                failed.append({"name": one.name, "reason": str(error)})
        on_progress(Progress("build", len(taking_part), len(taking_part)))
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
        for number in range(repeats):
            for name, worker in workers.items():
                rounds[name].append(worker.ask("round", effort=found[name]["effort"]))
            on_progress(Progress("measure", number + 1, repeats))
    for name, measured in rounds.items():
        for figure in measured[0]:
            found[name][figure] = statistics.median(one[figure] for one in measured)
        found[name]["rounds"] = measured
        found[name]["reached"] = found[name]["recall"] >= LEAST_RECALL
    return list(found.values()), failed


def _opened(one: Listed, folder: Path, stack: ExitStack) -> tuple[dict[str, Any], Worker]:
    with Worker(_CONTENDING, one.name, str(folder)) as builder:
        built = builder.ask("build")
    worker = stack.enter_context(Worker(_CONTENDING, one.name, str(folder), cores=SEARCH_CORES))
    opened = worker.ask("open", k=K)
    efforts = opened.pop("efforts")
    curve = worker.ask("sweep", least_recall=LEAST_RECALL)
    effort = int(next((step for step in curve if step["recall"] >= LEAST_RECALL), curve[-1])["effort"])
    if one.peer:
        # What was enough for the queries it was tuned on may just not be for those that are measured.
        for more in efforts[efforts.index(effort) :]:
            effort = more
            if worker.ask("round", effort=effort)["recall"] >= LEAST_RECALL:
                break
    about = {"name": one.name, "what": one.what, "peer": one.peer, "version": version(one)}
    return {**about, **built, **opened, "curve": curve, "effort": effort}, worker


def _home(folder: Path, on_progress: OnProgress) -> dict[str, Any]:
    """Measure what only a home has: filters, starting, and starting again after a crash."""
    on_progress(Progress("filters", 0, len(FILTER_SHARES)))
    with Worker(_HOME, str(folder)) as worker:
        start = worker.ask("open", k=K)
        kind = worker.ask("kind")["kind"]
    with Worker(_HOME, str(folder), cores=SEARCH_CORES) as worker:
        worker.ask("open", k=K)
        filters = worker.ask("filters", k=K, shares=FILTER_SHARES, queries=FILTER_QUERIES, repeats=FILTER_REPEATS)
    on_progress(Progress("filters", len(FILTER_SHARES), len(FILTER_SHARES)))
    on_progress(Progress("crash", 0, FRESH_ROWS))
    with Worker(_HOME, str(folder)) as worker:
        worker.ask("open", k=K)
        written = worker.ask("write_fresh", rows=FRESH_ROWS)
        worker.killed()
    with Worker(_HOME, str(folder)) as worker:
        again = worker.ask("open", k=K)
        kept = worker.ask("find", vector=written["last"], row=written["row"])
    on_progress(Progress("crash", FRESH_ROWS, FRESH_ROWS))
    keys = ("opened_s", "first_answer_s", "resident_bytes", "peak_bytes", "process_bytes")
    return {
        "kind": kind,
        "filters": filters,
        "start": {key: start[key] for key in keys},
        "start_after_crash": {**{key: again[key] for key in keys}, **kept, "write_s": written["write_s"]},
    }


def _checks(size: dict[str, Any]) -> list[dict[str, Any]]:
    tracks, ours = size["tracks"], size["contenders"][0]
    at = f"{tracks:,} tracks"
    checks = [at_least(f"{at}: recall@{K} of what is served by default", ours["recall"], LEAST_RECALL)]
    peers = [one for one in size["contenders"] if one["peer"] and one["reached"]]
    if peers and tracks >= BESIDE_PEERS_FROM:
        best = max(peers, key=lambda one: float(one["queries_per_s"]))
        ratios = [
            mine["queries_per_s"] / theirs["queries_per_s"]
            for mine, theirs in zip(ours["rounds"], best["rounds"], strict=True)
        ]
        name = f"{at}: single queries beside {best['name']}, the fastest peer of that recall, times as fast"
        checks.append(at_least(name, statistics.median(ratios), 1.0))
    for one in size["filters"]:
        checks.append(
            at_least(f"{at}: recall@{K} where {one['share']:.1%} pass the filter", one["recall"], LEAST_RECALL)
        )
    if tracks >= MEMORY_FROM:
        name = f"{at}: {FLAT_FP16}, resident bytes of a vector at most, start-up included, beside its float16 bytes"
        checks.append(at_most(name, size["memory_ratio"], MAX_MEMORY))
    after = size["start_after_crash"]
    name = f"{at}: fresh rows that were acknowledged before a crash and are searched after it"
    checks.append(at_least(name, after["fresh_rows"] if after["found"] else 0, FRESH_ROWS))
    return checks


def _growth(sizes: list[dict[str, Any]]) -> dict[str, float]:
    """Fit ``figure = a * tracks ** exponent``; empty for one size."""
    if len(sizes) < 2:
        return {}
    counts = np.log([size["tracks"] for size in sizes])

    def exponent(figures: list[float]) -> float:
        return float(np.polyfit(counts, np.log(figures), 1)[0])

    return {
        "latency_exponent": exponent([size["contenders"][0]["p50_ms"] for size in sizes]),
        "memory_exponent": exponent([max(1, size["contenders"][0]["resident_bytes"]) for size in sizes]),
    }
