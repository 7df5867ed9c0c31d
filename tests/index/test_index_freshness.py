"""What a snapshot does not show as the tracks are now, and adopting commits without switching snapshots."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from search_oracle import served

from index import Searcher, ServedVector, SpaceRecord, Store, Tier, TrackRecord, WriteBatch, build_snapshot

ONES = np.ones((1, 8), dtype=np.float32)
NEW = TrackRecord("new", artist_ids=("x", "y"), release_date=date(2020, 1, 2), audio_sha256="ab")


def projected(track: TrackRecord, value: float = 99.0) -> ServedVector:
    return replace(served(track.track_id, np.full(8, value)), basis=track.basis)


# Basis ---------------------------------------------------------------------------------------------------------------


def test_the_basis_is_of_sixteen_digits_and_stays():
    assert NEW.basis == replace(NEW, title="T", label="L", markets=("DE",), isrc="I", audio_uri="u").basis
    assert len(NEW.basis) == 16
    assert int(NEW.basis, 16) >= 0
    # Roles that are left out are completed: the first artist is primary, the others are featured.
    assert NEW.basis == replace(NEW, roles=("primary", "featured")).basis
    assert TrackRecord("a").basis == TrackRecord("b").basis


@pytest.mark.parametrize(
    "change",
    [
        {"artist_ids": ("y", "x")},
        {"artist_ids": ("xy", "")},
        {"artist_ids": ('x", "y',)},
        {"artist_ids": ()},
        {"roles": ("primary", "remixer")},
        {"roles": ("featured", "primary")},
        {"release_date": date(2020, 1, 3)},
        {"release_date": None},
        {"audio_sha256": "cd"},
        {"audio_sha256": ""},
    ],
)
def test_the_basis_tells_apart_what_projects_differently(change):
    assert replace(NEW, **change).basis != NEW.basis


def test_a_basis_comes_back_from_every_table(searcher, store):
    store.commit(WriteBatch(tracks=[NEW], fresh={"als": [projected(NEW)]}))
    assert store.track("new") == NEW
    assert store.tracks_table()[0]["basis"].to_pylist() == [NEW.basis]
    snapshot = store.published()
    assert store.served_vectors("als", ["new"], snapshot=snapshot)["new"].basis == NEW.basis
    assert store.served_vectors("als", ["t00"], snapshot=snapshot)["t00"].basis == ""
    build_snapshot(store, "als")
    assert {row.track_id: row.basis for row in store.served_rows("als").records()}["new"] == NEW.basis


# Stale tracks --------------------------------------------------------------------------------------------------------


def test_tracks_without_a_vector_of_their_basis_are_stale(searcher, store):
    snapshot = store.published()
    assert store.stale_ids(snapshot) == []
    store.commit(WriteBatch(tracks=[NEW, TrackRecord("bare"), TrackRecord("t03", artist_ids=("x",))]))
    assert sorted(store.stale_ids(snapshot)) == ["bare", "new"]  # t03's vector is the recommender's own
    store.commit(WriteBatch(fresh={"als": [projected(NEW)]}, withdrawn={"bare": ""}))
    assert store.stale_ids(snapshot) == []
    edited = replace(NEW, artist_ids=("x",))
    store.commit(WriteBatch(tracks=[edited]))
    assert store.stale_ids(snapshot) == ["new"]
    store.commit(WriteBatch(tracks=[replace(NEW, title="only the title")]))
    assert store.stale_ids(snapshot) == []


def test_of_a_served_and_a_fresh_row_the_fresh_one_counts(searcher, store):
    first = store.published()
    store.commit(WriteBatch(tracks=[NEW], fresh={"als": [projected(NEW)]}))
    second = build_snapshot(store, "als")
    edited = replace(NEW, audio_sha256="cd")
    store.commit(WriteBatch(tracks=[edited]))
    assert store.stale_ids(second) == store.stale_ids(first) == ["new"]
    store.commit(WriteBatch(fresh={"als": [projected(edited)]}))
    assert store.stale_ids(second) == store.stale_ids(first) == []
    store.commit(WriteBatch(fresh={"als": [projected(NEW)]}))
    assert store.stale_ids(second) == store.stale_ids(first) == ["new"]
    # A projection put over a recommender's vector is judged as a projection.
    store.commit(WriteBatch(fresh={"als": [replace(served("t01", np.ones(8)), basis="0" * 16)]}))
    store.commit(WriteBatch(tracks=[TrackRecord("t01"), TrackRecord("t02")]))
    assert sorted(store.stale_ids(second)) == ["new", "t01"]
    store.commit(WriteBatch(fresh={"als": [served("t01", np.ones(8), Tier.COLLABORATIVE)]}))
    assert store.stale_ids(second) == ["new"]


def test_a_space_without_tracks_leaves_every_track_stale(store):
    store.create_space(SpaceRecord("empty", 8), [], np.zeros((0, 8), dtype=np.float32))
    store.commit(WriteBatch(tracks=[TrackRecord(f"n{i}") for i in range(3)]))
    assert sorted(store.stale_ids(build_snapshot(store, "empty"))) == ["n0", "n1", "n2"]


# Catching up ---------------------------------------------------------------------------------------------------------


def test_catching_up_adopts_commits_and_never_switches(searcher, store):
    first = searcher.snapshot
    with Store.open(store.home) as other:
        other.create_space(SpaceRecord("next", 8), ["o0"], ONES)
        other.publish(build_snapshot(other, "next").snapshot_id)
        assert not searcher.catch_up()
        other.commit(WriteBatch(tracks=[NEW], fresh={"als": [projected(NEW)]}, withdrawn={"t00": ""}))
        assert searcher.catch_up()
        assert searcher.snapshot == first
        shown = searcher.search(ONES, 40)[0].track_ids
        assert shown[0] == "new"
        assert "t00" not in shown
        assert not searcher.catch_up()
    assert searcher.sync()
    assert searcher.space.space_id == "next"
    assert not searcher.sync()


@pytest.mark.parametrize(
    "batch",
    [
        WriteBatch(tracks=[TrackRecord("stored only")]),
        WriteBatch(withdrawn={"never served": ""}),
        WriteBatch(fresh={"als": [served("f", np.ones(8))]}),
    ],
)
def test_catching_up_tells_of_writes_that_no_answer_shows_yet(searcher, store, batch):
    assert not searcher.catch_up()
    with Store.open(store.home) as other:
        other.commit(batch)
    assert searcher.catch_up()
    assert not searcher.catch_up()


def test_there_is_nothing_to_catch_up_with_before_the_first_publish(store, space):
    with Searcher.open(store, device="cpu") as waiting:
        store.publish(build_snapshot(store, "als").snapshot_id)
        assert not waiting.catch_up()
        assert waiting.snapshot is None
        assert waiting.sync()
