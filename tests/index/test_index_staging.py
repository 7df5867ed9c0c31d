"""Rows that are columns already: staged at once, by the same rules as rows one by one; and what tracks have moved."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from index import (
    InvalidIdError,
    InvalidVectorError,
    Metric,
    Popularity,
    ServedVector,
    SpaceRecord,
    Store,
    Tier,
    UnknownSpaceError,
    WriteBatch,
    build_snapshot,
)
from index.schemas import served_table, vector_column


def row(track_id: str, vector: np.ndarray, **fields) -> ServedVector:
    given = {
        "tier": Tier.ARTIST_TRANSFER,
        "confidence": 0.5,
        "model_id": "m",
        "leaned_on": (("t01", 0.75), ("t02", 0.25)),
        "basis": "b",
        "catalogue_basis": "c",
        "popularity": Popularity(2.0, 1.0, 3.0),
    }
    return ServedVector(track_id, vector, **(given | fields))


def columns(rows: list[ServedVector], dim: int = 8) -> pa.Table:
    return served_table("elsewhere", rows, dim).drop_columns(["space_id", "fresh_version"])


def test_columns_are_staged_as_rows_are(store, space, vectors):
    rows = [row("c1", vectors[0]), row("c2", vectors[1], leaned_on=(), popularity=None), row("t03", vectors[2])]
    staged = store.stage_served("als", columns(rows), as_of=0)
    assert staged == store.space_tables.served("als").version
    found = {one.track_id: one for one in store.served_rows("als", track_ids=["c1", "c2", "t03"]).records()}
    for one in rows:
        np.testing.assert_array_equal(found[one.track_id].vector, one.vector)
        for name in ("tier", "confidence", "model_id", "leaned_on", "basis", "catalogue_basis", "popularity"):
            assert getattr(found[one.track_id], name) == getattr(one, name)
    assert len(store.served_rows("als")) == 32
    assert build_snapshot(store, "als").row_count == 32
    assert store.stage_served("als", columns([]), as_of=0) >= staged


def test_what_is_newer_stays(store, space, vectors):
    """A fresh row that was written after the staged row's inputs were read wins, in whatever order they come."""
    as_of = store.fresh_version("als")
    store.commit(WriteBatch(fresh={"als": [row("c1", vectors[5], model_id="later")]}))
    build_snapshot(store, "als")
    store.stage_served("als", columns([row("c1", vectors[0])]), as_of=as_of)
    (found,) = store.served_rows("als", track_ids=["c1"]).records()
    assert found.model_id == "later"
    store.stage_served("als", columns([row("c1", vectors[0])]), as_of=store.fresh_version("als"))
    (found,) = store.served_rows("als", track_ids=["c1"]).records()
    assert found.model_id == "m"


def test_columns_that_could_not_be_searched_are_refused(store: Store, space, vectors):
    before = store.space_tables.served("als").version
    good = row("c1", vectors[0])
    store.create_space(SpaceRecord("cos", 8, Metric.COSINE), ["t"], vectors[:1])
    for rows, space_id, error in (
        (columns([good, good]), "als", InvalidIdError),
        (columns([row("", vectors[0])]), "als", InvalidIdError),
        (columns([row("c1", vectors[0], confidence=1.5)]), "als", InvalidVectorError),
        (columns([row("c1", vectors[0], confidence=float("nan"))]), "als", InvalidVectorError),
        (columns([row("c1", np.full(8, np.nan))]), "als", InvalidVectorError),
        (columns([row("c1", vectors[0][:4])], dim=4), "als", InvalidVectorError),
        (columns([row("c1", np.zeros(8))]), "cos", InvalidVectorError),
        (columns([good]), "nowhere", UnknownSpaceError),
    ):
        with pytest.raises(error):
            store.stage_served(space_id, rows, as_of=0)
    assert store.space_tables.served("als").version == before


def moved(ids: list[str], far: list[float], stamps: list[str]) -> pa.Table:
    return pa.table({"track_id": ids, "moved": pa.array(far, pa.float32()), "stamp": stamps})


def test_what_has_moved_is_kept_and_renewed(store, space, tmp_path):
    assert store.moved("als").num_rows == 0
    store.note_moved("als", moved(["t01", "t02"], [0.25, 1.5], ["", "before"]))
    store.note_moved("als", moved(["t02", "t03"], [0.5, 2.0], ["", "before"]))
    with Store.open(store.home) as again:
        found = {one["track_id"]: (one["moved"], one["stamp"]) for one in again.moved("als").to_pylist()}
    assert found == {"t01": (0.25, ""), "t02": (0.5, ""), "t03": (2.0, "before")}
    with pytest.raises(UnknownSpaceError):
        store.moved("nowhere")


def test_a_column_of_vectors_is_a_view():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(np.stack(vector_column(array).to_numpy(zero_copy_only=False)), array)
