"""Which snapshots and spaces are kept, and that nothing which may still be read is touched."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from index import (
    InvalidInputError,
    Metric,
    NoRollbackError,
    PublishKind,
    PublishRecord,
    Retention,
    Searcher,
    ServedVector,
    SnapshotRecord,
    SpaceExistsError,
    SpaceRecord,
    Store,
    TableFigures,
    Tier,
    TrackRecord,
    UnknownSnapshotError,
    UnknownSpaceError,
    Upkeep,
    WriteBatch,
    alerts,
    build_snapshot,
)
from index import upkeep as upkeep_module
from index.retention import plan_retention
from index.tables import Table

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
AT_ONCE = Retention(snapshots=1, days=0.0, grace_s=0.0)


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def planned(built: dict[str, float], served: list[tuple[str, float]], retention: Retention) -> list[str]:
    """Names of the snapshots that are kept: built so many days ago, and served from so many days ago."""
    snapshots = [SnapshotRecord(name, "als", 1, 1, "flat", 1, "", days_ago(ago)) for name, ago in built.items()]
    history = [
        PublishRecord(
            number, name.lstrip("<"), PublishKind.ROLLBACK if name[0] == "<" else PublishKind.PUBLISH, days_ago(ago)
        )
        for number, (name, ago) in enumerate(served, start=1)
    ]
    plan = plan_retention([], snapshots, history, retention, NOW)
    assert len(plan.kept) + len(plan.retired_snapshots) == len(snapshots)
    return [one.snapshot_id for one in plan.kept]


def test_so_many_of_the_way_back_are_kept_however_old():
    built = {name: 100 - place for place, name in enumerate("abcdef")}
    served = list(built.items())
    assert planned(built, served, Retention(3, 14)) == ["d", "e", "f"]
    assert planned(built, served, Retention(1, 14)) == ["f"]
    assert planned(built, served, Retention(9, 14)) == list("abcdef")


def test_the_way_back_is_counted_from_what_is_served():
    built = {name: 100 - place for place, name in enumerate("abcd")}
    served = [("a", 50), ("b", 49), ("c", 48), ("d", 47), ("<b", 46)]
    assert planned(built, served, Retention(2, 14)) == ["a", "b"]


def test_what_was_built_or_served_within_the_days_is_kept():
    built = {"old": 100.0, "long": 90.0, "staged": 3.0, "left": 20.0, "new": 1.0}
    served = [("old", 99), ("long", 80), ("new", 1)]
    assert planned(built, served, Retention(1, 14)) == ["long", "staged", "new"]


def test_what_was_served_within_the_grace_is_kept_whatever_else_is_asked():
    hour = 1 / 24
    built = {"old": 100.0, "long": 90.0, "new": 80.0}
    served = [("old", 99), ("long", 80), ("new", hour / 2)]
    assert planned(built, served, Retention(1, 0)) == ["long", "new"]
    assert planned(built, served, Retention(1, 0, grace_s=600)) == ["new"]


def test_before_the_first_publish_only_age_counts():
    assert planned({"old": 20.0, "young": 2.0}, [], Retention(5, 14)) == ["young"]
    assert planned({}, [], Retention()) == []


def test_a_space_goes_with_its_last_snapshot_unless_young_or_imported_last():
    spaces = [SpaceRecord(name, 8, created_at=days_ago(ago)) for name, ago in
              {"gone": 90, "served": 80, "young": 3, "before": 40, "last": 2}.items()]  # fmt: skip
    snapshots = [SnapshotRecord("s", "served", 1, 1, "flat", 1, "", days_ago(70))]
    history = [PublishRecord(1, "s", PublishKind.PUBLISH, days_ago(70))]
    plan = plan_retention(spaces, snapshots, history, Retention(), NOW)
    assert [one.space_id for one in plan.retired_spaces] == ["gone", "before"]
    plan = plan_retention(spaces, snapshots, history, Retention(days=0), NOW)
    assert [one.space_id for one in plan.retired_spaces] == ["gone", "young", "before"]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"snapshots": 0}, "snapshots"), ({"days": -1.0}, "days"), ({"days": float("nan")}, "days"),
     ({"grace_s": -1.0}, "grace_s")],
)  # fmt: skip
def test_a_retention_is_checked(wrong: dict[str, float], field: str):
    with pytest.raises(InvalidInputError) as caught:
        Retention(**wrong)
    assert caught.value.field == field


# On a home ---------------------------------------------------------------------------------------------------------


def ingest(store: Store, name: str, value: float = 2.0) -> None:
    row = ServedVector(name, np.full(8, value, np.float32), Tier.AUDIO_ONLY, 0.25)
    store.commit(WriteBatch(tracks=[TrackRecord(name)], fresh={"als": [row]}))


def publish_some(store: Store, count: int) -> list[SnapshotRecord]:
    """Publish snapshots, each with a track more than the one before."""
    found = []
    for number in range(count):
        ingest(store, f"new-{number}")
        found.append(build_snapshot(store, "als"))
        store.publish(found[-1].snapshot_id)
    return found


def answers(store: Store, k: int = 50) -> tuple[str, list[str]]:
    """Ask a process of its own: what is served, and every track in it."""
    with Store.open(store.home) as opened, Searcher.open(opened, device="cpu", threads=1) as searcher:
        found = searcher.search(np.ones((1, 8), np.float32), k)
        return found.snapshot_id, sorted(found[0].track_ids)


def upkeep_once(store: Store, retention: Retention, now: datetime | None = None) -> Upkeep:
    upkeep = Upkeep(store, retention, now)
    upkeep.retire(upkeep.plan())
    upkeep.discard()
    upkeep.drop_folded()
    list(upkeep.tidy())
    return upkeep


def test_kept_snapshots_can_be_gone_back_to_and_answer_as_before(store, space):
    built = publish_some(store, 4)
    expected = {one.snapshot_id: sorted(answers(store)[1]) for one in built[-1:]}
    upkeep_once(store, Retention(grace_s=0.0))  # which cleans up every version that has no tag
    served = lance.dataset(store.space_tables.served("als").address)
    assert len(served.versions()) <= len(built) + 1
    assert answers(store) == (built[-1].snapshot_id, expected[built[-1].snapshot_id])
    tracks = [f"t{i:02d}" for i in range(30)]
    for back in (2, 1, 0):
        store.rollback()
        # Tracks ingested since are fresh to the older snapshot: they are found in it, too.
        assert answers(store) == (built[back].snapshot_id, sorted([*tracks, *(f"new-{n}" for n in range(4))]))
    assert store.served_vectors("als", ["new-0", "new-3"], snapshot=built[0]).keys() == {"new-0", "new-3"}


def test_what_is_retired_is_in_no_list_and_its_files_are_deleted(store, space):
    *old, last = publish_some(store, 4)
    with Store.open(store.home) as other:
        assert len(other.snapshots()) == 4
        upkeep_once(store, AT_ONCE)
        assert store.snapshots() == other.snapshots() == [last]
        for one in (store, other):
            with pytest.raises(NoRollbackError):
                one.rollback()
            for call in (one.rollback, one.publish):
                with pytest.raises(UnknownSnapshotError, match="retired"):
                    call(old[0].snapshot_id)
    assert [path.name for path in (store.home / "indexes").iterdir()] == [last.snapshot_id]
    assert store.space_tables.served("als").tags() == {last.snapshot_id}
    assert len(answers(store)[1]) == 34
    # The next snapshots are built, published and gone back from as ever.
    ingest(store, "later")
    store.publish(build_snapshot(store, "als").snapshot_id)
    assert store.rollback().snapshot_id == last.snapshot_id
    assert "later" in answers(store)[1]


def test_a_way_back_with_gaps_leads_on(store, space):
    first, second, third = publish_some(store, 3)
    store.publish(second.snapshot_id)
    store.publish(first.snapshot_id)
    store.publish(second.snapshot_id)  # 1 2 3 2 1 2
    store.registry.retire("snapshot", [first.snapshot_id], datetime.now(UTC))
    assert store.rollback_stack() == [second, third, second]
    assert [store.rollback().snapshot_id for _ in range(2)] == [third.snapshot_id, second.snapshot_id]
    with pytest.raises(NoRollbackError):
        store.rollback()


def test_files_stay_for_the_grace_after_the_mark(store, space):
    old, last = publish_some(store, 2)
    hour, retention = timedelta(hours=1), Retention(snapshots=1, days=0.0)
    soon = datetime.now(UTC) + hour + timedelta(minutes=1)  # the older one is served no more, for an hour
    upkeep = upkeep_once(store, retention, soon)
    assert store.snapshots() == [last]
    assert upkeep.leftovers() == ([], [])
    assert (store.home / "indexes" / old.snapshot_id).exists()
    assert old.snapshot_id in store.space_tables.served("als").tags()
    assert store.served_vectors("als", ["new-1"], snapshot=old)["new-1"].vector[0] == 2.0  # fresh to the older one
    later = Upkeep(store, retention, soon + hour + timedelta(minutes=1))
    assert later.leftovers() == ([old.snapshot_id], [])
    assert later.discard() == ([old.snapshot_id], [])
    assert not (store.home / "indexes" / old.snapshot_id).exists()


@pytest.mark.parametrize("left", ["all", "tag", "index"])
def test_what_a_crash_left_is_done_by_the_next_run(store, space, left):
    old, _ = publish_some(store, 2)
    cut_off = Upkeep(store, AT_ONCE)
    cut_off.retire(cut_off.plan())
    if left == "tag":
        store.layout.files.remove(f"indexes/{old.snapshot_id}")
    elif left == "index":
        store.space_tables.served("als").unprotect(old.snapshot_id)
    with Store.open(store.home) as reopened:
        again = Upkeep(reopened, AT_ONCE)
        assert again.plan().retired_snapshots == ()
        assert again.discard() == ([old.snapshot_id], [])
        assert Upkeep(reopened, AT_ONCE).leftovers() == ([], [])
    assert not (store.home / "indexes" / old.snapshot_id).exists()


def test_what_a_build_left_that_was_cut_off_is_deleted_a_day_later(store, space, monkeypatch):
    def die(record: SnapshotRecord) -> None:
        raise KeyboardInterrupt

    (served,) = publish_some(store, 1)
    ingest(store, "later")
    monkeypatch.setattr(store.registry, "add_snapshot", die)
    with pytest.raises(KeyboardInterrupt):
        build_snapshot(store, "als")
    (store.home / "indexes" / "somebody-s").mkdir()
    left = {path.name for path in (store.home / "indexes").iterdir()} - {served.snapshot_id, "somebody-s"}
    assert len(left) == 1
    assert left < store.space_tables.served("als").tags()
    assert Upkeep(store, AT_ONCE).leftovers() == ([], [])
    later = Upkeep(store, AT_ONCE, datetime.now(UTC) + timedelta(days=1, minutes=1))
    assert later.discard() == (sorted(left), [])
    assert later.leftovers() == ([], [])
    assert {path.name for path in (store.home / "indexes").iterdir()} == {served.snapshot_id, "somebody-s"}
    assert store.space_tables.served("als").tags() == {served.snapshot_id}


def folders(store: Store) -> dict[str, list[str]]:
    return {kind: sorted(path.name for path in (store.home / kind).iterdir()) for kind in ("served", "fresh", "users")}


@pytest.mark.parametrize("cut_off", ["Table.create", "Registry.add_space"])
def test_what_an_import_left_that_was_cut_off_is_deleted_a_day_later(store, space, vectors, monkeypatch, cut_off):
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    before = folders(store)
    ids = [f"t{i:02d}" for i in range(30)]
    with monkeypatch.context() as patch:
        if cut_off == "Table.create":  # the process ended before it could tidy up
            tables = iter([Table.create, die])
            patch.setattr("index.spaces.Table.create", lambda *arguments: next(tables)(*arguments))
            patch.setattr("index.spaces.SpaceTables._discard", lambda *_: None)
        else:
            patch.setattr("index.registry.Registry.add_space", die)
        with pytest.raises(KeyboardInterrupt):
            store.create_space(SpaceRecord("next", 8, Metric.INNER_PRODUCT), ids, vectors)
    assert folders(store) != before
    assert Upkeep(store, AT_ONCE).leftovers() == ([], [])  # somebody may be at it
    store.create_space(SpaceRecord("next", 8, Metric.INNER_PRODUCT), ids, vectors)  # again, to its end
    later = Upkeep(store, AT_ONCE, datetime.now(UTC) + timedelta(days=1, minutes=1))
    (left,) = later.leftovers()[1]
    assert left.startswith("next.")
    assert later.discard() == ([], [left])
    assert later.leftovers() == ([], [])
    assert {kind: len(names) for kind, names in folders(store).items()} == {"served": 2, "fresh": 2, "users": 2}
    store.publish(build_snapshot(store, "next").snapshot_id)
    assert answers(store)[1] == ids


def test_an_import_that_fails_leaves_nothing_behind(store, space, vectors, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError("no space left")

    before = folders(store)
    tables = iter([Table.create, fail])
    monkeypatch.setattr("index.spaces.Table.create", lambda *arguments: next(tables)(*arguments))
    with pytest.raises(OSError, match="no space left"):
        store.create_space(SpaceRecord("next", 8), [f"t{i:02d}" for i in range(30)], vectors)
    assert folders(store) == before


def test_the_upkeep_opens_no_old_version(store, space, monkeypatch):
    for number in range(3):
        ingest(store, f"new-{number}")
    expected = {one.name: one.versions for one in Upkeep(store, Retention()).figures()}
    tables = {table.name: table for table in store.tables()}
    assert expected == {name: len(table.latest().versions()) for name, table in tables.items()}

    def refuse(self: object) -> None:
        raise AssertionError("it would read a manifest for each version")

    monkeypatch.setattr(lance.LanceDataset, "versions", refuse)
    assert {one.name: one.versions for one in Upkeep(store, Retention()).figures()} == expected
    assert {one.after.name for one in Upkeep(store, Retention()).tidy()} == set(expected)


def test_a_rollback_at_the_moment_of_the_mark_is_served(store, space):
    old, _ = publish_some(store, 2)
    upkeep = Upkeep(store, AT_ONCE)
    plan = upkeep.plan()
    with Store.open(store.home) as other:
        other.rollback()  # it takes no lease, and saw no mark
    upkeep.retire(plan)
    assert upkeep.discard() == ([], [])
    upkeep.drop_folded()
    list(upkeep.tidy())
    assert store.published() == old
    assert old in store.snapshots()
    assert answers(store) == (old.snapshot_id, sorted([*(f"t{i:02d}" for i in range(30)), "new-0", "new-1"]))


def test_a_space_that_was_gone_back_to_at_the_moment_of_its_mark_is_served_on(store, space, vectors):
    """Snapshots made on it since carry no mark, and neither does the space while one of them is listed."""
    ids, hour = [f"t{i:02d}" for i in range(30)], Retention(snapshots=1, days=0.0)
    (first,) = publish_some(store, 1)
    store.create_space(SpaceRecord("other", 8, Metric.INNER_PRODUCT), ids, vectors)
    other = build_snapshot(store, "other")
    store.publish(other.snapshot_id)
    now = datetime.now(UTC)
    upkeep = Upkeep(store, hour, now + timedelta(days=20))
    plan = upkeep.plan()
    assert [one.space_id for one in plan.retired_spaces] == ["als"]
    with Store.open(store.home) as elsewhere:
        elsewhere.rollback()
    upkeep.retire(plan)

    ingest(store, "later")
    second = build_snapshot(store, "als")
    store.publish(second.snapshot_id)  # as a refresh does
    found = answers(store)
    assert (found[0], "later" in found[1]) == (second.snapshot_id, True)
    assert [one.space_id for one in store.spaces()] == ["als", "other"]
    # Another space is served: this one is listed still, can be gone back to, and keeps its tables.
    store.publish(other.snapshot_id)
    late = Upkeep(store, hour, now + timedelta(days=20, hours=2))
    assert late.leftovers() == ([first.snapshot_id], [])
    late.discard()
    assert store.rollback().snapshot_id == second.snapshot_id
    assert answers(store) == found
    # Once the last one is retired it goes, an hour after that, not after the mark of old.
    store.publish(other.snapshot_id)
    last = Upkeep(store, hour, now + timedelta(days=20, hours=4))
    last.retire(last.plan())
    assert [one.space_id for one in store.spaces()] == ["other"]
    assert last.leftovers() == ([], [])
    assert Upkeep(store, hour, now + timedelta(days=20, hours=6)).discard() == ([second.snapshot_id], ["als"])


def test_fresh_rows_stay_that_a_readable_snapshot_lacks(store, space):
    _, second, third = publish_some(store, 3)
    ingest(store, "unfolded")
    upkeep = Upkeep(store, Retention(snapshots=2, days=0.0, grace_s=0.0))
    upkeep.retire(upkeep.plan())
    assert [one.snapshot_id for one in store.snapshots()] == [second.snapshot_id, third.snapshot_id]
    assert upkeep.drop_folded() == 2  # new-0 and new-1, which both hold
    assert sorted(store.fresh_rows("als").track_ids) == ["new-2", "unfolded"]
    assert sorted(store.fresh_rows("als", since=third.fresh_version).track_ids) == ["unfolded"]
    assert Upkeep(store, Retention(snapshots=2, days=0.0, grace_s=0.0)).drop_folded() == 0
    # A track that is written again comes back as a fresh row and wins over the folded one.
    ingest(store, "new-0", value=5.0)
    assert store.served_vectors("als", ["new-0"])["new-0"].vector[0] == 5.0
    again = build_snapshot(store, "als")
    assert store.served_rows("als", version=again.served_version, track_ids=["new-0"]).vectors[0, 0] == 5.0


def test_a_searcher_that_is_a_snapshot_behind_reads_on(store, searcher):
    publish_some(store, 2)
    upkeep_once(store, Retention(snapshots=1, days=0.0))  # with the grace of an hour
    ingest(store, "while-behind")
    hits = searcher.search(np.ones((1, 8), np.float32), 50)
    assert {"new-0", "new-1", "while-behind"} <= set(hits[0].track_ids)
    assert searcher.sync()
    assert set(searcher.search(np.ones((1, 8), np.float32), 50)[0].track_ids) == set(hits[0].track_ids)


def test_old_spaces_are_dropped_with_their_tables_and_models(store, space, vectors):
    ids = [f"t{i:02d}" for i in range(30)]
    (first,) = publish_some(store, 1)
    for name in ("second", "third", "newest"):
        store.create_space(SpaceRecord(name, 8, Metric.INNER_PRODUCT), ids, vectors)
        (store.home / "models" / name).mkdir(parents=True)
    for name in ("als", "second"):
        store.note_moved(name, pa.table({"track_id": ["t00"], "moved": [0.5], "stamp": ["s"]}))
    second = build_snapshot(store, "second")
    store.publish(second.snapshot_id)
    upkeep = upkeep_once(store, AT_ONCE)
    assert upkeep.leftovers() == ([], [])
    assert [one.space_id for one in store.spaces()] == ["second", "newest"]
    for kind in ("served", "fresh", "users"):
        assert sorted(path.name.split(".")[0] for path in (store.home / kind).iterdir()) == ["newest", "second"]
    assert [path.name.split(".")[0] for path in (store.home / "moved").iterdir()] == ["second"]
    assert sorted(path.name for path in (store.home / "models").iterdir()) == ["newest", "second"]
    assert answers(store) == (second.snapshot_id, ids)
    with pytest.raises(UnknownSpaceError, match="retired"):
        store.space("als")
    with pytest.raises(SpaceExistsError):
        store.create_space(SpaceRecord("als", 8), ids, vectors)
    with pytest.raises(NoRollbackError):
        store.rollback()
    with pytest.raises(UnknownSnapshotError, match="retired"):
        store.snapshot(first.snapshot_id)


def test_tidying_leaves_few_fragments_and_versions_and_every_row(store, space):
    for number in range(12):
        ingest(store, f"new-{number}")
    before = {one.name: one for one in Upkeep(store, Retention()).figures()}
    done = {one.after.name: one for one in Upkeep(store, Retention(grace_s=0.0)).tidy()}
    assert done.keys() == before.keys() >= {"tracks", "fresh/als", "served/als", "users/als", "registry/spaces"}
    for name in ("tracks", "fresh/als"):
        assert (before[name].fragments, before[name].versions) >= (12, 13)
        assert (done[name].after.fragments, done[name].after.versions) == (1, 1)
        assert done[name].after.rows == before[name].rows == 12
        assert done[name].versions_removed >= 12
        assert done[name].after.bytes > 0
    assert len(store.tracks()) == 12


def test_behind_a_refresh_a_table_is_tidied_once_it_is_due(store, space):
    upkeep = Upkeep(store, Retention(grace_s=0.0))
    list(upkeep.tidy())
    tidied = []
    for number in range(upkeep_module.DUE_SMALL_FRAGMENTS):
        assert "tracks" not in tidied
        ingest(store, f"new-{number}")
        tidied = [one.after.name for one in upkeep.tidy(all_tables=False)]
    assert tidied == ["tracks", "fresh/als"]
    figures = {one.name: one.small_fragments for one in upkeep.figures()}
    assert figures["tracks"] == figures["fresh/als"] == 1
    assert len(store.tracks()) == upkeep_module.DUE_SMALL_FRAGMENTS


def test_versions_of_the_last_hour_stay(store, space):
    ingest(store, "new")
    version = store.versions("als")[0]
    list(Upkeep(store, Retention()).tidy())
    assert store.space_tables.fresh("als").read(version=version).num_rows == 1


def test_alerts_name_the_table_and_what_to_do():
    fine = TableFigures("tracks", 1_000_000, 10_000, 10**8, 31, 5, 200)
    assert alerts([fine]) == []
    (fragments,) = alerts([TableFigures("tracks", 1000, 0, 10**5, 500, 500, 200)])
    assert "tracks has 500 small fragments" in fragments
    (versions,) = alerts([TableFigures("fresh/als", 1000, 0, 10**5, 1, 1, 20_000)])
    assert "20000 versions" in versions
    (deleted,) = alerts([TableFigures("fresh/als", 10_000, 90_000, 10**5, 1, 1, 20)])
    assert "90000 deleted rows" in deleted


def test_a_table_that_cannot_be_tidied_leaves_the_others_tidied(store, space, monkeypatch, caplog):
    for number in range(3):
        ingest(store, f"new-{number}")
    address = Path(store.space_tables.fresh("als").address)
    clean = lance.LanceDataset.cleanup_old_versions

    def refuse(self, *args, **kwargs):
        if Path("/" + self.uri.removeprefix("file://").lstrip("/")) == address:
            raise OSError("no space left")
        return clean(self, *args, **kwargs)

    monkeypatch.setattr(lance.LanceDataset, "cleanup_old_versions", refuse)
    done = {one.after.name: one for one in Upkeep(store, Retention(grace_s=0.0)).tidy()}
    assert done["tracks"].after.versions == 1
    assert done["fresh/als"].after.versions > 1
    assert "fresh/als" in caplog.text
