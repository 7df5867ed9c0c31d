"""Back from a space in which much was placed: carried where the spaces agree, projected where they do not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from retrains import COLD, WARM, bring, first_training, hear, open_engine, serve_first, turned

from index import ServedVector, Store, Tier, WriteBatch
from jobs import Engine, Query, catch_up, missing, projectors
from jobs.catch_up import CatchUp
from jobs.projector import Projector
from jobs.spaces import rollback_snapshot

LATE = [f"a{artist:02d}-l0" for artist in range(6)]
"""Taken in while the newer training was served, and folded into its snapshot."""
UNLIKE = np.random.default_rng(7).normal(size=(len(WARM), 8)).astype(np.float32)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("rows-at-hand") / "home"
    with open_engine(home, create=True) as engine:
        serve_first(engine)
    return home


@pytest.fixture
def engine(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A home that serves its first training, and in which three missing tracks are many."""
    monkeypatch.setattr(missing, "LEFT_TO_REFRESH", 2)
    with open_engine(Path(shutil.copytree(template, tmp_path / "home"))) as opened:
        yield opened


def serve_second(engine: Engine, vectors: np.ndarray, *, metric: str = "inner_product") -> None:
    """Serve another training, and place the late tracks in it alone."""
    bring(engine, "new", vectors, metric=metric)
    engine.refresh(space_id="new")
    hear(engine, LATE)
    assert engine.refresh().projected >= len(LATE)
    assert engine.status().fresh_rows == 0


def found(engine: Engine) -> set[str]:
    return set(engine.ask(Query(track_id=WARM[0], k=500)).hits[0].track_ids)


def counted_projections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    project, projected = Projector.project, []

    def counted(self: Projector, records: list[object], *arguments: object) -> object:
        projected.extend(record.track_id for record in records)  # type: ignore[attr-defined]
        return project(self, records, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Projector, "project", counted)
    return projected


def test_many_rows_are_carried_back_and_the_next_refresh_projects_them(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_second(engine, turned(first_training(), dim=10))
    before = engine.store.served_vectors("new", LATE)
    projected = counted_projections(monkeypatch)
    rollback_snapshot(engine, engine.store.snapshots("old")[0].snapshot_id)
    assert (engine.serving()[0], projected) == ("old", [])
    assert {*LATE, *COLD} <= found(engine)
    for one, row in zip(LATE, engine.embeddings(LATE).embeddings, strict=True):
        assert isinstance(row, ServedVector)
        assert (row.tier, row.basis, row.leaned_on) == (Tier.ARTIST_TRANSFER, before[one].basis, before[one].leaned_on)
        # A turn and a scale lead from the one training to the other, and back.
        back = turned(np.eye(8), dim=10).T / 4.0
        np.testing.assert_allclose(row.vector, before[one].vector @ back, atol=1e-4)
    assert engine.refresh().projected == len(LATE)
    assert sorted(projected) == LATE


@pytest.mark.parametrize(("vectors", "metric"), [(UNLIKE, "inner_product"), (turned(first_training()), "cosine")])
def test_where_nothing_can_be_carried_all_are_projected(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, vectors: np.ndarray, metric: str
) -> None:
    serve_second(engine, vectors, metric=metric)
    projected = counted_projections(monkeypatch)
    rollback_snapshot(engine, engine.store.snapshots("old")[0].snapshot_id)
    assert sorted(projected) == LATE
    assert {*LATE, *COLD} <= found(engine)


def test_what_cannot_be_read_any_more_keeps_nobody_from_going_back(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    serve_second(engine, turned(first_training()))
    home = Path(engine.store.home)
    (table,) = (home / "served").glob("new.*")
    shutil.rmtree(table)
    with Store.open(home) as store:
        store.rollback(store.snapshots("old")[0].snapshot_id)
    engine.sync()
    assert engine.serving()[0] == "old"
    assert set(COLD) <= found(engine)
    assert "cannot be read" in caplog.text


def test_rows_that_an_opening_brings_back_are_found_at_once(engine: Engine) -> None:
    """A rollback within a space whose command was killed right behind the switch."""
    hear(engine, LATE)
    engine.refresh()
    home = engine.home.local
    assert home is not None
    with Store.open(home) as store:
        store.rollback()
    with open_engine(home) as opened:
        assert set(LATE) <= found(opened)


def test_a_takedown_by_another_process_is_followed_while_rows_are_brought_back(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear(engine, LATE)
    engine.refresh()
    home = engine.home.local
    assert home is not None
    monkeypatch.setattr(catch_up, "ROWS_AT_ONCE", 1)
    add, still_answered = Store.add_fresh, []

    with Store.open(home) as other:
        other.rollback()

        def watched(self: Store, *arguments: object) -> int:
            if still_answered:
                still_answered.append(WARM[1] in found(engine))
            else:
                other.commit(WriteBatch(withdrawn={WARM[1]: "taken down"}))
                still_answered.append(True)
            return add(self, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(Store, "add_fresh", watched)
        engine.sync()
    assert len(still_answered) >= len(LATE)
    assert not any(still_answered[1:])


def test_a_switch_reads_each_catalogue_once_however_many_ingests_pass(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_second(engine, UNLIKE)  # nothing can be carried: all are projected
    monkeypatch.setattr(catch_up, "TRACKS_AT_ONCE", 1)
    projected, built, project = counted_projections(monkeypatch), [], CatchUp._project
    build = projectors.build_projector

    def counted(store: Store, home: object, space_id: str, *arguments: object, **more: object) -> object:
        built.append(space_id)
        return build(store, home, space_id, *arguments, **more)  # type: ignore[arg-type]

    def beside(self: CatchUp, *arguments: object) -> None:
        project(self, *arguments)  # type: ignore[arg-type]
        served = engine.serving()[0]
        engine._projectors.get(served, engine.encoder.encoder_id)  # as an ingest asks for it

    monkeypatch.setattr(projectors, "build_projector", counted)
    monkeypatch.setattr(CatchUp, "_project", beside)
    with Store.open(engine.home.local or "") as other:
        other.rollback(other.snapshots("old")[0].snapshot_id)
    engine.sync()
    assert set(LATE) <= found(engine)
    assert sorted(projected) == LATE
    assert len(built) <= 3, built
