"""One suite for approximate search: what is found holds its recall under every mask, and exact search stays exact."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from index.approximate import Approximate, Approximation
from index.backends import CpuFlat
from index.bases import UnusableIndexError
from index.codes import encode
from index.devices import gpu_count
from index.filters import packed
from index.gpu_lists import GpuLists
from index.lists import Lists
from index.tuning import HeldBack, Tuning, still_holds, tune
from index.types import Metric

ROWS, DIM, K = 12_000, 16, 50
NO_GPU = pytest.mark.skipif(gpu_count() == 0, reason="FAISS sees no GPU")


def clustered(seed: int, rows: int) -> np.ndarray:
    """Vectors in clusters, of different lengths."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(40, DIM))
    vectors = centres[rng.integers(0, len(centres), rows)] + 0.5 * rng.normal(size=(rows, DIM))
    return (vectors * rng.uniform(0.7, 1.3, size=(rows, 1))).astype(np.float32)


def flat_of(vectors: np.ndarray) -> tuple[object, float]:
    return encode(lambda: [vectors], np.arange(len(vectors)), DIM, Metric.INNER_PRODUCT)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return clustered(1, ROWS)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return clustered(2, 60)


@pytest.fixture(scope="module", params=["lists", pytest.param("gpu_lists", marks=[pytest.mark.gpu, NO_GPU])])
def backend(request, vectors) -> Iterator[Approximate]:
    flat, scale = flat_of(vectors)
    lists = Lists.build(flat)
    near: Approximation = GpuLists(lists) if request.param == "gpu_lists" else lists
    exact = CpuFlat(flat, scale, threads=1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(near), "cost", lambda near, effort: 0.01 * effort)  # else so few rows are all looked at
        held_back = HeldBack.of(exact, np.ones(ROWS, dtype=bool), clustered(3, 300), 200)
        tuning, _ = tune(exact, near, held_back, k=K)
        yield Approximate(exact, near, tuning, scale)


def recall(backend: Approximate, queries: np.ndarray, k: int, alive: np.ndarray | None = None) -> float:
    """Search, hold the answer against its contract, and give the share that exact search finds, too."""
    count = int(alive.sum()) if alive is not None else backend.count
    mask = packed(alive) if alive is not None else None
    scores, rows = backend.search(queries, k, mask, count)
    assert scores.shape == rows.shape == (len(queries), min(k, count))
    assert (scores[:, :-1] >= scores[:, 1:]).all()
    assert rows.min(initial=0) >= 0
    assert alive is None or alive[rows].all()
    assert all(len(set(row)) == len(row) for row in rows.tolist())
    own = np.einsum("qd,qkd->qk", queries, backend.vectors(rows.ravel()).reshape(*rows.shape, DIM))
    np.testing.assert_allclose(scores, own, rtol=1e-4, atol=1e-4)
    expected = backend.exact.search(queries, k, mask, count)[0]
    return float(np.mean(scores >= expected[:, -1:] - 1e-4))


def test_what_was_tuned_holds_for_other_queries(backend, queries):
    assert 0.99 <= backend.tuning.measured < 1.0  # a share of the rows is looked at, not all
    assert recall(backend, queries, K) >= 0.99


@pytest.mark.parametrize("k", [1, 10, 200, 1000, 2048])
def test_every_k(backend, queries, k):
    assert recall(backend, queries, k) >= 0.99


@pytest.mark.parametrize("share", [0.999, 0.5, 0.1, 0.01, 0.001])
def test_a_filter_costs_no_recall_at_any_selectivity(backend, queries, share):
    alive = np.random.default_rng(4).random(ROWS) < share
    assert recall(backend, queries, K, alive) >= 0.99


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_a_filter_that_lets_only_far_rows_pass_costs_no_recall(backend, vectors, queries, share):
    for query in queries[:10]:
        far = np.argsort(vectors @ query)[: int(share * ROWS)]
        alive = np.zeros(ROWS, dtype=bool)
        alive[far] = True
        assert recall(backend, query[None], K, alive) >= 0.99


def test_fewer_rows_than_asked_for_are_all_found(backend, queries):
    alive = np.zeros(ROWS, dtype=bool)
    alive[[3, 77, 11_000]] = True
    assert recall(backend, queries, K, alive) == 1.0


def test_exact_search_scan_and_vectors_read_the_codes_themselves(backend, vectors, queries):
    scores, rows = backend.exact.search(queries, K)
    expected = np.sort(queries @ backend.vectors(np.arange(ROWS)).T, axis=1)[:, ::-1][:, :K]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    np.testing.assert_allclose(backend.vectors(rows[0]), vectors[rows[0]], rtol=1e-3)
    some, weights = np.arange(0, ROWS, 7), np.ones(ROWS, dtype=np.float32)
    np.testing.assert_array_equal(
        backend.scan(queries, 5, some, weights)[1], backend.exact.scan(queries, 5, some, weights)[1]
    )


def test_a_batch_answers_as_its_queries_do_alone_in_many_threads(backend, queries):
    together = backend.search(queries, 20)[1]
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(lambda query: backend.search(query[None], 20)[1][0], queries))
    np.testing.assert_array_equal(together, np.stack(alone))


def test_no_queries(backend):
    assert backend.search(np.zeros((0, DIM), dtype=np.float32), 5)[0].shape == (0, 5)


# Building --------------------------------------------------------------------------------------------------------


def test_built_twice_it_is_the_same(queries):
    flat, _ = flat_of(clustered(5, 3000))
    one, other = (near.search(queries, K, 9) for near in (Lists.build(flat), Lists.build(flat)))
    np.testing.assert_array_equal(one[1], other[1])


