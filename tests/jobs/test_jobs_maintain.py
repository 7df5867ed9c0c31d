"""The upkeep behind a refresh and by itself: answers stay, old things go, and takedowns stay takedowns."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from made_catalogue import SPACE_ID, release, warm_factors

from index import LeaseHeldError, LeaseLostError, Retention, StoreError, Tier, UnknownSnapshotError, Upkeep
from jobs import Engine, IngestState, Query
from jobs.factors import Factors
from jobs.maintain import maintain
from jobs.spaces import import_space, list_spaces, rollback_snapshot

AT_ONCE = Retention(snapshots=1, days=0.0, grace_s=0.0)


def found(engine: Engine, track_id: str = "ada-0") -> set[str]:
    return set(engine.ask(Query(track_id=track_id, k=100)).hits[0].track_ids)


def retrain(engine: Engine, space_id: str, seed: int = 1) -> None:
    import_space(engine, space_id, warm_factors(seed))
    engine.refresh(space_id=space_id)


def test_a_refresh_maintains_the_home(home) -> None:
    with Engine.open(home, retention=AT_ONCE) as engine:
        for number in range(3):
            engine.ingest([release(f"new-{number}")])
            done = engine.refresh()
            assert done.maintenance is not None
        assert [one.snapshot_id for one in engine.store.snapshots()] == [done.snapshot_id]
        assert done.maintenance.fresh_rows_dropped == 1
        assert len(engine.store.fresh_rows(SPACE_ID)) == 0
        assert done.maintenance.alerts == []
        assert {f"new-{number}" for number in range(3)} <= found(engine)
    with Engine.open(home) as again:
        assert {f"new-{number}" for number in range(3)} <= found(again)


def test_a_refresh_behind_a_rollback_at_the_moment_of_the_mark_is_served_and_opens(home) -> None:
    with Engine.open(home) as engine:
        retrain(engine, "second")
        later = datetime.now(UTC) + timedelta(days=20)
        upkeep = Upkeep(engine.store, Retention(snapshots=1, days=0.0), later)
        plan = upkeep.plan()
        rollback_snapshot(engine)  # it takes no lease, and saw no mark
        upkeep.retire(plan)
        assert SPACE_ID in [one.space_id for one in plan.retired_spaces]
        engine.ingest([release("new")])
        done = engine.refresh()
        assert (done.space_id, done.published) == (SPACE_ID, True)
        assert "new" in found(engine)
    with Engine.open(home) as again:
        assert again.serving() == (SPACE_ID, done.snapshot_id)
        assert "new" in found(again)


def test_by_default_there_is_a_way_back_from_every_refresh(engine) -> None:
    for number in range(3):
        engine.ingest([release(f"new-{number}")])
        engine.refresh()
    before = found(engine)
    assert len(engine.store.snapshots()) == 4
    for _ in range(3):
        rollback_snapshot(engine)
        assert found(engine) == before  # what came since is fresh to the older snapshots


def test_upkeep_that_fails_does_not_fail_the_refresh(engine, monkeypatch, caplog) -> None:
    def fail(self: object) -> None:
        raise StoreError("the disk is full")

    engine.ingest([release("new")])
    monkeypatch.setattr("index.upkeep.Upkeep.drop_folded", fail)
    with caplog.at_level(logging.ERROR):
        done = engine.refresh()
    assert done.maintenance is None
    assert "could not be maintained" in caplog.text
    assert engine.store.published().snapshot_id == done.snapshot_id
    assert "new" in found(engine)
    monkeypatch.undo()
    assert maintain(engine).alerts == []


def test_a_dry_run_writes_nothing_and_says_what_the_run_does(engine) -> None:
    for number in range(2):
        engine.ingest([release(f"new-{number}")])
        engine.refresh()
    names = ("registry/spaces", "tracks", f"served/{SPACE_ID}")

    def lying() -> dict[str, object]:
        return {table.name: table.version for table in engine.store.tables()}

    before = lying()
    with engine.store.lease("refresh"):  # it needs none
        before = lying()
        would = maintain(engine, AT_ONCE, dry_run=True)
        assert lying() == before
    assert would.dry_run
    assert set(names) <= {one.name for one in would.tables}
    did = maintain(engine, AT_ONCE)
    assert did.retired_snapshots == would.retired_snapshots
    assert len(did.retired_snapshots) == 2
    assert sorted(did.deleted_snapshots) == sorted(did.retired_snapshots)  # there is no grace
    assert would.deleted_snapshots == []
    assert did.as_dict()["tables"][0]["name"] == "tracks"
    assert maintain(engine, AT_ONCE, dry_run=True).retired_snapshots == []


def test_only_one_maintains_at_a_time_and_nobody_rolls_back_later_for_it(engine) -> None:
    engine.ingest([release("new")])
    engine.refresh()
    with Engine.open(engine.store.home) as other, other.store.lease("refresh") as lease:
        with pytest.raises(LeaseHeldError):
            maintain(engine)
        rolled_back = rollback_snapshot(engine)  # takes no lease
        engine.withdraw(["ada-1"])
        assert "ada-1" not in found(engine)
        assert maintain(other, AT_ONCE, lease=lease).kept_snapshots == 1
    assert engine.store.published() == rolled_back


def test_upkeep_stops_where_the_lease_is_lost(engine, monkeypatch) -> None:
    engine.ingest([release("new")])
    engine.refresh()
    with engine.store.lease("refresh") as lease:
        pass
    with pytest.raises(LeaseLostError):
        maintain(engine, AT_ONCE, lease=lease)
    assert len(engine.store.snapshots()) == 2


def test_answers_do_not_change_while_a_home_is_maintained(engine) -> None:
    for number in range(3):
        engine.ingest([release(f"new-{number}")])
        engine.refresh()
    expected, seen, done = found(engine), [], threading.Event()

    def ask() -> None:
        while not done.is_set():
            seen.append(found(engine))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        with Engine.open(engine.store.home) as other:
            maintain(other, AT_ONCE)
        engine.sync()
    finally:
        done.set()
        asking.join()
    assert seen
    assert all(one == expected for one in seen)
    assert found(engine) == expected


def test_withdrawn_tracks_stay_withdrawn_through_everything(home) -> None:
    with Engine.open(home, retention=AT_ONCE) as engine:
        engine.ingest([release("cold")])
        engine.refresh()
        engine.withdraw(["ada-1", "cold"], "rights")
        gone = {"ada-1", "cold"}

        def nowhere() -> None:
            assert not gone & found(engine)
            assert all(isinstance(one, Exception) for one in engine.embeddings(sorted(gone)).embeddings)
            with Engine.open(home) as other:
                assert not gone & found(other)

        nowhere()
        retrain(engine, "second")
        nowhere()
        import_space(engine, "third", warm_factors(2))
        maintain(engine, Retention(snapshots=5, days=14.0, grace_s=0.0))
        engine.ingest([release("ben-new", artist_ids=("ben",))])
        engine.refresh(everything=True)
        nowhere()
        engine.refresh(space_id="third")
        maintain(engine, AT_ONCE)
        nowhere()
        assert engine.ingest([release("cold")])[0].state is IngestState.REFUSED
        nowhere()


def test_any_kept_snapshot_can_be_named_to_roll_back_to(engine) -> None:
    first = engine.store.published().snapshot_id
    for number in range(3):
        engine.ingest([release(f"new-{number}")])
        engine.refresh()
    latest = engine.store.published().snapshot_id
    assert [one["steps_back"] for one in list_spaces(engine)[1]] == [3, 2, 1, 0]
    assert rollback_snapshot(engine, first).snapshot_id == first
    assert engine.serving() == (SPACE_ID, first)
    assert [one["steps_back"] for one in list_spaces(engine)[1]] == [0, None, None, None]
    assert rollback_snapshot(engine, latest).snapshot_id == latest  # and forward again, where it was a mistake
    assert rollback_snapshot(engine).snapshot_id == first
    with pytest.raises(UnknownSnapshotError):
        rollback_snapshot(engine, "20200101T000000.000000Z-abcdef")


def test_a_dropped_space_takes_nothing_of_the_others_with_it(home) -> None:
    with Engine.open(home, retention=Retention(snapshots=1, days=0.0, grace_s=0.0)) as engine:
        engine.ingest([release("cold")])
        retrain(engine, "second")
        assert [one.space_id for one in engine.store.spaces()] == ["second"]
        assert engine.status().space.space_id == "second"
        assert "cold" in found(engine)
        assert engine.store.served_vectors("second", ["cold"])["cold"].tier is not Tier.COLLABORATIVE
        retrain(engine, "third", 2)
        assert "cold" in found(engine)
        items = warm_factors(3)
        import_space(engine, "fourth", Factors(items.ids, items.vectors.astype(np.float32)))
        maintain(engine)
        assert [one.space_id for one in engine.store.spaces()] == ["third", "fourth"]
