"""The searcher on a real home: what follows a commit, what it refuses, and that no answer mixes two states."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from search_oracle import served

from index import (
    MAX_K,
    DeviceUnavailableError,
    Filters,
    InvalidQueryError,
    InvalidVectorError,
    Metric,
    NoSnapshotError,
    Searcher,
    SpaceRecord,
    Store,
    Tier,
    TrackRecord,
    WriteBatch,
    build_snapshot,
    gpu_count,
)


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


def test_a_missing_gpu_is_named(store):
    if gpu_count():
        pytest.skip("there is a GPU")
    with pytest.raises(DeviceUnavailableError, match="use device auto or cpu"):
        Searcher.open(store, device="gpu")
    with pytest.raises(InvalidQueryError, match="tpu"):
        Searcher.open(store, device="tpu")


def test_importing_the_room_does_not_import_torch():
    script = "import sys, index; sys.exit('torch' in sys.modules or 'jobs' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False).returncode == 0


def test_a_track_of_many_hits_is_capped_however_deep_one_must_look(store):
    """900 tracks of one artist lie nearer than the first of another."""
    vectors = np.ones((1000, 2), dtype=np.float32) * np.arange(1000, 0, -1, dtype=np.float32)[:, None]
    ids = [f"t{i:04d}" for i in range(1000)]
    store.create_space(SpaceRecord("big", 2), ids, vectors)
    store.commit(
        WriteBatch(tracks=[TrackRecord(i, artist_ids=("one",) if n < 900 else (f"a{n}",)) for n, i in enumerate(ids)])
    )
    store.publish(build_snapshot(store, "big").snapshot_id)
    with Searcher.open(store, device="cpu") as searcher:
        hits = searcher.search(np.ones((2, 2)), 5, max_per_artist=2)
        assert hits[0].track_ids == hits[1].track_ids == ["t0000", "t0001", "t0900", "t0901", "t0902"]
        assert len(searcher.search(np.ones((1, 2)), 500, max_per_artist=1)[0]) == 101