def test_what_is_written_is_read(queries, tmp_path: Path):
    flat, _ = flat_of(clustered(5, 3000))
    near = Lists.build(flat)
    near.write(tmp_path / "near")
    read = Lists.read(tmp_path / "near", flat, 7)
    assert read.patched_rows == 7
    np.testing.assert_array_equal(read.search(queries, K, 9)[1], near.search(queries, K, 9)[1])


def test_what_is_none_of_its_files_is_refused(tmp_path: Path):
    flat, other = flat_of(clustered(5, 3000))[0], flat_of(clustered(5, 2999))[0]
    (tmp_path / "damaged").write_bytes(b"none of ours")
    with pytest.raises(UnusableIndexError):
        Lists.read(tmp_path / "damaged", flat, 0)
    Lists.build(other).write(tmp_path / "other")
    with pytest.raises(UnusableIndexError, match="of another index"):
        Lists.read(tmp_path / "other", flat, 0)


def test_patched_again_and_again_it_finds_what_a_built_one_finds(queries):
    rng = np.random.default_rng(6)
    vectors = clustered(5, 3000)
    near = Lists.build(flat_of(vectors)[0])
    for turn in range(4):
        kept = np.sort(rng.permutation(len(vectors))[: len(vectors) - 30])  # some go,
        kept = np.insert(kept, rng.integers(0, len(kept), 40), -1)  # some come,
        kept[rng.permutation(len(kept))[:30]] = -1  # some have another vector
        new = clustered(100 + turn, len(kept))
        vectors = np.where(kept[:, None] >= 0, vectors[kept], new)
        flat, scale = flat_of(vectors)
        near = near.patch(flat, kept)
        exact = CpuFlat(flat, scale).search(queries, K)[0]
        scores = near.search(queries, K, near.most_effort)[0] / scale
        assert np.mean(scores >= exact[:, -1:] - 1e-4) >= 0.99
    assert 0 < near.patched_rows < 400
    everything = near.patch(flat, np.full(len(vectors), -1))
    assert everything.patched_rows == 0  # too much is new: built from all


# Tuning ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tunable(vectors) -> tuple[CpuFlat, Lists, HeldBack]:
    flat, scale = flat_of(vectors)
    exact = CpuFlat(flat, scale, threads=1)
    return exact, Lists.build(flat), HeldBack.of(exact, np.arange(ROWS) % 2 == 0, clustered(3, 300), 100)


def test_held_back_queries_are_tracks_of_those_that_may_be_and_listeners(tunable):
    exact, _, held_back = tunable
    assert (held_back.own[:100] % 2 == 0).all()
    assert (held_back.own[100:] == -1).all()
    assert len(held_back.own) == len(held_back.vectors) == 200
    np.testing.assert_array_equal(held_back.vectors[:100], exact.vectors(held_back.own[:100]))


def test_the_smallest_effort_that_reaches_the_recall_is_chosen(tunable):
    exact, near, held_back = tunable
    low, tried = tune(exact, near, held_back, recall=0.8, k=K)
    high, _ = tune(exact, near, held_back, recall=0.97, k=K)
    assert low.effort < high.effort
    assert low.measured >= 0.8
    assert high.measured >= 0.97
    reaching = {one.effort: one.reaches for one in tried}
    assert reaching[low.effort]
    assert not any(reaches for effort, reaches in reaching.items() if effort < low.effort)
    assert [one.effort for one in tried] == sorted(reaching)


def test_where_no_effort_is_worth_it_every_row_is_looked_at(tunable, monkeypatch, queries):
    exact, near, held_back = tunable
    monkeypatch.setattr(Lists, "cost", lambda near, effort: 1e9)
    tuning, tried = tune(exact, near, held_back, recall=0.99, k=K)
    assert not tried
    backend = Approximate(exact, near, tuning, exact.scale)
    np.testing.assert_array_equal(backend.search(queries, K)[1], exact.search(queries, K)[1])


def test_a_tuning_is_carried_on_where_it_still_holds(tunable):
    exact, near, held_back = tunable
    good, _ = tune(exact, near, held_back, recall=0.9, k=K)
    carried = still_holds(exact, near, held_back, good)
    assert carried is not None
    assert (carried.effort, carried.recall, carried.k) == (good.effort, 0.9, K)
    assert still_holds(exact, near, held_back, Tuning(0.99, K, 1, 0.99, 10)) is None
    assert still_holds(exact, near, held_back, Tuning(0.99, ROWS, 5, 0.99, 10)) is None


def test_a_tuning_is_written_and_read():
    tuning = Tuning(0.99, 100, 37, 0.9931, 400)
    assert Tuning.from_json(tuning.to_json()) == tuning
    for damaged in (b"", b"[]", b"{}", tuning.to_json().replace(b"37", b"0"), tuning.to_json().replace(b"1\n", b"9\n")):
        with pytest.raises(UnusableIndexError):
            Tuning.from_json(damaged)


def test_the_effort_grows_with_what_is_asked_for_as_was_measured(tunable):
    exact, near, held_back = tunable
    tuning, _ = tune(exact, near, held_back, recall=0.9, k=10)
    assert 0.0 <= tuning.growth <= 1.0
    assert tuning.effort_for(1) == tuning.effort_for(10) == tuning.effort
    plain = Tuning(0.9, 10, 8, 0.95, 100, growth=0.5)
    assert [plain.effort_for(k) for k in (10, 40, 80)] == [8, 16, 32]
