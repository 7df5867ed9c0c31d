"""The soak's own checks find what they are there for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lance
import numpy as np
import pytest
from lance.fragment import write_fragments

from anacrusis.bench.given_vectors import GivenVectorsEngine
from benchmarks import trust_page
from benchmarks.soak import world
from benchmarks.soak.journal import Journal, TrackLife
from benchmarks.soak.load import fault_of
from benchmarks.soak.verify import settle
from benchmarks.trust_promises import Promise
from grpc_service.client import Neighbors
from grpc_service.packing import pack_ids
from index import FeedbackAction, FeedbackEvent
from jobs import Query, Release

ARTIST = world.ARTISTS[0]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("soak") / "home"
    world.make_home(home)
    return home


@pytest.fixture
def engine(template: Path) -> Iterator[GivenVectorsEngine]:
    with GivenVectorsEngine.open(template, device="cpu") as opened:
        yield opened


def judged(home: Path, journal: Journal) -> dict[str, int]:
    settle(home, journal)
    return dict(journal.faults)


def test_what_was_acknowledged_and_is_not_there_is_lost(template: Path) -> None:
    journal = Journal()
    journal.tracks["ghost"] = TrackLife(acknowledged=ARTIST)
    journal.tracks["kept"] = TrackLife(acknowledged=ARTIST, withdrawn="yes")
    journal.events["event"] = (world.WARM[0], True)
    assert judged(template, journal) == {"lost": 4}  # both tracks, the withdrawal, the event


def test_what_was_sent_only_may_be_there_or_not(template: Path, engine: GivenVectorsEngine) -> None:
    engine.ingest([Release("sent", (ARTIST,), world.audio("sent"))])
    journal = Journal()
    journal.tracks |= {"sent": TrackLife(possible={ARTIST}), "unsent": TrackLife(possible={ARTIST})}
    journal.events["event"] = ("sent", False)
    assert judged(template, journal) == {}
    assert (journal.life("sent").is_there, journal.life("unsent").is_there, journal.events) == (True, False, {})
    journal.tracks["sent"].acknowledged = world.ARTISTS[1]
    assert judged(template, journal) == {"lost": 1}  # its last update


def test_a_row_that_stands_there_twice_is_found(template: Path, engine: GivenVectorsEngine) -> None:
    engine.ingest([Release("twin", (ARTIST,), world.audio("twin"))])
    event = FeedbackEvent(event_id="e", track_id="twin", user_id=world.USERS[0], action=FeedbackAction.PLAY)
    engine.record_feedback([event])
    table = f"{template}/feedback.lance"
    dataset = lance.dataset(table)
    fragments = write_fragments(dataset.to_table(), dataset, mode="append")
    lance.LanceDataset.commit(dataset, lance.LanceOperation.Append(fragments), read_version=dataset.version)
    assert judged(template, Journal()) == {"duplicated": 1}


def test_half_a_snapshot_is_found(template: Path) -> None:
    (index,) = (template / "indexes").glob("*/base.json")
    index.unlink()
    assert judged(template, Journal()) == {"half_published": 1}
    assert judged(template, Journal()) == {}  # it was built anew


def test_a_wrong_answer_is_found(engine: GivenVectorsEngine) -> None:
    query = np.ones(world.dim_of(0), np.float32)
    (hits,) = engine.ask(Query(vector=query, k=8)).hits

    def fault(number: int = 0, gone: set[str] | None = None, **changes: object) -> str:
        given = {"track_ids": list(hits.track_ids), "scores": hits.scores, "tiers": hits.tiers, **changes}
        answer = Neighbors(
            world.space_id(number if "space" not in changes else 1),
            "snapshot",
            pack_ids(given["track_ids"]),  # type: ignore[arg-type]
            np.asarray(given["scores"], np.float32),
            np.asarray(given["tiers"], np.int8),
            np.ones(len(hits.scores), np.float32),
            np.full((len(hits.scores), 3), np.nan, np.float32),
        )
        return fault_of(answer, query, 0, gone or set(), {})

    first = hits.track_ids[0]
    assert fault() == ""
    assert "behind its withdrawal" in fault(gone={first})
    assert "twice" in fault(track_ids=[first, first, *hits.track_ids[2:]])
    assert "scores" in fault(scores=np.asarray(hits.scores) * 1.05)
    assert "tier" in fault(tiers=np.full(len(hits.scores), 3))
    assert "answers a question about" in fault(number=2)


def test_every_promised_test_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trust_page.missing_tests() == []
    broken = Promise("nothing", ("tests/benchmarks/test_soak_checks.py::test_that_nobody_wrote",))
    monkeypatch.setattr(trust_page, "PROMISES", (broken,))
    assert trust_page.missing_tests() == [broken.tests[0]]
