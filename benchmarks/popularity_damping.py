"""What does damping cost a query, and what does it do to its answer? The figures behind ADR 13.

Run it with ``python -m benchmarks.popularity_damping [FOLDER] [--json FILE]``. FOLDER holds ``item_factors.parquet``
(track_id, vector), ``user_factors.parquet`` (user_id, vector) and ``interactions.parquet`` (track_id) of a real
recommender. A made space of 100,000 tracks follows, whose lengths have nothing to do with directions and spread far
(log-normal, sigma 0.6): the hardest kind, as every direction has tracks that only damping brings up.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow.parquet as pq

from index.backends import CpuFlat
from index.codes import power_of_two_scale
from index.damping import DampedSearch, Lengths
from index.types import Float32Array, Int64Array

K = 20
QUERIES = 200
DAMPINGS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


class Counting(CpuFlat):
    """The index of a snapshot on one CPU thread; counts the rows that were looked at one by one."""

    def __init__(self, vectors: Float32Array) -> None:
        scale = power_of_two_scale(float(np.abs(vectors).max()))
        kind = faiss.ScalarQuantizer.QT_fp16
        index = faiss.IndexScalarQuantizer(vectors.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
        index.add(vectors * np.float32(scale))
        super().__init__(index, scale, threads=1)
        self.index, self.scale = index, scale
        self.looked_at = 0

    def scan(
        self, queries: Float32Array, k: int, rows: Int64Array, weights: Float32Array
    ) -> tuple[Float32Array, Int64Array]:
        """See `index.backends.Backend.scan`."""
        self.looked_at += len(rows)
        return super().scan(queries, k, rows, weights)


def real(folder: Path) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Vectors of tracks and of some users, and how many entries each track has."""
    items, users = (pq.read_table(folder / f"{name}_factors.parquet") for name in ("item", "user"))
    counts = Counter(pq.read_table(folder / "interactions.parquet", columns=["track_id"])["track_id"].to_pylist())
    listens = np.array([counts[track_id] for track_id in items["track_id"].to_pylist()], np.float32)
    vectors, queries = (
        np.stack(one["vector"].to_numpy(zero_copy_only=False)).astype(np.float32) for one in (items, users)
    )
    chosen = np.random.default_rng(0).permutation(len(queries))[:QUERIES]
    return vectors, queries[chosen], listens


def made(tracks: int = 100_000, dim: int = 128) -> tuple[Float32Array, Float32Array, None]:
    """Directions in 200 clusters, lengths at random, queries near the clusters."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(200, dim))
    vectors = centres[rng.integers(200, size=tracks)] + 0.8 * rng.normal(size=(tracks, dim))
    vectors *= rng.lognormal(0, 0.6, size=(tracks, 1)) / np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = centres + rng.normal(size=centres.shape)
    return vectors.astype(np.float32), queries.astype(np.float32), None


def measure(name: str, vectors: Float32Array, queries: Float32Array, listens: Float32Array | None) -> dict[str, Any]:
    """Ask one query after the other at each damping."""
    backend = Counting(vectors)
    start = time.perf_counter()
    lengths = Lengths.of(backend.index, backend.scale)
    result: dict[str, Any] = {
        "space": name,
        "tracks": len(vectors),
        "dim": vectors.shape[1],
        "lengths_ms": 1e3 * (time.perf_counter() - start),
        "dampings": [],
    }
    print(f"{name}: {len(vectors)} tracks; their lengths are measured in {result['lengths_ms']:.0f} ms")
    for damping in DAMPINGS:
        backend.looked_at, times_s, found = 0, [], []
        for query in queries:
            start = time.perf_counter()
            search = DampedSearch(backend, lengths, damping).search if damping else backend.search
            found.append(search(query[None], K)[1][0])
            times_s.append(time.perf_counter() - start)
        rows = np.array(found)
        row = {
            "damping": damping,
            "query_ms": 1e3 * float(np.median(times_s)),
            "query_ms_99": 1e3 * float(np.quantile(times_s, 0.99)),
            "looked_at_per_query": backend.looked_at / len(queries),
            "mean_length": float(lengths.rows[rows].mean()),
            "median_listens": float(np.median(listens[rows])) if listens is not None else None,
        }
        result["dampings"].append(row)
        print("  " + ", ".join(f"{key} {value:.4g}" for key, value in row.items() if value is not None), flush=True)
    return result


def main() -> None:
    """Print the figures, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = [measure("real", *real(arguments.folder))] if arguments.folder else []
    results.append(measure("made", *made()))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
