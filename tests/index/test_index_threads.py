"""How many threads a search takes."""

from __future__ import annotations

import threading

import faiss
import pytest

from index import set_search_threads
from index.threads import split


def threads_of(queries: int, elements: float, at_most: int | None = None, *, set_to: int = 4) -> tuple[int, int]:
    """Give with how many threads a search runs, and what is set for its thread afterwards."""
    found: list[int] = []

    def ask() -> None:
        set_search_threads(set_to)
        found.append(split(faiss.omp_get_max_threads, queries, elements, at_most))
        found.append(faiss.omp_get_max_threads())

    asking = threading.Thread(target=ask)  # what is set is set for a thread
    asking.start()
    asking.join()
    return found[0], found[1]


@pytest.mark.parametrize(
    ("queries", "elements", "at_most", "expected"),
    [
        (1, 1e9, None, 1),  # no single query is split
        (3, 1e9, None, 3),
        (100, 1e9, None, 4),
        (100, 1e9, 2, 2),
        (8, 5_000 * 128, None, 1),  # the lists of 100,000 rows: a few queries at once
        (256, 5_000 * 128, None, 4),
        (256, 0, None, 1),
    ],
)
def test_a_search_takes_the_threads_that_are_worth_it(
    queries: int, elements: float, at_most: int | None, expected: int
) -> None:
    assert threads_of(queries, elements, at_most) == (expected, 4)


def test_what_was_set_holds_after_a_search_that_failed() -> None:
    def fail() -> None:
        raise RuntimeError("no memory")

    before = faiss.omp_get_max_threads()
    with pytest.raises(RuntimeError, match="no memory"):
        split(fail, 1, 1, 7)
    assert faiss.omp_get_max_threads() == before
