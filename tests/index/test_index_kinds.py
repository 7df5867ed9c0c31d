"""Snapshots of the approximate kind: built, tuned, read, patched, served; and the way between kinds."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from search_oracle import served

from index import (
    Filters,
    InvalidInputError,
    Metric,
    Searcher,
    ServedVector,
    SpaceRecord,
    Store,
    Tier,
    TrackRecord,
    WriteBatch,
    build_snapshot,
    tune_snapshot,
    tuning_of,
)
from index.kinds import FLAT_FP16, IVF_FP16, choose_kind
from index.lists import Lists
from index.near import UNMEASURED_SHARE
from index.snapshots import load_base
from index.tuning import still_holds

DIM, ROWS = 16, 3000


def places(seed: int, rows: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(20, DIM))
    return (centres[rng.integers(0, 20, rows)] + 0.4 * rng.normal(size=(rows, DIM))).astype(np.float32)


@pytest.fixture(autouse=True)
def _lists_cost_little(monkeypatch) -> None:
    # So few rows are all looked at otherwise, and nothing is approximate.
    monkeypatch.setattr(Lists, "cost", lambda near, effort: 0.01 * effort)


@pytest.fixture(params=Metric)
def store(request, tmp_path: Path) -> Iterator[Store]:
    """A space of 3,000 tracks by 100 artists, with listeners."""
    ids = [f"t{row:04d}" for row in range(ROWS)]
    with Store.open(tmp_path / "home") as opened:
        users = [f"u{number}" for number in range(150)]
        opened.create_space(SpaceRecord("made", DIM, request.param), ids, places(1, ROWS), users, places(2, 150))
        opened.commit(
            WriteBatch(tracks=[TrackRecord(one, artist_ids=(f"a{row % 100}",)) for row, one in enumerate(ids)])
        )
        yield opened


def recall(searcher: Searcher, **options: object) -> float:
    queries = places(3, 60)
    near, exact = (searcher.search(queries, 20, exact=way, **options) for way in (False, True))  # type: ignore[arg-type]
    shares = [
        len(set(one.track_ids) & set(other.track_ids)) / len(other) for one, other in zip(near, exact, strict=True)
    ]
    return float(np.mean(shares))


def test_a_snapshot_of_the_kind_holds_its_recall_and_says_what_was_measured(store):
    snapshot = build_snapshot(store, "made", kind="ivf_fp16")
    assert snapshot.index_kind == IVF_FP16
    tuning = tuning_of(store, snapshot)
    assert tuning is not None
    assert (tuning.recall, tuning.k) == (0.99, 100)
    assert 0.99 <= tuning.measured <= 1.0
    assert tuning.queries == 350  # 200 tracks and all the listeners
    store.publish(snapshot.snapshot_id)
    with Searcher.open(store, device="cpu", threads=1) as searcher:
        assert searcher.status().index_kind == IVF_FP16
        assert recall(searcher) >= 0.99
        assert recall(searcher, filters=Filters(artists_in=frozenset({"a1", "a2", "a3"}))) >= 0.99
        assert recall(searcher, max_per_artist=1) >= 0.99


def test_exact_finds_what_the_flat_kind_finds(store):
    queries = places(4, 30)
    answers = []
    for kind, exact in (("flat_fp16", False), ("ivf_fp16", True)):
        store.publish(build_snapshot(store, "made", kind=kind).snapshot_id)
        with Searcher.open(store, device="cpu", threads=1) as searcher:
            answers.append(searcher.search(queries, 50, exact=exact))
    for flat, lists in zip(*answers, strict=True):
        assert flat.track_ids == lists.track_ids
        np.testing.assert_array_equal(flat.scores, lists.scores)


def test_damped_popularity_is_exact_on_the_kind(tmp_path):
    with Store.open(tmp_path / "home") as store:
        vectors = places(1, ROWS) * np.random.default_rng(5).uniform(0.2, 5, size=(ROWS, 1)).astype(np.float32)
        store.create_space(SpaceRecord("made", DIM), [f"t{row:04d}" for row in range(ROWS)], vectors)
        store.publish(build_snapshot(store, "made", kind="ivf_fp16").snapshot_id)
        with Searcher.open(store, device="cpu", threads=1) as searcher:
            queries = places(4, 10)
            found = searcher.search(queries, 20, popularity_damping=0.7)
            expected = searcher.search(queries, 20, popularity_damping=0.7, exact=True)
            assert [one.track_ids for one in found] == [one.track_ids for one in expected]


def test_fresh_rows_and_withdrawals_show_at_once(store):
    store.publish(build_snapshot(store, "made", kind="ivf_fp16").snapshot_id)
    with Searcher.open(store, device="cpu", threads=1) as searcher:
        query = places(3, 1)
        first = searcher.search(query, 2)[0].track_ids[0]
        store.commit(WriteBatch(withdrawn={first: "rights"}))
        found = searcher.search(query, 20)[0].track_ids
        assert first not in found
        assert len(found) == 20
        row = served("new", 3 * query[0], Tier.ARTIST_TRANSFER)
        store.commit(WriteBatch(tracks=[TrackRecord("new")], fresh={"made": [row]}))
        assert searcher.search(query, 1)[0].track_ids == ["new"]
        assert recall(searcher) >= 0.99


def test_the_files_are_read_and_what_is_missing_or_damaged_is_built_anew(store, caplog):
    snapshot = build_snapshot(store, "made", kind="ivf_fp16")
    folder = Path(store.home) / "indexes" / snapshot.snapshot_id
    for name, damage in (("near.index", b"damaged"), ("tuning.json", b"{}"), ("near.index", None), ("", b"")):
        with Store.open(store.home) as other:
            if damage is None:
                (folder / name).unlink()
            elif name:
                (folder / name).write_bytes(damage)
            with caplog.at_level(logging.WARNING):
                caplog.clear()
                base = load_base(other, snapshot)
        assert base.near is not None
        assert base.tuning == tuning_of(store, snapshot)
        assert ("building it anew" in caplog.text) == bool(name)


def test_an_index_of_the_format_before_is_read(store, caplog):
    snapshot = build_snapshot(store, "made", kind="flat_fp16")
    path = Path(store.home) / "indexes" / snapshot.snapshot_id / "base.json"
    manifest = json.loads(path.read_bytes())
    assert manifest.pop("version") == 2
    for name in ("near_sha256", "patched_rows"):
        manifest.pop(name)
    path.write_text(json.dumps(manifest | {"version": 1}))
    with Store.open(store.home) as other, caplog.at_level(logging.WARNING):
        assert load_base(other, snapshot).near is None
        assert not caplog.text
        path.write_text(json.dumps(manifest | {"version": 3}))
    with Store.open(store.home) as other:
        load_base(other, snapshot)
        assert "version is 3 where 2 was expected; building it anew" in caplog.text


def test_a_patched_index_keeps_its_centres_and_its_tuning(store, monkeypatch):
    store.publish(build_snapshot(store, "made", kind="ivf_fp16").snapshot_id)
    monkeypatch.setattr(Lists, "build", None)
    rows = [served(f"t{row:04d}", vector) for row, vector in zip(range(0, 300, 10), places(7, 30), strict=True)]
    store.replace_served("made", rows, as_of=store.fresh_version("made"))
    snapshot = build_snapshot(store, "made", kind="ivf_fp16")
    tuning = tuning_of(store, snapshot)
    assert tuning is not None
    assert tuning.measured >= tuning.recall
    store.publish(snapshot.snapshot_id)
    with Searcher.open(store, device="cpu", threads=1) as searcher:
        assert recall(searcher) >= 0.98
        _, vectors = searcher.vectors(["t0010"])
        assert searcher.search(vectors, 1)[0].track_ids == ["t0010"] or store.space("made").metric is not Metric.COSINE


def test_what_was_measured_is_kept_until_a_hundredth_of_the_rows_has_changed(store, monkeypatch):
    store.publish(build_snapshot(store, "made", kind="ivf_fp16").snapshot_id)
    measured = []
    monkeypatch.setattr("index.near.still_holds", lambda *given: measured.append(given[-1]) or still_holds(*given))
    few = int(UNMEASURED_SHARE * ROWS / 2)  # each of them comes, and another one goes
    unmeasured = []
    for turn in range(2):
        rows = [served(f"t{few * turn + n:04d}", vector) for n, vector in enumerate(places(turn, few))]
        store.replace_served("made", rows, as_of=store.fresh_version("made"))
        snapshot = build_snapshot(store, "made", kind="ivf_fp16")
        store.publish(snapshot.snapshot_id)
        tuning = tuning_of(store, snapshot)
        assert tuning is not None
        unmeasured.append((tuning.unmeasured, bool(measured)))
    assert unmeasured == [(2 * few, False), (0, True)]


def test_tuned_anew_it_is_followed_and_the_next_build_wants_the_same(store):
    snapshot = build_snapshot(store, "made", kind="ivf_fp16")
    store.publish(snapshot.snapshot_id)
    with Searcher.open(store, device="cpu", threads=1) as searcher, Store.open(store.home) as other:
        before = tuning_of(store, snapshot)
        found = tune_snapshot(other, snapshot, recall=0.8, k=10, queries=100)
        assert found is not None
        tuning, tried, exact_per_s = found
        assert tuning != before
        assert (tuning.recall, tuning.k, tuning.queries) == (0.8, 10, 200)
        assert tuning.effort in {one.effort for one in tried}
        assert exact_per_s > 0
        assert searcher.sync()
        assert not searcher.sync()
        assert searcher.view()._state.base.backend.tuning == tuning
    again = tuning_of(store, build_snapshot(store, "made", kind="ivf_fp16"))
    assert again is not None
    assert (again.recall, again.k) == (0.8, 10)


def test_an_exact_index_has_nothing_to_tune(store):
    snapshot = build_snapshot(store, "made")
    assert snapshot.index_kind == FLAT_FP16
    assert tune_snapshot(store, snapshot) is None
    assert tuning_of(store, snapshot) is None


@pytest.mark.parametrize(
    ("wrong", "field"), [({"recall": 0.3}, "recall"), ({"k": 0}, "k"), ({"queries": 0}, "queries")]
)
def test_what_cannot_be_tuned_for_is_refused(store, wrong, field):
    with pytest.raises(InvalidInputError) as caught:
        tune_snapshot(store, build_snapshot(store, "made"), **wrong)
    assert caught.value.field == field


def test_an_unknown_kind_is_refused(store):
    with pytest.raises(InvalidInputError, match="one of auto, flat_fp16, ivf_fp16"):
        build_snapshot(store, "made", kind="hnsw")


@pytest.mark.parametrize(
    ("kind", "rows", "device", "chosen"),
    [
        ("auto", 0, "cpu", FLAT_FP16),
        ("auto", 9_999, "cpu", FLAT_FP16),
        ("auto", 10_000, "cpu", IVF_FP16),
        ("auto", 10_000_000, "gpu", FLAT_FP16),
        ("auto", 10_000_001, "gpu", IVF_FP16),
        ("flat_fp16", 10**9, "cpu", FLAT_FP16),
        ("ivf_fp16", 5, "gpu", IVF_FP16),
        ("ivf_fp16", 0, "cpu", FLAT_FP16),
    ],
)
def test_auto_goes_by_size_and_device(kind, rows, device, chosen):
    assert choose_kind(kind, rows, device) == chosen


def test_auto_takes_the_flat_kind_where_lists_are_worth_nothing(store, monkeypatch, caplog):
    monkeypatch.setattr("index.kinds.LISTS_FROM_ROWS", {"cpu": 1, "gpu": 1})
    assert build_snapshot(store, "made", device="cpu").index_kind == IVF_FP16
    monkeypatch.setattr(Lists, "cost", lambda near, effort: 1e9)
    assert build_snapshot(store, "made", device="cpu").index_kind == FLAT_FP16
    assert "of the cost of looking at all rows, which is not below 25%" in caplog.text
    snapshot = build_snapshot(store, "made", kind="ivf_fp16", device="cpu")
    assert snapshot.index_kind == IVF_FP16  # whoever asks for it has it, and every row is looked at
    store.publish(snapshot.snapshot_id)
    with Searcher.open(store, device="cpu", threads=1) as searcher:
        assert recall(searcher) == 1.0


def test_a_small_space_gives_up_being_exact_only_for_a_multiple(store, monkeypatch):
    monkeypatch.setattr("index.kinds.LISTS_FROM_ROWS", {"cpu": 1, "gpu": 1})
    monkeypatch.setattr(Lists, "cost", lambda near, effort: 0.3 * ROWS)
    snapshot = build_snapshot(store, "made", device="cpu")
    assert snapshot.index_kind == FLAT_FP16
    store.publish(snapshot.snapshot_id)
    monkeypatch.setattr(Lists, "cost", lambda near, effort: 0.2 * ROWS)
    store.commit(
        WriteBatch(
            tracks=[TrackRecord("new")],
            fresh={"made": [ServedVector("new", places(5, 1)[0], Tier.ARTIST_TRANSFER)]},
        )
    )
    # Patched from one that stayed flat: it is not tried again, until the space is large.
    assert build_snapshot(store, "made", device="cpu").index_kind == FLAT_FP16
    monkeypatch.setattr("index.kinds.SLOW_FROM_ROWS", ROWS)
    monkeypatch.setattr(Lists, "cost", lambda near, effort: 0.9 * ROWS)
    assert build_snapshot(store, "made", device="cpu").index_kind == IVF_FP16


def test_an_empty_space_is_flat(tmp_path):
    with Store.open(tmp_path / "home") as store:
        store.create_space(SpaceRecord("empty", DIM), [], np.zeros((0, DIM), dtype=np.float32))
        assert build_snapshot(store, "empty", kind="ivf_fp16").index_kind == FLAT_FP16


def test_a_reader_searches_the_files_in_place(store):
    store.publish(build_snapshot(store, "made", kind="ivf_fp16").snapshot_id)
    queries = places(4, 30)
    with Searcher.open(store, device="cpu", threads=1) as searcher:
        expected = searcher.search(queries, 50)
    with Store.open(store.home, read_only=True) as reader, Searcher.open(reader, device="cpu", threads=1) as searcher:
        found = searcher.search(queries, 50)
        assert recall(searcher) >= 0.99
    assert [one.track_ids for one in found] == [one.track_ids for one in expected]
