"""Snapshots: built, published, rolled back, damaged and mended; and which of two writes of a track wins."""

from __future__ import annotations

import hashlib
import json
import logging

import numpy as np
import pytest
from search_oracle import served

from index import (
    BuildProgress,
    Metric,
    NoRollbackError,
    NoSnapshotError,
    Searcher,
    SpaceRecord,
    Store,
    Tier,
    TrackRecord,
    UnknownSnapshotError,
    WriteBatch,
    build_snapshot,
)
from index.codes import power_of_two_scale

ONES = np.ones((1, 8), dtype=np.float32)


def add(store: Store, track_id: str, value: float, model: Tier = Tier.ARTIST_TRANSFER) -> None:
    row = served(track_id, np.full(8, value), model)
    store.commit(WriteBatch(tracks=[TrackRecord(track_id)], fresh={"als": [row]}))


def shown(searcher: Searcher, k: int = 100) -> dict[str, float]:
    hits = searcher.search(ONES, k)[0]
    return dict(zip(hits.track_ids, (hits.scores / 8).tolist(), strict=True))


def test_before_the_first_publish_there_is_nothing(store, space):
    with Searcher.open(store, device="cpu") as searcher:
        assert searcher.snapshot is None
        assert searcher.space is None
        assert searcher.status().tracks == 0
        with pytest.raises(NoSnapshotError):
            searcher.search(ONES, 1)
        add(store, "early", 100)
        snapshot = build_snapshot(store, "als")
        assert not searcher.sync()
        with pytest.raises(NoSnapshotError):
            store.rollback()
        store.publish(snapshot.snapshot_id)
        assert searcher.sync()
        assert not searcher.sync()
        assert searcher.snapshot == snapshot
        assert searcher.space == space
        assert next(iter(shown(searcher))) == "early"


def test_a_snapshot_contains_what_was_fresh_and_tells_its_progress(searcher, store):
    add(store, "new", 100)
    assert searcher.status().fresh_rows == 1
    told: list[BuildProgress] = []
    snapshot = build_snapshot(store, "als", on_progress=told.append)
    assert snapshot.row_count == 31
    assert snapshot.model_id == "model-1"
    assert list(dict.fromkeys(progress.stage for progress in told)) == ["fold", "read", "write", "done"]
    assert [progress.done for progress in told if progress.stage == "read"][-1] == 31
    assert searcher.snapshot != snapshot
    before = shown(searcher)
    store.publish(snapshot.snapshot_id)
    assert searcher.sync()
    assert searcher.status().fresh_rows == 0
    assert searcher.status().tiers == {Tier.COLLABORATIVE: 30, Tier.ARTIST_TRANSFER: 1, Tier.AUDIO_ONLY: 0}
    assert shown(searcher) == before
    assert store.snapshots("als")[-1] == snapshot
    assert store.served_vectors("als", ["new"])["new"].leaned_on == (("a", 0.75), ("b", 0.25))


def test_rollback_goes_back_one_at_a_time_and_forgets_nothing(searcher, store):
    first = store.published()
    add(store, "one", 50)
    second = build_snapshot(store, "als")
    store.publish(second.snapshot_id)
    add(store, "two", 60)
    third = build_snapshot(store, "als")
    store.publish(third.snapshot_id)
    add(store, "three", 70)
    store.commit(WriteBatch(withdrawn={"t03": "rights"}))
    searcher.sync()
    complete = shown(searcher)
    assert {"one", "two", "three"} <= complete.keys()
    assert "t03" not in complete
    for target in (second, first):
        assert store.rollback_target() == target
        store.rollback()
        assert store.published() == target
        assert searcher.sync()
        assert searcher.snapshot == target
        assert shown(searcher) == complete
    with pytest.raises(NoRollbackError):
        store.rollback()
    store.publish(third.snapshot_id)
    searcher.sync()
    assert shown(searcher) == complete
    assert store.rollback_target() == first
    with pytest.raises(UnknownSnapshotError, match="nope"):
        store.publish("nope")
    assert [record.kind.value for record in store.publishes()] == ["publish"] * 3 + ["rollback"] * 2 + ["publish"]


