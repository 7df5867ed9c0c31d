"""How many threads a search splits its queries among, on the CPU."""

from __future__ import annotations

import faiss


def set_search_threads(count: int) -> None:
    """Have the searches of the calling thread use so many threads.

    OpenMP keeps the number for each thread that calls, so it is set where the search runs.

    Parameters
    ----------
    count : int
        1 or more. FAISS splits the queries of a call and no single one: more threads than queries are woken, and waited
        for, to do nothing.
    """
    faiss.omp_set_num_threads(count)


def usable_threads() -> int:
    """Count the threads that OpenMP takes where nobody says otherwise: one a core, or what ``OMP_NUM_THREADS`` says."""
    return int(faiss.omp_get_max_threads())
