"""What does a query cost around FAISS? The figures behind the last line of ADR 23.

Run it with ``python -m benchmarks.query_overhead [--tracks N] [--fresh N] [--json FILE]``. A made space is searched
through `SearchView.search` one query at a time, with and without fresh rows, and its index by FAISS alone at the same
effort; medians over the queries, one thread.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from index import Searcher, ServedVector, SpaceRecord, Store, Tier, TrackRecord, WriteBatch, build_snapshot

DIM, K, QUERIES, ROUNDS, CENTRES = 128, 100, 500, 3, 64
_faiss: Any = faiss  # its type stubs do not know all of it


def made(count: int, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Make vectors in clusters, float32 of shape (count, DIM)."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(CENTRES, DIM))
    places = centres[rng.integers(0, CENTRES, count)] + 0.7 * rng.standard_normal((count, DIM), np.float32)
    return places.astype(np.float32)


def median_us(search: Callable[[np.ndarray[Any, Any]], object], queries: np.ndarray[Any, Any]) -> float:
    """Give the median microseconds of a query, of the fastest round."""
    rounds = []
    for _ in range(ROUNDS):
        took = []
        for query in queries:
            began = time.perf_counter()
            search(query[None])
            took.append(time.perf_counter() - began)
        rounds.append(float(np.median(took)))
    return 1e6 * min(rounds)


def bench(tracks: int, fresh: int) -> dict[str, Any]:
    """Measure one home."""
    queries = made(QUERIES, 2)
    ids = [hashlib.blake2b(f"{row}".encode()).hexdigest()[:22] for row in range(tracks)]
    with tempfile.TemporaryDirectory(prefix="anacrusis-overhead-") as folder, Store.open(Path(folder, "home")) as store:
        store.create_space(SpaceRecord("made", DIM), ids, made(tracks, 1))
        store.publish(build_snapshot(store, "made").snapshot_id)
        with Searcher.open(store, device="cpu", threads=1) as searcher:
            faiss.omp_set_num_threads(1)
            backend: Any = searcher.view()._state.base.backend
            index, wanted = backend._index if hasattr(backend, "_index") else backend.near.index, None
            if hasattr(backend, "tuning"):
                wanted = _faiss.SearchParametersIVF()
                wanted.nprobe = backend.tuning.effort
            result = {
                "tracks": tracks,
                "index_kind": searcher.status().index_kind,
                "faiss_us": median_us(lambda query: index.search(query, K, params=wanted), queries),
                "search_us": median_us(lambda query: searcher.view().search(query, K), queries),
                "search_excluding_one_us": median_us(
                    lambda query: searcher.view().search(query, K, exclude=[[ids[0]]]), queries
                ),
            }
            rows = [
                ServedVector(f"fresh-{row}", vector, Tier.ARTIST_TRANSFER) for row, vector in enumerate(made(fresh, 3))
            ]
            store.commit(WriteBatch(tracks=[TrackRecord(row.track_id) for row in rows], fresh={"made": rows}))
            return result | {
                "fresh_rows": fresh,
                "search_with_fresh_us": median_us(lambda query: searcher.view().search(query, K), queries),
            }


def main() -> None:
    """Measure, and write down what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracks", type=int, default=30_000)
    parser.add_argument("--fresh", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result = bench(arguments.tracks, arguments.fresh)
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
