"""The search against the plainest possible one, and what it refuses."""

from __future__ import annotations

import threading
from datetime import date

import faiss
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_oracle import OracleRow, day, oracle_search, served, whole_vectors

from index import (
    MAX_K,
    Filters,
    InvalidQueryError,
    InvalidVectorError,
    Metric,
    NoSnapshotError,
    Searcher,
    SnapshotRecord,
    SpaceRecord,
    Store,
    Tier,
    TrackRecord,
    WriteBatch,
    build_snapshot,
)
from index.answers import Request, answer
from index.backends import CpuFlat
from index.filters import CompiledFilters
from index.rows import Vocabulary, aligned_columns
from index.schemas import tracks_table
from index.snapshots import unit
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
        tracks,
        artists,
        markets,
    )
    snapshot = SnapshotRecord("snap", "als", 1, 10, "flat_fp16", len(ids), "", day(0))
    space = SpaceRecord("als", DIM, metric)
    compiled = CompiledFilters(columns, artists, markets)
    return Base(space, snapshot, CpuFlat(index, 1024.0, threads=1), columns, compiled, artists, markets, 10)


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


@settings(max_examples=150, deadline=None)
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
    for state, before in zip(states, answers, strict=False):
        again = answer(state, query, Request(100))[0]
        assert again.track_ids == before.track_ids
        np.testing.assert_array_equal(again.scores, before.scores)


def test_credits_dates_and_markets_follow_a_track_that_is_edited(searcher, store):
    ones = np.ones((1, 8), dtype=np.float32)

    def found(**conditions) -> list[str]:
        return sorted(searcher.search(ones, 40, filters=Filters(**conditions))[0].track_ids)

    assert found(artists_in=frozenset({"ann"})) == []
    store.commit(WriteBatch(tracks=[TrackRecord("t04", artist_ids=("ann",), release_date=date(2020, 5, 5))]))
    assert found(artists_in=frozenset({"ann"})) == ["t04"]
    assert found(released_from=date(2020, 5, 5), released_to=date(2020, 5, 5)) == ["t04"]
    store.commit(WriteBatch(tracks=[TrackRecord("t04", artist_ids=("ben",), markets=("DE",))]))
    assert found(artists_in=frozenset({"ann"})) == []
    assert found(artists_in=frozenset({"ben"}), market="DE") == ["t04"]
    assert found(artists_in=frozenset({"ben"}), market="FR") == []
    assert len(found(market="FR")) == 29
    assert found(tiers=frozenset({Tier.COLLABORATIVE})) == [f"t{i:02d}" for i in range(30)]
    with Searcher.open(store, device="cpu") as other:
        assert other.search(ones, 40, filters=Filters(artists_in=frozenset({"ben"})))[0].track_ids == ["t04"]


def test_another_stores_commits_arrive_with_sync(searcher, store):
    ones = np.ones((1, 8), dtype=np.float32)
    with Store.open(store.home) as other:
        other.commit(
            WriteBatch(tracks=[TrackRecord("new", artist_ids=("zoe",))], fresh={"als": [served("new", np.full(8, 99))]})
        )
        other.commit(WriteBatch(withdrawn={"t09": ""}, tracks=[TrackRecord("t08", artist_ids=("zoe",))]))
        assert "new" not in searcher.search(ones, 40)[0].track_ids
        assert searcher.sync()
        assert not searcher.sync()
        hits = searcher.search(ones, 40)[0]
        assert hits.track_ids[0] == "new"
        assert hits.tiers[0] == Tier.ARTIST_TRANSFER
        assert hits.confidence[0] == 0.5
        assert "t09" not in hits.track_ids
        zoe = searcher.search(ones, 40, filters=Filters(artists_in=frozenset({"zoe"})))[0]
        assert sorted(zoe.track_ids) == ["new", "t08"]
        # `add` adopts what another store committed, and believes the tables rather than a late caller.
        row = served("more", np.full(8, 98))
        other.commit(WriteBatch(tracks=[TrackRecord("more")], fresh={"als": [row]}))
        searcher.add([row], [TrackRecord("more")])
        assert "more" in searcher.search(ones, 40)[0].track_ids
        searcher.add([served("more", np.full(8, 1))], [])
        np.testing.assert_array_equal(searcher.vectors(["more"])[1], np.full((1, 8), 98))


def test_withdraw_masks_at_once(searcher):
    ones = np.ones((1, 8), dtype=np.float32)
    searcher.withdraw(["t00", "unknown"])
    assert "t00" not in searcher.search(ones, 40)[0].track_ids
    assert not searcher.vectors(["t00"])[0][0]
    searcher.sync()
    assert "t00" not in searcher.search(ones, 40)[0].track_ids


