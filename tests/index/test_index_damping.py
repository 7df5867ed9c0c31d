"""Damped popularity against the plainest possible search, and what a caller may count on at 0, at 1 and between."""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_oracle import OracleRow, oracle_search, served, whole_vectors
from test_index_search import DIM, FILTERS, IDS, make_base, track_records

from index import InvalidQueryError, Metric, Searcher, SpaceRecord, Tier, TrackRecord, WriteBatch, build_snapshot
from index import damping as damping_module
from index.answers import Request, answer
from index.damping import DampedSearch, Lengths
from index.state import SearchState

MANY = [f"t{number:03d}" for number in range(150)]
DAMPINGS = st.sampled_from([1.0, 0.5, 0.125]) | st.floats(0.01, 1.0)


@dataclass
class World:
    """A state, what it shows, and the mean length of its snapshot's vectors."""

    state: SearchState
    shown: dict[str, OracleRow]
    mean_length: float


@st.composite
def worlds(draw) -> World:
    """Up to 150 tracks of lengths with heavy tails and some of none, a few of them fresh, superseded or withdrawn."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    kinds = [draw(track_records("any")) for _ in range(4)]

    def row(track_id: str) -> OracleRow:
        # Whole numbers times powers of two, so that inner products are exact.
        vector = (
            whole_vectors(rng, 1, DIM)[0] * np.float32(2.0 ** rng.integers(-6, 1)) * np.float32(rng.random() < 0.95)
        )
        kind = kinds[int(rng.integers(len(kinds)))]
        track = TrackRecord(track_id, "", kind.artist_ids, kind.roles, kind.release_date, markets=kind.markets)
        return OracleRow(vector, Tier(int(rng.integers(1, 4))), 0.5, track)

    ids = MANY[: draw(st.sampled_from([0, 5, 40, 150]))]
    base = {track_id: row(track_id) for track_id in ids}
    few = draw(st.integers(0, 4))
    fresh = {track_id: row(track_id) for track_id in [*ids[:few], *(f"f{number}" for number in range(few))]}
    gone = frozenset(ids[few : 2 * few])
    lengths = [float(np.linalg.norm(one.vector.astype(np.float64))) for one in base.values()]
    state = SearchState.of(make_base(base, Metric.INNER_PRODUCT)).updated(
        vectors={track_id: (served(track_id, one.vector, one.tier), 11) for track_id, one in fresh.items()},
        tracks={track_id: (one.track, 11) for track_id, one in fresh.items()},
        withdrawn=gone,
        find_tracks=lambda ids: {},
    )
    shown = {track_id: one for track_id, one in (base | fresh).items() if track_id not in gone}
    return World(state, shown, float(np.mean(lengths)) if any(lengths) else 1.0)


@settings(max_examples=80, deadline=None)
@given(
    world=worlds(),
    damping=DAMPINGS,
    extra=st.sampled_from([0, 1, 7, 1024]),
    k=st.integers(1, 40),
    filters=st.none() | FILTERS,
    exclude=st.none() | st.sets(st.sampled_from([*MANY[:20], "f0"]), max_size=5),
    cap=st.none() | st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_every_damped_answer_equals_the_oracles(world, damping, extra, k, filters, exclude, cap, seed):
    queries = whole_vectors(np.random.default_rng(seed), 4, DIM)
    queries[3] = 0.0
    request = Request(k, filters, None if exclude is None else [exclude] * 4, cap, damping)
    with pytest.MonkeyPatch.context() as patched:
        # So few rows are fetched that the others have to be ruled out, or looked at.
        patched.setattr(damping_module, "_EXTRA", extra)
        hits = answer(world.state, queries, request)
    for query, found in zip(queries, hits, strict=True):
        expected = oracle_search(
            world.shown,
            query,
            k,
            filters=filters,
            exclude=exclude or (),
            max_per_artist=cap,
            damping=damping,
            mean_length=world.mean_length,
        )
        assert list(zip(found.track_ids, found.scores.tolist(), strict=True)) == expected


@settings(max_examples=60, deadline=None)
@given(world=worlds(), k=st.integers(1, 40), seed=st.integers(0, 1000))
def test_no_damping_changes_nothing(world, k, seed):
    queries = np.random.default_rng(seed).normal(size=(3, DIM)).astype(np.float32)
    for plain, none in zip(
        answer(world.state, queries, Request(k)),
        answer(world.state, queries, Request(k, None, None, None, 0.0)),
        strict=True,
    ):
        assert plain.track_ids == none.track_ids
        assert plain.scores.tobytes() == none.scores.tobytes()


@pytest.fixture
def long_tailed(store, space):
    """The searcher of a space in which a track's length has nothing to do with its direction."""
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(400, 8)).astype(np.float32) * rng.lognormal(0, 1.5, size=(400, 1)).astype(np.float32)
    store.create_space(SpaceRecord("tail", 8), [f"t{i:03d}" for i in range(400)], vectors)
    store.publish(build_snapshot(store, "tail").snapshot_id)
    with Searcher.open(store, device="cpu", threads=1) as searcher:
        yield searcher, vectors


