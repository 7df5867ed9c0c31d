"""A patched snapshot is the file that a build from all rows writes; and what a process built it does not read again."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest
from search_oracle import served

from index import (
    BuildProgress,
    Filters,
    Metric,
    Searcher,
    SpaceRecord,
    Store,
    Tier,
    TrackRecord,
    WriteBatch,
    build_snapshot,
)
from index.snapshots import load_base

DIM = 8


def rows_read(store: Store, space_id: str = "made") -> tuple[str, int]:
    """Build a snapshot; give its id and how many vectors were read for it."""
    told: list[BuildProgress] = []
    snapshot = build_snapshot(store, space_id, on_progress=told.append)
    return snapshot.snapshot_id, max(step.done for step in told if step.stage == "read")


def files(store: Store, snapshot_id: str) -> tuple[bytes, bytes]:
    folder = store.home / "indexes" / snapshot_id
    return (folder / "base.faiss").read_bytes(), (folder / "base.json").read_bytes()


def assert_as_built_anew(store: Store, snapshot_id: str) -> None:
    found = files(store, snapshot_id)
    shutil.rmtree(store.home / "indexes" / snapshot_id)
    with Store.open(store.home) as other:
        load_base(other, other.snapshot(snapshot_id))
    assert files(store, snapshot_id) == found


def made(store: Store, metric: Metric = Metric.INNER_PRODUCT, count: int = 200) -> np.ndarray:
    vectors = np.random.default_rng(0).normal(size=(count, DIM)).astype(np.float32)
    vectors[0, 0] = 7.5
    store.create_space(SpaceRecord("made", DIM, metric), [f"t{row:04d}" for row in range(count)], vectors)
    return vectors


def project(store: Store, rows: dict[str, np.ndarray]) -> None:
    """Stage projected rows as a refresh does."""
    store.replace_served("made", [served(*row) for row in rows.items()], as_of=store.fresh_version("made"))


def ingest(store: Store, rows: dict[str, np.ndarray]) -> None:
    records = [served(track_id, vector, Tier.ARTIST_TRANSFER) for track_id, vector in rows.items()]
    store.commit(WriteBatch(tracks=[TrackRecord(track_id) for track_id in rows], fresh={"made": records}))


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("reopened", [False, True], ids=["in memory", "from files"])
def test_whatever_was_written_in_between(store, metric, reopened):
    made(store, metric)
    rng = np.random.default_rng(1)
    build_snapshot(store, "made")
    patched = 0
    for turn in range(8):
        for _ in range(rng.integers(0, 3)):
            chosen = rng.choice(200, size=rng.integers(1, 12), replace=False)
            rows = {f"t{row:04d}": rng.normal(size=DIM).astype(np.float32) for row in chosen}
            new = {f"{'anz'[rng.integers(3)]}{turn}": rng.normal(size=DIM).astype(np.float32)}
            (project if rng.random() < 0.5 else ingest)(store, rows | new)
        if turn == 4:
            store.space_tables.served("made").compact()
        if reopened:
            with Store.open(store.home) as other:
                snapshot_id, read = rows_read(other)
        else:
            snapshot_id, read = rows_read(store)
        patched += read < 200
        assert_as_built_anew(store, snapshot_id)
    assert patched == 8


def test_only_what_was_written_since_is_read(store):
    made(store)
    assert rows_read(store)[1] == 200
    assert rows_read(store)[1] == 0
    project(store, {"t0003": np.full(DIM, 0.5), "new": np.full(DIM, 0.25)})
    assert rows_read(store)[1] == 2
    with Store.open(store.home) as other:
        project(other, {"t0007": np.full(DIM, 0.5)})
        assert rows_read(other)[1] == 1


@pytest.mark.parametrize("largest", [100.0, 1.0], ids=["a larger element", "the largest has gone"])
def test_another_scale_is_built_from_all_rows(store, largest):
    made(store)
    build_snapshot(store, "made")
    project(store, {"t0000": np.full(DIM, largest)})
    snapshot_id, read = rows_read(store)
    assert read == 200
    assert_as_built_anew(store, snapshot_id)


def test_many_changes_are_read_with_all_rows(store):
    vectors = made(store)
    build_snapshot(store, "made")
    project(store, {f"t{row:04d}": vectors[row] for row in range(50, 100)})
    assert rows_read(store)[1] == 200


def test_a_damaged_snapshot_is_passed_over_for_the_one_before(store, caplog):
    made(store)
    build_snapshot(store, "made")
    project(store, {"t0003": np.full(DIM, 0.5)})
    damaged = rows_read(store)[0]
    (store.home / "indexes" / damaged / "base.faiss").write_bytes(b"cut")
    project(store, {"t0004": np.full(DIM, 0.5)})
    with Store.open(store.home) as other, caplog.at_level(logging.INFO, logger="index"):
        snapshot_id, read = rows_read(other)
    assert f"{damaged} is not patched" in caplog.text
    assert read == 2
    assert_as_built_anew(store, snapshot_id)


def test_without_any_usable_snapshot_all_rows_are_read(store):
    made(store)
    build_snapshot(store, "made")
    shutil.rmtree(store.home / "indexes")
    with Store.open(store.home) as other:
        snapshot_id, read = rows_read(other)
    assert read == 200
    assert_as_built_anew(store, snapshot_id)


def test_who_built_it_serves_it_from_memory_and_keeps_no_second_one(store):
    made(store)
    first, second = build_snapshot(store, "made"), build_snapshot(store, "made")
    assert store.bases.take(first.snapshot_id) is None
    built = store.bases.find(second.snapshot_id)
    assert load_base(store, second) is built
    assert store.bases.take(second.snapshot_id) is None
    assert load_base(store, second) is not built  # from the files, by whoever comes next
    assert store.bases.find(first.snapshot_id) is None


def test_a_switch_that_reuses_the_tracks_shows_the_new_columns_and_later_credits(store):
    vectors = made(store)
    tracks = [TrackRecord(f"t{row:04d}", artist_ids=("old",)) for row in range(200)]
    store.commit(WriteBatch(tracks=tracks))
    store.publish(build_snapshot(store, "made").snapshot_id)
    with Searcher.open(store, device="cpu") as searcher:
        project(store, {"t0003": vectors[3] * 3})
        store.publish(build_snapshot(store, "made").snapshot_id)
        searcher.sync()
        assert searcher.status().tiers[Tier.ARTIST_TRANSFER] == 1
        np.testing.assert_allclose(searcher.vectors(["t0003"])[1][0], vectors[3] * 3, rtol=1e-3)
        assert _artists(searcher) == {"old": 200}
        store.commit(WriteBatch(tracks=[TrackRecord("t0003", artist_ids=("new",))]))
        store.publish(build_snapshot(store, "made").snapshot_id)
        searcher.sync()
        assert _artists(searcher) == {"old": 199, "new": 1}
        assert searcher.status().fresh_rows == 0


def _artists(searcher: Searcher) -> dict[str, int]:
    query = np.ones((1, DIM), dtype=np.float32)
    found = {
        name: len(searcher.search(query, 200, filters=Filters(artists_in=frozenset({name})))[0].track_ids)
        for name in ("old", "new")
    }
    return {name: count for name, count in found.items() if count}
