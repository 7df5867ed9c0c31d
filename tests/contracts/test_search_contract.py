"""One suite for every search backend, beside an exact one; whole-numbered vectors, so that scores are exact."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pytest

from index.approximate import Approximate
from index.backends import Backend, CpuFlat
from index.devices import gpu_count
from index.filters import packed, unpacked
from index.gpu_flat import GpuFlat
from index.lists import Lists
from index.tuning import Tuning

DIM = 16


class ExactBackend:
    """Sorts all inner products in float64."""

    device = "exact"

    def __init__(self, vectors: np.ndarray) -> None:
        self._vectors = vectors
        self.count, self.dim = vectors.shape

    def search(self, queries, k, alive=None, alive_count=None):
        rows = np.arange(self.count) if alive is None else np.flatnonzero(unpacked(alive, self.count))
        scores = queries.astype(np.float64) @ self._vectors[rows].T.astype(np.float64)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, axis=1).astype(np.float32), rows[order].astype(np.int64)

    def scan(self, queries, k, rows, weights):
        scores = queries.astype(np.float64) @ self._vectors[rows].T.astype(np.float64) * weights[rows]
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, axis=1).astype(np.float32), rows[order].astype(np.int64)

    @property
    def exact(self):
        return self

    def vectors(self, rows):
        return self._vectors[rows]

    def close(self) -> None:
        pass


def faiss_index(vectors: np.ndarray, scale: float) -> faiss.Index:
    index = faiss.IndexScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    if len(vectors):
        index.add(vectors * np.float32(scale))
    return index


def cpu(vectors: np.ndarray) -> Backend:
    return CpuFlat(faiss_index(vectors, 64.0), 64.0, threads=2)


def lists(vectors: np.ndarray) -> Backend:
    """An approximate index where looking at all rows costs less: then it has the whole contract."""
    index = faiss_index(vectors, 64.0)
    if not len(vectors):
        return cpu(vectors)  # of no rows there are no lists
    return Approximate(
        CpuFlat(index, 64.0, threads=2), Lists.build(index), Tuning(0.99, 100, len(vectors), 0.99, 100), 64.0
    )


def gpu(vectors: np.ndarray) -> Backend:
    return GpuFlat(faiss_index(vectors, 64.0), 64.0)


class IgnorantIndex:
    """Behaves as FAISS's classic GPU indexes do: no selectors, no k beyond 2,048, one thread only."""

    def __init__(self, index: faiss.Index) -> None:
        self._index = index
        self._thread = threading.get_ident()

    def search(self, queries, k):
        assert k <= 2048
        assert threading.get_ident() == self._thread
        return self._index.search(queries, k)

    def reset(self) -> None:
        assert threading.get_ident() == self._thread


def imitated_gpu(vectors: np.ndarray) -> Backend:
    class Imitated(GpuFlat):
        def _upload(self, index, number):
            return IgnorantIndex(index)

    return Imitated(faiss_index(vectors, 64.0), 64.0)


NO_GPU = pytest.mark.skipif(gpu_count() == 0, reason="FAISS sees no GPU")


@pytest.fixture(params=["exact", "cpu", "lists", "imitated_gpu", pytest.param("gpu", marks=[pytest.mark.gpu, NO_GPU])])
def build(request, monkeypatch) -> Iterator[Callable[[np.ndarray], Backend]]:
    makers = {"exact": ExactBackend, "cpu": cpu, "lists": lists, "imitated_gpu": imitated_gpu, "gpu": gpu}
    made: list[Backend] = []

    def make(vectors: np.ndarray) -> Backend:
        made.append(makers[request.param](vectors))
        return made[-1]

    with ThreadPoolExecutor(1) as owner:
        if request.param == "imitated_gpu":
            monkeypatch.setattr("index.gpu_flat.gpu_resources", lambda number: (owner, None))
        yield make
        for backend in made:
            backend.close()


def whole(seed: int, n: int, dim: int = DIM) -> np.ndarray:
    return np.random.default_rng(seed).integers(-8, 9, size=(n, dim)).astype(np.float32)


def check(backend: Backend, vectors: np.ndarray, queries: np.ndarray, k: int, alive: np.ndarray | None) -> None:
    mask = np.ones(len(vectors), dtype=bool) if alive is None else alive
    count = int(mask.sum())
    scores, rows = backend.search(queries, k, None if alive is None else packed(alive), count)
    assert scores.shape == rows.shape == (len(queries), min(k, count))
    assert scores.dtype == np.float32
    assert rows.dtype == np.int64
    every = queries @ vectors.T
    for query in range(len(queries)):
        expected = np.sort(every[query][mask])[::-1][:k]
        np.testing.assert_array_equal(scores[query], expected)
        np.testing.assert_array_equal(every[query][rows[query]], expected)  # each row has the score it came with
        assert mask[rows[query]].all()
        assert len(set(rows[query].tolist())) == len(rows[query])