def test_full_damping_ranks_by_cosine(long_tailed):
    searcher, vectors = long_tailed
    query = np.random.default_rng(1).normal(size=(1, 8)).astype(np.float32)
    cosines = vectors @ query[0] / np.linalg.norm(vectors, axis=1)
    hits = searcher.search(query, 30, popularity_damping=1.0)[0]
    order = np.argsort(-cosines)[:30]
    assert hits.track_ids == [f"t{i:03d}" for i in order]
    mean = np.linalg.norm(vectors, axis=1).mean()
    np.testing.assert_allclose(hits.scores, cosines[order] * mean, rtol=2e-3)  # the index rounds to float16


def test_the_more_damping_the_nearer_in_direction_and_the_less_popular(long_tailed):
    """The best track's cosine never falls and its inner product never rises; all 20 become shorter on the whole."""
    searcher, vectors = long_tailed
    queries = np.random.default_rng(2).normal(size=(20, 8)).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1)
    inner = queries @ vectors.T
    best, mean_length = [], []
    for damping in np.linspace(0, 1, 11):
        found = searcher.search(queries, 20, popularity_damping=damping)
        rows = np.array([[int(track_id[1:]) for track_id in hits.track_ids] for hits in found])
        best.append(rows[:, 0])
        mean_length.append(lengths[rows].mean())
    rising = np.array([inner[np.arange(20), rows] / lengths[rows] for rows in best])
    falling = np.array([inner[np.arange(20), rows] for rows in best])
    assert (np.diff(rising, axis=0) >= -1e-3).all()
    assert (np.diff(falling, axis=0) <= 1e-3).all()
    assert mean_length[10] < mean_length[5] < mean_length[0], mean_length


def test_what_cannot_be_in_the_answer_is_not_looked_at(monkeypatch):
    """A track that is long enough to win by its length is fetched; the short ones are ruled out by their weights."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(5000, 16)).astype(np.float32)
    vectors *= (1 + rng.random((5000, 1)).astype(np.float32)) / np.linalg.norm(vectors, axis=1, keepdims=True)
    looked_at = []

    class Counting:
        device, count, dim = "cpu", 5000, 16

        def vectors(self, rows):
            return vectors[rows]

        def search(self, queries, k, alive=None, alive_count=None):
            scores = queries @ vectors.T
            rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            return np.take_along_axis(scores, rows, axis=1), rows

        def scan(self, queries, k, rows, weights):
            looked_at.append(len(rows))
            scores = queries @ vectors[rows].T * weights[rows]
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            return np.take_along_axis(scores, order, axis=1), rows[order]

    backend = Counting()
    codes = faiss.IndexScalarQuantizer(16, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    codes.add(vectors)
    search = DampedSearch(backend, Lengths.of(codes, 1.0), 0.9)
    search.search(vectors[:1], 10)
    assert looked_at == []
    monkeypatch.setattr(damping_module, "_EXTRA", 50)
    search.search(vectors[:1], 10)
    assert 0 < looked_at[0] < 2500, looked_at


@pytest.mark.parametrize("damping", [-0.1, 1.1, float("nan"), float("inf"), True, "0.5", None])
def test_what_is_no_share_is_refused(searcher, damping):
    with pytest.raises(InvalidQueryError, match="use 0") as caught:
        searcher.search(np.ones((1, 8)), 3, popularity_damping=damping)
    assert caught.value.reason == "QUERY_INVALID"
    assert caught.value.field == "popularity_damping"


def test_a_cosine_space_has_no_use_for_it(store):
    store.create_space(SpaceRecord("cos", 2, Metric.COSINE), ["a", "b"], np.eye(2, dtype=np.float32))
    store.publish(build_snapshot(store, "cos").snapshot_id)
    with Searcher.open(store, device="cpu") as searcher:
        assert searcher.search(np.ones((1, 2)), 1, popularity_damping=0)[0].track_ids == ["a"]
        with pytest.raises(InvalidQueryError, match="'cos' compares by cosine") as caught:
            searcher.search(np.ones((1, 2)), 1, popularity_damping=0.5)
    assert caught.value.field == "popularity_damping"


def test_lengths_at_the_edge_of_float32_give_finite_scores(store):
    vectors = np.array([[1e15, 1e15], [1e-20, 0], [0, 0], [1, 0]], dtype=np.float32)
    store.create_space(SpaceRecord("edge", 2), ["huge", "tiny", "none", "one"], vectors)
    store.publish(build_snapshot(store, "edge").snapshot_id)
    with Searcher.open(store, device="cpu") as searcher:
        store.commit(WriteBatch(fresh={"edge": [served("fresh", np.array([1e-38, 0])), served("zero", np.zeros(2))]}))
        for damping in (0.5, 1.0):
            hits = searcher.search(np.array([[1e15, 1e15], [1, -1]]), 10, popularity_damping=damping)
            assert all(np.isfinite(one.scores).all() and len(one) == 6 for one in hits)


def test_the_fetched_share_of_a_small_base_is_all_of_it():
    rng = np.random.default_rng(0)
    rows = {i: OracleRow(whole_vectors(rng, 1, DIM)[0], Tier.COLLABORATIVE, 1.0, TrackRecord(i)) for i in IDS}
    base = make_base(rows, Metric.INNER_PRODUCT)
    assert base.lengths is not None
    scores, found = DampedSearch(base.backend, base.lengths, 0.5).search(np.ones((2, DIM), dtype=np.float32), 100)
    assert scores.shape == found.shape == (2, len(IDS))
