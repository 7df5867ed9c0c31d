"""Which kind of index is faster at the same recall, and what it costs to build? The figures behind ADR 23.

Run it with ``python -m benchmarks.index_kinds [--factors FILE] [--tracks N ...] [--json FILE]``. FILE holds the item
vectors of a real recommender, of which as many are used, or drawn with noise, as are wanted; made ones, in clusters,
follow in any case. Beside the kinds that are built stand those of FAISS that are not: HNSW over the codes, by inner
product as they are searched, and by distance with one more element that makes all lengths alike (the nearest are then
those of the largest product); and product quantisation in lists, 4 bits for each pair of elements, re-ranked by the
exact codes. One thread, one query at a time, the fastest of three rounds; recall@100.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from anacrusis.bench.vectors import write_vectors
from index.backends import CpuFlat
from index.codes import codes_of, encode
from index.filters import packed
from index.lists import Lists
from index.types import Bitmap, Float32Array, Int64Array, Metric
from jobs.factors import read_factors

K, QUERIES, ROUNDS = 100, 300, 3
ENOUGH = 0.9975  # of recall: further efforts say nothing
HELD = (100, 140, 200, 300, 500, 800, 1200)
LOOKED_AT = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
RE_RANKED = 8  # times K
SHARES = (0.5, 0.1, 0.01, 0.001)
LINKS, EF_CONSTRUCTION = 16, 100
_faiss: Any = faiss  # its type stubs do not know all of it


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of index of some vectors, and the efforts it is searched with."""

    name: str
    build: Callable[[], Callable[[Float32Array, int], Int64Array]]
    efforts: tuple[int, ...]