def test_a_fresh_row_wins_over_a_base_row_and_an_older_fresh_one(searcher, store):
    for value in (100, 40, 90):
        add(store, "t05", value)
        assert shown(searcher)["t05"] == value
        assert len(shown(searcher)) == 30
    with Searcher.open(store, device="cpu") as other:
        assert shown(other) == shown(searcher)
    store.publish(build_snapshot(store, "als").snapshot_id)
    searcher.sync()
    assert shown(searcher)["t05"] == 90
    assert len(shown(searcher)) == 30


def test_reprojected_rows_show_with_the_publish_and_replace_fresh_ones_they_have_seen(searcher, store):
    add(store, "cold", 50)
    seen = store.fresh_version("als")
    store.replace_served("als", [served("cold", np.full(8, 55))], as_of=seen)
    assert shown(searcher)["cold"] == 50
    snapshot = build_snapshot(store, "als")
    searcher.sync()
    assert shown(searcher)["cold"] == 50
    store.publish(snapshot.snapshot_id)
    searcher.sync()
    assert shown(searcher)["cold"] == 55
    assert store.served_vectors("als", ["cold"])["cold"].vector[0] == 55
    # and once more, now that the row has been folded before
    store.replace_served("als", [served("cold", np.full(8, 56))], as_of=store.fresh_version("als"))
    store.publish(build_snapshot(store, "als").snapshot_id)
    searcher.sync()
    assert shown(searcher)["cold"] == 56


def test_a_row_ingested_during_a_refresh_is_neither_lost_nor_overwritten(searcher, store):
    add(store, "cold", 50)
    seen = store.fresh_version("als")
    add(store, "cold", 70)  # credits corrected while the refresh computes
    store.replace_served("als", [served("cold", np.full(8, 55))], as_of=seen)
    first = build_snapshot(store, "als")
    store.publish(first.snapshot_id)
    searcher.sync()
    assert shown(searcher)["cold"] == 70
    # a refresh that began before that fold and writes only now
    store.replace_served("als", [served("cold", np.full(8, 55))], as_of=seen)
    store.publish(build_snapshot(store, "als").snapshot_id)
    searcher.sync()
    assert shown(searcher)["cold"] == 70


def test_ingested_between_build_and_publish(searcher, store):
    snapshot = build_snapshot(store, "als")
    add(store, "between", 50)
    store.publish(snapshot.snapshot_id)
    add(store, "after", 60)  # shown in the old state, and carried over
    searcher.sync()
    assert {"between", "after"} <= shown(searcher).keys()


def test_withdrawn_stays_withdrawn(searcher, store):
    add(store, "cold", 50)
    store.commit(WriteBatch(withdrawn={"cold": "rights", "t01": "rights"}))
    gone = {"cold", "t01"}
    assert not gone & shown(searcher).keys()
    assert not searcher.vectors(["cold", "t01"])[0].any()
    add(store, "cold", 60)
    assert not gone & shown(searcher).keys()
    store.publish(build_snapshot(store, "als").snapshot_id)
    searcher.sync()
    assert not gone & shown(searcher).keys()
    store.rollback()
    searcher.sync()
    assert not gone & shown(searcher).keys()
    with Store.open(store.home) as reopened, Searcher.open(reopened, device="cpu") as other:
        assert not gone & shown(other).keys()
        assert other.status().withdrawn == 2


def test_another_space_takes_over_and_back(searcher, store):
    other = np.eye(4, dtype=np.float32)
    store.create_space(SpaceRecord("next", 4, Metric.COSINE), ["t00", "n1", "n2", "n3"], other * 3)
    snapshot = build_snapshot(store, "next")
    store.publish(snapshot.snapshot_id)
    assert searcher.search(ONES, 1).space_id == "als"
    searcher.sync()
    result = searcher.search(np.array([[0, 7, 0, 0]], dtype=np.float32), 2)
    assert (result.space_id, result.snapshot_id) == ("next", snapshot.snapshot_id)
    assert result[0].track_ids == ["n1", "n2"]
    assert result[0].scores.tolist() == [1.0, 0.0]
    add(store, "late", 50)  # into the space that is not served
    store.rollback()
    searcher.sync()
    assert "late" in shown(searcher)