def test_each_direction_finds_itself(build):
    vectors = np.eye(DIM, dtype=np.float32)
    scores, rows = build(vectors).search(vectors, 1)
    assert rows[:, 0].tolist() == list(range(DIM))
    assert scores[:, 0].tolist() == [1.0] * DIM


@pytest.mark.parametrize("k", [1, 7, 300, 2048, 2049, 9000])
@pytest.mark.parametrize("queries", [1, 5])
def test_every_k(build, k, queries):
    vectors = whole(1, 3000)
    check(build(vectors), vectors, whole(2, queries), k, None)


@pytest.mark.parametrize("alive_share", [0.0003, 0.01, 0.3, 0.9, 0.9997, 1.0])
@pytest.mark.parametrize("k", [1, 50, 3000])
def test_a_mask_costs_no_recall(build, alive_share, k):
    vectors = whole(3, 3001)
    alive = np.random.default_rng(4).random(len(vectors)) < alive_share
    alive[17] = True
    check(build(vectors), vectors, whole(5, 3), k, alive)


def test_a_mask_over_the_best_rows(build):
    vectors = whole(6, 4000)
    queries = whole(7, 2)
    alive = np.ones(len(vectors), dtype=bool)
    alive[np.argsort(-(queries @ vectors.T).max(axis=0))[:1500]] = False
    check(build(vectors), vectors, queries, 100, alive)


def test_large_masked_sets_go_through_the_selector(build):
    vectors = whole(8, 50_000, 4)
    alive = np.arange(len(vectors)) % 3 > 0
    check(build(vectors), vectors, whole(9, 2, 4), 10, alive)


@pytest.mark.parametrize("k", [1, 3, 40, 2000])
def test_ties_go_to_the_lower_rows_also_where_k_cuts_them(build, k):
    vectors = np.random.default_rng(1).integers(0, 2, size=(9000, 3)).astype(np.float32)
    queries = np.array([[1, 0, 0], [1, 2, 4], [0, 0, 0]], dtype=np.float32)
    alive = np.arange(len(vectors)) % 7 > 0
    backend, exact = build(vectors), ExactBackend(vectors)
    for mask, count in ((None, None), (packed(alive), int(alive.sum()))):
        scores, rows = backend.search(queries, k, mask, count)
        expected = exact.search(queries, k, mask, count)
        np.testing.assert_array_equal(scores, expected[0])
        np.testing.assert_array_equal(rows, expected[1])


@pytest.mark.parametrize("k", [1, 40, 3000])
@pytest.mark.parametrize("chosen", [1, 300, 9000])
def test_a_weighted_scan_looks_at_each_of_the_rows(build, monkeypatch, k, chosen):
    monkeypatch.setattr("index.backends._SCAN_SCORES", 10_000)  # queries go in several parts
    rng = np.random.default_rng(14)
    vectors, queries = whole(15, 9000), whole(16, 5)
    rows = np.sort(rng.permutation(len(vectors))[:chosen])
    weights = (2.0 ** rng.integers(-3, 4, size=len(vectors))).astype(np.float32)
    weights[rows[: chosen // 10]] = 0.0
    scores, found = build(vectors).scan(queries, k, rows, weights)
    expected = ExactBackend(vectors).scan(queries, k, rows, weights)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, expected[0])
    np.testing.assert_array_equal(found, expected[1])


def test_nothing_alive(build):
    backend = build(whole(8, 20))
    scores, rows = backend.search(whole(9, 2), 5, packed(np.zeros(20, dtype=bool)), 0)
    assert scores.shape == rows.shape == (2, 0)


def test_no_rows_and_no_queries(build):
    scores, rows = build(np.zeros((0, DIM), dtype=np.float32)).search(whole(9, 2), 5)
    assert scores.shape == rows.shape == (2, 0)
    scores, _ = build(whole(8, 20)).search(whole(9, 0), 5)
    assert scores.shape[0] == 0


def test_a_batch_answers_as_its_queries_do_alone(build):
    backend = build(whole(10, 500))
    queries = whole(11, 40)
    together = backend.search(queries, 20)
    alone = [backend.search(queries[i : i + 1], 20) for i in range(len(queries))]
    np.testing.assert_array_equal(together[0], np.concatenate([scores for scores, _ in alone]))
    np.testing.assert_array_equal(together[1], np.concatenate([rows for _, rows in alone]))


def test_vectors_come_back(build):
    vectors = whole(12, 30)
    rows = np.array([3, 0, 29, 3])
    np.testing.assert_array_equal(build(vectors).vectors(rows), vectors[rows])


def test_many_threads(build):
    vectors = whole(13, 2000)
    backend = build(vectors)
    alive = np.random.default_rng(0).random(len(vectors)) < 0.5

    def work(seed: int) -> None:
        check(backend, vectors, whole(seed, 2), 30, alive if seed % 2 else None)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
