"""The search against the plainest possible one, and what it refuses."""

from __future__ import annotations

import faiss
import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from search_oracle import OracleRow, day, oracle_search, served, whole_vectors

from index import (
    Filters,
    Metric,
    SnapshotRecord,
    SpaceRecord,
    Tier,
    TrackRecord,
)
from index.answers import Request, answer
from index.backends import CpuFlat
from index.codes import unit
from index.damping import Lengths
from index.filters import CompiledFilters
from index.rows import Vocabulary, aligned_columns
from index.schemas import tracks_table
from index.state import Base, SearchState

DIM = 4
ARTISTS = ["ann", "ben", "cat"]
MARKETS = ["DE", "FR"]
IDS = [f"t{i:02d}" for i in range(24)]


@st.composite
def track_records(draw, track_id: str) -> TrackRecord:
    artists = tuple(draw(st.permutations(ARTISTS))[: draw(st.integers(0, 3))])
    roles = tuple(draw(st.sampled_from(["primary", "featured"])) for _ in artists) if draw(st.booleans()) else ()
    markets = tuple(draw(st.sets(st.sampled_from(MARKETS))))
    released = draw(st.none() | st.integers(0, 9).map(day))
    return TrackRecord(track_id, "", artists, roles, released, markets=markets)


FILTERS = st.builds(
    Filters,
    released_from=st.none() | st.integers(0, 4).map(day),
    released_to=st.none() | st.integers(4, 9).map(day),
    artists_in=st.frozensets(st.sampled_from([*ARTISTS[:2], "nobody"]), max_size=2),
    artists_out=st.frozensets(st.sampled_from(ARTISTS[2:]), max_size=1),
    tiers=st.frozensets(st.sampled_from(list(Tier)), max_size=2),
    market=st.none() | st.sampled_from(MARKETS),
)


def make_base(rows: dict[str, OracleRow], metric: Metric, *, copies: int = 1) -> Base:
    """Put rows into a base without a store; tracks table in another order than the index."""
    ids = sorted(rows)
    vectors = np.array([rows[track_id].vector for track_id in ids], dtype=np.float32).reshape(-1, DIM)
    if metric is Metric.COSINE:
        vectors = unit(vectors)
    index = faiss.IndexScalarQuantizer(DIM, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    if ids:
        index.add(vectors * np.float32(1024))
    artists, markets = Vocabulary(), Vocabulary()
    tracks = tracks_table([rows[track_id].track for track_id in reversed(ids)])
    columns = aligned_columns(
        pa.array(ids, pa.string()),
        np.array([rows[i].tier for i in ids], dtype=np.int8),
        np.array([rows[i].confidence for i in ids], dtype=np.float32),
        np.full((len(ids), 3), np.nan, dtype=np.float32),
        tracks,
        artists,
        markets,
    )
    snapshot = SnapshotRecord("snap", "als", 1, 10, "flat_fp16", len(ids), "", day(0))
    space = SpaceRecord("als", DIM, metric)
    compiled = CompiledFilters(columns, artists, markets)
    backend = CpuFlat(index, 1024.0, threads=1)
    lengths = Lengths.of(index, 1024.0) if metric is Metric.INNER_PRODUCT else None
    return Base(space, snapshot, backend, pa.array(ids, pa.string()), columns, compiled, artists, markets, 10, lengths)


@st.composite
def histories(draw) -> tuple[SearchState, dict[str, OracleRow], Metric]:
    """A state after some updates, and what it should show."""
    metric = draw(st.sampled_from(list(Metric)))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))

    def row(track_id: str) -> OracleRow:
        vector = whole_vectors(rng, 1, DIM)[0]
        if metric is Metric.COSINE:
            # Only axes: of unit length these are exact in float16.
            vector = np.eye(DIM, dtype=np.float32)[rng.integers(DIM)] * np.float32(rng.choice([-2.0, 1.0, 4.0]))
        return OracleRow(vector, Tier(int(rng.integers(1, 4))), 0.5, draw(track_records(track_id)))

    shown = {track_id: row(track_id) for track_id in draw(st.lists(st.sampled_from(IDS), unique=True))}
    base = make_base(shown, metric)
    state = SearchState.of(base)
    withdrawn: set[str] = set()
    version = 10
    for _ in range(draw(st.integers(0, 4))):
        version += 1
        vectors, tracks = {}, {}
        for track_id in draw(st.lists(st.sampled_from(IDS), unique=True, max_size=6)):
            new, kind = row(track_id), draw(st.sampled_from(["both", "track", "vector", "stale"]))
            if kind == "stale":
                vectors[track_id] = (served(track_id, new.vector, new.tier), 9 if track_id in shown else version)
                tracks[track_id] = (new.track, 9 if track_id in shown else version)
                if track_id not in shown and track_id not in withdrawn:
                    shown[track_id] = new
                continue
            if kind in ("both", "vector"):
                vectors[track_id] = (served(track_id, new.vector, new.tier), version)
            if kind in ("both", "track"):
                tracks[track_id] = (new.track, version)
            if track_id in withdrawn:
                continue
            if track_id in shown:
                old = shown[track_id]
                with_vector = new if kind != "track" else old
                with_track = new if kind != "vector" else old
                shown[track_id] = OracleRow(with_vector.vector, with_vector.tier, 0.5, with_track.track)
            elif kind != "track":
                shown[track_id] = new if kind == "both" else OracleRow(new.vector, new.tier, 0.5, TrackRecord(track_id))
        gone = draw(st.sets(st.sampled_from(IDS), max_size=2))
        before = {track_id: (known.track, 10) for track_id, known in shown.items()}
        state = state.updated(
            vectors=vectors,
            tracks=tracks,
            withdrawn=gone,
            find_tracks=lambda ids, known=before: {i: known[i] for i in ids if i in known},
        )
        withdrawn |= gone
        for track_id in gone:
            shown.pop(track_id, None)
    return state, shown, metric