def test_an_empty_space_serves_what_comes(store):
    store.create_space(SpaceRecord("als", 8), [], np.zeros((0, 8), dtype=np.float32))
    store.publish(build_snapshot(store, "als").snapshot_id)
    with Searcher.open(store, device="cpu") as searcher:
        assert shown(searcher) == {}
        add(store, "first", 1)
        assert shown(searcher) == {"first": 1}


# Files ---------------------------------------------------------------------------------------------------------------


def _cut(folder):
    (folder / "base.faiss").write_bytes((folder / "base.faiss").read_bytes()[:-10])


def _flip(folder):
    content = bytearray((folder / "base.faiss").read_bytes())
    content[-5] ^= 1
    (folder / "base.faiss").write_bytes(content)


def _claim(**values):
    def claim(folder):
        manifest = json.loads((folder / "base.json").read_text())
        (folder / "base.json").write_text(json.dumps(manifest | values))

    return claim


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "base.faiss").unlink(),
        lambda folder: (folder / "base.json").unlink(),
        lambda folder: (folder / "base.json").write_text("{"),
        lambda folder: (folder / "base.json").write_text("[]"),
        _cut,
        _flip,
        _claim(count=29),
        _claim(version=99),
        _claim(ids_sha256="00"),
        _claim(surprise=1),
    ],
    ids=[
        "no index",
        "no manifest",
        "half a manifest",
        "no object",
        "cut",
        "flipped",
        "count",
        "version",
        "ids",
        "extra",
    ],
)
def test_a_damaged_index_is_built_anew_and_written_back(searcher, store, damage, caplog):
    expected = shown(searcher)
    folder = store.home / "indexes" / searcher.snapshot.snapshot_id
    original = (folder / "base.faiss").read_bytes()
    damage(folder)
    with caplog.at_level(logging.WARNING, logger="index"), Searcher.open(store, device="cpu") as other:
        assert shown(other) == expected
    assert "building it anew" in caplog.text
    assert (folder / "base.faiss").read_bytes() == original
    assert sorted(path.name for path in folder.iterdir()) == ["base.faiss", "base.json"]
    caplog.clear()
    with Searcher.open(store, device="cpu"):
        assert caplog.text == ""


def test_an_index_of_another_file_with_a_right_checksum_is_not_believed(searcher, store, caplog):
    expected = shown(searcher)
    folder = store.home / "indexes" / searcher.snapshot.snapshot_id
    (folder / "base.faiss").write_bytes(b"garbage")
    digest = hashlib.sha256(b"garbage").hexdigest()
    _claim(index_sha256=digest)(folder)
    with Searcher.open(store, device="cpu") as other:
        assert shown(other) == expected
    assert "FAISS cannot read it" in caplog.text


@pytest.mark.parametrize("magnitude", [1e-12, 1e-3, 1.0, 70_000.0, 1e9, 1e14])
def test_no_magnitude_overflows_or_vanishes_in_float16(store, magnitude):
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(50, 8)) * magnitude).astype(np.float32)
    store.create_space(SpaceRecord("big", 8), [f"t{i:02d}" for i in range(50)], vectors)
    store.publish(build_snapshot(store, "big").snapshot_id)
    with Searcher.open(store, device="cpu") as searcher:
        hits = searcher.search(vectors[:1], 50)[0]
        exact = dict(zip((f"t{i:02d}" for i in range(50)), vectors @ vectors[0], strict=True))
        expected = np.array([exact[track_id] for track_id in hits.track_ids])
        assert np.isfinite(hits.scores).all()
        largest = np.linalg.norm(vectors, axis=1).max() * np.linalg.norm(vectors[0])
        np.testing.assert_allclose(hits.scores, expected, atol=float(largest) * 2e-3)


def test_the_scale_is_a_power_of_two_that_fills_float16():
    for largest in (1e-9, 0.3, 1.0, 2.0, 65_504.0, 70_000.0, 1e15):
        scale = power_of_two_scale(largest)
        assert np.log2(scale) == int(np.log2(scale))
        assert 2**13 <= largest * scale <= 2**14
    assert power_of_two_scale(0.0) == 1.0