def test_k_reaches_from_one_to_its_limit(searcher):
    ones = np.ones((1, 8), dtype=np.float32)
    assert len(searcher.search(ones, 1)[0]) == 1
    assert len(searcher.search(ones, MAX_K)[0]) == 30
    for k in (0, -1, MAX_K + 1, 10_000_000, True, 2.5):
        with pytest.raises(InvalidQueryError) as caught:
            searcher.search(ones, k)
        assert caught.value.reason == "K_OUT_OF_RANGE"
        assert caught.value.field == "k"


@pytest.mark.parametrize(
    "queries", [np.ones((1, 7)), np.ones(8), np.full((1, 8), np.nan), np.full((1, 8), 1e300), np.array([["a"] * 8])]
)
def test_bad_queries_are_refused(searcher, queries):
    with pytest.raises(InvalidVectorError) as caught:
        searcher.search(queries, 3)
    assert caught.value.field == "queries"


@pytest.mark.parametrize(
    "filters",
    [
        Filters(released_from=date(2021, 1, 2), released_to=date(2021, 1, 1)),
        Filters(released_from="2021-01-01"),
        Filters(artists_in=frozenset({"a"}), artists_out=frozenset({"a"})),
        Filters(tiers=frozenset({7})),
        Filters(market=""),
        Filters(artists_in=["a"]),
    ],
)
def test_bad_filters_are_refused(searcher, filters):
    with pytest.raises(InvalidQueryError) as caught:
        searcher.search(np.ones((1, 8)), 3, filters=filters)
    assert caught.value.reason == "FILTER_INVALID"
    assert caught.value.field


def test_other_arguments_are_checked(searcher):
    with pytest.raises(InvalidQueryError):
        searcher.search(np.ones((1, 8)), 3, max_per_artist=0)
    with pytest.raises(InvalidQueryError):
        searcher.search(np.ones((2, 8)), 3, exclude=[[]])
    assert len(searcher.search(np.ones((0, 8)), 3)) == 0


def test_a_cosine_space_measures_angles(store):
    vectors = np.array([[3, 0], [0, 1], [30, 40], [-1, 0]], dtype=np.float32)
    store.create_space(SpaceRecord("cos", 2, Metric.COSINE), ["east", "north", "between", "west"], vectors)
    store.publish(build_snapshot(store, "cos").snapshot_id)
    with Searcher.open(store, device="cpu") as searcher:
        hits = searcher.search(np.array([[0, 250]]), 4)[0]
        assert hits.track_ids == ["north", "between", "east", "west"]
        np.testing.assert_allclose(hits.scores, [1, 0.8, 0, 0], atol=1e-3)
        with pytest.raises(InvalidVectorError, match="zero"):
            searcher.search(np.zeros((1, 2)), 1)
        store.commit(WriteBatch(tracks=[TrackRecord("n")], fresh={"cos": [served("n", np.array([0, 1e-9]))]}))
        hits = searcher.search(np.array([[0, 1e-12]]), 2)[0]
        assert hits.track_ids == ["n", "north"]
        np.testing.assert_allclose(hits.scores, [1, 1], atol=1e-3)


def test_no_answer_mixes_snapshots_while_they_change(store, space, vectors):
    """Two spaces of equal dimension and disjoint tracks; every answer's tracks belong to the space that it names."""
    store.create_space(SpaceRecord("other", 8), [f"o{i:02d}" for i in range(30)], -vectors)
    snapshots = [build_snapshot(store, name).snapshot_id for name in ("als", "other")]
    store.publish(snapshots[0])
    failures: list[object] = []
    searched: set[str] = set()
    stop = threading.Event()
    with Searcher.open(store, device="cpu", threads=1) as searcher:

        def search(seed: int) -> None:
            rng = np.random.default_rng(seed)
            try:
                while not stop.is_set():
                    cap = 3 if rng.random() < 0.5 else None
                    result = searcher.search(rng.normal(size=(3, 8)), 30, max_per_artist=cap)
                    letter = {"als": "t", "other": "o"}[result.space_id]
                    ids = [track_id for hits in result for track_id in hits.track_ids]
                    if any(track_id[0] not in (letter, "n") for track_id in ids):
                        failures.append((result.space_id, ids))
                    if result.snapshot_id != snapshots[letter == "o"]:
                        failures.append((result.space_id, result.snapshot_id))
                    searched.add(result.space_id)
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=search, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for turn in range(6):
            store.publish(snapshots[(turn + 1) % 2])
            name = "als" if turn % 2 else "other"
            store.commit(WriteBatch(tracks=[TrackRecord(f"n{turn}")], fresh={name: [served(f"n{turn}", np.ones(8))]}))
            searcher.sync()
        store.rollback()
        searcher.sync()
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert searched == {"als", "other"}


def test_a_closed_searcher_serves_nothing(store, space):
    store.publish(build_snapshot(store, "als").snapshot_id)
    searcher = Searcher.open(store, device="cpu")
    searcher.close()
    with pytest.raises(NoSnapshotError):
        searcher.search(np.ones((1, 8)), 1)
    store.commit(WriteBatch(tracks=[TrackRecord("t")], fresh={"als": [served("t", np.ones(8))]}))
