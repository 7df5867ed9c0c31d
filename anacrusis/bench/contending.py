"""A process with one contender: ``python -m anacrusis.bench.contending NAME FOLDER``, orders on standard input."""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anacrusis.bench.contenders import contender
from anacrusis.bench.processes import memory, serve_orders
from anacrusis.bench.vectors import BenchVectors, recall

WARM_UP = 20


class Contending:
    """Carries out what `anacrusis.bench.index` orders.

    Parameters
    ----------
    name : str
        Of the contender.
    folder : Path
        With the vectors, `truth.npy` and `tuning_truth.npy` (row numbers, best first) in it; the contender's own index
        stands in a folder of its name.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self._index = contender(name).make()
        self._vectors = BenchVectors(folder, "")
        self._truth = np.load(folder / "truth.npy", allow_pickle=False)
        self._tuning_truth = np.load(folder / "tuning_truth.npy", allow_pickle=False)
        self._own = folder / name.replace(" ", "-")

    def carry_out(self, order: str, **arguments: Any) -> Any:
        """Do what is ordered: build, open, sweep or round."""
        return getattr(self, f"do_{order}")(**arguments)

    def do_build(self) -> dict[str, Any]:
        """Build the index on all cores."""
        self._own.mkdir()
        start = time.perf_counter()
        self._index.build(self._vectors.tracks, self._own)
        took = time.perf_counter() - start
        size = sum(one.stat().st_size for one in self._own.rglob("*") if one.is_file())
        return {"build_s": took, "disk_bytes": size}

    def do_open(self, k: int) -> dict[str, Any]:
        """Open the index, and say what that took until the first answer."""
        query = np.array(self._vectors.queries[0])
        before = memory()["resident_bytes"]
        start = time.perf_counter()
        self._index.open(self._own, k)
        opened_s = time.perf_counter() - start
        self._index.search(query, self._index.efforts[0])
        first_answer_s = time.perf_counter() - start
        after = memory()
        return {
            "opened_s": opened_s,
            "first_answer_s": first_answer_s,
            "resident_bytes": after["resident_bytes"] - before,
            "peak_bytes": after["peak_bytes"] - before,
            "process_bytes": after["resident_bytes"],
            "efforts": list(self._index.efforts),
        }

    def do_sweep(self, least_recall: float) -> list[dict[str, float]]:
        """Search with growing effort until enough is found and a little more, on the queries for tuning."""
        found: list[dict[str, float]] = []
        for effort in self._index.efforts:
            one = self._measure(np.array(self._vectors.tuning), self._tuning_truth, effort)
            found.append({"effort": effort, "recall": one["recall"], "queries_per_s": one["queries_per_s"]})
            if one["recall"] >= (1 + 4 * least_recall) / 5:  # the curve goes on a little
                break
        return found

    def do_round(self, effort: int) -> dict[str, float]:
        """Search once for every query that is measured."""
        return self._measure(np.array(self._vectors.queries), self._truth, effort)

    def _measure(self, queries: NDArray[np.float32], truth: NDArray[np.int64], effort: int) -> dict[str, float]:
        for query in queries[:WARM_UP]:
            self._index.search(query, effort)
        took, answers = [], []
        for query in queries:
            start = time.perf_counter()
            answer = self._index.search(query, effort)
            took.append(time.perf_counter() - start)
            answers.append(answer)
        found = np.full(truth.shape, -1, dtype=np.int64)
        for at, answer in enumerate(answers):
            rows = self._index.rows(answer)[: truth.shape[1]]
            found[at, : len(rows)] = rows
        return {
            "recall": recall(found, truth),
            "queries_per_s": len(took) / sum(took),
            "p50_ms": 1e3 * statistics.median(took),
            "p99_ms": 1e3 * float(np.quantile(took, 0.99)),
        }


def main() -> None:
    """Serve orders."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    serve_orders(Contending(arguments.name, arguments.folder).carry_out)


if __name__ == "__main__":
    main()