def kinds(flat: Any, vectors: Float32Array, scale: float) -> Iterable[Kind]:
    """List the kinds that stand beside a flat index of some vectors."""
    codes = codes_of(flat)

    def lists() -> Callable[[Float32Array, int], Int64Array]:
        near = Lists.build(flat)
        return lambda query, effort: near.search(query, K, effort)[1]

    def graph(*, even: bool) -> Callable[[Float32Array, int], Int64Array]:
        held = codes.astype(np.float32) / np.float32(scale)
        if even:
            squares = np.einsum("ij,ij->i", held, held)
            padding = np.zeros((len(held), 8), dtype=np.float32)
            padding[:, 0] = np.sqrt(squares.max() - squares)
            held = np.concatenate([held, padding], axis=1)
        metric = faiss.METRIC_L2 if even else faiss.METRIC_INNER_PRODUCT
        storage = faiss.IndexScalarQuantizer(held.shape[1], faiss.ScalarQuantizer.QT_fp16, metric)
        built = _faiss.IndexHNSW(storage, LINKS)
        built.hnsw.efConstruction = EF_CONSTRUCTION
        built.add(held)
        index = _faiss.IndexHNSW(flat, LINKS)  # the links, over the codes that are searched
        index.hnsw, index.ntotal = built.hnsw, flat.ntotal
        index.hnsw.is_similarity = True

        def search(query: Float32Array, effort: int) -> Int64Array:
            wanted = _faiss.SearchParametersHNSW()
            wanted.efSearch = effort
            return np.asarray(index.search(query, K, params=wanted)[1])

        return search

    def quantised() -> Callable[[Float32Array, int], Int64Array]:
        near = Lists.build(flat)
        coarse = near.index.quantizer
        index = _faiss.IndexIVFPQFastScan(coarse, flat.d, near.index.nlist, flat.d // 2, 4, faiss.METRIC_INNER_PRODUCT)
        index.by_residual = False
        index.train(codes[:100_000].astype(np.float32))
        index.add(codes.astype(np.float32))
        both = _faiss.IndexRefine(index, flat)
        both.k_factor = RE_RANKED

        def search(query: Float32Array, effort: int) -> Int64Array:
            index.nprobe = effort
            return np.asarray(both.search(query, K)[1])

        search.held = near  # type: ignore[attr-defined]  # it owns the centres
        return search

    yield Kind("ivf_fp16", lists, LOOKED_AT)
    yield Kind("ivf_pq, re-ranked", quantised, LOOKED_AT)
    yield Kind("hnsw_fp16", lambda: graph(even=False), HELD)
    yield Kind("hnsw_fp16, lengths made even", lambda: graph(even=True), HELD)


def measure(
    queries: Float32Array, exact: Int64Array, search: Callable[[Float32Array], Int64Array]
) -> tuple[float, float]:
    """Give the microseconds of one query, and the recall of all."""
    fastest, found = np.inf, []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        found = [search(query[None])[0] for query in queries]
        fastest = min(fastest, (time.perf_counter() - began) / len(queries))
    right = [len(np.intersect1d(one, wanted)) / K for one, wanted in zip(found, exact, strict=True)]
    return 1e6 * fastest, float(np.mean(right))


def masks(flat: Any, scale: float, queries: Float32Array) -> list[dict[str, float]]:
    """Measure the exact search of what a mask lets pass: as it is done here, and by FAISS's selectors."""
    exact, found = CpuFlat(flat, scale, threads=1), []
    for share in SHARES:
        alive = np.random.default_rng(0).random(flat.ntotal) < share
        mask, count = packed(alive), int(alive.sum())
        row: dict[str, float] = {"share": share, "rows": count}

        def ours(query: Float32Array, mask: Bitmap = mask, count: int = count) -> Int64Array:
            return exact.search(query, K, mask, count)[1]

        def by_selector(query: Float32Array, mask: Bitmap = mask) -> Int64Array:
            chosen = _faiss.SearchParameters(sel=_faiss.IDSelectorBitmap(mask))
            return np.asarray(flat.search(query, K, params=chosen)[1])

        expected = np.stack([ours(query[None])[0] for query in queries])
        for name, search in (("us", ours), ("selector_us", by_selector)):
            row[name] = measure(queries, expected, search)[0]
        found.append(row)
    return found


def bench(tracks: int, factors: Float32Array | None, graphs_up_to: int) -> dict[str, Any]:
    """Measure all kinds on one size of one kind of vectors."""
    with tempfile.TemporaryDirectory(prefix="anacrusis-kinds-") as folder:
        made = write_vectors(Path(folder), tracks, queries=QUERIES, factors=factors)
        vectors, queries, source = np.array(made.tracks), np.array(made.queries), made.source
    faiss.omp_set_num_threads(1)
    flat, scale = encode(lambda: [vectors], np.arange(tracks), vectors.shape[1], Metric.INNER_PRODUCT)
    exact = flat.search(queries, K)[1]
    flat_us, _ = measure(queries, exact, lambda query: flat.search(query, K)[1])
    found: list[dict[str, Any]] = [{"kind": "flat_fp16", "efforts": [{"us": flat_us, "recall": 1.0}]}]
    for kind in kinds(flat, vectors, scale):
        if kind.name.startswith("hnsw") and tracks > graphs_up_to:
            continue
        faiss.omp_set_num_threads(2)
        began = time.perf_counter()
        search = kind.build()
        build_s = time.perf_counter() - began
        faiss.omp_set_num_threads(1)
        rows: list[dict[str, Any]] = []
        for effort in kind.efforts:
            us, recall = measure(queries, exact, lambda query: search(query, effort))  # noqa: B023  # called at once
            rows.append({"effort": effort, "us": us, "recall": recall})
            print(f"{tracks} {source[:20]} {kind.name} {effort}: {us:.0f} us, recall {recall:.4f}")
            if recall >= ENOUGH:
                break
        reaching = [row for row in rows if row["recall"] >= 0.99]
        found.append({"kind": kind.name, "build_s": build_s, "at_0.99": reaching[:1], "efforts": rows})
    return {"tracks": tracks, "source": source, "kinds": found, "masks": masks(flat, scale, queries[:50])}


def main() -> None:
    """Measure, and write down what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--factors", type=Path)
    parser.add_argument("--tracks", type=int, action="append")
    parser.add_argument("--graphs-up-to", type=int, default=100_000, help="graphs of more tracks take hours to build")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    given = [read_factors(arguments.factors, id_column="track_id").vectors] if arguments.factors else []
    runs = [
        bench(tracks, factors, arguments.graphs_up_to)
        for tracks in arguments.tracks or [100_000]
        for factors in [*given, None]
    ]
    result = {"k": K, "queries": QUERIES, "links": LINKS, "ef_construction": EF_CONSTRUCTION, "runs": runs}
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
