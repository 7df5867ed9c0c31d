"""Creating spaces: all of one or nothing, once, also from two processes."""

from __future__ import annotations

import numpy as np
import pytest
from search_oracle import served

from index import (
    InvalidIdError,
    InvalidVectorError,
    Metric,
    SpaceExistsError,
    SpaceRecord,
    Store,
    Tier,
    TrackRecord,
    UnknownSpaceError,
    WriteBatch,
)
from index.registry import Registry


def test_a_space_comes_back(store, space, vectors):
    assert store.spaces() == [space]
    assert store.space("als").track_count == 30
    rows = store.served_rows("als")
    np.testing.assert_array_equal(rows.vectors, vectors)
    assert set(rows.tiers.tolist()) == {Tier.COLLABORATIVE}
    ids, users = store.user_vectors("als", ["u1", "u2"])
    assert ids == ["u1"]
    np.testing.assert_array_equal(users, vectors[:1])
    with pytest.raises(UnknownSpaceError, match="other"):
        store.space("other")
    with pytest.raises(SpaceExistsError):
        store.create_space(SpaceRecord("als", 8), ["x"], vectors[:1])
    np.testing.assert_array_equal(store.served_rows("als").vectors, vectors)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"ids": ["a", "a"]}, InvalidIdError),
        ({"ids": ["a"]}, InvalidIdError),
        ({"space": SpaceRecord("../../etc", 2)}, InvalidIdError),
        ({"space": SpaceRecord(".hidden", 2)}, InvalidIdError),
        ({"space": SpaceRecord("s", 2, source="half \ud800")}, InvalidIdError),
        ({"space": SpaceRecord("s", 3)}, InvalidVectorError),
        ({"space": SpaceRecord("s", 0)}, InvalidVectorError),
        ({"vectors": [[1, 2], [np.nan, 1]]}, InvalidVectorError),
        ({"vectors": [[1, 2], [1e30, 1]]}, InvalidVectorError),
        ({"vectors": [["1", "x"], ["a", "b"]]}, InvalidVectorError),
        ({"vectors": [[1, 2], [0, 0]], "space": SpaceRecord("s", 2, Metric.COSINE)}, InvalidVectorError),
        ({"user_ids": ["u"]}, InvalidVectorError),
        ({"user_ids": ["u"], "user_vectors": [[1, 2, 3]]}, InvalidVectorError),
    ],
)
def test_a_malformed_space_leaves_nothing_behind(store, change, error):
    space = change.get("space", SpaceRecord("s", 2))
    vectors = np.array(change.get("vectors", [[1, 2], [3, 4]]))
    with pytest.raises(error):
        store.create_space(
            space, change.get("ids", ["a", "b"]), vectors, change.get("user_ids"), change.get("user_vectors")
        )
    assert store.spaces() == []


def test_a_creation_that_was_cut_short_can_be_repeated(store, vectors, monkeypatch):
    ids = [f"t{i}" for i in range(30)]
    monkeypatch.setattr(
        "index.registry.Registry.add_space", lambda self, space, creation: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        store.create_space(SpaceRecord("als", 8), ids, vectors)
    monkeypatch.undo()
    assert store.spaces() == []
    store.create_space(SpaceRecord("als", 8), ids[:5], vectors[:5])
    assert len(store.served_rows("als")) == 5


def test_of_two_that_create_a_space_at_once_one_is_refused_and_the_others_rows_stand(store, monkeypatch):
    with Store.open(store.home) as other:
        inserted = Registry.add_space

        def interleaved(self, space, creation):
            # Every table of `store` is written; now the other process is faster to the registry.
            monkeypatch.setattr(Registry, "add_space", inserted)
            other.create_space(SpaceRecord("s", 2), ["theirs"], np.full((1, 2), 2.0), ["u"], np.full((1, 2), 3.0))
            inserted(self, space, creation)

        monkeypatch.setattr(Registry, "add_space", interleaved)
        with pytest.raises(SpaceExistsError):
            store.create_space(SpaceRecord("s", 3), ["ours"], np.ones((1, 3)))
        other.commit(WriteBatch(tracks=[TrackRecord("n")], fresh={"s": [served("n", np.ones(2))]}))
        for each in (store, other):
            assert each.space("s").dim == 2
            assert each.served_rows("s").track_ids == ["theirs"]
            assert each.fresh_rows("s").track_ids == ["n"]
            assert each.user_vectors("s")[0] == ["u"]
    # What was refused left nothing behind.
    assert [len(list((store.home / kind).iterdir())) for kind in ("served", "fresh", "users")] == [1, 1, 1]


def test_a_space_that_was_created_behind_the_first_look_is_not_overwritten(store, monkeypatch):
    with Store.open(store.home) as other:
        look = Registry.refuse_space

        def interleaved(self, space_id):
            look(self, space_id)
            monkeypatch.setattr(Registry, "refuse_space", look)
            other.create_space(SpaceRecord("s", 2), ["theirs"], np.full((1, 2), 2.0))

        monkeypatch.setattr(Registry, "refuse_space", interleaved)
        with pytest.raises(SpaceExistsError):
            store.create_space(SpaceRecord("s", 2), ["ours"], np.ones((1, 2)))
    assert store.served_rows("s").track_ids == ["theirs"]
    np.testing.assert_array_equal(store.served_rows("s").vectors, np.full((1, 2), 2.0))
