"""Popularity goes with its vector: through the tables, the fold, the snapshot and every answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from search_oracle import served

from index import (
    InvalidVectorError,
    Popularity,
    Searcher,
    SpaceRecord,
    TrackRecord,
    WriteBatch,
    build_snapshot,
)

IDS = ["a", "b", "c"]
VECTORS = np.array([[3, 0], [2, 0], [1, 0]], dtype=np.float32)
COUNTED = np.array([900, np.nan, 0], dtype=np.float32)
EAST = np.array([[1, 0]], dtype=np.float32)


def test_imported_listens_and_predicted_popularity_are_in_every_answer(store):
    store.create_space(SpaceRecord("als", 2), IDS, VECTORS, listens=COUNTED)
    store.publish(build_snapshot(store, "als").snapshot_id)
    predicted = Popularity(40.0, 8.0, 200.0)
    known = replace(served("new", np.array([9, 0])), popularity=predicted)
    expected = [[40, 8, 200], [900, 900, 900], [np.nan] * 3, [0, 0, 0]]
    with Searcher.open(store, device="cpu") as searcher:
        store.commit(WriteBatch(tracks=[TrackRecord("new")], fresh={"als": [known]}))
        hits = searcher.search(EAST, 4)[0]
        assert hits.track_ids == ["new", *IDS]
        np.testing.assert_array_equal(hits.popularity, np.array(expected, dtype=np.float32))
        # A track whose metadata changes moves to the fresh rows and takes its popularity along.
        store.commit(WriteBatch(tracks=[TrackRecord("a", artist_ids=("ann",)), TrackRecord("new", title="New")]))
        np.testing.assert_array_equal(searcher.search(EAST, 4)[0].popularity, np.array(expected, dtype=np.float32))
        store.publish(build_snapshot(store, "als").snapshot_id)
        searcher.sync()
        assert searcher.status().fresh_rows == 0
        np.testing.assert_array_equal(searcher.search(EAST, 4)[0].popularity, np.array(expected, dtype=np.float32))
    found = store.served_vectors("als", [*IDS, "new"])
    assert [found[track_id].popularity for track_id in ["new", *IDS]] == [
        predicted,
        Popularity(900.0, 900.0, 900.0),
        None,
        Popularity(0.0, 0.0, 0.0),
    ]
    np.testing.assert_array_equal(store.served_rows("als").popularity.shape, (4, 3))


def test_without_listens_nothing_is_known(store, space):
    assert np.isnan(store.served_rows("als").popularity).all()
    assert store.served_vectors("als", ["t00"])["t00"].popularity is None


@pytest.mark.parametrize(
    ("listens", "said"),
    [([1, -2, 3], "'b' are -2"), ([1, 2, 1e39], "'c' are inf"), ([1, 2], "shape"), (["many", 1, 2], "no numbers")],
)
def test_listens_that_count_nothing_are_refused(store, listens, said):
    with pytest.raises(InvalidVectorError, match=said) as caught:
        store.create_space(SpaceRecord("als", 2), IDS, VECTORS, listens=listens)
    assert caught.value.field == "listens"
    assert store.spaces() == []


@pytest.mark.parametrize(
    "popularity", [Popularity(1, 2, 3), Popularity(3, 2, 1), Popularity(-1, -1, -1), Popularity(1, 0, np.inf)]
)
def test_an_interval_that_does_not_hold_its_middle_is_refused(store, space, popularity):
    row = replace(served("new", np.ones(8)), popularity=popularity)
    with pytest.raises(InvalidVectorError, match="low <= listens <= high") as caught:
        store.commit(WriteBatch(fresh={"als": [row]}))
    assert caught.value.field == "popularity"
