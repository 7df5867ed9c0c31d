"""How many threads a search takes, and what it makes of many queries."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pytest

from index import set_search_threads
from index.threads import split
from index.types import Float32Array, Int64Array


@pytest.fixture
def asking() -> Iterator[ThreadPoolExecutor]:
    """A thread that asks, of four: what is set is set for a thread."""
    with ThreadPoolExecutor(1, initializer=set_search_threads, initargs=(4,)) as thread:
        yield thread


class Noting:
    """A search that notes who does how much of it, with how many threads of FAISS; it finds the queries themselves."""

    def __init__(self, *, at_once: int = 1) -> None:
        self.asked: list[tuple[int, int, int]] = []  # thread, queries, threads of FAISS
        self._begin = threading.Barrier(at_once)

    def __call__(self, queries: Float32Array) -> tuple[Float32Array, Int64Array]:
        self.asked.append((threading.get_ident(), len(queries), faiss.omp_get_max_threads()))
        if len(self.asked) <= self._begin.parties:
            self._begin.wait(10)
        return queries, queries.astype(np.int64)

    @property
    def threads(self) -> int:
        return max(len({thread for thread, _, _ in self.asked}), *(count for _, _, count in self.asked))


def numbered(queries: int) -> Float32Array:
    return np.arange(queries, dtype=np.float32)[:, None]


@pytest.mark.parametrize(
    ("queries", "elements", "at_most", "expected"),
    [
        (1, 1e9, None, 1),  # no single query is split
        (3, 1e9, None, 3),
        (100, 1e9, None, 4),
        (100, 1e9, 2, 2),
        (8, 5_000 * 128, None, 1),  # the lists of 100,000 rows: a few queries at once
        (256, 0, None, 1),
    ],
)
def test_a_search_takes_the_threads_that_are_worth_it(
    asking: ThreadPoolExecutor, queries: int, elements: float, at_most: int | None, expected: int
) -> None:
    search = Noting()
    asking.submit(split, search, numbered(queries), elements, at_most).result()
    assert search.threads == expected
    assert asking.submit(faiss.omp_get_max_threads).result() == 4


@pytest.mark.parametrize("at_most", [2, 4])
def test_many_queries_are_shared_out_in_pieces_and_come_back_in_order(asking: ThreadPoolExecutor, at_most: int) -> None:
    search = Noting(at_once=at_most)
    scores, rows = asking.submit(split, search, numbered(1000), 5_000 * 128, at_most).result()
    assert search.threads == at_most
    assert {threads for _, _, threads in search.asked} == {1}
    assert sum(count for _, count, _ in search.asked) == 1000
    assert scores[:, 0].tolist() == rows[:, 0].tolist() == list(range(1000))


def test_what_was_set_holds_after_a_search_that_failed(asking: ThreadPoolExecutor) -> None:
    def fail(queries: Float32Array) -> tuple[Float32Array, Int64Array]:
        raise RuntimeError("no memory")

    for queries in (1, 1000):
        with pytest.raises(RuntimeError, match="no memory"):
            asking.submit(split, fail, numbered(queries), 1e9).result()
        assert asking.submit(faiss.omp_get_max_threads).result() == 4
