"""How many threads a search splits its queries among, on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import faiss

Found = TypeVar("Found")

# Elements of vectors that a thread scans in about half a millisecond. Waking one takes a tenth of that, and several
# times as long where other processes use its core.
_WORTH_A_THREAD = 50_000 * 128


def set_search_threads(count: int) -> None:
    """Have the searches of the calling thread use so many threads.

    OpenMP keeps the number for each thread that calls, so it is set where the search runs.

    Parameters
    ----------
    count : int
        At most, 1 or more: a search of few queries and rows takes fewer; see `split`.
    """
    faiss.omp_set_num_threads(count)


def split(search: Callable[[], Found], queries: int, elements: float, at_most: int | None = None) -> Found:
    """Call a search of FAISS with as many threads as are worth it.

    FAISS splits the queries of a call and no single one: more threads than queries are woken, and waited for, to do
    nothing. Nor are those worth it that have less to do than it takes to wake them.

    Parameters
    ----------
    search : callable
    queries : int
        That it searches for.
    elements : float
        Of vectors that it looks at for each query.
    at_most : int, optional
        None: what was set for the calling thread, or OpenMP's own choice.
    """
    limit = faiss.omp_get_max_threads()
    threads = max(1, min(limit if at_most is None else at_most, queries, int(queries * elements / _WORTH_A_THREAD)))
    if threads == limit:
        return search()
    faiss.omp_set_num_threads(threads)
    try:
        return search()
    finally:
        faiss.omp_set_num_threads(limit)


def usable_threads() -> int:
    """Count the threads that OpenMP takes where nobody says otherwise: one a core, or what ``OMP_NUM_THREADS`` says."""
    return int(faiss.omp_get_max_threads())
