"""A clock that is set forth or back: what is served, what is kept, and who may work do not hang on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from made_catalogue import release

import index.lease
import index.registry
import index.schemas
import index.snapshots
import index.spaces
import index.store
import index.upkeep
from index import Retention
from jobs import Engine, Query
from jobs.maintain import maintain
from jobs.spaces import rollback_snapshot

MODULES = (index.lease, index.registry, index.schemas, index.snapshots, index.spaces, index.store, index.upkeep)


@contextmanager
def clock(ahead: timedelta) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in MODULES:
            patch.setattr(module, "utc_now", lambda: datetime.now(UTC) + ahead)
        yield


def found(engine: Engine) -> set[str]:
    return set(engine.ask(Query(track_id="ada-0", k=100)).hits[0].track_ids)


@pytest.mark.parametrize(
    "ahead", [timedelta(days=-400), pytest.param(timedelta(days=4000), marks=pytest.mark.slow)], ids=["back", "forth"]
)
def test_what_is_published_last_is_served_and_can_be_gone_back_from(home: Path, ahead: timedelta) -> None:
    with Engine.open(home) as engine:
        first = engine.serving()
        with clock(ahead):
            engine.ingest([release("new")])
            done = engine.refresh()
            assert engine.serving() == (first[0], done.snapshot_id) != first
            assert "new" in found(engine)
        engine.ingest([release("newer")])  # and the clock is right again
        again = engine.refresh()
        assert engine.serving()[1] == again.snapshot_id
        assert {"new", "newer"} <= found(engine)
        assert rollback_snapshot(engine).snapshot_id == done.snapshot_id
        assert rollback_snapshot(engine).snapshot_id == first[1]
        assert {"new", "newer"} <= found(engine)
    with Engine.open(home) as reopened:
        assert reopened.serving() == first
        assert {"new", "newer"} <= found(reopened)


@pytest.mark.slow
def test_an_upkeep_by_a_clock_that_is_years_ahead_leaves_what_is_served_and_the_way_back(home: Path) -> None:
    with Engine.open(home) as engine:
        for number in range(3):
            engine.ingest([release(f"new-{number}")])
            engine.refresh()
        before = [one.snapshot_id for one in engine.store.rollback_stack()]
        with clock(timedelta(days=4000)):
            maintain(engine, Retention())
            maintain(engine, Retention())
        assert [one.snapshot_id for one in engine.store.rollback_stack()] == before[-5:]
        assert {f"new-{number}" for number in range(3)} <= found(engine)
    with Engine.open(home) as reopened:
        rollback_snapshot(reopened)
        assert {f"new-{number}" for number in range(3)} <= found(reopened)
