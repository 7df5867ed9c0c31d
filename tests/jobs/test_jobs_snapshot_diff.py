"""What lies between two snapshots, where it is known what was done between them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from made_catalogue import SPACE_ID, release, warm_factors

from index import NoRollbackError, NoSnapshotError, ServedVector, Tier, UnknownSnapshotError
from jobs import Engine
from jobs.factors import Factors
from jobs.refresh import newest_snapshot
from jobs.snapshot_diff import diff_snapshots
from jobs.spaces import import_space


def stage(engine: Engine, **vectors: np.ndarray) -> str:
    """Put projected rows into the served table, and build a snapshot of it."""
    rows = [ServedVector(one.replace("_", "-"), v.astype(np.float32), Tier.ARTIST_TRANSFER, 0.5, "model-2")
            for one, v in vectors.items()]  # fmt: skip
    engine.store.replace_served(SPACE_ID, rows, as_of=engine.store.fresh_version(SPACE_ID))
    return newest_snapshot(
        engine.store, SPACE_ID, index_kind="auto", device="cpu", on_progress=lambda progress: None
    ).snapshot_id


def test_one_snapshot_beside_itself_has_no_difference(engine: Engine) -> None:
    one = engine.store.published().snapshot_id
    found = diff_snapshots(engine, one, one)
    assert (found.added, found.gone, found.graduated, found.fallen_back, found.tiers) == (0, 0, 0, 0, {})
    assert found.moves is not None
    assert (found.moves.compared, found.moves.moved, found.moves.cosine_of_moved) == (12, 0, {})


def test_every_kind_of_difference_is_counted_and_named(engine: Engine) -> None:
    east, north = np.eye(8)[0], np.eye(8)[1]
    before = stage(engine, cold_a=east, cold_b=east, cold_c=east)
    after = stage(engine, cold_a=east * 3, cold_b=east + north, cold_c=-east, cold_d=east)
    found = diff_snapshots(engine, before, after)
    assert (found.added, found.examples["added"], found.gone) == (1, ["cold-d"], 0)
    assert found.moves is not None
    assert (found.moves.compared, found.moves.moved) == (15, 2)  # a length is no direction
    assert found.moves.cosine_of_moved["min"] == pytest.approx(-1.0)
    assert found.moves.cosine_of_moved["q50"] == pytest.approx((2**-0.5 - 1) / 2)
    back = diff_snapshots(engine, after, before)
    assert (back.added, back.gone, back.examples["gone"]) == (0, 1, ["cold-d"])
    assert back.moves == found.moves


def test_graduates_and_those_that_fall_back_are_told_apart(engine: Engine) -> None:
    engine.ingest([release("cold")])
    first = engine.refresh().snapshot_id
    items = warm_factors(1)
    ids = np.where(items.ids == "ada-2", "cold", items.ids)  # the next training knows the one, and not the other
    import_space(engine, "second", Factors(ids, items.vectors))
    second = engine.refresh(space_id="second").snapshot_id
    found = diff_snapshots(engine)
    assert (found.before.snapshot_id, found.after.snapshot_id) == (first, second)
    assert (found.graduated, found.examples["graduated"]) == (1, ["cold"])
    assert (found.fallen_back, found.examples["fallen_back"]) == (1, ["ada-2"])
    assert found.tiers == {
        "collaborative -> artist_transfer": 1,
        "artist_transfer -> collaborative": 1,
    }
    assert found.moves is None
    shown = json.loads(json.dumps(found.as_dict()))
    assert shown["before"]["space_id"] == SPACE_ID
    assert shown["moves"] is None


def test_what_is_not_there_is_said(engine: Engine, tmp_path) -> None:
    with pytest.raises(NoRollbackError, match="name the snapshots"):
        diff_snapshots(engine)
    with pytest.raises(UnknownSnapshotError):
        diff_snapshots(engine, "nothing")
    with Engine.open(tmp_path / "empty", create=True) as empty, pytest.raises(NoSnapshotError):
        diff_snapshots(empty)
