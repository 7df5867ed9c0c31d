"""How many threads a search splits its queries among, on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import faiss
import numpy as np

from index.types import Float32Array, Int64Array

PieceSearch = Callable[[Float32Array], tuple[Float32Array, Int64Array]]

# Elements of vectors that a thread scans in about half a millisecond. Waking one takes a tenth of that, and several
# times as long where other processes use its core.
_WORTH_A_THREAD = 50_000 * 128
# Queries of a piece: enough that what surrounds FAISS in a call of it is little, and few enough that no thread waits
# long for the last.
_PIECE = 64


def set_search_threads(count: int) -> None:
    """Have the searches of the calling thread use so many threads.

    OpenMP keeps the number for each thread that calls, so it is set where the search runs.

    Parameters
    ----------
    count : int
        At most, 1 or more: a search of few queries and rows takes fewer; see `split`.
    """
    faiss.omp_set_num_threads(count)


def split(
    search: PieceSearch, queries: Float32Array, elements: float, at_most: int | None = None
) -> tuple[Float32Array, Int64Array]:
    """Call a search of FAISS with as many threads as are worth it.

    FAISS splits the queries of a call and no single one: more threads than queries are woken, and waited for, to do
    nothing. Nor are those worth it that have less to do than it takes to wake them.

    Many queries are not left to FAISS, which deals them out to its threads before it begins, and waits for the last:
    of threads of our own each takes the next piece when it has done one, so that a core which others use, too, does
    less.

    Parameters
    ----------
    search : callable
        Of some of the queries: their scores and rows, one row a query.
    queries : ndarray of float32, shape (q, dim)
    elements : float
        Of vectors that it looks at for each query.
    at_most : int, optional
        None: what was set for the calling thread, or OpenMP's own choice.

    Returns
    -------
    (scores, rows) : ndarray of float32 and of int64, shape (q, k)
        What `search` found of all queries.
    """
    limit = faiss.omp_get_max_threads()
    worth = int(len(queries) * elements / _WORTH_A_THREAD)
    threads = max(1, min(limit if at_most is None else at_most, len(queries), worth))
    in_pieces = threads > 1 and len(queries) >= threads * _PIECE
    faiss.omp_set_num_threads(1 if in_pieces else threads)
    try:
        return _in_pieces(search, queries, threads) if in_pieces else search(queries)
    finally:
        faiss.omp_set_num_threads(limit)


def _in_pieces(search: PieceSearch, queries: Float32Array, threads: int) -> tuple[Float32Array, Int64Array]:
    starts = range(0, len(queries), _PIECE)
    pieces = iter(starts)  # a step of it is one of the interpreter's: no two threads take the same
    found: dict[int, tuple[Float32Array, Int64Array]] = {}

    def work() -> None:
        for start in pieces:
            found[start] = search(queries[start : start + _PIECE])

    others = [_pool(threads - 1).submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        for other in others:
            if not other.cancel():  # cancelled: it has not begun, and there is nothing left to do
                other.result()
    scores, rows = zip(*(found[start] for start in starts), strict=True)
    return np.concatenate(scores), np.concatenate(rows)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "search-pieces", initializer=faiss.omp_set_num_threads, initargs=(1,))


def usable_threads() -> int:
    """Count the threads that OpenMP takes where nobody says otherwise: one a core, or what ``OMP_NUM_THREADS`` says."""
    return int(faiss.omp_get_max_threads())
