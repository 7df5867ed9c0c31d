"""The projector that ingests share: kept behind a publish, and built anew where what it reads has changed."""

from __future__ import annotations

import numpy as np
import pytest
from made_catalogue import SPACE_ID, audio_bytes, release

from artist_transfer import Catalogue
from index import WriteBatch
from jobs import Engine, projector


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Catalogue]:
    """The catalogues that were read since."""
    catalogues: list[Catalogue] = []

    def counted(*arguments: object) -> Catalogue:
        catalogues.append(Catalogue(*arguments))  # type: ignore[arg-type]
        return catalogues[-1]

    monkeypatch.setattr("artist_transfer.Catalogue", counted)
    return catalogues


def test_a_publish_that_changes_no_catalogue_has_none_read(engine: Engine, read: list[Catalogue]) -> None:
    engine.ingest([release("one")])
    before = engine.serving()
    engine.refresh()
    assert engine.serving() != before
    assert len(read) <= 2  # the ingest's and the refresh's own
    read.clear()
    (outcome,) = engine.ingest([release("two")])
    assert outcome.catalogue_size == 3
    assert not read
    engine.refresh()
    assert engine.store.stale_ids(engine.searcher.view().snapshot) == []


@pytest.mark.parametrize("how", ["credits", "audio", "withdrawn", "by another process"])
def test_a_catalogue_that_changed_is_read_behind_a_publish(engine: Engine, read: list[Catalogue], how: str) -> None:
    (before,) = engine.ingest([release("one")])
    if how == "credits":
        engine.ingest([release("ada-0", artist_ids=("ben",))])
    elif how == "audio":
        engine.ingest([release("ada-0", audio=audio_bytes(1234.5))])
    elif how == "withdrawn":
        engine.withdraw(["ada-0"])
    else:
        with Engine.open(engine.home.local or "") as other:
            other.store.commit(WriteBatch(tracks=[release("ada-0", artist_ids=("ben",)).record("0" * 64)]))
    engine.refresh()
    engine.sync()
    read.clear()
    (after,) = engine.ingest([release("two")])
    assert read or how == "withdrawn"  # a withdrawal has it read when the refresh asks for it, or now
    assert after.catalogue_size == (3 if how == "audio" else 2)
    assert before.vector is not None
    assert after.vector is not None
    if how != "audio":
        assert not np.allclose(before.vector, after.vector)
    rows = engine.store.served_vectors(SPACE_ID, ["one", "two"])
    engine.refresh(everything=True)
    again = engine.store.served_vectors(SPACE_ID, ["two"])["two"]
    assert again.catalogue_basis == rows["two"].catalogue_basis


def test_what_is_kept_is_what_would_be_built(engine: Engine) -> None:
    engine.ingest([release("one")])
    engine.refresh()
    (kept,) = engine.ingest([release("two")])
    with Engine.open(engine.home.local or "") as other:
        encoder_id = other.encoder.encoder_id
        built = projector.build_projector(other.store, other.home, SPACE_ID, encoder_id, device="cpu")
        assert built is not None
        (record,) = other.store.tracks(["two"])
        (row,) = built.project([record], other.store.content(encoder_id, ["two"])[1])
    np.testing.assert_array_equal(row.vector, kept.vector)
    assert row.catalogue_basis == engine.store.served_vectors(SPACE_ID, ["two"])["two"].catalogue_basis