@settings(max_examples=80, deadline=None)
@given(
    history=histories(),
    k=st.integers(1, 30),
    filters=st.none() | FILTERS,
    exclude=st.none() | st.sets(st.sampled_from(IDS), max_size=5),
    cap=st.none() | st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_every_answer_equals_the_oracles(history, k, filters, exclude, cap, seed):
    state, shown, metric = history
    queries = whole_vectors(np.random.default_rng(seed), 3, DIM)
    queries[:, 0] += 20  # never zero
    if metric is Metric.COSINE:
        queries = np.array([[3, 0, 0, 0], [0, -2, 0, 0], [0, 0, 5, 0]], dtype=np.float32)
    request = Request(k, filters, None if exclude is None else [exclude, (), exclude], cap)
    hits = answer(state, state.searchable(queries), request)
    for position, found in enumerate(hits):
        expected = oracle_search(
            shown,
            queries[position],
            k,
            filters=filters,
            exclude=exclude if exclude is not None and position != 1 else (),
            max_per_artist=cap,
            metric=metric,
        )
        assert list(zip(found.track_ids, found.scores.tolist(), strict=True)) == expected
        assert found.tiers.tolist() == [shown[track_id].tier for track_id in found.track_ids]


@settings(max_examples=30, deadline=None)
@given(history=histories())
def test_vectors_are_those_that_are_searched(history):
    state, shown, _ = history
    for track_id in IDS:
        vector = state.find(track_id)
        if track_id not in shown:
            assert vector is None
        else:
            np.testing.assert_allclose(vector, state.searchable(shown[track_id].vector[None])[0], rtol=1e-3)


def test_an_old_state_is_not_changed_by_new_ones():
    rng = np.random.default_rng(0)
    rows = {i: OracleRow(whole_vectors(rng, 1, DIM)[0], Tier.COLLABORATIVE, 1.0, TrackRecord(i)) for i in IDS}
    states = [SearchState.of(make_base(rows, Metric.INNER_PRODUCT))]
    query = np.ones((1, DIM), dtype=np.float32)
    answers = []
    for turn in range(40):
        answers.append(answer(states[-1], query, Request(100))[0])
        new = {f"n{turn}": (served(f"n{turn}", whole_vectors(rng, 1, DIM)[0]), 11 + turn)}
        new[IDS[turn % 24]] = (served(IDS[turn % 24], whole_vectors(rng, 1, DIM)[0]), 11 + turn)
        states.append(
            states[-1].updated(vectors=new, tracks={}, withdrawn={f"n{turn - 5}"}, find_tracks=lambda ids: {})
        )
    withdrawn = {f"n{turn - 5}" for turn in range(40)}
    for state, before in zip(states, answers, strict=False):
        again = answer(state, query, Request(100))[0]
        # All that reaches an old state is that tracks are withdrawn.
        kept = [at for at, track_id in enumerate(before.track_ids) if track_id not in withdrawn]
        assert again.track_ids == [before.track_ids[at] for at in kept]
        np.testing.assert_array_equal(again.scores, before.scores[kept])
        np.testing.assert_array_equal(again.tiers, before.tiers[kept])
        np.testing.assert_array_equal(again.confidence, before.confidence[kept])
