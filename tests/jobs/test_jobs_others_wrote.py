"""A server that ingests looks for what others left only when others wrote."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_home import ENCODER, drawn, fill_home, hear, open_engine, record

from index import WriteBatch
from index.types import Committed
from jobs import Engine


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr("encoders.load_encoder", lambda name, device: ENCODER)
    fill_home(tmp_path / "home")
    with open_engine(tmp_path / "home") as engine:
        yield engine


@pytest.fixture
def looks(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows by one whenever all tracks are looked through for those that are not projected."""
    looks: list[object] = []
    stale_ids = engine.store.stale_ids

    def counted(snapshot: object) -> list[str]:
        looks.append(snapshot)
        return stale_ids(snapshot)  # type: ignore[arg-type]

    monkeypatch.setattr(engine.store, "stale_ids", counted)
    return looks


def test_a_commit_of_our_own_that_is_half_done_is_nobody_elses(engine: Engine, looks: list[object]) -> None:
    written, synced = threading.Event(), threading.Event()

    def hold(committed: Committed) -> None:  # the tables have been written, and not all who follow commits have heard
        written.set()
        synced.wait(0.2)

    engine.store._listeners.insert(0, hold)
    commit = threading.Thread(target=hear, args=(engine, record("cold-ada-9", "ada")))
    commit.start()
    assert written.wait(20)
    engine.sync()
    synced.set()
    commit.join()
    engine.sync()
    assert looks == []


def test_a_compaction_is_nobody_elses_writing(engine: Engine, looks: list[object]) -> None:
    for number in range(3):
        hear(engine, record(f"cold-ben-{number + 5}", "ben"))
    for table in engine.store.tables():
        table.compact()
    hear(engine, record("cold-ben-9", "ben"))
    engine.sync()
    assert looks == []


def test_what_another_process_stores_is_found_and_projected(engine: Engine, looks: list[object]) -> None:
    hear(engine, record("cold-cleo-8", "cleo"))
    with open_engine(Path(engine.store.home)) as other:
        other.store.commit(
            WriteBatch(
                tracks=[record("cold-cleo-9", "cleo")],
                content={ENCODER.encoder_id: [("cold-cleo-9", drawn("content of cold-cleo-9", 4))]},
            )
        )
        hear(engine, record("cold-dana-9", "dana"))
    engine.sync()
    assert len(looks) == 1
    assert engine.searcher.view().vectors(["cold-cleo-9"])[0].all()
    engine.sync()
    assert len(looks) == 1
